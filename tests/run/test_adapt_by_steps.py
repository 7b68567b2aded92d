"""[adapt] with a method that is trained by steps: what of the target is read, exact resume, and that its labels decide nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_domains
from conftest import Cli
from safetensors.torch import load_file
from torch.nn import functional
from toy_domains import CLASSES
from toy_observers import SignalAfter
from toy_training import training

import tlkit
from tlkit import api
from tlkit.engine.domains import distances, scores
from tlkit.errors import Interrupted, RecipeError
from tlkit.events import Observer
from tlkit.network.network import Network
from tlkit.plans import adaptation, choices
from tlkit.plans.plan import ImagesPlan
from tlkit.recipe.domains import AdaptTable
from tlkit.record import report_data
from tlkit.reports.page import page, runs

pytestmark = pytest.mark.usefixtures("undrawn")

RECIPE = toy_domains.recipe(
    data="batch_size = 6\n",
    adapt='method = "cdan"\nimages = "all"\n',
    more="[lr_groups]\nbackbone = 1e-2\nhead = 1e-2\n[schedule]\nepochs = 3\n",
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return toy_domains.write(tmp_path, RECIPE)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (found,) = folder.glob("adapted/main-*/weights.safetensors")
    return load_file(found)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_every_step_has_as_many_target_images_and_the_sources_targets(recipe: Path) -> None:
    mine = training(recipe)
    steps, feed, order = mine.fit._steps, mine.fit._feed_of(1), mine.prepared.train.order(0)
    batches = list(steps._batches(feed, order, 1, done=0))
    assert [len(y) for _, y in batches] == [6] * (len(order) // 6) + [len(order) % 6] * (len(order) % 6 > 0)
    assert all(len(x) == 2 * len(y) for x, y in batches)
    rest = list(steps._batches(feed, order, 1, done=12))  # an epoch that goes on from its third step
    assert all(torch.equal(x, z) for (x, _), (z, _) in zip(batches[2:], rest, strict=True))
    target = mine.prepared.evaluated.target
    drawn = target.training.repeated(0, len(order))
    assert not np.array_equal(drawn, target.training.repeated(1, len(order)))
    expected = target.training.inputs(drawn[:6], 0, torch.device("cpu"))
    torch.testing.assert_close(batches[0][0][6:], expected)


def test_labelled_images_count_as_often_as_asked_in_a_step(recipe: Path) -> None:
    """Against plain PyTorch: with 5 for each of 6 labelled images beside N of the source, their mean has the share 30 / (N + 30)."""
    few = ("adapt.labels_per_class=2", "adapt.label_weight=5")
    mine, plain = training(recipe, "adapt.method=none", *few), training(recipe, "adapt.method=none")
    steps, order = mine.fit._steps, mine.prepared.train.order(0)
    x, y = next(steps._batches(mine.fit._feed_of(1), order, 1, done=0))
    target = mine.prepared.evaluated.target
    assert target.training is None
    chosen = target.trained.repeated(0, 6)
    assert torch.equal(y[6:], target.trained.targets(chosen, 0, torch.device("cpu")))
    assert np.bincount(y[6:]).tolist() == [2, 2, 2]
    torch.testing.assert_close(x[6:], target.trained.inputs(chosen, 0, torch.device("cpu")))
    plain.network.train()
    torch.manual_seed(3)  # dropout
    logits, share = plain.network(x), 30 / (len(order) + 30)
    source, labelled = (functional.cross_entropy(logits[at], y[at]) for at in (slice(6), slice(6, None)))
    ((1 - share) * source + share * labelled).backward()
    mine.fit._step.begin_(1)
    torch.manual_seed(3)
    mine.fit._step([(x, y)], steps._whole(order[:6]))
    assert mine.fit._step.sums().loss == pytest.approx(6 * source.item(), rel=1e-5)  # what is told is of the source
    for (name, parameter), expected in zip(mine.network.named_parameters(), plain.network.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected.grad, msg=name)


def test_labelled_images_stay_whole_beside_mixed_ones_of_the_source(recipe: Path) -> None:
    mine = training(recipe, "adapt.method=mcc", "adapt.labels_per_class=2", 'data.augment=[{ name="mixup", alpha=1.0 }]')
    x, y = next(mine.fit._steps._batches(mine.fit._feed_of(1), mine.prepared.train.order(0), 1, done=0))
    target = mine.prepared.evaluated.target
    chosen = target.trained.repeated(0, 6)
    torch.testing.assert_close(x[6:12], target.part.inputs(chosen, 0, torch.device("cpu")))
    assert torch.equal(y[6:], functional.one_hot(target.part.targets(chosen, 0, torch.device("cpu")), 3).float())
    assert y[:6].sum(1).tolist() == pytest.approx([1.0] * 6)
    assert ((y[:6] > 0).sum(1) == 2).any()  # of two classes
    mine.fit._step.begin_(1)
    mine.fit._step([(x, y)], mine.fit._steps._whole(mine.prepared.train.order(0)[:6]))
    assert np.isfinite(mine.fit._step.sums().loss)


def test_a_plan_with_a_domain_head_says_that_one_seed_is_not_enough() -> None:
    for method, told in (("cdan", True), ("mcc", False)):
        found = adaptation.look_up(AdaptTable(target="dark", method=method))
        said = [each for each in adaptation.choices(found, ImagesPlan(10, 0, 0, "counted", target=5)) if each.what == "seeds"]
        assert [each.value for each in said] == ["three or more"] * told


def test_the_work_of_a_plan_counts_what_steps_take_of_the_target(recipe: Path) -> None:
    """27 images of the source train, 36 are of the target, 3 epochs; what trains is passed three times. Without a method 18 are scored."""
    plain, mine = training(recipe, "adapt.method=none").plan, training(recipe, "adapt.method=mcc").plan
    assert choices.work(mine) - choices.work(plain) == 3 * mine.flops_per_image * (3 * 27 + 36 - 18)
    mine = training(recipe, "adapt.method=mcc", "adapt.labels_per_class=1").plan  # 3 in each of 5 batches
    assert choices.work(mine) - choices.work(plain) == 3 * mine.flops_per_image * (3 * (27 + 15) + 36 - 18)


def test_a_frozen_trunk_embeds_each_target_image_once_and_takes_no_more_steps(recipe: Path) -> None:
    counted: list[int] = []

    class Counted(Observer):
        def storing(self, done: int, total: int) -> None:
            if done == total:
                counted.append(total)

    settings = ("freeze.backbone=true", "lr_groups={head=1e-2}")
    plain = training(recipe, *settings, "adapt.method=none", observer=Counted())
    list(plain.fit.epochs())
    assert sum(counted) == 36 + 18 + 18  # the source, and the tested and the scored images of the target
    mine = training(recipe, *settings, "adapt.method=mcc", observer=Counted())
    list(mine.fit.epochs())
    assert sum(counted) == 36 + 18 + 18  # and none again
    assert mine.fit.steps == plain.fit.steps


def test_labelled_images_are_not_among_those_without_labels(recipe: Path) -> None:
    mine = training(recipe, "adapt.method=mme", "adapt.labels_per_class=1", "data.batch_size=8")
    target, order = mine.prepared.evaluated.target, mine.prepared.train.order(0)
    assert len(target.trained.indices) == 3
    assert sorted([*target.trained.indices, *target.training.indices]) == sorted(target.part.indices)
    batches = list(mine.fit._steps._batches(mine.fit._feed_of(1), order, 1, done=0))
    assert {(len(x), len(y)) for x, y in batches[:-1]} == {(8 + 3 + 8, 8 + 3)}
    assert {label for _, y in batches for label in y[-3:].tolist()} == {0, 1, 2}
    rest = list(mine.fit._steps._batches(mine.fit._feed_of(1), order, 1, done=16))
    assert all(torch.equal(x, z) for (x, _), (z, _) in zip(batches[2:], rest, strict=True))
    list(mine.fit.epochs())
    told = {choice.what: choice.value for choice in mine.plan.choices}
    assert told["step"].endswith("of one size, and labelled images")


def test_a_method_needs_target_images_without_labels(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="every image of dark that is used has a label, and mme needs others"):
        training(recipe, "adapt.method=mme", "adapt.images=train", "adapt.labels_per_class=6")


def test_target_images_repeat_only_when_all_were_used(recipe: Path) -> None:
    target = training(recipe).prepared.evaluated.target
    count = len(target.training.indices)
    drawn = target.training.repeated(0, count + 5)
    assert sorted(drawn[:count].tolist()) == sorted(target.training.indices.tolist())
    assert len(set(drawn[count:].tolist())) == 5


def test_the_domain_head_has_a_rate_of_its_own(recipe: Path) -> None:
    plan = training(recipe).plan
    assert {group.name for group in plan.groups} == {"backbone", "head"}
    (stage,) = (stage for stage in plan.stages if stage.name == "head.domain")
    assert stage.trained == stage.parameters > 0
    plan = training(recipe, 'lr_groups."head.domain"=0.05').plan
    assert {group.name: group.lr for group in plan.groups} == {"backbone": 0.01, "head": 0.01, "head.domain": 0.05}


def test_the_plan_says_what_a_step_has_and_counts_its_memory(recipe: Path) -> None:
    plan, alone = training(recipe).plan, training(recipe, "adapt.method=none").plan
    told = {choice.what: choice.value for choice in plan.choices}
    assert told["target"] == "36 images without labels"
    assert told["step"] == "a batch of the source and one of the target, of one size"
    assert told["BatchNorm"] == "sees the images of both domains together"
    assert "domain head" in told
    assert "adapt.labels_per_class = 3" in next(choice.reason for choice in plan.choices if choice.what == "target labels")
    assert plan.memory.activations == pytest.approx(2 * alone.memory.activations, rel=0.05)


def test_the_plan_says_that_a_range_test_has_the_loss_of_the_source_alone(recipe: Path) -> None:
    auto = "lr_groups={backbone='auto', head='auto'}"
    alone = "a range test of 100 steps, with the loss of the source alone, chooses it"
    for settings, told in (
        ((), True),
        (("adapt.method=none", "adapt.labels_per_class=1"), True),
        (("adapt.method=none",), False),
    ):
        (plan,) = api.plan(recipe, [auto, *settings]).values()
        reasons = {each.what: each.reason for each in plan.choices}
        assert (alone in reasons["lr_groups.head"]) is told


def test_an_image_that_is_skipped_in_several_parts_counts_once(recipe: Path) -> None:
    (recipe.parent / "dark" / "red" / "0.png").write_bytes(b"no picture")
    mine = training(recipe, "adapt.method=mcc", "data.on_corrupt=skip")
    assert len(mine.prepared.decoded.skipped) == 1


@pytest.mark.parametrize("method", ["mcc", "mmd", "mme", "dann", "cdan", "mdd"])
def test_a_method_changes_what_is_learned(recipe: Path, method: str) -> None:
    found = []
    for name in ("none", method):
        mine = training(recipe, f"adapt.method={name}", "schedule.epochs=1")
        list(mine.fit.epochs())
        found.append({key: value.clone() for key, value in mine.network.tensors().items()})
    assert found[0].keys() == found[1].keys()  # nothing of the method is kept
    assert any(not torch.equal(value, found[1][key]) for key, value in found[0].items())


@pytest.mark.parametrize("labels", [0, 2])
def test_a_frozen_trunk_is_stored_for_both_domains_and_gives_the_same_bits(recipe: Path, labels: int) -> None:
    found = []
    for keep in (True, False):
        few = f"adapt.labels_per_class={labels}"
        mine = training(recipe, "freeze.backbone=true", "lr_groups={head=1e-2}", "adapt.method=mcc", few, keep=keep)
        list(mine.fit.epochs())
        found.append({key: value.clone() for key, value in mine.network.tensors().items()})
    assert_same(*found)


SEVERAL = ("adapt.method=mmd", 'adapt.options={stages=["stem", "block2"]}')


@pytest.mark.parametrize("frozen", ["stem", "block1"])
def test_means_of_compared_stages_are_stored_with_the_prefix_and_give_the_same_bits(recipe: Path, frozen: str) -> None:
    found = []
    for keep in (True, False):
        freeze = "freeze={stem=true}" if frozen == "stem" else "freeze={stem=true, block1=true}"
        mine = training(recipe, *SEVERAL, freeze, "schedule.epochs=2", keep=keep)
        list(mine.fit.epochs())
        found.append({key: value.clone() for key, value in mine.network.tensors().items()})
    assert_same(*found)


def test_what_is_stored_before_a_compared_stage_is_evaluated_as_the_pictures_are(recipe: Path) -> None:
    compared = 'adapt.options={stages=["block1", "block2"]}'
    mine = training(recipe, SEVERAL[0], compared, "freeze={backbone=true}", "schedule.epochs=1")
    list(mine.fit.epochs())
    part = mine.prepared.evaluated.also["dark"]
    with torch.no_grad():
        expected = mine.network.eval()(part.inputs(part.indices, 0, torch.device("cpu")))
    torch.testing.assert_close(mine.fit.predictions["also.dark"].logits, expected)


def test_a_trunk_that_thaws_compares_the_same_stages_before_and_after(recipe: Path) -> None:
    found = []
    for keep in (True, False):
        mine = training(recipe, *SEVERAL, "freeze={backbone={epochs=1}}", keep=keep)
        assert [len(phase.prefix) for phase in mine.plan.phases] == [3, 0]
        list(mine.fit.epochs())
        found.append({key: value.clone() for key, value in mine.network.tensors().items()})
    assert_same(*found)


def test_comparing_several_stages_changes_what_is_learned_and_the_plan_says_it(recipe: Path) -> None:
    found = []
    for settings in (("adapt.method=mmd",), SEVERAL, ("adapt.method=mmd", "adapt.options={stages=[]}")):
        mine = training(recipe, *settings, "schedule.epochs=1")
        list(mine.fit.epochs())
        found.append({key: value.clone() for key, value in mine.network.tensors().items()})
        told = [choice.value for choice in mine.plan.choices if choice.what == "compared"]
        assert told == (["stem, block2"] if settings == SEVERAL else ["what the head reads"])
    assert_same(found[0], found[2])
    assert not torch.equal(found[0]["conv1.weight"], found[1]["conv1.weight"])


def test_a_stage_that_stays_as_it_is_is_warned_of(recipe: Path) -> None:
    (line,) = [each for each in training(recipe, *SEVERAL, "freeze={stem=true}").plan.warnings if "compares" in each]
    assert line.startswith("adapt.method: mmd compares stem too, and nothing trains up to there")


@pytest.mark.parametrize(
    "settings",
    [
        ("adapt.method=cdan", "adapt.labels_per_class=0"),
        ("adapt.method=adabn", "adapt.labels_per_class=0"),
        ("adapt.method=mme", "adapt.labels_per_class=1"),
        SEVERAL,
    ],
    ids=["cdan", "adabn", "mme", "several"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(recipe: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    settings = (*settings, "freeze.stem=true")
    api.apply(recipe, settings, runs=tmp_path / "whole")
    with pytest.raises(Interrupted):
        api.apply(recipe, settings, runs=tmp_path / "parts", observer=SignalAfter(1))
    api.apply(recipe, settings, runs=tmp_path / "parts")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    lines = [
        [
            json.loads(line)["validation"]
            for line in next(tmp_path.glob(f"{name}/adapted/main-*/metrics.jsonl")).read_text().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("few", [(), ("adapt.method=mme", "adapt.labels_per_class=2")], ids=["none", "few"])
def test_target_labels_decide_nothing(recipe: Path, tmp_path: Path, few: tuple[str, ...]) -> None:
    """The same images in the same order, and other labels: the same bits. Where some are asked for, all others are other ones."""
    recipe.write_text(RECIPE.replace("split = { per_class = 6 }\n", ""))  # which images it draws depends on labels
    files = sorted(path.relative_to(tmp_path / "dark") for path in (tmp_path / "dark").rglob("*.png"))
    for name, turn in (("right", 0), ("wrong", 1)):
        rows = [
            f"{file},{CLASSES[(index + turn * (not few or index % 4 > 0)) % 3]},{'test' if index % 4 else 'train'}"
            for index, file in enumerate(files)
        ]
        (tmp_path / "dark" / "labels.csv").write_text("\n".join(["path,label,part", *rows]) + "\n")
        settings = ['also.dark={ name="csv", options={ path="dark", split="part" } }']
        api.apply(recipe, [*settings, *few], runs=tmp_path / name)
    assert_same(weights(tmp_path / "right"), weights(tmp_path / "wrong"))


@pytest.mark.parametrize("by", ["entropy", "snd", "bnm", "ami"])
def test_a_score_without_labels_chooses_the_epoch(recipe: Path, by: str) -> None:
    mine = training(recipe, f"select_by={by}", "adapt.method=mcc", "schedule.epochs=4")
    told = list(mine.fit.epochs())
    found = [epoch.target[by] for epoch in told if epoch.target is not None]
    losses = [epoch.validation["loss"] for epoch in told if epoch.validation is not None]  # which decide between equal scores
    chosen = max(range(4), key=lambda place: (-found[place] if by == "entropy" else found[place], -losses[place]))
    assert mine.fit.progress.best_epoch == chosen + 1
    assert mine.fit.progress.best_epoch == max(epoch.epoch for epoch in told if epoch.best)
    target = mine.prepared.evaluated.target
    assert target is not None
    with torch.inference_mode():
        mine.network.eval()
        images = target.part.inputs(target.part.indices, 0, torch.device("cpu"))
        features = mine.network.embed(images)
        answers = mine.network(images).softmax(1)
    expected = scores.of(answers.numpy(), features=features.numpy())[by]
    assert told[-1].target[by] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("method", "labels", "images"), [("none", 2, 12), ("none", 0, 18), ("mcc", 2, 12)])
def test_scores_without_labels_are_of_images_that_are_not_trained_on_with_labels(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, method: str, labels: int, images: int
) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(scores, "of", lambda p, **_: seen.append(p) or {"entropy": 1.0, "snd": 1.0, "bnm": 1.0})
    mine = training(
        recipe,
        "select_by=snd",
        f"adapt.method={method}",
        f"adapt.labels_per_class={labels}",
        "adapt.images=train",
        "schedule.epochs=1",
    )
    (epoch,) = mine.fit.epochs()
    assert epoch.target is not None
    assert [len(each) for each in seen] == [images]
    target = mine.prepared.evaluated.target
    others = np.setdiff1d(target.part.indices, target.part.indices[target.labelled])
    with torch.inference_mode():
        mine.network.eval()
        expected = mine.network(target.part.inputs(others, 0, torch.device("cpu"))).softmax(1)
    np.testing.assert_allclose(seen[0], expected.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ["linear", "logistic"])
def test_statistics_are_replaced_once_and_frozen_stages_keep_them(recipe: Path, tmp_path: Path, head: str) -> None:
    settings = ["adapt.method=adabn", f"head.kind={head}", "freeze.backbone=true", "lr_groups={head=1e-2}", "schedule.epochs=1"]
    plain = training(recipe, *settings, "adapt.method=none")
    mine = training(recipe, *settings)
    target = mine.prepared.evaluated.target
    stem = mine.network.stages["stem"]
    assert isinstance(stem, torch.nn.Module)
    images = target.part.inputs(target.part.indices, 0, torch.device("cpu"))
    first = stem.conv1(images).detach().double()
    torch.testing.assert_close(stem.bn1.running_mean.double(), first.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stem.bn1.running_var.double(), first.var((0, 2, 3)), rtol=1e-5, atol=1e-6)
    before = stem.bn1.running_mean.clone()
    list(mine.fit.epochs())
    assert torch.equal(stem.bn1.running_mean, before)
    assert not torch.equal(plain.network.stages["stem"].bn1.running_mean, before)
    api.apply(recipe, settings, runs=tmp_path / "kept")
    assert torch.equal(weights(tmp_path / "kept")["bn1.running_mean"], before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["head.kind=logistic", "lr_groups={}"], "adapt.method: cdan is trained by steps, and the logistic head is solved"),
        (["head.kind=conv"], "adapt.method: cdan reads features (N, F), and the conv head reads a whole feature map"),
        (['lr_groups."head.domains"=0.1'], "head.domain"),
        (
            ["lr_groups={backbone=1e-2, head=1e-2, 'head.domain'='auto'}"],
            'lr_groups."head.domain": is "auto", and a range test takes steps of the source alone',
        ),
        (["adapt.options.widths=3"], "adapt.options.widths"),
        (
            ["adapt.method=mmd", "adapt.options={}", "data.batch_size=1"],
            "adapt.method: mmd compares a batch of each domain, and data.batch_size is 1. 2 or more",
        ),
        (
            ["adapt.method=mmd", 'adapt.options.stages=["blok2"]'],
            'adapt.options.stages: toy has no stage "blok2" up to the one that the head reads. stages: stem, block1, block2 did you mean',
        ),
        (
            ["adapt.method=mmd", 'adapt.options.stages=["block2"]', "head.embed=block1"],
            'adapt.options.stages: toy has no stage "block2" up to the one that the head reads. stages: stem, block1',
        ),
        (
            ["select_by=snd", "head.kind=logistic", "adapt.method=stats", "lr_groups={}"],
            "select_by: snd is a score of the target",
        ),
        (["select_by=sdn"], 'did you mean "snd"'),
        (
            ["select_by=snd", "adapt.method=none", "adapt.labels_per_class=6"],
            "select_by: snd is of images of dark whose labels are not trained on, and its training part has no such",
        ),
        (
            ["adapt.method=adabn", "backbone.name=alexnet", "data.image_size=64"],
            "adabn replaces the statistics of BatchNorm, and alexnet has no BatchNorm. another method, for instance mcc",
        ),
    ],
)
def test_what_a_method_cannot_do_is_named(run: Cli, recipe: Path, settings: list[str], words: str) -> None:
    arguments = [each for setting in settings for each in ("--set", setting)]
    code, _, error = run("plan", "r.toml", *arguments)
    assert code == 1
    assert words in " ".join(error.split())


def stage_means(network: Network, part: Any) -> dict[str, np.ndarray]:
    """Pooled outputs of the toy's stages for all images of a part."""
    x, found = part.inputs(part.indices, 0, torch.device("cpu")), {}
    with torch.inference_mode():
        network.eval()
        for name, stage in network.stages.items():
            x = stage(x)
            found[name] = x.mean((2, 3)).numpy() if x.ndim == 4 else x.numpy()
    return found


