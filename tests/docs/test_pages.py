"""Every command and every block of every page does what the page says.

Each page is followed from top to bottom in a folder of its own that holds a few small pictures, `images/ants` and `images/bees`,
the recipes that ship, and a finished run of `tlkit init images`. A console block is typed; a text block behind it that is marked
`<!-- output -->` is what must come out; a toml block is read as a recipe, or as a part of one; a python block is run. A block marked
`<!-- file: NAME -->` is written there, one marked `<!-- append: NAME -->` at the end of that file.
"""

import ast
import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from conftest import ROOT
from fastapi.testclient import TestClient
from pages import DOCS, PAGES, Block, Page
from PIL import Image

import tlkit
from tlkit.cli import app
from tlkit.run.remote_jobs import environment

# Commands that a test of their own in test_readme.py types: they install, download, or take minutes.
ELSEWHERE = {
    "make demo",
    "make docs-api",
    "make docs",
    "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu",
    "pip install . ./plugins/tlkit-efficientnet-lite",
    "pip install ./tlkit-tiny",
    "tlkit check tiny",
    "tlkit apply recipes/quickstart.toml",
    "tlkit apply recipes/resnet18_cifar.toml",
}
# What a fragment of a recipe is put into.
WHOLE: dict[str, Any] = {
    "format": 1,
    "name": "page",
    "backbone": {"name": "resnet18", "weights": "none"},
    "data": {"name": "folder", "options": {"path": "images"}},
    "lr_groups": {"backbone": 1e-3, "head": 1e-2},
}
MAPS = ("freeze", "lr_groups")
PUBLIC = ("tlkit.plugin", "tlkit.network", "tlkit.errors", "tlkit.testing")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small pictures, the recipe that `init` writes for them, and a run of it that took two epochs."""
    folder = tmp_path_factory.mktemp("pages")
    draw_ants_and_bees(folder / "images")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder / "home"))
        init(patch)
        typed(patch, "tlkit apply images.toml")
    return folder


def init(patch: pytest.MonkeyPatch) -> None:
    """Type `tlkit init images`, and make what it writes train in a moment."""
    recipe = Path("images.toml")
    recipe.unlink(missing_ok=True)
    typed(patch, "tlkit init images")
    text = recipe.read_text()
    recipe.write_text(text.replace("epochs = 15", "epochs = 2").replace("image_size = 64", "image_size = 32"))
    assert recipe.read_text().count("= 2\n") == 1


def draw_ants_and_bees(folder: Path) -> None:
    """Twelve pictures of two classes that differ in brightness."""
    generator = np.random.default_rng(0)
    for name, tint in (("ants", 0), ("bees", 120)):
        (folder / name).mkdir(parents=True)
        for index in range(6):
            pixels = generator.integers(0, 100, (48, 40, 3), dtype=np.uint8) + np.uint8(tint)
            Image.fromarray(pixels).save(folder / name / ("0013035.jpg" if index == 0 else f"{index}.jpg"))


def typed(patch: pytest.MonkeyPatch, command: str, *, code: int = 0) -> str:
    """Run a tlkit command in this process and in this folder; return what it printed to stdout."""
    out, err = io.StringIO(), io.StringIO()
    patch.setattr(sys, "argv", shlex.split(command))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        app.main()
    assert (ended.value.code or 0) == code, f"{command}: {err.getvalue()}"
    return out.getvalue()


@pytest.fixture
def workplace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a page may change."""
    folder = tmp_path / "page"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder / "home"))
    return folder


# One exports to ONNX, one tries ways to train, one trains in nine blocks, one types 17 commands, one exports to timm, one searches.
SLOW = ("tutorial", "advice", "python", "runs", "export", "search")


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.path.stem, marks=[pytest.mark.slow] if page.path.stem in SLOW else []) for page in PAGES],
)
def test_page_does_what_it_says(page: Page, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, names = "", {}
    for block in page.blocks:
        if block.language == "console":
            for command in block.text.splitlines():
                output = _type(command.removeprefix("$ "), monkeypatch)
        elif block.language == "text" and block.marker == "output":
            assert words(block.text) == words(output)
        elif found := re.fullmatch(r"(file|append): (.+)", block.marker):
            with Path(found[2]).open("a" if found[1] == "append" else "w") as file:
                file.write("\n" + block.text)
        elif block.language == "toml" and not block.marker.startswith("plugin: "):
            _read(block, monkeypatch)
        elif block.language == "python" and not block.marker.startswith("plugin: "):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, page.path.name, "exec"), names)


