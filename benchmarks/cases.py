"""Every arm of every recipe that ships, as a small recipe of its own on synthetic pictures.

The rule: network, stages that train, optimizer, picture size and batch are the recipe's own; only weights (random), pictures and
their number differ. There are as many more epochs as there are fewer pictures, so that tlkit decides as for the recipe itself, of
which a benchmark runs the first few. Synthetic pictures always, since a recipe cannot take fewer of a data set's test images,
and so that two machines do the same.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import tomli_w

import tlkit
from tlkit.plans import Plan

ROOT = Path(__file__).parents[1]
# Side of a data set's own pictures, pixels; of others, that of the network's input.
_SIDES = {"cifar10": 32, "cifar100": 32, "fashion_mnist": 28, "fashion_mnist_mini": 28}
_TRAINED = 3  # a trained stage computes its output, the gradient of its input and that of its weights


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
        held: Validation and test images.
        scale: Training images of the recipe itself over `train`.
        epochs: Of the recipe itself.
        flops: Operations of one epoch in a plain loop, a multiply-add counted as two.
    """

    recipe: str
    trains: list[str]
    train: int
    held: int
    scale: float
    epochs: int
    flops: float

    def write(self, path: Path) -> Path:
        """Write it for another process."""
        path.write_text(json.dumps(asdict(self)))
        return path


def cases(folder: Path = ROOT / "recipes") -> list[Case]:
    """Return every arm of every recipe in a folder."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        arms = tomllib.loads(path.read_text(encoding="utf-8")).get("arms", {})
        found += [Case(path, arm) for arm in arms or ["main"]]
    return found


def make(case: Case, folder: Path, *, images: int) -> Job:
    """Write a case's small recipe.

    Args:
        case: Which arm.
        folder: For the file.
        images: Training images at most; validation and test images are fewer in the same proportion.
    """
    # The plan of the recipe itself says how many images there are; it needs none of them here.
    real = tlkit.plan(case.recipe, ['backbone.weights="none"'], arm=case.arm)[case.arm]
    train = min(images, real.images.train)
    part = train / real.images.train
    validation, test = round(real.images.validation * part), max(round(real.images.test * part), 1)
    recipe = folder / f"{case.name}.toml"
    recipe.write_text(_small(case, real, train=train, validation=validation, test=test), encoding="utf-8")
    plan = tlkit.plan(recipe)["main"]
    trains = [parameter.name for parameter in plan.parameters if parameter.trains_from == 0]
    counted = plan.images
    held = counted.validation + counted.test
    flops = _flops(plan, train=counted.train, held=held)
    return Job(str(recipe), trains, counted.train, held, real.images.train / counted.train, real.epochs, flops)


def _small(case: Case, real: Plan, *, train: int, validation: int, test: int) -> str:
    tables = real.tables.model_dump(mode="json", exclude_none=True)
    tables.pop("early_stopping", None)
    tables["backbone"]["weights"] = "none"
    tables["schedule"]["epochs"] = math.ceil(real.epochs * real.images.train / train)
    side = _SIDES.get(tables["data"]["name"], real.image_size)
    counts = {"classes": real.classes, "train": max(train + validation, real.classes), "test": test, "size": side}
    tables["data"] |= {"name": "synthetic", "options": counts, "split": {"validation": validation / (train + validation)}}
    return tomli_w.dumps({"format": 1, "name": f"bench-{case.name}", "seeds": [0]} | tables)


def _flops(plan: Plan, *, train: int, held: int) -> float:
    first = next((number for number, stage in enumerate(plan.stages) if stage.trained), len(plan.stages))
    trained = sum(stage.flops for stage in plan.stages[first:])
    return float(train * (plan.flops_per_image + (_TRAINED - 1) * trained) + held * plan.flops_per_image)
