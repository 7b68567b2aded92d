"""Commands that look and train nothing: list, show, validate, plan, inspect, schema, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import (
    ArmOption,
    DataOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    RecipeArgument,
    RunsOption,
    SetOption,
    choice,
)
from tlkit.errors import PluginError, RecipeError, TlkitError
from tlkit.plugin import kinds

_RECIPE = "recipe"
_SHOWN = (*(each.name for each in kinds.KINDS), _RECIPE)


def list_plugins(
    kind: Annotated[str | None, choice(_SHOWN, "Only these; recipe: those that come with tlkit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the installed plugins, or the shipped recipes."""
    from tlkit.plugin import registry
    from tlkit.recipe import shipped_recipes
    from tlkit.reports import plugins

    entries = {each: registry.entries(each.value) for each in kinds.KINDS if kind in (None, each.name)}
    recipes = shipped_recipes.questions() if kind in (None, _RECIPE) else {}
    if as_json:
        record: dict[str, object] = {each.name: [plugins.record(one) for one in found] for each, found in entries.items()}
        if kind in (None, _RECIPE):
            record[_RECIPE] = [{"name": name, "question": question} for name, question in recipes.items()]
        console.as_json({"format": 1, **record})
        return
    for each, found in entries.items():
        console.show(plugins.plugins(each, found))
    if kind == _RECIPE:
        console.show(plugins.recipes(recipes))
        console.line("tlkit init --from NAME writes one of them here.")
    elif kind is None:
        console.line("tlkit show NAME tells more of one; tlkit list --kind recipe lists recipes.")
    for line in registry.scan().broken:
        console.say(f"skipped, its entry points cannot be read: {line}")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"A {kinds.ANY}.")],
    as_json: JsonOption = False,
) -> None:
    """Show the stages, weights, preprocessing and options of a plugin."""
    from tlkit.plugin import registry
    from tlkit.recipe import shipped_recipes
    from tlkit.reports import plugins

    found = [kind.value for kind in kinds.KINDS if registry.offers(kind.value, name)]
    if not found:
        if hint := shipped_recipes.hint(name):
            raise TlkitError(f"{name}: is a recipe, not a plugin.", *hint)
        raise registry.unknown(name)
    records = []
    for kind in found:
        family = registry.family(kind, name) if ":" not in name else None
        shown, entry = family or registry.get(kind, name), registry.entry(kind, name)
        if as_json:
            records.append(plugins.record(entry) | {"kind": kinds.of(kind).name, **plugins.details(shown)})
        else:
            console.show(plugins.plugin(name, entry, shown))
    if as_json:
        console.as_json({"format": 1, "plugins": records})


def validate(recipe: RecipeArgument, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Check a recipe and list all of its mistakes at once."""
    from tlkit.plans import resolve, search_plan
    from tlkit.reports import search_table
    from tlkit.sources.places import Places

    try:
        read, _ = resolve.load(recipe, set_ or (), Places(recipe=recipe.parent))
    except RecipeError as error:
        if as_json:
            problems = [{"problem": each.problem, "hints": list(each.hints)} for each in error.problems]
            console.as_json({"format": 1, "valid": False, "problems": problems})
        raise
    searched = search_plan.planned(read)
    if as_json:
        record: dict[str, object] = {
            "format": 1,
            "valid": True,
            "name": read.name,
            "arms": list(read.arms),
            "seeds": read.seeds,
        }
        record |= {} if read.folds is None else {"folds": read.folds}
        console.as_json(record if searched is None else {**record, "search": search_table.to_record(searched)})
        return
    seeds = "1 seed" if len(read.seeds) == 1 else f"{len(read.seeds)} seeds"
    folds = "" if read.folds is None else f", {read.folds} folds each"
    console.line(f"{recipe}: valid. arms: {', '.join(read.arms)}; {seeds}{folds}")
    if searched is not None:
        console.show(search_table.space(searched))


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from tlkit.recipe import json_schema

    sys.stdout.write(json_schema.text())


def plan(
    recipe: RecipeArgument,
    set_: SetOption = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    classes: Annotated[
        int | None, typer.Option("--classes", min=2, help="Number of classes, where no images are here.")
    ] = None,
    device: DeviceOption = "auto",
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Time precisions, memory formats and kernels anew, for all recipes like this; needs weights and images.",
        ),
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Show how so many processes, started by torchrun, would share the run.")
    ] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show which kernels compute which gradients.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what apply would do, without weights, images or a GPU."""
    from tlkit import api
    from tlkit.plans import plan_json
    from tlkit.reports import plan_table, search_table

    with console.observing() as observer:
        made = api.plan(
            recipe,
            set_ or (),
            arm=arm,
            runs=runs,
            data=data,
            classes=classes,
            device=device,
            measure=measure,
            processes=processes,
            observer=observer,
        )
    if as_json:
        record = {"format": 1, "arms": {name: json.loads(plan_json.to_json(each)) for name, each in made.items()}}
        console.as_json(record if made.search is None else {**record, "search": search_table.to_record(made.search)})
        return
    for each in made.values():
        console.show(plan_table.plan(each))
        if verbose and each.kernels:
            console.show(plan_table.kernels(each))
    if made.search is not None:
        console.show(search_table.space(made.search))


def inspect(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER|RECIPE", help="Images in one sub-folder per class, or a recipe, a TOML file.")
    ],
    set_: SetOption = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look for duplicates, labels that look wrong and outliers in images, without training."""
    from tlkit import api
    from tlkit.reports import findings_table

    with console.observing() as observer:
        found = api.inspect(
            source, set_ or (), arm=arm, runs=runs, data=data, device=device, offline=offline, observer=observer
        )
    if as_json:
        console.as_json(found.record())
    else:
        console.show(findings_table.findings(found))


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"A {kinds.ANY}.")],
    data: DataOption = None,
) -> None:
    """Test an installed plugin against the plugin contract."""
    from tlkit.plugin import registry

    torch = registry.imports_torch(name)  # before the contract imports it
    if torch:
        raise PluginError(
            f"{name}: importing the plugin imports torch.",
            "import it inside of functions, or in the module that the plugin names as text",
        )
    if torch is False and any(registry.offers(kind.value, name) for kind in kinds.KINDS):
        console.line("ok  importing it imports no torch")
    from tlkit import testing

    for line in testing.check(name, data=data):
        console.line(f"ok  {line}")
