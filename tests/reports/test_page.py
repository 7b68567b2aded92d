"""report.html: what it says is what the runs' files say, and it needs nothing but itself."""

import dataclasses
import hashlib
import html
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import toy_runs
from conftest import TOY_RECIPE, Cli
from PIL import Image
from scipy.stats import ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from tlkit import api
from tlkit.errors import TlkitError
from tlkit.record import predictions
from tlkit.record import range_tests as records
from tlkit.record.range_tests import RangeTest
from tlkit.record.report_data import ReportData
from tlkit.reports import curves
from tlkit.reports.page import (
    arm_charts,
    arm_scores,
    arm_table,
    comparison,
    evaluation,
    frame,
    kernel_grids,
    over_fitting,
    page,
    pictures,
    range_tests,
    runs,
    seen,
    times,
)
from tlkit.reports.page.runs import ShownArm, ShownRun

ARMS = """
[data.split]
validation = 0.2
[arms.finetune]
[arms.head_only]
freeze = { backbone = true }
"""


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a recipe of two arms and three seeds; tests only read it."""
    folder = tmp_path_factory.mktemp("page")
    recipe = TOY_RECIPE.replace('name = "toy"\n', 'name = "toy"\nseeds = [0, 1, 2]\n', 1).replace("train = 80", "train = 400")
    with toy_runs.applied(folder, recipe + ARMS, drawn=True) as done:
        yield done.folder


@pytest.fixture(scope="module")
def arms(applied: Path) -> list[ShownArm]:
    return runs.by_arm(runs.read(runs.find([applied])))


@pytest.fixture(scope="module")
def text(applied: Path) -> str:
    return (applied / "report.html").read_text()


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_page_refers_to_nothing_outside_itself(text: str) -> None:
    for tag, attributes in Tags(text).found:
        for name in ("src", "href", "srcset", "poster", "action"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_and_chart_has_a_text_in_its_place(text: str, arms: list[ShownArm]) -> None:
    tags = Tags(text).found
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert images
    assert all(len(each["alt"] or "") > 10 for each in images)
    plots = [attributes for tag, attributes in tags if attributes.get("class") == "plot"]
    assert len(plots) == len(json.loads(text[text.index('type="application/json">') + 24 :].split("</script>", 1)[0]))
    assert all(len(each["aria-label"] or "") > 20 for each in plots)


def test_charts_are_valid_for_plotly(arms: list[ShownArm]) -> None:
    graphs = pytest.importorskip("plotly.graph_objects")
    made = [arm_charts.curves(arms, metric) for metric in ("accuracy", "loss")]
    made += [
        arm_charts.rates(arms),
        arm_charts.tradeoff(arms),
        arm_charts.changes(arms),
        times.by_kind(arms),
        times.timeline(arms),
    ]
    made += [chart for each in seen.seen([seen.of(arm) for arm in arms]) for chart in each.charts]
    assert len(made) == 7 + 3 * len(arms)
    assert any(chart.title.endswith("; crosses are those that it gets wrong") for chart in made)
    for chart in made:
        figure = graphs.Figure(data=chart.data, layout=chart.record()["layout"])
        assert len(figure.data) == len(chart.data) > 0
        for values in chart.axes.values():
            assert [len(each) for each in values] == [len(trace["x"]) for trace in chart.data]


def test_masks_of_two_classes_have_curves_and_a_table_of_dice(arms: list[ShownArm]) -> None:
    graphs = pytest.importorskip("plotly.graph_objects")
    numbers = {"images": 3, "pixels": 90, "precision": 0.9, "recall": 0.8}
    evaluation = {
        "confusion": [[80, 10], [5, 5]],
        "per_class": {"ground": {**numbers, "dice": 0.914}, "vessel": {**numbers, "dice": 0.4}},
        "curves": {
            "probability": [0.9, 0.52, 0.2, 0.0], "false_positive_rate": [0.0, 0.11, 0.4, 1.0], "recall": [0.1, 0.5, 0.9, 1.0],
            "precision": [1.0, 0.33, 0.2, 0.1],
        },
        "threshold": {"probability": 0.21, "dice": 0.5},
    }  # fmt: skip
    (found,) = seen.seen([seen.Evaluated("main", "test", evaluation, None, ReportData())])
    assert (found.columns[-1], found.classes[0][-1]) == ("Dice", "0.914")
    assert found.pairs[0] == "ground taken for vessel: 10 pixels"
    assert found.columns == ("class", "images", "precision", "recall", "Dice")
    many = {"confused": [[1, 0, 1200]], "per_class": evaluation["per_class"]}  # as of more than 2,000 classes
    assert seen.seen([seen.Evaluated("main", "test", many, None, ReportData())])[0].pairs == [
        "vessel taken for ground: 1,200 pixels"
    ]
    boxes = {"per_class": {"bar": {"images": 1200, "precision": None, "recall": 0.5, "average_precision": 0.25}}}
    (of_boxes,) = seen.seen([seen.Evaluated("main", "test", boxes, None, ReportData())])
    assert (of_boxes.columns, of_boxes.classes) == (
        ("class", "images", "recall", "average precision"),
        [("bar", "1,200", "50.0%", "0.250")],
    )
    confusion, roc, precision = found.charts
    assert "85 of 100 pixels on the diagonal" in confusion.alt
    assert (roc.title, roc.data[0]["x"], roc.data[0]["y"]) == ("ROC curve", [0.0, 0.11, 0.4, 1.0], [0.1, 0.5, 0.9, 1.0])
    assert (precision.data[0]["x"], precision.data[0]["y"]) == ([0.1, 0.5, 0.9, 1.0], [1.0, 0.33, 0.2, 0.1])
    assert "at a probability of 0.2, the best for validation images, precision 20.0% and recall 90.0%" in precision.alt
    assert [trace["x"] for trace in roc.data[1:]] == [[0.11], [0.4]], "the thresholds 0.5 and 0.21"
    assert [trace["name"] for trace in roc.data[1:]] == ["threshold 0.5", "threshold 0.21, the best for validation images"]

    def of_masks(run: ShownRun) -> ShownRun:
        lines = [line | {"validation": line["validation"] | {"dice": 0.5}} for line in run.metrics]
        update = {"select_by": "dice", "test": run.result.test | {"dice": 0.5}}
        return dataclasses.replace(run, result=run.result.model_copy(update=update), metrics=lines)

    masks = [ShownArm(arm.name, list(map(of_masks, arm.runs))) for arm in arms]
    dice = arm_charts.judged(masks)
    assert dice.title == "Dice"
    assert {value for trace in dice.data for value in trace["y"]} == {0.5}
    assert arm_charts.deciding(masks) is None, "Dice is there already"
    tradeoff = arm_charts.tradeoff(masks)
    assert (tradeoff.title, tradeoff.data[0]["y"]) == ("Dice and what it costs", [0.5])
    by_iou = [
        dataclasses.replace(
            run,
            result=run.result.model_copy(update={"select_by": "iou"}),
            metrics=[line | {"test": line["test"] | {"iou": 0.4}} for line in run.metrics],
        )
        for run in masks[0].runs
    ]
    iou = arm_charts.deciding([ShownArm("iou", by_iou)])
    assert iou.title == "IoU"
    for chart in (roc, precision, dice):
        assert graphs.Figure(data=chart.data, layout=chart.record()["layout"]).data


def test_arm_without_the_metric_has_no_point_and_no_chart_has_nan(arms: list[ShownArm]) -> None:
    """JSON.parse of a browser refuses NaN, so that one would keep all charts of the page from being drawn."""

    def of_boxes(arm: ShownArm, more: dict[str, float]) -> ShownArm:
        test = {"loss": 0.2, "accuracy": 1.0, "map50": 0.5, **more}
        return ShownArm(
            arm.name, [dataclasses.replace(run, result=run.result.model_copy(update={"test": test})) for run in arm.runs]
        )

    first, second = arms[:2]
    third = dataclasses.replace(first, name="third")
    boxes = [of_boxes(first, {"map": 0.25}), of_boxes(second, {}), of_boxes(third, {"map": 0.5})]
    chart = arm_charts.tradeoff(boxes)
    assert [(trace["name"], trace["y"]) for trace in chart.data] == [(first.name, [0.25]), ("third", [0.5])]
    assert {len(values) for values in chart.axes.values()} == {2}
    assert "nan" not in chart.alt
    assert arm_charts.tradeoff(boxes[:2]) is None, "one point has nothing to be compared with"
    text = frame._json([{"y": [float("nan"), 1, np.float32("inf"), 0.5], "text": "<b> NaN"}])
    assert json.loads(text, parse_constant=pytest.fail) == [{"y": [None, 1, None, 0.5], "text": "<b> NaN"}]
    assert "<" not in text


def larger(run: ShownRun) -> ShownRun:
    """Return a run whose network has a parameter more."""
    known = run.result.parameters
    update = {"parameters": known.model_copy(update={"total": known.total + 1})}
    return dataclasses.replace(run, result=run.result.model_copy(update=update))


def test_table_has_the_mean_and_interval_over_seeds(applied: Path, arms: list[ShownArm]) -> None:
    summary = json.loads((applied / "result.json").read_text())["arms"]
    for row, arm in zip(arm_table.rows(arms), arms, strict=False):
        known, cells = summary[arm.name]["test"]["accuracy"], dict(zip(arm_table.columns(arms), row.cells, strict=True))
        assert cells["test accuracy"] == f"{known['mean']:.1%}"
        low, high, by = known["low"], known["high"], "Student's t over 3 seeds"
        if low == high:
            (low, high), by = proportion_confint(round(40 * low), 40, method="wilson"), "Wilson, 40 images, 3 seeds alike"
        assert cells["95 % interval"] == f"{low:.1%} to {high:.1%}"
        assert cells["interval by"] == by
    chance, commonest = arm_table.rows(arms)[-2:]
    assert (chance.name, chance.cells[1]) == ("chance", "25.0%")
    assert commonest.name == "the commonest class"
    by, size = "How the 95 % intervals were computed: Student's t over 3 seeds.", f"{arms[0].first.result.parameters.total:,}"
    heads, shown, notes = arm_table.table(arms[:1])  # whose seeds differ; those of the other arm are at chance, all of them
    assert heads[:4] == ["runs", "test accuracy", "95 % interval", "train accuracy"]
    said = [by, f"Each network has {size} parameters.", f"Each trains {arms[0].first.result.parameters.trained:,} parameters."]
    assert (notes, "of" in heads) == (said, False), "it is the same of all arms"
    assert {len(row.cells) for row in shown} == {len(heads)}
    assert said[1] in (applied / "report.html").read_text()
    one = ShownArm(arms[0].name, [larger(run) for run in arms[0].runs[:1]])
    heads, shown, notes = arm_table.table([one, *arms[1:]])
    assert (heads, notes) == (arm_table.columns(arms), [])
    assert [row.cells for row in shown] == [row.cells for row in arm_table.rows([one, *arms[1:]])]
    heads, shown, notes = arm_table.table([ShownArm(arm.name, arm.runs[:2]) for arm in arms])
    assert (heads[:3], len(notes)) == (["runs", "test accuracy", "train accuracy"], 1), "two seeds have no interval"
    assert {len(row.cells) for row in shown} == {len(heads)}


def test_result_is_of_the_metric_that_the_task_is_judged_by_and_the_one_that_chose_the_epochs(arms: list[ShownArm]) -> None:
    def of_masks(run: ShownRun) -> ShownRun:
        test = {"loss": 0.2, "accuracy": 0.95, "iou": 0.5 + run.result.seed / 100, "dice": 0.7 + run.result.seed / 100}
        return dataclasses.replace(run, result=run.result.model_copy(update={"select_by": "iou", "test": test}))

    masks = [ShownArm(arm.name, list(map(of_masks, arm.runs))) for arm in arms]
    interval = "0.685 to 0.735"  # 0.71 +- 4.303 x 0.01 / sqrt(3): Student's t of 2 degrees of freedom
    assert comparison.sentence(masks).startswith(
        f"{masks[0].name} has Dice 0.710 (95 % interval {interval}) and IoU 0.510 (95 % interval 0.485 to 0.535) on the test images."
    )
    heads = arm_table.columns(masks)
    assert heads[:5] == ["runs", "test Dice", "95 % interval of Dice", "test IoU", "95 % interval of IoU"]
    assert not any("accuracy" in head or "points" in head for head in heads), "of pixels, most of them the ground's"
    for row in arm_table.rows(masks):
        cells = dict(zip(heads, row.cells, strict=True))
        assert row.cells[:4] == ("3", "0.710", interval, "0.510")
        assert (cells["interval by"], cells["test loss"]) == ("Student's t over 3 seeds", "0.200")


def test_picture_of_the_curves_has_the_metric_that_the_task_is_judged_by() -> None:
    test = {"loss": 0.2, "accuracy": 0.95, "dice": 0.7}
    drawn = curves.figure([("a", [{"epoch": 1, "train": {"loss": 0.3, "accuracy": 0.9}, "test": test}])], held_out="test")
    loss, dice = drawn.axes
    assert (loss.get_title(), dice.get_title()) == ("loss", "Dice")
    assert [list(line.get_ydata()) for line in dice.lines] == [[0.7]], "there is none of training batches"


def test_curves_of_several_labels_have_the_metric_of_the_lines_where_some_epoch_lacks_auroc(arms: list[ShownArm]) -> None:
    """AUROC is costly: after each epoch it is computed of validation images alone, and only where it chooses the best; of test images with it."""
    lines = [
        {"epoch": n, "seconds": 1.0, "train": {"loss": 0.3, "accuracy": 0.9}, "validation": {**known, "auroc": 0.7 + n / 100},
         "test": {**known, **({"auroc": 0.6} if n == 2 else {})}}
        for n, known in ((n, {"loss": 0.2, "accuracy": 0.95, "exact_match": 0.25, "f1": n / 10}) for n in (1, 2, 3))
    ]  # fmt: skip
    _, drawn = curves.figure([("a", lines)], held_out="test").axes
    assert (drawn.get_title(), [list(line.get_ydata()) for line in drawn.lines]) == ("F1", [[0.1, 0.2, 0.3]])
    _, drawn = curves.figure([("a", lines)], held_out="validation").axes
    assert (drawn.get_title(), [list(line.get_ydata()) for line in drawn.lines]) == ("AUROC", [[0.71, 0.72, 0.73]])

    run = arms[0].first
    result = run.result.model_copy(update={"select_by": "auroc", "test": lines[1]["test"]})
    labels = [ShownArm("a", [dataclasses.replace(run, result=result, metrics=lines)])]
    assert [chart.title for chart in (arm_charts.judged(labels), arm_charts.deciding(labels)) if chart] == ["F1", "AUROC"]
    test, validation = arm_charts.curves(labels, "auroc").data
    assert (test["y"], test["mode"], validation["visible"]) == ([0.6], "markers", True), "no line past epochs that lack it"


def test_page_of_an_evaluation_begins_with_the_task_s_metric(tmp_path: Path) -> None:
    answers = seen.Evaluated("masks", "test", {}, None, ReportData())
    scores = {"loss": 0.2, "accuracy": 0.95, "dice": 0.71}
    evaluation.write(
        tmp_path / "e.html",
        evaluation.ShownEvaluation("runs/masks", "other", 8, scores, answers, (), "tlkit", select_by="dice"),
    )
    assert "masks has Dice 0.710 on 8 images of other." in (tmp_path / "e.html").read_text()


def test_interval_of_one_run_is_wilson_s_of_its_images(arms: list[ShownArm]) -> None:
    one = ShownArm("one", arms[0].runs[:1])
    found = predictions.load(one.first.folder).part("test")
    right = int((found.logits.argmax(1) == found.label).sum())
    mean, interval, kind = arm_scores.interval_of(one)
    assert mean == pytest.approx(right / len(found.label))
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(right, len(found.label), method="wilson"))
    assert kind == f"Wilson, {len(found.label)} images, one run"


def test_seeds_that_are_alike_have_the_interval_of_one_and_no_t_test(arms: list[ShownArm]) -> None:
    """As of a solved head on one split: Student's t would have no width, and p would be 0."""

    def alike(arm: ShownArm) -> ShownArm:
        first, target = arm.first, {"dark": {"accuracy": 0.5}}
        results = [first.result.model_copy(update={"seed": seed, "also": target}) for seed in range(3)]
        return ShownArm(arm.name, [dataclasses.replace(first, result=each) for each in results])

    one, other = alike(arms[0]), alike(arms[1])
    mean, interval, kind = arm_scores.interval_of(one)
    assert (mean, interval) == arm_scores.interval_of(ShownArm("one", one.runs[:1]))[:2]
    assert kind.endswith(" images, 3 seeds alike")
    assert arm_scores.on_target(one, "dark") == ("50.0%", "")
    (found,) = comparison.differences([one, other])
    assert (found.over_seeds, found.why_none) == ("", "the difference is the same in every seed")
    two = ShownArm("two", one.runs[:2])
    assert arm_scores.interval_of(two)[1:] == (None, "mean of 2")


