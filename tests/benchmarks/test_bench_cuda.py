"""The benchmark of a GPU: what it measures can be tried without one, but for the graph and the profiler."""

import json
import os
import re
import signal
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import cifar
from benchmarks.cuda import __main__ as command
from benchmarks.cuda import engine, gpu_tests, idleness, lectures, loops, outcomes, tasks, timeline, uninstalled
from benchmarks.cuda import pieces as parts
from benchmarks.cuda.timeline import Event
from benchmarks.peers import contract, trial
from benchmarks.peers.contract import Spec
from tlkit import machine
from tlkit.errors import Interrupted
from tlkit.plans import resolve
from tlkit.plugin import DataFiles, registry
from tlkit.sources.places import Places
from tlkit_synthetic import SyntheticOptions

CPU = torch.device("cpu")


def test_a_row_is_an_epoch_of_the_engine() -> None:
    row = engine.measure("hflip", device=CPU, images=48, batch=16, side=32, epochs=1, backbone="toy", precision="float32")
    assert row.images_per_second > 0
    assert row.step == pytest.approx(16 / row.images_per_second)
    assert (row.replay, row.over_replay, row.idle, row.replay_idle, row.replay_idle_by_clock) == (None,) * 5
    assert row.evaluated == 16
    assert row.times["evaluation"] > 0


def test_pictures_of_which_some_are_made_are_as_many_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MADE", 4)
    made = engine._synthetic(DataFiles(Path(), ()), SyntheticOptions(classes=2, train=10, test=3, size=16)).splits
    assert [split.pixels.shape for split in made.values()] == [(10, 16, 16, 3), (3, 16, 16, 3)]
    assert len({picture.tobytes() for split in made.values() for picture in split.pixels}) == 13
    assert (made["train"].targets[:4] == made["train"].targets[4:8]).all()
    assert (np.roll(made["train"].pixels[1], 2, axis=1) == made["train"].pixels[9]).all()


def events(spans: list[tuple[float, float, int]], names: str = "") -> list[Event]:
    return [Event(*span, name) for span, name in zip(spans, chain(names.split(), repeat("")), strict=False)]


def test_idle_is_the_time_that_no_kernel_covers() -> None:
    for spans, part in (([(0, 4, 1), (2, 5, 2), (8, 10, 3)], 0.3), ([(0, 10, 1), (2, 5, 2)], 0.0)):
        found = idleness.of(events(spans, "conv relu conv"))
        assert (found.whole, found.within, found.kernels) == (pytest.approx(part), None, None)
        assert found.busy == pytest.approx(10e-6 * (1 - part))
        assert found.timeline.waits == (["3.0 us in 1: relu -> conv"] if part else [])
    assert idleness.of([]) is None


def test_idle_is_told_apart_within_replays_and_between_them_and_around() -> None:
    """Copies and an augmentation, 90 and more, run beside two replays, 7 and 8; the augmentation covers a gap within the second."""
    spans = [
        (0, 2, 90), (6, 8, 91),  # before the first replay: 4, and 2 to its begin
        (10, 14, 7), (15, 20, 7), (18, 22, 7),  # 1 within
        (23, 24, 92),  # between the replays 1 and 6
        (30, 33, 8), (36, 40, 8), (32, 35, 93),  # of 3 within 1 is left
        (45, 50, 94),  # 5 after the last
    ]  # fmt: skip
    host = events([(0, 1, 7), (2, 5, 8), (60, 61, 9)], "cudaGraphLaunch cudaGraphLaunch cudaEventSynchronize")
    found = idleness.of(events(spans, "copy index conv relu conv copy conv relu crop score"), host)
    assert (found.whole, found.within, found.between, found.around) == tuple(
        pytest.approx(each / 50) for each in (20, 2, 7, 11)
    )
    assert found.steps == pytest.approx(9 / 30)
    assert (found.replays, found.kernels, found.busy) == (2, 2, pytest.approx(21e-6))
    told = found.timeline  # of one replay
    assert told.kernels == ["5.5 us in 1.5: conv", "4.5 us in 1: relu"]
    assert told.waits == ["0.5 us in 0.5: conv -> relu", "0.5 us in 0.5: crop -> relu"]
    assert told.between == ["6.0 us in 1: copy -> conv", "1.0 us in 1: conv -> copy"]
    assert told.longest == ["5.0 us in 1: relu -> score", "4.0 us in 1: copy -> index", "2.0 us in 1: index -> conv"]
    assert told.beside == ["2.5 us in 0.5: score", "1.5 us in 1: copy", "1.5 us in 0.5: crop", "1.0 us in 0.5: index"]
    assert told.host == ["2.0 us in 1: cudaGraphLaunch", "0.5 us in 0.5: cudaEventSynchronize"]
    evaluation = events([(50, 52, 95), (52, 54, 95), (54, 56, 95)], "conv relu conv")
    mine = [*events(spans, "copy index conv relu conv copy conv relu crop score"), *evaluation]
    assert (idleness.of(mine).replays, idleness.of(mine, kernels=2).replays) == (3, 1)


