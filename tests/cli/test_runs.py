"""`tlkit runs` lists every run and what superseded ones cost; `tlkit diff` tells in what two runs differ."""

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from conftest import Cli
from rich.console import Console
from safetensors.numpy import load_file, save_file

from tlkit.errors import RunFolderError
from tlkit.record import file_lock, lock_holder, results, run_differences, run_folder, run_list, run_lock
from tlkit.record.run_folder import Parameters, RunResult
from tlkit.reports import run_tables
from tlkit.reports.page.runs import left_out

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def two(run: Cli, toy_recipe: Path) -> tuple[Path, Path]:
    """Two runs of one recipe: after the first one, a key was changed."""
    for epochs in (1, 2):
        assert run("apply", toy_recipe, "--set", f"schedule.epochs={epochs}", "--set", "data.split.validation=0.2")[0] == 0
    runs = sorted(Path("runs/toy").glob("main-s0-*"), key=lambda path: (path / "result.json").stat().st_mtime)
    return runs[0], runs[1]


def test_runs_of_a_changed_recipe_are_side_by_side_and_superseded_ones_can_go(run: Cli, two: tuple[Path, Path]) -> None:
    first, second = two
    code, out, _ = run("runs")
    assert code == 0
    rows = [line for line in out.splitlines() if "main, seed 0" in line]
    assert ["finished, superseded" in line for line in rows] == [True, False]
    assert [line.rstrip().rpartition("  ")[2].strip() for line in rows] == ["schedule.epochs = 1", "schedule.epochs = 2"]
    listed = json.loads(run("runs", "runs/toy", "--json")[1])["runs"]
    assert [(each["folder"], each["superseded"], each["differs"]) for each in listed] == [
        (str(first), True, {"schedule.epochs": 1}),
        (str(second), False, {"schedule.epochs": 2}),
    ]
    size = sum(path.stat().st_size for path in first.rglob("*") if path.is_file())
    assert listed[0]["bytes"] == size
    assert listed[0]["test"]["accuracy"] == json.loads((first / "result.json").read_text())["test"]["accuracy"]

    code, out, _ = run("runs", "--rm")
    assert code == 0
    assert f"1 superseded run: removing would free {size / 1000:.3g} KB; --rm --yes removes." in out
    assert first.is_dir()
    record = {"format": 1, "folder": "runs", "removed": False, "bytes": size}
    record["superseded"] = [{"folder": str(first), "bytes": size, "error": None}]
    assert json.loads(run("runs", "--rm", "--json")[1]) == record
    code, _, err = run("runs", "--yes")
    assert (code, "--yes is for --rm" in err) == (2, True)
    assert first.is_dir()
    code, out, _ = run("runs", "--rm", "--yes")
    assert code == 0
    assert f"1 superseded run removed, {size / 1000:.3g} KB freed." in out
    assert [path.name for path in Path("runs/toy").glob("main-*")] == [second.name]
    assert json.loads(Path("runs/toy/result.json").read_text())["superseded"] == []
    assert run("runs", "--rm")[1] == "No superseded runs.\n"
    assert json.loads(run("runs", "--rm", "--yes", "--json")[1]) == record | {"removed": True, "bytes": 0, "superseded": []}


def test_a_device_that_there_is_not_is_refused_where_nothing_is_left_to_train(run: Cli, two: tuple[Path, Path]) -> None:
    recipe = Path("toy.toml")
    as_before = ("--set", "schedule.epochs=2", "--set", "data.split.validation=0.2")
    assert "nothing to do" in run("apply", recipe, *as_before)[1]
    code, _, err = run("apply", recipe, *as_before, "--device", "mps")
    assert code == 2
    assert "--device mps: is not supported." in err
    assert "tlkit trains on CPUs and on NVIDIA GPUs" in err


def test_diff_tells_keys_results_and_the_weights_of_each_stage(run: Cli, two: tuple[Path, Path]) -> None:
    first, second = two
    code, out, _ = run("diff", first, second)
    assert code == 0
    assert "schedule.epochs" in out
    assert "test.accuracy" in out
    record = json.loads(run("diff", first, second, "--json")[1])
    assert record["recipe"] == {"schedule.epochs": [1, 2]}
    assert record["plan"]["phases.1.last"] == [1, 2]
    a, b = (load_file(folder / "weights.safetensors") for folder in two)
    head = [name for name in a if name.startswith("fc.")]
    off, size = (
        np.sqrt(sum(float((x[name].astype(float) ** 2).sum()) for name in head)) for x in ({n: b[n] - a[n] for n in a}, a)
    )
    changes = {each["stage"]: each["change"] for each in record["weights"]}
    assert changes["head"] == pytest.approx(off / size)
    assert all(change > 0 for change in changes.values())
    same = json.loads(run("diff", first, first, "--json")[1])
    assert (same["recipe"], same["plan"]) == ({}, {})
    assert {each["change"] for each in same["weights"]} == {0.0}


