"""Loggers: what each receives and writes, and that none of them changes or ends a run."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Cli
from pages import Page
from toy_observers import Notes, Stops

from tlkit import api, testing
from tlkit.errors import PluginError, RecipeError, TlkitError
from tlkit.plugin import LoggedEnd, LoggedRun, Logger, registry
from tlkit.record import run_list
from tlkit_loggers import MlflowOptions, TensorBoardOptions

FAILING = """
from tlkit.plugin import Logger

class Failing:
    def __init__(self, run, options):
        self.calls = 0
    def epoch(self, values):
        self.calls += 1
        raise RuntimeError(f"the disk of the logger is full, call {self.calls}")
    def end(self, end):
        raise RuntimeError("never called")

def opens_nothing(run, options):
    raise SystemExit("no server")

failing = Logger(open="failing_loggers:Failing")
closed = Logger(open="failing_loggers:opens_nothing")
half = Logger(open="failing_loggers:half_made")
half_made = lambda run, options: object()
absent = Logger(open="failing_loggers:Failing", needs="no_such_library", install="tlkit[absent]")
"""

APPENDING = """
from tlkit.plugin import Logger

class Appending:
    def __init__(self, run, options):
        self.path = run.folder / "log" / "lines"
        self.path.parent.mkdir()
    def epoch(self, values):
        with self.path.open("a") as file:
            file.write("epoch")
    def end(self, end):
        with self.path.open("a") as file:
            file.write("end")