def test_distances_of_the_domains_are_kept_for_every_stage(recipe: Path, tmp_path: Path) -> None:
    settings = ["adapt.method=mmd", "freeze.stem=true", "schedule.epochs=2", "select_by=snd"]
    begins = training(recipe, *settings)
    parts = begins.prepared.evaluated
    held_out = parts.test or parts.validation
    expected = [stage_means(begins.network, part) for part in (held_out, parts.also["dark"])]
    api.apply(recipe, settings, runs=tmp_path / "kept")
    (folder,) = tmp_path.glob("kept/adapted/main-*")
    found = json.loads((folder / "result.json").read_text())["domains"]
    assert (found["target"], found["images"]["target"]) == ("dark", len(parts.also["dark"].indices))
    assert found["notes"] == []
    assert list(found["stages"]) == list(begins.network.stages)
    for stage, told in found["stages"].items():
        assert told["before"] == pytest.approx(distances.between(*(each[stage] for each in expected)), rel=1e-3, abs=1e-6)
        assert (told["before"] == told["after"]) == (stage == "stem")
    kept = report_data.load(folder)
    count = found["images"]["source"] + found["images"]["target"]
    assert kept.arrays["domain_points"].shape == (count, 2)
    assert len(kept.about["domains"]["map"]["labels"]) == count
    text = page.render(runs.by_arm(runs.read([folder])))
    assert "Distance between the domains at each stage" in text
    assert tlkit.load(folder, device="cpu").predict(recipe.parent / "dark").shape[1] == 3, "a Model has no target"
    assert f"{found['stages']['stem']['before']['proxy_a']:.3g}</td>" in text
    assert "oracle: accuracy on the target" in text
    assert "Map of both domains (PCA)" in text
