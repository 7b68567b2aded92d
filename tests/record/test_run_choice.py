"""Which run a recipe's folder means: the best by validation of all that are finished, and nothing that test scores chose."""

import ast
import os
import re
from pathlib import Path

import pytest
import tomli_w
from conftest import ROOT

from tlkit.errors import RunFolderError
from tlkit.record import run_choice, run_folder
from tlkit.record.run_folder import Parameters, RunResult


def put(
    recipe: Path,
    name: str,
    *,
    validation: float | None,
    test: float = 0.5,
    status: str = "finished",
    data: str = "d",
    age: int = 0,
) -> Path:
    """Write what the choice reads of a run; `age` is in minutes."""
    folder = recipe / name
    folder.mkdir(parents=True)
    arm, seed = re.match(r"(\w+)-s(\d+)", name).groups()
    scores = None if validation is None else {"accuracy": validation, "loss": 1.0}
    run_folder.write(
        folder,
        RunResult(
            recipe="r", arm=arm, seed=int(seed), status=status, digest="0" * 64, versions={}, validation=scores,
            test={"accuracy": test, "loss": 1 - test}, parameters=Parameters(total=1, trained=1),
        ),
    )  # fmt: skip
    (folder / run_folder.WEIGHTS).touch()
    (folder / run_folder.RESOLVED).write_text(tomli_w.dumps({"format": 1, "inputs": {"data": data}, "classes": ["a", "b"]}))
    written = 1e9 - 60 * age
    os.utime(folder / run_folder.RESULT, (written, written))
    return folder


def test_best_run_by_validation_is_taken_whatever_the_test_scores_say(tmp_path: Path) -> None:
    put(tmp_path, "a-s0-1", validation=0.6, test=0.9)
    best = put(tmp_path, "a-s1-2", validation=0.8, test=0.3)
    put(tmp_path, "b-s0-3", validation=0.7, test=0.99)
    choice = run_choice.choose(tmp_path)
    assert choice == run_choice.Choice(best, "the best of 3 finished runs by validation (80.0%)")
    assert run_choice.choose(tmp_path, "b").folder.name == "b-s0-3"


def test_an_arm_with_a_better_mean_over_seeds_is_named(tmp_path: Path) -> None:
    """The best run may be the luckiest of another arm than the one that a report calls the best."""
    best = put(tmp_path, "cos-s0-1", validation=0.9)
    put(tmp_path, "cos-s1-1", validation=0.5)
    put(tmp_path, "svm-s0-2", validation=0.8)
    put(tmp_path, "svm-s1-2", validation=0.76)
    choice = run_choice.choose(tmp_path)
    assert choice.folder == best
    said = '; by the mean over seeds arm svm is better than cos (78.0%, 70.0%): arm="svm"'
    assert choice.why == f"the best of 4 finished runs by validation (90.0%){said}"
    assert "mean" not in run_choice.choose(tmp_path, "cos").why
    old = put(tmp_path, "svm-s0-0", validation=0.1, age=9)  # of an older version of the recipe
    run_folder.write(old, run_folder.read(old).model_copy(update={"digest": "1" * 64}))
    os.utime(old / run_folder.RESULT, (1, 1))
    assert said in run_choice.choose(tmp_path).why
    put(tmp_path, "cos-s2-1", validation=0.95)
    assert "mean" not in run_choice.choose(tmp_path).why


@pytest.mark.parametrize(("by", "best", "said"), [("auroc", "a-s1-2", "AUROC 0.900"), ("loss", "a-s0-1", "loss 0.100")])
def test_runs_are_compared_by_the_metric_that_all_were_selected_by(tmp_path: Path, by: str, best: str, said: str) -> None:
    for name, accuracy, auroc, loss in (("a-s0-1", 0.9, 0.7, 0.1), ("a-s1-2", 0.6, 0.9, 0.2)):
        folder = put(tmp_path, name, validation=accuracy)
        scores = {"accuracy": accuracy, "auroc": auroc, "loss": loss}
        result = run_folder.read(folder).model_copy(update={"validation": scores, "select_by": by})
        run_folder.write(folder, result)
    choice = run_choice.choose(tmp_path)
    assert choice.folder.name == best
    assert said in choice.why


