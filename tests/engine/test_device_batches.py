"""Batches for an accelerator: those of the CPU, from tables that are uploaded for many batches at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there

from tlkit.engine import transfer
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.parameters import parameters
from tlkit.engine.images import device_batches
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.normalisation import Normaliser, folded
from tlkit.engine.images.parts import Part, TrainingPart
from tlkit.engine.images.pictures import Pictures
from tlkit.engine.images.residency import Residency
from tlkit.plugin import IMAGENET, Convention, Split
from tlkit.recipe import augmentations

CPU = torch.device("cpu")
IMAGES = 50


def pictures(side: int = 10, residency: Residency | None = None) -> Pictures:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8)
    split = Split(np.arange(IMAGES) % 5, pixels=pixels)
    mine = Pictures(split, Geometry((side, side), (side, side), "bilinear"), keep=False, residency=residency)
    mine.prepare(np.arange(IMAGES), progress=lambda done, total: None)
    return mine


def part(*items: object, mine: Pictures | None = None, chosen: int = 44) -> TrainingPart:
    mine = pictures() if mine is None else mine
    return TrainingPart(
        mine, np.arange(chosen), IMAGENET, augment=augmentations.read(list(items)), size=(8, 8), seed=3, classes=5
    )


def together(batches: Iterator[Tensor]) -> Tensor:
    return torch.cat(list(batches))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("block", [8192, 14])
@pytest.mark.parametrize(
    "items",
    [
        ("random_crop", "hflip"),
        ("random_crop", "mixup", "cutmix", "hflip"),
        ("random_crop",),
        ("random_crop", "randaugment", "mixup"),
    ],
)
def test_they_are_the_batches_of_the_cpu(
    items: tuple[str, ...], block: int, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_batches, "BLOCK", block)
    mine = part(*items)
    if resident:
        assert mine.pictures.settle_(mine.indices, CPU)
    for epoch in (0, 3):
        order = mine.order(epoch)[:40]
        found = list(device_batches.batched_inputs(mine, order, epoch, CPU, 7))
        assert [len(x) for x in found] == [7, 7, 7, 7, 7, 5]
        assert torch.equal(torch.cat(found), together(device_batches.inputs(mine, order, epoch, CPU, 7)))
        labels = together(device_batches.batched_targets(mine, order, epoch, CPU, 7))
        assert torch.equal(labels, together(device_batches.targets(mine, order, epoch, CPU, 7)))


def test_the_first_batches_wait_for_no_more_draws_than_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def watched(tables: object, draws: Draws, **more: object) -> object:
        drawn.append(len(draws.images))
        return parameters(tables, draws, **more)

    monkeypatch.setattr(device_batches, "parameters", watched)
    mine = part("random_crop")
    batches = device_batches.batched_inputs(mine, mine.indices, 0, CPU, 3)
    next(batches)
    assert drawn == [12]
    assert len(list(batches)) == 14
    assert drawn == [12, 32]


def test_pixels_are_normalised_in_two_passes_on_a_gpu_within_rounding() -> None:
    """Bands may have a mean of many standard deviations."""
    x = torch.randint(0, 256, (3, 5, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bands = Convention(mean=(30000.0, 0.5), std=(10.0, 3.0), range=255.0, channels="bands")
    caffe = Convention(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), range=255.0, channels="bgr")
    for convention, pixels, atol in ((IMAGENET, x, 1e-6), (caffe, x, 0.0), (bands, 30000 + 20 * torch.rand(3, 5, 7, 2), 1e-6)):
        constants = (torch.tensor(values)[:, None, None] for values in folded(convention))
        normal = Normaliser(convention, CPU)
        expected = normal(pixels)
        normal._first, normal._second = constants
        normal._apply = normal._folded
        found = normal(pixels)
        assert found.stride() == expected.stride()
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=atol)
    with on_a_gpu_that_is_not_there(), Operators() as operators:
        normal = Normaliser(IMAGENET, FAKE)
        pixels = torch.empty(3, 5, 7, 3, dtype=torch.uint8, device=FAKE)
        operators.kernels.clear()
        found = normal(pixels)
    assert (found.dtype, operators.kernels) == (torch.float32, ["sub", "mul_"])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_images_that_are_evaluated_are_not_augmented() -> None:
    held = Part(pictures(), np.arange(3, 40), IMAGENET)
    found = together(device_batches.batched_inputs(held, held.indices, 0, CPU, 8))
    assert torch.equal(found, held.inputs(held.indices, 0, CPU))


# ---- operators, on a GPU that is not there


@pytest.mark.parametrize(
    ("items", "most"),
    [
        (("random_crop",), 9),
        (("random_crop", "hflip"), 11),
        (("random_crop", "hflip", "mixup"), 38),
        (("random_crop", "randaugment"), 150),
    ],
    ids=["crop", "crop and flip", "mixup", "randaugment"],
)
def test_an_epoch_uploads_its_tables_once_and_reads_nothing_back(
    items: tuple[str, ...], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "pinned", lambda host: host)  # which needs a driver
    mine = part(*items)
    for size in (2, 10):
        with on_a_gpu_that_is_not_there():
            mine.pictures._resident = FAKE, torch.empty(IMAGES, 10, 10, 3, dtype=torch.uint8, device=FAKE)
            mine.pictures._place[:] = np.arange(IMAGES)
            with Operators() as operators:
                inputs = device_batches.batched_inputs(mine, mine.indices[:40], 0, FAKE, size)
                targets = device_batches.targets(mine, mine.indices[:40], 0, FAKE, size)
                batches = list(zip(inputs, targets, strict=True))
        assert all(x.device == FAKE and y.device == FAKE for x, y in batches)
        assert operators.reads == []
        assert operators.uploads <= 32  # of the epoch, in two blocks
        assert len(operators.kernels) <= most * len(batches) + 8, sorted(operators.kernels)


# ---- streams


class Streams:
    """A stand-in for torch.cuda with a current stream and one at its side, which writes down what is asked of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.now = "main"
        streams, said = self, self.calls.append

        class Stream:
            def __init__(self, name: str) -> None:
                self.name = name

            def wait_stream(self, other: "Stream") -> None:
                said(f"{self.name} waits for {other.name}")

            def wait_event(self, event: "Event") -> None:
                said(f"{self.name} waits for {event.after}")

        class Event:
            def record(self, stream: Stream) -> None:
                self.after = streams.calls[-1]

        @contextmanager
        def on(stream: Stream) -> Iterator[None]:
            before, streams.now = streams.now, stream.name
            yield
            streams.now = before

        patch.setattr(transfer, "side_stream", lambda *_: Stream("side"))
        for name, stand_in in {"current_stream": lambda _: Stream(streams.now), "stream": on, "Event": Event}.items():
            patch.setattr(torch.cuda, name, stand_in)

    def made(self, count: int) -> Iterator[Tensor]:
        for number in range(count):
            self.calls.append(f"{self.now} makes {number}")
            yield torch.tensor(number)


