"""Choose test images where a data set has none of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np

_BYTES = 32  # of a SHA-256


def hold_out(labels: Sequence[str], keys: Iterable[str], fraction: float) -> list[bool]:
    """Choose the test images of a data set that has no test set; return True for each image that is one.

    Of each class these are the max(1, round(fraction x images)) images whose keys have the smallest SHA-256, but never all of them;
    none where the fraction is 0.
    The choice uses no seed, so it is the same everywhere, and a new image moves at most one other. Images with the same key stay
    together, so there may be a few more.

    Args:
        labels: Class name of each image.
        keys: Name of each image, or of the group that it belongs to.
        fraction: Part of each class, 0 to 1.
    """
    if not fraction:
        return [False] * len(labels)
    number: dict[str, int] = {}
    label = np.array([number.setdefault(name, len(number)) for name in labels], np.int64)
    count = np.bincount(label, minlength=len(number))
    wanted = np.array([min(max(1, round(fraction * each)), each - 1) for each in count.tolist()], np.int64)
    digests = np.frombuffer(b"".join(sha256(os.fsencode(key)).digest() for key in keys), f"S{_BYTES}")
    if len(digests) != len(label):
        raise ValueError(f"{len(label)} labels, and {len(digests)} keys")
    order = np.argsort(digests, kind="stable")
    chosen = np.zeros(len(label), bool)
    first = np.ones(len(label), bool)
    first[1:] = digests[order][1:] != digests[order][:-1]
    begins = np.flatnonzero(first)
    if len(begins) == len(label):  # no two have the same key
        by_class = order[np.argsort(label[order], kind="stable")]
        rank = np.arange(len(label)) - np.repeat(np.cumsum(count) - count, count)
        chosen[by_class[rank < np.repeat(wanted, count)]] = True
        return chosen.tolist()
    for members in np.split(order, begins[1:]):
        if (wanted[label[members]] > 0).any():
            chosen[members] = True
            np.subtract.at(wanted, label[members], 1)
    return chosen.tolist()