appending = Logger(open="appending_loggers:Appending")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Put loggers of a distribution on sys.path: its name, its module's code, its entry points."""
    added: list[str] = []
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)

    def put(module: str, code: str, names: str) -> None:
        info = tmp_path / "site" / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        points = "".join(f"{name} = {module}:{name}\n" for name in names.split())
        (info / "entry_points.txt").write_text(f"[tlkit.loggers]\n{points}")
        (tmp_path / "site" / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / "site")
        registry.scan.cache_clear()
        added.append(module)

    yield put
    registry.scan.cache_clear()
    for module in added:
        sys.modules.pop(module, None)


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def quick(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose result is not drawn, which takes longer than its run."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    return toy_recipe


def test_csv_has_the_numbers_of_every_epoch(quick: Path) -> None:
    applied = api.apply(quick, runs=quick.parent / "runs", log="csv")
    (run,) = applied.folder.glob("main-*")
    lines, rows = lines_of(run), rows_of(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for line, row in zip(lines, rows, strict=True):
        assert float(row["train/loss"]) == line["train"]["loss"]
        assert float(row["validation/accuracy"]) == line["validation"]["accuracy"]
        assert float(row["lr/head"]) == line["lr"]["head"]


def test_log_changes_no_digest_and_no_bit(quick: Path) -> None:
    first = api.apply(quick, runs=quick.parent / "a")
    quick.write_text(quick.read_text().replace("\n[backbone]", '\n[[loggers]]\nname = "csv"\n\n[backbone]', 1))
    second = api.apply(quick, runs=quick.parent / "b")
    (one,), (other,) = first.folder.glob("main-*"), second.folder.glob("main-*")
    assert one.name == other.name
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert (other / "metrics.csv").is_file()
    assert not (one / "metrics.csv").exists()
    assert not api.apply(quick, runs=quick.parent / "b").changed


@pytest.mark.parametrize("name", ["appending", "tensorboard"])
def test_what_a_logger_writes_at_the_end_damages_no_run(quick: Path, install: Callable[..., None], name: str) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboard", reason="needs the extra tlkit[tensorboard]")
    install("appending_loggers", APPENDING, "appending")
    runs = quick.parent / "runs"
    folder = api.apply(quick, runs=runs, log=name).folder
    (path,) = folder.glob("main-*/result.json")
    run = path.parent
    logged = [each for each in run.rglob("*") if each.is_file() and each.relative_to(run).parts[0] in ("log", "tensorboard")]
    told, record = Notes(), json.loads(path.read_text())
    as_earlier = {
        each.relative_to(run).as_posix(): {"bytes": 5, "sha256": "0"} for each in logged
    }  # without what the end added
    assert logged
    for files in (record["files"], record["files"] | as_earlier):
        path.write_text(json.dumps(record | {"files": files}))
        assert not api.apply(quick, runs=runs, log=name, verify=True, observer=told).changed
        assert [each.error for each in run_list.below(runs)] == [""]
    assert not [note for note in told.notes if "made again" in note or "damaged" in note]


def test_continued_run_has_the_epochs_of_before(quick: Path) -> None:
    runs = quick.parent / "runs"
    with pytest.raises(KeyboardInterrupt):
        api.apply(quick, runs=runs, observer=Stops())
    applied = api.apply(quick, runs=runs, log=["csv"])
    (run,) = applied.folder.glob("main-*")
    assert [row["epoch"] for row in rows_of(run)] == ["1", "2"]


def test_logger_that_fails_ends_no_run_and_is_said_once(quick: Path, install: Callable[..., None]) -> None:
    install("failing_loggers", FAILING, "failing closed half")
    told = Notes()
    applied = api.apply(quick, runs=quick.parent / "runs", log=["failing", "closed", "half", "csv"], observer=told)
    (run,) = applied.folder.glob("main-*")
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    assert len(rows_of(run)) == 2
    for name, why in (
        ("failing", "RuntimeError: the disk of the logger is full, call 1"),
        ("closed", "SystemExit: no server"),
        ("half", "failing_loggers:half_made: gave object, which has no method epoch"),
    ):
        (note,) = [each for each in told.notes if f'logger "{name}"' in each]
        assert note.startswith(f'main, seed 0: logger "{name}" failed and logs no more of this run: ')
        assert why in note


def test_missing_library_is_said_before_anything_begins(quick: Path, install: Callable[..., None], run: Cli) -> None:
    install("failing_loggers", FAILING, "absent")
    code, _, text = run("apply", quick, "--log", "absent")
    assert code == 1
    assert text == "logger \"absent\": needs no_such_library, which is not installed.\n  pip install 'tlkit[absent]'\n"
    assert not (quick.parent / "runs").exists()


def test_wrong_loggers_are_named_with_the_other_mistakes(quick: Path, run: Cli) -> None:
    tables = '\n[[loggers]]\nname = "cvs"\n[[loggers]]\nname = "tensorboard"\noptions = { folders = "x" }\n\n[backbone]'
    quick.write_text(quick.read_text().replace("\n[backbone]", tables, 1).replace("head = 1e-2", "heads = 1e-2"))
    code, _, text = run("validate", quick)
    assert code == 1
    assert 'loggers[0].name: there is no logger "cvs" installed.' in text
    assert 'did you mean "csv"?' in text
    assert "loggers[1].options.folders: there is no such key" in text
    assert "lr_groups" in text
    with pytest.raises(TlkitError, match='log="boards": there is no logger "boards" installed'):
        api.apply(quick.parent / _fresh(quick), log="boards")


def _fresh(recipe: Path) -> str:
    from conftest import TOY_RECIPE

    recipe.with_name("fresh.toml").write_text(TOY_RECIPE)
    return "fresh.toml"


def test_table_that_is_no_logger_is_a_message(quick: Path) -> None:
    with pytest.raises(RecipeError, match=r"loggers.*name"):
        api.plan(quick, ["loggers=[{ options = {} }]"])


def test_logger_of_the_page_is_short_and_logs_a_run(quick: Path, install: Callable[..., None], monkeypatch: Any) -> None:
    (block,) = [each for each in Page(ROOT / "docs" / "plugins.md").blocks if each.marker == "plugin: tlkit_status.py"]
    assert len(block.text.splitlines()) < 30
    install("tlkit_status", block.text, "status")
    monkeypatch.chdir(quick.parent)
    applied = api.apply(quick, log="status")
    lines = [json.loads(line) for line in Path("status.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["epoch", "epoch", "finished"]
    (run,) = applied.folder.glob("main-*")
    assert {line["run"] for line in lines} == {run.name}
    assert lines[-1]["test/accuracy"] == json.loads((run / "result.json").read_text())["test"]["accuracy"]


def test_check_holds_a_logger_to_the_contract(install: Callable[..., None]) -> None:
    install("failing_loggers", FAILING, "failing")
    with pytest.raises(PluginError, match=r"its method epoch fails: RuntimeError: the disk"):
        list(testing.check("failing"))
    assert list(testing.check_logger("csv", registry.get(Logger, "csv")))[-1] == "takes the end of the run"


def run_in(folder: Path, *, before: int = 0) -> LoggedRun:
    """A run as a logger is told of it."""
    return LoggedRun("ants", "main", 0, None, folder, {"optimizer.name": "adamw"}, [values(n) for n in range(1, before + 1)])


def values(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "train/loss": 1 / epoch, "lr/head": 0.1}


KERNELS = np.linspace(-2, 2, 2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3)
END = LoggedEnd(
    "finished",
    {"best_epoch": 2, "test/accuracy": 0.75},
    {
        "epoch": 2, "last": 3, "kernels": [{"name": "conv1"}],
        "map": {"labels": ["ant", "bee", "ant"], "said": ["ant", "ant", "bee"]},
    },
    {"kernel0_before": KERNELS, "kernel0_last": KERNELS / 2, "kernel0_best": KERNELS / 4, "map_points": np.eye(3)[:, :2]},
)  # fmt: skip


def test_tensorboard_has_scalars_kernels_and_the_map(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tlkit[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from tlkit_loggers import tensorboard_files

    for before, after in ((0, (1, 2)), (2, (3,))):  # the second process continues the run
        files = tensorboard_files.open_(run_in(tmp_path, before=before), TensorBoardOptions())
        for epoch in after:
            files.epoch(values(epoch))
        files.end(END)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(each.step, each.value) for each in found.Scalars("train/loss")] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)),
    ]  # fmt: skip
    pictures = {tag for tag in found.Tags()["images"] if tag.startswith("kernels/conv1/")}
    assert {tag.split("/")[2] for tag in pictures} == {"before", "last", "best"}
    shown = tensorboard_files.shown(KERNELS, 2.0)
    assert shown.shape == (2, 24, 24, 3)
    assert (shown[0, 0, 0, 0], shown[-1, -1, -1, -1]) == (0, 1)
    (table,) = (tmp_path / "tensorboard").rglob("metadata.tsv")
    assert table.read_text().splitlines() == ["label\tpredicted", "ant\tant", "bee\tant", "ant\tbee"]


def test_tensorboard_writes_each_run_below_the_folder_that_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tlkit[tensorboard]")
    from tlkit_loggers import tensorboard_files

    run = run_in(tmp_path / "main-s0-12345678")
    files = tensorboard_files.open_(run, TensorBoardOptions(folder=str(tmp_path / "boards")))
    files.epoch(values(1))
    files.end(LoggedEnd("interrupted", {}))
    assert list((tmp_path / "boards" / "ants" / "main-s0-12345678").glob("events*"))


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_parameters_and_metrics_and_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs the extra tlkit[mlflow]")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # there is no server here
    from mlflow.tracking import MlflowClient

    from tlkit_loggers import mlflow_runs

    options = MlflowOptions(tracking_uri=(tmp_path / "mlruns").as_uri())
    logged = mlflow_runs.open_(run_in(tmp_path), options)
    logged.epoch(values(1))
    logged.end(LoggedEnd("interrupted", {}))
    again = mlflow_runs.open_(run_in(tmp_path, before=1), options)
    again.epoch(values(2))
    again.end(END)
    client = MlflowClient(tracking_uri=options.tracking_uri)
    experiment = client.get_experiment_by_name("ants")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.data.params["optimizer.name"], found.data.params["seed"]) == ("FINISHED", "adamw", "0")
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(1, 1.0), (2, 0.5)]
    assert found.data.metrics["best/test/accuracy"] == 0.75
