"""Keys of [freeze] and [lr_groups] to parameters, on names only: the rules of the two maps.

The rule: the most specific key wins (module path, deeper before shallower; then stage or head; then backbone), never the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tlkit.errors import TlkitError, nearest
from tlkit.recipe.messages import dotted
from tlkit.recipe.tables import Rate, Until

HEAD, BACKBONE = "head", "backbone"
AUX = "head.aux"  # the auxiliary classifiers; what reaches the head reaches them where no key names them
Freeze = Mapping[str, bool | Until]
Rates = Mapping[str, float | Rate]


@dataclass(frozen=True)
class Parameter:
    """A parameter by name.

    Attributes:
        name: The library's, "layer1.0.conv1.weight"; of the head "head.weight".
        stage: The stage that owns it, or "head", or "head.aux".
    """

    name: str
    stage: str


@dataclass(frozen=True)
class Owned:
    """What the two maps say of one parameter.

    Attributes:
        trains_from: Epochs done when it begins to train, 0 for always; None for never.
        group: The winning key of [lr_groups]; None where no key reaches it.
    """

    parameter: Parameter
    trains_from: int | None
    group: str | None


@dataclass(frozen=True)
class Partition:
    """Every parameter once, and what of the maps has no effect."""

    parameters: tuple[Owned, ...]
    unused: tuple[str, ...]

    def boundaries(self) -> tuple[int, ...]:
        """Return the epochs, from 0, at which what trains changes."""
        return tuple(sorted({0, *(owned.trains_from for owned in self.parameters if owned.trains_from)}))


def matches(key: str, parameter: Parameter, stages: Iterable[str]) -> tuple[int, int] | None:
    """Return how specific a key is for a parameter, larger wins, or None where it does not reach it.

    Args:
        key: "head", "head.aux", "backbone", a stage, or a module path.
        parameter: The parameter.
        stages: Every stage name; a key that is one means the stage.
    """
    if key == BACKBONE:
        return (0, 0) if parameter.stage not in (HEAD, AUX) else None
    if key == HEAD and parameter.stage == AUX:
        return (0, 1)
    if key in (HEAD, AUX) or key in stages:
        return (1, 0) if parameter.stage == key else None
    whole = parameter.name == key or parameter.name.startswith(f"{key}.")
    return (2, key.count(".") + 1) if whole else None


def winner(keys: Iterable[str], parameter: Parameter, stages: Sequence[str]) -> str | None:
    """Return the most specific key that reaches a parameter."""
    ranked = [(rank, key) for key in keys if (rank := matches(key, parameter, stages)) is not None]
    return max(ranked)[1] if ranked else None


def divide(
    parameters: Sequence[Parameter],
    stages: Sequence[str],
    freeze: Freeze,
    rates: Rates,
    *,
    epochs: int,
    aux_depths: Mapping[str, int] | None = None,
) -> Partition:
    """Apply both maps to every parameter.

    An auxiliary classifier does not train before something at or before the stage that it reads: until then nothing would learn from it.

    Args:
        parameters: In order from input to output, the head's last.
        stages: Stage names in order.
        freeze: The recipe's map.
        rates: The recipe's map.
        epochs: Of the schedule; what is frozen for as long or longer never trains.
        aux_depths: Auxiliary classifier -> how many leading stages it reads.
    """
    owned: list[Owned] = []
    for parameter in parameters:
        key = winner(freeze, parameter, stages)
        owned.append(Owned(parameter, _trains_from(freeze[key] if key else False, epochs), winner(rates, parameter, stages)))
    begins = {name: first_trained(owned, stages[:count]) for name, count in (aux_depths or {}).items()}
    owned = [_with_its_tap(each, begins) if each.parameter.stage == AUX else each for each in owned]
    return Partition(tuple(owned), tuple(_unused(owned, stages, freeze, rates, epochs)))


def first_trained(owned: Iterable[Owned], stages: Iterable[str]) -> int | None:
    """Return the epochs done when the first parameter of some stages begins to train; None for never."""
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
    """Return what is wrong with the two maps, each with its nearest fix.

    Args:
        partition: Of these maps.
        stages: Stage names in order.
        freeze: The recipe's map.
        rates: The recipe's map.
        backbone: Its name, for the messages.
        tensors: Whether the partition's parameters are real ones, which may be counted in messages.
    """
    names = [owned.parameter for owned in partition.parameters]
    found, unknown = [], []
    for table, keys in (("freeze", freeze), ("lr_groups", rates)):
        for key in keys:
            reached = list(dict.fromkeys(p.stage for p in names if matches(key, p, stages) is not None))
            if not reached:
                unknown.append((table, key))
            elif len(reached) > 1 and key not in (BACKBONE, HEAD):
                found.append(
                    TlkitError(f"{dotted(table, key)}: lies above several stages: {', '.join(reached)}.", "name the stages")
                )
    if len(unknown) > 2 and not any("." in key for _, key in unknown):
        found.append(_other_stages(unknown, stages, backbone))
    else:
        found += [_no_owner(table, key, names, stages, backbone) for table, key in unknown]
    found += _without_rate(partition, stages, {*freeze, *rates}, tensors=tensors)
    if partition.parameters and all(owned.trains_from is None for owned in partition.parameters):
        found.append(
            TlkitError(
                "freeze: nothing trains: every part is frozen in every epoch.", "leave the head free: freeze.head = false"
            )
        )
    return found


def names_only(
    stages: Mapping[str, Sequence[str]], freeze: Freeze, rates: Rates, *, aux_heads: Iterable[str] = ()
) -> list[Parameter]:
    """Stand-ins for parameters, from what a plugin declares: one per owned module and per module path that a map names.

    With these, stage names and stage rates can be checked before any network is built.
    """
    parameters = [Parameter(f"{module}.*", stage) for stage, modules in stages.items() for module in modules]
    inside = {module for modules in stages.values() for module in modules if _below(module, HEAD)}  # so called by the library
    for key in {*freeze, *rates} - {HEAD, AUX, BACKBONE, *stages}:
        for stage, modules in (*stages.items(), (HEAD, (HEAD,)), (AUX, tuple(aux_heads))):
            if stage == HEAD and any(key == module or _below(key, module) for module in inside):
                continue
            if any(_below(key, module) for module in modules):
                parameters.append(Parameter(f"{key}.*", stage))
    return [*parameters, Parameter(f"{HEAD}.*", HEAD), *(Parameter(f"{aux_head}.*", AUX) for aux_head in aux_heads)]


def _without_rate(partition: Partition, stages: Sequence[str], keys: Iterable[str], *, tensors: bool) -> list[TlkitError]:
    """What trains without a rate, by stage; as the backbone where no key tells its stages apart."""
    missing: dict[str, int] = {}
    for owned in partition.parameters:
        if not tensors and _in_parts(owned.parameter, keys):
            continue  # whether anything is left of it is known when the network is built
        if owned.trains_from is not None and owned.group is None:
            missing[owned.parameter.stage] = missing.get(owned.parameter.stage, 0) + 1
    whole = all(key in (HEAD, AUX, BACKBONE) or _below(key, HEAD) for key in keys)
    if whole and len(stages) > 1 and missing.keys() >= set(stages):
        missing = {BACKBONE: sum(missing.pop(stage) for stage in stages), **missing}
    if not missing:
        return []
    counted = f" ({sum(missing.values())} tensors)" if tensors else ""
    if len(missing) == 1:
        (part,) = missing
        fix = f"give it one, lr_groups.{part} = 1e-3, or freeze it, freeze.{part} = true"
        return [TlkitError(f"lr_groups: {part} trains but has no rate{counted}.", fix)]
    wide = [BACKBONE] * any(part not in (HEAD, AUX) for part in missing) + [part for part in missing if part in (HEAD, AUX)]
    rates = " and ".join(f"lr_groups.{part} = 1e-3" for part in wide)
    frozen = ", ".join(f"{dotted('freeze', part)} = true" for part in missing)
    return [
        TlkitError(
            f"lr_groups: {', '.join(missing)} train but have no rate{counted}.",
            f"give them one, {rates}",
            f"or freeze them, {frozen}",
        )
    ]


def _in_parts(stand_in: Parameter, keys: Iterable[str]) -> bool:
    """Whether keys reach below a stand-in's module, so that they may share all of it out."""
    return any(key.startswith(stand_in.name.removesuffix("*")) for key in keys)


