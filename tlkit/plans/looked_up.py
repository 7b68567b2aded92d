"""What was looked up in a data set's files for one arm and holds for others: each is looked up once. Imports no torch.

The rule: `Images` are one object for as long as no file of theirs changes (`dataset_images`), and what is kept is kept with them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from tlkit import file_digests
from tlkit.plans.dataset_parts import Selected
from tlkit.plugin import Images

_Found = TypeVar("_Found")

_known: WeakKeyDictionary[Images, dict[tuple[Hashable, ...], object]] = WeakKeyDictionary()
_numbers: WeakKeyDictionary[Images, int] = WeakKeyDictionary()
_next = itertools.count()


def once(images: Images, question: tuple[Hashable, ...], compute: Callable[[], _Found]) -> _Found:
    """Return what was found in a data set's files before, or compute it; an error is not kept.

    Args:
        images: The data set. What is found must not hold it, or it would be kept for ever.
        question: All that the answer depends on beside the files.
        compute: Gives the answer.
    """
    known = _known.setdefault(images, {})
    if question not in known:
        known[question] = compute()
    return cast(_Found, known[question])


def once_of_digests(images: Images, question: tuple[Hashable, ...], compute: Callable[[], _Found]) -> _Found:
    """Do as `once`, and compute again where digests of files were remembered since then: fewer files may be unread."""
    found, then = once(images, question, lambda: (compute(), file_digests.remembered()))
    if then != file_digests.remembered():
        _known[images].pop(question)
        found, _ = once(images, question, lambda: (compute(), file_digests.remembered()))
    return found


def named(images: Images, part: Selected | None) -> tuple[Hashable, ...]:
    """Return what stands for images of a data set in a question."""
    chosen = () if part is None else (part.split, hashlib.sha256(part.indices.tobytes()).digest())
    return (_numbers.setdefault(images, next(_next)), *chosen)


def all_named(images: Images, parts: Mapping[str, Selected]) -> tuple[Hashable, ...]:
    """Return what stands for all parts of a data set in a question."""
    return tuple((name, *named(images, part)) for name, part in parts.items())