def test_a_batch_is_made_beside_the_step_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    for x in transfer.beside(streams.made(2), torch.device("cuda")):
        streams.calls.append(f"{streams.now} uses {int(x)}")
    assert streams.calls == [
        "side waits for main", "side makes 0", "main waits for side makes 0",
        "side waits for main", "side makes 1", "main uses 0",  # 1 is made while 0 is used, in memory that nobody uses any more
        "main waits for side makes 1", "side waits for main", "main uses 1", "main waits for side",
    ]  # fmt: skip


def test_batches_that_are_not_wanted_any_more_leave_no_stream_that_still_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    batches = transfer.beside(streams.made(5), torch.device("cuda"))
    next(batches)
    batches.close()
    assert streams.calls[-1] == "main waits for side"


def test_what_is_computed_comes_to_the_host_while_the_next_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Event:
        def record(self, stream: str) -> None:
            self.number = len([each for each in calls if each.startswith("computes")]) - 1

        def synchronize(self) -> None:
            calls.append(f"waits for {self.number}")

    def made() -> Iterator[Tensor]:
        for number in range(3):
            calls.append(f"computes {number}")
            yield torch.full((2, 3), number).T  # in no order of its own

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: "main")
    monkeypatch.setattr(transfer, "_page_locked", lambda x: torch.empty(x.shape, dtype=x.dtype))
    found = []
    for x in transfer.to_host(made(), torch.device("cuda")):
        assert x.is_contiguous()
        found.append(x[0, 0].item())
        calls.append(f"has {found[-1]}")
    assert calls == [
        "computes 0", "computes 1", "waits for 0", "has 0", "computes 2", "waits for 1", "has 1", "waits for 2", "has 2",
    ]  # fmt: skip
    assert [x[0, 0].item() for x in transfer.to_host(made(), CPU)] == found


# ---- reading ahead


class Late:
    """Copies that happen only when somebody waits for them: a buffer that is filled again too early shows."""

    def __init__(self) -> None:
        self.buffers = 0

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        self.buffers += 1
        return torch.empty(shape, dtype=dtype)

    def copy(self, host: Tensor) -> tuple[Tensor, "Pending"]:
        there = torch.full_like(host, -1)
        return there, Pending(host, there)

    def use(self, there: Tensor, copied: "Pending") -> None:
        copied.synchronize()


