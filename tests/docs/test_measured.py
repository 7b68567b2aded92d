"""What docs/measurements holds: runs of the recipes as they are now, and the pictures that are drawn of them."""

import dataclasses
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from docs import charts, measured
from docs.experiments import EXPERIMENTS, Experiment
from docs.measured import Curve, Kernels, Measured, Run, Runs
from tlkit.plans import resolve
from tlkit.recipe.digest import digest_of
from tlkit.record import run_folder
from tlkit.record.run_folder import Parameters, RunResult
from tlkit.sources.places import Places

QUICKSTART = ROOT / "recipes" / "quickstart.toml"
FILES = sorted(measured.FOLDER.glob("*.json"))


def arm_of(accuracies: list[float], *, digest: str = "0") -> Runs:
    curve = Curve(loss=[2.0, 1.0], accuracy=[0.1, 0.2])
    runs = {
        seed: Run(train=curve, validation=None, test=curve, result={"train": 1.0, "test": each})
        for seed, each in enumerate(accuracies)
    }
    return Runs(digest=digest, inputs={}, seeds=runs)


def measured_of(**arms: Runs) -> Measured:
    return Measured(settings=[], machine="a machine", images="", torch="2.9", date="2026-01-02", arms=arms, kernels=[])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_runs_are_of_the_recipe_as_it_is_now(path: Path) -> None:
    found = measured.read(path.stem)
    _, arms = resolve.load(ROOT / "recipes" / f"{path.stem}.toml", tuple(found.settings), Places(recipe=ROOT / "recipes"))
    changed = [arm for arm, runs in found.arms.items() if digest_of(arms[arm].arm, runs.inputs) != runs.digest]
    assert changed == [], "measure again, and run: python -m docs.measured"
    assert path.stem in {each.recipe for each in EXPERIMENTS}
    assert measured.text(found) == path.read_text()


def test_pictures_are_those_of_the_data() -> None:
    drawn, kept = charts.pictures(), {path.name: path.read_text() for path in charts.FOLDER.iterdir()}
    assert drawn.keys() == kept.keys(), "run: make docs-api"
    for name, text in drawn.items():
        version = re.search(r"Matplotlib v([\d.]+)", kept[name])
        if version is None or version[1] != matplotlib.__version__:
            pytest.skip(f"{name} is drawn with Matplotlib {version and version[1]}, and here is {matplotlib.__version__}")
        assert text == kept[name], f"{name}: run: make docs-api"


def test_every_picture_is_on_the_page_with_words() -> None:
    page = (ROOT / "docs" / "lectures.md").read_text()
    shown = dict(re.findall(r"!\[(.+?)\]\(pictures/(.+?)\)", page))
    assert sorted(shown.values()) == sorted(path.name for path in charts.FOLDER.iterdir())


def test_a_figure_has_half_of_students_interval() -> None:
    found = measured_of(arm=arm_of([0.70, 0.72, 0.77]), two=arm_of([0.5, 0.6]), one=arm_of([0.5]))
    low, high = stats.t.interval(0.95, 2, loc=0.73, scale=stats.sem([0.70, 0.72, 0.77]))
    assert found.figure("arm") == f"73.0 ± {50 * (high - low):.1f}"
    assert found.figure("two") == "55.0 (50.0, 60.0)"
    assert found.figure("one") == "50.0, seed 0 alone"
    assert found.figure("missing") == ""
    assert found.how == "Measured, a machine, seeds 0, 1 and 2, torch 2.9, 2026-01-02"


def test_accuracy_is_drawn_over_the_number_of_images() -> None:
    arms = {
        f"{way}_{count}": arm_of([place / 4] * 3) for place, (way, count) in enumerate([("scratch", 500), ("scratch", 2000)])
    }
    ways = charts.over_images(measured_of(**arms, everything=arm_of([1.0])))
    assert list(ways) == ["scratch"]
    (axes,) = charts.images(ways).axes
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()[:1]] == [([500, 2000], [0.0, 0.25])]
    assert axes.get_xscale() == "log"


