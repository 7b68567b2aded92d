"""What is seen of a run in a terminal: rows with headers, and a bar, none wider than 80 characters."""

import dataclasses
import io
import re
from typing import Literal

import pytest
from rich.console import Console

from tlkit.events import Elsewhere, Epoch
from tlkit.reports import tables
from tlkit.reports.progress import TerminalObserver

SCORES = {"loss": 1234567.0, "accuracy": 1.0}


def epoch(number: int, *, best: bool = False, validation: bool = True) -> Epoch:
    held_out = {"loss": 0.5, "accuracy": 0.825}
    return Epoch(number, 1, SCORES, held_out if validation else None, held_out, 12345.6, 99.0, {}, best)


def seen(width: int, *, terminal: bool, validation: bool = True) -> list[str]:
    """Every line that is on the screen at some moment of two epochs of a long run."""
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=terminal, color_system=None)
    with TerminalObserver(console) as observer:
        observer.decoding(1234, 60_000)
        observer.decoding(60_000, 60_000)
        observer.begin("a_rather_long_arm_name, seed 1234", epochs=100, done=0, steps=1234, evaluations=5678, images=128)
        for number in (1, 2):
            observer.epoch_begins(number)
            for step in (1, 1234):
                observer.step(number, step)
                if terminal:
                    observer._progress.refresh()
            observer.evaluation(number, 5678)
            if terminal:
                observer._progress.refresh()
            observer.epoch(epoch(number, best=True, validation=validation))
        observer.epoch_begins(3)
        observer.step(3, 617)
        if terminal:
            observer._progress.refresh()
        observer.end("a_rather_long_arm_name, seed 1234")
    return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())) if line.strip()]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = seen(width, terminal=True)
    assert max(map(len, lines)) <= width
    (bar, *_) = [line for line in lines if "step 617/1234" in line]
    assert all(words in bar for words in ("epoch 3/100", "images/s", "best 82.5%", "left"))
    assert any("evaluating 5678/5678" in line for line in lines)


def test_download_is_a_bar_that_begins_at_what_came_before() -> None:
    output = io.StringIO()
    observer = TerminalObserver(Console(file=output, width=80, force_terminal=True, color_system=None))
    clock = Clock()
    observer._progress.get_time = clock
    with observer:
        for second in range(11):
            clock.now = float(second)
            assert observer.downloading(
                "a_long_[red]name_of_weights.safetensors", 200_000_000 + second * 10_000_000, 400_000_000
            )
            observer._progress.refresh()
        assert observer._progress.tasks[0].percentage == 75
        assert observer.downloading("a_long_[red]name_of_weights.safetensors", 300_000_000, 300_000_000), "stopped"
        assert observer._progress.tasks == []
        assert observer.downloading("b", 5000, None)
        observer._progress.refresh()
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()))
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("a_long_[red]name_of_we.. 300 MB of 400 MB 10 MB/s ") and " 0:10 left" in line for line in lines)
    assert any(line.startswith("b 5 KB ") for line in lines), "of a file whose length the server does not say"


def test_bar_of_a_download_moves_ten_times_a_second_however_often_bytes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A move takes 0.1 ms, in which a fast line brings more than the 16 KB that https brings at a time."""
    observer = TerminalObserver(Console(file=io.StringIO(), width=80, force_terminal=True))
    observer._progress.get_time = clock = Clock()
    moves: list[int] = []
    monkeypatch.setattr(
        observer._progress, "update", lambda *_, completed=None, **_more: moves.append(completed) if completed else None
    )
    with observer:
        for came in range(1, 2_001):
            clock.now += 0.001
            assert observer.downloading("a", came, 10_000)
    assert 20 <= len(moves) <= 21
    assert moves[0] == 1


def test_download_is_no_bar_without_a_terminal_or_before_the_observer_shows_anything() -> None:
    with TerminalObserver(Console(file=io.StringIO(), force_terminal=False)) as observer:
        assert not observer.downloading("a", 1, 2)
    assert not TerminalObserver(Console(file=io.StringIO(), force_terminal=True)).downloading("a", 1, 2)


class Clock:
    """A clock that a test sets, in the place of the module `time`."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tlkit.reports.progress.time", clock)
    return clock


