"""The same work done by everyone, in turns, and the table of it.

    python -m benchmarks.peers.run                          # every work, arm and contender: hours on two cores
    python -m benchmarks.peers.run --figures --loop-epochs 1     # only the table of the figures to reach
    python -m benchmarks.peers.run --both --loop-epochs 1        # both tables from the same trials
    python -m benchmarks.peers.run --render                 # only the tables again, from the raw lines

Raw lines, one a trial, go to benchmarks/peers/raw/<machine>.jsonl, and the tables between their markers in
benchmarks/README.md. Environments of fastai and Lightning are made below --venvs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers import table, trial, work
from benchmarks.peers.trial import CONTENDERS, Cell

ROOT = Path(__file__).parents[2]
ARMS = ("head", "last", "all")
_VARIANTS = {"views": ("tutorial", "tlkit"), "again": ("tlkit",)}  # the contenders of a cell that is not for all
QUICKSTART = {"three": (), "finetune": ("--arm", "finetune"), "scratch": ("--arm", "scratch")}


@dataclass(frozen=True)
class Session:
    """What is the same for every trial of one call.

    Attributes:
        header: Columns of every raw line.
        folder: For pictures, weights and what was measured.
        venvs: For the environments.
        raw: Where lines are added.
        epochs: Of tlkit.
        loop_epochs: Of everyone else, counted as `epochs`.
        images: At most, to try a script out; None for all.
    """

    header: dict[str, Any]
    folder: Path
    venvs: Path
    raw: Path
    epochs: int
    loop_epochs: int
    images: int | None

    def trial(self, cell: Cell, contender: str, number: int) -> None:
        """Do one trial and keep its line; number 0 is one epoch in which tlkit measures the machine, and is not in the tables' medians."""
        epochs = (self.epochs if number else 1) if contender == "tlkit" else self.loop_epochs
        done = trial.run(
            cell,
            contender,
            work.prepare(work.WORKS[cell.work], self.folder, images=self.images),
            python=trial.interpreter(contender, self.venvs),
            epochs=epochs,
            measured=self.folder / trial.MEASURED,
        )
        counted = done["seconds"] * self.epochs / epochs
        line = {"cell": cell.name, "contender": contender, "round": number, "epochs": epochs, "counted": counted} | done
        self._keep(line, f"{cell.name} {contender}, round {number}: {counted:.1f} s")

    def quickstart(self, name: str, number: int) -> None:
        """Time `tlkit apply` of the quickstart, one arm or all of them."""
        arguments = ("apply", "recipes/quickstart.toml", "--offline", *QUICKSTART[name])
        seconds = trial.command(arguments, measured=self.folder / trial.MEASURED)
        line = {"cell": "quickstart", "contender": name, "round": number, "whole": seconds}
        self._keep(line, f"quickstart {name}, round {number}: {seconds:.1f} s")

    def _keep(self, line: dict[str, Any], said: str) -> None:
        print(said, file=sys.stderr, flush=True)
        with self.raw.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.header | line) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials that are asked for and write the tables."""
    options = _options(arguments)
    options.raw.parent.mkdir(parents=True, exist_ok=True)
    if not options.render:
        with tempfile.TemporaryDirectory() as scratch:
            session = _session(options, Path(scratch), arguments)
            for do, name, number in _trials(options):
                getattr(session, do)(*name, number)
    lines = [json.loads(line) for line in options.raw.read_text(encoding="utf-8").splitlines() if line.strip()]
    table.fill(options.readme, {"peers": table.peers(lines), "figures": table.figures(lines)})
    print(
        "\n\n".join([table.figures(lines)] * (options.figures or options.both) + [table.peers(lines)] * (not options.figures))
    )
    return 0


def _trials(options: argparse.Namespace) -> Iterator[tuple[str, tuple[Any, ...], int]]:
    """Yield every trial in order: a round takes every cell, a cell every contender, in turns who begins."""
    cells = list(_cells(options))
    if "tlkit" in options.contenders:
        yield from (("trial", (cell, "tlkit"), 0) for cell in cells if cell.variant != "again")
    quickstart = list(QUICKSTART) if options.figures or options.both else []
    yield from (("quickstart", (name,), 0) for name in quickstart[:1])
    for number in range(1, options.rounds + 1):
        for cell in cells:
            ours = [name for name in options.contenders if name in _VARIANTS.get(cell.variant, CONTENDERS)]
            yield from (("trial", (cell, name), number) for name in _turned(ours, number))
        yield from (("quickstart", (name,), number) for name in _turned(quickstart, number))


def _cells(options: argparse.Namespace) -> Iterable[Cell]:
    if options.figures:
        return table.CELLS
    cells = [Cell(name, arm) for name in options.work for arm in options.arms]
    return dict.fromkeys([*cells, *table.CELLS]) if options.both else cells


def _turned(names: list[str], number: int) -> list[str]:
    turn = number % max(len(names), 1)
    return names[turn:] + names[:turn]


def _session(options: argparse.Namespace, scratch: Path, arguments: Sequence[str] | None) -> Session:
    from benchmarks import machine, track
    from tlkit.record import benchmarks

    given = sys.argv[1:] if arguments is None else arguments
    shown = [each for each in given if not (options.venvs and str(options.venvs) in each) and each != "--venvs"]
    header = {
        "session": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": benchmarks.kind(machine.gpu()),
        "commit": track.commit(),
        "command": shlex.join(["python", "-m", "benchmarks.peers.run", *shown]),
        "threads": os.environ.get("OMP_NUM_THREADS", "all cores"),
        "of": options.epochs,
        "images": options.images,
    }
    # Environments that were asked for by name are kept; others go with the session.
    venvs = options.venvs or scratch / "venvs"
    loops = options.loop_epochs or options.epochs
    return Session(header, scratch, venvs, options.raw, options.epochs, loops, options.images)


def _names(choices: Iterable[str]) -> Any:
    allowed = tuple(choices)

    def names(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in allowed]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: one or more, with commas, of {', '.join(allowed)}")
        return found

    return names


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    from tlkit.record import benchmarks

    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.run", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--figures", action="store_true", help="the work of the figures to reach: the tutorial's loop and tlkit only")
    add("--both", action="store_true", help="the work of both tables")
    add("--work", type=_names(work.WORKS), default=list(work.WORKS), help=f"of {', '.join(work.WORKS)}")
    add("--arms", type=_names(ARMS), default=list(ARMS), help=f"of {', '.join(ARMS)}")
    add("--contenders", type=_names(CONTENDERS), default=None, help=f"of {', '.join(CONTENDERS)}")
    add("--rounds", type=int, default=3, help="trials of each (3)")
    add("--epochs", type=int, default=5, help="with an evaluation after each (5)")
    add("--loop-epochs", type=int, help="epochs of everyone but tlkit, counted as --epochs; their epochs are alike")
    add("--images", type=int, help="pictures at most, to try the scripts out: such lines are in no table")
    add("--venvs", type=Path, help="folder of the environments, kept; a temporary one where not given")
    add("--raw", type=Path, help="raw lines; benchmarks/peers/raw/<machine>.jsonl")
    add("--readme", type=Path, default=ROOT / "benchmarks" / "README.md", help="file with the tables' markers")
    add("--render", action="store_true", help="only write the tables from the raw lines")
    options = parser.parse_args(arguments)
    options.contenders = options.contenders or (["tutorial", "tlkit"] if options.figures else list(CONTENDERS))
    options.raw = options.raw or ROOT / "benchmarks" / "peers" / "raw" / f"{benchmarks.kind()}.jsonl"
    return options


if __name__ == "__main__":
    sys.exit(main())
