"""Pictures that a process was decoding when it died are told once, by the next that looks; a process that ends leaves nothing."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlkit import machine
from tlkit.engine.images import being_decoded

DIES = """
import os, threading
from pathlib import Path
from tlkit.engine.images import being_decoded
named, both = being_decoded.named, threading.Barrier(2)
def decode(picture):
    with named("seen/before.png"):
        pass
    with named(picture):
        both.wait()
        os._exit(9)
with being_decoded.kept():
    threading.Thread(target=decode, args=["b" * 600 + ".png"]).start()
    decode(Path("a") / "\\udcff.png")
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_pictures_that_threads_of_a_dead_process_were_decoding_are_told_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert subprocess.run([sys.executable, "-c", DIES], check=False).returncode == 9
    (left,) = cache.iterdir()
    content, told = left.read_bytes(), list[str]()
    being_decoded.tell_left(told.append)
    (line,) = told
    holder = json.loads(content[:512].rstrip(b"\0"))
    assert line.startswith(f"process {holder['process']} on {holder['host']} since ")
    assert " was killed" in line
    assert line.endswith(
        f"; pictures being decoded then: ...{'b' * 504}.png, a/\\xff.png. If it is killed again, leave them out one by one"
    )
    assert list(cache.iterdir()) == []

    _, host, boot, number = left.name.split("-")

    def leave(host: str, boot: str, holder: bytes = content[:512]) -> list[Path]:
        """Leave a file of a machine and its start; return what is there after a look."""
        (cache / f".decoding-{host}-{boot}-{number}").write_bytes(holder + content[512:])
        being_decoded.tell_left(told.append)
        return list(cache.iterdir())

    assert (leave("other", boot), len(told)) == ([], 2), "a container had another name on the same kernel"
    assert (leave(host, "other"), len(told)) == ([], 2), "the power may have failed, so the file may hold anything"
    assert (leave(host, boot, b"\0" * 512), len(told)) == ([], 2), "damaged"
    (far,) = leave("other", "other")
    (cache / ".decoding-folder").mkdir()
    (cache / f".decoding-{host}-{boot}-folder").mkdir()
    monkeypatch.setattr(machine, "boot", lambda: "")
    unknown = hashlib.sha256(b"").hexdigest()[:8]
    assert len(leave("other", unknown)) == 4
    assert far.exists()
    assert len(told) == 2, "what another machine's process decodes is its own"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_living_process_is_not_told_of_and_leaves_nothing_at_its_end(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with being_decoded.kept(), being_decoded.named("a.png"):
        being_decoded.tell_left(told.append)
        (mine,) = cache.iterdir()
        assert b"a.png\0" in mine.read_bytes()
        with being_decoded.kept():  # as in a second thread
            assert list(cache.iterdir()) == [mine]
        many = [being_decoded.named(f"{number}.png") for number in range(1000)]
        for each in many:
            each.__enter__()
        for each in many:
            each.__exit__()
        assert mine.read_bytes().count(b".png\0") < 1000
        # A cut file ends a process that writes into a mapping of it, as a full file system that copies what is written does.
        os.truncate(mine, 512)
        with being_decoded.named("b.png"), being_decoded.named("c.png"):
            assert mine.read_bytes().count(b".png\0") == 2
            monkeypatch.setattr(os, "pwrite", lambda *_: os.read(-1, 1))  # fails
        monkeypatch.undo()
        monkeypatch.setenv("TLKIT_CACHE", str(cache))
    assert (told, list(cache.iterdir())) == ([], [])
    monkeypatch.setenv("TLKIT_CACHE", str(cache / "not there"))
    with being_decoded.kept(), being_decoded.named("a.png"):
        being_decoded.tell_left(told.append)
    assert (told, list(cache.iterdir())) == ([], [])
    monkeypatch.setenv("TLKIT_CACHE", str(cache))
    monkeypatch.setattr(os, "write", lambda handle, content: len(content) - 1)  # a full disk
    with being_decoded.kept(), being_decoded.named("a.png"):
        assert list(cache.iterdir()) == []
