"""What a feed gives: batches of the images that are asked for, after the fixed prefix, wherever the prefix's output comes from."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import tlkit_toy
import torch
from torch import Tensor
from toy_observers import Notes
from toy_step import Recorder
from toy_training import CPU, Training, shared

from tlkit.engine.images.parts import Evaluated, Part, TargetPart, TrainingPart
from tlkit.engine.images.pictures import Indices
from tlkit.engine.prefix import feed as feeds
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.ranks.ranks import ALONE
from tlkit.engine.runtime import Runtime
from tlkit.plans.plan import PhasePlan
from tlkit.recipe import augmentations
from tlkit.record.formats import ComputeFormat, NotStored, PrefixPlan, StorePlan

BATCH, CHUNK = 4, 3
STEM, BLOCK1 = (StorePlan(stages, 0, 0, 0.0, "") for stages in (1, 2))
GPU = torch.device("cuda:0")
AUGMENT, MIXED = (augmentations.read(names) for names in (["random_crop", "hflip"], ["random_crop", "mixup"]))
HALF_LAST = ComputeFormat("bfloat16", "channels_last")


class Told(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.stored = 0

    def storing(self, done: int, total: int) -> None:
        self.stored += done == total


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Ten images are trained on and eight tested; the first two of three stages are frozen."""
    settings = ("data.options.train=10", "data.options.test=8", "data.split.validation=0.0", f"data.batch_size={BATCH}")
    return shared(tmp_path_factory.mktemp("toy"), "freeze={stem=true, block1=true}", *settings)


def phase_of(mine: Training, fixed: PrefixPlan | None = None, **stores: object) -> PhasePlan:
    fixed = PrefixPlan(chunk=CHUNK, **stores) if fixed is None else fixed
    return replace(mine.plan.phases[0], fixed=fixed)


def plain(mine: Training) -> PhasePlan:
    """A phase without a fixed prefix."""
    return replace(mine.plan.phases[0], prefix=(), fixed=None)


def fed(
    mine: Training,
    phase: PhasePlan,
    *,
    train: TrainingPart | None = None,
    target: TargetPart | None = None,
    told: Told | None = None,
    **more: object,
) -> Feed:
    plan, evaluated = more.pop("plan", mine.plan), Evaluated(None, mine.prepared.evaluated.test, target=target)
    runtime = Runtime(**{"device": CPU, "observer": told or Told(), **more})
    return Feed(mine.network, tlkit_toy.toy, plan, phase, train or mine.prepared.train, evaluated, runtime)


def of_test(mine: Training) -> Part:
    return mine.prepared.evaluated.test


def pieces(order: Indices, size: int) -> list[Indices]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def assert_fed(found: Iterator[tuple[Tensor, Tensor]], part: Part, order: Indices, epoch: int, size: int, run: Feed) -> None:
    """Batches are of an order, with its targets, and their inputs those of the part after the feed's prefix."""
    prefix = (lambda x: x) if run._prefix is None else run._prefix
    batches = list(found)
    assert [len(x) for x, _ in batches] == [len(y) for _, y in batches] == [len(each) for each in pieces(order, size)]
    cut = size if run._prefix is None else CHUNK
    right = torch.cat([prefix(part.inputs(chosen, epoch, CPU)) for chosen in pieces(order, cut)])
    assert torch.equal(torch.cat([x for x, _ in batches]), right)
    assert torch.equal(
        torch.cat([y for _, y in batches]), torch.cat([part.targets(chosen, epoch, CPU) for chosen in pieces(order, size)])
    )


# ---- batches


@pytest.mark.parametrize("stored", [None, STEM, BLOCK1], ids=["computed", "a part is stored", "stored"])
def test_batches_are_the_prefixs_output_whatever_is_stored(mine: Training, stored: StorePlan | None) -> None:
    """In views, so that the epoch counts: two of them."""
    train, told = replace(mine.prepared.train, augment=AUGMENT, views=2), Told()
    run = fed(mine, phase_of(mine, train=stored, evaluation=stored), train=train, told=told)
    assert told.stored == (0 if stored is None else 2), "of the images that train and those that are tested"
    assert all(rows.resident is None for rows in run._rows.values()), "memory of the CPU is left to the store"
    for epoch in (0, 1):
        order = train.order(epoch)
        assert_fed(run.train(order, epoch), train, order, epoch, BATCH, run)
        assert_fed(run.train(order[:5], epoch, 2), train, order[:5], epoch, 2, run)
    part = of_test(mine)
    assert_fed(run.held_out(part), part, part.indices, 0, BATCH, run)
    assert_fed(run.held_out(part, part.indices[::-2]), part, part.indices[::-2], 0, BATCH, run)


