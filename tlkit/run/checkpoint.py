"""Write what a run needs to continue after an epoch or within one, and at its end the weights of its best epoch.

The rule: only what a run can change is written; each file is written whole and holds its own checksum, and the state is written last.
The last two states are kept, with the best epoch of each, so that one that is damaged later loses little.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from tlkit.errors import RunFolderError, TlkitError, WeightsError
from tlkit.events import Epoch
from tlkit.network import sealed_files, weights
from tlkit.recipe.recipe import FORMAT
from tlkit.record import predictions, run_folder
from tlkit.run.preparation import Prepared
from tlkit.tasks import Predictions, Sampled, averaging

_MOVE = "move the run's folder away to begin anew"
_FORMAT = "2"  # of a state: 1, state.safetensors, had no checksum and no steps within an epoch
_KEPT = 2
_WORDS = 1 << 20  # summed at a time: torch first copies what it sums to 64 bits, twice the size of the weights


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says besides the state of the learner.

    Attributes:
        seconds: That the epochs so far have taken.
        within: Seconds since then.
        scores: The best epoch so far.
        lines: The epochs so far, as metrics.jsonl holds them.
    """

    seconds: float
    within: float
    scores: Epoch | None
    lines: list[dict[str, Any]]


class Checkpoint:
    """The checkpoint of one run.

    Args:
        prepared: The run.
        learner: Trains the run.
    """

    def __init__(self, prepared: Prepared, learner: Learner) -> None:
        self._prepared = prepared
        self._job = prepared.job
        self._learner = learner
        self._folder = prepared.job.folder / run_folder.CHECKPOINT

    def save(self, *, seconds: float, within: float, scores: Epoch | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write everything that training needs to continue with the same bits.

        Args:
            seconds: The time that the epochs so far have taken.
            within: The time since then.
            scores: The best epoch so far.
            lines: The epochs so far, as metrics.jsonl holds them.
        """
        now, record = self._learner.progress, asdict(scores) if scores is not None else {}
        beside = {
            "format": _FORMAT, "progress": self._learner.scalars(), "seconds": json.dumps([seconds, within]),
            "scores": json.dumps(record), "fixed": self._fixed, "lines": json.dumps(lines),
        }  # fmt: skip
        name = (run_folder.STATE_WITHIN if now.steps else run_folder.STATE).format(epochs=now.epochs, steps=now.steps)
        sealed_files.write(self._folder / name, self._learner.tensors(), beside)
        self._keep(_KEPT)

    def keep_last(self) -> None:
        """Remove all states but the last, which a finished run continues from where files of it are damaged."""
        self._keep(1)
        files.sync_folder(self._folder)  # a finished run is not tidied again after a power failure

    def resume_(self, *, note: Callable[[str], None]) -> Saved:
        """Set the learner to what the last checkpoint holds that is as it was written; those after it are removed.

        Args:
            note: Told of each that is damaged.

        Raises:
            RunFolderError: none can be read, or the frozen weights are not those that the run began with.
        """
        states, damaged = run_folder.states(self._job.folder), []
        for state in states:
            try:
                saved = self._read(state)
            except WeightsError as error:
                damaged.append((state, error.problem))
                continue
            for other, why in damaged:
                note(f"{self._job.label}: {why} Training continues from {state.name}")
                other.unlink()
            return saved
        raise RunFolderError(f"{states[0]}: cannot be continued from.", damaged[0][1], _MOVE)

    def refuse_older(self) -> None:
        """Refuse a checkpoint that an older version of tlkit wrote.

        Raises:
            RunFolderError: there is one, and none of this version.
        """
        older = self._folder / "state.safetensors"
        if older.is_file() and not run_folder.states(self._job.folder):
            raise _other_format(older, "1")

    def _read(self, state: Path) -> Saved:
        """Set the learner to what a checkpoint holds.

        Raises:
            WeightsError: it, or the weights of its best epoch, is damaged.
            RunFolderError: it belongs to something else.
        """
        saved = sealed_files.checked(state)
        if saved.get("format") != _FORMAT:
            raise _other_format(state, saved.get("format", "1"))
        try:
            record = json.loads(saved["scores"])
            scores = Epoch(**record) if record else None
            if scores is not None and not self._best(scores).is_file():
                raise WeightsError(f"{self._best(scores).name}, the weights of the best epoch, is missing.")
            if scores is not None:
                sealed_files.checked(self._best(scores))
            if saved["fixed"] != self._fixed:
                raise RunFolderError("its frozen weights are others than those that the run began with.")
            self._learner.resume_(safetensors.torch.load_file(state), saved["progress"])
            seconds, within = json.loads(saved["seconds"])
            return Saved(float(seconds), float(within), scores, json.loads(saved["lines"]))
        except WeightsError:
            raise
        except (TlkitError, KeyError, TypeError, ValueError, SafetensorError) as error:
            why = error.problem if isinstance(error, TlkitError) else f"{type(error).__name__}: {error}"
            raise RunFolderError(f"{state}: cannot be continued from.", why, _MOVE) from error

    def _keep(self, count: int) -> None:
        """Remove all states but the last, and the weights of epochs that are the best of none of these."""
        states = run_folder.states(self._job.folder)
        best = set()
        for state in states[:count]:
            with contextlib.suppress(WeightsError, ValueError):  # it is damaged; its best epoch goes
                best.add(json.loads(weights.metadata(state).get("scores", "{}")).get("epoch"))
        for path in states[count:]:
            path.unlink()
        wanted = {run_folder.BEST.format(epoch=epoch) for epoch in best}
        for path in self._folder.glob(run_folder.BEST.format(epoch="*")):
            if path.name not in wanted:
                path.unlink()

    def save_best(self, epoch: Epoch) -> None:
        """Write what the best epoch so far changed, its fitted head if there is one, and its evaluation."""
        folder, learner = self._prepared.job.folder, self._learner
        with learner.averaged():
            sealed_files.write(self._best(epoch), learner.changing(), {"epoch": str(epoch.epoch)})
        if isinstance(learner.network.head, FittedHead):
            files.replace(folder / run_folder.SOLVED, estimators.to_bytes(learner.network.head))
        self.write_evaluation(epoch)

    def write_evaluation(self, epoch: Epoch) -> None:
        """Write what the best epoch predicts for every image that was evaluated, and what happened to every class."""
        parts, found = self._prepared.evaluated.parts, self._learner.predictions
        shown = predictions.shown(found)
        sampled = None if shown is None else found[shown].sampled
        predictions.save(
            self._prepared.job.folder,
            {
                name: (parts[name].indices, each.targets.cpu().numpy(), each.logits.float().cpu().numpy())
                for name, each in found.items()
            },
            None if sampled is None else predictions.Features(sampled.rows, sampled.features),
        )
        evaluation = {"format": FORMAT, "epoch": epoch.epoch, **self._learner.details(self._prepared.images.classes)}
        for name, each in found.items():
            split = parts[name].pictures.split
            if split.one_answer and split.groups is not None:
                evaluation[name] |= {"groups": averaging.group_scores(each, split.groups[parts[name].indices])}
        files.replace(self._prepared.job.folder / run_folder.EVALUATION, json.dumps(evaluation) + "\n")

    def predicted(self) -> dict[str, Predictions]:
        """Return what predictions.npz holds of the best epoch, by split."""
        folder, network = self._prepared.job.folder, self._learner.network
        if not (folder / predictions.FILE).is_file():
            return {}
        known, kept, found = predictions.load(folder), predictions.features(folder), {}
        shown = predictions.shown(set(known.split.tolist()))
        for split, part in self._prepared.evaluated.parts.items():
            mine = known.part(split)
            if len(mine.index) == len(part.indices):
                targets = torch.from_numpy(mine.label)
                sampled = Sampled(kept.rows, kept.values) if kept is not None and split == shown else None
                found[split] = Predictions(
                    torch.from_numpy(mine.logits), targets, network.task, network.positive, network.logarithms, sampled
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
            sealed_files.checked(path)
            changed: dict[str, Tensor] = safetensors.torch.load_file(path)
        except WeightsError as error:
            raise RunFolderError(error.problem, _MOVE) from error
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


def _other_format(path: Path, number: str) -> RunFolderError:
    return RunFolderError(
        f"{path}: is of format {number}, written by another version of tlkit; this one reads format {_FORMAT}.",
        "continue the run with that version, or " + _MOVE,
    )


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of tensors that takes little more time than reading them: it tells other weights, not an attack."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().contiguous().flatten()
        words = flat.view(torch.int32) if flat.element_size() % 4 == 0 else flat.view(torch.uint8)
        words_sum = sum(int(some.sum(dtype=torch.int64)) for some in torch.split(words, _WORDS))
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {words_sum}\n".encode())
    return total.hexdigest()
