"""The pictures of one data set, shared by every arm and seed that a command runs."""

from __future__ import annotations

from functools import partial

from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.pictures import Note, Pictures
from tlkit.engine.images.residency import Residency
from tlkit.plugin import Images


class Library:
    """The pictures of one data set, shared by every arm and seed that a command runs.

    Args:
        images: The data set.
        note: Called with what a user should know; the attribute of this name passes each message on once.
        keep: Whether decoded pictures may be stored.
        verify: Check what is stored, whatever its times say.
        residency: Decides what stays on a device; by default there is nothing else.
    """

    def __init__(
        self, images: Images, *, note: Note = lambda _: None, keep: bool = True, verify: bool = False,
        residency: Residency | None = None,
    ) -> None:  # fmt: skip
        self.images = images
        said: set[str] = set()

        def once(text: str) -> None:
            if text not in said:
                said.add(text)
                note(text)

        self.note = once
        residency = Residency() if residency is None else residency
        self._open = partial(Pictures, note=once, keep=keep, verify=verify, residency=residency)
        self._pictures: dict[tuple[str, Geometry], Pictures] = {}
        self._others: list[Library] = []
        self._like = partial(Library, note=once, keep=keep, verify=verify, residency=residency)

    def pictures(self, split: str, geometry: Geometry) -> Pictures:
        """Return the pictures of a split at one geometry."""
        if (split, geometry) not in self._pictures:
            self._pictures[split, geometry] = self._open(self.images.splits[split], geometry)
        return self._pictures[split, geometry]

    def other(self, images: Images) -> Library:
        """Return a library of other images, with the same settings, and the same one for the same images."""
        for known in self._others:
            if known.images is images:
                return known
        self._others.append(self._like(images))
        return self._others[-1]
