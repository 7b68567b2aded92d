"""A run that another machine has taken over is that machine's: whatever ends it here writes nothing of it."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from tlkit import api
from tlkit.errors import Interrupted, RunLocked
from tlkit.events import Epoch, Observer
from tlkit.record import lock_holder
from tlkit.record.remote_runs import RemoteRuns

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = ("schedule.epochs=3",)


class TakenOver(Observer):
    """After an epoch, the run has another machine's process, which has finished it."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.folder, self.theirs = runs, runs, b""

    def epoch(self, epoch: Epoch) -> None:
        (self.folder,) = (path.parent for path in self.runs.glob("*/*/.holder"))
        holder = json.loads((self.folder / ".holder").read_text())
        (self.folder / ".holder").write_text(json.dumps(holder | {"host": "far"}))
        record = json.loads((self.folder / "result.json").read_text())
        self.theirs = json.dumps(record | {"status": "finished"}).encode()
        (self.folder / "result.json").write_bytes(self.theirs)
        (self.folder / "weights.safetensors").write_bytes(b"theirs")
        self.end_here()

    def end_here(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def assert_theirs(self) -> None:
        assert (self.folder / "result.json").read_bytes() == self.theirs
        assert (self.folder / "weights.safetensors").read_bytes() == b"theirs"


class TakenOverAndBroken(TakenOver):
    """A file server that came back with another owner of the run may refuse what is asked next."""

    def end_here(self) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_signal_stops_a_process_that_lost_its_run_and_changes_nothing_of_it(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nfreeze = { stem = true }\n")
    taken = TakenOver(toy_recipe.parent / "runs")
    with pytest.raises(Interrupted, match=r"a, seed 0: stopped by SIGTERM\. .* on far since .* has taken this over") as caught:
        api.apply(toy_recipe, SETTINGS, runs=taken.runs, observer=taken)
    assert caught.value.exit_code == 143
    taken.assert_theirs()
    assert [path.name[:4] for path in (taken.runs / "toy").iterdir() if path.is_dir()] == ["a-s0"]


def test_failure_of_a_process_that_lost_its_run_changes_nothing_of_it(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_holder, "is_silent", lambda path, *, watch: False)  # the new owner is alive
    taken = TakenOverAndBroken(toy_recipe.parent / "runs")
    (failure,) = api.apply(toy_recipe, SETTINGS, runs=taken.runs, observer=taken).failures
    assert isinstance(failure, RunLocked)
    assert "on far since" in failure.problem
    taken.assert_theirs()


class BegunElsewhere(Observer):
    """After an epoch, another machine begins the run that is behind an address."""

    def __init__(self, there: RemoteRuns) -> None:
        self.there, self.sent = there, dict[str, bytes]()

    def epoch(self, epoch: Epoch) -> None:
        if self.sent:
            return
        self.there.fetch("toy")
        (run,) = (path.name for path in (self.there.folder / "toy").iterdir() if path.is_dir())
        self.there.begin(f"toy/{run}")
        self.sent = self.files()

    def files(self) -> dict[str, bytes]:
        runs = Path(self.there.address.removeprefix("file://"))
        return {str(path.relative_to(runs)): path.read_bytes() for path in runs.glob("toy/*/**/*") if path.is_file()}


def test_run_that_another_machine_began_behind_an_address_is_left_to_it(toy_recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra tlkit[shards]")
    address = f"file://{tmp_path}/away"
    watching = BegunElsewhere(RemoteRuns(address, tmp_path / "other"))
    (failure,) = api.apply(toy_recipe, SETTINGS, runs=address, observer=watching).failures
    assert isinstance(failure, RunLocked)
    assert failure.problem.startswith(f"{address}/toy/main-s0-")
    assert "has taken this over" in failure.problem
    assert watching.files() == watching.sent
    assert len(watching.sent) > 5
    done = api.apply(toy_recipe, SETTINGS, runs=address)  # a process that begins it later
    assert done.failures == ()
    assert done.result["arms"]["main"]["seeds"]["0"]["status"] == "finished"
