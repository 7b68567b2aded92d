"""Runs that are carried out elsewhere have the bits of those that are carried out here, and what goes wrong there is told."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_domains
from conftest import ROOT, TOY, TOY_RECIPE, python_path
from pages import Page
from safetensors.torch import load_file
from tlkit_toy_build import ToyNet
from toy_observers import Notes

from tlkit import api, testing
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, PluginError, RunFailed, TlkitError
from tlkit.events import Elsewhere
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.plugin import Demand, registry
from tlkit.record import epoch_lines
from tlkit.run import planned_runs, remote_worker
from tlkit.run.preparation import Prepared

HERE = """
import json
from tlkit.plugin import Executor
from tlkit_toy_executor import run

def with_a_fault(work, demand, watch):
    yield from ((name, MemoryError("the machine is full") if name.startswith("a,") else each()) for name, each in work.items())

def changed(work, demand, watch):
    for name, each in work.items():
        sent = json.loads(each.args[0])
        sent |= {"mark": "/nowhere/else"} if name.startswith("a,") else {"digest": "0" * 64}
        yield name, each.func(json.dumps(sent))

faulty = Executor(run="here_executors:with_a_fault")
changed_runs = Executor(run="here_executors:changed")
def silent(work, demand, watch):
    return iter(())

def broken(work, demand, watch):
    yield "someone else's", "done"

def losing(work, demand, watch):
    yield from run({name: each for name, each in work.items() if name != "trial 1"}, demand, watch)
    yield from ((name, MemoryError("the machine is full")) for name in work if name == "trial 1")

loses = Executor(run="here_executors:losing")
def again(work, demand, watch):
    yield from (*run(work, demand, watch), *run(work, demand, watch))

nothing = Executor(run="here_executors:silent")
twice = Executor(run="here_executors:again")
stranger = Executor(run="here_executors:broken")
absent = Executor(run="here_executors:run", needs="no_such_library", install="tlkit[absent]")
"""
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray, pip install 'tlkit[ray]'")
ARMS = "\n[arms.a]\n[arms.b]\nfreeze = { stem = true }\n"


class Seen(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, int]] = []

    def elsewhere(self, run: Elsewhere) -> None:
        self.seen.append((run.label, run.state, run.epoch))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, tuple[str, ...]], None]]:
    """Put executors on sys.path: their module, its code, their names in it."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)

    def put(module: str, code: str, names: tuple[str, ...]) -> None:
        folder = tmp_path / "site"
        (folder / f"{module}-1.0.dist-info").mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        lines = "".join(f"{name} = {module}:{name}\n" for name in names)
        (folder / f"{module}-1.0.dist-info" / "entry_points.txt").write_text("[tlkit.executors]\n" + lines)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", python_path(folder, TOY))
        registry.scan.cache_clear()

    yield put
    registry.scan.cache_clear()


@pytest.fixture
def two(toy_recipe: Path) -> Path:
    toy_recipe.write_text(toy_recipe.read_text() + ARMS)
    return toy_recipe


def differing(ours: Path, theirs: Path) -> list[str]:
    """Runs whose weights are others, or that say that they are not exact."""
    found = []
    for path in sorted(theirs.rglob("weights.safetensors")):
        mine = ours / path.relative_to(theirs)
        here, there = load_file(mine), load_file(path)
        if any(not torch.equal(here[name], there[name]) for name in there):
            found.append(path.parent.name)
        if not json.loads((mine.parent / "result.json").read_text())["exact"]:
            found.append(f"{path.parent.name} is not exact")
    return found


