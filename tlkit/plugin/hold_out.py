"""Choose test images where a data set has none of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256


def hold_out(labels: Sequence[str], keys: Sequence[str], fraction: float) -> list[bool]:
    """Choose the test images of a data set that has no test set; return True for each image that is one.

    Of each class these are the max(1, round(fraction x images)) images whose keys have the smallest SHA-256, but never all of them.
    The choice uses no seed, so it is the same everywhere, and a new image moves at most one other. Images with the same key stay
    together, so there may be a few more.

    Args:
        labels: Class name of each image.
        keys: Name of each image, or of the group that it belongs to.
        fraction: Part of each class, 0 to 1.
    """
    wanted = {label: min(max(1, round(fraction * count)), count - 1) for label, count in Counter(labels).items()}
    members: dict[str, list[str]] = {}
    for label, key in zip(labels, keys, strict=True):
        members.setdefault(key, []).append(label)
    chosen: set[str] = set()
    for key in sorted(members, key=lambda each: sha256(os.fsencode(each)).digest()):
        if any(wanted[label] > 0 for label in members[key]):
            chosen.add(key)
            for label in members[key]:
                wanted[label] -= 1
    return [key in chosen for key in keys]
