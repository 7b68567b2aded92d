"""The plan says what will happen, before there is an image or a weight."""

import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import python_path
from torch import Tensor, nn
from toy_training import training

from tlkit import api
from tlkit.compiler import compiler
from tlkit.compiler.memory_estimate import Division
from tlkit.errors import PluginError, RecipeError, RunFolderError, TlkitError
from tlkit.network import device_memory
from tlkit.network.stages import Stage
from tlkit.plans import dataset_facts, plan_json, resolve
from tlkit.plans import plan as plans
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.plan import ImagesPlan, MemoryPlan, Plan
from tlkit.plugin import Backbone, Head
from tlkit.sources.places import Places

RESNET = """\
format = 1
name = "fine"
[backbone]
name = "resnet18"
weights = "imagenet1k-v1"
[data]
name = "cifar10"
image_size = 224
batch_size = 32
[lr_groups]
backbone = 1e-4
head = 1e-2
[arms.finetune]
[arms.head_only]
freeze = { backbone = true }
"""


@pytest.fixture
def resnet_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "resnet.toml"
    path.write_text(RESNET)
    return path


def plan(recipe: Path, *settings: str) -> Plan:
    return api.plan(recipe, settings)["main"]


def test_plan_says_which_classes_imagenet_has_too(resnet_recipe: Path) -> None:
    resolved = resolve.load(resnet_recipe, (), Places(recipe=resnet_recipe.parent))[1]["finetune"]
    facts = DataFacts(2, ImagesPlan(100, 0, 40, "counted"), names=("ants", "pneumonia"))
    made = compiler.compile_plan(resolved, facts, where="here", device=torch.device("cpu"))
    assert [(each.value, each.reason[:5]) for each in made.choices if each.what == "classes"] == [
        ("ImageNet has 1 of 2, or kinds of them", "ants:")
    ]


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [(80, 20, "by f1 of the validation images"), (100, 0, "the last epoch"), (0, 0, "by f1 of the validation images")],
)
def test_plan_says_which_epoch_is_the_best(toy_recipe: Path, train: int, validation: int, said: str) -> None:
    (resolved,) = resolve.load(toy_recipe, ("select_by=f1",), Places(recipe=toy_recipe.parent))[1].values()
    facts = DataFacts(4, ImagesPlan(train, validation, 40, "counted"))  # of none it is not known how many there are
    made = compiler.compile_plan(resolved, facts, where="here", device=torch.device("cpu"))
    assert [each.value for each in made.choices if each.what == "best epoch"] == [said]


