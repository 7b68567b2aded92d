"""The order of runs: those that read the same stored outputs follow each other, and nothing else moves."""

from pathlib import Path

import pytest

from tlkit import api
from tlkit.errors import RunFailed
from tlkit.run import execution
from tlkit.run.preparation import Prepared

ARMS = """
[arms.linear]
freeze = { backbone = true }
[arms.everything]
[arms.mlp]
freeze = { backbone = true }
head = { kind = "mlp" }
[arms.small]
freeze = { backbone = true }
data.image_size = 12
[arms.cosine]
freeze = { backbone = true }
head = { kind = "cosine" }
"""


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs in the order in which they begin; none of them trains."""
    begun: list[str] = []

    def execute(prepared: Prepared, *_: object, **__: object) -> None:
        begun.append(f"{prepared.job.resolved.name} {prepared.job.seed}")
        raise RunFailed("it is enough to know when.")

    monkeypatch.setattr(execution, "execute", execute)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    return begun


def test_runs_that_read_the_same_stored_outputs_follow_each_other(toy_recipe: Path, carried_out: list[str]) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + ARMS)
    api.apply(toy_recipe, ["seeds=[0,1]"], runs=toy_recipe.parent / "runs")
    assert carried_out == [f"{arm} {seed}" for arm in ("linear", "mlp", "cosine", "everything", "small") for seed in (0, 1)]
