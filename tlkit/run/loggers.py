"""Pass a run's epochs and its end to its loggers.

The rule: a logger changes nothing of a run. One that fails is said once and left out for the rest of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tlkit import plugin
from tlkit.errors import TlkitError, reason
from tlkit.plans.jobs import Job
from tlkit.plans.loggers import ChosenLogger
from tlkit.plugin import LoggedEnd, LoggedRun, RunLogger
from tlkit.recipe.recipe import arm_toml
from tlkit.record import report_data
from tlkit.record.run_folder import RunResult

_OF_THE_RESULT = ("train", "validation", "test", "also", "best_epoch", "epochs", "seconds")


class Loggers:
    """The loggers of one run.

    Args:
        chosen: The loggers.
        job: The run.
        note: Told of a logger that fails.
    """

    def __init__(self, chosen: Sequence[ChosenLogger], job: Job, note: Callable[[str], None]) -> None:
        self._chosen, self._job, self._note = chosen, job, note
        self._open: dict[int, tuple[str, RunLogger]] = {}

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Open every logger.

        Args:
            lines: Of metrics.jsonl, of the epochs that were finished before.
        """
        if not self._chosen:
            return
        job = self._job
        run = LoggedRun(
            recipe=job.resolved.recipe,
            arm=job.resolved.name,
            seed=job.seed,
            fold=job.fold,
            folder=job.folder,
            settings=_dotted(arm_toml(job.resolved.arm)),
            before=tuple(map(numbers, lines)),
        )
        for place, each in enumerate(self._chosen):
            self._call(place, each.name, partial(self._opened, place, each, run))

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Pass on an epoch, a line of metrics.jsonl."""
        values = numbers(line)
        for place, (name, logger) in list(self._open.items()):
            self._call(place, name, partial(logger.epoch, values))

    def end(self, result: RunResult) -> None:
        """Pass on how the run ended, and close every logger."""
        if not self._open:
            return
        record = result.model_dump()
        kept = report_data.load(self._job.folder) if result.status == "finished" else None
        end = LoggedEnd(
            status=result.status,
            values=numbers({name: record.get(name) for name in _OF_THE_RESULT}),
            about=kept.about if kept is not None else {},
            arrays=kept.arrays if kept is not None else {},
        )
        for place, (name, logger) in list(self._open.items()):
            self._call(place, name, partial(logger.end, end))
        self._open.clear()

    def _opened(self, place: int, chosen: ChosenLogger, run: LoggedRun) -> None:
        logger = plugin.call(chosen.logger.open, run, chosen.options)
        for method in ("epoch", "end"):
            if not callable(getattr(logger, method, None)):
                raise TlkitError(f"{chosen.logger.open}: gave {type(logger).__name__}, which has no method {method}.")
        self._open[place] = chosen.name, logger  # type: ignore[assignment]  # it has the methods, as checked above

    def _call(self, place: int, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except (Exception, SystemExit) as error:  # whatever a third party's code raises
            self._open.pop(place, None)
            why = error.problem.removesuffix(".") if isinstance(error, TlkitError) else reason(error)
            self._note(f'{self._job.label}: logger "{name}" failed and logs no more of this run: {why}')


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a record by name, those of a table in it as "table/name"; what is no number is left out."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": each for inner, each in numbers(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
    return found


def _dotted(tables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the keys of tables, "optimizer.name", with their values."""
    found: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping) and value:
            found |= _dotted(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found
