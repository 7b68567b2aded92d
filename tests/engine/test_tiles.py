"""Pictures in tiles: the whole where a tile holds it, and a blend of what each tile says where not."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tlkit import tasks
from tlkit.engine import tiles


def test_a_picture_that_a_tile_holds_is_answered_whole_bit_for_bit() -> None:
    network, x = nn.Conv2d(3, 2, 7, padding=3), torch.randn(1, 3, 40, 64)
    with torch.no_grad():
        assert torch.equal(tiles.blended(network, x, tile=64, overlap=16), network(x))


@pytest.mark.parametrize("size", [(40, 100), (100, 40), (97, 130), (65, 64)])
def test_every_pixel_is_answered_and_those_that_no_edge_reaches_are_the_whole_s(size: tuple[int, int]) -> None:
    """Of a network that sees 3 pixels to each side: beyond 3 of an edge a tile says what the whole picture says."""
    network, x = nn.Conv2d(3, 2, 7, padding=3), torch.randn(1, 3, *size)
    seen: list[tuple[int, ...]] = []

    def answer(part: Tensor) -> Tensor:
        seen.append(tuple(part.shape[2:]))
        return network(part)

    with torch.no_grad():
        found, whole = tiles.blended(answer, x, tile=64, overlap=16), network(x)
    assert set(seen) == {(min(64, size[0]), min(64, size[1]))}
    assert found.shape == whole.shape
    assert torch.isfinite(found).all()
    near = (found - whole).abs().amax((0, 1)) > 1e-5
    assert float(near.float().mean()) < 0.25, "only pixels beside an edge of a tile differ"


def test_where_two_tiles_overlap_the_nearer_edge_counts_less() -> None:
    """Worked by hand: tiles of 4 with 2 in common on a row of 6, the first says 0 and the second 1; weights are 1/2, 1, 1, 1/2."""
    said = iter([torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4)])
    found = tiles.blended(lambda part: next(said), torch.zeros(1, 3, 1, 6), tile=4, overlap=2)
    assert found.flatten().tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1])


class Peak(TorchDispatchMode):
    """How many bytes of the tensors that operators make are alive at most."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # torch's signature
        result = func(*args, **(kwargs or {}))
        storage = result.untyped_storage() if isinstance(result, Tensor) else None
        if storage is not None and storage._cdata not in self._alive:
            self._alive[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self._alive.pop, storage._cdata)
            self.most = max(self.most, sum(self._alive.values()))
        return result


@pytest.mark.parametrize("classes", [2, 5, 21])
def test_the_bytes_of_tiles_are_those_that_are_alive_at_most(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task, size = tasks.get("segmentation"), (200, 260)
    assert task.reduction is not None
    monkeypatch.setattr(Tensor, "is_cuda", property(lambda _: True))  # pixels are counted as on a GPU
    with torch.inference_mode(), Peak() as peak:
        x = torch.randn(1, 3, *size)
        found = tiles.logits(task, lambda part: part[:, :1].expand(1, classes, *part.shape[2:]), x, tile=64)
        task.reduction.rows(found, torch.zeros(1, *size, dtype=torch.uint8))
    assert peak.most == pytest.approx(tiles.peak_bytes(size, classes=classes, channels=3), rel=0.1)
