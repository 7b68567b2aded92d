"""Read wrong recipes, images, weights, tables, checkpoints and run files by the million.

    make fuzz                                             # python -m benchmarks.fuzz, goes on where it was stopped
    make fuzz ARGS="--minutes 5"                          # each kind in turn, five minutes in all
    python -m benchmarks.fuzz --only recipes --count 5000
    python -m benchmarks.fuzz --only images --number 17   # one input again, with its traceback

Inputs are tried in processes that are forked from this one, so that one which dies is a fault like any other. Exit code 1 where there
is a fault; its input lies in build/fuzz.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a forked process has no other threads

from benchmarks import memory_limit
from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.trying import ACCEPTED, MEMORY, REFUSED, Attempt, Kind, outcome

BUILD = Path(__file__).parents[2] / "build" / "fuzz"
_CHUNK = 1000  # inputs of one process
_STUCK = 300  # seconds without the next input, after which a process is ended
_SHOWN = 20  # faults that are kept of one kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the inputs of each kind that were not tried before."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[kind.name for kind in KINDS], help="these kinds (all)")
    parser.add_argument("--count", type=int, help="inputs of each kind, instead of its own number")
    parser.add_argument("--minutes", type=float, help="end after so many minutes, divided among the kinds")
    parser.add_argument("--seed", type=int, default=0, help="other inputs for another seed (0)")
    parser.add_argument("--number", type=int, help="try one input in this process, and print what comes of it")
    parser.add_argument("--again", action="store_true", help="forget what was tried before")
    options = parser.parse_args(arguments)
    kinds = [kind for kind in KINDS if not options.only or kind.name in options.only]
    if options.number is not None:
        return _one(kinds[0], options.number, options.seed)
    file = BUILD / f"seed-{options.seed}.json"
    if options.again:
        shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    state = json.loads(file.read_text()) if file.is_file() else {}
    for kind in kinds:
        mine = state.setdefault(kind.name, {"tried": 0, ACCEPTED: 0, REFUSED: 0, "faults": []})
        seconds = options.minutes * 60 / len(kinds) if options.minutes else float("inf")
        _try(
            kind,
            mine,
            options.count or kind.count,
            seconds,
            options.seed,
            save=lambda: file.write_text(json.dumps(state, indent=1)),
        )
        print(f"{kind.name}: {line(mine)}", flush=True)
    return 1 if any(state[kind.name]["faults"] for kind in kinds) else 0


def line(counts: dict[str, object]) -> str:
    """Return the counts of a kind in words."""
    faults = counts["faults"]
    assert isinstance(faults, list)
    shown = "".join(f"\n  no. {each['number']}: {each['said']}" for each in faults[:_SHOWN])
    return (
        f"{counts['tried']:,} tried, {counts[ACCEPTED]:,} accepted, {counts[REFUSED]:,} refused, {len(faults):,} faults{shown}"
    )


def _try(kind: Kind, mine: dict, count: int, seconds: float, seed: int, *, save) -> None:
    """Try what is left of a kind, a process for every thousand."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="fuzz-") as scratch:
        os.environ["TLKIT_CACHE"] = f"{scratch}/cache"
        (Path(scratch) / "inputs").mkdir()
        attempt = kind.prepare(Path(scratch) / "inputs")
        while mine["tried"] < count and time.monotonic() - began < seconds:
            numbers = range(mine["tried"], min(mine["tried"] + _CHUNK, count))
            tried, faults = _chunk(kind, attempt, numbers, seed)
            for each in faults[: _SHOWN - len(mine["faults"])]:
                target = BUILD / f"{kind.name}-{seed}-{each['number']}"
                shutil.copytree(Path(scratch) / "inputs", target, dirs_exist_ok=True) if each["died"] else None
            for name in (ACCEPTED, REFUSED):
                mine[name] += tried[name]
            mine["faults"] += faults
            mine["tried"] = numbers.start + sum(tried.values()) + len(faults)
            save()


def _chunk(kind: Kind, attempt: Attempt, numbers: range, seed: int) -> tuple[dict[str, int], list[dict[str, object]]]:
    """Try inputs in a forked process; one at which it dies is a fault, and those after it are left to the next."""
    context = multiprocessing.get_context("fork")
    reached, counted = context.Value("q", numbers.start - 1), context.Array("q", 2)
    receive, send = context.Pipe(duplex=False)

    def work() -> None:
        memory_limit.set_(MEMORY)
        for number in numbers:
            reached.value = number
            said = outcome(attempt, kind.name, number, seed=seed)
            if said in (ACCEPTED, REFUSED):
                counted[said == REFUSED] += 1
            else:
                send.send({"number": number, "said": said, "died": False})
        reached.value = numbers.stop

    process = context.Process(target=work)
    process.start()
    send.close()
    faults, before, since = [], -1, time.monotonic()
    while process.is_alive() or receive.poll():
        if receive.poll(1.0):
            try:
                faults.append(receive.recv())
            except EOFError:
                break
        if reached.value != before:
            before, since = reached.value, time.monotonic()
        elif time.monotonic() - since > _STUCK:
            process.kill()
    process.join()
    if reached.value < numbers.stop:
        faults.append({"number": reached.value, "said": f"the process died with {process.exitcode}", "died": True})
    return {ACCEPTED: counted[0], REFUSED: counted[1]}, faults


def _one(kind: Kind, number: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="fuzz-") as scratch:
        os.environ["TLKIT_CACHE"] = f"{scratch}/cache"
        (Path(scratch) / "inputs").mkdir()
        attempt = kind.prepare(Path(scratch) / "inputs")
        attempt(number, Random(f"{seed} {kind.name} {number}"))
    print("accepted")
    return 0


def _memory() -> str | None:
    """Return a folder in memory, if the machine has one: a million small files are written."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