def test_runs_elsewhere_have_the_bits_of_runs_here(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    threads, prepare = torch.get_num_threads(), planned_runs.prepare_as_planned

    def waits(job: Job, plan: Plan, runtime: Runtime) -> Prepared:
        runtime.observer.note("waits for another process")
        return prepare(job, plan, runtime)

    monkeypatch.setattr(planned_runs, "prepare_as_planned", waits)
    notes, runs = Seen(), two.parent / "elsewhere"
    done = api.apply(two, runs=runs, executor="here", cpus_per_run=threads, observer=notes)
    assert done.failures == ()
    assert [line for line in notes.notes if "finished" in line] == ["a, seed 0: finished", "b, seed 0: finished"]
    told = [line for line in notes.notes if "waits" in line]
    assert told == ["a, seed 0: waits for another process", "b, seed 0: waits for another process"]
    states = [(state, epoch) for label, state, epoch in notes.seen if label == "a, seed 0"]
    assert states == [("waiting", 0), ("running", 0), ("running", 1), ("running", 2), ("finished", 2)]
    api.apply(two, runs=two.parent / "here")
    assert differing(runs, two.parent / "here") == []
    assert not list(runs.rglob(".seen-*"))
    assert not api.apply(two, runs=runs, executor="here").changed
    assert torch.get_num_threads() == threads


def test_runs_behind_an_address_are_carried_out_by_workers_that_share_no_folder(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra tlkit[shards]")
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    address, threads = "memory://bucket/runs", torch.get_num_threads()
    notes = Seen()
    done = api.apply(two, runs=address, executor="here", cpus_per_run=threads, observer=notes)
    assert done.failures == ()
    assert [line for line in notes.notes if line.startswith(address)] == [
        f"{address}/toy: holds the runs; a copy is {done.folder}"
    ]
    there = [path.rpartition("runs/")[2] for path in fsspec.filesystem("memory").find("/bucket/runs")]
    assert {Path(path).name for path in there} >= {"result.json", "weights.safetensors", "metrics.jsonl"}
    api.apply(two, runs=two.parent / "here")
    assert differing(done.folder.parent, two.parent / "here") == []
    shutil.rmtree(done.folder.parent)  # another machine
    again = api.apply(two, runs=address)
    assert not again.changed
    assert differing(again.folder.parent, two.parent / "here") == []


def test_trials_elsewhere_are_those_of_a_search_here(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    search = """[data.split]
validation = 0.3
[search]
trials = 7
at_once = 3
pruner = "median"
[search.space]
"lr_groups.head" = { log = [1e-6, 1e-1] }
"optimizer.name" = ["adamw"]
"""
    toy_recipe.write_text(toy_recipe.read_text() + search)
    found = []
    for name, executor in (("elsewhere", "here"), ("here", "local")):
        notes, threads = Seen(), torch.get_num_threads()
        done = api.apply(
            toy_recipe,
            "precision=float32",
            runs=toy_recipe.parent / name,
            executor=executor,
            cpus_per_run=threads,
            observer=notes,
        )
        assert done.failures == ()
        kept = json.loads((done.folder / "search.json").read_text())
        found.append([{key: value for key, value in each.items() if key != "seconds"} for each in kept["trials"]])
        assert ("trial 1", "finished", 2) in notes.seen or executor == "local"
    assert len(found[0]) == 7
    assert found[0] == found[1]
    assert differing(toy_recipe.parent / "elsewhere", toy_recipe.parent / "here") == []


def test_trial_that_is_lost_elsewhere_is_no_failed_trial(
    toy_recipe: Path, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("here_executors", HERE, ("loses",))
    space = '[search.space]\n"lr_groups.head" = [1e-2, 1e-3, 1e30]\n'
    search = f'[data.split]\nvalidation = 0.3\n[search]\ntrials = 3\nat_once = 3\nsampler = "grid"\npruner = "none"\n{space}'
    toy_recipe.write_text(toy_recipe.read_text() + search)
    runs = toy_recipe.parent / "runs"
    with pytest.raises(RunFailed, match=r"trial 1: MemoryError: the machine is full"):
        api.apply(toy_recipe, "precision=float32", runs=runs, executor="loses")
    assert [each["number"] for each in json.loads((runs / "toy" / "search.json").read_text())["trials"]] == [0]
    api.apply(toy_recipe, "precision=float32", runs=runs, executor="here")
    trials = json.loads((runs / "toy" / "search.json").read_text())["trials"]
    assert [each["status"] for each in trials] == ["finished", "finished", "failed"]  # the last one by its rate


def test_run_that_cannot_be_carried_out_is_told_and_the_others_go_on(two: Path, install: Callable[..., None]) -> None:
    install("here_executors", HERE, ("faulty",))
    done = api.apply(two, runs=two.parent / "runs", executor="faulty")
    assert [error.problem for error in done.failures] == ["a, seed 0: MemoryError: the machine is full."]
    assert done.result["arms"]["b"]["seeds"]["0"]["status"] == "finished"


def test_worker_that_sees_other_files_says_so_and_trains_nothing(two: Path, install: Callable[..., None]) -> None:
    install("here_executors", HERE, ("changed_runs",))
    done = api.apply(two, runs=two.parent / "runs", executor="changed_runs")
    assert [error.problem for error in done.failures] == [
        "a, seed 0: /nowhere: a worker does not see this folder.",
        "b, seed 0: a worker sees other images or other weights.",
    ]
    assert not list((two.parent / "runs").rglob("state-*"))


def test_executor_that_breaks_the_contract_is_told_where(two: Path, install: Callable[..., None]) -> None:
    install("here_executors", HERE, ("nothing", "stranger", "twice"))
    done = api.apply(two, runs=two.parent / "runs", executor="nothing", arm="b")
    assert [error.problem for error in done.failures] == ["b, seed 0: here_executors:silent did not say what became of it."]
    with pytest.raises(PluginError, match=r"here_executors:silent: gave None for work that returns 'done'"):
        list(testing.check("nothing"))
    with pytest.raises(PluginError, match=r"here_executors:broken: gave .*not the name of a run and what became of it"):
        api.apply(two, runs=two.parent / "runs", executor="stranger", arm="b")
    with pytest.raises(PluginError, match=r"here_executors:again: gave .*'b, seed 0'"):
        api.apply(two, runs=two.parent / "runs", executor="twice", arm="b")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"executor": "rya"}, r'executor="rya": there is no executor "rya" installed'),
        ({"executor": "absent"}, r"needs no_such_library, which is not installed"),
        ({"cpus_per_run": 0}, r'cpus_per_run="0": a run needs a processor'),
        ({"gpus_per_run": -1.0}, r'gpus_per_run="-1.0": is no number of GPUs'),
        ({"address": "auto"}, r'address="auto": local has no cluster'),
        ({"processes_per_run": 0}, r'processes_per_run="0": a run needs a process'),
        ({"processes_per_run": 2}, r'processes_per_run="2": local carries out runs in this process(.|\n)*torchrun'),
        ({"processes_per_run": 2, "executor": "here"}, r'processes_per_run="2": here starts one process for a run'),
        pytest.param(
            {"processes_per_run": 2, "executor": "ray"},
            r'1 processors cannot be divided among 2(.|\n)*cpus_per_run="2"',
            marks=needs_ray,
        ),
        pytest.param(
            {"processes_per_run": 2, "executor": "ray", "cpus_per_run": 2, "gpus_per_run": 1.0},
            r"a GPU of its own, or none",
            marks=needs_ray,
        ),
        pytest.param(
            {"executor": "ray", "address": "127.0.0.1:9"},
            r'address="127.0.0.1:9": nothing answers .*: Connection refused',
            marks=needs_ray,
        ),
    ],
)
def test_what_no_executor_can_do_is_a_message(
    two: Path, install: Callable[..., None], options: dict[str, object], words: str
) -> None:
    install("here_executors", HERE, ("absent",))
    with pytest.raises(TlkitError, match=words):
        api.apply(two, runs=two.parent / "runs", **options)
    assert not (two.parent / "runs").exists()


