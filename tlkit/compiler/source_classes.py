"""Which classes of a data set the images have that ImageNet weights were trained on, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

MEANING = "weights from it know these, so accuracies of them say little of other classes"
_TAGS = re.compile(r"(^|_)in(1|12|21|22)k(_|$)")  # of timm's names of weights: "a1_in1k"


def of_imagenet(weights: str) -> bool:
    """Return whether weights were trained on ImageNet, by their name.

    Args:
        weights: As `backbone.weights` of a recipe. Of a file nothing is known.
    """
    return weights.startswith("imagenet") or _TAGS.search(weights) is not None


def shared(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that ImageNet has, or of which it has kinds: "ants" for its ant, "elephant" for its African elephant.

    Args:
        classes: Names of the classes, in singular or plural.
    """
    from torchvision.models import ResNet18_Weights

    known = {_plain(name) for name in ResNet18_Weights.IMAGENET1K_V1.meta["categories"]}
    known |= {name.rpartition(" ")[2] for name in known}
    return tuple(name for name in classes if _forms(_plain(name)) & known)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _forms(name: str) -> set[str]:
    return {name, name.removesuffix("s"), name.removesuffix("es"), f"{name.removesuffix('ies')}y"}
