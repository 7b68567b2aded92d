"""What a plugin imports of tlkit: five modules, and the names that they list."""

import importlib

from conftest import ROOT
from imports import imported

PUBLIC = ("tlkit.plugin", "tlkit.network", "tlkit.errors", "tlkit.reading", "tlkit.testing")
CODE = [path for path in sorted((ROOT / "plugins").rglob("*.py")) if "tests" not in path.parts]


def not_public(names: set[str]) -> set[str]:
    """Of imported names those of tlkit that no plugin may import."""
    allowed = {"tlkit", *PUBLIC}
    for module in PUBLIC:
        found = importlib.import_module(module)
        public = getattr(
            found, "__all__", [name for name, value in vars(found).items() if getattr(value, "__module__", "") == module]
        )
        allowed |= {f"{module}.{name}" for name in public}
    return {name for name in names if name.partition(".")[0] == "tlkit"} - allowed


def test_first_party_plugins_import_what_everybody_may() -> None:
    found = {path: not_public(imported(path)) for path in CODE}
    assert {path: names for path, names in found.items() if names} == {}


def test_other_modules_are_told_apart() -> None:
    names = {"tlkit.plugin", "tlkit.plugin.Backbone", "tlkit.errors.DataError", "tlkit.files", "tlkit.plugin.registry", "numpy"}
    assert not_public(names) == {"tlkit.files", "tlkit.plugin.registry"}
