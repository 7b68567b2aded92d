"""What to train, from the number of images and the measured fit of a network's stages: tables of a recipe, and the reasons.

Imports no torch. The rule: where something was measured, it decides; `strategies` only says what few and many are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlkit.advice import arms, strategies
from tlkit.advice.strategies import FEW, MANY, Amount
from tlkit.plugin import Head, registry
from tlkit.record.advice import Candidate, Likeness


@dataclass(frozen=True)
class Proposal:
    """What the recipe says.

    Attributes:
        tables: Of its only arm.
        what: In words: "a linear head solved on its last stage".
        why: Lines with the reasons.
        way: Its name among the ways that are tried: see `arms`.
        network: That it trains, where it is not the first one.
        quotes_probe: What the probe found on the network's best stage is of use to who reads the advice.
    """

    tables: Mapping[str, Any]
    what: str
    why: tuple[str, ...]
    way: str = ""
    network: str = ""
    quotes_probe: bool = True


def quadrant(least: int, likeness: Likeness) -> str:
    """Return the case of the lectures that images are in: "few images a class, similar to the source's"."""
    words = {
        "few": f"few images a class (fewer than {FEW})",
        "some": f"{FEW} to {MANY - 1} images a class",
        "many": f"many images a class ({MANY} or more)",
    }
    like = "similar to" if likeness == "similar" else "dissimilar from"
    return f"{words[strategies.amount(least)]}, {like} those the network was trained on"


def base_of(
    tables: Mapping[str, Any], *, network: Mapping[str, Any], image_size: int | list[int], single: bool = True
) -> dict[str, Any]:
    """Return tables with a network and the data, and none that say what trains; a head that is solved is left out.

    Args:
        tables: What the user's recipe says, or that of `tlkit init` for a folder.
        network: The table [backbone] that names it.
        image_size: Of its input.
        single: Each image has one class.
    """
    kept = {name: table for name, table in tables.items() if name not in ("backbone", "freeze", "lr_groups", "head")}
    kept = _for_adam(kept)
    head = _trained_head(tables.get("head", {} if single else {"kind": "multilabel"}))
    return {
        **kept,
        "backbone": network,
        "data": {name: each for name, each in tables["data"].items() if name != "image_sizes"} | {"image_size": image_size},
        **({"head": head} if head else {}),
    }


def _trained_head(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of a head that every way can have; {} for a head that is solved.

    Another network may not have the stage that it reads, and from random weights no head can begin solved.
    """
    if registry.get(Head, given.get("kind", "linear")).solve:
        return {}
    return {name: each for name, each in given.items() if name not in ("embed", "start")}


def _for_adam(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables without an optimizer that the proposed rates are not made for: they are Adam's, and SGD needs other ones."""
    if tables.get("optimizer", {}).get("name", "adamw") in ("adam", "adamw"):
        return dict(tables)
    return {**tables, "optimizer": {"name": "adamw"}}


def propose(
    base: Mapping[str, Any], best: Candidate, *, least: int, stages: tuple[str, ...], single: bool, epochs: int
) -> Proposal:
    """Choose what to train.

    Args:
        base: From `base_of`.
        best: The network.
        least: Training images of the smallest class.
        stages: Of the network, input to output.
        single: Each image has one class; heads are solved for such alone.
        epochs: Of a run that takes steps.
    """
    likeness = best.likeness or "similar"
    name, why = _chosen(strategies.amount(least), likeness, best, stages, least=least, single=single)
    way = next(each for each in arms.ways(base, best, stages=stages, single=single, least=least) if each.name == name)
    return Proposal(way.at(split=None, epochs=epochs), way.what, (way.fits, why), name)


def _chosen(
    amount: Amount, likeness: Likeness, best: Candidate, stages: tuple[str, ...], *, least: int, single: bool
) -> tuple[str, str]:  # fmt: skip
    """Return the name of a way to train, and why it is taken."""
    count = f"The smallest class has {least:,} training images"
    if amount == "few" and single:
        last = best.best in ("", stages[-1])
        return "head" if last else f"head_on_{best.best}", (
            f"{count}, fewer than {FEW}: a network that is trained on so few learns them by heart. So nothing of it is trained: every image "
            "is embedded once, and a logistic regression is solved on the embeddings."
        )
    if amount == "few":
        return "head", f"{count}: enough for a new head, and for no more."
    if amount == "some":
        return "late", f"{count}, {FEW} or more: enough to train a part of the network, slower than the new head and after it."
    if likeness == "similar":
        how = "The earlier a stage, the better it fits as it is, and the slower it moves."
        return "graded", f"{count}, {MANY} or more: enough to train everything. {how}"
    return (
        "graded",
        f"{count}, {MANY} or more: enough to train everything, at one rate, since early features have to change too.",
    )
