"""Write what a run needs to continue after an epoch, and at its end the weights of its best epoch.

The rule: only what a run can change is written after an epoch; each file is written whole, and the state last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from tlkit import files
from tlkit.engine import estimators
from tlkit.engine.estimators import FittedHead
from tlkit.engine.learner import Learner
from tlkit.errors import RunFolderError, TlkitError
from tlkit.events import Epoch
from tlkit.network import weights
from tlkit.recipe.recipe import FORMAT
from tlkit.record import predictions, run_folder
from tlkit.run.preparation import Prepared
from tlkit.tasks import Predictions

_MOVE = "move the run's folder away to begin anew"
_WORDS = 1 << 20  # summed at a time: torch first copies what it sums to 64 bits, twice the size of the weights


class Checkpoint:
    """The checkpoint of one run.

    Args:
        prepared: The run.
        learner: Trains the run.
    """

    def __init__(self, prepared: Prepared, learner: Learner) -> None:
        self._prepared = prepared
        self._learner = learner
        self._folder = prepared.job.folder / run_folder.CHECKPOINT

    @property
    def state(self) -> Path:
        """The file that training continues from."""
        return self._folder / run_folder.STATE

    def save(self, *, seconds: float, scores: Epoch | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write everything that training needs to continue with the same bits.

        Args:
            seconds: The time that the run has taken so far.
            scores: The best epoch so far.
            lines: The epochs so far, as metrics.jsonl holds them.
        """
        record = asdict(scores) if scores is not None else {}
        beside = {
            "progress": self._learner.scalars(), "seconds": str(seconds), "scores": json.dumps(record), "fixed": self._fixed,
            "lines": json.dumps(lines),
        }  # fmt: skip
        weights.write(self.state, self._learner.tensors(), beside)
        for path in self._folder.glob(run_folder.BEST.format(epoch="*")):  # of epochs that are no longer the best
            if scores is None or path.name != run_folder.BEST.format(epoch=scores.epoch):
                path.unlink()

    def resume_(self) -> tuple[float, Epoch | None, list[dict[str, Any]]]:
        """Set the learner to what the checkpoint holds.

        Returns:
            The seconds that the run had taken, its best epoch, and its epochs as metrics.jsonl holds them.

        Raises:
            RunFolderError: the file is damaged, or the frozen weights are not those that the run began with.
        """
        try:
            saved = weights.metadata(self.state)
            if saved["fixed"] != self._fixed:
                raise RunFolderError("its frozen weights are others than those that the run began with.")
            self._learner.resume_(safetensors.torch.load_file(self.state), saved["progress"])
            record = json.loads(saved["scores"])
            scores = Epoch(**record) if record else None
            if scores is not None and not self._best(scores).is_file():
                raise RunFolderError(f"{self._best(scores).name}, the weights of the best epoch, is missing.")
            lines: list[dict[str, Any]] = json.loads(saved["lines"])
            return float(saved["seconds"]), scores, lines
        except (TlkitError, KeyError, TypeError, ValueError, SafetensorError) as error:
            why = error.problem if isinstance(error, TlkitError) else f"{type(error).__name__}: {error}"
            raise RunFolderError(f"{self.state}: cannot be continued from.", why, _MOVE) from error

    def save_best(self, epoch: Epoch) -> None:
        """Write what the best epoch so far changed, its fitted head if there is one, and its evaluation."""
        folder, learner = self._prepared.job.folder, self._learner
        with learner.averaged():
            weights.write(self._best(epoch), learner.changing(), {"epoch": str(epoch.epoch)})
        if isinstance(learner.network.head, FittedHead):
            files.replace(folder / run_folder.SOLVED, estimators.to_bytes(learner.network.head))
        self.write_evaluation(epoch)

    def write_evaluation(self, epoch: Epoch) -> None:
        """Write what the best epoch predicts for every image that was evaluated, and what happened to every class."""
        parts = self._prepared.evaluated.parts
        found = {name: (parts[name].indices, each.targets, each.logits) for name, each in self._learner.predictions.items()}
        predictions.save(
            self._prepared.job.folder,
            {
                name: (index, label.cpu().numpy(), logits.float().cpu().numpy())
                for name, (index, label, logits) in found.items()
            },
        )
        evaluation = {"format": FORMAT, "epoch": epoch.epoch, **self._learner.details(self._prepared.images.classes)}
        files.replace(self._prepared.job.folder / run_folder.EVALUATION, json.dumps(evaluation) + "\n")

    def predicted(self) -> dict[str, Predictions]:
        """Return what predictions.npz holds of the best epoch, by split."""
        folder, network = self._prepared.job.folder, self._learner.network
        if not (folder / predictions.FILE).is_file():
            return {}
        known, found = predictions.load(folder), {}
        for split, part in self._prepared.evaluated.parts.items():
            mine = known.part(split)
            if len(mine.index) == len(part.indices):
                targets = torch.from_numpy(mine.label)
                found[split] = Predictions(
                    torch.from_numpy(mine.logits), targets, network.task, network.positive, network.logarithms
                )
        return found

    def write_weights(self, best: Epoch) -> None:
        """Write the run's weights file: the network as it began, with what had changed after its best epoch.

        Raises:
            RunFolderError: the file with what had changed is missing or damaged.
        """
        resolved = self._prepared.job.resolved
        tensors = {**self._learner.network.tensors(), **self._changed(best)}
        found = weights.export_names(tensors, resolved.backbone, linear=resolved.head.fits(resolved.backbone))
        # one text only: safetensors writes several in random order, and the same run must be the same bytes
        weights.write(
            self._prepared.job.folder / run_folder.WEIGHTS, found, {"classes": json.dumps(self._prepared.images.classes)}
        )

    def load_best_(self, best: Epoch) -> None:
        """Set the network to what it was after the best epoch.

        Raises:
            RunFolderError: the file with what had changed is missing or damaged.
        """
        changed = self._changed(best)
        with torch.no_grad():
            for name, tensor in self._learner.changing().items():
                tensor.copy_(changed[name])

    def _changed(self, best: Epoch) -> dict[str, Tensor]:
        """Return the tensors that the run can change, as they were after the best epoch."""
        path = self._best(best)
        try:
            changed: dict[str, Tensor] = safetensors.torch.load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(f"{path}: cannot be read: {error}.", _MOVE) from error
        if changed.keys() != self._learner.changing().keys():
            raise RunFolderError(f"{path}: does not hold the tensors that this run changes.", _MOVE)
        return changed

    def _best(self, epoch: Epoch) -> Path:
        return self._folder / run_folder.BEST.format(epoch=epoch.epoch)

    @cached_property
    def _fixed(self) -> str:
        """A checksum of the tensors that the run cannot change, which the checkpoint does not hold."""
        changing = self._learner.changing()
        return _checksum({name: each for name, each in self._learner.network.tensors().items() if name not in changing})


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of tensors that takes little more time than reading them: it tells other weights, not an attack."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().contiguous().flatten()
        words = flat.view(torch.int32) if flat.element_size() % 4 == 0 else flat.view(torch.uint8)
        words_sum = sum(int(some.sum(dtype=torch.int64)) for some in torch.split(words, _WORDS))
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {words_sum}\n".encode())
    return total.hexdigest()
