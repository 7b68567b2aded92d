"""Who may import whom: one order of the modules, and a line above which nothing imports torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "tlkit"

# Each module imports only from those before it, inside functions too. These import no torch, not even when they are used:
BEFORE_TORCH = [
    "errors", "streams", "amounts", "machine", "augmentations", "table", "learning", "recipe", "trained", "labelled", "plugin", "observer", "signals",
    "wording", "json_schema", "reading", "partition", "schedule", "splits", "execution", "plans", "taps", "files", "tuning",
    "registry", "cache", "measured", "segments", "writing", "store",
    "hub", "download", "datasets", "sources", "runfolder", "summary", "pixels", "embedding", "resolve", "answers", "jobs", "survey",
    "terminal", "report", "report.tables", "report.installed", "report.curves", "strategies", "initial",
    "bench", "report.trend",
]  # fmt: skip
# These do;
WITH_TORCH = [
    "network", "freezing", "weights",
    "engine", "engine.forms", "engine.draws", "engine.colour", "engine.randaugment", "engine.augment", "engine.mix",
    "engine.memory", "engine.decode", "engine.facts", "engine.pictures", "engine.data",
    "engine.objective", "engine.metrics", "engine.evaluate",
    "footprint", "planner", "engine.optimizers", "engine.ema", "engine.step", "engine.graph",
    "engine.fold", "engine.prefix", "engine.feed", "engine.measure", "engine.fit", "engine.solved", "engine.solve", "testing",
    "runs", "training", "sweep", "prediction", "model",
]  # fmt: skip
# and these are imported without it, and import what is above when it is needed.
DOORS = ["api", "upkeep", "cli"]
ORDER = [*BEFORE_TORCH, *WITH_TORCH, *DOORS]

# Seconds to import, or gigabytes of memory.
HEAVY = {"torch", "torchvision", "sklearn", "torchmetrics", "scipy", "matplotlib", "timm"}
NAMELESS = {"util", "utils", "helper", "helpers", "common", "base", "misc", "core", "tools"}


def path_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def modules() -> set[str]:
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__") for path in paths} - {"__init__"}


def imported(path: Path) -> set[str]:
    """Every name that a file imports, wherever in it; `from a import b` as "a.b" and "a"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def imported_of_ours(module: str) -> set[str]:
    names = {name.removeprefix("tlkit.") for name in imported(path_of(module)) if name.startswith("tlkit.")}
    return names & set(ORDER)


def loaded_by(code: str, *, cwd: Path) -> set[str]:
    """Top-level packages that are loaded after code ran in a process of its own."""
    whole = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", whole], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")[-2].split())


def test_every_module_has_its_place() -> None:
    assert modules() == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", ORDER)
def test_module_imports_only_from_those_before_it(module: str) -> None:
    assert imported_of_ours(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", BEFORE_TORCH)
def test_module_before_the_line_names_no_torch(module: str) -> None:
    assert not {name.partition(".")[0] for name in imported(path_of(module))} & {"torch", "torchvision"}


def test_no_module_is_named_for_nothing_in_particular() -> None:
    plugins = {path.stem for path in (ROOT / "plugins").rglob("*.py") if ".venv" not in path.parts}
    assert not {part for module in modules() for part in module.split(".")} & NAMELESS
    assert not plugins & NAMELESS


@pytest.mark.parametrize("module", ["resolve", "plans", "api", "cli", "json_schema", "initial", "report.tables", "terminal"])
def test_importing_it_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    assert not loaded_by(f"import tlkit.{module}", cwd=tmp_path) & HEAVY


def test_importing_tlkit_loads_neither_torch_nor_pydantic(tmp_path: Path) -> None:
    assert not loaded_by("import tlkit", cwd=tmp_path) & (HEAVY | {"pydantic", "numpy"})


def test_importing_every_first_party_plugin_loads_no_torch(tmp_path: Path) -> None:
    names = [path.parent.name for path in (ROOT / "plugins").glob("tlkit_*/__init__.py")]
    assert len(names) >= 6
    assert not loaded_by(f"import {', '.join(names)}", cwd=tmp_path) & HEAVY


@pytest.mark.parametrize("arguments", [["validate", "toy.toml"], ["list"], ["show", "resnet18"], ["schema"], ["--help"]])
def test_verb_that_computes_nothing_loads_nothing_heavy(arguments: list[str], toy_recipe: Path) -> None:
    code = f"""
sys.path.insert(0, {str(Path(__file__).parent / "toy")!r})
sys.argv = ["tlkit", *{arguments!r}]
from tlkit.cli import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
"""
    assert not loaded_by(code, cwd=toy_recipe.parent) & HEAVY
