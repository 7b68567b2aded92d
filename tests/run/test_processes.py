"""`apply` by several processes, as torchrun starts them: one run folder, the same result, stopped, killed and continued."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy_domains
from conftest import ROOT, TOY_RECIPE, Cli, python_path

from tlkit import api, machine
from tlkit.engine.ranks.ranks import Alone
from tlkit.errors import TlkitError
from tlkit.record import epoch_lines, predictions
from tlkit.run import joining

TESTS = ROOT / "tests"
APPLY = ["apply", "toy.toml", "--set", "schedule.epochs=3", "--set", "freeze.stem=true", "--set", 'evaluation.test="end"']
# Plain SGD: AdamW divides by small numbers, and what is rounded otherwise may then go another way.
SGD = ["--set", 'optimizer={name="sgd", momentum=0.9}', "--set", "lr_groups={block1=1e-2, block2=1e-2, head=1e-2}"]
Process = dict[str, Any]


def launch(runs: str, size: int, **more: object) -> dict[str, object]:
    return {"size": size, "arguments": [*APPLY, *SGD, "--runs", runs], **more}


# In another folder of pictures is a file that is none.
ADAPTED = toy_domains.recipe(
    head='[head]\nkind = "logistic"\n', data="split = { validation = 0 }\n", adapt='method = "stats"\n', per_class=4
)


def adapted(runs: str, size: int, *settings: str) -> dict[str, object]:
    more = [word for each in settings for word in ("--set", each)]
    return {"size": size, "arguments": ["apply", "adapted.toml", "--runs", runs, *more]}


# One trial makes weights that are not numbers, one is pruned, and the best is not the recipe as written.
SEARCHED = (
    TOY_RECIPE.replace('name = "toy"\n', 'name = "toy"\nseeds = [0, 1]\nprecision = "float32"\n', 1)
    + """
