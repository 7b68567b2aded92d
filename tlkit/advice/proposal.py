"""What to train, from the number of images and the measured fit of a network's stages: tables of a recipe, and the reasons.

Imports no torch. The rule: where something was measured, it decides; `strategies` only says what few and many are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlkit.advice import strategies
from tlkit.advice.strategies import FEW, MANY, Amount
from tlkit.plugin import Head, registry
from tlkit.record.advice import Candidate, Likeness

_ALTERED = ("head", "freeze", "lr_groups", "optimizer", "schedule", "early_stopping", "loss")


@dataclass(frozen=True)
class Proposal:
    """What the recipe says.

    Attributes:
        tables: Of its only arm.
        what: In words: "a linear head solved on its last stage".
        why: Lines with the reasons.
        way: Its name among the ways that are tried: see `arms`.
    """

    tables: Mapping[str, Any]
    what: str
    why: tuple[str, ...]
    way: str = ""


def quadrant(least: int, likeness: Likeness) -> str:
    """Return the case of the lectures that images are in: "few images a class, similar to the source's"."""
    words = {
        "few": f"few images a class (fewer than {FEW})",
        "some": f"{FEW} to {MANY - 1} images a class",
        "many": f"many images a class ({MANY} or more)",
    }
    like = "similar to" if likeness == "similar" else "dissimilar from"
    return f"{words[strategies.amount(least)]}, {like} those the network was trained on"


def base_of(tables: Mapping[str, Any], *, network: Mapping[str, Any], image_size: int | list[int]) -> dict[str, Any]:
    """Return tables with a network and the data, and none that say what trains; a head that is solved is left out.

    Args:
        tables: What the user's recipe says, or that of `tlkit init` for a folder.
        network: The table [backbone] that names it.
        image_size: Of its input.
    """
    kept = {name: table for name, table in tables.items() if name not in ("backbone", "freeze", "lr_groups", "head")}
    kept = _for_adam(kept)
    head = _trained_head(tables.get("head", {}))
    return {
        **kept,
        "backbone": network,
        "data": {**tables["data"], "image_size": image_size},
        **({"head": head} if head else {}),
    }


def _trained_head(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of a head without the stage that it reads, which another network may not have; {} for a head that is solved."""
    if registry.get(Head, given.get("kind", "linear")).solve:
        return {}
    return {name: each for name, each in given.items() if name != "embed"}


def _for_adam(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables without an optimizer that the proposed rates are not made for: they are Adam's, and SGD needs other ones."""
    if tables.get("optimizer", {}).get("name", "adamw") in ("adam", "adamw"):
        return dict(tables)
    return {**tables, "optimizer": {"name": "adamw"}}


def propose(
    tables: Mapping[str, Any], best: Candidate, *, least: int, stages: tuple[str, ...], single: bool, network: Mapping[str, Any],
    image_size: int | list[int],
) -> Proposal:  # fmt: skip
    """Choose what to train.

    Args:
        tables: What the user's recipe says, or that of `tlkit init` for a folder.
        best: The network.
        least: Training images of the smallest class.
        stages: Of the network, input to output.
        single: Each image has one class; heads are solved for such alone.
        network: The table [backbone] that names it.
        image_size: Of its input.
    """
    likeness, amount = best.likeness or "similar", strategies.amount(least)
    kept = {name: table for name, table in tables.items() if name not in (*_ALTERED, "backbone", "data", "select_by")}
    data = {**tables["data"], "image_size": image_size}
    unknown = "No head could be judged on these images, so nothing was measured of their fit."
    begin = (f"{best.fit[0].upper()}{best.fit[1:]}." if best.fit else unknown,)
    if amount == "few" and single:
        return _solved(kept, data, best, network, begin, least=least)
    trained = {
        name: tables[name] for name in ("optimizer", "schedule", "early_stopping", "loss", "select_by") if name in tables
    }
    trained = _for_adam(trained)
    head = _trained_head(tables.get("head", {} if single else {"kind": "multilabel"}))
    rates, freeze, what, why = _trained(amount, likeness, best, stages, least=least)
    given = {"head": head, "data": data, "freeze": freeze, "lr_groups": rates, **trained}
    made = {**kept, "backbone": network, **{name: table for name, table in given.items() if table}}
    way = {"few": "head", "some": "late", "many": "everything"}[amount]
    return Proposal(made, what, (*begin, why), way)


def _solved(
    kept: Mapping[str, Any], data: Mapping[str, Any], best: Candidate, network: Mapping[str, Any], begin: tuple[str, ...], *,
    least: int,
) -> Proposal:  # fmt: skip
    last = not best.stages or best.best == best.stages[-1].name
    unused = ("augment", "augment_views", "batch_size", "initial_epoch")
    head = {"kind": "logistic", **({} if last else {"embed": best.best})}
    stage = "its last stage" if last else f"its stage {best.best}, and leave the stages after it out"
    tables = {
        **kept, "backbone": network, "head": head, "data": {name: each for name, each in data.items() if name not in unused},
    }  # fmt: skip
    why = (
        f"The smallest class has {least:,} training images, fewer than {FEW}: a network that is trained on so few learns them by heart. "
        "So nothing of it is trained: every image is embedded once, and a logistic regression is solved on the embeddings."
    )
    return Proposal(tables, f"solve a linear head on {stage}", (*begin, why), "head" if last else f"head_on_{best.best}")


def _trained(
    amount: Amount, likeness: Likeness, best: Candidate, stages: tuple[str, ...], *, least: int
) -> tuple[dict[str, Any], dict[str, Any], str, str]:
    """Return learning rates, what is frozen, and both in words."""
    _, middle, late = strategies.thirds(stages)
    head, fast, slow = strategies.HEAD_RATE, strategies.LATE_RATE, strategies.EARLY_RATE
    count = f"The smallest class has {least:,} training images"
    if amount == "few":
        return {"head": head}, {"backbone": True}, "train a new head only", f"{count}: enough for a new head, and for no more."
    if amount == "some":
        trained = late if likeness == "similar" else stages[stages.index(best.best) + 1 :]
        freeze = {"backbone": True, **dict.fromkeys(trained, False)}
        why = f"{count}, {FEW} or more: enough to train a part of the network, the stages from {trained[0]} on, slower than the new head."
        return {"backbone": fast, "head": head}, freeze, f"train the stages from {trained[0]} on, and a new head", why
    if likeness == "similar":
        rates = {"backbone": slow} | dict.fromkeys(middle, strategies.MIDDLE_RATE) | dict.fromkeys(late, fast) | {"head": head}
        why = f"{count}, {MANY} or more: enough to train everything. The earlier a stage, the better it fits as it is, and the slower it moves."
        return rates, {}, "train everything, early stages slowest", why
    why = f"{count}, {MANY} or more: enough to train everything, at one rate, since early features have to change too."
    return {"backbone": head, "head": head}, {}, "train everything at one rate", why
