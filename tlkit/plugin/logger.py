"""A logger: receives the metrics of a run while it trains, for TensorBoard, MLflow or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel

from tlkit.plugin.options import check_installed, check_options

# Numbers by name: "epoch", "seconds", "train/loss", "validation/accuracy", "lr/head".
Values = Mapping[str, float]


@dataclass(frozen=True)
class LoggedRun:
    """What a logger is told when a run begins, or continues.

    Attributes:
        recipe: Name of the recipe.
        arm: Name of the arm.
        seed: The run's seed.
        fold: The fold that is tested, from 1; None without cross-validation.
        folder: The run's folder. Its name holds the arm, the seed and the digest.
        settings: The keys of its arm with their values, "optimizer.name" for instance.
        before: Values of the epochs that an interrupted run finished before, in order; () for a run that begins.
    """

    recipe: str
    arm: str
    seed: int
    fold: int | None
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: Sequence[Values] = ()


@dataclass(frozen=True)
class LoggedEnd:
    """What a logger is told when a run ends.

    Attributes:
        status: "finished", "pruned" (a trial of a search that ended early), "interrupted" or "failed".
        values: Of the best epoch: "best_epoch", "validation/accuracy", "test/accuracy" and others.
        about: What a finished run keeps for its report, in words: names of kernels, labels of images. docs/runs.md: report.npz.
        arrays: The same as arrays: "kernel0_before" (n, k, k) or (n, k, k, 3), "kernel0_last", "kernel0_best", "map_points" (n, 2).
    """

    status: str
    values: Values
    about: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class RunLogger(Protocol):
    """What a logger's function returns for a run."""

    def epoch(self, values: Values) -> None:
        """Called after an epoch is trained and saved, with its values; `values["epoch"]` counts from 1."""

    def end(self, end: LoggedEnd) -> None:
        """Called once, when the run ends."""


@dataclass(frozen=True)
class Logger:
    """A logger: receives the metrics of a run while it trains.

    A logger that fails ends no run: a line says so, and it logs no more of this run.

    Attributes:
        open: "module:function"(run: LoggedRun, options) -> RunLogger: an object with the methods `epoch(values)` and `end(end)`.
        options: The plugin's own options.
        needs: Module of the library that it writes with, "tensorboard" for instance; "" for none. `apply` refuses to begin without it.
        install: What pip installs for it, "tlkit[tensorboard]" for instance.
        summary: One line.
    """

    open: str
    options: type[BaseModel] | None = None
    needs: str = ""
    install: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        """Raise PluginError where the options are no model."""
        check_options(self.open, self.options)

    def check_installed(self, name: str) -> None:
        """Raise PluginError where the library that it needs is not installed.

        Args:
            name: Of the logger, in the message.
        """
        check_installed(f'logger "{name}"', self.needs, self.install)
