"""The public names: each has an example that runs, and none is hidden by a module."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import tlkit
from tlkit.model import history, model, predictions

# Properties and verbs whose example stands in another method's docstring, which they name.
WITHOUT = {"class_names", "classes", "history", "network", "stop_training", "to_recipe", "unfreeze"}


@pytest.mark.parametrize("module", [pytest.param(model, marks=pytest.mark.slow), history, predictions])
def test_examples_of_docstrings_run(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 3
    assert found.failed == 0


def test_every_public_method_has_an_example() -> None:
    methods = [name for name, _ in inspect.getmembers(tlkit.Model) if not name.startswith("_")]
    assert len(methods) > 12
    assert {name for name in methods if ">>> " not in (inspect.getdoc(getattr(tlkit.Model, name)) or "")} == WITHOUT
    assert ">>> " in (inspect.getdoc(tlkit.load) or "")


def test_names_of_the_package_are_the_public_ones() -> None:
    assert dir(tlkit) == sorted(
        [
            "Model",
            "TlkitError",
            "__version__",
            "advise",
            "apply",
            "epochs",
            "export",
            "inspect",
            "load",
            "plan",
            "rates",
            "report",
        ]
    )
    with pytest.raises(AttributeError):
        _ = tlkit.modle


def test_no_module_hides_a_public_function(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy_recipe.parent)
    for found in pkgutil.walk_packages(tlkit.__path__, "tlkit."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for _ in range(2):
        (made,) = tlkit.plan(toy_recipe, ["schedule.epochs=1"]).values()
        assert len(list(tlkit.epochs(made))) == 1
        applied = tlkit.apply(toy_recipe, ["schedule.epochs=1"])
        assert tlkit.load(applied.folder).predict([]).shape == (0, 4)
        assert tlkit.Model("toy", classes=4, image_size=16).classes == 4
