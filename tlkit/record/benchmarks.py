"""Read and write the history of benchmarks, and compare it with a baseline. Imports no torch.

The rule: machines differ, and so does one machine from hour to hour; only the ratio to a plain PyTorch loop that was timed
in turns with tlkit is compared, and only with the same kind of machine.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlkit import files, machine
from tlkit.errors import TlkitError

HISTORY, BASELINE = "history.jsonl", "baseline.jsonl"
LIMIT = 0.10  # part of the baseline's ratio that may be lost beyond the baseline's spread
# Of the baseline's spread so much is allowed for: more would let a baseline that was taken on a busy machine excuse anything.
SPREAD_LIMIT = 0.05
_LONGEST = 80  # characters of a machine's name; it names a folder

Key = tuple[str, str, str]


class Record(BaseModel):
    """One benchmark of one session.

    Attributes:
        format: Of this record.
        recipe: Its file's name without .toml.
        arm: Of the recipe.
        mode: Whether steps ran one by one or as a captured graph.
        date: Of the session, ISO 8601, UTC.
        commit: Of the checkout, a "+" behind it where files were changed; "" outside git.
        images: Training images in an epoch.
        asked: Training images that were asked for at most; 0 where not known.
        rounds: How often both sides were timed; 0 where not known.
        images_per_second: Training images over the whole epoch, evaluation and saving counted.
        ratio: Seconds of the plain loop over tlkit's for the recipe's whole run, the median of all pairs.
        spread: Half the distance between the quartiles of the pairs' ratios, as a part of `ratio`.
        first_ratio: The same of the first epoch alone, which fills the stores.
        later_ratio: The same of any later epoch.
        epoch_seconds: Of the recipe's own number of images, the mean over its epochs.
        peak_anonymous: Most memory held at once, bytes; files that are mapped are not in it.
        share: Part of the machine's measured matrix-multiply rate, by precision: operations that the plain loop needs over
            tlkit's time, so a store may take it past 1.
        precision: Of the training step; "" where not known.
        layout: Its memory format.
        versions: Of what the figures depend on.
        threads: That torch computes with; 0 where not known.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    recipe: str
    arm: str
    mode: Literal["eager", "captured"] = "eager"
    date: str
    commit: str = ""
    images: int
    asked: int = 0
    rounds: int = 0
    images_per_second: float
    ratio: float = Field(gt=0)
    spread: float = Field(ge=0)
    first_ratio: float = Field(gt=0)
    later_ratio: float = Field(gt=0)
    epoch_seconds: float
    peak_anonymous: int
    share: dict[str, float] = {}
    precision: str = ""
    layout: str = ""
    versions: dict[str, str] = {}
    threads: int = 0

    @property
    def key(self) -> Key:
        """Identify the benchmark."""
        return (self.recipe, self.arm, self.mode)

    @property
    def conditions(self) -> Conditions:
        """What must agree for two records to be compared."""
        return Conditions(self.images, self.versions.get("torch", ""), self.threads)


@dataclass(frozen=True)
class Conditions:
    """What must agree for two records of a benchmark to be compared.

    Attributes:
        images: Training images in an epoch.
        torch: Version; "" where not known.
        threads: That torch computes with; 0 where not known.
    """

    images: int
    torch: str
    threads: int

    def unlike(self, before: Conditions) -> str:
        """Return the differences from a baseline's conditions as text; "" if the two may be compared."""
        pairs = zip(self._words(), before._words(), strict=True)
        return "; ".join(f"{now[0]}, the baseline {then[1]}" for now, then in pairs if now != then)

    def _words(self) -> list[tuple[str, str]]:
        """Return each condition in words of its own, and as said of a baseline."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return [
            (f"{self.images} images", f"has {self.images}"),
            (f"torch {self.torch}", f"has {self.torch}") if self.torch else ("an unknown torch", "does not say"),
            (threads, f"has {self.threads}") if self.threads else ("unknown threads", "does not say"),
        ]


@dataclass(frozen=True)
class Verdict:
    """The comparison of a benchmark with its baseline.

    Attributes:
        now: What was measured; None where the baseline has a benchmark that was not run.
        baseline: None for a benchmark that is new.
        unlike: In what the two did other work than each other, in words; empty where they may be compared.
        change: Of the ratio, as a part of the baseline's; None without one of the two, or where they are unlike.
        allowed: Loss that is not called slower: LIMIT and the baseline's spread up to SPREAD_LIMIT. The present session's own
            spread is not in it, since what made it slower may well have made it uneven.
    """

    now: Record | None
    baseline: Record | None

    @property
    def key(self) -> Key:
        """Identify the benchmark."""
        found = self.now or self.baseline
        assert found is not None  # compare() makes none without both
        return found.key

    @property
    def change(self) -> float | None:
        """Change of the ratio, as a part of the baseline's; None if they cannot be compared."""
        return None if self.now is None or self.baseline is None or self.unlike else self.now.ratio / self.baseline.ratio - 1

    @property
    def unlike(self) -> str:
        """The differences in what the two did, as text; empty if they may be compared."""
        if self.now is None or self.baseline is None:
            return ""
        return self.now.conditions.unlike(self.baseline.conditions)

    @property
    def allowed(self) -> float:
        """The loss of speed that does not count as slower."""
        return LIMIT + (min(self.baseline.spread, SPREAD_LIMIT) if self.baseline else 0.0)

    @property
    def slower(self) -> bool:
        """Whether the benchmark is slower than is allowed."""
        return self.change is not None and -self.change > self.allowed

    @property
    def words(self) -> str:
        """Return the verdict as text."""
        if self.now is None:
            return "not run, though the baseline has it"
        if self.baseline is None:
            return "new: no baseline yet"
        if self.change is None:
            return f"not comparable: {self.unlike}"
        loss = f"{abs(self.change):.0%} {'slower' if self.change < 0 else 'faster'} than the baseline"
        if self.slower:
            loss = f"SLOWER: {loss}, {self.allowed:.0%} are allowed"
        if self.now.rounds == 1:
            return f"{loss}; one round tells no spread: more rounds help"
        noisy = self.now.spread > self.allowed
        return f"{loss}; the spread is {self.now.spread:.0%}, too noisy to trust: more rounds help" if noisy else loss


