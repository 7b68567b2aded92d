"""Run folders behind an address: what is there counts, and a machine that went away leaves what it had sent."""

import errno
import json
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

from tlkit import plugin
from tlkit.errors import DataError, RunLocked, TlkitError
from tlkit.record import file_lock, remote_runs, remote_sending
from tlkit.record.remote_runs import RemoteRuns

fsspec = pytest.importorskip("fsspec", reason="needs the extra tlkit[shards]")


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """A server on this machine that speaks S3, with the bucket "bucket"."""
    server_of = pytest.importorskip("moto.server", reason="needs moto[server] and s3fs")
    pytest.importorskip("s3fs", reason="needs the extra tlkit[shards]")
    server = server_of.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield
    server.stop()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], RemoteRuns]]:
    """Give machines by name, each with a copy of its own of what is behind one address."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    address = f"{request.param}://bucket/{uuid.uuid4().hex}/runs"
    yield lambda name: RemoteRuns(address, tmp_path / name)
    fsspec.filesystem("memory").store.clear()


def write(machine: RemoteRuns, **files: str) -> None:
    """Write files of a run, one after the other; "__" stands for a folder."""
    for number, (name, text) in enumerate(files.items()):
        path = machine.folder / "toy" / "main-s0-1" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(number, number))


def read(machine: RemoteRuns) -> dict[str, str]:
    folder = machine.folder / "toy"
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if not path.name.startswith(".")}


def test_another_machine_finds_what_was_sent(machine: Callable[[str], RemoteRuns]) -> None:
    one, two = machine("one"), machine("two")
    write(one, result="running", checkpoint__first="1")
    (one.folder / "toy" / "result.json").write_text("{}")
    (one.folder / "toy" / "main-s0-1" / ".lock").touch()
    one.send_all("toy")
    two.fetch("toy")
    assert read(two) == read(one) == {"main-s0-1/checkpoint/first": "1", "main-s0-1/result": "running", "result.json": "{}"}
    assert not (two.folder / "toy" / "main-s0-1" / ".lock").exists()
    (two.folder / "toy" / "main-s0-1" / "checkpoint" / "first").unlink()
    write(two, result="finished", checkpoint__second="2")
    two.send("toy/main-s0-1")
    one.fetch("toy/main-s0-1")
    assert read(one) == read(two)
    assert "main-s0-1/checkpoint/first" not in read(one)


def test_what_could_not_be_sent_stays_until_the_run_changed_there(machine: Callable[[str], RemoteRuns]) -> None:
    one, two = machine("one"), machine("two")
    write(one, result="epoch 1")
    one.send_all("toy")
    write(one, result="epoch 2", metrics="2")
    one.fetch("toy")
    assert read(one)["main-s0-1/result"] == "epoch 2"
    two.fetch("toy")
    write(two, result="of another machine")
    two.send_all("toy")
    one.fetch("toy")
    assert read(one) == read(two) == {"main-s0-1/result": "of another machine"}
    fsspec.filesystem(one.address.partition(":")[0]).rm(one.address, recursive=True)
    one.fetch("toy")
    assert read(one) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_runs_are_fetched_where_the_file_system_has_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    one, two = (RemoteRuns(f"file://{tmp_path}/runs", tmp_path / name) for name in ("one", "two"))
    write(one, result="finished")
    one.send_all("toy")
    two.fetch("toy")
    assert read(two) == read(one)


def test_copy_that_another_process_fetches_into_for_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = RemoteRuns(f"file://{tmp_path}/runs", tmp_path)
    monkeypatch.setattr(remote_runs, "_PATIENCE", 0.0)
    with file_lock.held(one.folder / ".lock"), pytest.raises(DataError, match="another process was still fetching runs"):
        one.fetch("toy")


def test_command_that_reads_a_run_waits_while_another_process_sends_it(
    machine: Callable[[str], RemoteRuns], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, call = machine("one"), plugin.call
    write(one, result="running")
    one.send_all("toy")
    reading = threading.Thread(target=RemoteRuns(one.address, one.folder).fetch, args=("toy",))

    def between(function: str, *args: Any) -> object:
        found = call(function, *args)
        if function.endswith(":send") and args[0].name == "result" and reading.ident is None:
            reading.start()
            reading.join(0.05)
        return found

    monkeypatch.setattr(plugin, "call", between)
    write(one, result="finished", weights="of the best epoch")
    one.send_all("toy")
    reading.join()
    assert read(one) == {"main-s0-1/result": "finished", "main-s0-1/weights": "of the best epoch"}


def test_machine_that_lost_a_run_meanwhile_sends_nothing_of_it(machine: Callable[[str], RemoteRuns]) -> None:
    one, two = machine("one"), machine("two")
    run, told = "toy/main-s0-1", list[str]()
    send, send_too = (remote_sending.sending(each, told.append) for each in (one, two))
    write(one, result="running", checkpoint__state="epoch 1")
    send(one.folder / run)
    two.fetch("toy")  # one is away from now on: its network, or its disk, does not answer
    write(two, result="running", checkpoint__state="of epoch 2")
    send_too(two.folder / run)
    there = read(two)
    for name in ("three", "four"):
        write(one, result="epoch 1 again", metrics="m")
        (one.folder / "toy" / "result.json").write_text("{}")
        with pytest.raises(RunLocked, match=rf"{one.address}/{run}: process \d+ on .* has taken this over"):
            send(one.folder / run)
        with remote_sending.gathered(one, "toy", told.append):  # what is sent at the end, of all runs
            pass
        with pytest.raises(TlkitError, match="it failed"), remote_sending.gathered(one, "toy", told.append):
            raise TlkitError("it failed.")
        machine(name).fetch("toy")
        assert read(machine(name)) == {**there, "result.json": "{}"}
        two.holders.end()  # one, which comes back later still, sends nothing either
    later = RemoteRuns(one.address, one.folder)  # another process of that machine, long after
    write(later, result="looked at")
    with pytest.raises(RunLocked, match="another process has changed this since it was fetched"):
        later.send(run)
    later.fetch("toy")
    write(later, result="looked at")
    later.send(run)
    two.fetch("toy")
    assert read(two)["main-s0-1/result"] == "looked at"


def test_run_that_was_lost_without_an_end_is_sent_by_whoever_goes_on(machine: Callable[[str], RemoteRuns]) -> None:
    gone, one, told = machine("one"), machine("one"), list[str]()
    write(gone, result="running")
    gone.begin("toy/main-s0-1")
    with file_lock.held(gone.folder / "toy" / "main-s0-1" / ".lock"), remote_sending.gathered(one, "toy", told.append):
        pass  # it is not gone yet
    (path,) = fsspec.filesystem(one.address.partition(":")[0]).find(one.address)
    assert path.endswith("/toy/main-s0-1/.holder")
    assert told[0].startswith(f"not sent: {one.address}/toy/main-s0-1: process {os.getpid()} on ")
    assert told[1:] == [f"{one.address}/toy: holds the runs but 1; a copy is {one.folder / 'toy'}"]
    remote_sending.sending(one, print)(one.folder / "toy" / "main-s0-1")
    two = machine("two")
    two.fetch("toy")
    assert read(two) == {"main-s0-1/result": "running"}


def test_finished_run_whose_last_send_failed_is_sent_by_the_next_command(
    machine: Callable[[str], RemoteRuns], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit_shards import remote_files

    def gone(path: Path, place: str) -> None:
        raise DataError(f"{place}: the network is gone.")

    one, told = machine("one"), list[str]()
    send = remote_sending.sending(one, told.append)
    write(one, result="running")
    send(one.folder / "toy" / "main-s0-1")
    write(one, result="finished", weights="w")
    with monkeypatch.context() as patch:
        patch.setattr(remote_files, "send", gone)
        send(one.folder / "toy" / "main-s0-1")
        with pytest.raises(DataError, match="gone"), remote_sending.gathered(one, "toy", told.append):
            pass
    told.clear()
    again, two, three = machine("one"), machine("two"), machine("three")
    again.fetch("toy")
    with remote_sending.gathered(again, "toy", told.append):  # nothing is left to train
        pass
    assert told == [f"{one.address}/toy: holds the runs; a copy is {one.folder / 'toy'}"]
    two.fetch("toy")
    assert read(two) == {"main-s0-1/result": "finished", "main-s0-1/weights": "w"}
    write(two, result="looked at")  # it has an end there
    two.send("toy/main-s0-1")
    three.fetch("toy")
    assert read(three)["main-s0-1/result"] == "looked at"


def test_run_that_another_machine_finished_since_it_was_fetched_is_not_begun(machine: Callable[[str], RemoteRuns]) -> None:
    one, two, told = machine("one"), machine("two"), list[str]()
    run = "toy/main-s0-1"
    two.fetch("toy")
    write(one, result="finished", weights="w")
    with remote_sending.gathered(one, "toy", told.append):
        remote_sending.sending(one, told.append)(one.folder / run)
    write(two, result="running")
    with pytest.raises(RunLocked, match=f"^{one.address}/{run}: another process has changed this since") as caught:
        remote_sending.sending(two, told.append)(two.folder / run)
    assert caught.value.hints[0].startswith("run the same command again")
    told.clear()
    with remote_sending.gathered(two, "toy", told.append):
        pass
    assert told[0].startswith(f"not sent: {one.address}/{run}: another process has changed this")
    two.fetch("toy")
    assert read(two) == read(one) == {"main-s0-1/result": "finished", "main-s0-1/weights": "w"}
    remote_sending.sending(two, told.append)(two.folder / run)


def test_files_are_sent_in_the_order_in_which_they_were_written(
    machine: Callable[[str], RemoteRuns], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit_shards import remote_files

    one, two, sent = machine("one"), machine("two"), list[str]()
    send = remote_files.send

    def breaks(path: Path, place: str) -> None:
        if len(sent) == 2:
            raise DataError(f"{place}: the network is gone.")
        if not path.name.startswith("."):  # who began the run
            sent.append(path.name)
        send(path, place)

    monkeypatch.setattr(remote_files, "send", breaks)
    write(one, weights="w", metrics="m", checkpoint__state="s")
    told: list[str] = []
    remote_sending.sending(one, told.append)(one.folder / "toy" / "main-s0-1")
    assert sent == ["weights", "metrics"]
    (line,) = told
    assert line.startswith(f"not sent, and tried again later: {one.address}/toy/main-s0-1/")
    two.fetch("toy")
    assert read(two) == {"main-s0-1/metrics": "m", "main-s0-1/weights": "w"}
    sent.clear()
    monkeypatch.setattr(remote_files, "send", send)
    one.send_all("toy")
    two.fetch("toy")
    assert read(two) == read(one)


def test_a_folder_is_no_address_and_an_unknown_one_is_named() -> None:
    assert remote_runs.of("runs") is None
    kept = remote_runs.of("nowhere://bucket/runs/")
    assert kept.address == "nowhere://bucket/runs"
    with pytest.raises(DataError, match=r"nowhere:// is no kind of address that fsspec knows"):
        kept.fetch("toy")
    with pytest.raises(TlkitError, match=r"s3:/bucket: is an address that was made a Path"):
        remote_runs.of(str(Path("s3://bucket")))
    with pytest.raises(TlkitError, match=r"s3:///: is an address without a place"):
        remote_runs.of("s3:///")


def test_what_cannot_be_written_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = RemoteRuns(f"file://{tmp_path}/file/runs", tmp_path / "copy")
    kept.fetch("toy")
    with pytest.raises(DataError, match=r"file/runs/toy/\.seen-\w+: .*Not a directory"):
        kept.refuse_unwritable("toy")
    assert not list((tmp_path / "copy" / "toy").iterdir())
    there = RemoteRuns(f"file://{tmp_path}/runs", tmp_path / "copy")
    there.refuse_unwritable("toy")
    assert not list((tmp_path / "runs" / "toy").iterdir())


def test_command_that_needs_a_folder_takes_no_address(run: Cli) -> None:
    code, _, err = run("rates", "toy.toml", "--runs", "s3://bucket/runs")
    assert code == 2
    assert "s3:/bucket/runs is an address, which apply alone takes" in " ".join(err.split())


def test_command_reads_the_copy_of_runs_behind_an_address_and_names_it(run: Cli, tmp_path: Path) -> None:
    here, there = RemoteRuns(f"file://{tmp_path}/there/runs", tmp_path / "here"), f"file://{tmp_path}/there/runs/toy"
    write(here, result="running")
    here.send_all("toy")
    for address, below in ((there, ""), (f"{there}/main-s0-1", "/main-s0-1")):
        code, _, err = run("export", address, "--to", "onnx")
        copy = remote_runs.of(here.address)
        assert (code, err.splitlines()[0]) == (1, f"{address}: read from its copy, {copy.folder}/toy{below}")
        assert (copy.folder / "toy" / "main-s0-1" / "result").read_text() == "running", "fetched"
    code, _, err = run("report", f"{there}s")
    assert (code, f"{there}s: holds no runs" in err) == (1, True)
    for command in (
        ["report", "toy"], ["export", "toy", "--to", "onnx"], ["embed", "toy", "a.png"], ["predict", "toy", "a.png"],
        ["advise", "toy.toml"],
    ):  # fmt: skip
        code, _, err = run(*command, "--out", "s3://bucket/out")
        assert (code, "s3:/bucket/out is an address, and the output is written on this" in " ".join(err.split())) == (2, True)
    assert not (tmp_path / "s3:").exists(), "no folder of that name is made here"


def test_runs_behind_an_address_are_listed_from_their_copy(run: Cli, tmp_path: Path) -> None:
    here, there = RemoteRuns(f"file://{tmp_path}/there/runs", tmp_path / "here"), f"file://{tmp_path}/there/runs"
    write(here, **{"recipe.toml": "", "result.json": "{}"})
    here.send_all("toy")
    os.utime(tmp_path / "there" / "runs" / "toy" / "main-s0-1" / "result.json", (1e9, 1e9))
    copy = remote_runs.of(there)
    for address, folder in ((there, copy.folder), (f"{there}/toy", copy.folder / "toy")):
        code, out, err = run("runs", address, "--json")
        (listed,) = json.loads(out)["runs"]
        assert (code, listed["folder"]) == (0, str(copy.folder / "toy" / "main-s0-1"))
        assert listed["written"] == "2001-09-09T01:46:40+00:00", "not when it was fetched"
        assert err == f"{address}: read from its copy, {folder}\n"
    fsspec.filesystem("file").rm(f"{tmp_path}/there/runs/toy", recursive=True)
    (tmp_path / "there" / "runs" / "other").mkdir()
    assert json.loads(run("runs", there, "--json")[1])["runs"] == [], "what is gone there is gone here"
    code, _, err = run("runs", there, "--rm")
    assert (code, "--rm removes runs of this machine" in " ".join(err.split())) == (2, True)


def test_missing_credentials_are_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    s3fs = pytest.importorskip("s3fs", reason="needs the extra tlkit[shards]")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=r"s3://bucket/runs/toy: no access: .*redentials(.|\n)*AWS_ACCESS_KEY_ID"):
        RemoteRuns("s3://bucket/runs", tmp_path).fetch("toy")
    s3fs.S3FileSystem.clear_instance_cache()
