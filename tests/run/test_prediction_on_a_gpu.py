"""Predictions on a GPU that is not there: what a batch is copied and waits for, and what is done while the GPU computes."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there
from toy_training import CPU, training

from tlkit.engine import transfer
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.normalisation import Normaliser
from tlkit.errors import DataError
from tlkit.network.network import Network
from tlkit.plugin import IMAGENET
from tlkit.run import mask_prediction, prediction, stored_embeddings
from tlkit.run.prediction import Predictor
from tlkit.run.stored_embeddings import StoredEmbeddings
from tlkit.run.whole_pictures import WholePicture
from tlkit.tasks.single_label import SINGLE_LABEL

CUDA = torch.device("cuda")
GEOMETRY = Geometry((8, 8), (8, 8), "bilinear")


def colours(_: Network, x: Tensor) -> Tensor:
    return x.mean((2, 3))


def test_a_batch_is_one_copy_to_the_gpu_and_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its constants are copied once, and its answers stay there until they are asked for."""
    monkeypatch.setattr(transfer, "pinned", lambda host: host)
    predictor = Predictor(SimpleNamespace(task=SINGLE_LABEL), ("one",), IMAGENET, GEOMETRY, 4, FAKE)
    uploads = []
    for views in (1, 5):
        pictures = [np.zeros((views, 8, 8, 3), np.uint8)] * 12
        with on_a_gpu_that_is_not_there(), Operators() as operators:
            found = [answer.shape for answer in predictor._answers(pictures, colours)]
        assert (found, operators.reads) == ([(4, 3)] * 3, [])
        uploads.append(operators.uploads)
    assert uploads == [3 + 2, 3 * 5]


def test_a_gpu_computes_while_the_next_files_are_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is given a block of files before the next one is waited for; a CPU yields what it computed first. The answers are the same."""
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.new("RGB", (9, 8), (number, 2 * number, 0)).save(path)
    paths[3].write_bytes(b"no picture")
    calls: list[str] = []

    class Threads(ThreadPoolExecutor):
        def map(self, *given: object) -> Iterator[object]:
            calls.append("begin")
            return waited(super().map(*given))

    def waited(found: Iterator[object]) -> Iterator[object]:
        calls.append("decoded")
        yield from found

    def answer(network: Network, x: Tensor) -> Tensor:
        calls.append("answer")
        return colours(network, x)

    monkeypatch.setattr(prediction, "ThreadPoolExecutor", Threads)
    monkeypatch.setattr(prediction, "_DECODED", 4)
    monkeypatch.setattr(transfer, "upload", lambda host, _: host)
    monkeypatch.setattr(transfer, "to_host", lambda made, _: made)
    monkeypatch.setattr(prediction, "Normaliser", lambda convention, _: Normaliser(convention, CPU))
    found, order = [], []
    for device in (CPU, CUDA):
        predictor = Predictor(SimpleNamespace(task=SINGLE_LABEL), ("one",), IMAGENET, GEOMETRY, 2, device)
        rows = list(predictor.each_file(paths, answer))
        assert isinstance(rows.pop(3), DataError)
        found.append(np.stack(rows))
        order.append(" ".join(calls))
        calls.clear()
    assert order == [
        "begin decoded answer answer begin decoded answer answer begin decoded answer",
        "begin decoded begin answer answer decoded begin answer answer decoded answer",
    ]
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found[0], axis=0)) == 9


@pytest.mark.parametrize(("tile", "room", "reads"), [(None, 1 << 28, 2), (None, 1, 1), (8, 1 << 28, 9)])
def test_a_mask_is_made_where_the_network_is_unless_it_is_large(
    tile: int | None, room: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask and the probabilities of its pixels come to the host; in tiles, which may be of a huge picture, what each answers."""
    monkeypatch.setattr(mask_prediction, "_ON_A_GPU", room)
    monkeypatch.setattr(mask_prediction.evaluate, "probabilities", lambda _, x: x[:, :2].softmax(1))
    monkeypatch.setattr(Tensor, "numpy", lambda found: found)
    with on_a_gpu_that_is_not_there(), Operators() as operators:
        placed = WholePicture((30, 40), (12, 16), torch.empty(1, 3, 16, 16, device=FAKE), None)
        found = mask_prediction.answer(None, placed, tile=tile)
    assert (found.mask.shape, found.mask.dtype, found.probabilities.shape) == ((30, 40), torch.uint8, (2, 30, 40))
    assert found.mask.device == found.probabilities.device == CPU
    assert (len(operators.reads), operators.uploads) == (reads, 0)


def test_embeddings_come_to_the_host_while_the_next_are_computed(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In larger chunks than on a CPU, whose rows they are not."""
    mine = training(toy_recipe)
    part = mine.prepared.evaluated.parts["test"]
    made: list[int] = []
    to_host = transfer.to_host

    def counting(batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        found = list(to_host(batches, device))
        made.append(len(found))
        yield from found

    monkeypatch.setattr(transfer, "to_host", counting)
    predictor = Predictor(mine.network, ("one",), part.convention, part.pictures.geometry, 4, CPU)
    rows = StoredEmbeddings(predictor, note=pytest.fail).of_part(part, progress=lambda done, total: None)
    assert (len(rows), made) == (len(part.indices), [-(-len(part.indices) // 16)])
    monkeypatch.setattr(stored_embeddings.evaluate, "embeddings", lambda *_, **__: torch.zeros(1, 16))
    monkeypatch.setattr(stored_embeddings.row_keys, "prefix", lambda *_, **__: {})
    there = StoredEmbeddings(replace(predictor, device=torch.device("meta")), note=pytest.fail)
    assert there._predictor.batch_size == there._prefix.plan.chunk == 128
