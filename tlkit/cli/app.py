"""The verbs: what a person types, and what is said when it cannot be done.

The rule: `--help`, `validate`, `list`, `show` and `schema` import no torch, nor does `apply` where nothing is left to do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tlkit.cli import console, maintain
from tlkit.cli.maintain import JsonOption
from tlkit.errors import Interrupted, TlkitError, nearest

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Declarative transfer learning for image classifiers: a TOML recipe in, a trained network out.",
)
app.add_typer(maintain.cache_verbs, name="cache")
app.command()(maintain.bench)

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="a TOML recipe")]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="a run's folder, or a recipe's (then its best run by validation)")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a key in every arm; arms.NAME.key in one")
]
ArmOption = Annotated[str | None, typer.Option("--arm", metavar="NAME", help="only this arm")]
RunsOption = Annotated[Path, typer.Option("--runs", metavar="DIR", help="where run folders lie")]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="folder of the images")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="forbid downloads")]


def main() -> NoReturn:
    """Run the command line; a message and an exit code instead of a traceback."""
    console.open_()
    try:
        code = app(standalone_mode=False, prog_name="tlkit")
        sys.stdout.flush()  # here, where a reader that went away can still be answered
    except TlkitError as error:
        if isinstance(error, Interrupted) and error.exit_code == 128 + signal.SIGINT:
            console.say("")
        console.say(str(error))
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        console.say("\nstopped before anything was trained.")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        console.say(f"{error.filename or 'the output'}: {error.strerror or error}.")
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # usage: click's own errors, whichever copy typer carries
            error.show()
            sys.exit(int(error.exit_code))
        raise
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="images in class sub-folders")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="the recipe; FOLDER's name + .toml where not given")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace a recipe that is there")] = False,
    similar: Annotated[
        bool, typer.Option("--similar", help="the images are like everyday photographs; choose what to train by their number")
    ] = False,
    dissimilar: Annotated[
        bool,
        typer.Option("--dissimilar", help="they are unlike everyday photographs: X-rays, drawings, satellite images; likewise"),
    ] = False,
) -> None:
    """Look at a folder of images and write a recipe for it that runs at once."""
    from tlkit.advice import init_recipe
    from tlkit.advice.strategies import Likeness

    if similar and dissimilar:
        raise typer.BadParameter(
            "--similar and --dissimilar exclude each other; give one, or neither for a recipe that compares"
        )
    likeness: Likeness | None = "similar" if similar else "dissimilar" if dissimilar else None
    path = init_recipe.write(folder, output, force=force, likeness=likeness)
    console.line(f"{path}: written. Next: tlkit apply {path}")


@app.command("list")
def list_plugins() -> None:
    """Show the installed backbones, data sets and heads."""
    from tlkit.plugin import Backbone, Dataset, Head, registry
    from tlkit.reports import plugins

    for title, entries in (
        ("backbone", registry.entries(Backbone)),
        ("data set", registry.entries(Dataset)),
        ("head", registry.entries(Head)),
    ):
        console.show(plugins.plugins(title, entries), "")
    for line in registry.scan().broken:
        console.say(f"skipped, its entry points cannot be read: {line}")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="a backbone, data set or head")]) -> None:
    """Show what a plugin offers: stages, weights and their input convention, options."""
    from tlkit.plugin import Backbone, Dataset, Head, registry
    from tlkit.reports import plugins

    kinds: tuple[type[Backbone | Dataset | Head], ...] = (Backbone, Dataset, Head)
    found = [kind for kind in kinds if registry.offers(kind, name)]
    if not found:
        names = [entry.name for kind in kinds for entry in registry.entries(kind)]
        raise TlkitError(f'there is no plugin "{name}" installed.', "tlkit list shows what is", nearest(name, names))
    for kind in found:
        shown = registry.family(kind, name) if ":" not in name else None
        console.show(plugins.plugin(name, registry.entry(kind, name), shown or registry.get(kind, name)))


@app.command()
def check(name: Annotated[str, typer.Argument(metavar="NAME", help="a backbone or data set")], data: DataOption = None) -> None:
    """Hold an installed plugin to the contract and print what passes."""
    from tlkit import testing

    for line in testing.check(name, data=data):
        console.line(f"ok  {line}")


@app.command()
def validate(recipe: RecipeArgument, set_: SetOption = None) -> None:
    """Check a recipe: keys, types, plugin names, stages, rates. Every problem at once, without torch."""
    from tlkit.plans import resolve
    from tlkit.sources.places import Places

    read, _ = resolve.load(recipe, set_ or (), Places(recipe=recipe.parent))
    seeds = "1 seed" if len(read.seeds) == 1 else f"{len(read.seeds)} seeds"
    console.line(f"{recipe}: valid. arms: {', '.join(read.arms)}; {seeds}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from tlkit.recipe import json_schema

    sys.stdout.write(json_schema.text())


@app.command()
def plan(
    recipe: RecipeArgument,
    set_: SetOption = None,
    arm: ArmOption = None,
    data: DataOption = None,
    classes: Annotated[int | None, typer.Option("--classes", min=2, help="assumed where there are no images to count")] = None,
    device: DeviceOption = "auto",
    measure: Annotated[
        bool, typer.Option("--measure", help="try precisions and memory formats; needs weights and images")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what apply would do; needs no weights, no images and no GPU."""
    from rich.console import Console

    from tlkit import api
    from tlkit.cli.progress import TerminalObserver
    from tlkit.plans import plan as plans
    from tlkit.reports import tables

    with TerminalObserver(Console(stderr=True)) as observer:
        made = api.plan(
            recipe, set_ or (), arm=arm, data=data, classes=classes, device=device, measure=measure, observer=observer
        )
    if as_json:
        record = {"format": 1, "arms": {name: json.loads(plans.to_json(each)) for name, each in made.items()}}
        console.as_json(record)
        return
    for each in made.values():
        console.show(tables.plan(each))


