"""Forms are timed once, on real images, remembered by what they depend on, and kept by the run that began with them."""

import itertools
import json
import math
import tomllib
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tlkit_toy
import torch
import toy_domains
from PIL import Image
from safetensors.torch import load_file, save_file
from tlkit_toy_build import ToyNet
from torch import nn
from toy_observers import Notes, SignalAfter
from toy_step import Recorder, batch, made
from toy_training import CPU, Training, training

from tlkit import api, file_digests, files
from tlkit.compiler import format_timing, step_timing, timing
from tlkit.engine.fit import Fit
from tlkit.engine.formats import DTYPES
from tlkit.engine.learning import Learning
from tlkit.engine.prefix import prefix
from tlkit.engine.step.step import Step
from tlkit.errors import Interrupted, PluginError, TlkitError
from tlkit.network.stages import Stage
from tlkit.plans import choices
from tlkit.plugin import Backbone
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat, PrefixPlan
from tlkit.record.timings import STEP_TOLERANCE, TOLERANCE, Measurements, Timing
from tlkit.store import measurements as measured

HALF_LAST = ComputeFormat("bfloat16", "channels_last")
LAST_STAGE = "freeze={stem=true, block1=true}"


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy is over long before measuring pays."""
    monkeypatch.setattr(timing, "WORTHWHILE", 0.0)
    monkeypatch.setattr(timing, "PAYS", 0.0)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The images of every measurement."""
    taken: list[torch.Tensor] = []
    original = timing.measure

    def counted(plan: object, network: object, images: torch.Tensor, **options: object) -> Measurements:
        taken.append(images.clone())
        return original(plan, network, images, **options)

    monkeypatch.setattr(timing, "measure", counted)
    return taken


def scripted(monkeypatch: pytest.MonkeyPatch, fastest: ComputeFormat, *, error: float = 0.0) -> list[int]:
    """Let one form be the fastest of every part, and so far off; return a list that grows with every measurement."""
    taken: list[int] = []
    rows = tuple(Timing(each, *((0.001, error) if each == fastest else (0.01, 0.0))) for each in COMPUTE_FORMATS)

    def measured(plan: object, *_: object, **__: object) -> Measurements:
        taken.append(1)
        return Measurements(rows, tuple((cut, rows) for cut in (1, 2, 3)), 0.0, "")

    monkeypatch.setattr(timing, "measure", measured)
    return taken


def remembered() -> list[Path]:
    """The records of plans; kernels of convolutions have another."""
    known = (files.cache_folder() / "measured").glob("*.json")
    return sorted(path for path in known if "backbone" in path.read_text())


def compute_formats(mine: Training) -> tuple[ComputeFormat, ...]:
    return (mine.plan.compute_format, *(phase.fixed.compute_format for phase in mine.plan.phases if phase.fixed))


# ---- once


def test_what_was_measured_is_remembered(toy_recipe: Path, calls: list[torch.Tensor]) -> None:
    first = training(toy_recipe, LAST_STAGE)
    assert len(calls) == 1
    (path,) = remembered()
    second = training(toy_recipe, LAST_STAGE)
    assert len(calls) == 1
    assert second.plan == first.plan
    assert remembered() == [path]
    for setting in ("schedule.epochs=1", "name=other", "lr_groups={backbone=0.5, head=0.1}"):
        training(toy_recipe, LAST_STAGE, setting)
    training(toy_recipe, LAST_STAGE, seed=3)
    assert len(calls) == 1, "speed does not depend on these"


