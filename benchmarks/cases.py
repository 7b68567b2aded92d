"""Every arm of every recipe that ships and trains its head, as a small recipe of its own on synthetic pictures.

The rule: network, stages that train, optimizer, picture size and batch are the recipe's own; only weights (random), pictures and
their number differ. There are as many more epochs as there are fewer pictures, so that tlkit decides as for the recipe itself, of
which a benchmark runs the first few. Synthetic pictures always, since a recipe cannot take fewer of a data set's test images,
and so that two machines do the same.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

import tlkit
from tlkit.errors import DataMissing, TlkitError
from tlkit.plans.plan import ImagesPlan, Plan
from tlkit.plugin import Head, registry

ROOT = Path(__file__).parents[1]
# Side of a data set's own pictures, pixels; of others, that of the network's input.
_SIDES = {"cifar10": 32, "cifar100": 32, "fashion_mnist": 28, "fashion_mnist_mini": 28}
_TRAINED = 3  # a trained stage computes its output, the gradient of its input and that of its weights
# Of a data set that is not here and says no numbers: classes, as a binary head has them, and images.
_ASSUMED_CLASSES, _ASSUMED = 2, ImagesPlan(train=1_000, validation=100, test=200, source="nominal")
_FEWEST = 8  # training images, whatever they cost


@dataclass(frozen=True)
class Case:
    """One arm of one recipe."""

    recipe: Path
    arm: str

    @property
    def name(self) -> str:
        """As in the history and in a test's name."""
        return f"{self.recipe.stem}-{self.arm}"


@dataclass(frozen=True)
class Job:
    """A case made small: what both sides of a benchmark read.

    Attributes:
        recipe: Path of the small recipe.
        trains: Names of the parameters that train in its first epoch.
        train: Training images.
        asked: Training images that were asked for at most.
        held: Validation and test images.
        scale: Training images of the recipe itself over `train`.
        epochs: Of the recipe itself.
        flops: Operations of one epoch in a plain loop, a multiply-add counted as two.
    """

    recipe: str
    trains: list[str]
    train: int
    asked: int
    held: int
    scale: float
    epochs: int
    flops: float

    def write(self, path: Path) -> Path:
        """Write it for another process."""
        path.write_text(json.dumps(asdict(self)))
        return path


def cases(folder: Path = ROOT / "recipes") -> list[Case]:
    """Return every arm of every recipe in a folder that a plain loop can train.

    Its head is trained and answers for whole images, and no other domain is adapted to.
    """
    found = []
    for path in sorted(folder.glob("*.toml")):
        tables = _tables(path)
        for name, arm in _arms(tables).items():
            kind = {**tables.get("head", {}), **arm.get("head", {})}.get("kind", "linear")
            adapt = {**tables.get("adapt", {}), **arm.get("adapt", {})}
            adapted = adapt.get("method", "none") != "none" or adapt.get("labels_per_class", 0) > 0
            head = registry.get(Head, kind)
            if not (head.solve or head.several or adapted or _still(tables, arm)):
                found.append(Case(path, name))
    return found


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise TlkitError(f"{path}: is not a recipe: {error}.") from error


def _arms(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    return tables.get("arms") or {"main": {}}


def _still(tables: Mapping[str, Any], arm: Mapping[str, Any]) -> bool:
    """Whether an arm evaluates an earlier run as it is."""
    return arm.get("freeze", tables.get("freeze", {})).get("head") is True


def make(case: Case, folder: Path, *, images: int, flops: float = math.inf, held: float = math.inf) -> Job:
    """Write a case's small recipe.

    Args:
        case: Which arm.
        folder: For the file.
        images: Training images at most; validation and test images are fewer in the same proportion.
        flops: Operations that training on them may take, about; of a large network there are fewer images still.
        held: Validation and test images at most, about.
    """
    real = planned(case)
    known = real.images if real.images.train else _ASSUMED
    train = min(images, known.train, max(int(min(flops / (_TRAINED * real.flops_per_image), 1e9)), _FEWEST))
    part = min(train / known.train, held / max(known.validation + known.test, 1))
    validation, test = round(known.validation * part), max(round(known.test * part), 1)
    recipe = folder / f"{case.name}.toml"
    epochs = math.ceil(real.epochs * known.train / train)
    recipe.write_text(_small(case, real, epochs=epochs, train=train, validation=validation, test=test), encoding="utf-8")
    plan = tlkit.plan(recipe)["main"]
    trains = [parameter.name for parameter in plan.parameters if parameter.trains_from == 0]
    counted = plan.images
    evaluated = counted.validation + counted.test
    work = _flops(plan, train=counted.train, held=evaluated)
    return Job(str(recipe), trains, counted.train, images, evaluated, known.train / counted.train, real.epochs, work)


def planned(case: Case) -> Plan:
    """Plan the recipe itself, for which no images are needed where the data set says how many there are."""
    tables = _tables(case.recipe)
    settings = ['backbone.weights="none"']  # of all arms, else of one the run that it goes on from would have to be here,
    settings += [f"arms.{name}.freeze={{}}" for name, arm in _arms(tables).items() if _still(tables, arm)]
    try:
        return tlkit.plan(case.recipe, settings, arm=case.arm)[case.arm]
    except DataMissing:
        return tlkit.plan(case.recipe, settings, arm=case.arm, classes=_ASSUMED_CLASSES)[case.arm]


def _small(case: Case, real: Plan, *, epochs: int, train: int, validation: int, test: int) -> str:
    tables = real.tables.model_dump(mode="json", exclude_none=True)
    tables.pop("early_stopping", None)
    tables["backbone"]["weights"] = "none"
    tables["schedule"]["epochs"] = epochs
    tables["head"].pop("positive", None)  # synthetic classes have other names
    tables.pop("also")
    tables.pop("adapt", None)  # of an arm that adapts to nothing
    if isinstance(tables["loss"].get("class_weights"), dict):
        tables["loss"]["class_weights"] = "balanced"
    side = _SIDES.get(tables["data"]["name"], max(real.image_size))
    counts = {"classes": real.classes, "train": max(train + validation, real.classes), "test": test, "size": side}
    tables["data"] |= {"name": "synthetic", "options": counts, "split": {"validation": validation / (train + validation)}}
    return tomli_w.dumps({"format": 1, "name": f"bench-{case.name}", "seeds": [0]} | tables)


def _flops(plan: Plan, *, train: int, held: int) -> float:
    first = next((number for number, stage in enumerate(plan.stages) if stage.trained), len(plan.stages))
    trained = sum(stage.flops for stage in plan.stages[first:])
    return float(train * (plan.flops_per_image + (_TRAINED - 1) * trained) + held * plan.flops_per_image)
