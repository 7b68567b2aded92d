"""The tracker from end to end: pytest's exit codes, and a slowdown that is really there."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import TOY, TOY_RECIPE
from toy_records import record

from benchmarks import track
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this machine's history."""
    monkeypatch.setattr(track, "_gpu", lambda: "")
    return tmp_path / "baselines" / benchmarks.kind()


def pytest_ends(monkeypatch: pytest.MonkeyPatch, code: int, written: str | None) -> None:
    """Let pytest end with a code and leave a JSON file."""

    def run(command: list[str], **_: object) -> SimpleNamespace:
        (path,) = (each.partition("=")[2] for each in command if each.startswith("--benchmark-json="))
        if written is not None:
            Path(path).write_text(written)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(track, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(track, "commit", lambda: "abc")


def results(*records: Record) -> str:
    """What pytest-benchmark leaves; of a benchmark that failed after it was timed, no figures."""
    info = [each.model_dump(exclude={"date", "commit"}) for each in records]
    return json.dumps(
        {"datetime": "2027-05-06T07:08:09", "benchmarks": [*({"extra_info": each} for each in info), {"extra_info": {}}]}
    )


def test_a_benchmark_that_failed_is_not_called_slower(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest's own code 1, that tests failed, is the tracker's that something became slower."""
    arguments = ["--baselines", str(tmp_path / "baselines")]
    benchmarks.rebase(folder, [record(4.0, arm="good"), record(4.0, arm="broken")])
    pytest_ends(monkeypatch, 1, results(record(4.0, arm="good")))
    assert track.main(arguments) == 2
    assert [each.arm for each in benchmarks.history(folder)] == ["good"], "what the others measured is kept"
    assert track.main([*arguments, "--update"]) == 2
    assert {each.arm for each in benchmarks.baseline(folder)} == {"good", "broken"}


def test_a_benchmark_that_failed_hides_no_slowdown(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.rebase(folder, [record(4.0)])
    pytest_ends(monkeypatch, 1, results(record(2.0)))
    assert track.main(["--baselines", str(tmp_path / "baselines")]) == 2
    assert "SLOWER" in capsys.readouterr().out


@pytest.mark.parametrize(
    "written", [None, "", '{"benchmarks": [', results()], ids=["no file", "empty", "cut off", "no figures"]
)
@pytest.mark.parametrize(("code", "expected"), [(1, 2), (2, 2), (4, 4)])
def test_without_results_the_code_says_so(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, code: int, expected: int
) -> None:
    pytest_ends(monkeypatch, code, written)
    assert track.main(["--baselines", str(tmp_path / "baselines")]) == expected
    assert not folder.exists()


# Appended to the toy backbone's module. Both sides of a benchmark import it, in processes of their own.
SLOWDOWN = """

import sys
import time

if sys.orig_argv[2:4] == ["benchmarks.side", "tlkit"]:

    class Late(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep({seconds})
            return super().forward(x)

    nn.ReLU = Late
"""


def late(plugin: Path, seconds: float) -> None:
    """Let tlkit's side of the benchmarks wait so long in each of the toy backbone's stages."""
    text = (TOY / "tlkit_toy_build.py").read_text()
    (plugin / "tlkit_toy_build.py").write_text(text + SLOWDOWN.format(seconds=seconds))


@pytest.mark.slow
def test_a_deliberate_slowdown_of_tlkit_fails_the_tracker(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real way: pytest, both sides in their processes, the history and the baseline."""
    recipes, plugin = tmp_path / "recipes", tmp_path / "plugin"
    for each in (recipes, plugin):
        each.mkdir()
    (recipes / "toy.toml").write_text(TOY_RECIPE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(plugin), str(TOY)]))
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)  # the pytest within is no worker: there pytest-benchmark times nothing
    arguments = ["--recipes", str(recipes), "--images", "36", "--rounds", "2", "--baselines", str(tmp_path / "baselines")]
    late(plugin, 0.0)
    assert track.main([*arguments, "--update"]) == 0
    late(plugin, 0.05)
    assert track.main(arguments) == 1
    said = capfd.readouterr().out
    before, after = benchmarks.history(folder)
    assert f"toy-main-eager: SLOWER: {1 - after.ratio / before.ratio:.0%} slower than the baseline" in said
    assert after.ratio < before.ratio
    assert (before.recipe, before.images, before.threads) == ("toy", 36, int(os.environ["OMP_NUM_THREADS"]))
