"""The verbs. The only module that prints: results to stdout, progress and errors to stderr.

The rule: `--help`, `validate`, `list`, `show` and `schema` import no torch, nor does `apply` where nothing is left to do.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tlkit.cache import Kind
from tlkit.errors import Interrupted, TlkitError, nearest

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Declarative transfer learning for image classifiers: a TOML recipe in, a trained network out.",
)
cache_verbs = typer.Typer(help="Show what is kept so that it is not computed again, or clear it.", rich_markup_mode=None)
app.add_typer(cache_verbs, name="cache")

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
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
_ENDLESS = 1_000_000  # columns, more than any path has


def main() -> NoReturn:
    """Run the command line; a message and an exit code instead of a traceback."""
    _open_streams()
    try:
        code = app(standalone_mode=False, prog_name="tlkit")
        sys.stdout.flush()  # here, where a reader that went away can still be answered
    except TlkitError as error:
        if isinstance(error, Interrupted) and error.exit_code == 128 + signal.SIGINT:
            _say("")
        _say(str(error))
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        _say("\nstopped before anything was trained.")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _say(f"{error.filename or 'the output'}: {error.strerror or error}.")
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
) -> None:
    """Look at a folder of images and write a recipe for it that runs at once."""
    from tlkit import initial

    path = initial.write(folder, output, force=force)
    _console().print(f"{path}: written. Next: tlkit apply {path}", markup=False, highlight=False, soft_wrap=True)


@app.command("list")
def list_plugins() -> None:
    """Show the installed backbones, data sets and heads."""
    from tlkit import registry
    from tlkit.plugin import Backbone, Dataset, Head
    from tlkit.report import tables

    console = _console()
    for title, entries in (
        ("backbone", registry.entries(Backbone)),
        ("data set", registry.entries(Dataset)),
        ("head", registry.entries(Head)),
    ):
        console.print(tables.plugins(title, entries))
        console.print()
    for line in registry.scan().broken:
        _say(f"skipped, its entry points cannot be read: {line}")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="a backbone, data set or head")]) -> None:
    """Show what a plugin offers: stages, weights and their input convention, options."""
    from tlkit import registry
    from tlkit.plugin import Backbone, Dataset, Head
    from tlkit.report import tables

    kinds: tuple[type[Backbone | Dataset | Head], ...] = (Backbone, Dataset, Head)
    found = [kind for kind in kinds if any(entry.name == name for entry in registry.entries(kind))]
    if not found:
        names = [entry.name for kind in kinds for entry in registry.entries(kind)]
        raise TlkitError(f'there is no plugin "{name}" installed.', "tlkit list shows what is", nearest(name, names))
    for kind in found:
        _console().print(tables.plugin(name, registry.entry(kind, name), registry.get(kind, name)))


@app.command()
def check(name: Annotated[str, typer.Argument(metavar="NAME", help="a backbone or data set")], data: DataOption = None) -> None:
    """Hold an installed plugin to the contract and print what passes."""
    from tlkit import testing

    for line in testing.check(name, data=data):
        _console().print(f"ok  {line}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def validate(recipe: RecipeArgument, set_: SetOption = None) -> None:
    """Check a recipe: keys, types, plugin names, stages, rates. Every problem at once, without torch."""
    from tlkit import resolve
    from tlkit.sources import Places

    read, _ = resolve.load(recipe, set_ or (), Places(recipe=recipe.parent))
    seeds = "1 seed" if len(read.seeds) == 1 else f"{len(read.seeds)} seeds"
    _console().print(f"{recipe}: valid. arms: {', '.join(read.arms)}; {seeds}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from tlkit import json_schema

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

    from tlkit import api, plans
    from tlkit.report import tables
    from tlkit.terminal import TerminalObserver

    with TerminalObserver(Console(stderr=True)) as observer:
        made = api.plan(
            recipe, set_ or (), arm=arm, data=data, classes=classes, device=device, measure=measure, observer=observer
        )
    if as_json:
        record = {"format": 1, "arms": {name: json.loads(plans.to_json(each)) for name, each in made.items()}}
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
        return
    for each in made.values():
        _console().print(tables.plan(each))


@app.command()
def apply(
    recipe: RecipeArgument,
    set_: SetOption = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    no_graph: Annotated[bool, typer.Option("--no-graph", help="on a GPU too, take the training step without a graph")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="hash every image again and check what is stored")] = False,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train what a recipe says: begin, continue, or do nothing where it is finished."""
    from rich.console import Console

    from tlkit import api
    from tlkit.report import tables
    from tlkit.terminal import TerminalObserver

    with TerminalObserver(Console(stderr=True)) as observer:
        applied = api.apply(
            recipe, set_ or (), arm=arm, runs=runs, data=data, device=device,
            graph=not no_graph, verify=verify, offline=offline, observer=observer,
        )  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps(applied.result, indent=2) + "\n")
    else:
        console = _console()
        if not applied.changed:
            console.print(f"{applied.folder}: finished before, nothing to do.", markup=False, highlight=False, soft_wrap=True)
        if applied.result["arms"]:
            console.print(tables.result(applied.result))
            console.print(f"curves: {applied.folder}/curves.svg", markup=False, highlight=False, soft_wrap=True)
    for failure in applied.failures:
        _say(str(failure))
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
    from tlkit import files, prediction, sweep
    from tlkit.report import tables

    predictor = prediction.load(run, arm=arm, device=sweep.device_of(device))
    rows = []
    for image, row in zip(images, predictor.predict(images), strict=True):
        ranked = sorted(zip(predictor.classes, map(float, row), strict=True), key=lambda pair: -pair[1])
        rows.append((files.shown(image), ranked))
    if as_json:
        sys.stdout.write(
            json.dumps([{"image": image, "probabilities": dict(ranked)} for image, ranked in rows], indent=2) + "\n"
        )
    else:
        _console().print(tables.predictions([(image, ranked[:top]) for image, ranked in rows]))