def shown(observer: TerminalObserver) -> str:
    (task,) = observer._progress.tasks
    return f"{task.fields['shown']}; {task.fields['left']}"


def test_images_per_second_are_those_of_training(clock: Clock) -> None:
    """Ten steps of 16 images in 4 s after 5 s of the fixed prefix, then evaluation that takes a minute."""
    observer = TerminalObserver(Console(file=io.StringIO(), force_terminal=True))
    observer.begin("run", epochs=2, done=0, steps=10, evaluations=2, images=16)
    observer.epoch_begins(1)
    clock.now = 5.0
    observer.storing(8, 8)
    clock.now = 9.0
    observer.step(1, 10)
    assert shown(observer).startswith("epoch 1/2 step 10/10 40 images/s;")
    clock.now = 69.0
    observer.evaluation(1, 2)
    assert shown(observer).startswith("epoch 1/2 evaluating 2/2 40 images/s;")


def test_time_left_is_that_of_whole_epochs_with_evaluation_and_saving(clock: Clock) -> None:
    """Epochs of 100 s, of which 20 are evaluation and 30 saving: 15 s into the second of four, 285 s are left."""
    observer = TerminalObserver(Console(file=io.StringIO(), force_terminal=True))
    observer.begin("run", epochs=4, done=0, steps=10, evaluations=2, images=16)
    observer.epoch_begins(1)
    clock.now = 50.0
    observer.step(1, 10)
    clock.now = 70.0
    observer.evaluation(1, 2)
    clock.now = 100.0
    observer.epoch(epoch(1, best=True))
    observer.epoch_begins(2)
    clock.now = 115.0
    observer.step(2, 3)
    assert shown(observer).endswith("best 82.5%; 4:45 left")


def test_time_left_in_the_first_epoch_is_by_its_own_speed(clock: Clock) -> None:
    observer = TerminalObserver(Console(file=io.StringIO(), force_terminal=True))
    observer.begin("run", epochs=10, done=8, steps=6, evaluations=4, images=16)
    observer.epoch_begins(9)
    clock.now = 30.0
    observer.step(9, 3)  # 3 of 10 batches in 30 s: 70 s of this epoch and 100 s of the last one
    assert shown(observer).endswith("2:50 left")


