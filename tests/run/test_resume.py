"""A run that was stopped, however, goes on to the same bits as one that never was."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import tomli_w
import torch
from conftest import TOY, TOY_RECIPE, python_path
from safetensors.torch import load_file
from toy_observers import SignalAfter

from tlkit import api, files
from tlkit.cli import app
from tlkit.errors import Interrupted, RunFolderError
from tlkit.network import sealed_files
from tlkit.network.network import Network
from tlkit.plans import plan_json
from tlkit.record import run_folder
from tlkit.record.formats import ComputeFormat
from tlkit.record.timings import EarlierChoices
from tlkit.run import signals, start_network

pytestmark = pytest.mark.usefixtures("undrawn")

KINDS = {
    "adamw with dropout": ("head.options.dropout=0.3",),
    "adam, one cycle, smoothed, batch size auto": (
        "optimizer.name=adam", "schedule={name='one_cycle', epochs=3}", "loss.label_smoothing=0.1", "data.batch_size=auto",
    ),
    "sgd, nesterov, clipped, accumulated, warmed up": (
        "optimizer.name=sgd", "optimizer.nesterov=true", "optimizer.clip_norm=0.5", "optimizer.accumulate=2",
        "schedule.warmup_epochs=1.5", "head.options.dropout=0.3",
    ),
    "augmented, no validation images": (
        "data.augment=['random_crop', 'hflip']", "data.image_size=14", "data.split.validation=0.0",
    ),
    "phases": ("freeze.stem=true", "freeze.block1={epochs=2}", "freeze.backbone={epochs=1}"),
    "early stopping": ("early_stopping.patience=1", "data.options.noise=2.0", "schedule={name='constant', epochs=12}"),
}  # fmt: skip


# They hold seconds, or in the reason of a choice whether the recipe was applied before.
DIFFERING = {"metrics.jsonl", "plan.json"}
KEPT = "kept since this recipe was first applied: "


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs with one of the toy recipe, stopped after its first epoch; tests copy it."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "toy.toml").write_text(TOY_RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        with pytest.raises(Interrupted):
            api.apply(folder / "toy.toml", runs=folder / "runs", observer=SignalAfter(1))
        yield folder / "runs"


@pytest.fixture
def stopped(toy_recipe: Path, begun: Path) -> Path:
    """The folder of a run of the toy recipe that was stopped after its first epoch."""
    return _folder(shutil.copytree(begun, toy_recipe.parent / "runs"))


def _folder(runs: Path) -> Path:
    (folder,) = (path.parent for path in runs.glob("*/*/resolved.toml"))
    return folder


def _result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def _metrics(folder: Path) -> list[dict]:
    """Every line without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "images_per_second", "times")} for line in lines
    ]


def _without_clock(result: dict) -> dict:
    """A result without its seconds and times, and without the hashes of files that may differ."""
    files = {
        name: each
        for name, each in result["files"].items()
        if name not in DIFFERING and not name.startswith("checkpoint/state")
    }
    assert len(files) + len(DIFFERING) + 1 == len(result["files"]), "and one state"
    return {**result, "seconds": 0, "times": {}, "files": files}


def _forget_hashes(folder: Path) -> None:
    """Take sizes and hashes from a run's result: else a file that a test changes is damaged."""
    (folder / "result.json").write_text(json.dumps(_result(folder) | {"files": {}}))


def _assert_same(folder: Path, reference: Path) -> None:
    (state,) = run_folder.states(reference)
    for name in ("weights.safetensors", f"checkpoint/{state.name}"):
        ours, theirs = load_file(folder / name), load_file(reference / name)
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key]), f"{name}: {key}"
    assert _metrics(folder) == _metrics(reference)
    assert _without_clock(_result(folder)) == _without_clock(_result(reference))
    for name in ("recipe.toml", "resolved.toml", "plan.json", "split.json"):
        ours, theirs = ((each / name).read_text().replace(KEPT, "") for each in (folder, reference))
        assert ours == theirs


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_stopped_between_epochs_and_continued_gives_the_same_bits(toy_recipe: Path, settings: tuple[str, ...]) -> None:
    settings, folder = ("schedule.epochs=3", *settings), toy_recipe.parent
    api.apply(toy_recipe, settings, runs=folder / "whole")
    with pytest.raises(Interrupted, match="after 1 of"):
        api.apply(toy_recipe, settings, runs=folder / "stopped", observer=SignalAfter(1))
    assert len(_metrics(_folder(folder / "stopped"))) == 1
    torch.rand(3)  # what others draw meanwhile must not matter
    done = api.apply(toy_recipe, settings, runs=folder / "stopped")
    assert done.changed
    assert _result(_folder(folder / "stopped"))["status"] == "finished"
    _assert_same(_folder(folder / "stopped"), _folder(folder / "whole"))


