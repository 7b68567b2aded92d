"""What the store keeps of a fixed prefix: the prefix's own outputs, each computed once, and at the cost of no run."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tlkit_toy
import torch
from torch import Tensor, nn
from toy_observers import Notes
from toy_training import CPU, Training, shared, training

from tlkit.engine import row_keys
from tlkit.engine.images.parts import Part
from tlkit.engine.prefix import prefix, prefix_store
from tlkit.engine.prefix.prefix import Prefix
from tlkit.engine.prefix.prefix_store import PrefixStore
from tlkit.engine.prefix.stored_rows import StoredRows
from tlkit.engine.ranks.ranks import ALONE
from tlkit.engine.runtime import Runtime
from tlkit.events import Observer
from tlkit.network.device_memory import Exhausted
from tlkit.network.network import Network
from tlkit.plugin import IMAGENET
from tlkit.recipe import augmentations
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat, PrefixPlan, StorePlan
from tlkit.store import filling
from tlkit.store.usage import Kind

CHUNK, IMAGES = 4, 10
STEM, BACKBONE = (StorePlan(stages, 0, 0, 0.0, "") for stages in (1, 3))
AUGMENT = ["random_crop", "hflip"]


class Told(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.stored: list[tuple[int, int]] = []

    def storing(self, done: int, total: int) -> None:
        self.stored.append((done, total))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / Kind.FEATURES


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Training:
    settings = ("freeze={backbone=true}", f"data.options.train={IMAGES}", f"data.options.test={IMAGES}")
    return shared(tmp_path_factory.mktemp("toy"), *settings)


def fixed(mine: Training, compute_format: ComputeFormat = PLAIN_FORMAT) -> Prefix:
    train = mine.prepared.train
    sample = train.inputs(train.indices[:1], 0, CPU)
    return prefix.build(mine.network, 3, PrefixPlan(compute_format=compute_format, chunk=CHUNK), sample=sample)


def opened(
    mine: Training,
    run: Prefix | None = None,
    *,
    told: Observer | None = None,
    watch: Callable[[], None] = lambda: None,
    ranks: object = ALONE,
) -> PrefixStore:
    runtime = Runtime(CPU, told or Told(), watch, ranks=ranks)
    return PrefixStore(run or fixed(mine), mine.network, tlkit_toy.toy, mine.plan, mine.plan.phases[0], runtime, channels=3)


def evaluated(mine: Training) -> Part:
    return mine.prepared.evaluated.test


def read(found: StoredRows | None, part: Part, epoch: int = 0) -> Tensor:
    return torch.cat(list(found.batches(part.indices, epoch, CPU, CHUNK)))


def computed(run: Prefix, part: Part, epoch: int = 0, *, stages: int = 1) -> Tensor:
    pieces = (part.indices[at : at + CHUNK] for at in range(0, len(part.indices), CHUNK))
    return torch.cat([run(part.inputs(chosen, epoch, CPU), stop=stages) for chosen in pieces])


# ---- rows


@pytest.mark.parametrize("compute_format", COMPUTE_FORMATS, ids=str)
def test_rows_are_what_the_prefix_gives_in_its_types_and_order(mine: Training, compute_format: ComputeFormat) -> None:
    run, part = fixed(mine, compute_format), evaluated(mine)
    store, last = opened(mine, run), compute_format.layout == "channels_last"
    maps, features = store.rows(part, STEM), store.rows(part, BACKBONE)
    assert torch.equal(read(maps, part), computed(run, part))
    assert torch.equal(read(features, part), computed(run, part, stages=3))
    for found, stages in ((maps, 1), (features, 3)):
        assert (found.stages, found.views, found.period, found.before) == (stages, (0,), 1, 0)
        assert (found.channels_last, found.indices is part.indices) == (last, True)
    half = compute_format.precision == "bfloat16"
    assert (maps.dtype, maps.located.dtype) == ((torch.bfloat16, np.uint16) if half else (torch.float32, np.float32))
    assert (features.dtype, features.located.dtype) == (torch.float32, np.float32)
    assert (maps.located.shape, features.located.shape) == ((16, 16, 8) if last else (8, 16, 16), (16,))


def test_rows_of_views_are_those_that_the_phases_epochs_draw_after_those_before_the_run(mine: Training) -> None:
    """Two epochs after one that was trained before: views 1 and 2 of four; and of three those of epochs 2 and 3, where 2 is there."""
    run = fixed(mine)
    for views, before, expected, stored in ((4, 1, (1, 2), [4, 6, 10, 12]), (3, 2, (0, 2), [4, 6])):
        part, told = (
            replace(mine.prepared.train, augment=augmentations.read(AUGMENT), views=views, epochs_before=before),
            Told(),
        )
        found = opened(mine, run, told=told).rows(part, STEM)
        assert told.stored == [(done, stored[-1]) for done in stored]  # of six images
        assert (found.views, found.period, found.before) == (expected, views, before)
        for epoch in (0, 1):
            assert torch.equal(read(found, part, epoch), computed(run, part, epoch))
        assert not torch.equal(read(found, part, 0), read(found, part, 1))


def test_rows_of_training_images_of_another_size_have_the_shape_of_that_size(toy_recipe: Path) -> None:
    sizes = "data.image_sizes=[{epochs=1, size=12}, {epochs=1, size=16}]"
    mine = training(toy_recipe, "freeze={backbone=true}", sizes, f"data.options.train={IMAGES}")
    run, part = fixed(mine), mine.prepared.train.at((12, 12))
    found = opened(mine, run).rows(part, STEM)
    assert found.located.shape == (8, 12, 12)
    assert torch.equal(read(found, part), computed(run, part))


# ---- computed once


def test_only_rows_that_are_missing_are_computed_chunk_by_chunk_and_told(mine: Training) -> None:
    told, asked, part = Told(), [], evaluated(mine)
    store = opened(mine, told=told, watch=lambda: asked.append(len(told.stored)))
    store.rows(replace(part, indices=part.indices[:3]), STEM)
    assert told.stored == [(3, 3)]
    store.rows(part, STEM)
    assert told.stored == [(3, 3), (4, 7), (7, 7)]
    assert asked == [0, 1, 2], "before each chunk"
    store.rows(part, STEM)
    opened(mine, told=told).rows(part, STEM)
    assert len(told.stored) == 3


def test_training_images_that_are_not_augmented_share_the_rows_of_those_that_are_evaluated(mine: Training) -> None:
    told, train = Told(), replace(mine.prepared.train, views=3, epochs_before=2, seed=5)
    store = opened(mine, told=told)
    store.rows(Part(train.pictures, train.indices, train.convention), STEM)
    before = len(told.stored)
    found = store.rows(train, STEM)
    assert len(told.stored) == before
    assert (found.views, found.period, found.before) == ((0,), 1, 0)


def test_rows_of_other_draws_or_inputs_are_not_taken(mine: Training) -> None:
    told = Told()
    store = opened(mine, told=told)
    part = replace(mine.prepared.train, augment=augmentations.read(AUGMENT), views=1)
    others = [AUGMENT[::-1], ["random_crop", {"name": "hflip", "p": 0.6}], [*AUGMENT, "color_jitter"], ["random_crop"], []]
    augmented = [replace(part, augment=augmentations.read(names)) for names in others]
    for other in (part, replace(part, seed=5), replace(part, convention=IMAGENET), *augmented):
        told.stored.clear()
        store.rows(other, STEM)
        assert told.stored[-1] == (len(part.indices), len(part.indices))
        told.stored.clear()
        store.rows(other, STEM)
        assert told.stored == []


def test_what_rows_were_made_from_is_written_beside_them(mine: Training, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls, original = fixed(mine), [], row_keys.prefix
    monkeypatch.setattr(row_keys, "prefix", lambda *args, **more: calls.append(args[1]) or original(*args, **more))
    store, part = opened(mine, run), evaluated(mine)
    store.rows(part, STEM)
    store.rows(mine.prepared.train, STEM)
    store.rows(part, BACKBONE)
    assert calls == [1, 3], "the weights are read once for all parts"
    described = [json.loads(path.read_text())["origin"] for path in folder.glob("*/entry.json")]
    (origin,) = (each for each in described if each["stages"] == "stem")
    assert len(described) == 2
    assert (origin["backbone"], origin["options"], origin["device"], origin["chunk"]) == ("toy", "{}", "cpu", CHUNK)
    assert origin["input"] == repr(part.convention)
    assert (
        origin["plugin"]
        != row_keys.prefix(mine.network, 1, run.plan, backbone="toy", build="", options={}, device=CPU)["plugin"]
    )
    assert origin["fingerprint"] == run.fingerprint((16, 16), stop=1)


def test_the_fingerprint_is_of_an_image_with_as_many_channels_as_the_data_has(mine: Training) -> None:
    network = Network({"stem": nn.Conv2d(5, 4, 1)}, nn.Identity()).eval()
    run = prefix.build(network, 1, PrefixPlan(), sample=torch.randn(1, 5, 8, 8))
    store = PrefixStore(run, network, tlkit_toy.toy, mine.plan, mine.plan.phases[0], Runtime(CPU), channels=5)
    assert store._origin(1, (8, 8))["fingerprint"] == run.fingerprint((8, 8), stop=1, channels=5)


def test_the_key_of_a_view_is_that_of_the_image_with_view_and_position() -> None:
    """Stored rows are found by it: the low bytes of view + 1 and of the position are added to the two halves without carry."""
    keys = np.arange(48, dtype=np.uint8).reshape(3, 16)
    found = prefix_store._of_views(keys[::2], np.array([5, 6]), (0, 2))
    expected = keys[[0, 2, 0, 2]]
    expected[:, 0] ^= np.array([1, 1, 3, 3], np.uint8)
    expected[:, 8] ^= np.array([5, 6, 5, 6], np.uint8)
    assert (found.dtype, found.tolist()) == (np.uint8, expected.tolist())


# ---- other processes


def rank(number: int, wait: Callable[[], None] = lambda: None) -> SimpleNamespace:
    """One of two processes of a machine."""
    return SimpleNamespace(rank=number, size=2, local_rank=number, local_size=2, wait=wait)


def test_each_of_two_processes_computes_half_and_at_last_what_the_other_could_not_store(
    mine: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, ours, theirs, waits = evaluated(mine), Told(), Told(), []
    monkeypatch.setattr(filling, "alone", lambda *args, **more: pytest.fail("processes of one run do not wait for each other"))

    def together() -> None:
        if not waits:
            opened(mine, told=theirs, ranks=rank(1)).rows(part, STEM)
        waits.append(1)

    found = opened(mine, told=ours, ranks=rank(0, together)).rows(part, STEM)
    assert (ours.stored, theirs.stored, len(waits)) == ([(4, 5), (5, 5)], [(4, 5), (5, 5)], 2)
    assert torch.equal(read(found, part), computed(fixed(mine), part))
    opened(mine, told=ours, ranks=rank(0)).rows(part, BACKBONE)
    assert ours.stored[2:] == [(4, 5), (5, 5)] * 2


def test_where_there_is_no_room_it_is_said_and_the_other_processes_are_still_waited_for(
    mine: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, waits, part = [], [], evaluated(mine)
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    monkeypatch.setattr(part.pictures, "note", notes.append)
    assert opened(mine, ranks=rank(0, lambda: waits.append(1))).rows(part, BACKBONE) is None
    assert len(waits) == 2
    (note,) = notes
    assert note.startswith("store: 5 rows of ")
    assert note.endswith(
        "bytes in all do not fit: at most 0 are kept, and 0 of them can be freed beside what this run reads; the fixed prefix is "
        "computed again every epoch"
    )


def test_what_another_run_stored_while_it_was_waited_for_is_read(
    mine: Training, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, told, asked, alone = evaluated(mine), Told(), [], filling.alone

    @contextmanager
    def waiting(digest: str, **more: object) -> Iterator[bool]:
        asked.append((digest, more))
        if len(asked) == 1:  # the other one comes here too
            opened(mine).rows(part, STEM)
            yield True
        else:
            with alone(digest, **more) as waited:
                yield waited

    def watch() -> None: ...

    monkeypatch.setattr(filling, "alone", waiting)
    found = opened(mine, told=told, watch=watch).rows(part, STEM)
    assert told.stored == []
    assert torch.equal(read(found, part), computed(fixed(mine), part))
    (entry,) = folder.iterdir()
    assert asked[0] == (entry.name, {"watch": watch, "note": told.note})
    opened(mine).rows(part, STEM)
    assert len(asked) == 2, "where nothing is missing nobody is waited for"


# ---- what goes wrong


def test_memory_that_runs_out_is_said_to_be_the_prefixs(mine: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Prefix, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        raise MemoryError

    store = opened(mine)
    store._origin(1, (16, 16))
    monkeypatch.setattr(Prefix, "__call__", full)
    with pytest.raises(Exhausted) as caught:
        store.rows(evaluated(mine), STEM)
    assert caught.value.purpose == "prefix"


@pytest.mark.parametrize("verify", [True, False])
def test_stored_rows_are_checked_where_the_pictures_are(mine: Training, verify: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    part, asked, original = evaluated(mine), [], prefix_store.row_store.open_
    monkeypatch.setattr(part.pictures, "verify", verify)
    monkeypatch.setattr(prefix_store.row_store, "open_", lambda *args, **more: asked.append(more) or original(*args, **more))
    opened(mine).rows(part, BACKBONE)
    assert [(each["verify"], each["note"]) for each in asked] == [(verify, part.pictures.note)]
