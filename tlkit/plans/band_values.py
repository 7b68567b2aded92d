"""Find the type of the values in images of bands: uint8, uint16 or float32. Imports no torch.

The rule: the first training image that can be read says it for all, and an image of another type is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tlkit.errors import DataError, DataMissing, ImageError
from tlkit.plans import dataset_images, job_inputs
from tlkit.plans.resolved import Resolved
from tlkit.plugin import ImageFile, Images, Split, Values
from tlkit.sources import band_files
from tlkit.sources.places import Places


def known(resolved: Resolved, places: Places) -> Resolved:
    """Return an arm with the type of its images' values, where these are on this machine; else the arm as it is.

    Raises:
        DataError: as `settled`.
    """
    if resolved.arm.data.channels is None:
        return resolved
    with suppress(DataMissing):
        found = job_inputs.known_data(resolved, places)
        return settled(resolved, dataset_images.images(resolved, found))
    return resolved


def settled(resolved: Resolved, images: Images) -> Resolved:
    """Return an arm with the type of its images' values in its preprocessing.

    Args:
        resolved: The arm.
        images: Of its data set.

    Raises:
        DataError: no training image can be read, or the weights are those of a run on images of another type.
    """
    if resolved.arm.data.channels is None:
        return resolved
    refuse_other_type(resolved, images)
    return replace(resolved, convention=replace(resolved.convention, values=_values(images.splits["train"])))


def refuse_other_type(resolved: Resolved, images: Images) -> None:
    """Refuse images of another type than the weights were trained on, where these were trained on bands.

    Raises:
        DataError: they are.
    """
    if resolved.trained is None or resolved.trained.channels != "bands" or not resolved.trained.mean:
        return
    split = images.splits.get("train") or next(iter(images.splits.values()))
    if (values := _values(split)) != resolved.trained.values:
        raise DataError(
            f"backbone.weights: the network was trained on images of {resolved.trained.values}, and these are {values}.",
            "write the images as that type, in the same units",
        )


def _values(split: Split) -> Values:
    return first_values(split.files) if split.pixels is None else band_files.values_of(split.pixels)


def first_values(files: Sequence[ImageFile]) -> Values:
    """Return the type of the values in the first file that can be read.

    Raises:
        ImageError: none can be; says why the first cannot.
    """
    first: ImageError | None = None
    for file in files:
        try:
            return band_files.check_values(Path(file), band_files.header(Path(file)))
        except ImageError as error:
            first = first or error
    raise first or ImageError("data: there are no image files.")