def test_no_cell_of_runs_is_cut_at_80_columns(tmp_path: Path) -> None:
    recipe = tmp_path / "scenes-labels"
    for name in ("a", "b"):
        put(recipe, name, {}, head={"kind": "linear" if name == "a" else "multilabel"})
        result = json.loads((recipe / name / run_folder.RESULT).read_text())
        scores = {"loss": 1.0, "accuracy": 0.9, "exact_match": 0.2, "f1": 0.3, "auroc": 0.464}
        arm = {"arm": "everything_with_a_longer_name", "test": scores, "validation": scores}
        (recipe / name / run_folder.RESULT).write_text(json.dumps(result | arm))
    output = io.StringIO()
    Console(file=output, width=80).print(run_tables.runs(tmp_path, run_list.below(tmp_path)))
    shown = output.getvalue()
    assert "\u2026" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for cell in ("a (everything_with_a_longer_name", "finished", "AUROC 0.464", "now", "head.kind = multilabel"):
        assert cell in " ".join(shown.split()) or cell.partition(" (")[2] in shown, cell
    found = run_differences.differences(recipe / "a", recipe / "b")
    output = io.StringIO()
    Console(file=output, width=60).print(
        run_tables.differences(replace(found, plan={"phases.1.fixed.evaluation_" + "x" * 30: (1, 2)}))
    )
    assert "\u2026" not in output.getvalue()


def put(recipe: Path, name: str, weights: dict[str, list[float]], **tables: object) -> Path:
    """Write what a comparison reads of a run whose plan has the stages stem and head."""
    folder = recipe / name
    folder.mkdir(parents=True)
    result = RunResult(
        recipe="r", arm="a", seed=0, status="finished", digest="0" * 64, versions={}, parameters=Parameters(total=1, trained=1)
    )
    run_folder.write(folder, result)
    (folder / run_folder.RECIPE).write_text(tomli_w.dumps({"format": 1, "name": "r", "seeds": [0], **tables}))
    parameters = [{"name": "conv.weight", "stage": "stem"}, {"name": "head.weight", "stage": "head"}]
    (folder / run_folder.PLAN).write_text(json.dumps({"parameters": parameters}))
    save_file({name: np.array(values, dtype=np.float32) for name, values in weights.items()}, folder / run_folder.WEIGHTS)
    return folder


def test_the_change_of_a_stage_is_that_of_its_parameters_alone(tmp_path: Path) -> None:
    """Buffers are no parameters, and a library calls the head otherwise."""
    first = put(tmp_path, "a", {"conv.weight": [3, 4], "conv.running_mean": [1, 1], "fc.weight": [0, 2]})
    second = put(tmp_path, "b", {"conv.weight": [3, 5], "conv.running_mean": [9, 9], "fc.weight": [1, 2, 3]})
    stem, head = run_differences.differences(first, second).weights
    assert (stem.stage, stem.change, stem.parameters) == ("stem", pytest.approx(1 / 5), 2)  # |(0, 1)| / |(3, 4)|
    assert (head.stage, head.change, head.only_one) == ("head", None, ("fc.weight",))


def test_kernels_that_a_plan_chose_are_one_line(tmp_path: Path) -> None:
    first, second = put(tmp_path, "a", {}), put(tmp_path, "b", {})
    plan = json.loads((second / run_folder.PLAN).read_text())
    plan["kernels"] = [{"convolution": {"groups": 1}, "part": "weight", "kernel": "products"}] * 44
    (second / run_folder.PLAN).write_text(json.dumps(plan))
    found = run_differences.differences(first, second).plan
    assert (list(found), found["kernels"][0]) == (["kernels"], None)
    assert str(found["kernels"][1]).startswith("44 chosen, ")
    assert not run_differences.differences(second, second).plan


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    first, second = put(tmp_path / "one", "a", {}), put(tmp_path / "two", "a", {})
    output = io.StringIO()
    Console(file=output, width=500).print(run_tables.differences(run_differences.differences(first, second)))
    assert f" {first} " in output.getvalue()
    assert f" {second}" in output.getvalue()


def test_a_run_without_weights_has_the_other_differences(tmp_path: Path) -> None:
    first, second = (put(tmp_path, name, {}, head={"kind": kind}) for name, kind in (("a", "linear"), ("b", "knn")))
    (second / run_folder.WEIGHTS).unlink()
    found = run_differences.differences(first, second)
    assert found.recipe == {"head.kind": ("linear", "knn")}
    assert f"{second / run_folder.WEIGHTS} is not there" in found.note
    assert not found.weights


def test_a_key_that_a_run_lacks_is_shown_and_dotted_keys_are_quoted(run: Cli, tmp_path: Path) -> None:
    put(tmp_path, "a", {}, freeze={"features.1": True})
    put(tmp_path, "b", {}, freeze={"features": True})
    assert [dict(run.differs) for run in run_list.below(tmp_path)] == [
        {'freeze."features.1"': True, "freeze.features": None},
        {'freeze."features.1"': None, "freeze.features": True},
    ]
    text = run("runs", tmp_path)[1]
    assert 'freeze."features.1" = true, freeze.features = not there' in " ".join(text.split())


