"""Which weights an arm names, and the preprocessing that they were trained with. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from tlkit.errors import TlkitError
from tlkit.plugin import Backbone, Convention
from tlkit.recipe.recipe import Arm
from tlkit.record import run_choice, run_folder
from tlkit.sources import weight_files
from tlkit.sources.places import Places

# As `backbone.weights`: the first ImageNet weights that the backbone declares.
IMAGENET_WEIGHTS = "imagenet"


def with_usual_weights(arm: Arm, backbone: Backbone) -> Arm:
    """Return an arm in which weights = "imagenet" is replaced by the name of the backbone's first ImageNet weights."""
    if arm.backbone.weights != IMAGENET_WEIGHTS or IMAGENET_WEIGHTS in backbone.weights:
        return arm
    usual = next((name for name in backbone.weights if name.startswith(IMAGENET_WEIGHTS)), None)
    if usual is None:
        return arm
    return arm.model_copy(update={"backbone": arm.backbone.model_copy(update={"weights": usual})})


def trained(backbone: Backbone) -> str:
    """Return a name of trained weights that a hint offers, "imagenet" where there are such; "none" where the backbone declares none."""
    if any(name.startswith(IMAGENET_WEIGHTS) for name in backbone.weights):
        return IMAGENET_WEIGHTS
    return next(iter(backbone.weights), weight_files.NONE)


def weights_of_run(path: Path) -> Path:
    """Return the weights file of a run's folder, or of the best run in a recipe's folder."""
    return run_choice.choose(path).folder / run_folder.WEIGHTS


def convention(arm: Arm, backbone: Backbone, places: Places) -> Convention | None:
    """Return the preprocessing that an arm's weights were trained with; None where it is not known.

    It is known of weights that the backbone declares, of a run's, and of a file that has one of the backbone's layouts.

    Args:
        arm: The arm.
        backbone: The plugin that it names.
        places: Where to look for the weights; nothing is downloaded.

    Raises:
        TlkitError: the weights are not found, or were trained on images with other channels than the arm's.
    """
    found, wanted = _convention(arm, backbone, places), arm.data.channels
    if found is None or found.channels != "bands" or len(found.mean) == wanted or (wanted and not found.mean):
        return found
    raise TlkitError(
        f"backbone.weights: {arm.backbone.weights} was trained on images of {len(found.mean)} bands, and "
        + ("this recipe has colour pictures." if wanted is None else f"data.channels is {wanted}."),
        f"data.channels = {len(found.mean)}, or other weights",
    )


def _convention(arm: Arm, backbone: Backbone, places: Places) -> Convention | None:
    value, name = arm.backbone.weights, arm.backbone.name
    if weight_files.known_weights(value, backbone):
        return backbone.weights[value].input if value in backbone.weights else None
    path = weight_files.find_weights(value, name, backbone, places, fetch=False, run=weights_of_run)
    assert path is not None  # it is None for "none" alone
    if value.startswith(weight_files.RUN):
        return run_folder.convention(path.parent)
    layout = weight_files.layout(path, backbone)
    return backbone.layouts[layout].input if layout else None