def test_a_plan_shows_what_is_remembered_and_measures_nothing(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = scripted(monkeypatch, HALF_LAST)
    (before,) = api.plan(toy_recipe, [LAST_STAGE]).values()
    assert "not measured on this machine yet" in "".join(choice.reason for choice in before.choices)
    mine = training(toy_recipe, LAST_STAGE)
    (after,) = api.plan(toy_recipe, [LAST_STAGE]).values()
    assert taken == [1]
    assert (before.compute_format, after.compute_format, after.phases[0].fixed.compute_format) == (
        PLAIN_FORMAT,
        HALF_LAST,
        HALF_LAST,
    )
    of_the_recipe = "test images are evaluated"  # decided for all arms, by whoever has them
    assert [choice for choice in after.choices if choice.what != of_the_recipe] == list(mine.plan.choices)
    assert any("1 ms an image" in choice.reason for choice in after.choices)
    api.plan(toy_recipe, [LAST_STAGE], measure=True)
    assert taken == [1, 1], "which is asked for"


def test_a_short_run_is_not_measured(toy_recipe: Path, calls: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "WORTHWHILE", 5.0)
    mine = training(toy_recipe, LAST_STAGE)
    assert compute_formats(mine) == (PLAIN_FORMAT, PLAIN_FORMAT)
    assert not calls
    assert not remembered()
    assert "the run is too short for measuring to pay" in [choice.reason for choice in mine.plan.choices]


def test_on_a_gpu_a_run_that_ends_in_seconds_is_not_measured(toy_recipe: Path) -> None:
    """drive's 240 steps would be: 3e13 operations, seconds in which measuring has not begun to pay."""
    _, plan = made(toy_recipe, "freeze={}")
    for more, short in ((0.9, True), (1.1, False)):
        plan = replace(plan, flops_per_image=int(plan.flops_per_image * more * timing.GPU_WORTHWHILE / choices.work(plan)) + 1)
        assert bool(timing.too_short(plan, torch.device("cuda"))) == short
        assert not timing.too_short(plan, CPU)


def test_a_run_of_fewer_images_than_measuring_takes_is_not_measured(
    toy_recipe: Path, calls: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four forms, three steps of 16 images each: 192 images; the run trains on 144."""
    monkeypatch.setattr(timing, "PAYS", 1.0)
    mine = training(toy_recipe, "freeze={}")
    assert not calls
    assert "the run is too short for measuring to pay" in [choice.reason for choice in mine.plan.choices]
    monkeypatch.setattr(timing, "PAYS", 0.1)
    training(toy_recipe, "freeze={}")
    assert len(calls) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"measured": {}}', b'{"measured": {"step": 3}}', b"\xff\xfe"])
def test_a_damaged_file_is_measured_again(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    taken = scripted(monkeypatch, HALF_LAST)
    training(toy_recipe, LAST_STAGE)
    (path,) = remembered()
    good = json.loads(path.read_text())
    path.write_bytes(content)
    assert compute_formats(training(toy_recipe, LAST_STAGE)) == (HALF_LAST, HALF_LAST)
    assert len(taken) == 2
    assert json.loads(path.read_text()) == good


def weights(recipe: Path, seed: int) -> str:
    path = recipe.parent / f"{seed}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_file(dict(ToyNet(4).state_dict()), path)
    return f'backbone.weights="{path}"'


@pytest.mark.parametrize(
    "setting",
    [
        "data.options.noise=0.7", "data.batch_size=8", "optimizer.name=sgd", "data.image_size=24", "freeze={stem=true}", "head.kind=mlp",
        "freeze={stem=true, block1={epochs=1}}",
    ],
)  # fmt: skip
def test_what_changes_speed_or_error_is_measured_anew(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    taken = scripted(monkeypatch, HALF_LAST)
    training(toy_recipe, LAST_STAGE)
    training(toy_recipe, LAST_STAGE, setting)
    assert len(taken) == len(remembered()) == 2


def test_other_weights_are_measured_anew(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rounding is another."""
    taken = scripted(monkeypatch, HALF_LAST)
    for seed, expected in ((1, 1), (2, 2), (1, 2)):
        training(toy_recipe, LAST_STAGE, weights(toy_recipe, seed))
        assert len(taken) == expected


def test_other_images_of_the_same_folder_are_measured_anew(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far a form is from float32 depends on them; a plan asks only for what is remembered of the files."""
    taken = scripted(monkeypatch, HALF_LAST)
    monkeypatch.setattr(file_digests, "_RACY", 0)  # what was written a moment ago is remembered as well
    before, _, after = toy_recipe.read_text().partition("[data.options]")
    path = f'[data.options]\npath = "images"\n\n[lr_groups]{after.partition("[lr_groups]")[2]}'
    toy_recipe.write_text(before.replace("synthetic", "folder") + path)
    for value, count in ((10, 1), (10, 1), (90, 2)):
        for label in range(4):
            for index in range(6):
                (tmp_path / "images" / f"c{label}").mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (16, 16), (value, 20 * label, index)).save(tmp_path / "images" / f"c{label}" / f"{index}.png")
        if count > len(taken):
            (unmeasured,) = api.plan(toy_recipe, [LAST_STAGE]).values()
            assert unmeasured.compute_format == PLAIN_FORMAT
        training(toy_recipe, LAST_STAGE)
        (planned,) = api.plan(toy_recipe, [LAST_STAGE]).values()
        assert planned.compute_format == HALF_LAST
        assert len(taken) == count


def test_another_instruction_set_is_measured_anew(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = scripted(monkeypatch, HALF_LAST)
    training(toy_recipe, LAST_STAGE)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    training(toy_recipe, LAST_STAGE)
    assert len(taken) == 2


def only_float32(monkeypatch: pytest.MonkeyPatch, *, contiguous: bool = True) -> None:
    """Let the toy backbone be one whose forward refuses other forms."""
    original = nn.ReLU.forward

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32 or not (contiguous and x.is_contiguous()):
            raise RuntimeError("expected float32")
        return original(self, x)

    monkeypatch.setattr(nn.ReLU, "forward", forward)


@pytest.mark.parametrize("freeze", ["{}", "{stem=true, block1=true}", "{backbone=true}"])
def test_a_form_that_the_network_cannot_be_run_in_is_never_chosen(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, freeze: str
) -> None:
    only_float32(monkeypatch)
    mine = training(toy_recipe, f"freeze={freeze}")
    assert set(compute_formats(mine)) == {PLAIN_FORMAT}
    assert any("cannot be run" in choice.reason for choice in mine.plan.choices)
    assert compute_formats(training(toy_recipe, f"freeze={freeze}")) == compute_formats(mine), "as it is remembered"
    assert len(remembered()) == 1
    if freeze == "{}":
        assert len(list(mine.fit.epochs())) == 2


def test_a_precision_that_the_network_cannot_be_run_in_is_a_message(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_float32(monkeypatch)
    with pytest.raises(TlkitError, match="precision: the network cannot be run in bfloat16") as error:
        training(toy_recipe, LAST_STAGE, "precision=bfloat16")
    assert error.value.hints == ('precision = "auto"',)


@pytest.mark.parametrize("forms", [COMPUTE_FORMATS, (HALF_LAST,)])
def test_a_network_that_cannot_be_run_at_all_is_the_plugins_error(
    monkeypatch: pytest.MonkeyPatch, forms: tuple[ComputeFormat, ...]
) -> None:
    only_float32(monkeypatch, contiguous=False)
    with pytest.raises(PluginError, match="the network cannot be run: RuntimeError: expected float32"):
        format_timing.time_each(
            lambda compute_format: format_timing.Made(lambda: nn.ReLU()(torch.zeros(1)), 0.0, nn.ReLU()(torch.zeros(1)).item()),
            forms,
            1,
            torch.device("cpu"),
            lambda: None,
        )


def test_that_memory_ran_out_in_float32_is_no_error_of_the_network() -> None:
    """Where a recipe names another precision, float32 is tried after it, and takes more memory."""

    def make(compute_format: ComputeFormat) -> format_timing.Made:
        if compute_format == PLAIN_FORMAT:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        raise RuntimeError("expected float32")

    with pytest.raises(torch.OutOfMemoryError):
        format_timing.time_each(make, (HALF_LAST,), 1, torch.device("cpu"), lambda: None)


def test_one_form_is_held_at_a_time() -> None:
    held: list[weakref.ref[nn.Module]] = []

    def make(compute_format: ComputeFormat) -> format_timing.Made:
        assert not [each for each in held if each() is not None]
        module = nn.Linear(4, 4)
        held.append(weakref.ref(module))
        return format_timing.Made(lambda: module(torch.zeros(1, 4)), 0.0, 1.0)

    assert len(format_timing.time_each(make, COMPUTE_FORMATS, 1, torch.device("cpu"), lambda: None)) == len(COMPUTE_FORMATS)


def test_other_threads_are_measured_anew(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = scripted(monkeypatch, HALF_LAST)
    training(toy_recipe, LAST_STAGE)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 96)
    training(toy_recipe, LAST_STAGE)
    assert len(taken) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = scripted(monkeypatch, HALF_LAST)
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file"))
    for count in (1, 2):
        assert compute_formats(training(toy_recipe, LAST_STAGE)) == (HALF_LAST, HALF_LAST)
        assert len(taken) == count


def test_measurements_come_back_as_they_were() -> None:
    rows = (
        *(Timing(compute_format, 1 / 3, 0.01) for compute_format in COMPUTE_FORMATS[:-1]),
        Timing(COMPUTE_FORMATS[-1], math.inf, math.inf),
    )
    known = Measurements(rows, ((2, rows), (5, ())), 1.5, "")
    measured.remember({"a": [1, "b"], "c": None}, known)
    assert measured.recall({"c": None, "a": [1, "b"]}) == known
    assert measured.recall({"c": None, "a": [1, "d"]}) is None


def test_measuring_that_is_stopped_is_not_remembered(toy_recipe: Path) -> None:
    mine = training(toy_recipe, LAST_STAGE)
    for path in remembered():
        path.unlink()
    seen: list[int] = []

    def watch() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt

    part = mine.prepared.evaluated.test
    with pytest.raises(KeyboardInterrupt):
        timing.measure(mine.plan, mine.network, part.inputs(part.indices, 0, CPU), device=CPU, watch=watch)
    assert not remembered()


def test_measuring_that_takes_too_long_is_given_up_and_said(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LIMIT", 0.0)
    monkeypatch.setattr(timing, "ASSUMED_RATE", math.inf)
    told = Notes()
    mine = training(toy_recipe, LAST_STAGE, observer=told)
    assert set(compute_formats(mine)) == {ComputeFormat("float32", "contiguous")}
    assert not remembered()
    assert any("measuring was given up after 0 s" in line and "the next run tries again" in line for line in told.notes)
    assert any("measuring was given up" in choice.reason for choice in mine.plan.choices)


@pytest.mark.parametrize("place", ["step_timing._sample", "format_timing.seconds_of"])
def test_measuring_that_lacks_memory_is_given_up_and_said_and_another_arm_may_begin(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """On a GPU a batch of the run's size is measured: that it does not fit is for the run to say, if it is so."""

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(f"tlkit.compiler.{place}", exhausted)
    mine = training(toy_recipe, LAST_STAGE)
    assert set(compute_formats(mine)) == {PLAIN_FORMAT}
    assert not remembered()
    assert any("it takes more memory than cpu has" in choice.reason for choice in mine.plan.choices)


# ---- on what


def test_it_is_measured_on_training_images_as_the_first_epoch_has_them(toy_recipe: Path, calls: list[torch.Tensor]) -> None:
    """A random crop's pictures are larger than what is trained on."""
    mine = training(toy_recipe, LAST_STAGE, 'data.augment=["random_crop", "hflip"]')
    (images,) = calls
    assert images.shape == (32, 3, 16, 16)
    own = mine.prepared.train.inputs(mine.prepared.train.indices, 0, CPU)
    close = torch.cdist(images.flatten(1).double(), own.flatten(1).double()).min(1)
    assert float(close.values.max()) < 1e-3
    assert len(set(close.indices.tolist())) == 32


def measuring(mine: Training) -> Measurements:
    part = mine.prepared.train
    images = part.inputs(part.indices[:32], 0, CPU).contiguous()
    return timing.measure(mine.plan, mine.network, images, device=CPU, watch=lambda: None)


def test_the_error_is_that_of_all_images_together(toy_recipe: Path) -> None:
    """Against the network as it is, in plain PyTorch."""
    mine = training(toy_recipe, LAST_STAGE)
    part = mine.prepared.train
    x = part.inputs(part.indices[:32], 0, CPU).contiguous()
    (cut, rows), *more = measuring(mine).prefixes
    assert (cut, more) == (2, [])
    assert tuple(row.compute_format for row in rows) == COMPUTE_FORMATS
    mine.network.eval()
    with torch.no_grad():
        right = mine.network.run(x, stop=2).double().flatten(1)
    for row in rows:
        found = (
            prefix.build(mine.network, 2, PrefixPlan(compute_format=row.compute_format), sample=x[:1])(x).double().flatten(1)
        )
        squares = ((found - right) ** 2).sum() / (right**2).sum()
        assert row.error == pytest.approx(math.sqrt(squares), rel=1e-3, abs=1e-7)
        assert row.seconds > 0
    assert rows[0].error < 1e-5
    assert 1e-4 < rows[2].error < 0.02
    assert len({row.error for row in measuring(mine).step}) > 1


@pytest.mark.parametrize(
    "setting", [LAST_STAGE, "freeze={}", "freeze={backbone=true}", "freeze={stem=true, block1={epochs=1}}"]
)
def test_measuring_changes_nothing(toy_recipe: Path, setting: str) -> None:
    mine = training(toy_recipe, setting, "head.options={dropout=0.5}")
    before = {name: tensor.clone() for name, tensor in mine.network.state_dict().items()}
    modes = [(m.training, [p.requires_grad for p in m.parameters()]) for m in mine.network.modules()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    known = measuring(mine)
    assert torch.equal(torch.rand(3), expected), "dropout in the measured step drew from the caller's random numbers"
    assert all(torch.equal(tensor, before[name]) for name, tensor in mine.network.state_dict().items())
    assert [(m.training, [p.requires_grad for p in m.parameters()]) for m in mine.network.modules()] == modes
    assert bool(known.step) == (setting != "freeze={backbone=true}")
    assert [cut for cut, _ in known.prefixes] == sorted({len(phase.prefix) for phase in mine.plan.phases} - {0})


def test_a_run_is_the_same_whether_it_was_measured_or_remembered(toy_recipe: Path, calls: list[torch.Tensor]) -> None:
    """What measuring leaves behind, in memory or in random numbers, reaches no bit of a run."""
    runs = []
    for _ in range(2):
        mine = training(toy_recipe, LAST_STAGE, "head.options={dropout=0.5}", "precision=float32")
        runs.append([epoch.record() | {"seconds": 0, "images_per_second": 0, "times": {}} for epoch in mine.fit.epochs()])
        assert (len(remembered()), len(calls)) == (1, 1)
    assert runs[0] == runs[1]


# ---- what is chosen


def cancelling() -> dict[str, nn.Module]:
    """Adds a thousand and takes it away again: of a picture in -1..1 bfloat16 keeps nothing."""
    add, take = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    for conv, by in ((add, 1000.0), (take, -1000.0)):
        conv.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
        conv.bias.data.fill_(by)
    return {"first": Stage({"add": add}), "second": Stage({"take": take, "pool": nn.MaxPool2d(4)})}


@pytest.fixture
def far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that bfloat16 ruins, and a clock by which bfloat16 is by far the fastest."""
    stages = {"first": ("add",), "second": ("take",)}
    backbone = Backbone(build="test_timing:cancelling", stages=stages, features=3, classifier="fc", minimum_size=8)
    monkeypatch.setattr(tlkit_toy, "toy", replace(backbone, image_size=16))
    original = format_timing.time_each

    def faster_in_bfloat16(
        make: Callable[[ComputeFormat], format_timing.Made], *rest: object, **more: object
    ) -> tuple[Timing, ...]:
        return tuple(
            replace(t, seconds=t.seconds / (1e6 if t.compute_format.precision == "bfloat16" else 1))
            for t in original(make, *rest, **more)
        )

    monkeypatch.setattr(format_timing, "time_each", faster_in_bfloat16)


@pytest.mark.usefixtures("far_off")
@pytest.mark.parametrize("freeze", ["{backbone=true}", "{}", "{first=true}"])
def test_a_form_that_is_too_far_off_is_not_chosen(toy_recipe: Path, freeze: str) -> None:
    mine = training(toy_recipe, f"freeze={freeze}")
    assert {compute_format.precision for compute_format in compute_formats(mine)} == {"float32"}
    parts = {"training step": "10%", "fixed prefix": "2%"}
    said = {
        choice.what for choice in mine.plan.choices if f"on real images, allowed is {parts.get(choice.what)}" in choice.reason
    }
    assert said == {"{backbone=true}": {"fixed prefix"}, "{}": {"training step"}}.get(freeze, set(parts)), (
        "a thousand and a bit is itself not far off, but the stage after it takes the thousand away"
    )
    (asked,) = api.plan(toy_recipe, [f"freeze={freeze}", "precision=bfloat16"]).values()
    assert asked.compute_format.precision == "bfloat16" or freeze == "{backbone=true}"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recipe_may_name_the_precision(toy_recipe: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, HALF_LAST if precision == "float32" else PLAIN_FORMAT)
    mine = training(toy_recipe, LAST_STAGE, f"precision={precision}")
    assert {compute_format.precision for compute_format in compute_formats(mine)} == {precision}
    seen: list[torch.dtype] = []
    feed = mine.fit._feed_of(1)
    seen += [x.dtype for x, _ in feed.train(mine.prepared.train.order(0), 0)]
    assert set(seen) == {DTYPES[precision]}
    mine.network.stages["block2"].block2[0].register_forward_hook(lambda _, __, y: seen.append(y.dtype))
    seen.clear()
    next(iter(mine.fit.epochs()))
    assert set(seen) == {DTYPES[precision]}
    assert {tensor.dtype for name, tensor in mine.fit.tensors().items() if tensor.is_floating_point()} == {torch.float32}


def test_the_tolerance_is_two_per_cent_and_that_of_a_step_ten() -> None:
    assert (TOLERANCE, STEP_TOLERANCE) == (0.02, 0.1)


# ---- what a run keeps


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ComputeFormat, ...]]:
    """The forms of every run that is carried out from now on."""
    seen: list[tuple[ComputeFormat, ...]] = []

    class Spied(Fit):
        def __init__(self, given: Learning) -> None:
            plan = given.plan
            seen.append((plan.compute_format, *(phase.fixed.compute_format for phase in plan.phases if phase.fixed)))
            super().__init__(given)

    monkeypatch.setattr("tlkit.engine.learner.Fit", Spied)
    return seen


TWO = ("freeze={stem=true, block1={epochs=1}}", "schedule.epochs=3")


def test_a_run_keeps_the_forms_that_it_began_with(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is too far off for the fixed prefixes and for evaluation, so each part has another."""
    seen = spied(monkeypatch)
    scripted(monkeypatch, HALF_LAST, error=0.046)
    whole, broken = toy_recipe.parent / "whole", toy_recipe.parent / "broken"
    api.apply(toy_recipe, TWO, runs=whole)
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, TWO, runs=broken, observer=SignalAfter(1))
    (folder,) = (path.parent for path in broken.rglob("resolved.toml"))
    kept = tomllib.loads((folder / "resolved.toml").read_text())
    compute_format = {"precision": "bfloat16", "memory_format": "channels_last"}
    assert {key: kept[key] for key in compute_format} == compute_format
    assert kept["evaluation"] == {"precision": "float32", "memory_format": "channels_last"}
    plain = {"precision": "float32", "memory_format": "contiguous"}
    assert sorted(kept["prefixes"], key=lambda row: row["stages"]) == [{"stages": 1, **plain}, {"stages": 2, **plain}]
    text = (folder / "resolved.toml").read_bytes()
    for path in remembered():
        path.unlink()
    taken = scripted(monkeypatch, PLAIN_FORMAT)
    training(toy_recipe, *TWO)
    assert taken, "now another form is the fastest"
    taken.clear()
    seen.pop()
    api.apply(toy_recipe, TWO, runs=broken)
    assert not taken
    assert seen == [(HALF_LAST, PLAIN_FORMAT, PLAIN_FORMAT)] * 3
    assert (folder / "resolved.toml").read_bytes() == text
    ours, theirs = (load_file(next(path.rglob("state-*.safetensors"))) for path in (broken, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    fresh = toy_recipe.parent / "fresh"
    api.apply(toy_recipe, TWO, runs=fresh)
    assert seen[-1] == (PLAIN_FORMAT,) * 3
    other = load_file(next(fresh.rglob("state-*.safetensors")))
    assert not all(torch.equal(tensor, theirs[name]) for name, tensor in other.items())


def test_a_measurement_says_how_long_threads_waited_for_a_processor(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = training(toy_recipe, LAST_STAGE)
    part = mine.prepared.evaluated.test
    images = part.inputs(part.indices, 0, CPU)
    monkeypatch.setattr("tlkit.machine.waited", lambda: 0.0)
    assert timing.measure(mine.plan, mine.network, images, device=CPU, watch=lambda: None).waited == 0.0
    told = itertools.chain(
        [2.0], itertools.repeat(1e6)
    )  # the kernels of a form that was not near before may be measured, and ask too
    monkeypatch.setattr("tlkit.machine.waited", lambda: next(told))
    assert timing.measure(mine.plan, mine.network, images, device=CPU, watch=lambda: None).waited == 1.0


def test_on_a_gpu_what_is_timed_is_the_captured_step(toy_recipe: Path) -> None:
    backend = Recorder()
    network, plan = made(toy_recipe)
    step = Step(network, plan, torch.device("cpu"), static=True)
    step.set_rates_(0.0)
    timed = step_timing._captured(step, [batch(network, plan)], backend)
    assert backend.calls == ["warm up"] * 3 + ["capture", "replay"]
    timed.call()
    assert backend.calls[-1] == "replay"
    assert timed.calls >= 20
    failing = Recorder(failing={0: RuntimeError("no memory")})
    assert step_timing._captured(step, [batch(network, plan)], failing).calls < 10, "each is launched kernel by kernel"


def test_on_a_gpu_a_measured_batch_is_the_runs(toy_recipe: Path) -> None:
    _, plan = made(toy_recipe, "data.batch_size=64")
    assert step_timing.step_images(plan, "cuda") == 64
    assert step_timing.step_images(replace(plan, image_size=(224, 224)), "cuda") == 64


def test_on_a_gpu_a_measured_batch_has_the_images_of_a_target_too(tmp_path: Path) -> None:
    rates = "[lr_groups]\nbackbone = 1e-2\nhead = 1e-2\n"
    adapted = toy_domains.recipe(data="batch_size = 6\n", adapt='method = "cdan"\nimages = "all"\n', more=rates)
    plan = training(toy_domains.write(tmp_path, adapted)).plan
    assert (step_timing.step_images(plan, "cuda"), step_timing.step_images(plan, "cpu")) == (12, 6)


@pytest.mark.parametrize(("flops", "threads", "images"), [(0.6e9, 2, 5), (0.6e9, 4, 10), (5.7e9, 2, 2), (1e7, 1, 64)])
def test_a_measured_batch_is_smaller_of_large_networks(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, flops: float, threads: int, images: int
) -> None:
    """mobilenet_v2 and inception_v3 at 224 px."""
    _, plan = made(toy_recipe, "data.batch_size=64")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert step_timing.step_images(replace(plan, flops_per_image=int(flops)), "cpu") == images


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a GPU's events read, in milliseconds."""
    clock = [0.0]

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.at = 0.0

        def record(self, stream: object) -> None:
            self.at = clock[0]

        def synchronize(self) -> None: ...

        def elapsed_time(self, other: "Event") -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    return clock


def test_on_a_gpu_events_time_many_calls_of_what_may_be_the_fastest(clock: list[float]) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        clock[0] += 5.0 if len(calls) > 1 else 1000.0  # milliseconds; the first one is not counted

    assert format_timing.seconds_of(call, torch.device("cuda"), 20) == pytest.approx(0.005)
    assert len(calls) >= 21
    del calls[1:]
    assert format_timing.seconds_of(call, torch.device("cuda"), 20, enough=0.004) == pytest.approx(0.005)
    assert len(calls) <= 4


def test_on_a_gpu_the_form_that_is_expected_to_be_the_fastest_is_timed_first(clock: list[float]) -> None:
    """Milliseconds of a call; a form that takes more than twice as long as the best so far is not called often."""
    seconds = dict(zip(COMPUTE_FORMATS, (30.0, 8.0, 5.0, 4.0), strict=True))
    calls: Counter[ComputeFormat] = Counter()

    def make(compute_format: ComputeFormat) -> format_timing.Made:
        def call() -> None:
            calls[compute_format] += 1
            clock[0] += seconds[compute_format]

        return format_timing.Made(call, 0.0, math.inf)

    found = format_timing.time_each(make, COMPUTE_FORMATS, 2, torch.device("cuda"), lambda: None)
    assert [each.compute_format for each in found] == list(COMPUTE_FORMATS) == list(reversed(calls))
    assert [each.seconds for each in found] == pytest.approx([each / 2000 for each in seconds.values()])
    assert [count > 20 for count in calls.values()] == [True, True, True, False]