def _below(path: str, module: str) -> bool:
    return path.startswith(f"{module}.")


def _trains_from(value: bool | Until, epochs: int) -> int | None:
    if isinstance(value, Until):
        return value.epochs if value.epochs < epochs else None
    return None if value else 0


def _no_owner(table: str, key: str, names: Sequence[Parameter], stages: Sequence[str], backbone: str) -> TlkitError:
    modules = {
        ".".join(parts[:end])
        for p in names
        for parts in [p.name.removesuffix(".*").split(".")]
        for end in range(1, len(parts) + 1)
    }
    choices = [BACKBONE, *stages, HEAD, *dict.fromkeys(p.stage for p in names if p.stage == AUX)]
    what = f"owns no parameter of {backbone}." if "." in key else f'{backbone} has no stage "{key}".'
    where = f"{dotted(table, key)}: {what}"
    return TlkitError(where, f"stages: {', '.join(stages)}", nearest(key, [*choices, *sorted(modules)]))


def _other_stages(unknown: Sequence[tuple[str, str]], stages: Sequence[str], backbone: str) -> TlkitError:
    """Say once that several keys are stages of another backbone."""
    where = ", ".join(dotted(table, key) for table, key in unknown)
    return TlkitError(
        f"{where}: {backbone} has no stages of these names.",
        f"stages: {', '.join(stages)}",
        "the name backbone means all of them",
    )


def _unused(owned: Sequence[Owned], stages: Sequence[str], freeze: Freeze, rates: Rates, epochs: int) -> list[str]:
    lines = []
    for key in rates:
        reached = [one for one in owned if matches(key, one.parameter, stages) is not None]
        mine = [one for one in reached if one.group == key]
        if reached and not mine:
            lines.append(f"{dotted('lr_groups', key)}: more specific keys cover all of it")
        elif mine and all(one.trains_from is None for one in mine):
            lines.append(f"{dotted('lr_groups', key)}: all of it is frozen")
    for key, value in freeze.items():
        if isinstance(value, Until) and value.epochs >= epochs:
            lines.append(f"{dotted('freeze', key)}: its {value.epochs} epochs are the whole run of {epochs}; it never trains")
        reached = [one for one in owned if matches(key, one.parameter, stages) is not None]
        if reached and not any(winner(freeze, one.parameter, stages) == key for one in reached):
            lines.append(f"{dotted('freeze', key)}: more specific keys cover all of it")
    return lines
