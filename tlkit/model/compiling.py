"""The arguments of `Model.compile` as tables of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkit.errors import TlkitError, shortened
from tlkit.model.arguments import plain, table_of
from tlkit.model.setup import Setup, Tables, least_epochs
from tlkit.recipe.map_tables import Auto
from tlkit.recipe.maps import HEAD

_EXAMPLES = {
    "optimizer": 'optimizer={"name": "sgd", "momentum": 0.9}, lr=1e-2; others: adam, adamw',
    "schedule": 'schedule="constant", "step", "cosine" or "one_cycle"',
}
_RATES_OF_PARTS = "lr_groups={'backbone': 1e-4, 'head': 1e-2}"
Rates = Mapping[str, float | str | Mapping[str, float | str]]  # a text is "auto"


def tables(
    setup: Setup,
    optimizer: object,
    schedule: object,
    *,
    lr: float | Auto | None,
    lr_groups: Rates | None,
    loss: object,
    precision: str,
) -> Tables:
    """Return the tables that say how what is not frozen learns. The arguments are those of `Model.compile`.

    Raises:
        TlkitError: there is no rate, or two; or an argument belongs elsewhere.
    """
    if lr is not None and lr_groups is not None:
        raise TlkitError(
            "Model.compile: lr and lr_groups are both given.", "lr is one rate for all, lr_groups one for each part"
        )
    if isinstance(lr, Mapping) and "lr" not in lr:
        raise TlkitError("Model.compile: lr is a dict without a rate.", f"rates of parts are {_RATES_OF_PARTS}")
    if loss is not None and not isinstance(loss, Mapping):
        raise TlkitError(
            f"Model.compile: loss is {shortened(repr(loss), 60)}.",
            "the head's task has its loss; loss={'label_smoothing': 0.1} sets it up",
        )
    for name, value in (("optimizer", optimizer), ("schedule", schedule)):
        if not isinstance(value, str | Mapping):
            raise TlkitError(
                f"Model.compile: {name} is {shortened(repr(value), 60)}.",
                f"a name, or the recipe's table [{name}]",
                _EXAMPLES[name],
            )
    shape = table_of(schedule)
    if "epochs" in shape:
        raise TlkitError(
            'Model.compile: schedule has "epochs", which belong to fit.', f"model.fit(.., epochs={shape['epochs']})"
        )
    rates: dict[str, Any] | None = dict.fromkeys(("backbone", HEAD), plain(lr)) if lr is not None else plain(lr_groups)
    if rates is None and not setup.untrained(where="Model").head.solve:
        raise TlkitError("Model.compile: there is no learning rate.", f"lr=1e-3, or {_RATES_OF_PARTS}")
    return {
        "optimizer": table_of(optimizer),
        "schedule": shape | {"epochs": least_epochs(setup.tables["freeze"], shape)},
        "lr_groups": rates or {},
        "loss": plain(loss or {}),
        "precision": precision,
    }
