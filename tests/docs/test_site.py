"""The site of the documentation: it is built from every page, has every public name, no broken link, and loads nothing from elsewhere."""

import importlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from browser import BROWSER, dumped
from conftest import ROOT, served
from pages import DOCS, PAGES, Page

from docs import site
from docs.site import Links

CONFIG = tomllib.loads((ROOT / "docs" / "zensical.toml").read_text())["project"]
MODULES = ("tlkit", "tlkit.plugin", "tlkit.network", "tlkit.reading", "tlkit.testing", "tlkit.errors")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = site.build(tmp_path_factory.mktemp("site"))
    assert folder is not None, "Zensical refuses a page"
    return folder


def test_every_page_has_its_place_in_the_navigation() -> None:
    listed = list(_files(CONFIG["nav"]))
    assert len(listed) == len(set(listed))
    assert [page.path.name for page in DOCS if f"docs/{page.path.name}" not in listed] == []


def _files(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _files(each)


def test_every_block_of_code_of_the_site_is_on_a_page_that_a_test_follows() -> None:
    """tests/docs/test_pages.py follows README.md and docs/*.md; what the other pages show is output."""
    listed = [ROOT / file for file in _files(CONFIG["nav"])]
    others = [path for path in listed if path not in {page.path for page in PAGES}]
    assert others
    assert {block.language for path in others for block in Page(path).blocks} <= {"text"}


def test_every_public_name_is_on_the_api_page() -> None:
    """Each is named there by its path, which mkdocstrings replaces with signature and docstring."""
    page = (ROOT / "docs" / "api.md").read_text()
    shown = {path.rpartition(".")[2] for path in re.findall(r"^::: (.+)$", page, flags=re.M)}
    public = {name for module in MODULES for name in _public(module)}
    assert public - shown == set()


def _public(name: str) -> set[str]:
    module = importlib.import_module(name)
    own = {key for key, value in vars(module).items() if getattr(value, "__module__", "") == name and inspect.isclass(value)}
    own |= {key for key, value in vars(module).items() if name == "tlkit.testing" and inspect.isgeneratorfunction(value)}
    return {key for key in getattr(module, "__all__", own) if not key.startswith("_")}


@pytest.mark.slow
def test_site_has_no_broken_link_and_loads_nothing_from_elsewhere(built: Path) -> None:
    assert site.broken_links(built) == []
    pages = {path: Links(path) for path in built.rglob("*.html")}
    assert len(pages) > len(DOCS)
    loaded = {address for page in pages.values() for address in page.loaded}
    assert loaded
    assert [address for address in sorted(loaded) if re.match(r"(\w+:)?//", address)] == []
    styles = "".join(path.read_text() for path in built.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\"')]*", styles) == []


# Opens each page in a frame of a width and writes what it found into the document.
LOOK = """<!doctype html><body><script>
(async () => {
  const found = [];
  for (const page of PAGES) {
    const frame = document.createElement("iframe");
    frame.style = "border:0;width:WIDTHpx;height:900px";
    frame.src = page;
    document.body.append(frame);
    await new Promise((done) => { frame.onload = done; });
    await new Promise((done) => setTimeout(done, 300));
    const view = frame.contentWindow, root = frame.contentDocument.documentElement;
    found.push({
      page, wide: root.scrollWidth > view.innerWidth + 1, title: frame.contentDocument.title,
      loaded: view.performance.getEntriesByType("resource").map((each) => each.name),
    });
    frame.remove();
  }
  const out = document.createElement("script");
  out.type = "application/json";
  out.textContent = "FOUND" + JSON.stringify(found) + "END";
  document.body.replaceChildren(out);
})();
</script></body>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_their_window_and_ask_no_other_host(built: Path, tmp_path: Path, width: int) -> None:
    if BROWSER is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    pages = [f"/{path.parent.relative_to(built)}/" for path in sorted(built.rglob("index.html"))]
    (built / "look.html").write_text(LOOK.replace("PAGES", json.dumps(pages)).replace("WIDTH", str(width)))

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(built))

        def log_message(self, *_: object) -> None: ...

    with served(Quiet) as address:
        match = re.search(r"FOUND(.*)END", dumped(f"{address}/look.html", tmp_path, reachable="127.0.0.1"), re.DOTALL)
    (built / "look.html").unlink()
    assert match
    found = json.loads(match[1])
    assert [each["page"] for each in found] == pages
    assert all("tlkit" in each["title"] for each in found)
    assert [each["page"] for each in found if each["wide"]] == []
    assert [name for each in found for name in each["loaded"] if not name.startswith(address)] == []


@pytest.mark.slow
def test_api_page_has_signatures_and_docstrings(built: Path) -> None:
    page = built / "docs" / "api" / "index.html"
    assert {"tlkit.apply", "tlkit.Model.fit", "tlkit.plugin.Backbone", "tlkit.errors.RecipeError"} <= Links(page).names
    assert "Make what a recipe says be there" in page.read_text()


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<h2 id="here">')
    (tmp_path / "index.html").write_text(
        '<a href="other.html#here"><a href="other.html#gone"><a href="missing/"><a href="https://example.org"><img src="no.svg">'
    )
    assert site.broken_links(tmp_path) == ["index.html: other.html#gone", "index.html: missing/", "index.html: no.svg"]


def test_a_broken_link_between_pages_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "zensical.toml").write_text("[project]\nsite_name = 'x'\ndocs_dir = 'pages'\nsite_dir = 'site'\n")
    (tmp_path / "README.md").write_text("# Home\n\n[A page](docs/missing.md)\n")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    assert site.main() == 1
    (tmp_path / "README.md").write_text("# Home\n\n[This page](README.md)\n")
    assert site.main() == 0
