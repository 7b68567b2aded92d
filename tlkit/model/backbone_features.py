"""A backbone with its pretrained weights alone, to embed images with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.model.classes import Classes
from tlkit.model.setup import Setup
from tlkit.run.prediction import Predictor
from tlkit.sources.places import Places

_BATCH = 32  # images at a time
_CLASSES = 2  # of the head, which nothing reads


def load(backbone: str, *, weights: str, device: torch.device, offline: bool) -> Predictor:
    """Return a backbone that embeds images with the preprocessing of its weights; its class probabilities mean nothing.

    Args:
        backbone: Its name.
        weights: As `backbone.weights` of a recipe.
        device: The device to load it on.
        offline: Forbid downloads.

    Raises:
        TlkitError: there is no such backbone, or the weights are not here and cannot be downloaded.
    """
    tables = {"backbone": {"name": backbone, "weights": weights}, "head": {"kind": "linear"}, "freeze": {}, "data": {}}
    setup = Setup(tables, Places(recipe=Path.cwd(), offline=offline, settings=False), 0, device)
    resolved = setup.untrained(where=f"embed: {backbone}")
    network = setup.network(Classes(_CLASSES)).eval()
    geometry = evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
    return Predictor(network, (), resolved.convention, replace(geometry, raised_by=""), _BATCH, device)
