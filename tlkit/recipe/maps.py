"""Apply the keys of [freeze] and [lr_groups] to a network's parameters, by their names alone.

The rule: the most specific key wins: a module path (the deepest first), then a stage or head, then backbone. Order never counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tlkit import units
from tlkit.errors import MOST_CHECKED, TlkitError, first_few, nearest
from tlkit.recipe.map_tables import BACKBONE, Auto, Rate, Until
from tlkit.recipe.messages import dotted

HEAD = "head"
AUX = "head.aux"  # the auxiliary classifiers; the key `head` covers them too, unless they have a key of their own
DOMAIN = "head.domain"  # what a method of [adapt] trains beside the head, covered by the key `head` likewise
BESIDE = (AUX, DOMAIN)
Freeze = Mapping[str, bool | Until]
Rates = Mapping[str, float | Auto | Rate]


@dataclass(frozen=True)
class Parameter:
    """The name of a parameter, and the stage that it belongs to.

    Attributes:
        name: Its name in the library, "layer1.0.conv1.weight"; in the head, "head.weight".
        stage: The stage that owns it, or "head", or "head.aux", or "head.domain".
    """

    name: str
    stage: str


@dataclass(frozen=True)
class Owned:
    """When a parameter trains, and which key gives its learning rate.

    Attributes:
        trains_from: Number of epochs after which it begins to train: 0 from the start, None never.
        group: The most specific key of [lr_groups] that covers it; None if no key does.
    """

    parameter: Parameter
    trains_from: int | None
    group: str | None


@dataclass(frozen=True)
class Partition:
    """All parameters, each exactly once, and the keys of the two maps that have no effect."""

    parameters: tuple[Owned, ...]
    unused: tuple[str, ...]

    def boundaries(self) -> tuple[int, ...]:
        """Return the epochs, counted from 0, at which the set of trained parameters changes."""
        return tuple(sorted({0, *(owned.trains_from for owned in self.parameters if owned.trains_from)}))


def matches(key: str, parameter: Parameter, stages: Iterable[str]) -> int | None:
    """Return how specific a key is for a parameter (larger wins), or None if it does not cover the parameter.

    Args:
        key: "head", "head.aux", "head.domain", "backbone", a stage, or a module path.
        parameter: The parameter.
        stages: The names of all stages; a key with such a name means the stage.
    """
    if key == BACKBONE:
        return 0 if parameter.stage not in (HEAD, *BESIDE) else None
    if key == HEAD and parameter.stage in BESIDE:
        return 0
    if key in (HEAD, *BESIDE) or key in stages:
        return 1 if parameter.stage == key else None
    whole = parameter.name == key or parameter.name.startswith(f"{key}.")
    return 2 + key.count(".") if whole else None


def winner(keys: Collection[str], parameter: Parameter, stages: Sequence[str]) -> str | None:
    """Return the most specific key that covers a parameter, None if no key does."""
    for key in _covering(parameter.name, parameter.stage, tuple(stages)):
        if key in keys:
            return key
    return None


def divide(
    parameters: Sequence[Parameter],
    stages: Sequence[str],
    freeze: Freeze,
    rates: Rates,
    *,
    epochs: int,
    aux_depths: Mapping[str, int] | None = None,
) -> Partition:
    """Find for every parameter when it trains and which key gives its rate.

    An auxiliary classifier does not train before a stage that it reads from does: until then its gradients reach nothing else.

    Args:
        parameters: All parameters, in order from input to output; those of the head come last.
        stages: Stage names in order.
        freeze: The recipe's map.
        rates: The recipe's map.
        epochs: Epochs of the schedule; a part that is frozen for as many or more never trains.
        aux_depths: Auxiliary classifier -> number of stages, from the input on, whose output it reads.
    """
    owned: list[Owned] = []
    for parameter in parameters:
        key = winner(freeze, parameter, stages)
        owned.append(Owned(parameter, _trains_from(freeze[key] if key else False, epochs), winner(rates, parameter, stages)))
    begins = {name: first_trained(owned, stages[:count]) for name, count in (aux_depths or {}).items()}
    owned = [_with_its_tap(each, begins) if each.parameter.stage == AUX else each for each in owned]
    return Partition(tuple(owned), tuple(_unused(owned, stages, freeze, rates)))


def first_trained(owned: Iterable[Owned], stages: Iterable[str]) -> int | None:
    """Return the number of epochs after which some of these stages begins to train; None if they never do."""
    begins = {each.trains_from for each in owned if each.parameter.stage in set(stages)} - {None}
    return min((begin for begin in begins if begin is not None), default=None)


def _with_its_tap(owned: Owned, begins: Mapping[str, int | None]) -> Owned:
    before = begins.get(owned.parameter.name.partition(".")[0])
    if owned.trains_from is None or before is None:
        return replace(owned, trains_from=None)
    return replace(owned, trains_from=max(owned.trains_from, before))


def problems(
    partition: Partition, *, stages: Sequence[str], freeze: Freeze, rates: Rates, backbone: str, tensors: bool = True
) -> list[TlkitError]:
    """Return the problems of the two maps, each with the nearest fix.

    Args:
        partition: The result of `divide` for these maps.
        stages: Stage names in order.
        freeze: The recipe's map.
        rates: The recipe's map.
        backbone: Name of the backbone, for messages.
        tensors: Whether the parameters are those of a built network, so that messages can count them.
    """
    names = [owned.parameter for owned in partition.parameters]
    found, unknown = [], []
    for table, keys in (("freeze", freeze), ("lr_groups", rates)):
        for key, covered in _covered(keys, partition.parameters, stages).items():
            reached = list(dict.fromkeys(one.parameter.stage for one in covered))
            if not reached:
                unknown.append((table, key))
            elif len(reached) > 1 and key not in (BACKBONE, HEAD):
                found.append(
                    TlkitError(
                        f"{dotted(table, key)}: covers several stages: {', '.join(reached)}.",
                        "give each stage a key of its own",
                    )
                )
    if len(unknown) > 2 and not any("." in key for _, key in unknown):
        found.append(_other_stages(unknown, stages, backbone))
    else:
        choices = [BACKBONE, *stages, HEAD, *dict.fromkeys(p.stage for p in names if p.stage in BESIDE)]
        choices += sorted({module for p in names for module in _paths(p.name.removesuffix(".*"))}) if unknown else []
        found += [_no_owner(table, key, choices, stages, backbone) for table, key in unknown[:MOST_CHECKED]]
    found += _without_rate(partition, stages, {*freeze, *rates}, tensors=tensors)
    if partition.parameters and all(owned.trains_from is None for owned in partition.parameters):
        found.append(
            TlkitError("freeze: nothing trains: every part is frozen in every epoch.", "train the head: freeze.head = false")
        )
    return found


def names_only(
    stages: Mapping[str, Sequence[str]], freeze: Freeze, rates: Rates, *, aux_heads: Iterable[str] = (), domain: bool = False
) -> list[Parameter]:
    """Return placeholders for parameters: one for each module that a plugin declares and for each module path in the maps.

    With them, stage names and rates can be checked before a network is built. `domain` says whether there is a domain head.
    """
    parameters = [Parameter(f"{module}.*", stage) for stage, modules in stages.items() for module in modules]
    inside = {module for modules in stages.values() for module in modules if _below(module, HEAD)}  # so called by the library
    heads = ((HEAD, (HEAD,)), (AUX, tuple(aux_heads)))
    for key in {*freeze, *rates} - {HEAD, *BESIDE, BACKBONE, *stages}:
        for stage, modules in (*stages.items(), *heads):
            if stage == HEAD and any(key == module or _below(key, module) for module in inside):
                continue
            if any(_below(key, module) for module in modules):
                parameters.append(Parameter(f"{key}.*", stage))
    beside = [
        *(Parameter(f"{aux_head}.*", AUX) for aux_head in aux_heads),
        *([Parameter(f"{DOMAIN}.*", DOMAIN)] if domain else []),
    ]
    return [*parameters, Parameter(f"{HEAD}.*", HEAD), *beside]


def _without_rate(partition: Partition, stages: Sequence[str], keys: Iterable[str], *, tensors: bool) -> list[TlkitError]:
    """Return the problem of parts that train without a rate; names the backbone as a whole if no key names a stage of it."""
    missing: dict[str, int] = {}
    in_parts = {above for key in keys for above in _paths(key) if above != key}
    for owned in partition.parameters:
        if not tensors and owned.parameter.name.removesuffix(".*") in in_parts:
            continue  # whether anything is left of it is known when the network is built
        if owned.trains_from is not None and owned.group is None:
            missing[owned.parameter.stage] = missing.get(owned.parameter.stage, 0) + 1
    whole = all(key in (HEAD, *BESIDE, BACKBONE) or _below(key, HEAD) for key in keys)
    if whole and len(stages) > 1 and missing.keys() >= set(stages):
        missing = {BACKBONE: sum(missing.pop(stage) for stage in stages), **missing}
    if not missing:
        return []
    counted = f" ({units.counted(sum(missing.values()), 'tensor')})" if tensors else ""
    if len(missing) == 1:
        (part,) = missing
        fix = f"give it one, {dotted('lr_groups', part)} = 1e-3, or freeze it, {dotted('freeze', part)} = true"
        return [TlkitError(f"lr_groups: {part} trains but has no rate{counted}.", fix)]
    heads = [part for part in missing if part in (HEAD, *BESIDE)]
    wide = [BACKBONE] * (len(heads) < len(missing)) + heads
    rates = " and ".join(f"{dotted('lr_groups', part)} = 1e-3" for part in wide)
    frozen = ", ".join(f"{dotted('freeze', part)} = true" for part in missing)
    return [
        TlkitError(
            f"lr_groups: {', '.join(missing)} train but have no rate{counted}.",
            f"give them one, {rates}",
            f"or freeze them, {frozen}",
        )
    ]


def _paths(name: str) -> Iterator[str]:
    """Yield a dotted name and all that it lies below: "a", "a.b" and "a.b.c" for "a.b.c"."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


