"""The recipe: what a person wrote, as typed tables, one complete `Arm` per arm.

The rule: a recipe says what is learned, never where it runs. Nothing here knows a plugin or imports torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from tlkit.recipe.losses import LossTable
from tlkit.recipe.optimizers import Adam, AdamW, Sgd
from tlkit.recipe.schedules import Constant, Cosine, OneCycle, Step
from tlkit.recipe.table import Table
from tlkit.recipe.tables import (
    LONGEST,
    NAME,
    AlsoTable,
    BackboneTable,
    DataTable,
    EarlyStopping,
    FreezeValue,
    HeadTable,
    RateValue,
)

FORMAT: Final = 1


USUAL = {"optimizer": "adamw", "schedule": "one_cycle"}


# A recipe without arms has this one.
ONLY_ARM = "main"


# A plugin's name that is not known yet: stands in for a missing one while more problems are looked for.
UNKNOWN = ""


# These tables are replaced by an arm that names them; all others merge key by key.
MAPS = ("freeze", "lr_groups")


class Arm(Table):
    """One complete recipe: what one run of it learns."""

    backbone: BackboneTable
    head: HeadTable = Field(default_factory=HeadTable)
    data: DataTable
    also: dict[Annotated[str, Field(pattern=NAME, max_length=LONGEST)], AlsoTable] = Field(
        default_factory=dict, description="a name -> a data set of the same classes, evaluated after every epoch"
    )
    freeze: dict[str, FreezeValue] = Field(default_factory=dict, description="key -> true, false or { epochs = N }")
    lr_groups: dict[str, RateValue] = Field(default_factory=dict, description="key -> peak learning rate, or a table")
    optimizer: Annotated[Sgd | Adam | AdamW, Field(discriminator="name")] = Field(
        default_factory=lambda: AdamW(name="adamw"), description="adamw where not given"
    )
    schedule: Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="name")] = Field(
        default_factory=lambda: OneCycle(name="one_cycle"), description="one_cycle where not given"
    )
    loss: LossTable = Field(default_factory=LossTable)
    early_stopping: EarlyStopping | None = None
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of convolutions and products; auto takes what is measured fastest here"
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_kind(cls, tables: object) -> object:
        """Name the optimizer and the schedule where their tables do not."""
        if not isinstance(tables, dict):
            return tables
        usual = {key: tables[key] for key in USUAL if isinstance(tables.get(key), dict)}
        return tables | {key: {"name": USUAL[key], **table} for key, table in usual.items()}


class Header(Table):
    """What belongs to the recipe as a whole."""

    format: Literal[1] = Field(description="of this file")
    name: str = Field(pattern=NAME, max_length=LONGEST, description="names the run folder")
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default_factory=lambda: [0], min_length=1)

    @field_validator("format", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        """Refuse other formats, and true and 1.0, which Python takes for 1."""
        if type(value) is not int or value != FORMAT:
            raise ValueError(f"is {value!r}; this version reads recipes of format {FORMAT}")
        return value

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"names one twice: {seeds}")
        return seeds


ArmName = Annotated[str, Field(pattern=NAME, max_length=80)]


class Recipe(Header):
    """A recipe with every arm complete."""

    arms: dict[Annotated[str, Field(pattern=NAME, max_length=LONGEST)], Arm]


def arm_toml(arm: Arm) -> dict[str, Any]:
    """Return the arm with its defaults written out, as TOML can hold it (what is None is absent)."""
    tables = arm.model_dump(mode="json", exclude_none=True)
    split = tables["data"]["split"]
    if "fractions" in split:
        del split["validation"]  # says nothing beside them, and is refused
    return tables
