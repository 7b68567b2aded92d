"""The command-line interface: the program `tlkit`, its groups of commands, and what it says when a command fails.

The rule: `--help`, `--version`, `validate`, `list`, `show` and `schema` import no torch, nor does `apply` where nothing is left to do.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from tlkit import machine
from tlkit.cli import advise, bench, console, embed, evaluate, look, maintain, predict, rates, runs, shard, train, use
from tlkit.errors import Interrupted, SaidElsewhere, TlkitError, command_line
from tlkit.run.signals import Terminated, ended_by_a_second

LOOK, TRAIN, USE, MAINTAIN = "Look", "Train", "Use", "Maintain"
_NO_MEMORY = "memory ran out; end other programs, or take fewer or smaller images at a time. Runs go on from what they saved."
_STOPPED = 128 + signal.SIGINT  # also what typer makes of a Ctrl-C within a command
_COMMANDS = {
    LOOK: (look.list_plugins, look.show, look.validate, look.plan, look.inspect, rates.rates, look.schema, look.check),
    TRAIN: (train.init, advise.advise, shard.shard, train.apply),
    USE: (
        use.report,
        predict.predict,
        evaluate.evaluate,
        embed.embed,
        embed.neighbours,
        use.export,
        runs.runs,
        runs.diff,
    ),
}


class _Grouped(TyperGroup):
    """A program whose --help lists its commands in groups."""

    def format_commands(self, ctx: typer.Context, formatter: object) -> None:  # type: ignore[override]  # click's, in typer's copy
        for title in (LOOK, TRAIN, USE, MAINTAIN):
            mine = [(name, each) for name, each in self.commands.items() if getattr(each, "rich_help_panel", None) == title]
            with formatter.section(title):  # type: ignore[attr-defined]  # as above
                formatter.write_dl([(name, each.get_short_help_str(100)) for name, each in mine])  # type: ignore[attr-defined]  # as above


app = typer.Typer(
    cls=_Grouped,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Transfer learning for image networks: a TOML recipe in, a trained network out.",
)
for _group, _functions in _COMMANDS.items():
    for _function in _functions:
        app.command("list" if _function is look.list_plugins else None, rich_help_panel=_group)(_function)
app.add_typer(bench.bench_verbs, name="bench", rich_help_panel=MAINTAIN)
app.add_typer(maintain.cache_verbs, name="cache", rich_help_panel=MAINTAIN)


def _version(asked: bool) -> None:
    if asked:
        console.line(maintain.versions())
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions and the device, and end.")
    ] = False,
) -> None:
    started = None if ctx.invoked_subcommand == "apply" else machine.started_together()
    if started is not None and started.rank:
        raise SaidElsewhere
    if started is not None:
        raise TlkitError(
            f"tlkit {ctx.invoked_subcommand}: runs in one process, and torchrun started {started.size}.",
            "start it without torchrun; only tlkit apply is shared by several processes",
        )


def main() -> NoReturn:
    """Run the command line; a message and an exit code instead of a traceback. SIGTERM stops as Ctrl-C does; a second of both at once."""
    before, stop = signal.getsignal(signal.SIGTERM), Terminated()
    with ended_by_a_second():
        if before is not signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
            _run(stop.came)
        signal.signal(signal.SIGTERM, stop)
        try:
            _run(stop.came)
        finally:
            signal.signal(signal.SIGTERM, before)


def _run(came: Sequence[int]) -> NoReturn:
    """Run the command line. `came` holds SIGTERM once it came."""
    machine.let_threads_sleep()
    machine.let_cublas_repeat()
    machine.draw_into_files()
    machine.keep_blocks()
    machine.collect_rarely()
    console.open_()
    try:
        with command_line():
            code = app(standalone_mode=False, prog_name="tlkit")
        sys.stdout.flush()  # here, where a reader that went away can still be answered
    except TlkitError as error:
        if isinstance(error, Interrupted) and error.exit_code == _STOPPED:
            console.say("")  # below the terminal's ^C
        if not isinstance(error, SaidElsewhere):
            console.say("\n".join(filter(None, (str(error), machine.temporary_folder_needed()))))
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = _STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        told = f"{error.filename or 'the output'}: {error.strerror or error}."
        console.say("\n".join(filter(None, (told, machine.temporary_folder_needed()))))
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # usage: click's own errors, whichever copy typer carries
            error.show()
            sys.exit(int(error.exit_code))
        if machine.is_out_of_memory(error):
            console.say(_NO_MEMORY)
            sys.exit(1)
        raise
    if code == _STOPPED:
        number = came[0] if came else signal.SIGINT
        console.say(f"{'' if came else chr(10)}stopped by {signal.Signals(number).name}.")
        code = 128 + number
    sys.exit(code if isinstance(code, int) else 0)