@app.command()
def bench(
    baselines: Annotated[
        Path, typer.Option("--baselines", metavar="DIR", help="where make bench-track keeps the history")
    ] = Path("benchmarks/baselines"),
    machine: Annotated[str | None, typer.Option("--machine", metavar="NAME", help="only this kind of machine")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the history of the benchmarks, and draw the trend of each recipe beside it."""
    from tlkit import bench as benches
    from tlkit.report import trend

    machines = benches.machines(baselines)
    if machine is not None and machine not in machines:
        raise TlkitError(
            f"{baselines / machine}: holds no history.", f"machines: {', '.join(machines)}", nearest(machine, machines)
        )
    if not machines:
        raise TlkitError(f"{baselines}: holds no history.", "make bench-track writes one; --baselines names another folder")
    shown = {name: benches.history(baselines / name) for name in machines if machine in (None, name)}
    if as_json:
        lists = {name: [record.model_dump(mode="json") for record in records] for name, records in shown.items()}
        sys.stdout.write(json.dumps({"format": 1, "machines": lists}, indent=2) + "\n")
        return
    for name, records in shown.items():
        picture = baselines / name / "trend.svg"
        _console().print(trend.table(name, records))
        if records:
            trend.write(picture, name, records)
            _console().print(f"trend: {picture}\n", markup=False, highlight=False, soft_wrap=True)


@cache_verbs.callback(invoke_without_command=True)
def list_cache(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show what is kept so that it is not computed again: rows, size, when it was last used, and the limit."""
    if context.invoked_subcommand is not None:
        return
    from tlkit import cache, files
    from tlkit.report import tables

    entries, others, limit = cache.listing(), cache.others(), cache.limit()
    folder = files.shown(files.cache_folder())
    if as_json:
        record = {"format": 1, "folder": folder, "limit": limit, "total": sum(each.bytes for each in entries)}
        record |= {"entries": [dataclasses.asdict(each) for each in entries], "others": others}
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
        return
    _console().print(tables.cache(folder, entries, others=others, limit=limit))


@cache_verbs.command("clear")
def clear_cache(
    kind: Annotated[Kind | None, typer.Option("--kind", help="only these; without it, measurements go as well")] = None,
) -> None:
    """Remove what is kept, and say how much was freed; what a run writes at this moment stays."""
    from tlkit import cache
    from tlkit.report import tables

    freed = tables.size(cache.clear(kind))
    _console().print(f"{kind or 'cache'}: {freed} freed.", markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    # Without a terminal there is no width to keep to: a table that is cut would be read wrong by the next program.
    return console if console.is_terminal else Console(width=_ENDLESS)


def _open_streams() -> None:
    """Give a closed stream (`>&-`) a place to go to, and print what cannot be encoded as its number."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