@pytest.mark.parametrize(("by", "best"), [("snd", "a-s1-2"), ("entropy", "a-s0-1")])
@pytest.mark.parametrize("validation", [0.9, None])
def test_runs_selected_by_the_target_are_ranked_by_its_score(
    tmp_path: Path, by: str, best: str, validation: float | None
) -> None:
    for name, value in (("a-s0-1", 0.2), ("a-s1-2", 0.7), ("b-s0-3", 0.4)):
        folder = put(tmp_path, name, validation=validation)
        run_folder.write(folder, run_folder.read(folder).model_copy(update={"target": {by: value}, "select_by": by}))
    choice = run_choice.choose(tmp_path)
    assert choice.folder.name == best
    assert "finished runs by the target (" in choice.why


def test_superseded_run_is_taken_where_it_is_better(tmp_path: Path) -> None:
    """After an apply with fewer epochs the run of 66.7 % was passed over for one of 55.9 %."""
    better = put(tmp_path, "a-s0-old", validation=0.667, age=9)
    put(tmp_path, "a-s0-new", validation=0.559)
    assert run_choice.choose(tmp_path).folder == better


def test_folds_are_not_ranked_by_scores_of_different_images(tmp_path: Path) -> None:
    """Arm a has the best fold, and arm b the better mean: 0.75 against 0.7."""
    for name, fold, accuracy in (("a-s0-1", 1, 0.5), ("a-s0-2", 2, 0.9), ("b-s0-3", 1, 0.7), ("b-s0-4", 2, 0.8)):
        folder = put(tmp_path, name, validation=accuracy)
        run_folder.write(folder, run_folder.read(folder).model_copy(update={"fold": fold}))
    choice = run_choice.choose(tmp_path)
    assert choice.folder.name == "b-s0-3"
    assert "b, seed 0, fold 1" in choice.why
    assert "the best of 2 by its mean over folds" in choice.why
    assert run_choice.choose(tmp_path, "a").folder.name == "a-s0-1"


def test_stopped_run_is_named_with_its_own_folder(tmp_path: Path) -> None:
    folder = put(tmp_path, "a-s0-1", validation=0.6, status="interrupted")
    run_folder.write(folder, run_folder.read(folder).model_copy(update={"epochs": 3}))
    (folder / run_folder.RECIPE).write_text("[schedule]\nepochs = 10\n")
    with pytest.raises(RunFolderError, match="holds no finished run") as caught:
        run_choice.choose(tmp_path)
    assert f"stopped after epoch 3 of 10; its own folder can be used: {folder}" in str(caught.value)
    assert run_choice.choose(folder).folder == folder


def test_failed_run_hides_no_finished_one(tmp_path: Path) -> None:
    put(tmp_path, "a-s0-new", validation=None, status="failed")
    done = put(tmp_path, "a-s0-old", validation=0.6, age=9)
    assert run_choice.choose(tmp_path) == run_choice.Choice(done)


def test_runs_of_other_images_are_passed_over_by_name(tmp_path: Path) -> None:
    put(tmp_path, "a-s0-old", validation=0.99, data="other", age=9)
    put(tmp_path, "a-s0-1", validation=0.6)
    best = put(tmp_path, "a-s1-1", validation=0.7)
    choice = run_choice.choose(tmp_path)
    assert choice.folder == best
    assert choice.why == "the best of 2 finished runs by validation (70.0%); passed over: a-s0-old (on other images)"


def test_runs_without_validation_scores_are_passed_over_by_name(tmp_path: Path) -> None:
    put(tmp_path, "a-s0-1", validation=None, test=0.99)
    best = put(tmp_path, "a-s1-1", validation=0.7, test=0.1)
    choice = run_choice.choose(tmp_path)
    assert choice.folder == best
    assert "passed over: a-s0-1 (without validation scores)" in choice.why


