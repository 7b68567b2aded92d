"""Tasks are found by name, and nobody else asks which one it is."""

import ast
import inspect

import numpy as np
import pytest
import torch
from conftest import ROOT

from tlkit import tasks
from tlkit.errors import TlkitError
from tlkit.plugin import Head

OTHERS = [path for path in sorted((ROOT / "tlkit").rglob("*.py")) if path.parent.name != "tasks"]
# A head's task where its maker names none: in the plugin contract, and in the plan that copies it.
DEFAULTS = {("plugin/head.py", "single_label"), ("plans/plan.py", "single_label")}


def test_nothing_outside_asks_which_task_it_is() -> None:
    named, asked = set(), set()
    for path in OTHERS:
        where, nodes = path.relative_to(ROOT / "tlkit").as_posix(), list(ast.walk(ast.parse(path.read_text())))
        named |= {(where, node.value) for node in nodes if isinstance(node, ast.Constant) and node.value in tasks.KINDS}
        read = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute) and node.attr in ("ndim", "dtype")]
        asked |= {(where, each) for each in read if "targets" in each or "labels" in each}
    # defaults.py has a table of heads, one of which has the name of its task.
    assert {each for each in named if each[0] != "recipe/defaults.py"} <= DEFAULTS
    assert asked == set()


def test_an_unknown_task_is_a_message_with_the_nearest_name() -> None:
    with pytest.raises(TlkitError) as error:
        tasks.get("multilabel")
    assert error.value.problem == 'there is no task "multilabel".'
    assert 'did you mean "multi_label"?' in error.value.hints
    assert tasks.get(Head.task) is tasks.KINDS["single_label"]


def test_targets_say_which_tasks_can_learn_from_them() -> None:
    def names(targets: object) -> list[str]:
        return [task.name for task in tasks.understanding(targets)]

    assert names(np.zeros(3, np.int64)) == ["single_label", "binary"]
    assert names(np.zeros((3, 2), np.uint8)) == ["multi_label"]
    for other in (np.zeros(3, np.int32), np.zeros((3, 2), np.int64), np.zeros((3, 4, 4), np.uint8), [0, 1], None):
        assert names(other) == []


@pytest.mark.parametrize("name", [name for name, task in tasks.KINDS.items() if not task.targets.whole])
def test_targets_go_through_mixing_and_the_loss(name: str) -> None:
    task, classes = tasks.get(name), 2
    own = task.targets.example((6, classes))
    other = own.roll(1, 0)
    logits = torch.randn(6, classes)
    assert torch.isfinite(task.loss(logits, own, 0.1, None))
    assert float(task.loss(logits, own, 0.0, None)) == pytest.approx(float(task.losses(logits, own).mean()), rel=1e-6)
    soft = task.targets.mix(own, other, torch.full((6,), 0.75), classes)
    assert soft.shape == (6, classes)
    assert sorted(soft.unique().tolist()) == [0.25, 0.75]
    assert task.correct(logits, own) == task.correct(logits, soft)


@pytest.mark.parametrize("name", list(tasks.KINDS))
def test_every_function_of_a_task_says_what_it_does(name: str) -> None:
    task = tasks.get(name)
    for owner in (task, task.targets):
        for field, value in vars(owner).items():
            if inspect.isfunction(value) and value.__name__ != "<lambda>":
                assert value.__doc__, field


@pytest.mark.parametrize(
    ("task", "chosen", "shown"),
    [
        ("single_label", "accuracy", "accuracy"),
        ("binary", "f1", "accuracy"),
        ("multi_label", "auroc", "auroc"),
        ("multi_label", "f1", "f1"),
        ("multi_label", "loss", "f1"),
        ("multi_label", "accuracy", "f1"),
        ("segmentation", "loss", "dice"),
        ("point_detection", "accuracy", "map"),
    ],
)
def test_epochs_are_shown_by_the_metric_that_the_task_is_judged_by(task: str, chosen: str, shown: str) -> None:
    """One of several labels that is costly is computed after each epoch only where it chooses the best."""
    assert tasks.get(task).judged_by(chosen) == shown
