"""Which classes of a data set ImageNet has too, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence


def shared(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes whose name is that of a class of ImageNet, in singular or plural.

    Args:
        classes: Names of the classes.
    """
    from torchvision.models import ResNet18_Weights

    known = {_plain(name) for name in ResNet18_Weights.IMAGENET1K_V1.meta["categories"]}
    return tuple(name for name in classes if _forms(_plain(name)) & known)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _forms(name: str) -> set[str]:
    return {name, name.removesuffix("s"), name.removesuffix("es"), f"{name.removesuffix('ies')}y"}
