"""Write what a run needs to continue after an epoch, and the weights of its best epoch; read the first again.

The rule: each file is written whole, and the checkpoint last.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch

from tlkit import files
from tlkit.engine import estimators
from tlkit.engine.estimators import FittedHead
from tlkit.engine.learner import Learner
from tlkit.errors import RunFolderError, TlkitError
from tlkit.events import Epoch
from tlkit.network import weights
from tlkit.recipe.recipe import FORMAT
from tlkit.record import run_folder
from tlkit.run.preparation import Prepared


def write(folder: Path, learner: Learner, *, seconds: float, scores: Epoch | None) -> None:
    """Write everything that training needs to continue with the same bits.

    Args:
        folder: The run's.
        learner: Between two epochs.
        seconds: The time that the run has taken so far.
        scores: The best epoch so far.
    """
    record = asdict(scores) if scores is not None else {}
    beside = {"progress": learner.scalars(), "seconds": str(seconds), "scores": json.dumps(record)}
    files.replace(folder / run_folder.CHECKPOINT / run_folder.STATE, weights.to_bytes(learner.tensors(), beside))


def resume_(learner: Learner, state: Path) -> tuple[float, Epoch | None]:
    """Set a learner to what a checkpoint holds.

    Args:
        learner: Newly made.
        state: The checkpoint's file.

    Returns:
        The seconds that the run had taken, and its best epoch.

    Raises:
        RunFolderError: the file is damaged.
    """
    try:
        saved = weights.metadata(state)
        learner.resume_(safetensors.torch.load_file(state), saved["progress"])
        record = json.loads(saved["scores"])
        return float(saved["seconds"]), Epoch(**record) if record else None
    except (TlkitError, KeyError, TypeError, ValueError) as error:
        why = error.problem if isinstance(error, TlkitError) else f"{type(error).__name__}: {error}"
        raise RunFolderError(f"{state}: is damaged.", why, "move the run's folder away to begin anew") from error


def write_best(folder: Path, prepared: Prepared, learner: Learner, epoch: Epoch) -> None:
    """Write the weights of the best epoch so far, its fitted head where there is one, and its evaluation."""
    backbone, head, classes = prepared.job.resolved.backbone, prepared.job.resolved.head, prepared.images.classes
    with learner.averaged():
        found = weights.export(learner.network, backbone, linear=head.fits(backbone))
        tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
    # one text only: safetensors writes several in random order, and the same run must be the same bytes
    files.replace(folder / run_folder.WEIGHTS, weights.to_bytes(tensors, {"classes": json.dumps(classes)}))
    if isinstance(learner.network.head, FittedHead):
        files.replace(folder / run_folder.SOLVED, estimators.to_bytes(learner.network.head))
    write_evaluation(folder, prepared, learner, epoch)


def write_evaluation(folder: Path, prepared: Prepared, learner: Learner, epoch: Epoch) -> None:
    """Write what happened to every class in the evaluation of the best epoch."""
    evaluation = {"format": FORMAT, "epoch": epoch.epoch, **learner.details(prepared.images.classes)}
    files.replace(folder / run_folder.EVALUATION, json.dumps(evaluation) + "\n")
