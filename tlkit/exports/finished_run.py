"""A finished run with all that an export reads of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tlkit.plans import network_plugins
from tlkit.plugin import Backbone, Head
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Arm
from tlkit.record import run_folder
from tlkit.record.run_folder import RunResult
from tlkit.run import loading, mask_prediction
from tlkit.run.prediction import Predictor
from tlkit.tasks import multi_label


@dataclass(frozen=True)
class FinishedRun:
    """A run and its network.

    Attributes:
        folder: The run's.
        arm: What its recipe says.
        backbone: The plugin, up to the stage that the head reads.
        head: The plugin.
        predictor: The network, its classes and its preprocessing, on the CPU.
        result: How it ended; None where it has no result.
    """

    folder: Path
    arm: Arm
    backbone: Backbone
    head: Head
    predictor: Predictor
    result: RunResult | None

    @property
    def pictures(self) -> str:
        """Shape and type of the pictures that a graph takes, in words."""
        geometry = self.predictor.geometry
        return f"(N, H, W, {geometry.shape[2]}) {geometry.values}{' RGB' if geometry.bands is None else ''}"

    @property
    def several_labels(self) -> bool:
        """Whether an image may have several of the classes, or none."""
        targets = self.predictor.network.task.targets
        return not (targets.one_class or targets.whole)

    @property
    def threshold(self) -> float | None:
        """Probability from which on an image has a class of several, or a pixel is of the second of two classes as `predict` takes it.

        None where the largest probability decides, and of masks where no validation images chose one.
        """
        if self.several_labels:
            return multi_label.THRESHOLD
        binary = self.head.pixels and len(self.predictor.classes) == 2
        return mask_prediction.chosen_threshold(self.folder) if binary else None

    @property
    def scaled_before(self) -> dict[str, Any]:
        """By what pictures are scaled before the graph takes them; {} where they keep their size."""
        geometry = self.predictor.geometry
        if self.arm.data.scale_to is None:
            return {}
        by = {"factor": geometry.scale} if geometry.field_of_view is None else {"field_of_view": geometry.field_of_view}
        return {"scaled_before": by, "resize": geometry.resize}

    @property
    def metadata(self) -> dict[str, str]:
        """What every form of file says of itself: names of the classes, the task, the preprocessing, and a threshold where there is one."""
        known = {
            "classes": json.dumps(list(self.predictor.classes)),
            "task": self.predictor.network.task.name,
            "preprocessing": json.dumps(self.preprocessing),
        }
        return known if self.threshold is None else {**known, "threshold": json.dumps(self.threshold)}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How a picture is brought to the network's input, as plain values."""
        convention, geometry = self.predictor.convention, self.predictor.geometry
        pixels = {
            "channels": convention.channels, "range": convention.range, "mean": list(convention.mean), "std": list(convention.std),
        }  # fmt: skip
        padding = None if geometry.padding is None else list(geometry.padding)
        if self.head.pixels:
            return {**self.scaled_before, "whole_strides": self.predictor.stride, "padding": padding, **pixels}
        return {
            "image_size": list(geometry.size), "resized": list(geometry.resized), "fit": geometry.fit, "resize": geometry.resize,
            "padding": padding, **pixels,
        }  # fmt: skip


def load(folder: Path, *, note: Callable[[str], None] = lambda text: None) -> FinishedRun:
    """Load a run for an export.

    Args:
        folder: The run's.
        note: Told which plugins are others than the run was trained with.

    Raises:
        RunFolderError: it is not a run's folder, or damaged.
        PluginError: a plugin that it needs is not installed.
    """
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"), note=note)
    (arm,) = parsing.read(folder / run_folder.RECIPE).arms.values()
    plugins = network_plugins.network_of(arm)
    return FinishedRun(folder, arm, plugins.backbone, plugins.head, predictor, run_folder.read(folder))
