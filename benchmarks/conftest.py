"""Options of the benchmarks, and a home of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import session

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tlkit benchmarks")
    group.addoption(
        "--bench-images", type=session.at_least_one, help="training images of a benchmark, at most (128; 16 where untimed)"
    )
    group.addoption("--bench-recipes", type=Path, default=ROOT / "recipes", help="folder of the recipes (recipes)")
    group.addoption(
        "--bench-rounds", type=session.at_least_one, default=3, help="pairs of plain loop and tlkit for each benchmark (3)"
    )


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep benchmarks out of the user's caches, and the user's caches out of the figures."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def rates() -> dict[str, float]:
    """Operations a second of this machine's matrix product by precision, measured once, with nothing beside it."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.machine"], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout)["rates"])
