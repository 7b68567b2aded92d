"""The ways to train that `tlkit advise` tries on one network, as tables of a recipe. Imports no torch.

The first one is what `tlkit init` proposes to everybody, so that no other is taken without having beaten it.

Sources: head first, then the rest from there: Kumar et al. 2022, arXiv:2202.10054 (LP-FT). The first stage alone, for blur and another
camera: Lee et al. 2022, arXiv:2210.11466 (surgical fine-tuning).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlkit.advice import strategies
from tlkit.plugin import Head, registry
from tlkit.record.advice import Candidate

DEFAULT, DEEP = (
    "everything",
    "head_first",
)  # the second is the usual way to train all of a network: it begins with a solved head
_TRAINED = ("augment", "augment_views", "batch_size", "initial_epoch")  # keys of [data] that only training by steps has
_OF_STEPS = ("optimizer", "schedule", "loss", "early_stopping", "select_by")  # tables and keys likewise
_NO_MOMENTUM = (0.0, 0.999)  # Adam's betas, of which the first is its momentum, 0.9 as usual


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        name: Of the arm.
        what: In words, after "take NETWORK and".
        tables: Of the arm, without the data's split.
        solved: No step is taken.
        fits: How well the network fits the images, in a sentence.
        network: The network, where it is not the first one.
    """

    name: str
    what: str
    tables: Mapping[str, Any]
    solved: bool = False
    fits: str = ""
    network: str = ""

    def at(self, *, split: Mapping[str, Any] | None, epochs: int) -> dict[str, Any]:
        """Return its tables with another split and another number of epochs."""
        data = dict(self.tables["data"])
        if split is not None:
            data["split"] = dict(split)
        tables = {**self.tables, "data": data}
        if self.solved:
            return tables
        freeze = {key: _shorter(value, epochs) for key, value in tables.get("freeze", {}).items()}
        schedule = {**tables.get("schedule", {}), "epochs": epochs}
        return {**tables, "schedule": schedule, **({"freeze": freeze} if freeze else {})}

    def faster(self, factor: float) -> Way:
        """Return the same with other rates."""
        rates = {key: float(f"{value * factor:.2g}") for key, value in self.tables["lr_groups"].items()}
        return self._changed(f"x{factor:g}", f"at {factor:g} times the usual rates", {"lr_groups": rates})

    def with_rates(self, rates: Mapping[str, float]) -> Way:
        """Return the same with rates that a range test suggests, by group."""
        whole = {"lr_groups": {**self.tables["lr_groups"], **rates}}
        return self._changed("tested", "at the rates of a range test", whole)

    def without_momentum(self) -> Way:
        """Return the same with momentum 0: of similar images little is best (Li et al. 2020, arXiv:2002.11770)."""
        optimizer = {"name": "adamw", **self.tables.get("optimizer", {}), "betas": list(_NO_MOMENTUM)}
        return self._changed("still", "without momentum", {"optimizer": optimizer})

    def of(self, network: str) -> Way:
        """Return the same under a name that says which network it trains."""
        return replace(self, name=f"{network}-{self.name}", network=network)

    def _changed(self, name: str, said: str, tables: Mapping[str, Any]) -> Way:
        return replace(self, name=f"{self.name}_{name}", what=f"{self.what}, {said}", tables={**self.tables, **tables})


def ways(
    base: Mapping[str, Any], best: Candidate, *, stages: tuple[str, ...], single: bool, least: int
) -> list[Way]:  # fmt: skip
    """Return the ways to train a network, the plain default first.

    Args:
        base: Tables of an arm with the network and the data, and none that say what trains.
        best: The network.
        stages: Of it, input to output.
        single: Each image has one class; heads are solved for such alone.
        least: Training images of the smallest class.
    """
    head, middle = strategies.HEAD_RATE, strategies.MIDDLE_RATE
    both = {"backbone": middle, "head": head}
    found = [Way(DEFAULT, "train everything, the new head faster", {**base, "lr_groups": both})]
    if single:
        found.append(solved(base, "head", ""))
        if best.best and best.best != stages[-1]:
            found.append(solved(base, f"head_on_{best.best}", best.best))
    else:
        found.append(Way("head", "train a new head only", {**base, "freeze": {"backbone": True}, "lr_groups": {"head": head}}))
    *_, late = strategies.thirds(stages)
    if best.likeness == "dissimilar":
        late = stages[stages.index(best.best) + 1 :]
    begun = _begun(base) if single and begins_solved(base) else None
    found += _head_alone_first(base, late) if begun is None else _head_first(begun, late)
    if len(stages) > 1:
        only = {"backbone": True, stages[0]: False}
        said = f"train the first stage, {stages[0]}, and a new head"
        if begun is not None:
            said = f"solve a new head, then train the first stage, {stages[0]}, with it"
        rates = both if begun is None else _one_rate(middle)
        found.append(Way("first_stage", said, {**(begun or base), "freeze": only, "lr_groups": rates}))
    if least >= strategies.MANY:
        graded = strategies.rates_of_many(best.likeness or "similar", stages)
        said = "early stages slowest" if len(graded) > 2 else "at one rate"
        found.append(Way("graded", f"train everything, {said}", {**base, "lr_groups": graded}))
    if least >= strategies.SCRATCH:
        fresh = {**base, "backbone": {**base["backbone"], "weights": "none"}, "lr_groups": {"backbone": head, "head": head}}
        found.append(Way("scratch", "train from random weights", fresh))
    return [replace(way, fits=_fits(best)) for way in found]