def test_arms_are_compared_on_the_same_images_seed_by_seed(arms: list[ShownArm]) -> None:
    (difference,) = comparison.differences(arms)
    assert len(difference.tests) == 3
    assert "paired t over 3 seeds" in difference.over_seeds
    runs_of = {arm.name: arm.runs for arm in arms}
    for line, first, second in zip(difference.tests, runs_of[difference.first], runs_of[difference.second], strict=True):
        mine, theirs = (each.answers.right for each in (first, second) if each.answers is not None)
        table = [[0, (mine & ~theirs).sum()], [(theirs & ~mine).sum(), 0]]
        p = mcnemar(table, exact=True).pvalue
        assert f"seed {first.result.seed}: {table[1][0]} images only {difference.second} has right" in line
        assert line.endswith("p < 0.0001" if p < 1e-4 else f"p = {p:.2g}")


def test_baseline_changes_no_run_and_every_arm_is_compared_with_it(applied: Path, tmp_path: Path) -> None:
    """The p-values are those of statsmodels and SciPy on the runs' predictions."""
    shutil.copytree(applied, tmp_path / "runs/toy")
    recipe = applied.parent.parent / "toy.toml"
    shutil.copy(recipe, tmp_path / "toy.toml")
    again = api.apply(tmp_path / "toy.toml", "baseline='finetune'", runs=tmp_path / "runs")
    assert not again.changed
    assert again.result["baseline"] == "finetune"
    assert "difference" not in again.result["arms"]["finetune"]
    found = again.result["arms"]["head_only"]["difference"]
    right = {
        arm: [run.answers.right for run in mine.runs if run.answers is not None]
        for mine in runs.by_arm(runs.read(runs.find([again.folder])))
        for arm in [mine.name]
    }
    gaps = []
    for run, mine, theirs in zip(found["runs"], right["head_only"], right["finetune"], strict=True):
        table = [[0, (mine & ~theirs).sum()], [(theirs & ~mine).sum(), 0]]
        assert (run["only_this"], run["only_baseline"]) == (table[0][1], table[1][0])
        assert run["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
        gaps.append(mine.mean() - theirs.mean())
    expected = ttest_1samp(gaps, 0)
    assert (found["mean"], found["p"]) == pytest.approx((np.mean(gaps), expected.pvalue))
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    text = (again.folder / "report.html").read_text()
    assert "against finetune (points)" in text
    assert "head_only - finetune" in text
    assert "finetune - head_only" not in text


def test_time_of_steps_is_divided_between_trained_stages_and_head_by_their_operations(arms: list[ShownArm]) -> None:
    table = times.table(arms)
    for arm in arms:
        steps = sum(line["times"]["steps"] for run in arm.runs for line in run.metrics)
        found = table[arm.name]
        assert found["trained stages"] + found["head"] == pytest.approx(steps)
        assert sum(found.values()) == pytest.approx(
            sum(run.result.seconds + run.metrics[0]["times"]["decoding"] for run in arm.runs), abs=0.01
        )
        assert found["pictures for this page"] == sum(run.result.times["report"] for run in arm.runs) > 0
    assert table["head_only"]["trained stages"] == 0
    assert table["head_only"]["frozen stages, stored once"] > 0
    costs = {stage.name: stage.flops for stage in arms[0].first.plan.stages}
    assert table["finetune"]["head"] / table["finetune"]["trained stages"] == pytest.approx(
        costs["head"] / (sum(costs.values()) - costs["head"])
    )


def test_runs_on_other_images_are_not_compared(arms: list[ShownArm]) -> None:
    other = dataclasses.replace(arms[1].first)
    found = other.compared
    other.__dict__["compared"] = dataclasses.replace(found, label=(found.label + 1) % 4)
    assert comparison.differences([ShownArm("a", [arms[0].first]), ShownArm("b", [other])]) == []


def test_of_one_epoch_no_over_fitting_is_told(arms: list[ShownArm]) -> None:
    line = {
        **arms[0].first.metrics[0],
        "train_evaluated": {"loss": 0.1, "accuracy": 1.0},
        "test": {"loss": 1.0, "accuracy": 0.5},
    }
    solved = ShownArm("solved", [dataclasses.replace(arms[0].first, metrics=[line])])
    assert over_fitting.begins(solved) is None
    assert "over-fit" not in page.render([solved]).replace("a run that over-fits", "")


def test_two_versions_of_an_arm_are_compared_and_not_averaged(arms: list[ShownArm]) -> None:
    arm = next(arm for arm in arms if arm.name == "finetune")
    digest = arm.first.result.digest[:8]
    older = [dataclasses.replace(run, result=run.result.model_copy(update={"digest": "0123456789abcdef"})) for run in arm.runs]
    found = runs.by_arm([*arm.runs, *older])
    assert sorted(each.name for each in found) == sorted([f"finetune ({digest})", "finetune (01234567)"])
    assert [len(each.runs) for each in found] == [3, 3]
    (difference,) = comparison.differences(found)
    assert difference.difference == "+0.0"


def test_cost_is_drawn_over_what_differs_between_arms(arms: list[ShownArm]) -> None:
    twice = [ShownArm("a", arms[0].runs[:1]), ShownArm("b", arms[0].runs[1:2])]
    chart = arm_charts.tradeoff(twice)
    assert not {"parameters", "trained parameters"} & chart.axes.keys()
    assert chart.layout["xaxis"]["title"]["text"] == next(iter(chart.axes))


def test_one_version_of_an_arm_in_two_folders_is_two_arms(arms: list[ShownArm], tmp_path: Path) -> None:
    run = arms[0].first
    copy = dataclasses.replace(run, folder=tmp_path / run.folder.name)
    name = arms[0].name
    assert {each.name for each in runs.by_arm([run, copy])} == {f"{name} ({run.folder.parent})", f"{name} ({tmp_path})"}


def test_arms_of_a_cross_validation_say_why_they_have_no_interval(arms: list[ShownArm]) -> None:
    def folded(arm: ShownArm) -> ShownArm:
        first = [run.result.model_copy(update={"fold": 1}) for run in arm.runs]
        return ShownArm(arm.name, [dataclasses.replace(run, result=each) for run, each in zip(arm.runs, first, strict=True)])

    (difference,) = comparison.differences([folded(arm) for arm in arms])
    assert (difference.over_seeds, difference.why_none) == ("", "folds share training images")


def test_frozen_arm_s_kernels_say_that_they_did_not_change(arms: list[ShownArm]) -> None:
    tables = kernel_grids.kernels(arms)
    assert [table.title.split(":")[0] for table in tables] == ["First convolution", "Second convolution"]
    for table in tables:
        words = {row.arm: row.words for row in table.rows}
        assert words["head_only"].endswith("The difference is exactly zero: it is frozen.")
        assert "moved by" in words["finetune"]
        assert all(row.pictures[0].caption == "before training" for row in table.rows)


def test_each_arm_s_kernels_reach_the_ends_of_their_own_scale(arms: list[ShownArm]) -> None:
    (first, _) = kernel_grids.kernels(arms)
    for row, arm in zip(first.rows, arms, strict=True):
        largest = max(float(np.abs(arm.first.data.arrays[f"kernel0_{when}"]).max()) for when in ("before", "last", "best"))
        assert row.words.startswith(f"Before and after white is +{largest:.3g}, black -{largest:.3g}."), row.arm


def test_grid_of_kernels_is_grey_at_zero_and_white_at_the_scale() -> None:
    values = np.stack([np.zeros((3, 3)), np.full((3, 3), 2.0), np.full((3, 3), -2.0)]).astype(np.float32)
    found = pictures.grid(values, scale=2.0, columns=3)
    assert found.shape == (3, 11, 4)
    assert found[1, :, 3].tolist() == [255] * 3 + [0] + [255] * 3 + [0] + [255] * 3, "nothing between two, on either theme"
    assert [found[1, x, 0] for x in (1, 5, 9)] == [128, 255, 0]
    assert (pictures.grid(0 * values, scale=0.0)[:, :3, :3] == 128).all()


def test_page_of_many_runs_and_classes_stays_small(arms: list[ShownArm]) -> None:
    names = [f"class {number}" for number in range(1000)]
    per_class = {name: {"images": 50, "precision": 0.512, "recall": 0.498, "f1": 0.505, "auroc": 0.9} for name in names}
    confusion = np.random.default_rng(0).integers(0, 3, (1000, 1000)).tolist()
    lines = [{**arms[0].first.metrics[0], "epoch": epoch} for epoch in range(1, 101)]
    many = []
    for number in range(10):
        mine = [dataclasses.replace(arms[0].first, metrics=lines) for _ in range(5)]
        for run in mine:
            run.__dict__["evaluation"] = {"confusion": confusion, "per_class": per_class}
        many.append(ShownArm(f"arm {number}", mine))
    made = page.render(many)
    assert len(made.encode()) < 12e6
    assert made.count('class="pair"') < 700
    assert "Confusion matrix of arm 0 with 1000 classes" in made


def test_names_of_classes_and_arms_are_text_and_not_markup(arms: list[ShownArm]) -> None:
    bad = ShownArm("</script><b>arm", arms[0].runs)
    made = page.render([bad])
    assert "<b>arm" not in made


def curves_of(arm: ShownArm, losses: list[float], split: str = "test") -> ShownArm:
    lines = [
        {
            **arm.first.metrics[0],
            "epoch": epoch,
            "test": None,
            "validation": None,
            split: {"loss": loss, "accuracy": 0.5},
            "train_evaluated": {"loss": 1 / epoch, "accuracy": 0.9},
        }
        for epoch, loss in enumerate(losses, start=1)
    ]
    return ShownArm("arm", [dataclasses.replace(arm.first, metrics=lines)])


def test_over_fitting_is_told_and_drawn_where_the_held_out_loss_rises_lastingly(arms: list[ShownArm]) -> None:
    """Train accuracy is above that of held-out images in all of them, which is no over-fitting."""
    arm = curves_of(arms[0], [1.0, 0.7, 0.55, 0.5, 0.53, 0.58, 0.65])
    drawn = arm_charts.curves([arm], "loss").layout
    assert ([shape["x0"] for shape in drawn["shapes"]], drawn["annotations"][0]["text"]) == ([4], "arm: over-fits")
    assert over_fitting.sentence(arm) == (
        "arm: the test loss is lowest in epoch 4 (0.5) and 0.65 in the last, 7, while the train loss falls: after epoch 4 the run over-fits."
    )
    for losses, words in (
        ([0.17, 0.88, 2.92, 1.29, 0.2, 0.037], "is lowest in the last epoch, 6 (0.037); no over-fitting is seen."),
        ([1.0, 0.5, 0.52, 0.49, 0.5, 0.51], "no lasting rise while the train loss falls, so no over-fitting is seen."),
        ([0.5, 2.0, 3.0], "goes from 0.5 to 3 in 3 epochs, too few to tell over-fitting."),
    ):
        arm = curves_of(arms[0], losses, split="validation")
        assert over_fitting.sentence(arm).startswith("arm: the validation loss ")
        assert over_fitting.sentence(arm).endswith(words)
        assert arm_charts.curves([arm], "loss").layout["shapes"] == []


def test_many_arms_have_a_colour_each_and_leave_the_plot_its_room(arms: list[ShownArm]) -> None:
    nine = [dataclasses.replace(arms[0], name=f"arm{number}") for number in range(9)]
    few, many = arm_charts.curves(arms, "accuracy"), arm_charts.curves(nine, "accuracy")
    entries = [trace for trace in many.data if trace["showlegend"]]
    assert len({trace["line"]["color"] for trace in entries}) == 9
    assert many.height - few.height >= 8 * (len(entries) - 8)  # pixels: a row of the legend has 25, and three entries
    assert not many.layout["annotations"]


def test_without_validation_no_arm_is_called_the_best(arms: list[ShownArm]) -> None:
    def without(run: ShownRun) -> ShownRun:
        return dataclasses.replace(run, result=run.result.model_copy(update={"validation": None}))

    blind = [ShownArm(arm.name, list(map(without, arm.runs))) for arm in arms]
    found = comparison.sentence(blind)
    assert f". Without validation images no arm is chosen. {blind[0].name} is " in found
    assert "It is the best by validation, " in comparison.sentence(arms)


def test_the_best_arm_and_the_proof_have_one_sign_where_it_is_the_baseline(arms: list[ShownArm]) -> None:
    """The differences of the table are those of the other arms; the sentence is of the best one."""
    found = comparison.sentence(arms, arms[0].name)
    (reverse,) = [each for each in comparison.differences(arms, arms[0].name) if each.second == arms[1].name]
    told = f"{-float(reverse.difference):+.1f} points from {arms[1].name}"
    assert told in found
    if reverse.over_seeds:
        assert found.count(f"{-float(reverse.difference):+.1f} points") == 2
    else:
        assert f"only {arms[0].name} has right, " in found.rpartition("(")[2] or f"only {arms[0].name} has right, " in found


def test_report_of_runs_is_written_where_it_is_asked_for(applied: Path, run: Cli, tmp_path: Path) -> None:
    code, output, _ = run("report", applied)
    assert (code, output.strip()) == (0, "report: report.html")
    one = next(path.parent for path in applied.glob("head_only-*/result.json"))
    assert run("report", one, applied, "--out", tmp_path / "one.html")[0] == 0
    assert "head_only" in (tmp_path / "one.html").read_text()


def test_folder_without_runs_is_named(run: Cli, tmp_path: Path) -> None:
    code, _, said = run("report", tmp_path)
    assert code == 1
    assert f"{tmp_path}: is not the folder of a run" in said


def test_apply_without_plotly_says_what_to_install_and_draws_the_curves(
    toy_recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tlkit.reports.page.extra.missing", lambda: "the report needs plotly: pip install 'tlkit[report]'")
    code, output, said = run("apply", toy_recipe, "--set", "schedule.epochs=1")
    assert code == 0
    assert "pip install 'tlkit[report]'" in said
    assert "report:" not in output
    assert (tmp_path / "runs/toy/curves.svg").is_file()
    assert not (tmp_path / "runs/toy/report.html").exists()
    with pytest.raises(TlkitError, match="the report needs plotly"):
        api.report(tmp_path / "runs/toy", tmp_path / "x.html")


def test_finished_apply_writes_a_report_that_is_missing(toy_recipe: Path) -> None:
    settings, folder = ["schedule.epochs=1"], toy_recipe.parent / "runs"
    done = api.apply(toy_recipe, settings, runs=folder)
    (done.folder / "report.html").unlink()
    assert not api.apply(toy_recipe, settings, runs=folder).changed
    assert re.search("<title>toy: tlkit report</title>", (done.folder / "report.html").read_text())


def test_the_command_on_the_page_trains_an_arm_again(toy_recipe: Path, run: Cli) -> None:
    toy_recipe.write_text(TOY_RECIPE + ARMS)
    done = api.apply(toy_recipe, ["seeds=[1, 0]", "schedule.epochs=1", "data.options.train=60"], runs="runs")
    page = (done.folder / "report.html").read_text()
    commands = [shlex.split(html.unescape(each)) for each in re.findall(r"<code>(tlkit apply .*?)</code>", page)]
    assert len(commands) == 2
    for command in commands:
        assert run(*command[1:])[0] == 0
    first, again = (
        {run.name.partition("-s")[2]: (run / "weights.safetensors").read_bytes() for run in Path(folder).glob("toy/*-s*-*")}
        for folder in ("runs", "repeated")
    )
    assert len(first) == 4
    assert again == first


def test_page_says_which_runs_it_does_not_show_and_repeats_warnings(
    applied: Path, arms: list[ShownArm], tmp_path: Path
) -> None:
    shutil.copytree(applied, tmp_path / "toy")
    failed = next(path for path in (tmp_path / "toy").glob("head_only-s1-*/result.json"))
    failed.write_text(json.dumps(json.loads(failed.read_text()) | {"status": "failed", "error": "the disk is full"}))
    made = api.report(tmp_path / "toy", tmp_path / "page.html").read_text()
    assert "not shown: head_only, seed 1: failed: the disk is full" in made
    warned = dataclasses.replace(
        arms[0].first, plan=dataclasses.replace(arms[0].first.plan, warnings=("2 images are in two parts",))
    )
    assert f"<li>{arms[0].name}: 2 images are in two parts</li>" in page.render([ShownArm(arms[0].name, [warned]), arms[1]])


def numbers_missing(page: str) -> list[str]:
    """Where a page says "nan", outside its pictures."""
    return re.findall(r".{40}\bnan\b.{20}", re.sub(r'"data:[^"]+"', "", page[page.index("<main>") : page.index("</main>")]))


@pytest.mark.parametrize(
    "settings",
    [
        ["head.kind=binary", "data.options.classes=2"],
        ["head.kind=knn", "head.options.neighbors=3"],
        ["cross_validation.folds=3"],
    ],
    ids=lambda settings: ",".join(settings),
)
def test_every_kind_of_run_has_a_page(toy_recipe: Path, settings: list[str]) -> None:
    done = api.apply(toy_recipe, ["schedule.epochs=1", "data.options.train=60", *settings], runs=toy_recipe.parent / "runs")
    assert not done.failures
    assert not numbers_missing((done.folder / "report.html").read_text())


@pytest.mark.parametrize("kind", ["multilabel", "linear"])
def test_images_of_a_table_and_of_no_held_out_part_have_a_page(toy_recipe: Path, kind: str) -> None:
    """Several classes for each image; and training images alone."""
    images = toy_recipe.parent / "images"
    images.mkdir()
    draw = np.random.default_rng(0)
    lines = ["path,cat,dog"] if kind == "multilabel" else ["path,label"]
    for number in range(24):
        Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(images / f"{number}.png")
        lines.append(
            f"{number}.png,{number % 2},{number % 3 > 0:d}" if kind == "multilabel" else f"{number}.png,{'ab'[number % 2]}"
        )
    (images / "labels.csv").write_text("\n".join(lines) + "\n")
    data = {"path": str(images), **({"classes": ["cat", "dog"], "several": True} if kind == "multilabel" else {})}
    split = ["data.split.validation=0.25"] if kind == "multilabel" else []
    settings = [
        f"data={{name='csv', image_size=16, options={json.dumps(data).replace(': ', ' = ')}}}",
        f"head.kind={kind}",
        *split,
    ]
    done = api.apply(toy_recipe, ["schedule.epochs=1", *settings], runs=toy_recipe.parent / "runs")
    assert not done.failures
    assert not numbers_missing((done.folder / "report.html").read_text())


def test_run_of_an_older_format_has_no_report_and_it_is_said_what_to_do(applied: Path, run: Cli, tmp_path: Path) -> None:
    shutil.copytree(applied, tmp_path / "runs" / "toy")
    folder = next((tmp_path / "runs" / "toy").glob("finetune-s0-*"))
    path = folder / "plan.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "format": 6, "compute_format": "of another shape"}))
    result = json.loads((folder / "result.json").read_text())
    content = path.read_bytes()
    result["files"]["plan.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "result.json").write_text(json.dumps(result))
    said = (
        f"{folder}/plan.json: is of format 6, written by another version of tlkit; this one reads format {record['format']}.",
        "its results stay valid; for a report, move that folder away and apply the recipe again",
    )
    code, out, error = run("report", str(folder), "--out", str(tmp_path / "a.html"))
    assert (code, out) == (1, "")
    assert error.splitlines() == [said[0], f"  {said[1]}"]
    (tmp_path / "runs" / "toy" / "report.html").unlink()
    code, out, error = run("apply", str(applied.parent.parent / "toy.toml"), "--runs", str(tmp_path / "runs"))
    assert code == 0
    assert "finished before, nothing to do" in out + error
    assert f"report.html: is not written: {' '.join(said)}" in " ".join(error.split())


def test_range_tests_are_shown_with_what_they_would_set(applied: Path, arms: list[ShownArm]) -> None:
    assert range_tests.chart(arms) is None
    rates = [10 ** (-6 + 7 * step / 99) for step in range(100)]
    losses = [2.0] * 40 + [2.0 - step / 20 for step in range(20)] + [1.0] * 40
    range_test = RangeTest.of(rates, losses, arm="finetune", seed=0, ratios={"backbone": 0.1, "head": 1.0})
    try:
        records.keep(applied, [range_test])
        drawn = range_tests.chart(arms)
    finally:
        (applied / records.FILE).unlink()
    assert f"lr_groups.head = {range_test.suggested['head']:g}" in drawn.alt
    assert [len(trace["x"]) for trace in drawn.data] == [100, 1]
