"""Which weights advice downloads: those of the best published accuracy that fit a number of bytes and the time. Imports no torch.

The rule: nothing is downloaded unless the user says how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tlkit import units
from tlkit.advice import candidates, imagenet_weights
from tlkit.advice.budget import Budget
from tlkit.advice.candidates import Named, Ready
from tlkit.errors import TlkitError, WeightsMissing, option
from tlkit.plans import arm_weights
from tlkit.plans.choices import ASSUMED_RATE
from tlkit.plugin import Backbone, registry
from tlkit.recipe.recipe import Arm
from tlkit.run import data_inspection
from tlkit.sources import weight_files
from tlkit.sources.places import Places

_TIME = 0.25  # of the time that is left, for downloads; and of that for probes, for one network's images
_LINE = 5e6  # bytes a second, until a download was timed
_MEGA, _GIGA = 1e6, 1e9
_USUAL = "200MB"


@dataclass(frozen=True)
class Offer:
    """Weights that are not on this machine.

    Attributes:
        named: Their network.
        top1: Published accuracy on ImageNet, percent.
        size: Bytes of the file.
        forward: Floating-point operations of an image of the size that it would have.
    """

    named: Named
    top1: float
    size: float
    forward: float


def offers(arm: Arm, places: Places) -> list[Offer]:
    """Return every set of weights with a published accuracy that is not on this machine, the best first.

    Args:
        arm: What is said of the images.
        places: Where to look for weights.
    """
    found = []
    wanted = data_inspection.frozen(arm, solved=True).data.image_size
    for each in candidates.offered():
        known = imagenet_weights.published(each.backbone, each.weights)
        if known is None or _is_here(each, places):
            continue
        plugin = registry.get(Backbone, each.backbone)
        side, usual = (_side(size) for size in (candidates.input_size(plugin, wanted), plugin.image_size))
        named = replace(each, asked=True)
        found.append(Offer(named, known.top1, known.megabytes * _MEGA, 2 * _GIGA * known.operations * (side / usual) ** 2))
    return sorted(found, key=lambda offer: (-offer.top1, offer.size))


def chosen(offered: Sequence[Offer], *, room: float, seconds: float, images: int, fast: bool = False) -> list[Offer]:
    """Return what is downloaded: the best first, one set of a network, as long as there is room.

    Args:
        offered: From `offers`.
        room: Bytes of all of them together.
        seconds: That the images of one network may take; estimated, and never more than that.
        images: Of the sample.
        fast: The device is no CPU: the estimate is of a small one, and is left out.
    """
    found: list[Offer] = []
    for each in offered:
        known = any(each.named.backbone == other.named.backbone for other in found)
        slow = not fast and each.forward * images / ASSUMED_RATE > seconds
        if not known and not slow and each.size <= room - sum(other.size for other in found):
            found.append(each)
    return found


def fetch(
    wanted: Sequence[Offer], budget: Budget, notes: list[str], get: Callable[[Named, float], tuple[list[Ready], list[str]]]
) -> list[Ready]:  # fmt: skip
    """Download weights as long as there is time, and return what can be probed; after a failure nothing else is asked for.

    Args:
        wanted: From `chosen`.
        budget: The time.
        notes: Receives what was not downloaded, and why.
        get: Downloads the weights of a network, and gives up when so many seconds of the budget are spent.
    """
    end, rate = budget.spent + _TIME * budget.left, _LINE
    found: list[Ready] = []
    for place, each in enumerate(wanted):
        if budget.spent + each.size / rate > end:
            notes.append(f"{each.named.backbone} is not downloaded: {units.size(each.size)} would take too much of the time")
            continue
        began = budget.spent
        ready, said = get(each.named, end)
        notes += said
        if not ready:
            left = [other.named.backbone for other in wanted[place + 1 :]]
            notes += [f"after that no other download was tried: {', '.join(left)}"] if left else []
            break
        rate = each.size / max(budget.spent - began, 1e-3)
        found += ready
    return found


def share(left: float, probes: float) -> float:
    """Return the seconds that the images of one network may take, of the seconds that are left and the share of all probes."""
    return _TIME * probes * left


def hint(offered: Sequence[Offer]) -> str:
    """Say what could be downloaded, in a note.

    Args:
        offered: From `offers`, one at least.
    """
    count = len({each.named.backbone for each in offered})
    return f"weights of other networks can be downloaded ({count}): {option('download', _USUAL)} takes the best ones that fit"


def _is_here(each: Named, places: Places) -> bool:
    """Return whether weights are on this machine; of those that cannot be used, too: what is wrong with them is said elsewhere."""
    try:
        plugin = registry.get(Backbone, each.backbone)
        weight_files.find_weights(each.weights, each.backbone, plugin, places, fetch=False, run=arm_weights.weights_of_run)
    except WeightsMissing:
        return False
    except TlkitError:
        return True
    return True


def _side(size: int | list[int]) -> float:
    """Return the side of a square of as many pixels."""
    return float(size) if isinstance(size, int) else float(size[0] * size[1]) ** 0.5
