"""Run folders behind an address, such as s3://bucket/runs, with a copy of each on this machine in which it is written and read.

The rule: what is behind the address counts. A run's files are sent in the order in which they were written, so what arrived of a
run whose machine went away is what a disk would hold, and it continues from there. Nobody begins a run, or sends one of a process that is gone, that
changed there since it was fetched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from tlkit import files, plugin
from tlkit.errors import DataError, RunLocked, TlkitError
from tlkit.record import file_lock, run_folder
from tlkit.record.remote_holders import RemoteHolders

_STATE = ".remote"  # in a folder: what of it was last sent or fetched; no ".*.*", which a run that continues removes as strays
_LOCK = ".lock"  # in the folder of all copies
_SENDING = ".sending"  # in a run's folder: a lock, held while it is sent or fetched
_PATIENCE = 3600.0  # seconds that a process waits while another fetches or sends: checkpoints over a slow network
_FILES = "tlkit_shards.remote_files"


@dataclass(frozen=True)
class RemoteRuns:
    """Where run folders are kept.

    Attributes:
        address: Of the folder for run folders.
        folder: Its copy.
    """

    address: str
    folder: Path

    @cached_property
    def holders(self) -> RemoteHolders:
        """Which process carries each run out."""
        return RemoteHolders(self.address, self.folder)

    def begin(self, name: str) -> None:
        """Say behind the address that this process carries out a run from now on, whoever did before.

        Raises:
            DataError: the address does not answer, or refuses.
            RunLocked: the run changed there since it was fetched: another process carries it out, or has finished it.
        """
        self._refuse_changed(name)
        self.holders.begin(name)

    def fetch(self, name: str) -> None:
        """Make the copy of a recipe's folder, or of one run's, what is behind the address.

        A run that changed there replaces the copy. One that changed here alone, because it could not be sent, stays and is sent later.

        Args:
            name: "images", or "images/main-s0-0123abcd".

        Raises:
            DataError: the address does not answer, or refuses, or another process still fetches after an hour.
        """
        with self._alone(self.folder, _LOCK, "fetching runs into this"):
            self._fetch_all(name)

    def recipes(self) -> list[str]:
        """Return the names of the recipes that have runs behind the address, and of those that had some when they were last fetched.

        Raises:
            DataError: the address does not answer, or refuses.
        """
        parts = [path.split("/") for path in self._listed("")]
        there = {each[0] for each in parts if len(each) == 3 and each[-1] == run_folder.RESULT}
        return sorted({*there, *self._runs("")})

    def refuse_unwritable(self, name: str) -> None:
        """Raise where a recipe's folder cannot be written behind the address, before hours of training show it.

        Raises:
            DataError: the address refuses.
        """
        mark = self.folder / name / f".seen-{secrets.token_hex(4)}"
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        try:
            plugin.call(f"{_FILES}:send", mark, f"{self.address}/{name}/{mark.name}")
            plugin.call(f"{_FILES}:remove", f"{self.address}/{name}/{mark.name}")
        finally:
            mark.unlink(missing_ok=True)

    def _fetch_all(self, name: str) -> None:
        listed = self._listed(name)
        if "/" in name:
            self._fetch(name, listed, deep=True)
            return
        there: dict[str, dict[str, str]] = {}
        for path, version in listed.items():
            run, slash, rest = path.partition("/")
            there.setdefault(run if slash else "", {})[rest if slash else path] = version
        for run in sorted({"", *there, *self._runs(name)}):
            self._fetch(f"{name}/{run}".rstrip("/"), there.get(run, {}), deep=bool(run))

    def send(self, name: str) -> None:
        """Send what changed in the copy of a run's folder.

        Raises:
            DataError: the address does not answer, or refuses; the copy stays, and is sent the next time.
            RunLocked: another process has begun the run since, or sent some of it; nothing is sent.
        """
        self._send(name, deep=True)

    def send_all(self, name: str) -> tuple[str, ...]:
        """Send what changed in the copy of a recipe's folder, without runs that other processes carry out.

        Returns:
            Why a run was not sent, for each that changed here and is another process's.

        Raises:
            DataError: the address does not answer, or refuses; the copy stays, and is sent the next time.
        """
        kept_back = []
        for run in self._runs(name):
            try:
                self._send(f"{name}/{run}", deep=True)
            except RunLocked as error:
                kept_back.append(error.problem)
        self._send(name, deep=False)
        return tuple(kept_back)

    def _fetch(self, name: str, there: dict[str, str], *, deep: bool) -> None:
        """Fetch the files of one folder, unless another process sends it just now; `deep` with those below it."""
        if not self._changed_there(name, there):
            return
        with self._alone(self.folder / name, _SENDING, "sending this"):
            there = {path: version for path, version in self._listed(name).items() if deep or "/" not in path}
            if self._changed_there(name, there):
                self._replace(name, there, deep=deep)

    def _changed_there(self, name: str, there: Mapping[str, str]) -> bool:
        return dict(there) != {path: each[0] for path, each in self._state(name).items()}

    def _replace(self, name: str, there: dict[str, str], *, deep: bool) -> None:
        folder, known = self.folder / name, self._state(name)
        for path, version in there.items():
            here = folder / path
            if not here.is_file() or known.get(path, [""])[0] != version or known[path][1:] != _mark(here):
                plugin.call(f"{_FILES}:fetch", f"{self.address}/{name}/{path}", here)
        for path in _below(folder, deep=deep):
            if path not in there:
                (folder / path).unlink()
        if not there and deep:
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._keep(name, {path: [version, *_mark(folder / path)] for path, version in there.items()})

    def _send(self, name: str, *, deep: bool) -> None:
        if (self.folder / name).is_dir():
            with self._alone(self.folder / name, _SENDING, "sending or fetching this"):
                self._send_changes(name, deep=deep)

    def _send_changes(self, name: str, *, deep: bool) -> None:
        folder, known = self.folder / name, self._state(name)
        here = {path: _mark(folder / path) for path in _below(folder, deep=deep)}
        changed = sorted((path for path in here if known.get(path, [""])[1:] != here[path]), key=lambda path: here[path][1])
        gone = [path for path in known if path not in here]
        if not changed and not gone:
            return
        if deep:
            self.holders.refuse_other(name, unchanged=lambda: self._refuse_changed(name))
        for path in changed:
            plugin.call(f"{_FILES}:send", folder / path, f"{self.address}/{name}/{path}")
        for path in gone:
            plugin.call(f"{_FILES}:remove", f"{self.address}/{name}/{path}")
        there = self._listed(name)
        self._keep(name, {path: [there.get(path, ""), *mark] for path, mark in here.items()})

    def _refuse_changed(self, name: str) -> None:
        """Raise RunLocked where a run is not what it was when it was last sent or fetched."""
        if self._changed_there(name, self._listed(name)):
            raise RunLocked(
                f"{self.address}/{name}: another process has changed this since it was fetched.",
                "run the same command again: it fetches what is there and continues from that",
            )

    @contextlib.contextmanager
    def _alone(self, folder: Path, lock: str, doing: str) -> Iterator[None]:
        """Hold a lock in a folder within the block: several processes, those of a run and commands that read it, may share the copy.

        Raises:
            DataError: another process still holds it after an hour.
        """
        from filelock import Timeout  # here, since the command line imports this at its start

        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock.held(folder / lock, timeout=_PATIENCE))
            except Timeout:
                raise DataError(
                    f"{folder}: another process was still {doing} after {_PATIENCE:.0f} s.", "wait for it, or stop it"
                ) from None
            yield

    def _listed(self, name: str) -> dict[str, str]:
        found = cast(dict[str, str], plugin.call(f"{_FILES}:listed", f"{self.address}/{name}".rstrip("/")))
        return {path: version for path, version in found.items() if not path.rpartition("/")[2].startswith(".")}

    def _runs(self, name: str) -> list[str]:
        folder = self.folder / name
        return sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []

    def _state(self, name: str) -> dict[str, list[str]]:
        try:
            found: dict[str, list[str]] = json.loads((self.folder / name / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # then everything is compared anew
            return {}
        return found

    def _keep(self, name: str, state: dict[str, list[str]]) -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        files.replace(self.folder / name / _STATE, json.dumps(state))


def of(runs: str) -> RemoteRuns | None:
    """Return the run folders behind an address; None for a folder of this machine.

    Raises:
        TlkitError: it is an address of which pathlib made a path, or of nothing.
    """
    if re.match(r"[a-z0-9]{2,}:/[^/]", runs):
        raise TlkitError(
            f"{runs}: is an address that was made a Path, which took one of its slashes.", "give it as text: 's3://bucket/runs'"
        )
    if "://" not in runs:
        return None
    if not runs.partition("://")[2].strip("/"):
        raise TlkitError(f"{runs}: is an address without a place.", f"{runs.partition('://')[0]}://BUCKET/FOLDER")
    address = runs.rstrip("/")
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    return RemoteRuns(address, files.cache_folder().parent / "runs" / digest)


def fetched(address: str) -> Path:
    """Fetch runs that a command reads; return the folder of their copy.

    Args:
        address: Of a recipe's folder or of one run's: "s3://bucket/runs/images".

    Raises:
        DataError: the address does not answer, or refuses, or has no files.
    """
    parts = address.rstrip("/").split("/")
    # As `apply --runs` knows the address, where it is one run's and the copy of its recipe is here already: else it would be fetched twice.
    known = [("/".join(parts[:-n]), "/".join(parts[-n:])) for n in (1, 2) if len(parts) - n > len(("s3:", ""))]
    kept = [(found, name) for runs, name in known if (found := of(runs)) is not None]
    if kept:
        found, name = next((each for each in kept if (each[0].folder / each[1]).is_dir()), kept[0])
        found.fetch(name)
        if any(path.is_file() for path in (found.folder / name).rglob("*")):
            return found.folder / name
    raise DataError(
        f"{address}: holds no runs.", "the address that apply --runs had, and the recipe's name: s3://bucket/runs/NAME"
    )


def fetched_all(address: str) -> Path:
    """Fetch the runs of every recipe behind an address; return the folder of their copy.

    Args:
        address: As `apply --runs` had it, "s3://bucket/runs", or one that `fetched` takes.

    Raises:
        DataError: as `fetched`.
    """
    kept = of(address)
    recipes = [] if kept is None else kept.recipes()
    if kept is None or not recipes:
        return fetched(address)
    for name in recipes:
        kept.fetch(name)
    return kept.folder


def name_of(folder: Path) -> str:
    """Return the name of a run's folder, as `fetch` and `send` take it."""
    return f"{folder.parent.name}/{folder.name}"


def _below(folder: Path, *, deep: bool) -> list[str]:
    """Return the names of files in a folder, without those that a process keeps for itself, which begin with a dot."""
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    names = [each.relative_to(folder) for each in found if each.is_file()]
    return sorted(each.as_posix() for each in names if not any(part.startswith(".") for part in each.parts))


def _mark(path: Path) -> list[str]:
    """Return what changes where a file does: its size and the time of its last change."""
    found = os.stat(path)
    return [f"{found.st_size}", f"{found.st_mtime_ns:020}"]
