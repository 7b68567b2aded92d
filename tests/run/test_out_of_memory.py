"""A batch that does not fit: its images pass the network in parts where that changes no statistics, else the run says what fits."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from conftest import Cli
from safetensors.torch import load_file
from torch import Tensor
from toy_observers import Notes, SignalAfter

from tlkit import api
from tlkit.api import Applied
from tlkit.engine.epoch_steps import in_pieces
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.engine.fit import Fit
from tlkit.engine.prefix.prefix import Prefix
from tlkit.engine.step.step import Step
from tlkit.errors import Interrupted
from tlkit.events import Observer
from tlkit.network import device_memory
from tlkit.plans.plan import Plan
from tlkit.run import failures, memory
from tlkit.run.execution import _Writer

pytestmark = pytest.mark.usefixtures("undrawn")

# SGD, for Adam divides small gradients by themselves; the stage with dropout is frozen, for parts draw other masks.
SETTINGS = ('backbone.batch_norm="running"', "freeze={block2=true}", 'optimizer={name="sgd", momentum=0.9}')


def full(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let memory hold so many images: a stand-in for a GPU."""
    take = Step.__call__

    def limited(self: Step, batches: Sequence[tuple[Tensor, Tensor]], *more: Any) -> None:
        if max(len(targets) for _, targets in batches) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        take(self, batches, *more)

    monkeypatch.setattr(Step, "__call__", limited)


def applied(recipe: Path, name: str, *settings: str, observer: Observer | None = None) -> Applied:
    return api.apply(recipe, [*SETTINGS, *settings], runs=recipe.parent / name, observer=observer)


def run_of(recipe: Path, name: str) -> Path:
    (found,) = (path.parent for path in (recipe.parent / name).glob("*/*/resolved.toml"))
    return found


def test_batch_that_does_not_fit_is_one_step_in_parts(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not applied(toy_recipe, "whole").failures
    full(monkeypatch, 4)
    notes = Notes()
    assert not applied(toy_recipe, "parts", observer=notes).failures
    said = [line for line in notes.notes if "does not fit" in line]
    assert [line.split("passes the network in ")[1][:7] for line in said] == ["2 parts", "4 parts"]
    run, whole = run_of(toy_recipe, "parts"), run_of(toy_recipe, "whole")
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["exact"]) == ("finished", False)
    assert result["why_inexact"] == "memory ran out: each batch passed the network in 4 parts"
    assert tomllib.loads((run / "resolved.toml").read_text())["pieces"] == 4
    assert "pieces" not in tomllib.loads((whole / "resolved.toml").read_text())
    wanted, found = load_file(whole / "weights.safetensors"), load_file(run / "weights.safetensors")
    assert wanted.keys() == found.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-5)


