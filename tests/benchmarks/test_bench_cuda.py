"""The benchmark of a GPU: what it measures can be tried without one, but for the graph and the profiler."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.cuda import __main__ as command
from benchmarks.cuda import engine, idleness, lectures, loops
from benchmarks.peers import contract
from benchmarks.peers.contract import Spec

CPU = torch.device("cpu")


def test_a_row_is_an_epoch_of_the_engine() -> None:
    row = engine.measure("hflip", device=CPU, images=48, batch=16, side=32, epochs=1, backbone="toy", precision="float32")
    assert row.images_per_second > 0
    assert row.step == pytest.approx(16 / row.images_per_second)
    assert (row.replay, row.over_replay, row.idle, row.replay_idle, row.replay_idle_by_clock) == (None,) * 5


def test_idle_is_the_time_that_no_kernel_covers() -> None:
    for spans, part in (([(0, 4, 1), (2, 5, 2), (8, 10, 3)], 0.3), ([(0, 10, 1), (2, 5, 2)], 0.0)):
        found = idleness.of(spans)
        assert (found.whole, found.within, found.kernels) == (pytest.approx(part), None, None)
        assert found.busy == pytest.approx(10e-6 * (1 - part))
    assert idleness.of([]) is None


def test_idle_is_told_apart_within_replays_and_between_them_and_around() -> None:
    """Copies and an augmentation, 90 and more, run beside two replays, 7 and 8; the augmentation covers a gap within the second."""
    found = idleness.of([
        (0, 2, 90), (6, 8, 91),  # before the first replay: 4, and 2 to its begin
        (10, 14, 7), (15, 20, 7), (18, 22, 7),  # 1 within
        (23, 24, 92),  # between the replays 1 and 6
        (30, 33, 8), (36, 40, 8), (32, 35, 93),  # of 3 within 1 is left
        (45, 50, 94),  # 5 after the last
    ])  # fmt: skip
    assert found is not None
    assert (found.whole, found.within, found.between, found.around) == tuple(
        pytest.approx(each / 50) for each in (20, 2, 7, 11)
    )
    assert found.steps == pytest.approx(9 / 30)
    assert (found.replays, found.kernels, found.busy) == (2, 2, pytest.approx(21e-6))


def test_a_row_says_which_goals_it_misses() -> None:
    def idle(whole: float) -> idleness.Idleness:
        return idleness.Idleness(whole, whole / 2, whole / 4, whole / 4, whole, 64, 300, 0.6)

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
            raise RuntimeError("an operator failed")
        return engine.Row(name, 1.0, 1.0, None, None, None, None, None, [])

    monkeypatch.setattr(engine, "measure", broken)
    first = next(lectures.arms())
    monkeypatch.setattr(lectures, "arms", lambda: [first])
    assert command.measure(options(tmp_path, "--only", "engine,lectures"), {"gpu": "none"}, device=CPU) == 1
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert [row["augment"] for row in record["engine"]["rows"]] == ["none", "random_resized_crop", "randaugment"]
    assert record["engine"]["skipped"] == {"hflip": "RuntimeError: an operator failed"}
    said = record["lectures"]["skipped"]
    assert list(said) == ["cifar4000_resnet18, A1"]
    assert '"cifar10" is not on this machine' in said["cifar4000_resnet18, A1"]
    assert "hflip: skipped: RuntimeError: an operator failed" in capsys.readouterr().out


def test_nothing_is_begun_after_the_minutes(tmp_path: Path) -> None:
    assert command.measure(options(tmp_path, "--only", "engine", "--minutes", "-1"), {}, device=CPU) == 0
    record = json.loads((tmp_path / "cuda.json").read_text())
    assert record["engine"] == {"rows": [], "skipped": dict.fromkeys(engine.AUGMENTATIONS, "--minutes -1 are over")}


def test_every_arm_of_the_lectures_has_its_figure() -> None:
    assert [(recipe, figure.arm) for recipe, figure in lectures.arms()] == [
        *(("cifar4000_resnet18", arm) for arm in ("A1", "B1", "A2", "B2", "C", "D")),
        *(("inception_three_arms", arm) for arm in ("everything", "scratch", "head_only")),
    ]
    row = lectures.Row("cifar4000_resnet18", "D", "", "99.88 / 89.65", 0.9, 0.91, 40, False, 12.0, [])
    assert lectures.table([row]).splitlines()[1].split() == [
        "cifar4000_resnet18", "D", "99.88", "/", "89.65", "90.00%", "91.00%", "only", "40", "12.0",
    ]  # fmt: skip


def test_loops_are_held_against_tlkit() -> None:
    found = [loops.Loop(name, rate, 2.0, 9.0, [0.1], {}) for name, rate in (("timm", 2000.0), ("tlkit", 9000.0))]
    assert [line.split() for line in loops.table(found).splitlines()[1:]] == [
        ["timm", "2,000", "4.5", "times", "2.0", "9.0"],
        ["tlkit", "9,000", "2.0", "9.0"],
    ]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return loops.prepare(tmp_path_factory.mktemp("pictures"), train=20, val=10, side=32, batch=10, short=36)


def test_the_work_is_pictures_of_every_class_and_whole_batches(work: Spec) -> None:
    counts = [len(list(Path(work.images, part).glob("*/*.jpg"))) for part in ("train", "val")]
    assert (counts, work.classes, work.network, work.arm) == ([20, 10], 10, "resnet18", "all")
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
    assert 0 < found.first < found.whole
    assert len(found.accuracy) == 2
    assert found.versions["torch"] == torch.__version__


def test_a_loop_that_does_not_end_is_ended(work: Spec, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="tutorial did not end within 0 s"):
        loops.measure("tutorial", replace(work, workers=1), epochs=2, venvs=tmp_path, train=20, limit=0.1)


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