def test_without_validation_scores_a_run_is_asked_for(tmp_path: Path) -> None:
    for name in ("a-s0-1", "a-s1-2", "b-s0-3"):
        put(tmp_path, name, validation=None)
    with pytest.raises(RunFolderError, match="3 finished runs and no validation scores to choose one by") as caught:
        run_choice.choose(tmp_path)
    assert str(tmp_path / "a-s1-2") in str(caught.value)
    assert 'arm="b"' in str(caught.value)
    with pytest.raises(RunFolderError, match="2 finished runs and no validation scores"):
        run_choice.choose(tmp_path, "a")
    assert run_choice.choose(tmp_path, "b").folder.name == "b-s0-3"
    assert run_choice.choose(tmp_path / "a-s1-2").folder.name == "a-s1-2"


def test_the_folder_of_several_recipes_asks_for_one(tmp_path: Path) -> None:
    put(tmp_path / "shoes", "a-s0-1", validation=0.6)
    (tmp_path / "shoes" / run_folder.RESULT).write_text('{"format": 2, "arms": {}}')
    with pytest.raises(RunFolderError, match="holds recipes' folders, not runs") as caught:
        run_choice.choose(tmp_path)
    assert str(tmp_path / "shoes") in str(caught.value)


def test_run_that_cannot_be_read_is_passed_over_by_name(tmp_path: Path) -> None:
    (put(tmp_path, "a-s0-1", validation=0.9) / run_folder.RESULT).write_text('{"format": 99}')
    with pytest.raises(RunFolderError, match="is of format 99"):
        run_choice.choose(tmp_path)
    (tmp_path / "a-s0-1" / run_folder.RESULT).write_text("{}")
    with pytest.raises(RunFolderError, match="is not the result of a run: it names no format"):
        run_choice.choose(tmp_path)
    good = put(tmp_path, "a-s1-1", validation=0.7)
    assert run_choice.choose(tmp_path) == run_choice.Choice(good, "the only finished run; passed over: a-s0-1 (cannot be read)")


# ---- no choice reads test scores

# Functions that choose no run, epoch or parameter. "test" is a split there: which images it has, and when they are evaluated.
OF_IMAGES = {
    ("plans/dataset_parts.py", "select"),
    ("plans/other_parts.py", "choose"),
    ("sources/splits.py", "choose"),
    ("engine/fit.py", "evaluate_best"),
    ("plans/when_tested.py", "decide"),
}
CHOICE = re.compile(r"best|better|choos|chose|rank|select|prefer|pick|improv|decide")


def names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} | {
        each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
    }


def reads_test(node: ast.AST) -> bool:
    return any(
        (isinstance(each, ast.Attribute) and each.attr == "test") or (isinstance(each, ast.Constant) and each.value == "test")
        for each in ast.walk(node)
    )


def test_no_function_that_chooses_reads_test_scores() -> None:
    """A function chooses by its name, or is the key by which the best is found or a list is sorted, or one that such a key uses."""
    found, guilty = set(), set()
    for file in sorted((ROOT / "tlkit").rglob("*.py")):
        path = file.relative_to(ROOT / "tlkit").as_posix()
        functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
        for function in functions:
            calls = [call for call in ast.walk(function) if isinstance(call, ast.Call)]
            chosen_by: list[ast.AST] = [function] if CHOICE.search(function.name) else []
            chosen_by += [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "key"]
            if not chosen_by:
                continue
            found.add((path, function.name))
            used = {name for each in chosen_by for name in names_in(each)}
            if any(map(reads_test, [*chosen_by, *(each for each in functions if each.name in used)])):
                guilty.add((path, function.name))
    assert {
        ("record/run_choice.py", "choose"),
        ("engine/progress.py", "keep_best_"),
        ("reports/result_table.py", "_rank"),
    } <= found
    assert guilty == OF_IMAGES
