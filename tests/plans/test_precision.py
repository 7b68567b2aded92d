"""Which of several precisions is taken: the fastest that is near enough to float32 in every arm, with the sums worked by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_choices import HALF, HALF_LAST, PLAIN_LAST, ROOM, WHY, made, said, timings

from tlkit import api
from tlkit.engine import formats
from tlkit.errors import TlkitError
from tlkit.plans import choices, precision
from tlkit.plans.plan import Plan
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat, Precision, SharedFormats, SharedPrecision, compute_formats
from tlkit.record.timings import Measurements, Timing

GPU: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan in which everything trains."""
    return made(tmp_path_factory.mktemp("whole"), "freeze={}")


def measured(precisions: tuple[Precision, ...], milliseconds: tuple[float, ...], errors: tuple[float, ...]) -> Measurements:
    """Both memory formats of each precision take the same time and are as far off."""
    each = dict(zip(precisions, zip(milliseconds, errors, strict=True), strict=True))
    rows = [Timing(form, each[form.precision][0] / 1000, each[form.precision][1]) for form in compute_formats(precisions)]
    return Measurements(tuple(rows), (), 0.0, "")


@pytest.mark.parametrize(
    ("milliseconds", "errors", "expected", "words"),
    [
        ((10, 5, 2), (0, 3e-4, 4e-3), "bfloat16", ["in float32", "in tf32"]),
        ((10, 5, 2), (0, 3e-4, 2e-1), "tf32", ["in float32"]),
        ((10, 5, 6), (0, 3e-4, 4e-3), "tf32", ["in float32", "in bfloat16"]),
        ((10, 9.8, 9.9), (0, 3e-4, 4e-3), "float32", ["in tf32", "in bfloat16"]),
        ((10, 5, 2), (0, 1.3e-1, 1.4e-1), "float32", ["in tf32 main is 13.0% off", "in bfloat16 main is 14.0% off"]),
        ((10, 5, float("inf")), (0, 3e-4, float("inf")), "tf32", []),
    ],
)
def test_the_fastest_precision_that_is_near_enough_is_taken(
    whole: Plan, milliseconds: tuple[float, ...], errors: tuple[float, ...], expected: str, words: list[str]
) -> None:
    known = measured(GPU, milliseconds, errors)
    shared = precision.decide([(replace(whole, arm="main"), known)]).step
    assert shared.precision == expected
    for word in words:
        assert word in shared.reason
    assert choices.decide(whole, known, room=ROOM).compute_format.precision == expected


def test_a_precision_that_one_arm_was_not_measured_in_is_not_taken(whole: Plan) -> None:
    """One arm's recipe asked for float16 before, so that was measured too."""
    many = measured((*GPU, "float16"), (10, 5, 4, 1), (0, 0, 0, 0))
    arms = [(whole, many), (whole, measured(GPU, (10, 5, 4), (0, 0, 0)))]
    assert precision.decide(arms).step.precision == "bfloat16"


def test_a_precision_that_was_decided_on_a_gpu_is_kept_on_a_cpu(whole: Plan) -> None:
    plan = replace(whole, tables=whole.tables.model_copy(update={"precision": "tf32"}))
    decided = choices.decide(plan, measured(("float32", "bfloat16"), (10, 5), (0, 0)), room=ROOM)
    assert decided.compute_format == ComputeFormat("tf32")


@pytest.mark.parametrize(
    ("milliseconds", "layout"),  # contiguous, channels-last
    [(None, "channels_last"), ((10, 10), "channels_last"), ((9.6, 10), "channels_last"), ((9, 10), "contiguous")],
)
def test_a_gpu_has_channels_last_for_a_lower_precision_unless_contiguous_is_clearly_faster(
    whole: Plan, milliseconds: tuple[float, float] | None, layout: str
) -> None:
    plan = replace(whole, tables=whole.tables.model_copy(update={"precision": "bfloat16"}))
    times = zip(compute_formats(("bfloat16",)), milliseconds or (), strict=False)
    known = Measurements(tuple(Timing(form, each / 1000, 0.0) for form, each in times), (), 0.0, "the run is short")
    decided = {device: choices.decide(plan, known, room=ROOM, device=device).compute_format for device in ("cpu", "cuda")}
    assert decided["cuda"] == ComputeFormat("bfloat16", layout)
    assert decided["cpu"] == ComputeFormat("bfloat16")
    plain = replace(whole, tables=whole.tables.model_copy(update={"precision": "float32"}))
    assert choices.decide(plain, Measurements(), room=ROOM, device="cuda").compute_format == PLAIN_FORMAT