def test_an_arms_accuracy_is_drawn_beside_the_lectures() -> None:
    ants = next(each for each in EXPERIMENTS if each.recipe == "ants_bees")
    (axes,) = charts.accuracy(ants, measured_of(scratch=arm_of([0.5, 0.6, 0.7]), finetune=arm_of([0.9]))).axes
    drawn = [(line.get_marker(), *np.ravel(line.get_data()).tolist()) for line in axes.get_lines()]
    assert [each[1:] for each in drawn if each[0] == "o"] == [(pytest.approx(0.6), 0), (0.9, 1)]
    assert [each[1:] for each in drawn if each[0] == "D"] == [(pytest.approx(0.6013), 0), (pytest.approx(0.8671), 1)]
    assert [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == ":"] == [0.5], "chance"


def test_kernels_are_drawn_with_their_difference() -> None:
    before, after = np.zeros((2, 3, 3, 3)), np.zeros((2, 3, 3, 3))
    after[1, 0, 0, 0] = 0.5
    given = Kernels(
        arm="a", seed=0, name="conv1", shape=[2, 3, 3, 3], before=before.ravel().tolist(), after=after.ravel().tolist()
    )
    panels = charts.kernels([given]).axes
    assert [axes.get_title().partition(",")[0] for axes in panels] == ["before", "after", "difference"]
    first, _, difference = (np.asarray(axes.get_images()[0].get_array()) for axes in panels)
    assert tuple(first[0, 0]) == (128, 128, 128, 255), "0 is grey"
    assert tuple(difference[0, 4]) == (255, 128, 128, 255), "the second kernel begins after a line; red grew"


def write_run(
    place: Path, arm: str, seed: int, accuracy: float, *, status: str = "finished", digest: str | None = None
) -> None:
    _, arms = resolve.load(QUICKSTART, (), Places(recipe=QUICKSTART.parent))
    content = {"data": "d", "weights": "w"} if arm != "scratch" else {"data": "d"}
    digest = digest or digest_of(arms[arm].arm, content)
    folder = place / run_folder.name_of(arm, seed, None, digest=digest)
    folder.mkdir(parents=True)
    scores = {"loss": 1.0, "accuracy": accuracy}
    result = RunResult(
        recipe="quickstart", arm=arm, seed=seed, status=status, digest=digest, train=scores, test=scores,
        parameters=Parameters(total=1, trained=1), versions={"torch": "2.9.1+cpu"},
    )  # fmt: skip
    run_folder.write(folder, result)
    lines = [f'{name} = "{value}"' for name, value in content.items()]
    (folder / run_folder.RESOLVED).write_text("\n".join(["format = 1", "[inputs]", *lines]))
    epochs = [{"epoch": 1, "train": scores, "validation": scores, "test": None, "seconds": 1.0}]
    (folder / run_folder.METRICS).write_text("\n".join(map(json.dumps, epochs)))


def test_finished_runs_of_the_recipe_are_gathered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 0):
        write_run(tmp_path / "here", "scratch", seed, 0.6 + seed / 10)
    write_run(tmp_path / "there", "finetune", 0, 0.9)
    write_run(tmp_path / "there", "head_only", 0, 0.9, status="interrupted")
    write_run(tmp_path / "there", "scratch", 2, 0.1, digest="f" * 64)
    found = measured.gather(QUICKSTART, [tmp_path / "here", tmp_path / "there"], machine="a machine", date="today")
    assert {arm: list(runs.seeds) for arm, runs in found.arms.items()} == {"scratch": [0, 1], "finetune": [0]}
    assert found.arms["scratch"].seeds[1].result == {"train": 0.7, "test": 0.7}
    assert found.arms["scratch"].seeds[0].test is None, "evaluated for the best epoch alone"
    assert found.arms["scratch"].seeds[0].validation == Curve(loss=[1.0], accuracy=[0.6])
    assert found.torch == "2.9.1"
    assert "scratch-s2-ffffffff" in capsys.readouterr().out, "what is left out is said"
    assert Measured.model_validate_json(measured.text(found)) == found


def test_without_a_finished_run_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished run"):
        measured.gather(QUICKSTART, [tmp_path], machine="a machine")


def test_an_experiment_draws_what_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measured, "FOLDER", tmp_path)
    each: Experiment = dataclasses.replace(EXPERIMENTS[0], recipe="toy", figures=())
    assert charts.shown(each) == {}
    (tmp_path / "toy.json").write_text(measured.text(measured_of(arm=arm_of([0.5]))))
    assert list(charts.shown(each)) == ["curves"]