def test_stopped_at_every_epoch_and_within_one_gives_the_same_bits(toy_recipe: Path) -> None:
    settings, folder = ("schedule.epochs=4", "data.augment=['hflip']"), toy_recipe.parent
    api.apply(toy_recipe, settings, runs=folder / "whole")
    for epoch, step in ((1, 2), (1, None), (2, 5), (2, None), (3, 1), (3, None)):
        within = f"{epoch - 1} of 4 epochs and {step} of 5 steps of the next, which are saved"
        with pytest.raises(Interrupted, match=within if step else f"after {epoch} of 4 epochs, which are saved"):
            api.apply(toy_recipe, settings, runs=folder / "stopped", observer=SignalAfter(epoch, step=step))
    assert len(_metrics(_folder(folder / "stopped"))) == 3
    api.apply(toy_recipe, settings, runs=folder / "stopped")
    _assert_same(_folder(folder / "stopped"), _folder(folder / "whole"))


class AskAfter(SignalAfter):
    """Asks to save in the middle of an epoch, and looks at the checkpoints a step later."""

    def __init__(self, runs: Path) -> None:
        super().__init__(2, step=2, number=signal.SIGUSR1)
        self.runs, self.states = runs, list[str]()

    def step(self, epoch: int, step: int) -> None:
        super().step(epoch, step)
        if (epoch, step) == (2, 3):
            self.states = [path.name for path in run_folder.states(_folder(self.runs))]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 here")
def test_sigusr1_saves_in_the_middle_of_an_epoch_and_goes_on(toy_recipe: Path) -> None:
    observer = AskAfter(toy_recipe.parent / "runs")
    before = signal.getsignal(signal.SIGUSR1)
    done = api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=observer)
    assert observer.states == ["state-1-2.safetensors", "state-1.safetensors"]
    assert done.result["arms"]["main"]["seeds"]["0"]["status"] == "finished"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_run_is_saved_within_an_epoch_after_the_time_that_is_asked_for(toy_recipe: Path) -> None:
    observer, runs = AskAfter(toy_recipe.parent / "runs"), toy_recipe.parent / "runs"
    observer._number = signal.SIGWINCH  # that does nothing
    api.apply(toy_recipe, runs=runs, observer=observer, checkpoint_every=1e-6)
    assert observer.states == ["state-1-2.safetensors", "state-1-1.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_the_checkpoint_before_a_damaged_one_is_used_and_that_is_said(toy_recipe: Path, damage: str) -> None:
    settings, folder = ("schedule.epochs=3", "data.augment=['hflip']"), toy_recipe.parent
    api.apply(toy_recipe, settings, runs=folder / "whole")
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, settings, runs=folder / "runs", observer=SignalAfter(2, step=3), checkpoint_every=1e-6)
    run = _folder(folder / "runs")
    last, before = run_folder.states(run)
    assert (last.name, before.name) == ("state-1-3.safetensors", "state-1-2.safetensors")
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content[:-1] if damage == "cut" else content)
    observer = SignalAfter(99)
    api.apply(toy_recipe, settings, runs=folder / "runs", observer=observer)
    assert f"{last}: is damaged: it has other content than when it was written." in observer.notes[0]
    assert observer.notes[0].endswith("Training continues from state-1-2.safetensors")
    assert observer.notes[1] == "main, seed 0: continues in epoch 2 after step 2 of 5"
    _assert_same(run, _folder(folder / "whole"))


def test_checkpoint_of_an_older_version_is_refused_by_name(toy_recipe: Path, stopped: Path) -> None:
    (state,) = run_folder.states(stopped)
    state.rename(state.with_name("state.safetensors"))
    with pytest.raises(
        RunFolderError, match=r"state\.safetensors: is of format 1, written by another version of tlkit"
    ) as error:
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    assert "this one reads format 2" in str(error.value)


