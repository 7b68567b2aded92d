"""All errors that tlkit raises for users, each with its exit code.

The rule: the first line says where and what is wrong and stands alone; indented lines say what would be right.
"""

import copyreg
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

SOME_FAILED = 3  # the exit code where part of the work failed and the rest is done
_MOST = 50  # problems of one recipe that its message lists
MOST_CHECKED = 1000  # problems after which a recipe is not looked through any further


class TlkitError(Exception):
    """Base of all errors that tlkit raises for users. The command line prints its text without a traceback.

    Args:
        problem: "where: what is wrong, with the value", one line; lines of a library's error, or of a name, become one.
        hints: What would be right and the nearest fix, one line each.
    """

    exit_code = 1

    def __init__(self, problem: str, *hints: str) -> None:
        self.problem = _one_line(problem)
        self.hints = tuple(_one_line(line) for line in hints if line)
        super().__init__()
        self._show()

    def at(self, where: str) -> "TlkitError":
        """Return an error with the same hints whose problem begins with the place where it was found."""
        return TlkitError(f"{where}: {self.problem}", *self.hints)

    def begin_with_(self, where: str) -> None:
        """Let the problem begin with the place where it was found; the error stays one of its class, with its cause."""
        self.problem = f"{where}: {self.problem}"
        self._show()

    def add_hint_(self, line: str) -> None:
        """Add a last line; the error stays one of its class, with its cause."""
        self.hints = (*self.hints, line)
        self._show()

    def reword_(self, problem: Callable[[str], str], hint: Callable[[str], str]) -> None:
        """Let the problem and every hint have other words; the error stays one of its class, with its cause."""
        self.problem, self.hints = problem(self.problem), tuple(map(hint, self.hints))
        self._show()

    def __reduce__(self) -> tuple[object, ...]:
        """Return what a pickle of it holds, as a process pool hands it over: all of it, whatever the class's __init__ takes."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # typeshed lacks it

    def _show(self) -> None:
        self.args = ("\n".join([self.problem, *(f"  {line}" for line in self.hints)]),)


class UsageError(TlkitError):
    """An option that cannot have this value, or is not for this command line, whatever a recipe says; click's own errors end so too."""

    exit_code = 2


class RecipeError(TlkitError):
    """A recipe that cannot be used; it holds every problem that was found.

    Attributes:
        problems: Each of them.
        rest: Of problems in the tables, the recipe with what is wrong left out, in which more can be found; None where there is none.
    """

    def __init__(self, problems: Iterable[TlkitError], *, rest: object = None) -> None:
        self.problems = tuple(problems)
        self.rest = rest
        super().__init__(self.problems[0].problem, *self.problems[0].hints)
        self._show()

    def reword_(self, problem: Callable[[str], str], hint: Callable[[str], str]) -> None:
        """Let every problem have other words; of those that then are the same one is left."""
        for each in self.problems:
            each.reword_(problem, hint)
        self.problems = tuple({each.problem: each for each in self.problems}.values())
        self.problem, self.hints = self.problems[0].problem, self.problems[0].hints
        self._show()

    def _show(self) -> None:
        shown = [str(problem) for problem in self.problems[:_MOST]]
        more = len(self.problems) - len(shown)
        least = "at least " if len(self.problems) >= MOST_CHECKED else ""
        self.args = ("\n".join([*shown, *([f"and {least}{more:,} more problems"] if more else [])]),)


class PluginError(TlkitError):
    """A plugin is missing, doubled, does not import, or breaks the contract."""


class DataError(TlkitError):
    """Images or labels that cannot be used."""


class DataMissing(DataError):
    """Images that were not found on this machine."""


class ImageError(DataError):
    """One image that cannot be decoded; the message names its path."""


class WeightsError(TlkitError):
    """Weights that cannot be used: missing, damaged, or of another network."""


class WeightsMissing(WeightsError):
    """Weights that were not found on this machine."""


class RunFolderError(TlkitError):
    """A run folder that cannot be read: of another version, damaged, or not a run folder."""


class RunFailed(TlkitError):
    """A run that failed while training; its checkpoints are kept."""

    exit_code = SOME_FAILED


class Diverged(RunFailed):
    """A run whose loss or weights are no longer numbers; of several processes, all see it after the same step."""


class NotCarriedOut(RunFailed):
    """A run that could not be carried out elsewhere, for a reason that lies outside of it: a worker that died, or does not see a folder."""


class RankLost(RunFailed):
    """Another process of the same run has ended, or cannot be reached; saved epochs are kept."""


