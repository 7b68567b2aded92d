"""Several processes with one store: whoever writes, evicts or is killed meanwhile, rows are right or missing."""

import contextlib
import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_store import ROW, kept, keys_of, no_cache, opened, present, rows_of

from tlkit import files
from tlkit.errors import StoreError
from tlkit.store import cache, row_writer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return no_cache(tmp_path, monkeypatch)


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Run code in a process of its own that has the functions of toy_store."""
    known = f"import os, sys, time\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\nfrom toy_store import *"
    whole = f"{known}\nfrom tlkit.store import row_writer\n{code}"
    return subprocess.Popen([sys.executable, "-c", whole, *arguments], stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_two_processes_may_write_the_same_rows() -> None:
    code = """
row_writer.SEGMENT_BYTES = 40 * ROW
print("ready", flush=True)
entry = opened()
entry.append(keys_of(*range(300)), (rows_of(*range(at, at + 10)) for at in range(0, 300, 10)))
assert present(entry, *range(300)) == list(range(300))
"""
    both = [python(code), python(code)]
    while any(each.poll() is None for each in both):
        present(opened(), *range(300))  # a reader meanwhile sees what is whole, in silence
    assert [each.wait(60) for each in both] == [0, 0]
    for each in both:
        each.communicate()
    assert present(opened(), *range(300)) == list(range(300))


def test_killed_writer_leaves_a_store_that_works(folder: Path) -> None:
    code = """
row_writer.SEGMENT_BYTES = 3 * ROW
with opened().writer(10**6) as writer:
    for number in range(10**6):
        writer.write(keys_of(number), rows_of(number))
        print(number, flush=True)
"""
    chance, numbers = random.Random(0), range(2000)
    for _ in range(4):
        process = python(code)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            process.stdout.readline()
        time.sleep(chance.random() / 100)
        process.kill()
        last = int((process.communicate()[0].splitlines() or ["0"])[-1])
        there = present(opened(), *numbers)
        assert there == list(range(len(there)))
        assert len(there) % 3 == 0
        assert len(there) >= min(last - 4, len(numbers) // 3 * 3)
    assert len(present(opened(), *numbers)) > 0
    kept(5000)
    assert present(opened(), 5000) == [5000]


@pytest.mark.parametrize("step", range(8))
def test_writer_killed_at_any_step_leaves_a_whole_store(step: int, folder: Path) -> None:
    """Killed before the step-th call that changes the disk of the second segment; the steps are counted, not named."""
    kept(1, 2)
    code = """
steps = int(sys.argv[1])
def counted(call):
    def called(*arguments, **options):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return call(*arguments, **options)
    return called
for name in ("fsync", "chmod", "replace", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
kept(3, 4)
"""
    process = python(code, str(step))
    process.communicate()
    there = present(opened(), 1, 2, 3, 4)
    assert there == ([1, 2] if step < 5 else [1, 2, 3, 4])
    kept(3, 4)
    assert present(opened(), 1, 2, 3, 4) == [1, 2, 3, 4]
    assert process.returncode == (-9 if step < 7 else 0)


def test_eviction_by_another_process_does_not_break_a_reader(folder: Path) -> None:
    kept(*range(50))
    entry = opened()
    located = entry.locate(keys_of(*range(50)))
    evicting = python("cache.clear()")
    evicting.communicate()
    assert evicting.returncode == 0
    assert not list(folder.rglob("*.rows"))
    assert np.array_equal(located.gather(np.arange(50)), rows_of(*range(50)))
    assert present(opened(), 1) == []
    entry.append(keys_of(60), [rows_of(60)])
    assert present(opened(), 1, 60) == [60]


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Do something in so many processes at once that are forked from this one, and wait for them."""
    children = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            try:
                work(number)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_rows_of_eight_processes_are_all_there_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes rows of its own and rows that others write too, into entries that they share."""
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 7 * ROW)

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(3):
            entry = opened(network=f"shared {chance.randrange(2)}")
            mine = [*range(100 * number, 100 * number + 20), *chance.sample(range(1000, 1040), 20)]
            missing = [each for each in mine if each not in present(entry, *mine)]
            entry.append(keys_of(*missing), (rows_of(each) for each in missing))
            assert present(entry, *mine) == mine
        for each in ("shared 0", "shared 1"):  # so that every process has written to both
            rest = [row for row in range(100 * number, 100 * number + 20) if row not in present(opened(network=each), row)]
            opened(network=each).append(keys_of(*rest), (rows_of(row) for row in rest))

    in_processes(8, work)
    for each in ("shared 0", "shared 1"):
        own = [row for number in range(8) for row in range(100 * number, 100 * number + 20)]
        assert present(opened(network=each), *own) == own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_eight_processes_that_evict_each_others_rows_read_right_ones_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20_000
    monkeypatch.setenv("TLKIT_CACHE_BYTES", str(limit))
    monkeypatch.setattr(row_writer, "SEGMENT_BYTES", 10 * ROW)

    def work(number: int) -> None:
        chance, said = random.Random(number), list[str]()
        for turn in range(6):
            entry = opened(said, network=f"of {chance.randrange(6)}")
            rows = list(range(chance.randrange(20) * 10, 300))[:60]
            located = present(entry, *rows)  # what is there is right, whoever removes it meanwhile
            missing = [each for each in rows if each not in located]
            with contextlib.suppress(StoreError):  # there is no room beside what the others read
                entry.append(keys_of(*missing), (rows_of(each) for each in missing))
            present(opened(said, network=f"of {(number + turn) % 6}"), *rows)
        assert not [line for line in said if "damaged" in line], said

    in_processes(8, work)
    assert sum(path.stat().st_size for path in files.cache_folder().rglob("*.rows")) <= limit
    kept(5000, network="after")
    assert present(opened(network="after"), 5000) == [5000]


def test_lock_that_is_not_given_up_is_one_small_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1)
    process = python("with cache.lock():\n    print('held', flush=True)\n    time.sleep(60)")
    process.stdout.readline()
    monkeypatch.setattr(cache, "_PATIENCE", 0.1)
    try:
        assert present(opened(), 1) == [1]
        with pytest.raises(StoreError, match="cannot be written"):
            kept(2)
    finally:
        process.kill()
        process.communicate()
    kept(2)
    assert present(opened(), 1, 2) == [1, 2]