def test_what_the_profiler_saw_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for torch's profiler: a range that somebody named would cover the gap between two kernels."""
    seen = [("CUDA", 0, 2, "conv"), ("CUDA", 6, 8, "relu"), ("CPU", 1, 4, "cudaGraphLaunch"), ("CUDA", 0, 8, "step")]
    found = [
        SimpleNamespace(
            device_type=SimpleNamespace(name=where), time_range=SimpleNamespace(start=begin, end=end), id=7, name=name,
            is_user_annotation=name == "step",
        )
        for where, begin, end, name in seen
    ]  # fmt: skip
    monkeypatch.setattr(idleness, "profile", lambda **_: nullcontext(SimpleNamespace(events=lambda: found)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    ran: list[bool] = []
    idle = idleness.seen(lambda: ran.append(True), torch.device("cuda"))
    assert (ran, idle.whole, idle.replays, idle.kernels) == ([True], 0.5, 1, 2)
    assert (idle.timeline.waits, idle.timeline.host) == (["4.0 us in 1: conv -> relu"], ["3.0 us in 1: cudaGraphLaunch"])


def test_a_timeline_has_the_longest_and_short_names() -> None:
    spans = [(10.0 * number, 10.0 * number + number, number) for number in range(1, 200)]
    name = "void at::native::(anonymous namespace)::elementwise<{}, std::array<char*, 3ul> >(int, " + "x" * 80 + ", float)"
    found = idleness.of([Event(*span, name.format(span[2])) for span in spans]).timeline
    assert [len(each) for each in (found.kernels, found.waits, found.between, found.beside)] == [10, 6, 0, 0]
    assert found.kernels[0].startswith("199.0 us in 1: elementwise<199, array<char*, 3ul> >(int, xx")
    assert found.kernels[0].endswith("x, float)")
    assert len(json.dumps(asdict(found))) < 4000


def test_a_row_says_which_goals_it_misses() -> None:
    def idle(whole: float) -> idleness.Idleness:
        nothing = timeline.Timeline([], [], [], [], [], [])
        return idleness.Idleness(whole, whole / 2, whole / 4, whole / 4, whole, 64, 300, 0.6, nothing)

    good = engine.Row("random_resized_crop", 12_000, 0.0107, 0.0100, 1.07, idle(0.02), idle(0.01), 0.005, [])
    slow = engine.Row("random_resized_crop", 5_000, 0.0256, 0.0100, 2.56, idle(0.5), None, None, [])
    first, second = engine.table([good, slow]).splitlines()[1:]
    assert first.split()[4:] == ["2.0%", "1.0%", "0.5%", "0.5%", "1.0%", "0.5%"]
    assert second.endswith("over 1.15 times the replay; idle for more than 10%; under 10,000 images/s")


def test_without_a_gpu_it_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        command.main([])


def test_what_it_measures_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM alone would leave a loop or tests behind, on the GPU of whoever measures next."""
    child = tmp_path / "child"
    monkeypatch.setenv(machine.CUBLAS, machine.CUBLAS_REPEATS[0])
    monkeypatch.setattr(gpu_tests, "FILES", ("endless.py",))
    script = f"#!/bin/sh\necho $$ > {child}\nsleep 0.2\nkill -TERM {os.getpid()}\nexec sleep 60\n"
    (tmp_path / "python").write_text(script)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(gpu_tests.sys, "executable", str(tmp_path / "python"))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            command.main(["--device", "cpu", "--only", "tests", "--json", str(tmp_path / "cuda.json")])
    finally:
        signal.signal(signal.SIGTERM, before)
    _ended(int(child.read_text()))


def _ended(process: int) -> None:
    """Wait until a process that was killed is gone."""
    stat, ends = Path("/proc", str(process), "stat"), time.monotonic() + 10
    while stat.is_file() and " Z " not in stat.read_text():
        assert time.monotonic() < ends


def options(tmp_path: Path, *more: str) -> Any:
    small = ["--images", "32", "--batch", "8", "--side", "32", "--epochs", "1", "--json", str(tmp_path / "cuda.json")]
    return command._options([*small, *more])


def test_what_cannot_be_measured_is_named_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def broken(name: str, **_: object) -> engine.Row:
        if name == "hflip":
            raise RuntimeError("an operator failed\nTraceback\n  of the process\nTypeError: of its end")
        return engine.Row(name, 1.0, 1.0, None, None, None, None, None, [])

    def lost() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(engine, "measure", broken)
    monkeypatch.setattr(command.torch.cuda, "empty_cache", lost)  # as after an error of the device
    first = next(arm for arm in lectures.arms() if arm[1].arm == "A1")
    monkeypatch.setattr(lectures, "arms", lambda: [first])
    assert command.measure(options(tmp_path, "--only", "engine,lectures"), {"gpu": "none"}, device=CPU) == 1
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert [row["augment"] for row in record["engine"]["rows"]] == ["random_resized_crop", "randaugment", "none"]
    assert not list(tmp_path.glob("*.new"))
    said = record["engine"]["skipped"]["hflip"]
    assert said.startswith("RuntimeError: an operator failed\nTraceback\n  of the process")
    assert ", in broken\n" in said, "where it came from"
    said = record["lectures"]["skipped"]
    assert list(said) == ["cifar4000_resnet18, A1"]
    assert '"cifar10" is not on this machine' in said["cifar4000_resnet18, A1"]
    said = capsys.readouterr().out.splitlines()
    assert "hflip: skipped: RuntimeError: an operator failed ... TypeError: of its end" in said
    assert not [line for line in said if "looked in" in line]


def test_nothing_is_begun_after_the_minutes(tmp_path: Path) -> None:
    assert command.measure(options(tmp_path, "--only", "engine", "--minutes", "-1"), {}, device=CPU) == 0
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert record["engine"] == {"rows": [], "skipped": dict.fromkeys(engine.AUGMENTATIONS, "--minutes -1 are over")}


def test_every_arm_of_the_lectures_has_its_figure() -> None:
    assert [(recipe, figure.arm) for recipe, figure in lectures.arms()] == [
        *(("cifar4000_resnet18", arm) for arm in ("B1", "B2", "C", "D")),
        *(("inception_three_arms", arm) for arm in ("everything", "head_only")),
        *(("cifar4000_resnet18", arm) for arm in ("A1", "A2")),
        ("inception_three_arms", "scratch"),
    ]
    for recipe in lectures.SHORTEST_FIRST:
        _, arms = resolve.load(lectures.RECIPES / f"{recipe}.toml", (), Places(recipe=lectures.RECIPES))
        mine = {figure.arm for name, figure in lectures.arms([recipe])}
        assert {arm.name for arm in arms.values() if arm.arm.backbone.weights == "none"} & mine == mine & set(lectures.RANDOM)
    row = lectures.Row("cifar4000_resnet18", "D", "", "99.88 / 89.65", 0.9, 0.91, 40, False, 12.0, [])
    one, other = lectures.table([row, replace(row, other_files=True)]).splitlines()[1:]
    assert one.split() == ["cifar4000_resnet18", "D", "99.88", "/", "89.65", "90.00%", "91.00%", "only", "40", "12.0"]
    assert other == f"{one}  not the official files"


def test_loops_are_held_against_tlkit() -> None:
    found = [
        loops.Loop("timm", 2000.0, [2.0, 1.0], 3.0, 0.5, 1.25, 9.0, "", [0.1, 0.2], {}),
        loops.Loop("tlkit", 9000.0, [2.0, 1.0], 3.0, None, None, 9.0, "", [0.1, 0.2], {}),
        loops.Loop("tutorial", 1000.0, [2.0], 3.0, 0.5, 1.25, 48.0, "tutorial did not end within 48 s", [], {}),
    ]
    assert [line.split() for line in loops.table(found).splitlines()[1:]] == [
        ["timm", "2,000", "4.5", "times", "3.0", "0.5", "1.2", "2.0", "9.0"],
        ["tlkit", "9,000", "3.0", "2.0", "9.0"],
        [
            "tutorial",
            "1,000",
            "9.0",
            "times",
            "3.0",
            "0.5",
            "1.2",
            "2.0",
            "48.0",
            *["of", "epoch", "1:", "tutorial", "did", "not", "end", "within", "48", "s"],
        ],
    ]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "_MADE", 10)
        return loops.prepare(tmp_path_factory.mktemp("pictures"), train=20, val=10, side=32, batch=10, short=36)


def test_the_work_is_pictures_of_every_class_and_whole_batches(work: Spec) -> None:
    counts = [len(list(Path(work.images, part).glob("*/*.jpg"))) for part in ("train", "val")]
    assert (counts, work.classes, work.network, work.arm) == ([20, 10], 10, "resnet18", "all")
    assert len({file.read_bytes() for file in Path(work.images).glob("*/*/*.jpg")}) == 30  # what is alike would be decoded once
    contract.network(work)  # loads strictly


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm's reader leaves its files to the garbage collector
def test_timms_pictures_and_network_are_everyones(work: Spec) -> None:
    timm = pytest.importorskip("timm")
    from benchmarks.peers import timm_

    (x, _), *_ = timm_.loader(replace(work, workers=0), "val", CPU)
    files = sorted(Path(work.images, "val").glob("*/*.jpg"))
    everyones, pictures = contract.transform(work, train=False), []
    for file in files:
        with Image.open(file) as picture:
            pictures.append(everyones(picture.convert("RGB")))
    expected = torch.stack(pictures)
    assert torch.allclose(x, expected, atol=1e-5)
    model, plain = timm.create_model("resnet18", num_classes=work.classes), contract.network(work)
    model.load_state_dict(torch.load(work.state, weights_only=True))
    with torch.inference_mode():
        assert torch.allclose(model.eval()(x), plain.eval()(x), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in loops.CONTENDERS if name != "lightning"])
def test_a_loop_does_an_epoch(name: str, work: Spec, tmp_path: Path) -> None:
    """Lightning's needs an environment of its own."""
    found = loops.measure(name, replace(work, workers=1), epochs=2, venvs=tmp_path, train=20)
    assert found.images_per_second > 0
    assert 0 < found.imported < found.imported + sum(found.epochs) < found.whole
    assert len(found.accuracy) == len(found.epochs) == 2
    told = (found.first_batch, found.first_step)
    assert told == (None, None) if name == "tlkit" else 0 < sum(told) < found.epochs[0]  # tlkit's own process tells no stages
    assert found.versions["torch"] == torch.__version__


def test_a_loop_that_does_not_end_is_ended(work: Spec, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="tutorial did not end within 0 s; it reached: nothing"):
        loops.measure("tutorial", replace(work, workers=1), epochs=2, venvs=tmp_path, train=20, limit=0.1)


# A contender's process: what it tells on stderr and on stdout, before it is ended or not.
_TOLD = [
    {"reached": stage, "at": at} for stage, at in (("imported", 3), ("first batch", 4), ("first step", 9), ("epoch 1", 13))
]
_LATER = {"reached": "epoch 2", "at": 15}
_ANSWER = {"epoch_seconds": [10.0, 2.5], "accuracy": [0.1, 0.2], "versions": {"torch": "2"}, "began_at": 3}


@pytest.mark.parametrize(
    ("told", "answer", "epochs", "accuracy"),
    [
        (_TOLD, None, [10.0], []),
        ([*_TOLD, _LATER], None, [10.0, 2.0], []),
        ([*_TOLD, _LATER], _ANSWER, [10.0, 2.5], [0.1, 0.2]),
    ],
    ids=["one epoch", "two epochs", "an answer and no end"],
)
def test_a_loop_that_is_ended_counts_with_the_epochs_that_it_ended(
    work: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Any, answer: Any, epochs: Any, accuracy: Any
) -> None:
    script = tmp_path / "contender"
    lines = "".join(f"echo '{json.dumps(line)}' >&2\n" for line in told)
    lines += f"echo '{json.dumps(answer)}'\n" if answer else ""
    script.write_text(f"#!/bin/sh\n{lines}sleep 100\n")
    script.chmod(0o755)
    monkeypatch.setattr(trial.time, "time", lambda: 0.0)
    monkeypatch.setattr(loops, "_interpreter", lambda *_: str(script))
    found = loops.measure("timm", work, epochs=3, venvs=tmp_path, train=20, limit=0.3)
    assert (found.epochs, found.accuracy) == (epochs, accuracy)
    assert found.images_per_second == 20 / epochs[-1]
    assert (found.imported, found.first_batch, found.first_step) == (3, 1, 5)
    assert found.unfinished.startswith("timm did not end within 0 s; it reached: imported after 3.0 s, first batch after 4.0 s")


def test_one_loop_alone_each_within_its_seconds_and_each_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(command.gc, "collect", lambda: 0)
    limits: dict[str, float] = {}
    written: list[list[str]] = []

    def measured(name: str, *_: object, limit: float, **__: object) -> loops.Loop:
        file = tmp_path / "cuda.json"
        written.append([row["piece"] for row in json.loads(file.read_text())["loops"]["rows"]] if file.is_file() else [])
        limits[name] = limit
        if name == "lightning":
            raise loops.UnfinishedError("lightning did not end within 7 s; it reached: nothing", {}, None)
        return loops.Loop(name, 1.0, [1.0], 1.0, None, None, 1.0, "", [], {})

    monkeypatch.setattr(loops, "measure", measured)
    assert (
        command.measure(options(tmp_path, "--only", "loops", "--minutes", "100", "--peer-seconds", "2500"), {}, device=CPU) == 0
    )
    assert list(limits)[:3] == ["tlkit", "tutorial, tuned", "lightning"]
    assert list(limits.values()) == pytest.approx([1200, 1500, 2000, 2500, 2500], abs=20)
    assert written == [
        [],
        ["tlkit"],
        ["tlkit", "tutorial, tuned"],
        ["tlkit", "tutorial, tuned"],
        ["tlkit", "tutorial, tuned", "timm"],
    ]
    assert list(json.loads((tmp_path / "cuda.json").read_text())["loops"]["skipped"]) == ["lightning"]
    limits.clear()
    alone = options(tmp_path, "--only", "loops", "--peer", "lightning", "--peer-seconds", "7")
    command.measure(alone, {}, device=CPU)
    assert limits == {"lightning": 7}


def test_what_is_open_is_measured_each_part_within_its_minutes_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    given: list[float] = []
    fails = f"{next(iter(parts.OPEN))} two"

    def pieces(part: str, *, wanted: Any, **_: object) -> Any:
        for name in filter(wanted, ("one", "two")):
            yield name, lambda left, name=name: _measured(part, name, left)

    def _measured(part: str, name: str, left: float) -> gpu_tests.Row:
        asked.append(f"{part} {name}")
        given.append(left)
        if len(asked) == 4 and not (tmp_path / "stopped").is_file():
            (tmp_path / "stopped").touch()
            raise Interrupted(15, "stopped by SIGTERM")  # the machine is taken away
        return gpu_tests.Row(name, asked[-1] != fails or (tmp_path / "stopped").is_file(), "", {}, 1.0, {})

    monkeypatch.setattr(command, "pieces", pieces)
    monkeypatch.setattr(command.gc, "collect", lambda: 0)
    monkeypatch.setattr(command, "TABLES", dict.fromkeys(parts.PARTS, gpu_tests.table))
    asked_for = options(tmp_path, "--open")
    assert (asked_for.minutes, sum(parts.OPEN.values())) == (14, 14)
    with pytest.raises(SystemExit, match="143"):
        command.measure(asked_for, {}, device=CPU)
    assert command.measure(asked_for, {}, device=CPU) == 0
    whole = [f"{part} {name}" for part in parts.OPEN for name in ("one", "two")]
    assert asked == [*whole[:4], fails, *whole[3:]]  # which failed the first time
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert [[row["piece"] for row in record[part]["rows"]] for part in parts.PARTS] == [["one", "two"]] * 6
    # each part has its minutes, and in proportion what those before it left
    left, behind = 14.0, 14.0
    for seconds, minutes in zip([*given[4:6], *given[6::2]], parts.OPEN.values(), strict=False):
        assert seconds == pytest.approx(60 * minutes * left / behind, abs=5)
        behind -= minutes
    asked.clear()
    command.measure(asked_for, {"gpu": "another"}, device=CPU)
    assert len(asked) == 12
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert [row["on"] for row in record["cifar"]["rows"]] == [{}, {}, {"gpu": "another"}, {"gpu": "another"}]


def test_what_was_not_done_in_its_time_has_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []

    def pieces(part: str, *, wanted: Any, **_: object) -> Any:
        yield from ((part, lambda left: _measured(part, left)) for _ in filter(wanted, [part]))

    def _measured(part: str, left: float) -> gpu_tests.Row:
        asked.append((part, left))
        if part == "lectures":
            raise LookupError("no files")
        if part in {"tests", "tasks"} and len(asked) < 6:
            raise TimeoutError("did not end")
        return gpu_tests.Row(part, True, "", {}, 1.0, {})

    monkeypatch.setattr(command, "pieces", pieces)
    monkeypatch.setattr(command.gc, "collect", lambda: 0)
    monkeypatch.setattr(command, "TABLES", dict.fromkeys(parts.PARTS, gpu_tests.table))
    assert command.measure(options(tmp_path, "--open"), {}, device=CPU) == 0
    assert [part for part, _ in asked] == [*parts.OPEN, "tasks", "tests"]
    assert [left for _, left in asked[6:]] == pytest.approx([840, 840], abs=20)
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert {part: list(record[part]["skipped"]) for part in parts.PARTS if record[part]["skipped"]} == {
        "lectures": ["lectures"]
    }


def every(_: str) -> bool:
    return True


@pytest.mark.parametrize(("part", "module", "limit"), [("lectures", lectures, "seconds"), ("cifar", cifar, "seconds")])
def test_each_piece_of_a_part_may_take_its_share_of_what_is_left(
    part: str, module: Any, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    monkeypatch.setattr(module, "measure", lambda *_, **more: given.append(more[limit]))
    found = list(parts.pieces(part, options(tmp_path), tmp_path, CPU, wanted=every))
    for _, do in found:
        do(60.0)
    assert given == pytest.approx([60 / (len(found) - number) for number in range(len(found))])
    names = [name for name, _ in found]
    assert [name for name, _ in parts.pieces(part, options(tmp_path), tmp_path, CPU, wanted=names[1:].__contains__)] == names[
        1:
    ]


@pytest.mark.parametrize(("part", "module"), [("engine", engine), ("tasks", tasks)])
def test_a_piece_without_a_limit_of_its_own_is_ended(
    part: str, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: object, **__: object) -> None:
        while True:
            with suppress(Exception):  # as whoever tries a capture
                time.sleep(10)

    monkeypatch.setattr(module, "measure", endless)
    (_, do), *_ = parts.pieces(part, options(tmp_path), tmp_path, CPU, wanted=every)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(
        TimeoutError, match=r"did not end within 0 s; the host was 0.\d s benchmarks/test_bench_cuda.endless in cuda/pieces"
    ):
        do(0.3)
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]) == (before, 0)


SMALL = tasks.Sizes(images=96, batch=8, side=32, epochs=1, backbone="toy", dense="toy", precision="float32")


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in tasks.names() if name != "mmd"), "mmd"]
)
def test_a_row_is_an_epoch_of_another_kind_of_training(name: str, tmp_path: Path) -> None:
    row = tasks.measure(name, tmp_path, sizes=SMALL, device=CPU)
    assert row.images_per_second > 0
    assert row.step > 0
    if name != "predict":
        assert row.evaluated in {16, 20, 24}
    assert tasks.table([row]).splitlines()[1].startswith(name)


