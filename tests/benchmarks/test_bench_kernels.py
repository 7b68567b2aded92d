"""The benchmark of kernels measures the step of a recipe's arm as the recipe chooses it."""

from pathlib import Path

import pytest

from benchmarks import kernels


def test_an_arm_of_a_recipe_is_measured_behind_its_fixed_prefix(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.last]\nfreeze = { stem = true, block1 = true }\n")
    row = kernels.measure_arm(toy_recipe, "last", pairs=2)
    assert row.network == "toy/last"
    assert len(row.before_seconds) == len(row.now_seconds) == 2
    assert row.faster > 0


@pytest.mark.parametrize(
    "arguments", [[], ["resnet18", "--recipe", "a.toml", "--arm", "b"], ["--recipe", "a.toml"], ["--arm", "b"]]
)
def test_networks_or_an_arm_of_a_recipe_are_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        kernels.main(arguments)
    assert "name networks, or --recipe and --arm" in capsys.readouterr().err
