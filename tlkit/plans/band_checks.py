"""Check what a recipe says of bands, which are channels that are no colours, against its data set and the rest. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from tlkit.errors import TlkitError
from tlkit.plugin import Dataset, registry
from tlkit.recipe import augmentations
from tlkit.recipe.recipe import Arm
from tlkit.recipe.tables import InputTable


def problems(arm: Arm, dataset: Dataset | None) -> Iterator[TlkitError]:
    """Yield the problems of data.channels, and of a mean and a std of another number of channels.

    Args:
        arm: Its tables.
        dataset: The data set plugin; None where it is not known.
    """
    bands, given = arm.data.channels, arm.backbone.input
    table = given if isinstance(given, InputTable) else InputTable()
    for name, values in (("mean", table.mean), ("std", table.std)):
        if values is not None and len(values) != (bands or 3):
            what = "data.channels says" if bands else "colour pictures have"
            count = "1 value" if len(values) == 1 else f"{len(values)} values"
            yield TlkitError(
                f"backbone.input.{name}: has {count}, and {what} {bands or 3} channels.", "a number for each channel"
            )
    if bands is None:
        return
    if dataset is not None and not reads_bands(dataset):
        offering = [entry.name for entry in registry.entries(Dataset) if entry.name in ("folder", "csv")]
        yield TlkitError(
            f"data.channels: {arm.data.name} has colour pictures, not images of bands.",
            f"data sets of bands: {', '.join(offering)}",
        )
    if isinstance(given, str):
        yield TlkitError(
            f'backbone.input: "{given}" is of three colours, and data.channels says {bands} bands.',
            f"a table with mean and std of {bands} numbers each, or leave it out: they are measured on the training images",
        )
    for name in ("channels", "range"):
        if getattr(table, name) is not None:
            yield TlkitError(f"backbone.input.{name}: is of colours, and data.channels says {bands} bands.", "leave it out")
    if (table.mean is None) != (table.std is None):
        yield TlkitError(
            "backbone.input: has one of mean and std.", "both, or neither: then they are measured on the training images"
        )
    if colours := augmentations.of_colour(arm.data.augment):
        yield TlkitError(
            f"data.augment: {', '.join(colours)} change{'s' if len(colours) == 1 else ''} colours, and data.channels says {bands} bands.",
            f"augmentations of bands: {', '.join(augmentations.not_of_colour())}",
        )
    if arm.data.fit == "pad" and table.mean is None:
        yield TlkitError(
            'data.fit: "pad" fills the border with the mean of each band, which is not known before the images are decoded.',
            'fit = "squash" or "crop", or give backbone.input a mean and a std',
        )


def reads_bands(dataset: Dataset) -> bool:
    """Return whether a data set can read images of bands."""
    field = None if dataset.options is None else dataset.options.model_fields.get("channels")
    return field is not None and bool(field.exclude)