[search]
trials = 4
sampler = "grid"
pruner = "none"
[search.space]
"lr_groups.head" = [1e-2, 1e25, 1e-9, 5e-2]
[data.split]
validation = 0.3
"""
)


def searched(runs: str, size: int) -> dict[str, object]:
    return {"size": size, "arguments": ["apply", "searched.toml", *SGD[:2], "--runs", runs], "prune": 3}


SHARED = ["--executor", "shared", "--processes-per-run", "2", "--cpus-per-run", "2"]
LAUNCHES = {
    "searched alone": searched("alone-searched", 1),
    "searched together": searched("searched", 2),
    "searched before": searched("searched", 2),
    "searched elsewhere": {"size": 1, "arguments": ["apply", "searched.toml", *SGD[:2], "--runs", "elsewhere", *SHARED]},
    "adapted alone": adapted("alone", 1),
    "adapted together": adapted("together", 2),
    "no picture": adapted("unread", 3, "data.options.path=broken"),
    "alone": launch("alone", 1),
    "together": launch("together", 2),
    "killed": launch("killed", 2, end=[1, 8, signal.SIGKILL]),
    "continued by more": launch("killed", 3),
    "stopped": launch("stopped", 2, end=[1, 8, signal.SIGTERM]),
    "continued alone": launch("stopped", 1),
    "sent and killed": launch("file://away", 2, end=[1, 8, signal.SIGKILL]),
    "sent": launch("file://away", 2),
    "another recipe": launch("refused", 2, more={"1": ["--set", "loss.label_smoothing=0.1"]}),
    "a wrong recipe": launch("refused", 2, more={str(rank): ["--set", "data.options.noise=-1"] for rank in (0, 1)}),
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Process]]]:
    """The folder, and what each process of every launch said; see tests/toy_launch.py."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork, so that imports are paid once")
    folder = tmp_path_factory.mktemp("launched")
    (folder / "toy.toml").write_text(TOY_RECIPE)
    (folder / "adapted.toml").write_text(ADAPTED)
    (folder / "searched.toml").write_text(SEARCHED)
    for name, light in (("bright", 250), ("dark", 90), ("broken", 200)):
        toy_domains.pictures(folder / name, light, images=10)
    (folder / "broken" / "green" / "3.png").write_text("no picture")
    done = subprocess.run(
        [sys.executable, str(TESTS / "toy_launch.py"), str(folder)],
        input=json.dumps(list(LAUNCHES.values())),
        env={**os.environ, "HOME": str(folder), "PYTHONPATH": python_path(TESTS, TESTS / "toy")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, dict(zip(LAUNCHES, map(json.loads, done.stdout.splitlines()), strict=True))


def run_of(folder: Path, runs: str, recipe: str = "toy") -> Path:
    (found,) = (folder / runs / recipe).glob("main-s0-*")
    return found


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_same_result(folder: Path, runs: str) -> None:
    mine, alone = run_of(folder, runs), run_of(folder, "alone")
    ours, expected = (epoch_lines.read(each) for each in (mine, alone))
    assert [line["train"]["loss"] for line in ours] == pytest.approx([line["train"]["loss"] for line in expected], rel=1e-5)
    found, known = predictions.load(mine).part("test"), predictions.load(alone).part("test")
    assert np.array_equal(found.index, known.index)
    assert np.array_equal(found.label, known.label)
    assert found.logits == pytest.approx(known.logits, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_two_processes_leave_the_files_and_the_result_of_one(launched: tuple[Path, dict[str, list[Process]]]) -> None:
    folder, said = launched
    first, other = said["together"]
    assert (first["code"], other["code"]) == (0, 0)
    assert (other["out"], other["err"]) == ("", "")
    assert first["out"].startswith("toy: test accuracy")
    assert "main: a step of 2 processes adds up 7.57 KB in " in first["err"]
    assert re.search(r"^main: 2 processes trained [\d,]+ images/s together", first["err"], re.M)
    assert files_of(folder / "together") == files_of(folder / "alone")
    assert_same_result(folder, "together")
    result = json.loads((run_of(folder, "together") / "result.json").read_text())
    assert (result["status"], result["exact"]) == ("finished", True)
    plan = json.loads((run_of(folder, "together") / "plan.json").read_text())
    channels, accumulated = 8 + 16, plan["tables"]["optimizer"].get("accumulate", 1)  # of the blocks: the stem is frozen
    summed = 4 * sum(stage["trained"] for stage in plan["stages"]) + 8 * channels
    exchanged = accumulated * 2 * 8 * channels  # statistics to the other process, and the sums of their gradients
    assert plan["processes"] == {
        "count": 2, "batch_norm": "sync", "summed": summed, "sent": summed + exchanged, "measured": []
    }  # fmt: skip


@pytest.mark.slow
def test_runs_of_several_processes_may_be_behind_an_address(launched: tuple[Path, dict[str, list[Process]]]) -> None:
    pytest.importorskip("fsspec", reason="needs the extra tlkit[shards]")
    folder, said = launched
    assert [each["code"] for each in said["sent and killed"]] == [3, -signal.SIGKILL]
    assert [each["code"] for each in said["sent"]] == [0, 0]
    assert "continues after epoch 1" in said["sent"][0]["err"]
    assert "file://away/toy: holds the runs" in said["sent"][0]["err"]
    kept = {name for name in files_of(folder / "alone" / "toy") if not Path(name).name.startswith(".")}  # no locks
    assert {name for name in files_of(folder / "away" / "toy") if Path(name).name != ".holder"} == kept
    assert_same_result(folder, "away")


@pytest.mark.slow
def test_killed_process_ends_the_others_with_a_message_and_more_continue_from_the_checkpoint(
    launched: tuple[Path, dict[str, list[Process]]],
) -> None:
    folder, said = launched
    first, killed = said["killed"]
    assert (first["code"], killed["code"]) == (3, -signal.SIGKILL)
    assert first["seconds"] - killed["seconds"] < 60
    assert "another process of this run has ended" in first["err"]
    assert "Traceback" not in first["err"]
    continued = said["continued by more"]
    assert [each["code"] for each in continued] == [0, 0, 0]
    assert "continues after epoch 1, not exactly: it was continued with another number of processes" in continued[0]["err"]
    assert_same_result(folder, "killed")


@pytest.mark.slow
def test_signal_to_one_process_stops_all_after_the_same_step_and_one_continues(
    launched: tuple[Path, dict[str, list[Process]]],
) -> None:
    folder, said = launched
    assert [each["code"] for each in said["stopped"]] == [143, 143]
    assert "after 1 of 3 epochs and 3 of 5 steps of the next, which are saved" in said["stopped"][0]["err"]
    assert said["stopped"][1]["err"] == ""
    (alone,) = said["continued alone"]
    assert alone["code"] == 0
    assert "continues in epoch 2 after step 3 of 5, not exactly" in alone["err"]
    assert_same_result(folder, "stopped")


@pytest.mark.slow
def test_processes_that_see_different_recipes_stop_at_once_and_the_first_says_which(
    launched: tuple[Path, dict[str, list[Process]]],
) -> None:
    folder, said = launched
    assert [each["code"] for name in ("another recipe", "a wrong recipe") for each in said[name]] == [1, 1, 1, 1]
    first, other = said["another recipe"]
    assert "process 1 of 2, on " in first["err"]
    assert "it sees something else than process 0: main, seed 0: recipe." in first["err"]
    assert other["err"] == ""
    assert "data.options.noise: is -1" in said["a wrong recipe"][0]["err"]
    assert said["a wrong recipe"][1]["err"] == ""
    assert not (folder / "refused").exists()


@pytest.mark.slow
def test_solved_head_is_adapted_to_the_same_bits_by_two_processes(launched: tuple[Path, dict[str, list[Process]]]) -> None:
    folder, said = launched
    assert [each["code"] for name in ("adapted alone", "adapted together") for each in said[name]] == [0, 0, 0]
    assert (said["adapted together"][1]["out"], said["adapted together"][1]["err"]) == ("", "")
    alone, together = (predictions.load(run_of(folder, runs, "adapted")).part("also.dark") for runs in ("alone", "together"))
    assert len(alone.label) == 18  # of three classes, six each
    assert np.array_equal(alone.logits, together.logits)
    result = json.loads((run_of(folder, "together", "adapted") / "result.json").read_text())
    assert (result["status"], result["exact"]) == ("finished", True)


@pytest.mark.slow
def test_search_of_two_processes_tries_prunes_and_chooses_what_one_does(
    launched: tuple[Path, dict[str, list[Process]]],
) -> None:
    folder, said = launched
    assert [each["code"] for name in ("searched alone", "searched together", "searched before") for each in said[name]] == [
        0
    ] * 5
    assert [(each["out"], each["err"]) for each in (said["searched together"][1], said["searched before"][1])] == [("", "")] * 2
    assert "finished before, nothing to do" in said["searched before"][0]["out"]
    one, two = (json.loads((folder / runs / "toy" / "search.json").read_text()) for runs in ("alone-searched", "searched"))
    assert {each["status"] for each in one["trials"]} == {"finished", "pruned", "failed"}
    for mine, expected in zip(two["trials"], one["trials"], strict=True):
        assert [mine[key] for key in ("values", "status", "epochs")] == [
            expected[key] for key in ("values", "status", "epochs")
        ]
        assert mine["value"] == pytest.approx(expected["value"], abs=1e-3)
    assert two["best"] == one["best"] != 0
    arms = [json.loads((folder / runs / "toy" / "result.json").read_text())["arms"] for runs in ("alone-searched", "searched")]
    assert [list(each["main-best"]["seeds"]) for each in arms] == [["0", "1"]] * 2


@pytest.mark.slow
def test_trials_that_processes_share_elsewhere_come_to_what_they_come_to_here(
    launched: tuple[Path, dict[str, list[Process]]],
) -> None:
    folder, said = launched
    assert [each["code"] for each in said["searched elsewhere"]] == [0], said["searched elsewhere"]
    here, elsewhere = (
        json.loads((folder / runs / "toy" / "search.json").read_text()) for runs in ("alone-searched", "elsewhere")
    )
    assert [each["status"] for each in elsewhere["trials"]] == ["finished", "failed", "finished", "finished"]
    for mine, expected in zip(elsewhere["trials"][:3], here["trials"], strict=False):  # the last one is pruned here
        assert [mine[key] for key in ("values", "status", "epochs")] == [
            expected[key] for key in ("values", "status", "epochs")
        ]
        assert mine["value"] == pytest.approx(expected["value"], abs=1e-3)
    plans = [json.loads(path.read_text()) for path in (folder / "elsewhere" / "toy").glob("main*/plan.json")]
    assert {each["processes"]["count"] for each in plans} == {2}
    assert len(plans) >= 5  # trials, one of which is the best with seed 0, and it with another seed


@pytest.mark.slow
def test_image_that_no_process_can_decode_is_told_by_the_first_alone(launched: tuple[Path, dict[str, list[Process]]]) -> None:
    folder, said = launched
    first, *others = said["no picture"]
    assert [each["code"] for each in said["no picture"]] == [1, 1, 1]
    assert "3.png: is not an image" in first["err"]
    assert [each["err"] for each in others] == ["", ""]
    assert not (folder / "unread").exists()


# Python runs a module of this name at its start: this one ends process 1 after its first epoch, the first time.
ENDING = """\
import glob, os, signal, threading, time

def end():
    while not glob.glob("runs/toy/main-s0-*/checkpoint/state-1*"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

if (os.environ.get("RANK"), os.environ.get("TORCHELASTIC_RESTART_COUNT")) == ("1", "0"):
    threading.Thread(target=end, daemon=True).start()
"""


@pytest.mark.slow
def test_torchrun_starts_processes_again_and_they_continue_from_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(TOY_RECIPE)
    (tmp_path / "sitecustomize.py").write_text(ENDING)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--rdzv-backend=c10d",
            "--rdzv-endpoint=localhost:0", "-m", "tlkit", "apply", "toy.toml", "--set", "schedule.epochs=20",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "PYTHONPATH": python_path(tmp_path, TESTS / "toy")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "another process of this run has ended" in done.stderr
    assert "main, seed 0: continues " in done.stderr
    assert "not exactly" not in done.stderr
    result = json.loads((run_of(tmp_path, "runs") / "result.json").read_text())
    assert (result["status"], result["epochs"], result["exact"]) == ("finished", 20, True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads have names in /proc")
def test_no_thread_of_the_group_is_left_when_a_process_ends() -> None:
    """Threads that were left aborted one of two processes at its end now and then, after all was done."""
    code = """
from pathlib import Path
from tlkit import machine
from tlkit.run import joining

def threads():
    return sum("gloo" in each.read_text() for each in Path("/proc/self/task").glob("*/comm"))

with joining.joined(machine.Started(0, 1, 0, 1)) as ranks:
    ranks.wait()
    import torch._dynamo
    print(threads() > 0)
print(threads())
"""
    alone = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **alone}
    )
    assert (done.stdout.split(), done.stderr) == (["True", "0"], "")


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("more", [[], ["--no-graph"]], ids=["captured", "step by step"])
def test_two_gpus_give_the_result_of_one(more: list[str], tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(TOY_RECIPE)
    python = [sys.executable, "-m"]
    for runs, start in (("alone", python), ("together", [*python, "torch.distributed.run", "--nproc-per-node=2", "-m"])):
        done = subprocess.run(
            [*start, "tlkit", *APPLY, *SGD, "--device", "cuda", *more, "--runs", runs],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
            env={**os.environ, "PYTHONPATH": python_path(TESTS / "toy")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "trains step by step" not in done.stderr
    assert_same_result(tmp_path, "together")


@pytest.mark.parametrize(("method", "gathered"), [("mmd", 2 * 16 * (16 + 4) * 4), ("adabn", 0)])
def test_plan_counts_what_a_method_compares_over_all_processes(method: str, gathered: int, toy_recipe: Path) -> None:
    """Features and logits of both domains: of a batch of 16, by two processes, each sends its half to the other."""
    also = '[also.dark]\nname = "synthetic"\noptions = { classes = 4, train = 60, noise = 0.9 }\nsplit = { per_class = 3 }\n'
    toy_recipe.write_text(f'{TOY_RECIPE}{also}[adapt]\ntarget = "dark"\nmethod = "{method}"\n')
    found = api.plan(toy_recipe, 'backbone.batch_norm="local"', processes=2)["main"].processes
    assert found.sent == found.summed + gathered // 2


STARTED = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "here",
    "MASTER_PORT": "1",
}


def test_what_torchrun_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STARTED.items():
        monkeypatch.setenv(name, value)
    assert machine.started_together() == machine.Started(1, 2, 1, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert machine.started_together() is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RANK": "", "MASTER_ADDR": ""}, "WORLD_SIZE=2: RANK, MASTER_ADDR are not set."),
        ({"LOCAL_RANK": "one"}, "LOCAL_RANK=one: is not a whole number."),
        ({"RANK": "2"}, "RANK=2, WORLD_SIZE=2, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2: do not go together."),
    ],
)
def test_several_processes_without_what_torchrun_sets_are_refused(
    change: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (STARTED | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TlkitError) as error:
        machine.started_together()
    assert error.value.problem == words
    assert "torchrun --nproc-per-node=N -m tlkit apply RECIPE" in str(error.value)


def test_command_that_has_one_process_says_so_once(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STARTED.items():
        monkeypatch.setenv(name, value)
    assert run("list") == (1, "", "")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    code, out, err = run("list")
    assert (code, out) == (1, "")
    assert err.startswith("tlkit list: runs in one process, and torchrun started 2.")


@dataclass(frozen=True)
class Telling(Alone):
    """A process that hears from all others what it says itself, or what is given."""

    others: str = ""

    def texts(self, text: str) -> list[str]:
        return [text if rank == self.rank else self.others or text for rank in range(self.size)]


@pytest.mark.parametrize(
    ("name", "gpus", "expected"), [("auto", 0, "cpu"), ("cpu", 2, "cpu"), ("auto", 2, "cuda:1"), ("cuda", 2, "cuda:1")]
)
def test_each_process_has_a_device_of_its_own(name: str, gpus: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert joining.device_name(name, machine.Started(1, 2, 1, 2), Telling(1, 2)) == expected


def test_a_process_takes_the_gpu_that_it_alone_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """As srun --gpus-per-task=1 starts them: each calls its own cuda:0."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="a"))
    assert joining.device_name("auto", machine.Started(1, 2, 1, 2), Telling(1, 2, others="node b 0")) == "cuda:0"


@pytest.mark.parametrize(("name", "words"), [("cuda:0", "is one GPU for 2 processes"), ("cuda", "there is 1 GPU")])
def test_processes_that_would_share_a_gpu_are_refused(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="a"))
    with pytest.raises(TlkitError, match=words):
        joining.device_name(name, machine.Started(0, 2, 0, 2), Telling(0, 2))


@pytest.mark.parametrize("what", ["version of torch", "main, seed 0: data", "main, seed 0: weights"])
def test_first_thing_that_differs_between_processes_is_named(what: str) -> None:
    first = {
        "version of torch": "2.14",
        "main, seed 0: data": "a" * 64,
        "main, seed 0: weights": "b" * 64,
        "main, seed 0: recipe": "c",
    }
    mine = {**first, what: "d" * 64, "main, seed 0: recipe": "e"}
    assert joining._difference(first, first) == ""
    line, values, _ = joining._difference(first, mine).splitlines()
    assert line == f"it sees something else than process 0: {what}."
    assert values == f"process 0 has {first[what][:16]}, it has {'d' * 16}"