def test_runs_elsewhere_have_a_row_each_while_they_run(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.reports.elsewhere.time", clock)
    observer = TerminalObserver(Console(file=io.StringIO(), force_terminal=True))

    def tell(label: str, state: Literal["waiting", "running", "finished", "failed"], epoch: int = 0, **scores: float) -> None:
        observer.elsewhere(
            Elsewhere(label, state, epoch, 10, {name.replace("_", " "): value for name, value in scores.items()})
        )

    def rows() -> list[tuple[str, str, str]]:
        return [(task.description, task.fields["shown"], task.fields["left"]) for task in observer._progress.tasks]

    for label in "abc":
        tell(label, "waiting")
    tell("a", "running", 2)  # it is continued
    clock.now = 30.0
    tell("a", "running", 3, train_loss=0.5)
    tell("b", "failed")
    assert rows() == [("runs", "1 running, 1 waiting, 1 failed", ""), ("a", "epoch 3/10 train loss 0.5", "3:30 left")]
    tell("a", "finished", 10)
    assert rows() == [("runs", "1 waiting, 1 finished, 1 failed", "")]
    tell("c", "finished", 10)
    assert rows() == []


def test_rows_stand_below_a_header_and_have_no_bar_without_a_terminal() -> None:
    title, header, first, second = seen(80, terminal=False)
    assert title == "a_rather_long_arm_name, seed 1234: accuracy (loss) after each epoch"
    assert header.split() == ["epoch", "train", "validation", "test", "seconds"]
    assert first.split() == ["1/100", "100.0%", "(1.23e+06)", "82.5%", "(0.500)", "82.5%", "(0.500)", "12345.6", "best"]
    assert second.startswith("  2/100")
    assert [header.index(name) for name in ("train", "validation", "test")] == [
        first.index("100.0%"),
        first.index("82.5%"),
        first.rindex("82.5%"),
    ]


def test_rows_show_the_metric_that_the_run_is_judged_by() -> None:
    output = io.StringIO()
    with TerminalObserver(Console(file=output, width=80)) as observer:
        observer.judged_by("map")
        observer.begin("main, seed 0", epochs=3, done=0, steps=3, evaluations=1, images=8)
        held_out = {"loss": 1.5, "accuracy": 1.0, "map": 0.0386}
        observer.epoch(
            Epoch(1, 1, {"loss": 2.5, "accuracy": 0.9}, held_out, {"loss": 1.6, "accuracy": 1.0}, 5.0, 9.0, {}, best=True)
        )
    assert output.getvalue().splitlines() == [
        "main, seed 0: mAP (loss) after each epoch",
        "  epoch    train             validation        test              seconds",
        "  1/3      (2.500)           0.039 (1.500)     (1.600)           5.0  best",
    ]
    assert observer._best == " best 0.039", "in the bar"


def test_images_without_the_costly_metric_show_another_with_its_name() -> None:
    """AUROC is computed after each epoch only of validation images, and where it chooses the best: not of test images."""
    cheap = {"loss": 1.5, "accuracy": 0.9, "exact_match": 0.25, "f1": 0.3}
    batches = {"loss": 2.5, "accuracy": 0.9}
    one = Epoch(1, 1, batches, cheap | {"auroc": 0.7}, cheap, 5.0, 9.0, {}, best=True)
    output = io.StringIO()
    with TerminalObserver(Console(file=output, width=80)) as observer:
        observer.judged_by("auroc")
        observer.begin("main, seed 0", epochs=2, done=0, steps=3, evaluations=1, images=8)
        observer.epoch(one)
        observer.epoch(dataclasses.replace(one, epoch=2, validation=cheap))
    assert output.getvalue().splitlines()[2:] == [
        "  1/2      (2.500)           0.700 (1.500)     F1 0.300 (1.500)  5.0  best",
        "  2/2      (2.500)           F1 0.300 (1.500)  F1 0.300 (1.500)  5.0  best",
    ]
    assert observer._best == " best F1 0.300", "in the bar"


def test_run_without_an_epoch_left_has_no_heading_until_there_is_a_row() -> None:
    output = io.StringIO()
    with TerminalObserver(Console(file=output, width=80)) as observer:
        observer.begin("main, seed 0", epochs=2, done=2, steps=3, evaluations=1, images=8)
        assert output.getvalue() == ""
        observer.epoch(epoch(2))
    assert [line.split()[0] for line in output.getvalue().splitlines()] == ["main,", "epoch", "2/2"]


def test_column_of_validation_is_left_out_where_there_are_no_such_images() -> None:
    _, header, first, _ = seen(80, terminal=False, validation=False)
    assert header.split() == ["epoch", "train", "test", "seconds"]
    assert "best" not in first


def test_table_of_a_fit_shows_the_metric_of_its_task() -> None:
    scores = {"loss": 1.5, "accuracy": 1.0, "dice": 0.5}
    shown = tables.epochs([Epoch(1, 1, {"loss": 2.5, "accuracy": 0.9}, scores, None, 5.0, 9.0, {}, best=True)])
    assert [column.header for column in shown.columns] == ["epoch", "loss", "val loss", "val Dice", "seconds", ""]
    assert [next(iter(column.cells)) for column in shown.columns] == ["1", "2.500", "1.500", "0.500", "5.0", "best"]
    labels = {"loss": 1.5, "accuracy": 0.9, "exact_match": 0.25, "f1": 0.3}
    for found, head, cell in ((labels, "val F1", "0.300"), (labels | {"auroc": 0.7}, "val AUROC", "0.700")):
        table = tables.epochs([Epoch(1, 1, {"loss": 2.5, "accuracy": 0.9}, found, None, 5.0, 9.0, {}, best=True)])
        assert (table.columns[3].header, *table.columns[3].cells) == (head, cell), "what its epochs have"
