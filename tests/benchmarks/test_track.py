"""The tracker from end to end: what it says before it runs, what it keeps, exit codes, and a slowdown that is really there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TOY, TOY_RECIPE, python_path
from toy_records import record

from benchmarks import machine, pair, session, track
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record

SECONDS = {"broken": None, "good": 1.0, "other": 1.0}  # of tlkit's epoch, where the plain loop's takes 4; None: it fails


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this machine's history."""
    monkeypatch.setattr(machine, "gpu", lambda: "")
    return tmp_path / "baselines" / benchmarks.kind()


@pytest.fixture
def tracked(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call the tracker on a recipe with arms that take no time: both sides only say how long they took."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "toy.toml").write_text(TOY_RECIPE + "".join(f"[arms.{name}]\n" for name in SECONDS))
    monkeypatch.setattr(machine, "rates", lambda: {"float32": 1e12})
    monkeypatch.setattr(track, "commit", lambda: "abc")
    monkeypatch.setattr(pair, "measure", measured)
    return lambda *options: track.main(["--recipes", str(recipes), "--baselines", str(folder.parent), *options])


def measured(job: Path, *, rounds: int, captured: bool, report: Callable[[], None]) -> tuple[pair.Rounds, pair.Rounds]:
    """Answer as both sides do."""
    seconds = next(each for name, each in SECONDS.items() if f"toy-{name}.toml" in job.read_text())
    if seconds is None:
        raise RuntimeError("the tlkit side of the benchmark ended with code 1; see above")
    ours = {"first": seconds, "later": seconds, "peak_anonymous": 1, "form": {}, "threads": torch.get_num_threads()}
    ours |= {"versions": {"torch": torch.__version__}}
    return [{"seconds": 4.0, "peak_anonymous": 1}] * rounds, [ours] * rounds


def before(ratio: float = 4.0, *, arm: str, asked: int = 36, torch_version: str = torch.__version__) -> Record:
    """A record of the baseline."""
    conditions = {"threads": torch.get_num_threads(), "versions": {"torch": torch_version}}
    return record(ratio, recipe="toy", arm=arm, asked=asked, images=36, **conditions)


def test_a_benchmark_that_failed_is_not_called_slower(
    tracked: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.rebase(folder, [before(arm="good"), before(arm="broken")])
    assert tracked("--only", "broken", "--only", "good") == 2
    assert [each.arm for each in benchmarks.history(folder)] == ["good"], "what the others measured is kept"
    assert "toy-broken-eager: failed:" in capsys.readouterr().err
    assert tracked("--update") == 2
    assert {each.arm for each in benchmarks.baseline(folder)} == {"good", "broken", "other"}


def test_a_benchmark_that_failed_hides_no_slowdown(
    tracked: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.rebase(folder, [before(8.0, arm="good"), before(arm="broken")])
    assert tracked("--only", "broken", "--only", "good") == 2
    assert "toy-good-eager: SLOWER: 50% slower" in capsys.readouterr().out
    assert tracked("--only", "good") == 1


def test_a_session_that_was_stopped_keeps_what_it_had_and_can_go_on(
    tracked: Callable[..., int], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.rebase(folder, [before(arm="good"), before(arm="other")])
    asked: list[str] = []

    def stopped(job: Path, **others: object) -> tuple[pair.Rounds, pair.Rounds]:
        asked.append(next(name for name in SECONDS if f"toy-{name}.toml" in job.read_text()))
        if asked == ["good", "other"]:
            raise KeyboardInterrupt
        return measured(job, **others)

    monkeypatch.setattr(pair, "measure", stopped)
    assert tracked("--only", "good", "--only", "other") == 130
    assert "Stopped. 1 of 2 benchmarks are kept; --continue measures the others." in capsys.readouterr().err
    assert [each.arm for each in benchmarks.history(folder)] == ["good"]
    assert tracked("--only", "good", "--only", "other", "--continue") == 0
    assert asked == ["good", "other", "other"]
    good, other = benchmarks.history(folder)
    assert (good.arm, other.arm, good.date) == ("good", "other", other.date)
    out = capsys.readouterr().out
    assert "1 of 2 benchmarks were measured before" in out
    assert "toy-good-eager" in out
    assert "toy-other-eager" in out, "the table is the whole session's"
    assert tracked("--only", "good", "--continue", "--rounds", "2") == 0
    assert asked[3:] == ["good"], "with other settings it is measured again"


@pytest.mark.parametrize(
    ("known", "options", "reason"),
    [
        ([], [], "no baseline on this kind of machine"),
        ([before(arm="good")], ["--images", "18"], "18 images at most, the baseline 36"),
        ([before(arm="good", torch_version="1.0")], [], f"torch {torch.__version__}, the baseline has 1.0"),
    ],
    ids=["no baseline", "images", "torch"],
)
def test_what_cannot_be_compared_is_said_before_it_runs_and_not_kept_in_the_history(
    tracked: Callable[..., int],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    known: list[Record],
    options: list[str],
    reason: str,
) -> None:
    benchmarks.rebase(folder, known)
    said = []

    def listening(job: Path, **others: object) -> tuple[pair.Rounds, pair.Rounds]:
        said.append(capsys.readouterr().out)
        return measured(job, **others)

    monkeypatch.setattr(pair, "measure", listening)
    assert tracked("--only", "good", *options) == 0
    assert "1 of 1 benchmarks cannot be compared with the baseline; their results are not added to the history" in said[0]
    assert f"  {reason}: toy-good-eager" in said[0]
    assert not benchmarks.history(folder)
    assert [each.arm for each in benchmarks.read(folder / session.SESSION)] == ["good"]
    assert tracked("--only", "good", "--keep", *options) == 0
    assert [each.arm for each in benchmarks.history(folder)] == ["good"]


def test_another_number_of_images_is_said_as_soon_as_it_is_known(
    tracked: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe changed: it asks for as many as the baseline did and gets others."""
    benchmarks.rebase(folder, [before(arm="good").model_copy(update={"images": 30})])
    assert tracked("--only", "good", "--rounds", "2") == 0
    err = capsys.readouterr().err
    assert "toy-good-eager: 36 images, 2 rounds; cannot be compared: 36 images, the baseline has 30" in err
    assert not benchmarks.history(folder)


def test_the_list_runs_nothing_and_says_what_is_not_compared(
    tracked: Callable[..., int], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.rebase(folder, [before(arm="good")])
    monkeypatch.setattr(pair, "measure", None)
    assert tracked("--list") == 0
    rows = {row[0]: row[1:] for row in map(str.split, capsys.readouterr().out.splitlines())}
    assert rows["toy-good-eager"] == ["36", "4.00"]
    assert rows["toy-other-eager"] == ["128", *session.NO_BASELINE.split()]
    assert sorted(path.name for path in folder.iterdir()) == [benchmarks.BASELINE]


def test_wrong_input_is_a_message_and_not_called_slower(
    tracked: Callable[..., int], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--rounds", "0"], ["--images", "-1"], ["--recipes", str(tmp_path / "none")]):
        with pytest.raises(SystemExit, match="2"):
            tracked("--list", *option)
    err = capsys.readouterr().err
    assert 'argument --rounds: "0" is not a whole number of 1 or more' in err
    assert f"{tmp_path / 'none'}: holds no recipe with an arm that a plain loop can train" in err
    (tmp_path / "recipes" / "half.toml").write_text("[data")
    assert tracked("--list") == track.FAILED
    assert "half.toml: is not a recipe: " in capsys.readouterr().err
    folder.mkdir(parents=True)
    (folder / benchmarks.BASELINE).write_text("{")
    assert tracked("--list") == track.FAILED
    assert capsys.readouterr().err.startswith(f"{folder / benchmarks.BASELINE}: is damaged")


def test_a_name_that_matches_nothing_is_a_usage_error(tracked: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        tracked("--only", "godo")
    assert "--only godo: matches no benchmark; --list shows their names" in capsys.readouterr().err


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
    """The real way: both sides in their processes, the history and the baseline."""
    recipes, plugin = tmp_path / "recipes", tmp_path / "plugin"
    for each in (recipes, plugin):
        each.mkdir()
    (recipes / "toy.toml").write_text(TOY_RECIPE)
    monkeypatch.setenv("PYTHONPATH", python_path(plugin, TOY))
    monkeypatch.setattr(machine, "rates", lambda: {"float32": 1e12})
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
