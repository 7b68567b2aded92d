"""The loggers that a recipe and --log name, looked up and checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from tlkit.errors import PluginError, RecipeError, option
from tlkit.plugin import Logger, registry
from tlkit.recipe import parsing
from tlkit.recipe.loggers import LoggerTable


@dataclass(frozen=True)
class ChosenLogger:
    """A logger with its options.

    Attributes:
        name: As a recipe or --log gives it.
        logger: The plugin.
        options: An instance of the plugin's model; None if it has no options.
    """

    name: str
    logger: Logger
    options: BaseModel | None


def choose(tables: Iterable[LoggerTable], *, where: str) -> tuple[ChosenLogger, ...]:
    """Look up the loggers of a recipe, whether or not the libraries that they write with are installed.

    Args:
        tables: [[loggers]] of the recipe.
        where: Begins every message, usually the recipe's file.

    Raises:
        RecipeError: with every logger that nobody offers, and every wrong option.
    """
    chosen, problems = [], []
    for number, table in enumerate(tables):
        place = f"loggers[{number}]"
        try:
            logger = registry.get(Logger, table.name)
            chosen.append(
                ChosenLogger(table.name, logger, parsing.options(logger.options, table.options, place=f"{place}.options"))
            )
        except RecipeError as error:
            problems += [each.at(where) for each in error.problems]
        except PluginError as error:
            problems.append(error.at(f"{where}: {place}.name"))
    if problems:
        raise RecipeError(problems)
    return tuple(chosen)


def ready(tables: Sequence[LoggerTable], names: Sequence[str], *, where: str) -> tuple[ChosenLogger, ...]:
    """Return the loggers of a recipe, and after them those of --log that the recipe does not name, all of them installed.

    Args:
        tables: [[loggers]] of the recipe.
        names: Of --log; these have their default options.
        where: Begins messages about the recipe.

    Raises:
        TlkitError: nobody offers one, or the library that it writes with is not installed.
    """
    chosen = list(choose(tables, where=where))
    for name in dict.fromkeys(names):
        if name in {each.name for each in chosen}:
            continue
        try:
            logger = registry.get(Logger, name)
            chosen.append(ChosenLogger(name, logger, parsing.options(logger.options, {}, place=f"{name}.options")))
        except PluginError as error:
            raise error.at(option("log", name)) from error
    for each in chosen:
        each.logger.check_installed(each.name)
    return tuple(chosen)
