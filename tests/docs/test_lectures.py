"""The page of the lectures' experiments says what the recipes say."""

import re

import pytest
from conftest import ROOT

from docs import lectures
from docs.experiments import EXPERIMENTS, Experiment
from tlkit.plans import resolve
from tlkit.sources.places import Places

EACH = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.recipe)


def head(experiment: Experiment) -> str:
    text = (ROOT / "recipes" / f"{experiment.recipe}.toml").read_text().partition("\nformat = ")[0]
    return " ".join(line.removeprefix("#").strip() for line in text.splitlines())


def test_every_recipe_of_a_lecture_is_on_the_page() -> None:
    lecture = [path.stem for path in (ROOT / "recipes").glob("*.toml") if re.search("[Ll]ecture", path.read_text())]
    ours = {"inception_cifar"}  # our own choices beside a lecture's recipe
    assert sorted(set(lecture) - {each.recipe for each in EXPERIMENTS} - ours) == []


@EACH
def test_figures_stand_in_the_head_of_the_recipe(experiment: Experiment) -> None:
    numbers = re.findall(r"\d[\d.,]*\d|\d", head(experiment))
    for row in experiment.figures:
        shown = f"{row.lecture} {lectures.ours(experiment, row)}"
        assert [number for number in re.findall(r"\d[\d.]*", shown) if number not in numbers] == [], row.what


@EACH
def test_what_the_recipe_has_measured_is_on_the_page(experiment: Experiment) -> None:
    measured = "Measured on" in head(experiment) or "Measured: " in head(experiment)
    figures = [lectures.ours(experiment, row) for row in experiment.figures if row.arm]
    assert any(figures) is measured
    if not all(figures):
        assert "ot measured yet" in head(experiment)


@EACH
def test_every_arm_has_its_figure(experiment: Experiment) -> None:
    path = ROOT / "recipes" / f"{experiment.recipe}.toml"
    recipe, _ = resolve.load(path, (), Places(recipe=path.parent))
    assert {row.arm for row in experiment.figures if row.arm} == set(recipe.arms)


@EACH
def test_what_stands_below_the_recipes_table_is_quoted_and_how_it_was_measured_said_once(experiment: Experiment) -> None:
    text = (ROOT / "recipes" / f"{experiment.recipe}.toml").read_text().partition("\nformat = ")[0].replace("+-", "±")
    last = " ".join(line.removeprefix("# ") for line in text.rpartition("\n#\n")[2].splitlines())
    section = (ROOT / "docs" / "lectures.md").read_text().partition(f"## {experiment.title}\n")[2].partition("\n## ")[0]
    assert last in " ".join(section.split())
    assert section.count("Measured") <= 1


def test_settings_of_an_experiment_have_a_row() -> None:
    for experiment in EXPERIMENTS:
        assert set(experiment.said) <= set(lectures.SETTINGS)


def test_each_of_the_five_things_is_there() -> None:
    page = (ROOT / "docs" / "lectures.md").read_text()
    table = page.partition("## Five things to see first")[2].partition("<!--")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 5
    assert [row for row in rows if "open: " in row] == []