class Pending:
    def __init__(self, host: Tensor, there: Tensor) -> None:
        self.host: Tensor | None = host
        self.there = there
        self.copying = threading.Lock()  # who fills buffers and who uses the rows wait for the same copy

    def synchronize(self) -> None:
        with self.copying:
            host, self.host = self.host, None
            if host is not None:
                self.there.copy_(host)


def numbers(indices: np.ndarray, out: Tensor) -> None:
    out.copy_(torch.from_numpy(indices)[:, None].expand(out.shape))


def read(chosen: list[np.ndarray], fetch: transfer.Fetch = numbers, copier: Late | None = None) -> Iterator[Tensor]:
    return transfer.ahead(fetch, chosen, rows=4, shape=(3,), dtype=torch.int64, copier=copier or Late())


def test_rows_that_are_read_ahead_come_in_order_and_unspoiled() -> None:
    order = np.random.default_rng(0).permutation(122)
    copier = Late()
    found = torch.cat(list(read([order[at : at + 4] for at in range(0, 122, 4)], copier=copier)))
    assert found[:, 0].tolist() == order.tolist()
    assert (found == found[:, :1]).all()
    assert copier.buffers == transfer.DEPTH


def test_rows_are_read_ahead_in_evaluation_too() -> None:
    with torch.inference_mode():
        found = torch.cat(list(read([np.arange(at, at + 4) for at in range(0, 40, 4)])))
    assert found[:, 0].tolist() == list(range(40))


def test_an_error_of_the_reader_is_that_of_who_reads() -> None:
    def broken(indices: np.ndarray, out: Tensor) -> None:
        if 9 in indices:
            raise OSError("the disk is gone")
        numbers(indices, out)

    batches = read([np.arange(at, at + 4) for at in range(0, 40, 4)], broken)
    assert next(batches)[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        list(batches)


def test_who_stops_early_stops_the_reader() -> None:
    fetched: list[int] = []

    def fetch(indices: np.ndarray, out: Tensor) -> None:
        fetched.append(int(indices[0]))
        numbers(indices, out)

    batches = read([np.arange(at, at + 4) for at in range(0, 4000, 4)], fetch)
    next(batches)
    batches.close()
    count = len(fetched)
    assert count <= 2 * transfer.DEPTH + 1
    assert len(fetched) == count


# ---- what stays on a device


def test_pictures_that_were_used_longest_ago_make_room() -> None:
    free = [0]
    residency = Residency(lambda device: free[0])
    old, young, new = (pictures(residency=residency) for _ in range(3))
    each = old.split.pixels.nbytes
    free[0] = 2 * each
    for mine in (old, young):
        residency.begin()
        assert mine.settle_(np.arange(IMAGES), CPU)
    residency.begin()
    old.settle_(np.arange(IMAGES), CPU)  # used again
    free[0] = 0
    residency.begin()
    assert not new.settle_(np.arange(IMAGES), CPU, beside=2 * each)  # training takes all
    assert old.resident_bytes == young.resident_bytes == each
    assert new.settle_(np.arange(IMAGES), CPU)
    assert (old.resident_bytes, young.resident_bytes) == (each, 0)


def test_what_one_phase_needs_together_stays_together() -> None:
    residency = Residency(lambda device: 0)
    train, test = (pictures(residency=residency) for _ in range(2))
    residency._free = lambda device: 2 * train.split.pixels.nbytes
    residency.begin()
    assert train.settle_(np.arange(IMAGES), CPU)
    residency._free = lambda device: 0
    assert not test.settle_(np.arange(IMAGES), CPU)
    assert train.resident_bytes


def test_training_has_its_memory_before_any_picture() -> None:
    mine = pictures(residency=Residency(lambda device: 1 << 30))
    assert not mine.settle_(np.arange(IMAGES), CPU, beside=1 << 30)
    assert mine.settle_(np.arange(IMAGES), CPU, beside=1 << 20)


def test_pictures_leave_and_are_read_again() -> None:
    mine = part("random_crop")
    order = mine.order(0)
    before = together(device_batches.batched_inputs(mine, order, 0, CPU, 7))
    assert mine.pictures.settle_(mine.indices, CPU)
    resident = together(device_batches.batched_inputs(mine, order, 0, CPU, 7))
    mine.pictures.leave_()
    after = together(device_batches.batched_inputs(replace(mine), order, 0, CPU, 7))
    assert torch.equal(before, resident)
    assert torch.equal(before, after)
