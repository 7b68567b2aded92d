"""A call of `Model.fit` as a recipe has it: its images, its job, and why it cannot be written as a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkit.errors import RecipeError, TlkitError
from tlkit.model import inputs, labels
from tlkit.model.arguments import plain
from tlkit.model.inputs import Given
from tlkit.model.labels import Labels
from tlkit.model.setup import EPOCHS, Setup, Tables, input_keys
from tlkit.plans.jobs import Job
from tlkit.plugin import Images
from tlkit.recipe import parsing

REORDERED = "the images have their classes in another order than the model, and a recipe's classes are in the images' order."
_TESTED = "test_fraction"  # the option that data sets have of which test images may be held out
CONTINUED = "the last fit went on with the optimizer's state, which a recipe has not; compile before fit."


@dataclass(frozen=True)
class Request:
    """What a call of fit asks for.

    Attributes:
        x: The images, as `fit` takes them.
        y: Their labels.
        data: The recipe's keys of [data]; None for one that is not given.
        epochs: Of the schedule; None where not given.
        patience: Of early stopping; None where not given.
        validation_data: As `fit` takes it.
        class_weight: As `fit` takes it.
    """

    x: object
    y: object
    data: Tables
    epochs: int | None
    patience: int | None
    validation_data: object
    class_weight: str | Mapping[Any, float] | None


@dataclass(frozen=True)
class Found:
    """The images of a fit, and its job.

    Attributes:
        images: All splits.
        job: What `apply` would call the run.
        refusal: Why no recipe can say it; "" where one can.
        notes: Lines for the user: classes without an image, and arguments of compile and fit that have no effect.
        held_out_of: Of what the test images are a part that training leaves out; "" where they are its own, or there are none.
    """

    images: Images
    job: Job
    refusal: str
    notes: tuple[str, ...]
    held_out_of: str


@dataclass(frozen=True)
class Fitted:
    """The last fit of a model, as `to_recipe` writes it.

    Attributes:
        job: The run.
        began: What a recipe calls the weights that it began from; None where they are not on disk.
        refusal: Why it cannot be written; "" where it can.
        split: Which images each part has, as split.json of a run; {} where no recipe can name them.
    """

    job: Job
    began: str | None
    refusal: str
    split: Mapping[str, Any] = field(default_factory=dict)


def found(request: Request, setup: Setup, *, usual: Tables, known: Labels, epochs_done: int) -> Found:
    """Find the images of a fit and name its job.

    Args:
        request: What is asked for.
        setup: The model's tables.
        usual: What the recipe that the model is of says of data and epochs; {} where it is of none.
        known: The model's classes.
        epochs_done: In earlier fits.

    Raises:
        TlkitError: the images cannot be used.
    """
    setup.check_images(request.x, where="Model.fit")
    given = _given(request, usual, known, setup.bands)
    missing = "" if given.images is None else inputs.without_images(given.images, known=known, where="Model.fit")
    dark = "" if given.images is None or setup.bands is not None else inputs.almost_black(given.images, where="Model.fit")
    tables = _tables(request, setup, usual, epochs_done, given=given)
    images, job = _images(setup, given, tables)
    if request.validation_data is not None and _can_test_none(images, job, tables["data"].get("options", {})):
        tables["data"]["options"] = {**tables["data"].get("options", {}), _TESTED: 0.0}
        images, job = _images(setup, given, tables)
    held_out_of = str(given.folder or given.name) if images.test_held_out and "test" in images.splits else ""
    if request.class_weight is not None:
        weights = labels.class_weights(request.class_weight, images.classes)
        images, job = _images(setup, given, tables | {"loss": {**setup.tables.get("loss", {}), "class_weights": weights}})
    if request.validation_data is not None:
        now = Labels(images.classes, len(images.classes), known.several)
        held_out = inputs.held_out(request.validation_data, known=now, where="Model.fit: validation_data", bands=setup.bands)
        images, job = setup.validated(images, job, held_out)
    unused = [line.replace("schedule:", "epochs and schedule:") for line in job.resolved.unused]
    notes = (*filter(None, [missing, dark]), *(f"not used: {line}" for line in unused))
    return Found(images, job, _refusal(given, request), notes, held_out_of)


def split_table(split: Mapping[str, Any] | None, part: float | None, held_out: object) -> object:
    """Return the recipe's table data.split of fit's `split`, `validation_split` and `validation_data`.

    Raises:
        TlkitError: two of them say what is held out.
    """
    if part is None:
        return split
    if held_out is not None:
        raise TlkitError("Model.fit: validation_data and validation_split are both given.", "give one")
    if isinstance(split, Mapping) and "validation" in split:
        raise TlkitError("Model.fit: validation_split and split['validation'] are both given.", "give one")
    return {**(split or {}), "validation": part}


def _given(request: Request, usual: Tables, known: Labels, bands: int | None) -> Given:
    if request.x is not None:
        return inputs.read(request.x, request.y, known=known, where="Model.fit", bands=bands)
    if "name" not in usual.get("data", {}):
        raise TlkitError("Model.fit: x is missing.", "a folder, a data set's name, arrays, or a list of paths: model.fit(x, y)")
    return Given(usual["data"]["name"])


def _tables(request: Request, setup: Setup, usual: Tables, epochs_done: int, *, given: Given) -> Tables:
    """Tables of a recipe from the arguments of fit; what is not given is as the recipe has it that the model is of."""
    own = usual.get("data", {})
    same = own if own.get("name") == given.name and given.folder is None else {}
    reached = input_keys(setup.tables["data"])
    table = {**same, **({} if "image_sizes" in same else reached)}
    table |= {key: plain(value) for key, value in request.data.items() if value is not None}
    if epochs_done:
        table["initial_epoch"] = epochs_done
    length = plain(request.epochs) if request.epochs is not None else usual.get("schedule", {}).get("epochs", EPOCHS)
    tables = {"data": table, "schedule": {**setup.tables.get("schedule", {}), "epochs": length}}
    stopping = {"patience": plain(request.patience)} if request.patience is not None else usual.get("early_stopping")
    return tables | ({} if stopping is None else {"early_stopping": stopping})


def _images(setup: Setup, given: Given, tables: Tables) -> tuple[Images, Job]:
    resolved, places = setup.resolved(where="Model.fit", more=tables, given=given)
    return setup.images(given, setup.job(resolved, places, where="Model.fit"))


def _can_test_none(images: Images, job: Job, options: Mapping[str, Any]) -> bool:
    """Return whether test images are held out of a data set, nobody said how many, and an option may say none."""
    if not images.test_held_out or "test" not in images.splits or _TESTED in options:
        return False
    try:
        return parsing.options(job.resolved.dataset.options, {_TESTED: 0.0}, place="data.options") is not None
    except RecipeError:  # it has no such option, or must hold out some
        return False


def _refusal(given: Given, request: Request) -> str:
    if given.images is not None:
        return "the images were in memory, and a recipe names a folder or a data set."
    if request.validation_data is not None:
        return "validation_data is beside the data set, and a recipe holds out images of it; put them into FOLDER/val."
    return ""
