"""Load the network of a run with everything that its input and output mean, as a `Predictor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tlkit.engine import estimators
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.errors import PluginError, RunFolderError
from tlkit.network import building, shapes, weights
from tlkit.plans import network_plugins
from tlkit.plugin import Backbone, Head, provenance, registry
from tlkit.recipe import naming, parsing
from tlkit.recipe.recipe import Arm
from tlkit.record import run_choice, run_files, run_folder
from tlkit.run import torch_settings
from tlkit.run.prediction import Predictor
from tlkit.tasks import named_classes
from tlkit.units import Size


@torch_settings.usual()
def load(run: Path, *, arm: str | None, device: torch.device, note: Callable[[str], None] = lambda text: None) -> Predictor:
    """Load a run's network.

    Args:
        run: A run's folder, or a recipe's: then its best run by validation.
        arm: Choose only among the runs of this arm.
        device: The device to load it on.
        note: Called with a line for each plugin that is another than the run was trained with.

    Raises:
        RunFolderError: the folder is not a run's, is of another version, or its weights do not fit its recipe.
        PluginError: a plugin that it needs is not installed.
    """
    folder = run_choice.choose(run, arm).folder
    run_folder.refuse_other_format(folder)
    run_files.check(folder, (run_folder.RECIPE, run_folder.RESOLVED, run_folder.WEIGHTS, run_folder.SOLVED))
    known = run_folder.resolved(folder)
    recipe = parsing.read(folder / run_folder.RECIPE)
    (table,) = recipe.arms.values()
    _refuse_missing_plugins(folder, table, known.get("plugins"))
    with naming.named(str(folder / run_folder.RECIPE)):
        built = network_plugins.network_of(table)
    for line in changed_plugins(folder):
        note(line)
    try:
        classes, size, batch = tuple(known["classes"]), _size(known["image_size"]), int(known["batch_size"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunFolderError(f"{folder / run_folder.RESOLVED}: is damaged: {error}.") from error
    network = building.build(
        built.backbone, built.head, classes=len(classes), backbone_options=built.backbone_options,
        head_options=built.head_options, seed=0, image_size=size, positive=named_classes.positive(table.head, classes),
        channels=table.data.channels or 3,
    )  # fmt: skip
    weights.load_whole_(network, folder / run_folder.WEIGHTS, backbone=built.backbone)
    if built.head.solve:
        network.head = estimators.load(folder / run_folder.SOLVED, built.head, len(classes))
    convention = run_folder.convention(folder)
    whole, stride = network.task.targets.whole, 1
    if whole:
        stages = dict(network.stages.items())
        stride = shapes.deepest_stride(stages, built.backbone, built.head, size, channels=table.data.channels or 3)
    geometry = evaluation_geometry(size, convention, table.data, canvas=size if whole else None)
    network = network.to(device).eval()
    geometry = replace(geometry, raised_by="")  # a recipe with another limit is another run
    return Predictor(network, classes, convention, geometry, batch, device, stride, table.data.tile_size)


def changed_plugins(folder: Path) -> list[str]:
    """Say which plugins of a run's network are others than it was trained with."""
    (table,) = parsing.read(folder / run_folder.RECIPE).arms.values()
    now = {
        "backbone": provenance.of(registry.get(Backbone, table.backbone.name), table.backbone.name),
        "head": provenance.of(registry.get(Head, table.head.kind), table.head.kind),
    }
    changed = provenance.changes(run_folder.resolved(folder).get("plugins"), now)
    return [f"{folder}: {line}; its weights may mean something else now" for line in changed]


def _refuse_missing_plugins(folder: Path, table: Arm, known: object) -> None:
    """Refuse a run whose plugins nobody offers here, by the distributions that it was trained with, where it kept them."""
    for part, kind, name in (("backbone", Backbone, table.backbone.name), ("head", Head, table.head.kind)):
        before = known.get(part) if isinstance(known, Mapping) else None
        if isinstance(before, Mapping) and not registry.offers(kind, name):
            raise PluginError(
                f'{folder}: its {part} "{name}" is not installed.',
                f"it was trained with the plugin of {before.get('distribution')} {before.get('version')}",
                "tlkit list shows what is installed",
            )


def _size(value: object) -> Size:
    """Return height and width as resolved.toml has them."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"image_size is {value!r}, not [height, width]")
    return int(value[0]), int(value[1])