@pytest.mark.parametrize(
    ("capability", "asked", "expected"),
    [
        ((9, 0), "auto", ("float32", "tf32", "bfloat16")),
        ((8, 0), "float16", ("float16",)),
        ((7, 5), "auto", ("float32", "float16")),
        ((7, 0), "bfloat16", ("bfloat16",)),
    ],
)
def test_a_gpu_is_measured_in_the_precisions_that_it_has(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], asked: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert tuple(formats.considered(torch.device("cuda"), asked)) == expected
    assert tuple(formats.considered(torch.device("cpu"), asked)) == (("float32", "bfloat16") if asked == "auto" else expected)


@pytest.mark.parametrize(
    ("name", "words"), [("tf32", ["NVIDIA", 'precision = "float32"']), ("float16", ["scaled", 'precision = "bfloat16"'])]
)
def test_a_precision_of_gpus_is_refused_on_a_cpu_with_what_to_take(toy_recipe: Path, name: str, words: list[str]) -> None:
    with pytest.raises(TlkitError) as caught:
        api.plan(toy_recipe, f"precision={name}", device="cpu")
    assert str(caught.value).startswith(f'{toy_recipe}: precision: "{name}": ')
    for word in words:
        assert word in str(caught.value)


def test_tf32_is_refused_on_a_gpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    refused = formats.why_not("tf32", torch.device("cuda"))
    assert "Tesla T4 has no tf32" in refused[0]
    assert formats.why_not("float16", torch.device("cuda")) is None


# ---- one precision for the steps of all arms


def test_arms_have_the_precision_that_is_faster_for_all_of_them(whole: Plan) -> None:
    """4,000 images x 5 epochs: 20 s and 400 s in float32, 8 s and 410 s in bfloat16 is 0.5 % faster, 200 s is."""
    small, large, larger = (
        Measurements(timings(*each), (), 0.0, "") for each in ((1, 1, 0.4, 0.4), (20, 21, 20.5, 22), (20, 21, 10, 22))
    )
    assert precision.decide([(whole, small)]).step == SharedPrecision(
        "bfloat16", "about 8 s of training steps, against 20 s in float32"
    )
    alone = precision.decide([(whole, small), (whole, large)]).step
    assert alone.precision == "float32"
    assert alone.reason == "about 420 s of training steps, against 418 s in bfloat16"
    assert precision.decide([(whole, small), (whole, larger)]).step.precision == "bfloat16"


def test_an_arm_that_is_too_far_off_keeps_all_in_float32(whole: Plan) -> None:
    other = replace(whole, arm="wide")
    known = Measurements(timings(10, 8, 6, 4), (), 0.0, "")
    off = Measurements(timings(10, 8, 6, 4, errors=(0, 0, 0.13, 0.14)), (), 0.0, "")
    assert precision.decide([(whole, known), (other, off)]).step == SharedPrecision(
        "float32", "in bfloat16 wide is 13.0% off float32 on real images, allowed is 10%"
    )


def test_an_arm_that_was_not_measured_keeps_all_in_float32(whole: Plan) -> None:
    known = Measurements(timings(10, 8, 6, 4), (), 0.0, "")
    assert precision.decide([(whole, known), (whole, Measurements(why=WHY))]).step == SharedPrecision("float32", WHY)


def test_an_arm_without_a_step_has_no_say_in_that_of_the_others(whole: Plan, tmp_path: Path) -> None:
    alone = made(tmp_path, "freeze={backbone=true}")
    known = Measurements(timings(10, 8, 6, 4), (), 0.0, "")
    assert precision.decide([(whole, known), (alone, Measurements(why=WHY))]).step.precision == "bfloat16"
    assert precision.decide([(alone, Measurements(why=WHY))]).step is None, "which is decided when an arm has one"


