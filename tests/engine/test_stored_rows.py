"""Stored rows as batches: those of the images that are asked for and of the epoch's view, whichever way they come."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tlkit.engine import transfer
from tlkit.engine.images.residency import Residency
from tlkit.engine.prefix import stored_rows
from tlkit.engine.prefix.stored_rows import StoredRows
from tlkit.engine.transfer import PlainCopier
from tlkit.store import row_store
from tlkit.store.usage import Kind

CPU, META = torch.device("cpu"), torch.device("meta")
IMAGES = np.array([2, 5, 6, 9, 11])
ASKED = [3, 0, 4, 1, 2]  # of them, in this order
BYTES = 2 * 5 * 3 * 2  # of two views of five images, three bfloat16 each


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


def stored(*shape: int, dtype: torch.dtype = torch.bfloat16, channels_last: bool = False) -> tuple[StoredRows, Tensor]:
    """Views 0 and 2 of three, after one epoch; and their values (view, image, ...)."""
    values = torch.randn(2, len(IMAGES), *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    flat = values.flatten(0, 1)
    rows = flat.view(torch.int16).numpy().view(np.uint16) if dtype.itemsize == 2 else flat.numpy()
    keys = np.random.default_rng(0).integers(0, 256, (len(rows), 16), dtype=np.uint8)
    entry = row_store.open_(Kind.FEATURES, {"of": "a test"}, shape=shape, dtype=rows.dtype.name, note=pytest.fail)
    entry.append(keys, [rows])
    return StoredRows(2, entry.locate(keys), IMAGES, (0, 2), 3, 1, dtype, channels_last), values


def read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows for the meta device come to the CPU's memory, where they have values."""
    monkeypatch.setattr(transfer, "copier", lambda device: {META: PlainCopier(CPU)}[device])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", ["read", "resident", "read ahead"])
def test_batches_are_the_rows_of_the_epochs_view_in_the_order_that_is_asked(
    way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, values = stored(3, dtype=dtype)
    device = META if way == "read ahead" else CPU
    read_ahead(monkeypatch)
    if way == "resident":
        mine.resident = values.flatten(0, 1)
    for epoch, view in ((1, 1), (2, 0), (4, 1)):  # epochs 2, 3 and 5 of all that were trained: views 2, 0 and 2
        batches = list(mine.batches(IMAGES[ASKED], epoch, device, 2))
        assert [len(x) for x in batches] == [2, 2, 1]
        assert torch.equal(torch.cat(batches), values[view, ASKED])
    with pytest.raises(ValueError, match="not in tuple"):  # view 1 is not stored
        next(mine.batches(IMAGES, 0, device, 2))


def test_rows_of_the_cpu_are_in_memory_that_no_later_batch_uses() -> None:
    mine, values = stored(3)
    first, second, _ = mine.batches(IMAGES, 2, CPU, 2)
    assert torch.equal(first, values[0, :2])
    assert torch.equal(second, values[0, 2:4])


@pytest.mark.parametrize(("block", "sizes"), [(5, [4, 1]), (1, [2, 2, 1])])
def test_places_of_resident_rows_are_uploaded_for_many_batches_at_once(
    block: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, values = stored(3)
    mine.resident, uploaded, upload = values.flatten(0, 1), [], transfer.upload
    monkeypatch.setattr(stored_rows, "BLOCK", block)
    monkeypatch.setattr(transfer, "upload", lambda array, device: uploaded.append(len(array)) or upload(array, device))
    assert [len(x) for x in mine.batches(IMAGES, 2, CPU, 2)] == [2, 2, 1]
    assert uploaded == sizes


@pytest.mark.parametrize("resident", [True, False])
def test_a_row_of_channels_last_becomes_a_map_and_others_stay(resident: bool) -> None:
    for shape, channels_last, expected in (((4, 5, 3), True, (3, 4, 5)), ((4, 5, 3), False, (4, 5, 3)), ((6,), True, (6,))):
        mine, values = stored(*shape, channels_last=channels_last)
        mine.resident = values.flatten(0, 1) if resident else None
        (x,) = mine.batches(IMAGES, 2, CPU, 5)
        assert x.shape == (5, *expected)
        assert torch.equal(x, values[0].permute(0, 3, 1, 2) if expected != shape else values[0])


@pytest.mark.parametrize(("at_a_time", "rows"), [(20, 3), (5, 1)])
def test_all_rows_stay_on_a_device_that_has_room_for_them_beside_training(
    at_a_time: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 bytes that are free 10 are kept back: 30 for training leave the 60 that the rows need."""
    mine, values = stored(3)
    sizes, ahead, asked = [], transfer.ahead, []
    monkeypatch.setattr(stored_rows, "_UPLOADED", at_a_time)
    monkeypatch.setattr(transfer, "ahead", lambda *args, rows, **more: sizes.append(rows) or ahead(*args, rows=rows, **more))
    residency = Residency(free=lambda device: asked.append(device) or 100)
    mine.settle_(CPU, residency, beside=31)
    assert (mine.resident, mine.resident_bytes, sizes) == (None, 0, [])
    mine.settle_(CPU, residency, beside=30)
    assert torch.equal(mine.resident, values.flatten(0, 1))
    assert (mine.resident_bytes, sizes, asked) == (BYTES, [rows], [CPU, CPU])
    mine.leave_()
    assert mine.resident is None
    assert mine.resident_bytes == 0


def test_rows_settle_on_the_device_that_is_named_and_not_where_its_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, _ = stored(3)
    residency = Residency(free=lambda device: 1000)
    mine.settle_(META, residency, beside=0)
    assert (mine.resident.device, mine.resident.shape, mine.resident.dtype) == (META, (10, 3), torch.bfloat16)
    mine.leave_()

    def full(device: torch.device) -> PlainCopier:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(transfer, "copier", full)
    mine.settle_(CPU, residency, beside=0)
    assert mine.resident is None