def test_run_in_parts_goes_on_in_parts_and_another_that_goes_on_is_not_halved(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        applied(toy_recipe, "begun whole", observer=SignalAfter(1))
    full(monkeypatch, 8)
    (failure,) = applied(toy_recipe, "begun whole").failures
    assert "a batch of 16 images does not fit" in failure.problem
    with pytest.raises(Interrupted):
        applied(toy_recipe, "begun in parts", observer=SignalAfter(1))
    notes = Notes()
    assert not applied(toy_recipe, "begun in parts", observer=notes).failures
    assert not [line for line in notes.notes if "does not fit" in line]
    assert not json.loads((run_of(toy_recipe, "begun in parts") / "result.json").read_text())["exact"]


def test_where_batchnorm_trains_the_batch_that_fits_is_named(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, 8)
    (failure,) = applied(toy_recipe, "runs", 'backbone.batch_norm="local"').failures
    assert failure.hints[0].startswith("data.batch_size = 8 fits by estimate, and with optimizer.accumulate = 2 a step has")


def test_evaluation_that_does_not_fit_is_named_and_halves_no_step(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EvaluationForward, "__call__", exhausted)
    notes = Notes()
    (failure,) = applied(toy_recipe, "runs", observer=notes).failures
    assert failure.problem == "main, seed 0: evaluation does not fit into the memory of cpu: 16 images at a time."
    assert not [line for line in notes.notes if "passes the network" in line]
    run = run_of(toy_recipe, "runs")
    assert "pieces" not in tomllib.loads((run / "resolved.toml").read_text())
    assert json.loads((run / "result.json").read_text())["status"] == "failed"


def test_what_fails_for_want_of_memory_while_a_run_ends_hides_nothing(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fit, "is_sound", exhausted)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after 1 of 2 epochs, which are saved"):
        applied(toy_recipe, "stopped", observer=SignalAfter(2, step=2))
    assert json.loads((run_of(toy_recipe, "stopped") / "result.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(EvaluationForward, "__call__", exhausted)
    monkeypatch.setattr(_Writer, "_ended", exhausted)
    (failure,) = applied(toy_recipe, "failed").failures
    assert failure.problem == "main, seed 0: evaluation does not fit into the memory of cpu: 16 images at a time."


@pytest.mark.parametrize(("asked", "side"), [(None, 256), (256, 128), (48, 32), (32, None)])
def test_smaller_tiles_are_offered_than_those_that_do_not_fit(asked: int | None, side: int | None) -> None:
    data = SimpleNamespace(tile_size=asked)
    plan = SimpleNamespace(canvas=(512, 384), task="segmentation", tile=asked, tables=SimpleNamespace(data=data))
    offered = () if side is None else (f"data.tile_size = {side} evaluates larger pictures in tiles",)
    assert failures._in_tiles(cast(Plan, plan)) == offered


def exhausted(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def test_frozen_stages_that_do_not_fit_are_named_and_the_next_apply_has_the_same_bits(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["freeze.backbone=true"]
    compute, calls = Prefix.__call__, 0

    def limited(self: Prefix, *args: Any, **more: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 3:
            exhausted()
        return compute(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Prefix, "__call__", limited)
        (failure,) = api.apply(toy_recipe, settings, runs=toy_recipe.parent / "runs").failures
    assert failure.problem.startswith("main, seed 0: the frozen stages do not fit into the memory of cpu: ")
    for name in ("runs", "whole"):
        assert not api.apply(toy_recipe, settings, runs=toy_recipe.parent / name).failures
    found, wanted = (load_file(run_of(toy_recipe, name) / "weights.safetensors") for name in ("runs", "whole"))
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_inspection_that_does_not_fit_takes_no_result_away(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.inspection.inspecting.inspect", exhausted)
    notes = Notes()
    done = applied(toy_recipe, "runs", observer=notes)
    assert not done.failures
    assert [line for line in notes.notes if "the inspection of its images failed" in line and "CUDA out of memory" in line]
    assert not applied(toy_recipe, "runs").changed


def test_command_that_runs_out_of_memory_says_so(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):
        monkeypatch.setattr("tlkit.record.run_list.below", lambda _, error=error: (_ for _ in ()).throw(error))
        code, _, said = run("runs", tmp_path)
        assert (code, said.startswith("memory ran out; ")) == (1, True)


def test_where_no_batch_fits_none_is_named(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = api.plan(toy_recipe, [*SETTINGS, "data.batch_size=1"]).values()
    (two,) = api.plan(toy_recipe, ["data.batch_size=2"]).values()
    (four,) = api.plan(toy_recipe, ["data.batch_size=4"]).values()
    cpu = torch.device("cpu")
    assert [memory.fitting(each, cpu) for each in (one, two, four)] == [None, None, 2]
    full(monkeypatch, 0)
    monkeypatch.setattr(device_memory, "usable_memory", lambda device: 1000)
    assert memory.fitting(four, cpu) is None
    (warned,) = api.plan(toy_recipe, ["data.batch_size=64"]).values()
    (line,) = (line for line in warned.warnings if "of memory by estimate" in line)
    assert line.endswith("1 KB are free on cpu")
    (failure,) = applied(toy_recipe, "runs", 'backbone.batch_norm="local"').failures
    assert failure.hints[0].startswith("no smaller batch fits by estimate")


def test_plan_says_which_batch_would_fit(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine,) = api.plan(toy_recipe, ["data.options.train=4000", "data.batch_size=1024"]).values()
    assert not [line for line in mine.warnings if "would fit" in line]
    monkeypatch.setattr(device_memory, "usable_memory", lambda device: mine.memory.total // 2)
    (warned,) = api.plan(toy_recipe, ["data.options.train=4000", "data.batch_size=1024", "optimizer.accumulate=2"]).values()
    (line,) = (line for line in warned.warnings if "would fit" in line)
    fits = int(line.split(": ")[-1].split(" would fit")[0])
    assert f"optimizer.accumulate = {1024 // fits * 2} " in line
    (small,) = api.plan(toy_recipe, ["data.options.train=4000", f"data.batch_size={fits}"]).values()
    (double,) = api.plan(toy_recipe, ["data.options.train=4000", f"data.batch_size={fits * 2}"]).values()
    assert small.memory.total < mine.memory.total // 2 <= double.memory.total


def test_parts_of_a_batch_are_its_images_in_order() -> None:
    x = torch.arange(7.0)[:, None]
    (alone,) = in_pieces([(x, x[:5, 0])], 1)  # [adapt] has images without targets
    assert [len(each) for each in alone] == [len(x), 5]
    parts = in_pieces([(x[:5], x[:5, 0]), (x[5:], x[5:, 0])], 4)
    assert [len(part) for part, _ in parts] == [2, 1, 1, 1, 1, 1]
    assert torch.equal(torch.cat([part for part, _ in parts]), x)
    assert torch.equal(torch.cat([targets for _, targets in parts]), x[:, 0])