def test_a_damaged_run_is_listed_with_its_error(run: Cli, tmp_path: Path) -> None:
    (put(tmp_path, "a", {}) / run_folder.RECIPE).write_text("no toml")
    (found,) = run_list.below(tmp_path)
    assert "recipe.toml: is damaged" in found.error
    result = json.loads((put(tmp_path, "b", {}) / run_folder.RESULT).read_text())
    result["files"] = {run_folder.METRICS: {"bytes": 1, "sha256": "0" * 64}}
    (tmp_path / "b" / run_folder.RESULT).write_text(json.dumps(result))
    code, out, _ = run("runs", tmp_path)
    assert code == 0
    rows, errors = out.splitlines()[2:4], out.splitlines()[4:6]
    assert [row.partition("finished, ")[2].split()[0] for row in rows] == ["damaged"] * 2
    assert "recipe.toml: is damaged" in errors[0]
    assert errors[1].rstrip() == f"{tmp_path / 'b' / run_folder.METRICS}: is missing."


def test_a_run_whose_process_was_killed_is_interrupted_and_one_of_another_machine_was_last_heard(
    run: Cli, tmp_path: Path
) -> None:
    here, three_hours = lock_holder.this(), time.time() - 3 * 3600 - 60
    holders = {
        "alive": here,
        "killed": here,  # whatever process has its number now
        "alive without locks": here,
        "killed without locks": here,
        "elsewhere": replace(here, host="elsewhere"),
        "unknown": None,
    }
    for name, holder in holders.items():
        folder = put(tmp_path / "r", name, {})
        record = json.loads((folder / run_folder.RESULT).read_text())
        (folder / run_folder.RESULT).write_text(json.dumps(record | {"status": "running"}))
        if holder is not None:
            (folder / run_lock.HOLDER).write_text(lock_holder.text(holder))
        if "without" not in name:
            (folder / run_lock.LOCK).touch()
        if "alive" not in name:
            for path in (folder / run_lock.HOLDER, folder / run_folder.RESULT):
                os.utime(path, (three_hours, three_hours)) if path.exists() else None
    with file_lock.held(tmp_path / "r" / "alive" / run_lock.LOCK):
        rows = {row[:22].partition(" (")[0].strip(): row for row in run("runs", tmp_path)[1].splitlines()}
        records = {Path(each["folder"]).name: each for each in json.loads(run("runs", tmp_path, "--json")[1])["runs"]}
        differences = run_differences.differences(tmp_path / "r" / "killed", tmp_path / "r" / "alive")
    assert differences.result["status"] == ("interrupted", "running")
    listed = {name: each["status"] for name, each in records.items()}
    assert listed == {
        "alive": "running", "killed": "interrupted", "alive without locks": "running", "killed without locks": "interrupted",
        "elsewhere": "running", "unknown": "running",
    }  # fmt: skip
    for name, status in listed.items():
        told = f"{status}, last heard 3 h ago" if name in ("elsewhere", "unknown") else status
        assert f" {told}  " in rows[name]
        assert (records[name]["last_heard"] == records[name]["written"]) == (told != status)
    gathered = results.gather(tmp_path / "r", results.Head("r", "r.toml"), {("a", 0, None): tmp_path / "r" / "killed"})
    assert gathered["arms"]["a"]["seeds"]["0"]["status"] == "interrupted"
    assert left_out([tmp_path / "r" / "killed"]) == ["a, seed 0: interrupted"]


def test_runs_of_several_folders_are_told_apart(run: Cli, tmp_path: Path) -> None:
    for place in ("one/r", "two/deep/r"):
        put(tmp_path / place, "a-s0-00000000", {})
    put(tmp_path, "saved", {})  # as Model.save writes one where the user says
    rows = [line.split() for line in run("runs", tmp_path)[1].splitlines()]
    assert (rows[0], rows[1][0], rows[1][6]) == (["r"], "run", "folder")
    found = [(row[0], next(each for each in (".", "one", "two/deep") if each in row)) for row in rows[2:5]]
    assert found == [("saved", "."), ("a,", "one"), ("a,", "two/deep")]
    assert "folder" not in run("runs", tmp_path / "one")[1].splitlines()[1]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no such folder"):
        run_list.below(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="file: is a file, not a folder of runs") as raised:
        run_list.below(tmp_path / "file")
    assert raised.value.hints == ("apply writes runs into runs, or into the folder that its --runs names",)


def test_result_of_a_recipe_is_read_once_however_many_runs_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(folder: Path) -> dict[str, object]:
        read.append(folder)
        return {"superseded": ["b"]}

    for name in ("a", "b", "c"):
        (tmp_path / "recipe" / name).mkdir(parents=True)
        for file in ("recipe.toml", "result.json"):
            (tmp_path / "recipe" / name / file).write_text("")
    monkeypatch.setattr(results, "read", counted)
    listed = {each.folder.name: each.superseded for each in run_list.below(tmp_path)}
    assert listed == {"a": False, "b": True, "c": False}
    assert read == [tmp_path / "recipe"]
