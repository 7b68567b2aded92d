"""A plugin of pytest that writes a line of JSON when tests are collected and when one ends, in one process or in several."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

FILE = "TLKIT_TEST_LOG"  # where the lines go


class _Log:
    def __init__(self, *, worker: bool) -> None:
        self._worker = worker  # of pytest-xdist, whose first process gets every report again
        self._seconds: dict[str, float] = {}
        self._worst: dict[str, tuple[str, str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        _write({"tests": [item.nodeid for item in session.items]})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has three reports, of which any may fail or skip it; the last one ends it."""
        if self._worker:
            return
        name = report.nodeid
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration
        if report.outcome != "passed":
            self._worst[name] = report.outcome, _why(report)
        if report.when == "teardown":
            outcome, why = self._worst.get(name, ("passed", ""))
            _write({"test": name, "outcome": outcome, "why": why, "seconds": round(self._seconds[name], 2)})


def pytest_configure(config: pytest.Config) -> None:
    """Watch the tests."""
    config.pluginmanager.register(_Log(worker=hasattr(config, "workerinput")))


def _why(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return report.longreprtext


def _write(line: dict[str, Any]) -> None:
    with open(os.environ[FILE], "a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
