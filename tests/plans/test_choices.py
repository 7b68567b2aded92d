"""Which form runs and what is stored: the sums, worked by hand, and the words that go with them."""

from dataclasses import replace
from pathlib import Path

import pytest

from tlkit import api, files
from tlkit.plans import choices, plan_json
from tlkit.plans.plan import ImagesPlan, Plan
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat
from tlkit.record.timings import EarlierChoices, Measurements, Timing

PLAIN_LAST, HALF, HALF_LAST = COMPUTE_FORMATS[1:]
ROOM = 20_000_000_000
WHY = "not measured on this machine yet"

RECIPE = """\
format = 1
name = "cut"
[backbone]
name = "resnet18"
weights = "none"
[data]
name = "cifar10"
image_size = 224
batch_size = 32
[freeze]
stem = true
layer1 = true
layer2 = true
layer3 = true
[lr_groups]
backbone = 1e-4
head = 1e-2
[schedule]
epochs = 5
"""


def timings(*milliseconds: float, errors: tuple[float, ...] = (0.0, 1e-7, 0.004, 0.004)) -> tuple[Timing, ...]:
    return tuple(
        Timing(compute_format, ms / 1000, error)
        for compute_format, ms, error in zip(COMPUTE_FORMATS, milliseconds, errors, strict=True)
    )


