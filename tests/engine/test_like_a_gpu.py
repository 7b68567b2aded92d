"""A run that takes every way of a GPU, on the CPU's memory, has the bits of one that takes the CPU's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_step import Recorder
from toy_training import training

from tlkit.engine import evaluation_forward
from tlkit.engine.fit import Fit
from tlkit.engine.images import device_batches
from tlkit.engine.images.pictures import Indices
from tlkit.engine.prefix import feed, prefix_store, stored_rows
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.prefix.prefix import Prefix
from tlkit.engine.step.graph import Captured
from tlkit.engine.step.look import LooksLater

AUGMENTED = 'data.augment=["random_crop", "hflip"]'
CASES = {
    "all trains": (AUGMENTED,),
    "mixed": ('data.augment=["random_crop", "mixup", "cutmix"]',),
    "stored": ("freeze={stem=true, block1=true}",),
    "computed": ("freeze={stem=true, block1=true}", AUGMENTED),
    "two phases": ("freeze={stem={epochs=1}}", AUGMENTED),
    "a head of several stages": ("freeze={stem=true, block1=true}", "head.kind=toy_maps"),
}


class Done:
    def query(self) -> bool:
        return True

    def synchronize(self) -> None: ...


def like_a_gpu(monkeypatch: pytest.MonkeyPatch, *, room: bool) -> Recorder:
    """Let a run take the ways of a GPU: batches from tables, resident or read ahead, captured chunks and looks that come later."""
    backend = Recorder()
    for module in (feed, prefix_store, device_batches):
        monkeypatch.setattr(module, "inputs", device_batches.batched_inputs)
    for module in (feed, device_batches):
        monkeypatch.setattr(module, "targets", device_batches.batched_targets)
    build, original = feed.prefix.build, Feed.__init__

    def built(*args: object, backend: object = None, **more: object) -> Prefix:
        return build(*args, backend=chunks, **more)

    def made(self: Feed, *args: object, **more: object) -> None:
        original(self, *args, **more)
        self._train.pictures.residency._free = lambda device: 1 << 30 if room else 0
        self._settle()

    def read_ahead(
        self: stored_rows.StoredRows, order: Indices, epoch: int, device: torch.device, size: int
    ) -> Iterator[object]:
        offset = self.views.index((self.before + epoch) % self.period) * len(self.indices)
        rows = np.searchsorted(self.indices, order) + offset
        for read in self._ahead(device_batches.slices(rows, size), size, device):
            yield self._shaped(read)

    chunks = Recorder()
    monkeypatch.setattr(feed.prefix, "build", built)
    monkeypatch.setattr(Feed, "__init__", made)
    if not room:
        monkeypatch.setattr(stored_rows.StoredRows, "batches", read_ahead)
    return backend


def copied(fit: Fit) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in fit.tensors().items()}


@pytest.mark.parametrize("room", [True, False], ids=["resident", "read ahead"])
@pytest.mark.parametrize("case", CASES)
def test_every_way_of_a_gpu_gives_the_bits_of_the_cpus(
    toy_recipe: Path, case: str, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(backend: Recorder | None) -> Fit:
        fit = training(toy_recipe, *CASES[case]).fit
        if backend is not None:
            fit._steps._take = Captured(fit._step, backend, note=lambda _: None)
            fit._steps._looks = LooksLater(fit._step, torch.empty(2, dtype=torch.float64), Done)
            fit._forward._backend = evaluations
        return fit

    def finish(fit: Fit, after_step: Callable[[], None] = lambda: None) -> tuple[list[object], dict[str, torch.Tensor]]:
        curve: list[object] = [(dict(e.train), e.validation, e.test, e.best) for e in fit.epochs(after_step=after_step)]
        return curve, copied(fit)

    expected = finish(begun(None))
    backend, evaluations = like_a_gpu(monkeypatch, room=room), Recorder()
    monkeypatch.setattr(evaluation_forward, "OFTEN", 2)
    fit, kept = begun(backend), []

    def keep() -> None:  # in the middle of the last epoch
        if (fit.progress.epochs, fit.progress.steps) == (1, 2):
            kept.append((copied(fit), fit.scalars()))

    found = finish(fit, keep)
    assert "replay" in backend.calls
    assert "replay" in evaluations.calls
    continued = begun(backend)
    continued.resume_(*kept[0])
    rest = finish(continued)
    assert found[0] == expected[0]
    assert rest[0] == expected[0][1:]
    for tensors in (found[1], rest[1]):
        assert [name for name, tensor in expected[1].items() if not torch.equal(tensors[name], tensor)] == []