def words(text: str) -> list[list[str]]:
    """Lines without what depends on the width of the terminal and on the machine."""
    lines = re.sub(r"[0-9a-f]{8,64}", "<digest>", text)
    return [line.split() for line in lines.splitlines() if line.strip()]


def _type(command: str, patch: pytest.MonkeyPatch) -> str:
    if command in ELSEWHERE:
        return ""
    if command == "tlkit init images":
        init(patch)
        return ""
    if command.startswith("tlkit "):
        return typed(patch, command)
    name, *arguments = shlex.split(command)
    if name == "curl":
        return _asked(arguments)
    assert name in ("export", "cat", "ls", "uvicorn"), f"{command}: no test types it"
    if name == "export":
        variable, _, value = arguments[0].partition("=")
        patch.setenv(variable, os.path.expanduser(value))
    return ""


def _asked(arguments: list[str]) -> str:
    """Ask the page's server about a picture, in this process: its probabilities are those of `tlkit predict`."""
    option, at_file, address = arguments
    assert (option, at_file[0], address) == ("--data-binary", "@", "http://127.0.0.1:8000/")
    picture = Path(at_file[1:])
    with TestClient(runpy.run_path("server.py")["app"]) as client:
        answer = client.post("/", content=picture.read_bytes())
    assert answer.status_code == 200
    (expected,) = tlkit.load("runs/images").predict([picture])
    np.testing.assert_allclose(list(answer.json().values()), expected, atol=1e-4)
    assert list(answer.json()) == ["ants", "bees"]
    return answer.text


def _read(block: Block, patch: pytest.MonkeyPatch) -> None:
    """Check a recipe, or a part of one in a recipe that is otherwise complete."""
    tables = tomllib.loads(block.text)
    whole = tables if "format" in tables else _merged(WHOLE, tables)
    Path("page.toml").write_text(tomli_w.dumps(whole))
    typed(patch, "tlkit validate page.toml")


def _merged(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    def value(key: str) -> Any:
        old, new = whole.get(key), part[key]
        renamed = isinstance(old, dict) and isinstance(new, dict) and new.get("name", old.get("name")) != old.get("name")
        return _merged(old, new) if isinstance(old, dict) and isinstance(new, dict) and key not in MAPS and not renamed else new

    return whole | {key: value(key) for key in part}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)
def test_links_lead_somewhere(page: Page) -> None:
    prose = re.sub(r"```.*?```", "", page.text, flags=re.S)
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        file, _, heading = target.partition("#")
        linked = (page.path.parent / file).resolve() if file else page.path
        assert linked.exists(), target
        if heading:
            assert heading in headings(linked.read_text()), target


def headings(text: str) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.path.name for page in DOCS if f"docs/{page.path.name}" not in readme] == []


def test_each_variable_that_says_where_files_lie_is_in_one_table_and_is_sent_to_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = [
        file.read_text() for room in ("tlkit", "plugins") for file in (ROOT / room).rglob("*.py") if "tests" not in file.parts
    ]
    read = set(re.findall(r"\bTLKIT_[A-Z_]+", " ".join(sources)))
    for name in read:
        monkeypatch.setenv(name, "1")
    table = (ROOT / "docs" / "data.md").read_text().partition("## Folders of data, weights and the cache")[2]
    assert read == set(re.findall(r"^\| `(TLKIT_[A-Z_]+)` \|", table, flags=re.M)) == set(environment())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)
def test_blocks_of_code_import_what_is_public(page: Page) -> None:
    trees = [ast.parse(block.text) for block in page.blocks if block.language == "python"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert {name for name in modules if name.partition(".")[0] == "tlkit"} <= {"tlkit", *PUBLIC}
    called = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    assert called.count("Image.open") == called.count("ImageOps.exif_transpose"), "photos are turned as predict turns them"