def test_without_a_prefix_batches_are_the_pictures_and_what_is_evaluated_is_of_the_first_epoch(mine: Training) -> None:
    train = replace(mine.prepared.train, augment=MIXED)
    run, order = fed(mine, plain(mine), train=train), train.order(2)
    assert_fed(run.train(order, 2), train, order, 2, BATCH, run)
    assert_fed(run.held_out(train), train, train.indices, 0, BATCH, run)
    seen = list(run.inputs(train, order[:6]))
    assert [len(x) for x in seen] == [4, 2]
    assert torch.equal(torch.cat(seen), torch.cat([train.inputs(chosen, 0, CPU) for chosen in pieces(order[:6], BATCH)]))


def test_pictures_that_are_evaluated_in_tiles_come_as_they_are(mine: Training) -> None:
    train = replace(mine.prepared.train, augment=MIXED)
    run = fed(mine, phase_of(mine), train=train, plan=replace(mine.plan, tile=8))
    for order in (train.indices, train.indices[3:9]):
        batches = list(run.held_out(train, None if order is train.indices else order))
        for (x, y), chosen in zip(batches, pieces(order, BATCH), strict=True):
            assert torch.equal(x, train.inputs(chosen, 0, CPU))
            assert torch.equal(y, train.targets(chosen, 0, CPU))


@pytest.mark.parametrize("of_step", [ComputeFormat(), ComputeFormat("float32", "channels_last"), HALF_LAST], ids=str)
def test_outputs_of_a_prefix_come_in_the_form_of_the_training_step(mine: Training, of_step: ComputeFormat) -> None:
    """Values are those of bfloat16; a step in float32 takes them as float32, which changes none."""
    fixed = PrefixPlan(compute_format=ComputeFormat("bfloat16"), chunk=CHUNK)
    run, order = fed(mine, phase_of(mine, fixed), plan=replace(mine.plan, compute_format=of_step)), mine.prepared.train.order(0)
    x, _ = next(run.train(order, 0))
    assert x.dtype == (torch.bfloat16 if of_step.precision == "bfloat16" else torch.float32)
    last = of_step.layout == "channels_last"
    assert x.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    right = torch.cat([run._prefix(mine.prepared.train.inputs(chosen, 0, CPU)) for chosen in pieces(order[:6], CHUNK)])
    assert torch.equal(x.float(), right[:BATCH].float())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([4, 4, 2], [4, 4, 2]),
        ([3, 3, 3], [4, 4, 1]),
        ([2, 2, 4, 1], [4, 4, 1]),
        ([9, 3], [4, 4, 4]),
        ([3, 4, 1, 4], [4, 4, 4]),
        ([1, 1], [2]),
        ([], []),
    ],
)
def test_pieces_become_batches_of_one_size(sizes: list[int], expected: list[int]) -> None:
    rows = torch.arange(sum(sizes))
    found = list(islice(feeds._rebatch(iter(rows.split(sizes)) if sizes else iter(()), 4), len(expected) + 1))
    assert [len(x) for x in found] == expected
    assert torch.equal(torch.cat([torch.empty(0, dtype=torch.int64), *found]), rows)


def test_a_piece_of_the_right_size_is_not_copied_and_no_batch_waits_for_the_next_piece() -> None:
    given = [torch.zeros(4), torch.ones(4), torch.ones(1)]
    first, second, _ = feeds._rebatch(iter(given), 4)
    assert (first is given[0], second is given[1]) == (True, True)
    left = iter(torch.arange(6).split(2))
    assert next(feeds._rebatch(left, 4)).tolist() == [0, 1, 2, 3]
    assert next(left).tolist() == [4, 5]


# ---- images of a target beside those of the source


