"""The study: the same values after a kill, every combination of a grid, and a journal that can be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import TOY_RECIPE
from optuna.trial import TrialState

from tlkit.errors import RunFolderError
from tlkit.plans import resolve, search_plan
from tlkit.plans.search_plan import SearchPlan
from tlkit.search.pruning import Pruning
from tlkit.search.study import Asked, Study, trials_before
from tlkit.sources.places import Places

SPACE = """
[search.space]
"lr_groups.head" = { log = [1e-4, 1e-1] }
"lr_groups.backbone" = { log = [1e-4, 1e-1] }
"optimizer.name" = ["sgd", "adamw"]
"optimizer.momentum" = { float = [0.5, 0.9], when = { "optimizer.name" = "sgd" } }
"freeze" = [{}, { stem = true }]
"""
LISTS = """
[search.space]
"optimizer.name" = ["sgd", "adamw"]
"optimizer.momentum" = { values = [0.5, 0.9], when = { "optimizer.name" = "sgd" } }
"schedule.epochs" = { int = [2, 3] }
"""


def plan(folder: Path, head: str, space: str = SPACE) -> SearchPlan:
    path = folder / "toy.toml"
    path.write_text(f"{TOY_RECIPE}[search]\n{head}\n{space}")
    return search_plan.planned(resolve.load(path, (), Places(recipe=folder))[0])


def judged(values: dict[str, Any]) -> float:
    """A number that a trial might come to, from its values alone."""
    return 0.5 + values.get("lr_groups.head", 0.0) - (0.1 if values.get("optimizer.name") == "sgd" else 0.0)


def carried_out(study: Callable[[], Study], count: int, *, again: bool = False) -> list[dict[str, Any]]:
    """The values of trials; with `again`, every trial is asked for by a process that is killed, and then by another."""
    found: list[dict[str, Any]] = []
    mine, begun = study(), list[Asked]()
    while len(found) < count:
        if again:
            study().ask()  # killed before it ended
            mine, begun = study(), []
        begun = begun or mine.ask()
        if not begun:
            break
        asked, *begun = begun
        lines = [{"epoch": each, "validation": {"accuracy": judged(dict(asked.values)) / 2 * each}} for each in (1, 2)]
        pruned = mine.behind(asked.number, lines[:1])
        mine.tell(asked.number, TrialState.PRUNED if pruned else TrialState.COMPLETE, judged(dict(asked.values)), {})
        found.append(dict(asked.values) | ({"pruned": True} if pruned else {}))
    return found


@pytest.mark.parametrize(
    "head",
    [
        'sampler = "tpe"',
        'sampler = "cmaes"',
        'sampler = "random"\npruner = "median"',
        'sampler = "tpe"\nat_once = 4',
        'sampler = "cmaes"\nat_once = 3',
    ],
)
def test_values_are_those_of_a_search_that_was_never_killed(head: str, tmp_path: Path) -> None:
    planned = plan(tmp_path, head)
    whole = carried_out(lambda: Study(tmp_path / "whole", "s", planned), 10)
    killed = carried_out(lambda: Study(tmp_path / "killed", "s", planned), 10, again=True)
    assert whole == killed
    assert len({str(each) for each in whole}) > 8
    assert whole[0] == {"lr_groups.head": 1e-2, "lr_groups.backbone": 1e-2, "optimizer.name": "adamw", "freeze": {}}


def test_values_lie_in_the_space_and_wait_for_their_key(tmp_path: Path) -> None:
    found = carried_out(lambda: Study(tmp_path / "j", "s", plan(tmp_path, 'sampler = "random"')), 30)
    for values in found[1:]:
        assert 1e-4 <= values["lr_groups.head"] <= 1e-1
        assert float(f"{values['lr_groups.head']:.4g}") == values["lr_groups.head"]
        assert values["freeze"] in ({}, {"stem": True})
        assert ("optimizer.momentum" in values) == (values["optimizer.name"] == "sgd")
    assert sum(values["lr_groups.head"] < 3.16e-3 for values in found[1:]) == pytest.approx(29 / 2, abs=8)  # as likely as above


def test_trials_that_begin_together_know_nothing_of_each_other(tmp_path: Path) -> None:
    study = Study(tmp_path / "j", "s", plan(tmp_path, 'sampler = "random"\npruner = "median"\nat_once = 8'))
    first, second = study.ask(), list[bool]()
    assert [each.number for each in first] == list(range(8))
    for each in first:  # the later, the worse
        assert not study.behind(each.number, [{"epoch": 1, "validation": {"accuracy": 0.9 - each.number / 10}}])
        study.tell(each.number, TrialState.COMPLETE, 0.9, {})
    for each in study.ask():
        lines = [{"epoch": 1, "validation": {"accuracy": 0.1}}]
        second.append(study.behind(each.number, lines))
        before = trials_before((tmp_path / "j").read_text(), "s", each.first)
        assert [each.intermediate_values[1] for each in before] == pytest.approx([0.9 - number / 10 for number in range(8)])
        assert Pruning("s", study._plan, before, each.number).behind(lines) is second[-1]  # as a worker finds it
    assert second == [True] * 8  # behind the median of the first eight


def test_tpe_learns_from_the_trials_before(tmp_path: Path) -> None:
    found = carried_out(lambda: Study(tmp_path / "j", "s", plan(tmp_path, 'pruner = "none"')), 30)
    assert sum(judged(each) for each in found[15:]) / 15 > sum(judged(each) for each in found[1:11]) / 10


def test_grid_has_every_combination_once(tmp_path: Path) -> None:
    planned = plan(tmp_path, 'sampler = "grid"\ntrials = 100\npruner = "none"', LISTS)
    found = carried_out(lambda: Study(tmp_path / "j", "s", planned), 100, again=True)
    wanted = [
        {"optimizer.name": "sgd", "optimizer.momentum": momentum, "schedule.epochs": epochs}
        for momentum in (0.5, 0.9)
        for epochs in (2, 3)
    ] + [{"optimizer.name": "adamw", "schedule.epochs": epochs} for epochs in (2, 3)]
    assert found[0] == {"optimizer.name": "adamw", "schedule.epochs": 2}  # as written
    assert sorted(found, key=str) == sorted(map(_in_order, wanted), key=str)


def _in_order(values: dict[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in ("optimizer.name", "schedule.epochs", "optimizer.momentum") if key in values}


def test_journal_is_optunas_and_holds_no_pickle(tmp_path: Path) -> None:
    planned = plan(tmp_path, 'sampler = "cmaes"')
    carried_out(lambda: Study(tmp_path / "j", "s", planned), 12)
    assert "cma:" not in (tmp_path / "j").read_text()
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "j"))
    study = optuna.load_study(storage=optuna.storages.JournalStorage(backend), study_name="s")
    assert len(study.trials) == 12
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE


def test_line_that_was_not_written_to_its_end_is_taken_away(tmp_path: Path) -> None:
    planned = plan(tmp_path, "")
    before = carried_out(lambda: Study(tmp_path / "j", "s", planned), 3)
    with (tmp_path / "j").open("a") as file:
        file.write('{"op_code": 4, "worker')
    assert len(Study(tmp_path / "j", "s", planned).trials) == 3
    more = carried_out(lambda: Study(tmp_path / "j", "s", planned), 1)
    assert before + more == carried_out(lambda: Study(tmp_path / "other", "s", planned), 4)


def test_damaged_journal_is_named(tmp_path: Path) -> None:
    planned = plan(tmp_path, "")
    (tmp_path / "j").write_text('{"op_code": 0}\nno json\n{}\n')
    with pytest.raises(RunFolderError, match=r"j: is damaged"):
        Study(tmp_path / "j", "s", planned)


def test_only_the_key_that_matters_has_importance(tmp_path: Path) -> None:
    planned = plan(tmp_path, 'sampler = "random"\npruner = "none"', '[search.space]\n"lr_groups.head" = { float = [0.001, 0.1] }\n'
                   '"lr_groups.backbone" = { float = [0.001, 0.1] }\n')  # fmt: skip
    study = Study(tmp_path / "j", "s", planned)
    assert study.importance() == {}
    carried_out(lambda: study, 30)
    found = study.importance()
    assert sum(found.values()) == pytest.approx(1)
    assert found["lr_groups.head"] > 0.95  # `judged` knows no other