def test_rows_that_are_read_ahead_have_left_the_device() -> None:
    class Rows:
        left = False

        def leave_(self) -> None:
            self.left = True

    rows = Rows()
    tasks._read_ahead(SimpleNamespace(_feed=(None, SimpleNamespace(_rows={1: rows}))))
    assert rows.left


def python(folder: Path, *, lines: list[dict[str, Any]], then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests be run by a script that tells what `outcomes` would, says something, and goes on as a shell does."""
    script = folder / "python"
    told = "\n".join(json.dumps(line) for line in lines)
    script.write_text(f"#!/bin/sh\ncat > ${outcomes.FILE} <<'E'\n{told}\nE\necho assert 1 == 2\n{then}\n")
    script.chmod(0o755)
    monkeypatch.setattr(gpu_tests.sys, "executable", str(script))


def test_the_outcome_of_each_file_is_told_also_of_tests_that_do_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(test: str, outcome: str, why: str = "", seconds: float = 1.0) -> dict[str, Any]:
        return {"test": test, "outcome": outcome, "why": why, "seconds": seconds}

    tests = ["a.py::one", "a.py::two", "b.py::one", "c.py::one", "d.py::one", "e.py::one"]
    lines = [
        {"tests": tests}, {"tests": tests}, ended("a.py::one", "passed"), ended("a.py::two", "failed", "assert 1 == 2", 3.0),
        ended("b.py::one", "skipped", "needs two GPUs"), ended("e.py::one", "passed"),
    ]  # fmt: skip
    child = tmp_path / "child"
    python(tmp_path, lines=lines, then=f"sleep 60 & echo $! > {child}\nwait", monkeypatch=monkeypatch)
    session = gpu_tests.Session(["a.py", "b.py", "c.py", "e.py", "f.py"])
    row = session.measure("a.py", limit=0.5)
    assert (row.passed, row.outcome, row.said, row.seconds) == (
        False,
        "1 passed, 1 failed",
        {"a.py::two": "assert 1 == 2"},
        4.0,
    )
    assert row.longest == {"two": 3.0, "one": 1.0}
    assert session.measure("b.py", limit=0.1).outcome == "1 skipped (needs two GPUs)"
    assert session.measure("e.py", limit=0.1).passed
    for file, said in (("c.py", "\n\nnot ended:\nc.py::one"), ("f.py", "\nassert 1 == 2")):
        with pytest.raises(TimeoutError, match=f"^{file} did not end within 0 s{said}$"):
            session.measure(file, limit=0.1)
    _ended(int(child.read_text()))  # a process that a test started, too


def test_tests_that_cannot_be_run_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python(tmp_path, lines=[], then="exit 4", monkeypatch=monkeypatch)
    with pytest.raises(RuntimeError, match=r"a.py: no test was collected\nassert 1 == 2"):
        gpu_tests.Session(["a.py"]).measure("a.py", limit=60)


def test_every_file_with_tests_of_a_gpu_is_run() -> None:
    found = {
        str(file.relative_to(gpu_tests.ROOT))
        for file in (gpu_tests.ROOT / "tests").rglob("test_*.py")
        if file != Path(__file__) and re.search(r"needs_cuda|mark\.cuda|toy_gpu import each_device", file.read_text())
    }
    assert found == set(gpu_tests.FILES)


def test_a_test_is_told_once_with_its_worst_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(name: str, when: Any, outcome: Any, why: Any = None) -> pytest.TestReport:
        return pytest.TestReport(name, ("a.py", 1, name), {}, outcome, why, when, duration=0.5)

    monkeypatch.setenv(outcomes.FILE, str(tmp_path / "log"))
    reports = [
        report("a.py::one", "setup", "passed"), report("a.py::one", "call", "failed", "assert 1 == 2"),
        report("a.py::two", "setup", "skipped", ("a.py", 1, "Skipped: needs two GPUs")), report("a.py::one", "teardown", "passed"),
        report("a.py::two", "teardown", "passed"),
    ]  # fmt: skip
    for log in (outcomes._Log(worker=False), outcomes._Log(worker=True)):
        for each in reports:
            log.pytest_runtest_logreport(each)
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == [
        {"test": "a.py::one", "outcome": "failed", "why": "assert 1 == 2", "seconds": 1.5},
        {"test": "a.py::two", "outcome": "skipped", "why": "needs two GPUs", "seconds": 1.0},
    ]


def test_plugins_are_found_where_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = registry.scan()
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PYTHONPATH", "before")
    registry.scan.cache_clear()
    try:
        assert uninstalled.offer_plugins(tmp_path)
        found, where = registry.scan(), sys.path
        assert not uninstalled.offer_plugins(tmp_path), "once is enough"
    finally:
        registry.scan.cache_clear()
    own = {"tlkit", "tlkit-dlib-face", "tlkit-efficientnet-lite"}
    targets = [
        sorted((each.group, each.name, each.target) for each in some.entries if each.distribution.replace("_", "-") in own)
        for some in (installed, found)
    ]
    assert targets[0] == targets[1]
    assert str(uninstalled.ROOT / "plugins" / "tlkit-efficientnet-lite") in where
    assert os.environ["PYTHONPATH"].split(os.pathsep)[:3] == ["before", str(uninstalled.ROOT), str(tmp_path)]


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "side"), [("cifar4000_resnet18", 32), ("inception_three_arms", 75)])
def test_an_arm_of_a_lecture_is_trained(recipe: str, side: int, tmp_path: Path) -> None:
    (figure,) = (figure for name, figure in lectures.arms([recipe]) if figure.arm in ("A1", "scratch"))
    count = ["data.split.train=20"] if recipe == "cifar4000_resnet18" else []
    row = lectures.measure(
        recipe, figure, device="cpu",
        settings=[
            "data.name=synthetic", f"data.options={{ train = 20, test = 10, size = {side} }}", f"data.image_size={side}", *count,
            "data.batch_size=10", "schedule.epochs=1", "precision=float32",
        ],
    )  # fmt: skip
    assert (row.epochs, row.complete, row.lecture) == (1, True, figure.lecture)
    assert 0 <= row.accuracy <= row.best <= 1