# ---- the form


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan in which everything trains."""
    return made(tmp_path_factory.mktemp("whole"), "freeze={}")


def chosen(whole: Plan, known: tuple[Timing, ...], wanted: str = "auto") -> tuple[ComputeFormat, str]:
    """Return the format and the reason of a training step that a recipe of one arm has."""
    plan = replace(whole, tables=whole.tables.model_copy(update={"precision": wanted}))
    decided = choices.decide(plan, Measurements(known, (), 0.0, "" if known else WHY), room=ROOM)
    return decided.compute_format, said(decided, "training step")[1]


@pytest.mark.parametrize(
    ("milliseconds", "errors", "wanted", "expected"),
    [
        ((10, 8, 6, 4), (0, 0, 0.004, 0.004), "auto", HALF_LAST),
        ((10, 8, 4, 6), (0, 0, 0.004, 0.004), "auto", HALF),
        ((10, 8, 12, 14), (0, 0, 0.004, 0.004), "auto", PLAIN_LAST),
        ((10, 12, 14, 16), (0, 0, 0.004, 0.004), "auto", PLAIN_FORMAT),
        ((10, 9.6, 11, 11), (0, 0, 0.004, 0.004), "auto", PLAIN_FORMAT),  # by 4 %, which may be noise
        ((10, 9.4, 11, 11), (0, 0, 0.004, 0.004), "auto", PLAIN_LAST),
        ((10, 8, 6, 4), (0, 0, 0.004, 0.101), "auto", HALF),
        ((10, 8, 6, 4), (0, 0, 0.101, 0.102), "auto", PLAIN_LAST),
        ((10, 8, 6, 4), (0, 0, 0.1, 0.101), "auto", HALF),
        ((10, 8, 6, 4), (0, 0, 0.046, 0.046), "auto", HALF_LAST),  # more than a fixed prefix may be off
        ((10, 8, 6, 4), (0, 0, float("inf"), float("inf")), "auto", PLAIN_LAST),
        ((10, 8, 6, 4), (0, 0, 0.004, 0.004), "float32", PLAIN_LAST),
        ((10, 9.8, 6, 4), (0, 0, 0.004, 0.004), "float32", PLAIN_FORMAT),
        ((1, 1, 6, 4), (0, 0, 0.004, 0.004), "bfloat16", HALF_LAST),
        ((1, 1, 6, 5.9), (0, 0, 0.004, 0.004), "bfloat16", HALF),
        ((1, 1, 6, 4), (0, 0, 0.5, 0.5), "bfloat16", HALF_LAST),  # the recipe asks for it
    ],
)
def test_the_fastest_form_that_is_allowed_is_chosen(
    whole: Plan, milliseconds: tuple[float, ...], errors: tuple[float, ...], wanted: str, expected: ComputeFormat
) -> None:
    compute_format, reason = chosen(whole, timings(*milliseconds, errors=errors), wanted)
    assert compute_format == expected
    assert f"{milliseconds[COMPUTE_FORMATS.index(expected)]:.3g} ms" in reason


def test_the_reason_names_every_time_and_the_error(whole: Plan) -> None:
    _, reason = chosen(whole, timings(10, 8, 6, 4.25, errors=(0, 0, 0.004, 0.0052)))
    assert reason == (
        "4.25 ms an image; bfloat16 contiguous 6 ms, float32 channels_last 8 ms, float32 contiguous 10 ms; "
        "0.5% off float32 on real images"
    )


def test_what_is_too_far_off_is_said(whole: Plan) -> None:
    compute_format, reason = chosen(whole, timings(10, 8, 6, 4, errors=(0, 0, 0.121, 0.134)))
    assert compute_format == PLAIN_LAST
    assert reason == (
        "8 ms an image; bfloat16 channels_last 4 ms*, bfloat16 contiguous 6 ms*, float32 contiguous 10 ms "
        "(* bfloat16 is 13.4% off float32 on real images, allowed is 10%)"
    )


def test_what_of_a_prefix_is_too_far_off_is_said(tmp_path: Path) -> None:
    known = Measurements((), ((4, timings(20, 18, 16, 7.85, errors=(0, 0, 0.021, 0.034))),), 0.0, "")
    assert said(choices.decide(made(tmp_path), known, room=ROOM), "fixed prefix") == (
        "float32 channels_last",
        "18 ms an image; bfloat16 channels_last 7.85 ms*, bfloat16 contiguous 16 ms*, float32 contiguous 20 ms "
        "(* bfloat16 is 3.4% off float32 on real images, allowed is 2%)",
    )


def test_a_precision_that_is_asked_for_is_taken_and_said_to_be_too_far_off(whole: Plan) -> None:
    compute_format, reason = chosen(whole, timings(10, 8, 6, 4, errors=(0, 0, 0.121, 0.134)), "bfloat16")
    assert compute_format == ComputeFormat("bfloat16", "channels_last")
    assert reason == (
        "4 ms* an image; bfloat16 contiguous 6 ms*; 13.4% off float32 on real images, where 10% is the most that tlkit would choose"
    )


@pytest.mark.parametrize(("wanted", "expected"), [("auto", PLAIN_FORMAT), ("float32", PLAIN_FORMAT), ("bfloat16", HALF)])
def test_where_nothing_was_measured_the_reason_says_so(whole: Plan, wanted: str, expected: ComputeFormat) -> None:
    compute_format, reason = chosen(whole, (), wanted)
    assert compute_format == expected
    assert WHY in reason
    assert ("as the recipe says" in reason) == (wanted != "auto")


# ---- the sums


def made(tmp_path: Path, *settings: str, train: int = 4000, held_out: int = 1000) -> Plan:
    path = tmp_path / "cut.toml"
    path.write_text(RECIPE)
    (plan,) = api.plan(path, settings).values()
    phases = tuple(replace(phase, fixed=None) for phase in plan.phases)
    images = ImagesPlan(train, 0, held_out, "counted")
    return replace(plan, phases=phases, images=images, compute_format=PLAIN_FORMAT, choices=())


def measured(cut: int, *milliseconds: float) -> Measurements:
    """Times of a prefix; those of the step do not matter here."""
    return Measurements((), ((cut, timings(*milliseconds)),), 0.0, "")


def said(plan: Plan, what: str) -> tuple[str, str]:
    (choice,) = (choice for choice in plan.choices if choice.what == what)
    return choice.value, choice.reason


def test_the_sum_of_a_cut_after_layer3_is_that_worked_by_hand(tmp_path: Path) -> None:
    """256 x 14 x 14 x 2 bytes = 100,352; 4,000 x (7.85 ms - 0.1 ms to read them at 1 GB/s) = 31.0 s."""
    plan = choices.decide(made(tmp_path), measured(4, 20, 18, 16, 7.85), room=ROOM)
    (phase,) = plan.phases
    assert phase.fixed.compute_format == HALF_LAST
    assert (phase.fixed.train.stages, phase.fixed.train.bytes_per_image, phase.fixed.train.images) == (4, 100_352, 4000)
    assert phase.fixed.train.saves == pytest.approx(4000 * (0.00785 - 100_352 / 1e9))
    expected = "cut after layer3: 100 KB x 4,000 images = 401 MB in bfloat16, saves 31 s an epoch"
    assert said(plan, "fixed prefix, training images") == ("computed once and stored", expected)
    held = "cut after layer3: 100 KB x 1,000 held-out images = 100 MB in bfloat16, saves 7.7 s an epoch"
    assert said(plan, "fixed prefix, held-out images") == ("computed once and stored", held)


def test_the_maps_that_a_head_reads_of_earlier_stages_are_in_the_sum(tmp_path: Path) -> None:
    """64 x 56 x 56 + 128 x 28 x 28 + 256 x 14 x 14 = 351,232 values are 7 planes of 224 x 224, x 2 bytes = 702,464."""
    plan = choices.decide(made(tmp_path, "head.kind=toy_maps"), measured(4, 20, 18, 16, 7.85), room=ROOM)
    assert plan_json.from_json(plan_json.to_json(plan)) == plan
    assert plan.reads == (1, 2, 3, 4)
    assert plan.phases[0].fixed.train.bytes_per_image == 702_464
    expected = (
        "cut after layer3 with the maps of layer1, layer2: 702 KB x 4,000 images = 2.81 GB in bfloat16, saves 29 s an epoch"
    )
    assert said(plan, "fixed prefix, training images")[1] == expected


def test_a_float32_prefix_takes_twice_as_much(tmp_path: Path) -> None:
    plan = choices.decide(made(tmp_path, "precision=float32"), measured(4, 20, 18, 16, 7.85), room=ROOM)
    assert plan.phases[0].fixed.compute_format == PLAIN_LAST
    assert plan.phases[0].fixed.train.bytes_per_image == 200_704
    assert "201 KB x 4,000 images = 803 MB in float32" in plan.phases[0].fixed.train.reason


def test_pooled_rows_are_two_kilobytes_whatever_the_precision(tmp_path: Path) -> None:
    plan = choices.decide(made(tmp_path, "freeze={backbone=true}"), measured(5, 30, 28, 26, 10), room=ROOM)
    row = plan.phases[0].fixed.train
    assert (row.stages, row.bytes_per_image) == (5, 512 * 4)
    assert row.reason == "cut after layer4, pooled: 2.05 KB x 4,000 images = 8.19 MB in float32, saves 40 s an epoch"


def test_an_estimate_is_marked(tmp_path: Path) -> None:
    """FLOPs of the leading stages at 5e10 a second."""
    bare = made(tmp_path)
    plan = choices.decide(bare, Measurements(), room=ROOM)
    (phase,) = plan.phases
    seconds = sum(stage.flops for stage in plan.stages[:4]) / 5e10
    assert phase.fixed.compute_format == PLAIN_FORMAT
    assert phase.fixed.train.saves == pytest.approx(4000 * (seconds - 200_704 / 1e9))
    assert "saves about " in phase.fixed.train.reason
    assert said(plan, "fixed prefix") == ("float32 contiguous", WHY)
    assert said(plan, "training step") == ("float32 contiguous", WHY)


def test_views_are_counted(tmp_path: Path) -> None:
    views = ['data.augment=["hflip"]', "data.augment_views=3"]
    row = choices.decide(made(tmp_path, *views), measured(4, 20, 18, 16, 7.85), room=ROOM).phases[0].fixed.train
    assert row.images == 12_000
    assert "100 KB x 4,000 images x 3 views = 1.2 GB in bfloat16, saves 31 s an epoch" in row.reason
    few = choices.decide(made(tmp_path, *views, "schedule.epochs=2"), measured(4, 20, 18, 16, 7.85), room=ROOM)
    assert few.phases[0].fixed.train.images == 8000  # two epochs use two views


# ---- the budget


def narrow(plan: Plan, *shapes: tuple[int, int, int]) -> Plan:
    """Give the leading stages other output shapes and the same cost."""
    stages = [replace(stage, output=shape, flops=10**8) for stage, shape in zip(plan.stages, shapes)]
    return replace(plan, stages=(*stages, *plan.stages[len(shapes) :]))


def test_the_budget_moves_the_cut_earlier_and_then_to_nothing(tmp_path: Path) -> None:
    """Rows of 2 x 1000, 2 x 500, 2 x 4000 and 2 x 3000 bytes; each stage takes 2 ms of 8; no room is needed by others."""
    shapes = [(1000, 1, 1), (500, 1, 1), (4000, 1, 1), (3000, 1, 1)]
    bare = narrow(made(tmp_path, held_out=0), *shapes)
    found = {}
    for room in (24_000_000, 23_999_999, 4_000_000, 3_999_999):
        fixed = choices.decide(bare, measured(4, 20, 18, 16, 8), room=room).phases[0].fixed
        found[room] = fixed.train and (fixed.train.stages, fixed.train.bytes_per_image, fixed.train.saves)
        assert bool(fixed.reason) == (fixed.train is None)
    assert found[24_000_000] == (4, 6000, pytest.approx(4000 * (0.008 - 6e-6)))
    assert found[23_999_999] == (2, 1000, pytest.approx(4000 * (0.004 - 1e-6)))
    assert found[4_000_000] == found[23_999_999]
    assert found[3_999_999] is None


def test_held_out_images_come_first(tmp_path: Path) -> None:
    bare = made(tmp_path, train=1000, held_out=1000)
    both = choices.decide(bare, measured(4, 20, 18, 16, 8), room=2 * 100_352_000).phases[0].fixed
    assert both.train is not None
    assert both.evaluation is not None
    one = choices.decide(bare, measured(4, 20, 18, 16, 8), room=2 * 100_352_000 - 1).phases[0].fixed
    assert one.train is None
    assert one.evaluation is not None
    assert "fits the store's 100 MB" in one.reason
    none = choices.decide(bare, measured(4, 20, 18, 16, 8), room=0).phases[0].fixed
    assert (none.train, none.evaluation) == (None, None)


def test_a_prefix_that_is_faster_than_reading_is_not_stored(tmp_path: Path) -> None:
    """100,352 bytes take 0.1 ms to read."""
    for milliseconds, stored in ((0.1, False), (0.2, True)):
        fixed = choices.decide(made(tmp_path), measured(4, 20, 18, 16, milliseconds), room=ROOM).phases[0].fixed
        assert (fixed.train is not None) == stored
        assert (fixed.evaluation is not None) == stored


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (['data.augment=["hflip"]'], "augmentation changes every image in every epoch; data.augment_views = 5 would draw five"),
        (['data.augment=["mixup"]'], "mixup and cutmix mix images before it"),
        (['data.augment=["hflip", "cutmix"]'], "mixup and cutmix mix images before it"),
    ],
)
def test_why_nothing_is_stored_is_said_and_held_out_images_are(tmp_path: Path, settings: list[str], words: str) -> None:
    plan = choices.decide(made(tmp_path, *settings), measured(4, 20, 18, 16, 7.85), room=ROOM)
    assert plan.phases[0].fixed.train is None
    value, reason = said(plan, "fixed prefix, training images")
    assert value == "computed in every epoch"
    assert words in reason
    assert said(plan, "fixed prefix, held-out images")[0] == "computed once and stored"


def test_why_held_out_images_are_not_stored_is_said(tmp_path: Path) -> None:
    plan = choices.decide(made(tmp_path), measured(4, 20, 18, 16, 7.85), room=10)
    assert plan.phases[0].fixed.evaluation is None
    value, reason = said(plan, "fixed prefix, held-out images")
    assert value == "computed in every epoch"
    assert reason.startswith("no cut of it fits the store's 10 bytes: the smallest takes ")


def test_a_store_without_any_room_is_named(tmp_path: Path) -> None:
    plan = choices.decide(made(tmp_path), measured(4, 20, 18, 16, 7.85), room=0)
    _, reason = said(plan, "fixed prefix, held-out images")
    assert reason.startswith(f"no cut of it fits the store's 0 bytes in {files.cache_folder()}: the smallest takes ")


def test_where_everything_trains_there_is_no_prefix(tmp_path: Path) -> None:
    plan = choices.decide(made(tmp_path, "freeze={}"), Measurements(timings(10, 8, 6, 4), (), 0.0, ""), room=ROOM)
    assert plan.phases[0].fixed is None
    assert plan.compute_format == HALF_LAST
    assert [choice.what for choice in plan.choices] == ["training steps of all arms", "training step"]


def test_each_phase_has_its_own_prefix(tmp_path: Path) -> None:
    bare = made(tmp_path, "freeze={backbone={epochs=2}, stem=true}")
    known = Measurements(timings(10, 8, 6, 4), ((1, timings(9, 2, 5, 4)), (5, timings(9, 3, 2, 1))), 0.0, "")
    plan = choices.decide(bare, known, room=ROOM)
    assert [len(phase.prefix) for phase in plan.phases] == [5, 1]
    assert plan.compute_format == HALF_LAST
    assert [phase.fixed.compute_format for phase in plan.phases] == [HALF_LAST, PLAIN_LAST]
    assert [phase.fixed.train.stages for phase in plan.phases if phase.fixed.train] == [5, 1]
    assert said(plan, "fixed prefix, phase 1")[0] == "bfloat16 channels_last"
    assert said(plan, "fixed prefix, phase 2")[0] == "float32 channels_last"


# ---- limits of each part, and runs that are continued


@pytest.mark.parametrize(
    ("error", "step", "evaluation", "prefix"),
    [
        (0.004, HALF_LAST, None, HALF_LAST),
        (0.02, HALF_LAST, None, HALF_LAST),
        (0.046, HALF_LAST, PLAIN_LAST, PLAIN_LAST),
        (0.1, HALF_LAST, PLAIN_LAST, PLAIN_LAST),
        (0.11, PLAIN_LAST, None, PLAIN_LAST),
        (float("inf"), PLAIN_LAST, None, PLAIN_LAST),
    ],
)
def test_the_step_and_the_fixed_prefix_each_have_their_own_limit(
    tmp_path: Path, error: float, step: ComputeFormat, evaluation: ComputeFormat | None, prefix: ComputeFormat
) -> None:
    """A step may be 10 % off float32, and what nothing adapts to 2 %: the fixed prefix, and what is evaluated."""
    rows = timings(10, 8, 6, 4, errors=(0, 0, error, error))
    plan = choices.decide(made(tmp_path), Measurements(rows, ((4, rows),), 0.0, ""), room=ROOM)
    assert (plan.compute_format, plan.evaluation_format, plan.phases[0].fixed.compute_format) == (step, evaluation, prefix)
    lines = [(choice.value, choice.reason) for choice in plan.choices if choice.what == "evaluation"]
    assert lines == ([(str(evaluation), "the training step is more than 2% off float32")] if evaluation else [])
    assert ("in bfloat16, saves" in plan.phases[0].fixed.train.reason) == (prefix == HALF_LAST)


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_holds_for_all_parts(tmp_path: Path, wanted: str) -> None:
    rows = timings(10, 8, 6, 4, errors=(0, 0, 0.3, 0.3))
    plan = choices.decide(made(tmp_path, f"precision={wanted}"), Measurements(rows, ((4, rows),), 0.0, ""), room=ROOM)
    assert {plan.compute_format, plan.phases[0].fixed.compute_format} == {ComputeFormat(wanted, "channels_last")}
    assert plan.evaluation_format is None


def test_forms_of_a_run_that_is_continued_are_kept(tmp_path: Path) -> None:
    earlier = EarlierChoices(32, HALF, {4: PLAIN_LAST})
    plan = choices.decide(
        made(tmp_path), Measurements(timings(1, 9, 9, 9), ((4, timings(1, 9, 9, 9)),), 0.0, ""), room=ROOM, earlier=earlier
    )
    assert (plan.compute_format, plan.phases[0].fixed.compute_format) == (HALF, PLAIN_LAST)
    assert said(plan, "training step") == (str(HALF), "kept from when this run began")
    assert said(plan, "fixed prefix") == (str(PLAIN_LAST), "kept from when this run began")


@pytest.mark.parametrize("kept", [None, PLAIN_LAST])
def test_a_run_that_is_continued_evaluates_as_it_did(tmp_path: Path, kept: ComputeFormat | None) -> None:
    """A run of a version in which evaluation had no format of its own goes on in that of the step, however far off that is."""
    rows = timings(10, 8, 6, 4, errors=(0, 0, 0.046, 0.046))
    earlier = EarlierChoices(32, HALF_LAST, {4: HALF_LAST}, evaluation=kept)
    plan = choices.decide(made(tmp_path), Measurements(rows, ((4, rows),), 0.0, ""), room=ROOM, earlier=earlier)
    assert (plan.compute_format, plan.evaluation_format) == (HALF_LAST, kept)


def test_a_head_that_trains_alone_is_plain(tmp_path: Path) -> None:
    plan = choices.decide(made(tmp_path, "freeze={backbone=true}"), measured(5, 9, 9, 9, 1), room=ROOM)
    assert plan.compute_format == PLAIN_FORMAT
    assert "only the head trains" in said(plan, "training step")[1]


def test_a_plan_with_stores_round_trips_through_json(tmp_path: Path) -> None:
    for settings in ([], ['data.augment=["hflip"]'], ["freeze={backbone={epochs=2}, stem=true}"]):
        plan = choices.decide(made(tmp_path, *settings), measured(4, 20, 18, 16, 7.85), room=ROOM)
        assert plan_json.from_json(plan_json.to_json(plan)) == plan


def test_the_work_of_the_toy_is_that_worked_by_hand(toy_recipe: Path) -> None:
    """Two per multiply-add; 72 images train, 8 and 40 are held out; what trains is passed three times, what is stored once."""
    stem, block1, block2, head = 2 * 256 * 8 * 3 * 9, 2 * 256 * 8 * 8 * 9, 2 * 64 * 16 * 8 * 9, 2 * 16 * 4
    whole = stem + block1 + block2 + head
    settings = {
        (): 2 * (72 * 3 * whole + 48 * whole),
        ("freeze={backbone=true}",): 72 * (whole - head + 2 * 3 * head) + 48 * (whole - head + 2 * head),
        ("freeze={backbone=true}", 'data.augment=["hflip"]'): 2 * 72 * (whole + 2 * head) + 48 * (whole + head),
        ("freeze={stem=true, block1={epochs=1}}",): (
            72 * (whole + 2 * (block2 + head)) + 72 * (whole + 2 * (block1 + block2 + head)) + 2 * 48 * whole
        ),
    }
    for each, expected in settings.items():
        (plan,) = api.plan(toy_recipe, each).values()
        assert choices.work(plan) == expected
