"""The tables [[loggers]] at the head of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tlkit.recipe.table import Table


class LoggerTable(Table):
    """A logger: it receives the metrics of every run while it trains. It changes nothing of what is learned."""

    name: str = Field(min_length=1, description="name of a logger, as `tlkit list --kind logger` shows it")
    options: dict[str, Any] = Field(default_factory=dict, description="options of this logger, as `tlkit show NAME` lists them")