class SaidElsewhere(TlkitError):
    """An error that the first process of a run tells, so that the others print nothing."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("")
        self.exit_code = exit_code


class OutOfMemory(RunFailed):
    """A training step does not fit into memory; saved epochs are kept."""


class StoreError(TlkitError):
    """Rows that cannot be stored in the cache; they will be computed again."""

    def note(self, follows: str) -> str:
        """Return it as one line: what is wrong, what follows, and what would be right."""
        return "; ".join([self.problem.removesuffix("."), follows, *self.hints])


class RunLocked(TlkitError):
    """Another process is running this run."""

    exit_code = 4


class Interrupted(TlkitError):
    """The program was stopped by a signal; finished epochs are saved."""

    TERMINATED = 128 + signal.SIGTERM  # the exit code after SIGTERM

    def __init__(self, signum: int, problem: str, *hints: str) -> None:
        super().__init__(problem, *hints)
        self.exit_code = 128 + signum

    def reworded(self, problem: str, *hints: str) -> "Interrupted":
        """Return an error of the same cause with other words."""
        return Interrupted(self.exit_code - 128, problem, *hints)


class OutOfTime(Interrupted):
    """The time that something may take is over, and it was stopped as a signal would; finished epochs are saved."""

    exit_code = TlkitError.exit_code

    def __init__(self, problem: str, *hints: str) -> None:
        TlkitError.__init__(self, problem, *hints)

    def reworded(self, problem: str, *hints: str) -> "OutOfTime":
        """Return an error of the same cause with other words."""
        return OutOfTime(problem, *hints)


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines()) if "\n" in text else text


def shortened(text: str, most: int = 300) -> str:
    """Return the beginning of a text that may hold a whole file, with "..." for the rest."""
    return text if len(text) <= most else f"{text[:most]}..."


def reason(error: BaseException) -> str:
    """Return the type and the first line of a library's error, or its beginning, even if its text cannot be read."""
    try:
        text = next(iter(str(error).strip().splitlines()), "")
    except Exception:  # a __str__ that fails
        text = ""
    return f"{type(error).__name__}: {shortened(text)}" if text else type(error).__name__


@contextmanager
def readable(path: object, kind: type[TlkitError] = DataError) -> Iterator[None]:
    """Raise an error that names the file which the system cannot read within the block."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be read: {error.strerror or error}.") from error


@contextmanager
def writable(path: object, *hints: str, kind: type[TlkitError] = TlkitError) -> Iterator[None]:
    """Raise an error that names the file, or the folder, which the system cannot write within the block."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be written: {error.strerror or error}.", *hints) from error


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return 'did you mean "x"?' for the closest choice, the first of those equally close, or "" where none is close."""
    wanted, known = name.lower(), {choice.lower(): choice for choice in choices}
    close = sorted(get_close_matches(wanted, known, n=3, cutoff=0.5), key=list(known).index)
    match = max(close, key=lambda choice: SequenceMatcher(None, choice, wanted).ratio(), default=None)
    return "" if match is None else f'did you mean "{known[match]}"?'


_COMMAND_LINE: ContextVar[bool] = ContextVar("command_line", default=False)


@contextmanager
def command_line() -> Iterator[None]:
    """Let `option` name options of the command line, not arguments of Python functions."""
    token = _COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _COMMAND_LINE.reset(token)


def option(name: str, value: str | bool = "") -> str:
    """Return how a message names an option: "--data images" on the command line, 'data="images"' in Python.

    Args:
        name: As on the command line; in Python it has underscores.
        value: True for a flag; "" where only the name is told.
    """
    if _COMMAND_LINE.get():
        return f"--{name}" if value is True or not value else f"--{name} {value}"
    name = name.replace("-", "_")
    return f"{name}={value}" if value is True or not value else f'{name}="{value}"'


def as_path(value: object, name: str) -> Path:
    """Return an argument that names a file or a folder.

    Args:
        value: Text, or a path.
        name: Of the argument.

    Raises:
        TlkitError: it is something else.
    """
    if isinstance(value, (str, os.PathLike)) and not isinstance(os.fspath(value), bytes):
        return Path(value)
    raise TlkitError(f"{name}: is {value!r}.", "text, or a pathlib.Path")


def setting(*texts: str) -> str:
    """Return how a message changes keys: "--set a.b=3" on the command line, 'settings=["a.b=3"]' in Python."""
    if _COMMAND_LINE.get():
        return " ".join(f"--set {shlex.quote(text)}" for text in texts)
    return f"settings={json.dumps(texts, ensure_ascii=False)}"


def in_setting(key: str) -> str:
    """Return how a message begins that is about a setting: "--set a.b" on the command line, "settings a.b" in Python."""
    return f"--set {key}" if _COMMAND_LINE.get() else f"settings {key}"


def first_few(names: Iterable[str], most: int = 5) -> str:
    """Return the first names, and whether there are others."""
    listed = list(names)
    return ", ".join(listed[:most]) + (" and others" if len(listed) > most else "")


def first_and_more(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first names, and how many others there are."""
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