def test_a_solved_head_needs_images_of_two_classes(toy_recipe: Path) -> None:
    (resolved,) = resolve.load(toy_recipe, ("head.kind=knn",), Places(recipe=toy_recipe.parent))[1].values()
    facts = DataFacts(4, ImagesPlan(80, 0, 40, "counted"), per_class=(0, 80, 0, 0))
    with pytest.raises(
        RecipeError, match=r"here: data: the training images are of one class\.\n  the knn head tells classes apart"
    ):
        compiler.compile_plan(resolved, facts, where="here", device=torch.device("cpu"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a plan opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline")
def test_a_plan_needs_neither_images_nor_weights(resnet_recipe: Path) -> None:
    both = api.plan(resnet_recipe)
    assert list(both) == ["finetune", "head_only"]
    fine = both["finetune"]
    assert fine.images == plans.ImagesPlan(train=45_000, validation=5_000, test=10_000, source="nominal")
    assert fine.classes == 10
    assert fine.total == fine.trained == 11_689_512 - 1000 * 513 + 10 * 513  # torchvision's count with another classifier
    assert both["head_only"].trained == 10 * 513
    assert fine.steps_per_epoch == 1407  # 45,000 / 32 = 1406.25
    assert all(not path.is_dir() for path in (resnet_recipe.parent / "runs", Path.home() / ".cache" / "tlkit"))


def test_a_plan_round_trips_through_json(resnet_recipe: Path, toy_recipe: Path) -> None:
    settings = [
        'freeze={stem={epochs=1}, "block1.0"=true}', "lr_groups={backbone=0.01, block2={lr=0.1, momentum=0.5}, head=0.2}",
        'optimizer={name="sgd", clip_norm=1.0}', 'data.batch_size="auto"', "early_stopping={patience=2}",
    ]  # fmt: skip
    for each in (*api.plan(resnet_recipe).values(), plan(toy_recipe), plan(toy_recipe, *settings)):
        assert plan_json.from_json(plan_json.to_json(each)) == each


@pytest.mark.parametrize(
    ("change", "words"), [((f'"format": {plans.FORMAT}', '"format": 2'), "format"), (("{", "["), "plan of this version")]
)
def test_another_versions_plan_is_named(toy_recipe: Path, change: tuple[str, str], words: str) -> None:
    text = plan_json.to_json(plan(toy_recipe)).replace(*change)
    with pytest.raises(RunFolderError, match=words):
        plan_json.from_json(text)


def test_flops_of_the_toy_are_those_worked_by_hand(toy_recipe: Path) -> None:
    mine = plan(toy_recipe)
    # Two per multiply-add: output pixels x output channels x input channels x kernel.
    expected = {"stem": 2 * 256 * 8 * 3 * 9, "block1": 2 * 256 * 8 * 8 * 9, "block2": 2 * 64 * 16 * 8 * 9, "head": 2 * 16 * 4}
    assert {stage.name: stage.flops for stage in mine.stages} == expected
    assert mine.flops_per_image == sum(expected.values())
    assert [stage.output for stage in mine.stages] == [(8, 16, 16), (8, 8, 8), (16, 8, 8), (4,)]


@pytest.mark.parametrize("depth", [18, 50])  # blocks of two and of three convolutions
def test_flops_of_a_resnet_are_twice_torchvisions_multiply_adds(resnet_recipe: Path, depth: int) -> None:
    meta = getattr(torchvision.models, f"ResNet{depth}_Weights").IMAGENET1K_V1.meta
    (mine,) = api.plan(resnet_recipe, [f"backbone.name=resnet{depth}", "freeze={}"], arm="finetune").values()
    classifier = 2 * (1000 - 10) * (512 if depth < 50 else 2048)
    assert mine.flops_per_image + classifier == pytest.approx(2e9 * meta["_ops"], rel=1e-3)  # 1.814 G for ResNet-18


def test_stages_say_when_they_train_with_which_groups(toy_recipe: Path) -> None:
    mine = plan(
        toy_recipe, "schedule.epochs=5", 'freeze={stem=true, block1={epochs=2}, "block2.0"=true}',
        "lr_groups={head=0.3, backbone=0.1, block2=0.2}",
    )  # fmt: skip
    assert [(s.name, s.trains, s.groups, s.peak_lr) for s in mine.stages] == [
        ("stem", "never", (), ()),
        ("block1", "from epoch 3", ("backbone",), (0.1,)),
        ("block2", "partly", ("block2",), (0.2,)),
        ("head", "always", ("head",), (0.3,)),
    ]
    assert [(s.parameters, s.trained) for s in mine.stages] == [(232, 0), (592, 592), (1184, 32), (68, 68)]
    assert [group.name for group in mine.groups] == ["backbone", "block2", "head"]  # of their first parameter, not the table's
    assert [group.parameters for group in mine.groups] == [592, 32, 68]


def test_phases_follow_the_boundaries_and_cut_before_the_first_stage_that_trains(toy_recipe: Path) -> None:
    mine = plan(toy_recipe, "schedule.epochs=6", "freeze={stem={epochs=4}, block1={epochs=1}, block2={epochs=1}}")
    assert [(p.first, p.last, p.prefix, p.steps) for p in mine.phases] == [
        (1, 1, ("stem", "block1", "block2"), 5),
        (2, 4, ("stem",), 15),
        (5, 6, (), 10),
    ]
    assert [p.trained for p in mine.phases] == [68, 68 + 592 + 1184, 68 + 592 + 1184 + 232]
    assert "head" in mine.phases[0].reason
    assert "block1" in mine.phases[1].reason
    assert [mine.phase(epoch) for epoch in range(1, 7)] == [mine.phases[i] for i in (0, 1, 1, 1, 2, 2)]


def test_a_frozen_stage_behind_one_that_trains_is_no_prefix(toy_recipe: Path) -> None:
    assert plan(toy_recipe, "freeze={block1=true}").phases[0].prefix == ()


def test_the_plans_steps_are_those_that_are_taken(toy_recipe: Path) -> None:
    for setting in ("optimizer={name='sgd', accumulate=2}", "data.batch_size=71"):
        mine = training(toy_recipe, setting, "schedule.epochs=1")
        taken: list[object] = []
        mine.fit._step.optimizer.register_step_post_hook(lambda *_, taken=taken: taken.append(_))
        list(mine.fit.epochs())
        assert len(taken) == mine.plan.steps_per_epoch


def test_one_image_that_batchnorm_cannot_learn_from_is_said(toy_recipe: Path) -> None:
    """A ResNet's last map is one pixel at 32 px, so a batch of one image has one value per channel."""
    with pytest.raises(TlkitError, match=r"data\.batch_size: the network cannot be trained on 1 image of 32 px at a time"):
        training(toy_recipe, "backbone.name=resnet18", "data.image_size=32", "data.batch_size=1")


def test_what_has_no_effect_is_listed(toy_recipe: Path) -> None:
    mine = plan(toy_recipe, "freeze={backbone=true}", "lr_groups={backbone=0.1, head=0.2}")
    assert any("lr_groups.backbone" in line and "frozen" in line for line in mine.unused)
    assert plan(toy_recipe).unused == ()


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ([], None),
        (["freeze={stem=true}"], "stem"),
        (["freeze={stem=true, block2=true}"], "stem, block2"),
        (["freeze={head=true}"], "head"),
        (["freeze={stem={epochs=1}}"], None),
    ],
)
def test_freezing_random_weights_is_a_warning(toy_recipe: Path, settings: list[str], stages: str | None) -> None:
    expected = () if stages is None else (f"frozen with random weights: {stages}; they will never learn anything",)
    assert plan(toy_recipe, *settings).warnings == expected