def target_of(mine: Training, *, second: bool = True, labelled: int = 4) -> TargetPart:
    """Images of the target are those of the source in other views: what matters is which are taken."""
    train = replace(mine.prepared.train, augment=AUGMENT, views=2)
    few = replace(train, indices=train.indices[:labelled], seed=3) if labelled else None
    return TargetPart(
        "dark", of_test(mine), train.indices[:labelled], training=replace(train, seed=1),
        second=replace(train, seed=2) if second else None, trained=few,
    )  # fmt: skip


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("stores", [{}, {"train": BLOCK1}], ids=["computed", "stored"])
def test_behind_the_images_of_the_source_come_labelled_ones_and_the_views_of_others(
    mine: Training, second: bool, stores: dict[str, StorePlan]
) -> None:
    target, told, epoch = target_of(mine, second=second), Told(), 1
    run = fed(mine, phase_of(mine, **stores), target=target, told=told)
    assert len(run._rows) == (3 if stores else 0), "of the source, the labelled ones, and the first view of the others"
    source, train = mine.prepared.train.order(epoch)[:9], mine.prepared.train
    few, others = target.trained.indices, target.training.order(epoch)[:9]
    views = [target.training, *([target.second] if second else [])]
    found = list(run.adapted(source, few, others, epoch, size=3, labelled_size=2))
    assert len(found) == 3
    for at, (x, y) in enumerate(found):
        of = slice(3 * at, 3 * at + 3)
        mixed = [(train, source[of]), (target.trained, few[2 * at : 2 * at + 2])]
        right = [run._prefix(part.inputs(chosen, epoch, CPU)) for part, chosen in mixed if len(chosen)]
        right += [run._prefix(view.inputs(others[of], epoch, CPU)) for view in views]
        assert torch.equal(x, torch.cat(right))
        assert torch.equal(y, torch.cat([part.targets(chosen, epoch, CPU) for part, chosen in mixed]))
    assert [len(y) for _, y in found] == [5, 5, 3], "the labelled ones are used up before the last batch"


@pytest.mark.parametrize(("labelled", "size"), [(0, 2), (4, 0)], ids=["none", "no step takes them"])
def test_without_labelled_images_only_the_views_come_behind(mine: Training, labelled: int, size: int) -> None:
    target = target_of(mine, labelled=labelled)
    run, order = fed(mine, plain(mine), target=target), mine.prepared.train.order(0)[:4]
    ((x, y),) = run.adapted(order, target.labelled, order, 0, size=4, labelled_size=size)
    assert (len(x), len(y)) == (12, 4)
    assert torch.equal(x[8:], target.second.inputs(order, 0, CPU))


def test_a_phase_of_another_size_takes_the_target_in_that_size(mine: Training) -> None:
    train = replace(mine.prepared.train, augment=AUGMENT)
    smaller = replace(train, size=(12, 12))
    target = TargetPart("dark", of_test(mine), train.indices[:0], training=replace(train, others={(12, 12): smaller}))
    run = fed(mine, replace(plain(mine), image_size=(12, 12)), train=smaller, target=target)
    ((x, _),) = run.adapted(train.indices[:4], train.indices[:0], train.indices[4:8], 0, size=4, labelled_size=0)
    assert x.shape == (8, 3, 12, 12)
    assert torch.equal(x, torch.cat([smaller.inputs(train.indices[:4], 0, CPU), smaller.inputs(train.indices[4:8], 0, CPU)]))


# ---- the prefix


def test_what_is_not_stored_for_want_of_room_is_said_once(mine: Training) -> None:
    for kinds, reasons, expected in (
        ((NotStored.NO_ROOM, NotStored.NO_ROOM), ("too small", "too small"), ["too small"]),
        ((NotStored.NO_ROOM, NotStored.NO_ROOM), ("of this", "of that"), ["of this", "of that"]),
        ((NotStored.CHANGES, NotStored.NO_ROOM), ("it changes", "too small"), ["too small"]),
        ((NotStored.NOT_FASTER, None), ("not faster", ""), []),
    ):
        told = Told()
        fixed = PrefixPlan(
            chunk=CHUNK, not_stored=kinds[0], evaluation_not_stored=kinds[1], reason=reasons[0], evaluation_reason=reasons[1]
        )
        assert fed(mine, phase_of(mine, fixed), told=told)._rows == {}
        assert told.notes == [f"{each}; the fixed prefix is computed again every epoch" for each in expected]