@app.command()
def apply(
    recipe: RecipeArgument,
    set_: SetOption = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    no_graph: Annotated[bool, typer.Option("--no-graph", help="on a GPU too, take the training step without a graph")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="hash data and weights again and check the stored rows that are used")
    ] = False,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train what a recipe says: begin, continue, or do nothing where it is finished."""
    from rich.console import Console

    from tlkit import api
    from tlkit.cli.progress import TerminalObserver
    from tlkit.reports import tables

    with TerminalObserver(Console(stderr=True)) as observer:
        applied = api.apply(
            recipe, set_ or (), arm=arm, runs=runs, data=data, device=device,
            graph=not no_graph, verify=verify, offline=offline, observer=observer,
        )  # fmt: skip
    if as_json:
        console.as_json(applied.result)
    else:
        if not applied.changed:
            console.line(f"{applied.folder}: finished before, nothing to do.")
        if applied.result["arms"]:
            console.show(tables.result(applied.result))
            console.line(f"curves: {applied.folder}/curves.svg")
    for failure in applied.failures:
        console.say(str(failure))
    if applied.failures:
        raise typer.Exit(applied.failures[0].exit_code)


@app.command()
def predict(
    run: RunArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="image files")],
    arm: ArmOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="classes shown for each image")] = 1,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print class and probability of images, with the run's own preprocessing."""
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import executor, prediction

    predictor = prediction.load(run, arm=arm, device=executor.device_of(device))
    rows = []
    for image, row in zip(images, predictor.predict(images), strict=True):
        ranked = sorted(zip(predictor.classes, map(float, row), strict=True), key=lambda pair: -pair[1])
        rows.append((files.shown(image), ranked))
    if as_json:
        console.as_json([{"image": image, "probabilities": dict(ranked)} for image, ranked in rows])
    else:
        console.show(tables.predictions([(image, ranked[:top]) for image, ranked in rows]))


if __name__ == "__main__":
    main()
