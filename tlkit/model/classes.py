"""The classes of a model: how many, their names, and images that have them in another order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkit.errors import RecipeError, TlkitError
from tlkit.model.arguments import check_count
from tlkit.plans import dataset_images
from tlkit.plugin import Images


@dataclass(frozen=True)
class Classes:
    """What is known of a model's classes.

    Attributes:
        count: How many; None until the first fit says it.
        names: In output order; () where only the number is known.
        assumed: The names are those of a run of as many classes, until images that are trained on have others.
    """

    count: int | None = None
    names: tuple[str, ...] = ()
    assumed: bool = False

    @property
    def shown(self) -> tuple[str, ...]:
        """Their names; "0", "1", ... where nothing named them."""
        return self.names or tuple(map(str, range(self.count or 0)))

    def as_in_run(self, of_run: tuple[str, ...]) -> Classes:
        """Return these with the names of a run that the model begins from, where only their number is known.

        Args:
            of_run: Names of the run's classes; () where there is no run.

        Raises:
            TlkitError: they are the run's in another order, in which its head would mean something else.
        """
        if not self.names:
            return Classes(self.count, of_run, assumed=True) if len(of_run) == self.count else self
        if self.names != of_run and set(self.names) == set(of_run):
            raise TlkitError(
                "Model: classes are in another order than the run's that weights= names.",
                f"classes={json.dumps(list(of_run), ensure_ascii=False)}, or leave classes out",
            )
        return self

    def of_first(self, images: Images, of_run: tuple[str, ...]) -> Classes:
        """Return the classes of the first images that are trained on, in the order of the run that the model begins from."""
        return Classes(len(images.classes), of_run if set(of_run) == set(images.classes) else images.classes)

    def trained_on(self, images: Images) -> Classes:
        """Return these with the names of images that are trained on, where only their number is known, or names were assumed.

        Raises:
            TlkitError: the images have another number of classes.
        """
        found = len(images.classes)
        if found != self.count:
            problem = f"Model: has {self.count} classes, and the images have {found}."
            raise RecipeError([TlkitError(problem, f"Model(.., classes={found})")])
        if not self.names or (self.assumed and set(self.names) != set(images.classes)):
            return Classes(self.count, images.classes)
        return Classes(self.count, self.names)

    def in_order(self, images: Images) -> Images:
        """Return images with their labels in the order of these classes, of which theirs may be a part.

        Raises:
            TlkitError: they have others.
        """
        names = self.names or images.classes
        if not set(images.classes) <= set(names) or len(names) != self.count:
            numbers = "the model's classes have numbers for names; Model(.., classes=[..]) names them"
            raise TlkitError(
                "Model: the images have other classes.",
                f"of the model: {', '.join(self.shown[:10])}", f"of the images: {', '.join(images.classes[:10])}",
                numbers if self.names[:1] == ("0",) else "",
            )  # fmt: skip
        return images if images.classes == names else dataset_images.renumbered(images, names)


def classes_of(classes: object) -> Classes:
    """Return the classes that the argument `classes` says: a number, names in output order, or None.

    Raises:
        TlkitError: it is neither.
    """
    if classes is None:
        return Classes()
    if isinstance(classes, int | float | np.number | str):
        check_count("Model: classes", classes, least=2)
        return Classes(int(classes))
    names = tuple(classes) if isinstance(classes, Sequence | np.ndarray) else ()
    if len(names) < 2 or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise TlkitError(f"Model: classes is {classes!r}.", "a number, or two or more different names")
    return Classes(len(names), tuple(map(str, names)))