def test_the_text_that_is_sent_can_be_read_by_no_other_version(two: Path) -> None:
    answer = json.loads(remote_worker.carry_out(json.dumps({"environment": {}, "version": "0.0.1"})))
    assert answer["ended"] == "failed"
    assert "tlkit 0.0.1" in answer["problem"]


SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # the frame with which a server of HTTP/2 begins
PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0, *range(8)])


def headers(block: bytes) -> bytes:
    """Return what servers of HTTP/2 sent, up to the headers of the answer."""
    return SETTINGS + PING + len(block).to_bytes(3) + bytes([1, 5, 0, 0, 0, 1]) + block


IS_GRPC = b"\x88@\x0ccontent-type\x10application/grpc"
NO_SUCH_CALL = headers(IS_GRPC + b"@\x0bgrpc-status\x0212\x00\x0cgrpc-message\x11Method not found!")


@contextlib.contextmanager
def answering(sent: bytes, again: bytes = b"") -> Iterator[str]:
    """Listen on this machine, and say something to who connects, and something again and again; gives the address."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):  # the other end may close first
                for number in range(len(sent)):
                    connection.sendall(sent[number : number + 1])  # a network may divide it anywhere
                while not ended.wait(0.05):
                    connection.sendall(again)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


@needs_ray
@pytest.mark.parametrize(
    ("sent", "again", "words"),
    [
        (b"", b"", "nothing answers there: timed out"),
        (SETTINGS, b"", "nothing answers there: timed out"),
        (SETTINGS, PING, "nothing answers there: timed out"),
        (b"HTTP/1.1 400 no\r\n", b"", "what answers there is no Ray cluster"),
        (b"\0" * 20, b"", "what answers there is no Ray cluster"),
        (headers(b"\x88@\x0ccontent-type\x09text/html"), b"", "what answers there is no Ray cluster"),
        (NO_SUCH_CALL, b"", "what answers there is no Ray cluster"),
    ],
    ids=["silent", "HTTP/2, silent", "HTTP/2, only pings", "HTTP/1", "zeros", "HTTP/2, a page", "gRPC, not Ray"],
)
@pytest.mark.parametrize("kind", ["", "ray://"])
def test_address_of_something_else_than_ray_is_a_message(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, again: bytes, words: str, kind: str
) -> None:
    from tlkit_executors import ray_address

    monkeypatch.setattr(ray_address, "_ANSWER", 0.3 if "timed out" in words else 2)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    with answering(sent, again) as place, pytest.raises(TlkitError, match=words):
        ray_address.ask(Demand(address=kind + place))


@needs_ray
@pytest.mark.parametrize(
    "sent",
    [
        headers(IS_GRPC + b"@\x14grpc-accept-encoding\x17identity, deflate, gzip"),  # Ray 2.60.0, without what follows
        headers(bytes.fromhex("885f8b1d75d0620d263d4c4d6564")),  # the same by a proxy that shortens headers: RFC 7541
    ],
)
def test_address_where_ray_answers_is_one(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    from tlkit_executors import ray_address

    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    with answering(sent) as place:
        ray_address.ask(Demand(address=place))
        monkeypatch.setenv("RAY_ADDRESS", place)
    with pytest.raises(TlkitError, match=f'address="{place}": nothing answers there: Connection refused'):
        ray_address.ask(Demand())


@needs_ray
def test_names_that_are_looked_up_for_long_and_clusters_that_are_gone_are_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from tlkit_executors import ray_address

    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda _: "127.0.0.1:9")
    with pytest.raises(
        TlkitError, match=r'address="auto": nothing answers at 127\.0\.0\.1:9, the last cluster of this machine: C'
    ):
        ray_address.ask(Demand(address="auto"))
    monkeypatch.setattr(ray_address, "_ALL", 0.1)
    ended = threading.Event()

    def lingers(*_: object, **__: object) -> None:
        ended.wait(10)
        raise OSError("late")

    monkeypatch.setattr(socket, "getaddrinfo", lingers)
    with pytest.raises(TlkitError, match="nothing answers there: timed out"):
        ray_address.ask(Demand(address="far.example:6379"))
    ended.set()


@needs_ray
def test_worker_that_is_told_to_end_is_one_whose_run_goes_on_elsewhere() -> None:
    from tlkit_executors import ray_tasks

    def stopped(number: signal.Signals) -> str:
        raise Interrupted(number, "stopped after 3 of 10 epochs, which are saved.")

    with pytest.raises(ray_tasks.Moved, match="stopped after 3 of 10 epochs"):
        ray_tasks.called(partial(stopped, signal.SIGTERM))
    with pytest.raises(Interrupted):
        ray_tasks.called(partial(stopped, signal.SIGINT))


@needs_ray
@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ConnectionError("Could not find any running Ray instance."), "start the cluster, `ray start --head`, or leave the"),
        (RuntimeError("Version mismatch: The cluster has:\n    Ray: 2.9.3"), "has: Ray: 2.9.3\n  this is Ray "),
    ],
)
def test_cluster_that_cannot_be_used_is_said_to_be_started_or_of_another_version(
    error: Exception, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from tlkit_executors import ray_tasks

    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(TlkitError, match="Ray cannot connect") as found:
        ray_tasks._connect("auto")
    assert hint in str(found.value)


SEARCHED = """
[search]
trials = 3
sampler = "grid"
pruner = "none"
[search.space]
"lr_groups.head" = [1e-2, 1e25, 5e-2]
[data.split]
validation = 0.3
"""


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with what runs on a Ray cluster left, and what was told of them: see tests/toy_ray.py; "whole" has the same of one process."""
    for library in ("ray", "moto", "s3fs"):
        pytest.importorskip(library, reason="needs ray, moto[server] and s3fs")
    folder, tests = tmp_path_factory.mktemp("ray"), str(ROOT / "tests")
    four = (
        (TOY_RECIPE + ARMS).replace("epochs = 2", "epochs = 10").replace('name = "toy"\n', 'name = "toy"\nseeds = [0, 1]\n', 1)
    )
    (folder / "toy.toml").write_text(four)
    searched = TOY_RECIPE.replace('name = "toy"\n', 'name = "toy"\nprecision = "float32"\n', 1)
    (folder / "searched.toml").write_text(searched + SEARCHED)
    toy_domains.pictures(folder / "pictures", 250)
    torch.save(ToyNet().state_dict(), folder / "toy.pth")
    environment = {
        **os.environ, "HOME": str(folder), "PYTHONPATH": python_path(ROOT / "tests", TOY), "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, f"{tests}/toy_ray.py", str(folder)], capture_output=True, text=True, check=False, timeout=1800,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        for recipe, runs, arm in (("toy", "whole", None), ("searched", "searched-whole", None), ("toy", "stopped", "a")):
            assert api.apply(folder / f"{recipe}.toml", runs=folder / runs, arm=arm).failures == ()
    return folder, json.loads(done.stdout.splitlines()[-1])


@needs_ray
@pytest.mark.slow
def test_ray_cluster_that_loses_a_worker_and_a_node_gives_the_bits_of_one_process(on_ray: tuple[Path, dict[str, Any]]) -> None:
    folder, told = on_ray
    assert told["failures"] == []
    assert len(told["killed"]) == 2
    assert len([line for line in told["notes"] if line.endswith(": finished")]) == 4
    assert [line for line in told["notes"] if ": epoch 1 of 10: validation loss " in line]
    assert "no node of the cluster has 7 CPUs and 0 GPUs for a run" in told["asked"]
    assert differing(folder / "runs", folder / "whole") == []


@needs_ray
@pytest.mark.slow
def test_runs_that_two_processes_of_ray_share_come_to_what_one_comes_to(on_ray: tuple[Path, dict[str, Any]]) -> None:
    folder, told = on_ray
    (divided,) = (folder / "shared").rglob("resolved.toml")
    assert "processes = 2\n" in divided.read_text()
    here = epoch_lines.read(folder / "whole" / divided.parent.relative_to(folder / "shared"))
    there = epoch_lines.read(divided.parent)
    # sums of two processes are taken in another order: docs/ranks.md says what BatchNorm and AdamW make of that
    assert there[0]["train"]["loss"] == pytest.approx(here[0]["train"]["loss"], rel=1e-4)
    losses = [[line["train"]["loss"] for line in lines] for lines in (there, here)]
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)
    assert [line for line in told["s3"] if line.startswith("s3://bucket/runs/toy: holds the runs")]
    assert differing(folder / "s3", folder / "shared") == []  # the same processes, undisturbed and behind an address