@lru_cache(maxsize=1 << 14)  # parameters: each map asks several times, and each arm again
def _covering(name: str, stage: str, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Return all keys that a parameter could be covered by, the most specific first."""
    parameter = Parameter(name, stage)
    ranks = {key: matches(key, parameter, stages) for key in (BACKBONE, HEAD, stage, *_paths(name))}
    known = [(rank, key) for key, rank in ranks.items() if rank is not None]
    return tuple(key for _, key in sorted(known, reverse=True))


def _covered(keys: Iterable[str], owned: Sequence[Owned], stages: Sequence[str]) -> dict[str, list[Owned]]:
    """Return the parameters that each key covers, in their order."""
    found: dict[str, list[Owned]] = {key: [] for key in keys}
    for one in owned:
        for key in _covering(one.parameter.name, one.parameter.stage, tuple(stages)):
            if key in found:
                found[key].append(one)
    return found


def _below(path: str, module: str) -> bool:
    return path.startswith(f"{module}.")


def _trains_from(value: bool | Until, epochs: int) -> int | None:
    if isinstance(value, Until):
        return value.epochs if value.epochs < epochs else None
    return None if value else 0


def _no_owner(table: str, key: str, choices: Sequence[str], stages: Sequence[str], backbone: str) -> TlkitError:
    what = f"owns no parameter of {backbone}." if "." in key else f'{backbone} has no stage "{key}".'
    where = f"{dotted(table, key)}: {what}"
    return TlkitError(where, f"stages: {', '.join(stages)}", nearest(key, choices))


def _other_stages(unknown: Sequence[tuple[str, str]], stages: Sequence[str], backbone: str) -> TlkitError:
    """Return one message for several keys that are stages of another backbone."""
    where = first_few(dotted(table, key) for table, key in unknown)
    return TlkitError(
        f"{where}: {backbone} has no stages of these names.",
        f"stages: {', '.join(stages)}",
        "the key backbone covers all of them",
    )


def _unused(owned: Sequence[Owned], stages: Sequence[str], freeze: Freeze, rates: Rates) -> list[str]:
    lines = []
    for key, reached in _covered(rates, owned, stages).items():
        mine = [one for one in reached if one.group == key]
        if reached and not mine:
            lines.append(f"{dotted('lr_groups', key)}: more specific keys cover all of it")
        elif mine and all(one.trains_from is None for one in mine):
            lines.append(f"{dotted('lr_groups', key)}: all of it is frozen")
    for key, reached in _covered(freeze, owned, stages).items():
        if reached and not any(winner(freeze, one.parameter, stages) == key for one in reached):
            lines.append(f"{dotted('freeze', key)}: more specific keys cover all of it")
    return lines