def test_early_stopping_ends_a_run_where_no_epoch_was_better(toy_recipe: Path) -> None:
    api.apply(toy_recipe, KINDS["early stopping"], runs=toy_recipe.parent / "runs")
    folder = _folder(toy_recipe.parent / "runs")
    keys = [(line["validation"]["accuracy"], -line["validation"]["loss"]) for line in _metrics(folder)]
    assert len(keys) < 12
    assert max(keys[:-1]) >= keys[-1]
    assert all(keys[index] > max(keys[:index]) for index in range(1, len(keys) - 1)), (
        "patience is 1: each one before was better"
    )
    assert _result(folder)["epochs"] == len(keys)
    assert _result(folder)["best_epoch"] == len(keys) - 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_is_an_exit_code_and_a_message_of_what_is_saved(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    runs = toy_recipe.parent / "runs"
    monkeypatch.setattr("tlkit.reports.progress.TerminalObserver.epoch", SignalAfter(2, number=number).epoch)
    monkeypatch.setattr(sys, "argv", ["tlkit", "apply", str(toy_recipe), "--set", "schedule.epochs=5", "--runs", str(runs)])
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        app.main()
    assert stopped.value.code == code
    output = capsys.readouterr()
    assert output.out == ""
    assert f"main, seed 0: stopped by {number.name} after 2 of 5 epochs, which are saved." in output.err
    assert "run the same command again to continue" in output.err
    assert signal.getsignal(number) == before
    result = _result(_folder(runs))
    assert (result["status"], result["epochs"]) == ("interrupted", 2)
    recipe = json.loads((runs / "toy" / "result.json").read_text())
    assert recipe["arms"]["main"]["seeds"]["0"]["status"] == "interrupted"
    assert recipe["arms"]["main"]["test"] == {}


def test_what_has_no_epochs_is_stopped_without_one(toy_recipe: Path) -> None:
    given = ["head.kind=knn", "head.options={}"]
    with pytest.raises(Interrupted, match="main, seed 0: stopped by SIGTERM before its head was solved; nothing is saved yet"):
        api.apply(toy_recipe, given, runs=toy_recipe.parent / "runs", observer=SignalAfter(1, step=1))


def test_arms_after_the_stopped_one_do_not_begin(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nfreeze = { stem = true }\n")
    runs = toy_recipe.parent / "runs"
    with pytest.raises(Interrupted, match="a, seed 0: stopped by SIGTERM after 1 of 2 epochs"):
        api.apply(toy_recipe, runs=runs, observer=SignalAfter(1))
    assert [path.name[:4] for path in (runs / "toy").iterdir() if path.is_dir()] == ["a-s0"]
    result = api.apply(toy_recipe, runs=runs).result
    assert {arm: run["seeds"]["0"]["status"] for arm, run in result["arms"].items()} == {"a": "finished", "b": "finished"}


PROCESS = """
import os, signal, sys
from pathlib import Path
from tlkit import cli
from tlkit.reports import progress
def step(self, epoch, step):
    if (epoch, step) == (2, 3):
        Path("reached").touch()
        {act}
progress.TerminalObserver.step = step
cli.main()
"""


def _process(recipe: Path, act: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS.format(act=act), "apply", str(recipe), "--set", "schedule.epochs=3"],
        cwd=recipe.parent, env={**os.environ, "PYTHONPATH": python_path(TOY)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_process_stops_when_another_sends_sigterm(toy_recipe: Path) -> None:
    process = _process(toy_recipe, "import time; time.sleep(0.2)")
    for _ in range(1200):
        if (toy_recipe.parent / "reached").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 143, text
    assert re.search("stopped by SIGTERM after 1 of 3 epochs and [34] of 5 steps of the next, which are saved", text)
    assert "Traceback" not in text


@pytest.mark.parametrize(("key", "value"), [("threads", 999), ("torch", "1.0"), ("processor", "abacus"), ("arithmetic", "AVX")])
def test_continued_on_something_else_says_that_it_is_not_exact(
    toy_recipe: Path, stopped: Path, key: str, value: object
) -> None:
    known = tomllib.loads((stopped / "resolved.toml").read_text())
    known["machine"][key] = value
    (stopped / "resolved.toml").write_text(tomli_w.dumps(known))
    _forget_hashes(stopped)
    observer = SignalAfter(99)
    done = api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=observer)
    assert done.result["arms"]["main"]["seeds"]["0"]["exact"] is False
    assert "main, seed 0: continues after epoch 1, not exactly" in " ".join(observer.notes)


def test_run_that_another_process_went_on_with_in_another_form_is_left_alone(
    toy_recipe: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    monkeypatch.setattr(
        run_folder, "earlier_choices", lambda folder: EarlierChoices(16, ComputeFormat("bfloat16"))
    )  # as it was when this process looked
    with pytest.raises(RunFolderError, match="another process went on with this run meanwhile, in another form"):
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("stopped")
def test_continued_here_says_that_it_is_exact(toy_recipe: Path) -> None:
    observer = SignalAfter(99)
    done = api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=observer)
    assert done.result["arms"]["main"]["seeds"]["0"]["exact"] is True
    assert observer.notes == ["main, seed 0: continues after epoch 1"]


def test_seconds_of_a_continued_run_are_of_all_its_epochs(toy_recipe: Path, stopped: Path) -> None:
    api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    lines = [json.loads(line) for line in (stopped / "metrics.jsonl").read_text().splitlines()]
    whole = sum(line["seconds"] for line in lines)
    assert whole <= _result(stopped)["seconds"] + 1e-3 < whole + 1.0, "and of writing the last epoch and the weights"


def _rewrite(path: Path, tensors: dict[str, torch.Tensor], beside: dict[str, str]) -> None:
    """Write a checkpoint with other texts and a checksum that fits, and its own epochs and checksum of the frozen weights."""
    before = sealed_files.checked(path)
    sealed_files.write(path, tensors, {name: before[name] for name in ("format", "fixed", "lines")} | beside)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _no_scores(path: Path) -> None:
    _rewrite(path, load_file(path), {"progress": "{}"})


def _other_scores(path: Path) -> None:
    _rewrite(path, load_file(path), {"progress": "{}", "seconds": "[1, 0]", "scores": '{"epoch": 1}'})


def _no_number(path: Path) -> None:
    _rewrite(path, load_file(path), {"progress": "{}", "seconds": '["soon", 0]', "scores": "{}"})


def _no_json(path: Path) -> None:
    _rewrite(path, load_file(path), {"progress": "{}", "seconds": "[1, 0]", "scores": "{"})


def _no_tensors(path: Path) -> None:
    _rewrite(path, {"network/x": torch.zeros(1)}, {"progress": "{}", "seconds": "[1, 0]", "scores": "{}"})


def _no_file(path: Path) -> None:
    path.write_text("not safetensors")


@pytest.mark.parametrize("damage", [_cut, _no_scores, _other_scores, _no_number, _no_json, _no_tensors, _no_file])
def test_damaged_checkpoint_is_a_message_that_names_it(toy_recipe: Path, stopped: Path, damage: Callable[[Path], None]) -> None:
    damage(stopped / "checkpoint" / "state-1.safetensors")
    weights = (stopped / "weights.safetensors").read_bytes()
    with pytest.raises(RunFolderError, match=r"state-1\.safetensors: .*") as error:
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    assert "move the run's folder away" in str(error.value)
    assert error.value.exit_code == 1
    assert (stopped / "weights.safetensors").read_bytes() == weights


FROZEN = ("freeze={backbone=true}",)


def _interrupted(recipe: Path) -> Path:
    """A run of a frozen backbone that was stopped after its first epoch."""
    with pytest.raises(Interrupted):
        api.apply(recipe, FROZEN, runs=recipe.parent / "runs", observer=SignalAfter(1))
    return _folder(recipe.parent / "runs")


def test_checkpoint_holds_only_what_can_change(toy_recipe: Path) -> None:
    folder = _interrupted(toy_recipe)
    state, best = (load_file(folder / "checkpoint" / name) for name in ("state-1.safetensors", "best-1.safetensors"))
    assert best.keys() == {"head.weight", "head.bias"}
    assert {name.split("/")[1].partition("/")[0] for name in state} == best.keys()
    assert {"fc.weight", "conv1.weight"} < load_file(folder / "weights.safetensors").keys()


def test_weights_are_written_once_at_the_end(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    replacing = files.replacing

    def counted(path: Path) -> AbstractContextManager[BinaryIO]:
        written.append(path.name)
        return replacing(path)

    monkeypatch.setattr(files, "replacing", counted)
    done = api.apply(toy_recipe, (*FROZEN, "schedule.epochs=3"), runs=toy_recipe.parent / "runs")
    assert written.count("weights.safetensors") == 1
    assert [name for name in written if name.startswith("state")] == [f"state-{epoch}.safetensors" for epoch in (1, 2, 3)]
    assert written.index("weights.safetensors") > written.index("state-3.safetensors")
    assert done.result["arms"]["main"]["seeds"]["0"]["epochs"] == 3


def test_weights_of_an_interrupted_run_are_those_of_its_best_epoch(toy_recipe: Path) -> None:
    folder = _interrupted(toy_recipe)
    weights, best = (load_file(folder / name) for name in ("weights.safetensors", "checkpoint/best-1.safetensors"))
    assert all(torch.equal(weights[name.replace("head.", "fc.")], tensor) for name, tensor in best.items())


def test_run_does_not_continue_on_other_frozen_weights(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a random backbone would be that another version of torch draws otherwise."""
    _interrupted(toy_recipe)
    build = start_network.build

    def changed(*arguments: Any, **named: Any) -> Network:
        network = build(*arguments, **named)
        with torch.no_grad():
            next(network.stages.parameters()).view(-1)[0] += 1e-3
        return network

    monkeypatch.setattr(start_network, "build", changed)
    with pytest.raises(RunFolderError, match=r"state-1\.safetensors: cannot be continued from") as error:
        api.apply(toy_recipe, FROZEN, runs=toy_recipe.parent / "runs")
    assert "its frozen weights are others than those that the run began with" in str(error.value)


def test_finished_run_whose_weights_are_lost_gets_them_from_its_checkpoint(toy_recipe: Path) -> None:
    folder = toy_recipe.parent / "runs"
    api.apply(toy_recipe, FROZEN, runs=folder)
    path = _folder(folder) / "weights.safetensors"
    before = path.read_bytes()
    path.unlink()
    assert api.apply(toy_recipe, FROZEN, runs=folder).changed
    assert path.read_bytes() == before


def test_best_epoch_of_a_checkpoint_that_is_missing_is_named(toy_recipe: Path) -> None:
    folder = _interrupted(toy_recipe)
    (folder / "checkpoint" / "best-1.safetensors").unlink()
    _forget_hashes(folder)
    with pytest.raises(RunFolderError, match="cannot be continued from") as error:
        api.apply(toy_recipe, FROZEN, runs=toy_recipe.parent / "runs")
    assert "best-1.safetensors, the weights of the best epoch, is missing" in str(error.value)


def test_recipe_split_and_plan_of_a_run_are_whole_after_it_continued(toy_recipe: Path, stopped: Path) -> None:
    """A process that was killed left no hash of them."""
    right = {name: (stopped / name).read_bytes() for name in ("recipe.toml", "split.json")}
    for name in right:
        (stopped / name).write_bytes(right[name].replace(b"0", b"1", 1))
    (stopped / "plan.json").write_text("{")
    api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    assert {name: (stopped / name).read_bytes() for name in right} == right
    assert plan_json.from_json((stopped / "plan.json").read_text()).epochs == 2


def test_resolved_toml_that_tells_of_another_run_is_named(toy_recipe: Path, stopped: Path) -> None:
    path = stopped / "resolved.toml"
    content = path.read_text().partition("\n")[2]  # without its checksum, as earlier versions wrote it
    path.write_text(content.replace('"0"', '"9"', 1).replace('"class0"', '"class9"', 1))
    result = _result(stopped) | {"files": {}, "status": "running"}  # as a process that was killed leaves it
    (stopped / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunFolderError, match=r"resolved\.toml: is damaged: another classes than this run has"):
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs")


@pytest.mark.parametrize("whole", [False, True], ids=["half a line", "a line whose checkpoint was never written"])
def test_metrics_of_an_epoch_that_was_not_saved_are_dropped(toy_recipe: Path, stopped: Path, whole: bool) -> None:
    path = stopped / "metrics.jsonl"
    line = path.read_text().replace('"epoch": 1', '"epoch": 2')
    path.write_text(path.read_text() + (line if whole else line[:20]))
    api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    assert [line["epoch"] for line in _metrics(stopped)] == [1, 2]


def test_run_leaves_the_signal_handlers_as_they_were(toy_recipe: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    api.apply(toy_recipe, ["schedule.epochs=1"], runs=toy_recipe.parent / "runs")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def default_handler() -> Iterator[None]:
    """Python's own handler of SIGINT: an unfinished `tlkit.epochs` of another test may hold the signal until it is collected."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_signal_stops_at_once(default_handler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with signals.watching() as watch:
        signal.raise_signal(signal.SIGINT)
        assert watch.signum == signal.SIGINT
        signal.raise_signal(signal.SIGINT)  # a launcher's, of what the terminal told too
        monkeypatch.setattr(signals, "_APART", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="stopped by SIGINT"):
            watch()