def test_a_batch_larger_than_the_data_is_a_warning(toy_recipe: Path) -> None:
    (line,) = plan(toy_recipe, "data.batch_size=512").warnings
    assert "data.batch_size 512 is more than the" in line
    assert "training images: one step an epoch" in line
    images = plan(toy_recipe).images.train
    assert not plan(toy_recipe, f"data.batch_size={images}").warnings


def test_a_frozen_head_is_random_even_on_a_trained_backbone(resnet_recipe: Path) -> None:
    (mine,) = api.plan(resnet_recipe, ["freeze={head=true, stem=true}"], arm="finetune").values()
    assert mine.warnings == ("frozen with random weights: head; they will never learn anything",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["freeze={block9=true}"], ["freeze.block9", "stages: stem, block1, block2", "did you mean"]),
        (['freeze={"block1.7"=true}'], ['freeze."block1.7"', "owns no parameter"]),
        (["lr_groups={head=0.1}"], ["backbone trains but has no rate", "lr_groups.backbone = 1e-3"]),
        (["freeze={backbone=true, head=true}"], ["nothing trains"]),
    ],
)
def test_a_map_that_cannot_be_is_refused(toy_recipe: Path, settings: list[str], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        plan(toy_recipe, *settings)
    for word in words:
        assert word in str(caught.value)


def test_a_batch_that_batchnorm_cannot_learn_from_is_refused(resnet_recipe: Path) -> None:
    one = ["data.batch_size=1", "data.image_size=32"]  # the last stage's map is one pixel
    with pytest.raises(TlkitError, match=r"data\.batch_size: .* 1 image of 32 px at a time: .*one value of each channel"):
        api.plan(resnet_recipe, one, arm="finetune")
    assert api.plan(resnet_recipe, one, arm="head_only")["head_only"].batch_size == 1


def test_a_batch_size_of_its_own_choice_leaves_four_batches(toy_recipe: Path) -> None:
    mine = plan(toy_recipe, 'data.batch_size="auto"')
    assert mine.batch_size == 16  # the largest power of two in 72 / 4
    assert (mine.choices[0].what, mine.choices[0].value) == ("batch_size", "16")
    assert "four batches" in mine.choices[0].reason


@pytest.mark.parametrize(("gibibytes", "largest"), [(2, 64), (8, 256)])
def test_a_batch_size_of_its_own_choice_fits_the_free_memory(
    resnet_recipe: Path, monkeypatch: pytest.MonkeyPatch, gibibytes: int, largest: int
) -> None:
    monkeypatch.setattr(device_memory, "usable_memory", lambda device: gibibytes * 2**30)
    (mine,) = api.plan(resnet_recipe, ['data.batch_size="auto"'], arm="finetune").values()
    assert 2 < mine.batch_size <= largest  # images that do not fit are read again, so they do not count
    assert mine.memory.total < 0.7 * gibibytes * 2**30
    (doubled,) = api.plan(resnet_recipe, [f"data.batch_size={mine.batch_size * 2}"], arm="finetune").values()
    assert doubled.memory.total >= 0.7 * gibibytes * 2**30
    assert f"70% of {gibibytes}.0 GiB" in mine.choices[0].reason


def test_a_batch_size_of_its_own_choice_fits_the_part_of_each_process(
    resnet_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_memory, "usable_memory", lambda device: 8 * 2**30)
    asked = partial(api.plan, resnet_recipe, arm="finetune", processes=4)
    (mine,) = asked(['data.batch_size="auto"']).values()
    assert mine.memory.total < 0.7 * 2 * 2**30  # four processes share the memory of this machine
    (doubled,) = asked([f"data.batch_size={mine.batch_size * 2}"]).values()
    assert doubled.memory.total >= 0.7 * 2 * 2**30
    assert "70% of 2.0 GiB free for the part that each of 4 processes has" in mine.choices[0].reason


def test_processes_agree_on_the_batch_of_the_one_with_the_least_memory(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, arms = resolve.load(
        toy_recipe, ['data.batch_size="auto"', "data.options.train=4000"], Places(recipe=toy_recipe.parent)
    )
    facts = dataset_facts.known(arms["main"], Places(recipe=toy_recipe.parent), seed=read.seeds[0], classes=None)
    batches = {}
    for name, division in {
        "alone": Division(), "two": Division(2, 1), "told": Division(2, 1, lambda batch: 4)
    }.items():  # fmt: skip
        monkeypatch.setattr(device_memory, "usable_memory", lambda device: 10**7)
        made = compiler.compile_plan(arms["main"], facts, where="toy.toml", device=torch.device("cpu"), division=division)
        batches[name] = made.batch_size
    assert batches["two"] == 2 * batches["alone"] < 1000  # activations outweigh weights
    assert batches["told"] == 4
    assert made.choices[0].reason == "its part is what the process with the least memory holds"


def test_memory_of_the_toy_is_what_was_worked_by_hand(toy_recipe: Path) -> None:
    settings = ["freeze={backbone=true}", "data.batch_size=8"]
    mine = plan(toy_recipe, *settings).memory
    parameters, buffers = 232 + 592 + 1184 + 68, 2 * (8 + 8 + 16)
    # floats, and BatchNorm's three counters of 8 bytes; all but the head twice, since the fixed prefix is a copy, and its
    # largest stage once more while that is folded
    assert mine.weights == 2 * (4 * (parameters + buffers) + 3 * 8) - 4 * 68 + 4 * (1184 + 2 * 16) + 8
    assert mine.gradients == 4 * 68
    assert mine.optimizer == 2 * 4 * 68  # Adam's two moments
    assert mine.images == 8 * 16 * 16 * 3 * (1 + 4)  # a batch in bytes and in floats; stored pictures are not held
    assert plan(toy_recipe, *settings, 'optimizer={name="sgd"}').memory.optimizer == 4 * 68
    assert plan(toy_recipe, *settings, 'optimizer={name="sgd", momentum=0.0}').memory.optimizer == 0


def test_a_running_mean_of_the_weights_is_counted(toy_recipe: Path) -> None:
    plain, averaged = plan(toy_recipe).memory, plan(toy_recipe, 'optimizer={name="adamw", ema=0.99}').memory
    assert averaged.optimizer - plain.optimizer == plain.optimizer // 2  # Adam has two such tensors


def test_training_a_head_alone_needs_less_memory_than_finetuning(resnet_recipe: Path) -> None:
    both = api.plan(resnet_recipe)
    fine, head = both["finetune"].memory, both["head_only"].memory
    layer4 = 8_393_728 * 4 + (4 + 1) * 2 * 512 * 4 + 5 * 8  # its parameters, statistics and counters
    # the fixed prefix is a copy, all but the head, and its largest stage once more while that is folded
    assert head.weights == 2 * fine.weights - (512 * 10 + 10) * 4 + layer4
    for part in ("gradients", "optimizer", "activations"):
        assert getattr(head, part) < getattr(fine, part) / 3


def test_no_stage_is_counted_as_folded_where_there_is_no_batch_norm(resnet_recipe: Path) -> None:
    """AlexNet's classifier, 54.5 million of its 57 million parameters, stands once in the network and once in the prefix."""
    resnet_recipe.write_text(RESNET.replace('"resnet18"', '"alexnet"'))
    both = api.plan(resnet_recipe)
    fine, head = both["finetune"].memory, both["head_only"].memory
    assert head.weights == 2 * fine.weights - (4096 * 10 + 10) * 4


MEASURE = """
import resource, sys
import torch
from toy_training import training
from functools import partial
from pathlib import Path

def peak():
    # of this program alone: getrusage's peak remembers the process that started it
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

recipe = Path(sys.argv[1])
import torchvision, tlkit_resnet.build
for _ in training(recipe, "data.image_size=32", "data.batch_size=2", "data.options.train=4", "schedule.epochs=1").fit.epochs():
    pass  # libraries and their buffers are there now
import ctypes, gc
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # what training freed is kept by the process, and would be used again unseen
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1]) * resource.getpagesize()
mine = training(recipe, *sys.argv[2:])
list(mine.fit.epochs())
print(peak() - before, mine.plan.memory.total)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
@pytest.mark.parametrize("freeze", ["{}", "{backbone=true}"])
def test_the_memory_estimate_is_near_what_is_used(toy_recipe: Path, freeze: str) -> None:
    folder = Path(__file__).parents[1]
    toy_recipe.write_text(toy_recipe.read_text().replace('"toy"', '"resnet18"'))
    settings = [
        f"freeze={freeze}", "data.image_size=128", "data.batch_size=48", "data.options.train=96", "data.options.test=8",
        "data.options.size=64", "data.split.validation=0.0", "schedule.epochs=1",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(toy_recipe), *settings],
        env={"PYTHONPATH": python_path(folder, folder / "toy"), "HOME": str(toy_recipe.parent), "PATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    used, estimated = map(int, done.stdout.split())
    assert used / 2 < estimated < used * 2


def test_the_total_is_the_sum_of_its_parts() -> None:
    assert MemoryPlan(weights=1, gradients=20, optimizer=300, activations=4000, images=50_000).total == 54_321


def test_a_plan_leaves_the_callers_random_numbers_alone(resnet_recipe: Path) -> None:
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    api.plan(resnet_recipe)
    assert torch.equal(torch.rand(1), expected)


def narrow() -> dict[str, nn.Module]:
    return {"all": Stage({"conv": nn.Conv2d(3, 4, 3)})}


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()


def reads_values() -> dict[str, nn.Module]:
    return {"all": Stage({"conv": nn.Conv2d(3, 4, 3), "counts": Counts()})}


@pytest.mark.parametrize(
    ("build", "features", "words"),
    [
        ("narrow", 5, ["(1, 4)", "declared are 5 features"]),
        ("reads_values", 4, ["stage all", "tlkit check NAME", "may not look at values"]),
    ],
)
def test_a_backbone_that_cannot_be_planned_is_the_plugins_fault(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, build: str, features: int, words: list[str]
) -> None:
    target = f"test_compiler:{build}"
    broken = Backbone(build=target, stages={"all": ("conv",)}, features=features, classifier="fc", minimum_size=8)
    monkeypatch.setattr("tlkit_toy.toy", broken)
    with pytest.raises(PluginError) as caught:
        api.plan(toy_recipe)
    for word in [target, *words]:
        assert word in str(caught.value)


def wide(features: int, classes: int, options: object) -> nn.Module:
    return nn.Linear(features, classes + 1)


def test_a_head_of_another_width_than_it_was_asked_for_is_refused_before_it_trains(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit_toy.toy_maps", Head(build="test_compiler:wide"))
    with pytest.raises(PluginError, match=r"test_compiler:wide: gives \(5,\) for an image, and is asked for 4") as caught:
        api.plan(toy_recipe, ["head.kind=toy_maps"])
    assert "tlkit check toy_maps" in str(caught.value)


def test_a_folder_that_is_not_there_yet_is_planned_for_so_many_classes(toy_recipe: Path) -> None:
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    toy_recipe.write_text(text.replace("classes = 4\ntrain = 80\ntest = 40\nsize = 16", 'path = "nothere"'))
    with pytest.raises(TlkitError, match="how many classes: classes="):
        api.plan(toy_recipe)
    (made,) = api.plan(toy_recipe, classes=7).values()
    assert made.classes == 7
    assert made.images.source == "unknown"
    assert made.stages[-1].parameters == 16 * 7 + 7


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (80, ("captured, one a phase", "--no-graph")),
        (15, ("none", "a batch would be 16 images, and there are 15")),
        (0, ("captured", "")),
    ],
)
def test_a_plan_for_cuda_says_whether_the_step_is_captured(toy_recipe: Path, train: int, said: tuple[str, str]) -> None:
    (resolved,) = resolve.load(toy_recipe, (), Places(recipe=toy_recipe.parent))[1].values()
    facts = DataFacts(4, ImagesPlan(train, 0, 40, "counted"))
    made = compiler.compile_plan(resolved, facts, where="here", device=torch.device("cuda"))
    (choice,) = (each for each in made.choices if each.what == "graph")
    assert said[0] in choice.value
    assert said[1] in choice.reason


def test_on_a_gpu_the_estimate_has_the_graphs_inputs_and_gradients_and_tells_of_the_pictures(toy_recipe: Path) -> None:
    (resolved,) = resolve.load(toy_recipe, (), Places(recipe=toy_recipe.parent))[1].values()
    facts = DataFacts(4, ImagesPlan(80, 0, 40, "counted"))
    on = {
        name: compiler.compile_plan(resolved, facts, where="here", device=torch.device(name)).memory for name in ("cpu", "cuda")
    }
    batch = 16 * 16 * 16 * 3  # images, height, width, channels
    assert on["cuda"].images - on["cpu"].images == 4 * 4 * batch  # float32
    assert on["cuda"].activations > 2 * on["cpu"].activations  # and those of an evaluation
    assert on["cuda"].gradients == 2 * on["cpu"].gradients
    assert (on["cpu"].resident, on["cuda"].resident) == (0, 120 * 16 * 16 * 3)
    assert on["cuda"].total == on["cuda"].network
    frozen = []
    for size in (16, 64):
        (resolved,) = resolve.load(
            toy_recipe, ("freeze.backbone=true", f"data.batch_size={size}"), Places(recipe=toy_recipe.parent)
        )[1].values()
        frozen.append(compiler.compile_plan(resolved, facts, where="here", device=torch.device("cuda")).memory.activations)
    maps = 48 * 16 * 8 * 8 * 4  # bytes of what comes out of the fixed prefix, for 48 images more
    assert maps <= frozen[1] - frozen[0] < 2 * maps


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("freeze.backbone=true",), "3 of 3 folded"),
        (("freeze.stem=true", "freeze.block1={epochs=1}"), "2 of 2 folded"),
        ((), None),
    ],
)
def test_a_plan_for_cuda_says_how_many_norms_are_folded(toy_recipe: Path, settings: tuple[str, ...], said: str | None) -> None:
    (resolved,) = resolve.load(toy_recipe, settings, Places(recipe=toy_recipe.parent))[1].values()
    facts = DataFacts(4, ImagesPlan(80, 0, 40, "counted"))
    made = compiler.compile_plan(resolved, facts, where="here", device=torch.device("cuda"))
    found = [each.value for each in made.choices if each.what == "BatchNorm of the fixed prefix"]
    assert found == ([] if said is None else [said])