def test_an_arm_whose_recipe_names_a_precision_has_no_say(whole: Plan) -> None:
    own = replace(whole, tables=whole.tables.model_copy(update={"precision": "float32"}))
    known = Measurements(timings(10, 8, 6, 4), (), 0.0, "")
    assert precision.decide([(whole, known), (own, Measurements(why=WHY))]).step.precision == "bfloat16"


def test_the_precision_of_the_others_is_taken_and_the_memory_format_is_its_own(whole: Plan) -> None:
    known = Measurements(timings(10, 8, 12, 11), (), 0.0, "")
    shared = SharedFormats(SharedPrecision("bfloat16", "the others gain more"))
    plan = choices.decide(whole, known, room=ROOM, shared=shared)
    assert plan.compute_format == HALF_LAST
    assert said(plan, "training steps of all arms") == ("bfloat16", "the others gain more")
    off = Measurements(timings(10, 8, 12, 11, errors=(0, 0, 0.13, 0.14)), (), 0.0, "")
    plan = choices.decide(whole, off, room=ROOM, shared=shared)
    assert plan.compute_format == HALF_LAST
    assert "14.0% off float32 on real images, where 10% is the most" in said(plan, "training step")[1]


# ---- one compute format of a fixed prefix in all arms


def test_arms_with_the_same_fixed_prefix_have_it_in_one_format(tmp_path: Path) -> None:
    """4,000 + 1,000 images each: 8 + 14 ms in bfloat16 contiguous, 10 + 11 channels-last; alone, the first takes the other."""
    first, second = made(tmp_path), made(tmp_path, "optimizer.name=adamw", "schedule.epochs=3")
    arms = [
        (plan, Measurements((), ((4, timings(20, 18, *each)),), 0.0, ""))
        for plan, each in ((first, (8, 10)), (second, (14, 11)))
    ]
    shared = precision.decide(arms)
    assert [(each.stages, each.compute_format) for each in shared.prefixes] == [(4, HALF_LAST)]
    for plan, known in arms:
        fixed = choices.decide(plan, known, room=ROOM, shared=shared).phases[0].fixed
        assert fixed.compute_format == HALF_LAST
    assert choices.decide(*arms[0], room=ROOM).phases[0].fixed.compute_format == HALF


def test_a_fixed_prefix_is_as_far_off_as_in_the_arm_that_is_furthest(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path, "data.batch_size=16")
    near, far = (timings(20, 18, 8, 7, errors=(0, 0, error, error)) for error in (0.01, 0.03))
    arms = [(first, Measurements((), ((4, near),), 0.0, "")), (second, Measurements((), ((4, far),), 0.0, ""))]
    ((decided,),) = [precision.decide(arms).prefixes]
    assert decided.compute_format == PLAIN_LAST
    assert "bfloat16 is 3.0% off float32 on real images, allowed is 2%" in decided.reason


@pytest.mark.parametrize("setting", ["backbone.name=resnet34", "image_size", "freeze={stem=true, layer1=true}"])
def test_another_fixed_prefix_is_decided_for_itself(tmp_path: Path, setting: str) -> None:
    first = made(tmp_path)
    second = made(tmp_path, "data.image_size=192" if setting == "image_size" else setting)
    cut = len(second.phases[0].prefix)
    arms = [
        (first, Measurements((), ((4, timings(20, 18, 8, 10)),), 0.0, "")),
        (second, Measurements((), ((cut, timings(20, 9, 14, 11)),), 0.0, "")),
    ]
    assert [each.compute_format for each in precision.decide(arms).prefixes] == [HALF, PLAIN_LAST]


def test_what_was_decided_before_holds_and_what_is_new_is_added(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path, "freeze={stem=true}")
    known = Measurements(timings(10, 8, 6, 4), ((4, timings(20, 18, 8, 10)), (1, timings(20, 9, 14, 11))), 0.0, "")
    kept = precision.decide([(first, Measurements(timings(1, 8, 6, 4), ((4, timings(1, 18, 8, 10)),), 0.0, ""))])
    assert not precision.is_decided(second, kept)
    both = precision.decide([(first, known), (second, known)], kept)
    assert both.step == kept.step
    assert both.prefixes[:1] == kept.prefixes
    assert [(each.stages, each.compute_format) for each in both.prefixes] == [(4, PLAIN_FORMAT), (1, PLAIN_LAST)]
    assert precision.is_decided(second, both)
