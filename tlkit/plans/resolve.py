"""Resolve a recipe: find the plugins of all its arms, and report the problems of all arms together. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlkit.errors import MOST_CHECKED, RecipeError, TlkitError, first_few
from tlkit.plans import ensembles, loggers, search_checks
from tlkit.plans.arm_resolver import ArmResolver
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Dataset
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Arm, Recipe
from tlkit.sources.places import Places


def load(path: Path, settings: Sequence[str], places: Places) -> tuple[Recipe, dict[str, Resolved]]:
    """Read a recipe file and resolve its arms.

    Args:
        path: The TOML file.
        settings: "key=value" each.
        places: Where paths begin.

    Raises:
        RecipeError: with every problem of tables and of names together.
    """
    try:
        recipe = parsing.read(path, settings)
    except RecipeError as error:
        problems = list(error.problems)
        if isinstance(error.rest, Recipe):
            try:
                resolve(error.rest, places, where=str(path))
            except RecipeError as more:
                problems += more.problems
        raise RecipeError(problems) from error
    problems = _logger_problems(recipe, where=str(path))
    try:
        arms = resolve(recipe, places, where=str(path))
    except RecipeError as error:
        problems += search_checks.problems(recipe, where=str(path), resolver=None)
        raise RecipeError([*problems, *error.problems]) from error

    def resolver(arm: Arm) -> list[TlkitError]:
        outcome = ArmResolver(recipe.name, "trial", arm, places, folds=recipe.folds).run()
        return [] if isinstance(outcome, Resolved) else outcome

    problems += search_checks.problems(recipe, where=str(path), resolver=resolver)
    if problems:
        raise RecipeError(problems)
    return recipe, arms


def _logger_problems(recipe: Recipe, *, where: str) -> list[TlkitError]:
    """Return what is wrong with [[loggers]] of a recipe."""
    try:
        loggers.choose(recipe.loggers, where=where)
    except RecipeError as error:
        return list(error.problems)
    return []


def resolve(recipe: Recipe, places: Places, *, where: str, dataset: Dataset | None = None) -> dict[str, Resolved]:
    """Resolve every arm.

    Args:
        recipe: As read.
        places: Where paths begin.
        where: Begins every message, usually the recipe's file.
        dataset: Stands for the data set that the recipe names, where the images are in memory.

    Raises:
        RecipeError: with every problem of every arm; one that all arms share is said once.
    """
    resolved: dict[str, Resolved] = {}
    found: dict[str, list[str]] = {}
    problems: dict[str, TlkitError] = {}
    for name, arm in recipe.arms.items():
        if sum(map(len, found.values())) >= MOST_CHECKED:
            break
        outcome = ArmResolver(recipe.name, name, arm, places, dataset, folds=recipe.folds).run()
        if isinstance(outcome, Resolved):
            resolved[name] = replace(outcome, where=where)
            continue
        for problem in outcome:
            problems[str(problem)] = problem
            found.setdefault(str(problem), []).append(name)
    if not problems:
        together = [] if recipe.ensemble is None else list(ensembles.problems(recipe.ensemble, resolved))
        if together:
            raise RecipeError(problem.at(where) for problem in together)
        return resolved
    raise RecipeError(
        problem.at(where if len(found[text]) == len(recipe.arms) else f"{where}: {_arms(found[text])}")
        for text, problem in problems.items()
    )


def resolve_arm(arm: Arm, *, name: str, recipe: str, places: Places, where: str, folds: int | None = None) -> Resolved:
    """Resolve one arm, as a plan or a run folder holds it.

    Args:
        arm: Its tables.
        name: Of the arm.
        recipe: Name of the recipe.
        places: Where paths begin.
        where: Begins every message.
        folds: Number of folds of the recipe's cross-validation; None without.

    Raises:
        RecipeError: with every problem of it.
    """
    outcome = ArmResolver(recipe, name, arm, places, folds=folds).run()
    if isinstance(outcome, Resolved):
        return replace(outcome, where=where)
    raise RecipeError(problem.at(where) for problem in outcome)


def _arms(names: list[str]) -> str:
    return f"arms.{names[0]}" if len(names) == 1 else f"arms {first_few(names, 20)}"
