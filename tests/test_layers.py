"""Who may import whom: one order of the packages, and a line above which nothing imports torch."""

import ast
from pathlib import Path

from conftest import ROOT
from imports import HEAVY, imported, imported_at_once, loaded_by

PACKAGE = ROOT / "tlkit"

# A package imports only from those before it, inside functions too. The order is design.md's, and docs/architecture.md shows it.
BEFORE_TORCH = [
    "errors",
    "units",
    "machine",
    "files",
    "file_list",
    "file_digests",
    "events",
    "plugin",
    "recipe",
    "sources",
    "reading",
    "record",
    "store",
    "plans",
    "reports",
]
# Rooms whose modules import torch;
WITH_TORCH = ["network", "engine", "compiler", "inspection", "run", "exports", "search"]
# and rooms that import torch inside functions only, where something must be computed.
LATE_TORCH = ["tasks", "advice", "testing", "applying", "planning", "api", "model", "cli"]
ORDER = [
    "errors", "units", "machine", "files", "file_list", "file_digests", "events",
    "plugin", "recipe", "tasks", "sources", "reading", "record", "store", "plans", "reports",
    "network", "engine", "compiler", "inspection", "run", "exports", "search", "advice", "testing", "applying", "planning", "api", "model", "cli",
]  # fmt: skip

NAMELESS = {"util", "utils", "helper", "helpers", "common", "base", "misc", "core", "tools"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem not in ("__init__", "__main__"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    return module.partition(".")[0]


def imported_of_ours(path: Path) -> set[str]:
    return {name.removeprefix("tlkit.") for name in imported(path) if name.startswith("tlkit.")}


def test_every_room_has_its_place() -> None:
    assert {room_of(name_of(path)) for path in MODULES} == set(ORDER)
    assert len(ORDER) == len(set(ORDER))
    assert set(BEFORE_TORCH) | set(WITH_TORCH) | set(LATE_TORCH) == set(ORDER)


def test_modules_import_only_from_their_own_room_and_those_before_it() -> None:
    after = {(name_of(path), room) for path in MODULES for room in ORDER[ORDER.index(room_of(name_of(path))) + 1 :]}
    found = {(name_of(path), room_of(name)) for path in MODULES for name in imported_of_ours(path)}
    assert found & after == set()


def test_engine_is_given_what_it_needs() -> None:
    """It looks up no plugin, reads no recipe and knows no run folder: whoever calls it passes what it needs."""
    given = {"plugin.registry", "recipe.parsing", "record.run_folder"}
    mine = [path for path in MODULES if room_of(name_of(path)) in ("engine", "compiler")]
    assert [(name_of(path), name) for path in mine for name in imported_of_ours(path) & given] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {name_of(path) for path in MODULES}
    graph = {name_of(path): imported_of_ours(path) & names - {name_of(path)} for path in MODULES}
    for path in MODULES:
        if (
            path.stem == "__init__"
        ):  # a package's own door imports its modules, which import from its other modules, not from it
            graph[name_of(path)] = {name for name in graph[name_of(path)] if not name.startswith(f"{name_of(path)}.")}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert set(graph) - done == set()


def test_modules_before_the_line_name_no_torch() -> None:
    mine = [path for path in MODULES if room_of(name_of(path)) in BEFORE_TORCH]
    found = {(name_of(path), name.partition(".")[0]) for path in mine for name in imported(path)}
    assert {(name, library) for name, library in found if library in ("torch", "torchvision")} == set()


def test_a_run_begins_without_what_takes_seconds_and_may_not_be_needed() -> None:
    """torchvision imports torch's compiler, and curves are drawn at the end: a plan or a prediction often needs neither."""
    loaded = loaded_with("tlkit.run.executor")
    assert "tlkit.engine.row_keys" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torchvision", "matplotlib"}


def test_a_finished_run_is_told_without_what_reads_images() -> None:
    """What `apply` imports where there is nothing to do: a tenth of its time went into what a plan looks at."""
    loaded = loaded_with("tlkit.api")
    assert "tlkit.plans.jobs" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "PIL"}


def loaded_with(name: str) -> set[str]:
    """Return what importing a module of ours imports, as far as our modules say it."""
    paths, loaded, left = {f"tlkit.{name_of(path)}": path for path in MODULES}, set[str](), {name}
    while left:
        loaded |= left
        left = set().union(*(imported_at_once(paths[each]) for each in left if each in paths)) - loaded
    return loaded


def test_every_package_says_what_lives_there() -> None:
    said = {
        name_of(path): ast.get_docstring(ast.parse(path.read_text())) or "" for path in MODULES if path.name == "__init__.py"
    }
    assert [name for name, text in said.items() if len(text.split()) < 8] == []


def test_no_module_is_named_for_nothing_in_particular() -> None:
    plugins = {path.stem for path in (ROOT / "plugins").rglob("*.py") if ".venv" not in path.parts}
    assert not {part for path in MODULES for part in name_of(path).split(".")} & NAMELESS
    assert not plugins & NAMELESS


WITHOUT_TORCH = [
    "tasks", "plans.resolve", "plans.plan", "api", "cli", "recipe.json_schema", "advice.init_recipe", "reports.tables", "reports.progress",
]  # fmt: skip


def test_importing_any_of_these_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_by(f"import {', '.join(f'tlkit.{module}' for module in WITHOUT_TORCH)}", cwd=tmp_path) & HEAVY


def test_importing_tlkit_loads_neither_torch_nor_pydantic(tmp_path: Path) -> None:
    assert not loaded_by("import tlkit", cwd=tmp_path) & (HEAVY | {"pydantic", "numpy"})


def test_importing_every_first_party_plugin_loads_no_torch_and_no_reader(tmp_path: Path) -> None:
    names = [path.parent.name for path in (ROOT / "plugins").glob("tlkit_*/__init__.py")]
    assert len(names) >= 6
    late = "[name for name in sys.modules if name.startswith('tlkit_') and name.endswith(('.read', '.build'))]"
    assert not loaded_by(f"import {', '.join(names)}\nassert not {late}, {late}", cwd=tmp_path) & HEAVY