def begins_solved(base: Mapping[str, Any]) -> bool:
    """Return whether a head may begin with the weights of a logistic regression: `head.start = "solved"`."""
    return registry.get(Head, base.get("head", {}).get("kind", "linear")).starts_solved and "adapt" not in base


def _begun(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with a head that begins solved. BatchNorm keeps the running statistics with which it was solved."""
    head, backbone = base.get("head", {}), base["backbone"]
    return {**base, "head": {**head, "start": "solved"}, "backbone": {"batch_norm": "running", **backbone}}


def _one_rate(rate: float) -> dict[str, float]:
    return {"backbone": rate, "head": rate}


def _head_first(begun: Mapping[str, Any], late: Sequence[str]) -> list[Way]:
    """The last stages, and everything, from a solved head on; the head at the same rate, because it fits already."""
    partly = {"backbone": True, **dict.fromkeys(late, False)}
    said = "solve a new head first, then train"
    return [
        Way(
            "late", f"{said} the stages from {late[0]} on with it",
            {**begun, "freeze": partly, "lr_groups": _one_rate(strategies.LATE_RATE)},
        ),
        Way(DEEP, f"{said} everything", {**begun, "lr_groups": _one_rate(strategies.MIDDLE_RATE)}),
    ]  # fmt: skip


def _head_alone_first(base: Mapping[str, Any], late: Sequence[str]) -> list[Way]:
    """The same where the head cannot be solved: it trains alone for a third of the epochs."""
    first = {"epochs": 1}  # brought to a third where their number is known
    partly = {"backbone": True, **dict.fromkeys(late, first)}
    head, said = strategies.HEAD_RATE, "train a new head first, then"
    return [
        Way(
            "late", f"{said} the stages from {late[0]} on with it",
            {**base, "freeze": partly, "lr_groups": {"backbone": strategies.LATE_RATE, "head": head}},
        ),
        Way(
            DEEP, f"{said} everything",
            {**base, "freeze": {"backbone": first}, "lr_groups": {"backbone": strategies.MIDDLE_RATE, "head": head}},
        ),
    ]  # fmt: skip


def left_out(*, stages: tuple[str, ...], single: bool, least: int) -> list[str]:
    """Return a line for each way that does not apply to the images or the network, with the reason; the arguments are those of `ways`."""
    lines = []
    if not single:
        lines.append("heads that are solved do not apply: an image may have several classes; a new head is trained instead")
    if len(stages) < 2:
        lines.append("first_stage does not apply: the network has one stage")
    for name, fewest in (("graded", strategies.MANY), ("scratch", strategies.SCRATCH)):
        if least < fewest:
            lines.append(f"{name} does not apply: the smallest class has {least:,} training images, fewer than {fewest}")
    return lines


def _fits(best: Candidate) -> str:
    if not best.fit:
        return "No head could be judged on these images, so nothing was measured of their fit."
    return f"{best.fit[0].upper()}{best.fit[1:]}."


def solved(base: Mapping[str, Any], name: str, embed: str) -> Way:
    """Return a head that is solved on a stage; "" for the last one."""
    data = {key: value for key, value in base["data"].items() if key not in _TRAINED}
    head = {"kind": "logistic", **({"embed": embed} if embed else {})}
    kept = {key: value for key, value in base.items() if key not in _OF_STEPS}
    where = f"its stage {embed}, and leave the stages after it out" if embed else "its last stage"
    return Way(name, f"solve a linear head on {where}", {**kept, "head": head, "data": data}, solved=True)


def _shorter(value: Any, epochs: int) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {"epochs": max(1, epochs // 3)} if epochs > 1 else False
