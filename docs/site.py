"""Build the site of the documentation in build/site. Its first page is build/site/index.html.

    make docs

The pages keep their places relative to each other, so that a link is the same on the site as in the repository. Zensical and
mkdocstrings make HTML of them (zensical.toml). A link that leads nowhere ends it with exit code 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
COPIED = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "benchmarks/README.md",
    "benchmarks/plain.py",
    "docs/**/*.html",
    "docs/**/*.json",
    "docs/**/*.ipynb",
    "docs/**/*.md",
    "docs/**/*.svg",
    "docs/notes/*.py",
    "docs/site.css",
    "plugins/tlkit-dlib-face/README.md",
    "plugins/tlkit-efficientnet-lite/README.md",
    "recipes/*.json",
    "recipes/*.toml",
)


def main() -> int:
    """Build the site and look for broken links; return the exit code."""
    site = build(ROOT / "build")
    if site is None:
        return 1
    broken = broken_links(site)
    print(*broken, f"{len(broken)} broken links" if broken else f"written: {site.relative_to(ROOT) / 'index.html'}", sep="\n")
    return 1 if broken else 0


def build(folder: Path) -> Path | None:
    """Build the site below a folder; return where it is, or None if Zensical refuses a page, which it has then printed."""
    for name in ("pages", "site", ".cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (path for pattern in COPIED for path in ROOT.glob(pattern)):
        target = folder / "pages" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(ROOT / "docs" / "zensical.toml", folder / "zensical.toml")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(folder / "zensical.toml")]
    done = subprocess.run(command, cwd=ROOT, check=False)  # mkdocstrings finds tlkit in this folder
    return folder / "site" if done.returncode == 0 else None


class Links(HTMLParser):
    """What a page links to, what it loads, and the places that a link can name.

    Attributes:
        targets: Of links.
        loaded: Addresses of scripts, styles, pictures and frames.
        names: Values of `id`.
    """

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in one tag."""
        given = {name: value or "" for name, value in attrs}
        self.names.update(given[name] for name in ("id", "name") if name in given)
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(given.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.loaded.append(given["src"])
        elif tag == "a" and "href" in given:
            self.targets.append(given["href"])


def broken_links(site: Path) -> list[str]:
    """Return "page: target" for each link of a site, to a page, a file or a place in a page, that leads nowhere."""
    pages = {path: Links(path) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for path, page in pages.items():
        for target in dict.fromkeys([*page.targets, *page.loaded]):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            place = unquote(parts.fragment)
            if not file.is_file() or (place and file in pages and place not in pages[file].names):
                broken.append(f"{path.relative_to(site)}: {target}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