def test_images_that_there_are_none_of_and_rows_that_cannot_be_stored_are_left_out(
    mine: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, part = mine.prepared.train, of_test(mine)
    for stores, expected in (
        ({"train": BLOCK1}, [train]),
        ({"evaluation": BLOCK1}, [part]),
        ({"train": BLOCK1, "evaluation": BLOCK1}, [train, part]),
    ):
        run = fed(mine, phase_of(mine, **stores))
        assert list(run._rows) == [id(each) for each in expected]
    empty = replace(target_of(mine), trained=replace(train, indices=train.indices[:0]))
    assert len(fed(mine, phase_of(mine, train=BLOCK1), target=empty)._rows) == 2
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    run = fed(mine, phase_of(mine, train=BLOCK1, evaluation=BLOCK1))
    assert run._rows == {}
    assert_fed(run.held_out(part), part, part.indices, 0, BATCH, run)


def test_one_process_asks_before_each_chunk_whether_to_stop_and_several_do_not(mine: Training) -> None:
    asked: list[int] = []
    order = mine.prepared.train.order(0)
    for ranks, expected in ((ALONE, 4), (SimpleNamespace(size=2), 0), (SimpleNamespace(size=3), 0)):
        run = fed(mine, phase_of(mine), watch=lambda: asked.append(1), ranks=ranks)
        asked.clear()
        assert len(list(run.train(order, 0))) == 3
        assert len(asked) == expected  # ten images in chunks of three


def test_the_time_in_the_prefix_is_added_up_over_chunks(mine: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(feeds, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run, order = fed(mine, phase_of(mine, evaluation=BLOCK1)), mine.prepared.train.order(0)
    assert run.prefix_seconds == 0
    list(run.held_out(of_test(mine)))
    assert run.prefix_seconds == 0, "these are stored"
    list(run.train(order, 0))
    assert run.prefix_seconds == 4 * 5
    list(run.train(order[:3], 1))
    assert run.prefix_seconds == 5 * 5


def test_a_prefix_is_captured_where_a_backend_can_and_says_why_it_is_not(mine: Training) -> None:
    told, train = Told(), mine.prepared.train
    run, chosen = fed(mine, phase_of(mine), told=told), train.indices[:CHUNK]
    right = run._prefix(train.inputs(chosen, 0, CPU))
    for backend, notes in (
        (Recorder(), []),
        (Recorder(failing={0: RuntimeError("no")}), ["the fixed prefix runs without a captured graph: RuntimeError: no"]),
    ):
        run._backend = backend
        built = run._build(train)
        assert torch.equal(built(train.inputs(chosen, 0, CPU)), right)
        assert backend.calls[:2] == ["warm up", "capture"]
        assert told.notes == notes


# ---- on a GPU


def test_a_backend_captures_on_a_gpu_where_graphs_are_wanted(mine: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.engine.runtime.CudaBackend", lambda device: ("graphs", device))
    monkeypatch.setattr(mine.prepared.train.pictures.residency, "_free", lambda device: 0)
    assert fed(mine, plain(mine), device=GPU)._backend == ("graphs", GPU)
    assert fed(mine, plain(mine), device=GPU, graph=False)._backend is None
    assert fed(mine, plain(mine), device=CPU)._backend is None


@pytest.mark.parametrize("stores", [{}, {"train": BLOCK1, "evaluation": BLOCK1}], ids=["pictures", "rows"])
def test_what_trains_stays_on_a_device_before_what_is_evaluated(
    mine: Training, stores: dict[str, StorePlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of two stages are 8 x 8 x 8 float32, pictures 16 x 16 x 3 bytes. Ten images train, eight are tested."""
    train, part = mine.prepared.train, of_test(mine)
    run, beside, each = fed(mine, phase_of(mine, **stores)), 100, 2048 if stores else 768
    run._plan = replace(mine.plan, memory=SimpleNamespace(network=beside))
    holders = list(run._rows.values()) if stores else [train.pictures, part.pictures]
    for room, expected in ((10 * each - 1, [0, 8]), (10 * each, [10, 0]), (18 * each - 1, [10, 0]), (18 * each, [10, 8])):

        def free(device: torch.device, room: int = room) -> float:
            assert device == CPU
            return (room - sum(holder.resident_bytes for holder in holders) + beside) / 0.9 + 1e-6

        for holder in holders:
            holder.leave_()
        monkeypatch.setattr(train.pictures.residency, "_free", free)
        run._settle()
        assert [holder.resident_bytes for holder in holders] == [count * each for count in expected]
    for holder in holders:
        holder.leave_()