def kind(gpu: str = "") -> str:
    """Return what kind of machine this is, as a folder's name: processor, cores that may be used, and the GPU's name."""
    cores = machine.processors()
    return re.sub(r"[^a-z0-9]+", "-", f"{machine.processor()} {cores} cores {gpu}".lower()).strip("-")[:_LONGEST]


def history(folder: Path) -> list[Record]:
    """Read all records of one kind of machine, the oldest first.

    Raises:
        TlkitError: as `read`.
    """
    return read(folder / HISTORY)


def baseline(folder: Path) -> list[Record]:
    """Read the baseline records; none if no baseline was written.

    Raises:
        TlkitError: as `read`.
    """
    return read(folder / BASELINE)


def read(path: Path) -> list[Record]:
    """Read a file of records; none if there is no file.

    Raises:
        TlkitError: a line is damaged, or of another format.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [Record.model_validate_json(line) for line in lines if line.strip()]
    except UnicodeDecodeError as error:
        said = f"{path}: is damaged: not UTF-8 at byte {error.start}."
        raise TlkitError(said, "take the line out, or the file away") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "a line"
        raise TlkitError(f"{path}: is damaged: {where}: {first['msg']}.", "take the line out, or the file away") from error


def write(path: Path, records: Iterable[Record]) -> None:
    """Write a file of records, whole or not at all."""
    files.replace(path, "".join(record.model_dump_json() + "\n" for record in records))


def add(folder: Path, records: Iterable[Record]) -> None:
    """Add the records of a session to the history."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / HISTORY, [*history(folder), *records])


def rebase(folder: Path, records: Iterable[Record]) -> None:
    """Make a session's records the baseline; benchmarks that it did not run are left out from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / BASELINE, records)


def machines(folder: Path) -> list[str]:
    """Return the kinds of machines that have a history, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{HISTORY}"))


def compare(records: Iterable[Record], against: Iterable[Record]) -> list[Verdict]:
    """Compare a session with a baseline: every benchmark of either, in the session's order."""
    now, before = {each.key: each for each in records}, {each.key: each for each in against}
    return [Verdict(now.get(key), before.get(key)) for key in dict.fromkeys([*now, *before])]


def centre(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and half the distance between the quartiles as a part of it; 0 for a single value."""
    middle = statistics.median(values)
    if len(values) < 2:
        return middle, 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, (high - low) / 2 / abs(middle)


def run_ratio(*, plain: float, first: float, later: float, epochs: int) -> float:
    """Return how many times faster a run of so many epochs is, from one epoch of each kind in seconds."""
    return epochs * plain / (first + (epochs - 1) * later)


def latest(records: Iterable[Record]) -> Mapping[Key, tuple[Record, ...]]:
    """Return the records of each benchmark, by date."""
    found: dict[Key, list[Record]] = {}
    for record in sorted(records, key=lambda each: each.date):
        found.setdefault(record.key, []).append(record)
    return {key: tuple(each) for key, each in sorted(found.items())}