@needs_ray
@pytest.mark.slow
def test_search_whose_trials_two_processes_of_ray_share_is_that_of_one_process(on_ray: tuple[Path, dict[str, Any]]) -> None:
    folder, told = on_ray
    there, here = (json.loads((folder / runs / "toy" / "search.json").read_text()) for runs in ("searched", "searched-whole"))
    assert [each["status"] for each in there["trials"]] == ["finished", "failed", "finished"]
    assert there["best"] == here["best"]
    for mine, expected in zip(there["trials"], here["trials"], strict=True):
        assert [mine[key] for key in ("values", "status", "epochs")] == [
            expected[key] for key in ("values", "status", "epochs")
        ]
        assert mine["value"] == pytest.approx(expected["value"], abs=1e-3)
    assert "trial 1: failed: main, seed 0: epoch 1, batch " in "\n".join(told["searched"])
    plans = [json.loads(path.read_text()) for path in (folder / "searched" / "toy").glob("main*/plan.json")]
    assert {each["processes"]["count"] for each in plans} == {2}


@needs_ray
@pytest.mark.slow
def test_ways_that_advice_tries_on_ray_are_trained_and_told(on_ray: tuple[Path, dict[str, Any]]) -> None:
    folder, told = on_ray
    assert {"everything", "head", "late"} <= told["advised"].keys()
    results = [json.loads(path.read_text()) for path in (folder / "advised").rglob("result.json") if path.parent.name != "toy"]
    assert [each["status"] for each in results if "status" in each].count("finished") >= len(told["advised"])


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("name", ["stopped", "together"])
def test_ctrl_c_stops_all_runs_on_ray_and_saves_them(name: str, on_ray: tuple[Path, dict[str, Any]]) -> None:
    folder, told = on_ray
    said = told[name]
    if said["statuses"] == ["finished"]:
        pytest.skip("this machine was done before it could be stopped")
    assert said["code"] == 130, said
    assert "stopped by SIGINT" in said["said"]
    assert "Traceback" not in said["said"]
    assert said["seconds"] < 60
    assert "interrupted" in said["statuses"]
    if name == "stopped":  # and then applied again, in one process
        assert differing(folder / "whole", folder / "stopped") == []


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit, pip install submitit")
def test_executor_of_the_page_is_short_and_carries_out_runs(
    two: Path, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [each for each in Page(ROOT / "docs" / "plugins.md").blocks if each.marker == "plugin: tlkit_slurm.py"]
    assert len(block.text.splitlines()) < 60
    install("tlkit_slurm", block.text, ("slurm",))
    monkeypatch.chdir(two.parent)
    assert list(testing.check("slurm")) == ["calls work and gives what it returned", "gives the exception of work that failed"]
    applied = api.apply(two, executor="slurm", address="local", arm="b")
    assert applied.failures == ()
    assert applied.result["arms"]["b"]["seeds"]["0"]["status"] == "finished"
