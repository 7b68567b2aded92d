"""The classes of a recipe: `Header` for the keys at its head, `Arm` for one complete configuration, `Recipe` for the whole file.

The rule: a recipe says what is learned, never where it runs. This module knows no plugin and does not import torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from tlkit.recipe.cross_validation import CrossValidation
from tlkit.recipe.domains import AdaptTable, AlsoTable
from tlkit.recipe.ensemble import Ensemble
from tlkit.recipe.evaluation import Evaluation
from tlkit.recipe.loggers import LoggerTable
from tlkit.recipe.losses import LossTable
from tlkit.recipe.map_tables import FreezeMap, RateMap
from tlkit.recipe.optimizers import AdamW, Optimizer
from tlkit.recipe.schedules import OneCycle, Schedule
from tlkit.recipe.search import Search
from tlkit.recipe.table import Table, by_name
from tlkit.recipe.tables import (
    BackboneTable,
    DataTable,
    EarlyStopping,
    FolderName,
    HeadTable,
)

FORMAT: Final = 1


# The optimizer and the schedule of a recipe that names none.
USUAL = {"optimizer": "adamw", "schedule": "one_cycle"}


# A recipe without arms has this one.
ONLY_ARM = "main"


# A seed is less than this.
SEEDS = 2**31


# Takes the place of a missing plugin name, so that the rest of the recipe can be checked too.
UNKNOWN = ""


# An arm that gives one of these tables replaces the whole table.
MAPS = ("freeze", "lr_groups")

_Optimizer = Annotated[Annotated[Optimizer, Field(discriminator="name")], by_name("optimizer", Optimizer)]
_Schedule = Annotated[Annotated[Schedule, Field(discriminator="name")], by_name("schedule", Schedule)]


class Arm(Table):
    """One complete configuration: everything that determines what a run learns."""

    backbone: BackboneTable
    head: HeadTable = Field(default_factory=HeadTable)
    data: DataTable
    also: dict[FolderName, AlsoTable] = Field(
        default_factory=dict,
        description="more data sets with the same classes, by a name of your choice; each is evaluated after every epoch",
    )
    adapt: AdaptTable | None = None
    freeze: FreezeMap = Field(
        default_factory=dict,
        description="which parts are frozen: part = true, false, or { epochs = N } for the first N epochs; backbone = { gradual = N } "
        "trains one more stage every N epochs. A part is head, backbone, a stage, or a quoted module path",
    )
    lr_groups: RateMap = Field(
        default_factory=dict,
        description='peak learning rate of each part: part = 1e-3, or { lr = 1e-3, weight_decay = 0.01 }, or "auto"; for its stages '
        "backbone = { lr = 1e-3, decay = 0.65 } or { from = 1e-5, to = 1e-3 }. A part is head, backbone, a stage, or a quoted module path",
    )
    optimizer: _Optimizer = Field(
        default_factory=lambda: AdamW(name="adamw"), description="the optimizer and its settings; default: adamw"
    )
    schedule: _Schedule = Field(
        default_factory=lambda: OneCycle(name="one_cycle"),
        description="the learning-rate schedule and the number of epochs; default: one_cycle",
    )
    loss: LossTable = Field(default_factory=LossTable)
    early_stopping: EarlyStopping | None = None
    select_by: str = Field(
        default="auto",
        min_length=1,
        description="metric on the validation images that decides which epoch is the best, when early stopping ends, and which "
        "parameter a solved head takes; auto: accuracy, and auroc for a multi-label head",
        json_schema_extra={"examples": ["auto", "accuracy", "balanced_accuracy", "auroc", "f1", "loss"]},
    )
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = Field(
        default="auto",
        description="number format of convolutions and matrix products; auto measures which one is fastest on this machine; tf32 and "
        "float16 need a GPU",
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_kind(cls, tables: object) -> object:
        """Add the default name to an optimizer or schedule table that has none."""
        if not isinstance(tables, dict):
            return tables
        usual = {key: tables[key] for key in USUAL if isinstance(tables.get(key), dict)}
        return tables | {key: {"name": USUAL[key], **table} for key, table in usual.items()}


class Header(Table):
    """The keys at the head of a recipe, which hold for all of its arms."""

    format: Literal[1] = Field(description="version of the recipe format; always 1")
    name: FolderName = Field(description="name of the recipe; its runs are kept in runs/NAME")
    seeds: list[Annotated[int, Field(ge=0, lt=SEEDS)]] = Field(
        default_factory=lambda: [0],
        min_length=1,
        description="random seeds; every arm is trained once with each, for instance [0, 1, 2]",
    )
    baseline: FolderName | None = Field(
        default=None,
        description="name of an arm: results show how much better or worse than it each other arm is on the same images",
    )
    cross_validation: CrossValidation | None = Field(
        default=None, description="cross-validation: every arm is trained once for each seed and fold"
    )

    ensemble: Ensemble | None = Field(
        default=None, description="runs that predict together: all seeds of each arm, or several arms"
    )
    evaluation: Evaluation = Field(default_factory=Evaluation, description="when test images are evaluated")
    loggers: list[LoggerTable] = Field(
        default_factory=list, description="what receives the metrics of every run while it trains: TensorBoard, MLflow, a file"
    )

    search: Search | None = Field(
        default=None, description="a search for better settings of one arm; it changes no run of the recipe as written"
    )

    @field_validator("format", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        """Refuse any format but the integer 1; true and 1.0 are equal to 1 in Python."""
        if type(value) is not int or value != FORMAT:
            raise ValueError(f"is {value!r}; this version reads recipes of format {FORMAT}")
        return value

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"is {seeds}, which has the same seed twice")
        return seeds


class Recipe(Header):
    """A whole recipe: the keys at its head, and every arm with all of its tables."""

    arms: dict[FolderName, Arm]

    @property
    def folds(self) -> int | None:
        """Number of folds of the cross-validation; None without."""
        return self.cross_validation.folds if self.cross_validation is not None else None


def arm_toml(arm: Arm) -> dict[str, Any]:
    """Return an arm as tables that can be written as TOML: defaults are included, keys that are None are left out."""
    tables = arm.model_dump(mode="json", exclude_none=True)
    split = tables["data"]["split"]
    if "fractions" in split:
        del split["validation"]  # its default, which has no effect beside fractions
    return tables
