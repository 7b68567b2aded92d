"""docs/gallery.md: reports as `tlkit apply` makes them, and the table of the recipes.

    python -m docs.gallery quickstart --machine "2 cores of an AMD EPYC without a GPU"
    make docs-api

It trains the recipe in a folder of its own and copies the page. A training that was stopped goes on where it was. Two rules: a
page of the gallery names no folder of the machine that made it, and it shows only images whose licence allows copies.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from docs import lectures

REPORTS = ("quickstart",)  # Fashion-MNIST is under the MIT licence
FOLDER = Path(__file__).parent / "gallery"
_WORK = Path(__file__).parents[1] / "build" / "gallery"
_FACTS = FOLDER / "made.json"
# An absolute path of two parts or more, but no part of a longer path, of an address or of a closing tag.
_PLACES = re.compile(r"(?<![\w.:/<])/[\w.~-]+/[^\s<\"'&]+")
_NO_TEXT = re.compile(r"<script>.*?</script>|data:[^\s\"')]+", re.S)  # the page's code, which has none of its data, and base64


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a recipe and keep the page about it."""
    parser = argparse.ArgumentParser(prog="python -m docs.gallery", description="Make docs/gallery/RECIPE.html.")
    parser.add_argument("recipe", choices=REPORTS, help="name of the recipe")
    parser.add_argument("--machine", required=True, help="in words")
    given = parser.parse_args(arguments)
    page = train(given.recipe, _WORK / given.recipe)
    if found := places(page.read_text()):
        raise SystemExit(f"{page}: it names folders of this machine: {', '.join(found)}")
    FOLDER.mkdir(exist_ok=True)
    shutil.copyfile(page, FOLDER / f"{given.recipe}.html")
    made = facts() | {given.recipe: {"machine": given.machine, "date": datetime.now(UTC).date().isoformat()}}
    _FACTS.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


def train(recipe: str, folder: Path) -> Path:
    """Apply a recipe that ships, in a folder, and return the page about it. The recipe and the runs have relative paths.

    Args:
        recipe: Its name.
        folder: Is made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lectures.RECIPES / f"{recipe}.toml", folder / f"{recipe}.toml")
    subprocess.run([sys.executable, "-m", "tlkit", "apply", f"{recipe}.toml"], cwd=folder, check=True)
    (page,) = folder.glob("runs/*/report.html")
    return page


def places(page: str) -> list[str]:
    """Return the folders of a machine that a page names."""
    return sorted(set(_PLACES.findall(_NO_TEXT.sub("", page))))


def reports() -> str:
    """A table of the reports, with machine and date."""
    lines = ["| report | its question | made |", "|---|---|---|"]
    made = facts()
    for name in REPORTS:
        link = f"[{name}](gallery/{name}.html)" if name in made else name
        how = f"{made[name]['date']}, {made[name]['machine']}" if name in made else "not made yet"
        lines.append(f"| {link} | {_question(name)} | {how} |")
    return "\n".join(lines) + "\n"


def facts() -> dict[str, dict[str, str]]:
    """Return machine and date of each report that is made, in words."""
    found: dict[str, dict[str, str]] = json.loads(_FACTS.read_text()) if _FACTS.is_file() else {}
    return found


def recipes() -> str:
    """A table of the recipes that ship: the question that opens each."""
    lines = ["| recipe | its question |", "|---|---|"]
    lines += [
        f"| [{path.stem}](../recipes/{path.name}) | {_question(path.stem)} |"
        for path in sorted(lectures.RECIPES.glob("*.toml"))
    ]
    return "\n".join(lines) + "\n"


def _question(recipe: str) -> str:
    return lectures.paragraphs(recipe)[0].removeprefix(":schema ./recipe.schema.json ")


if __name__ == "__main__":
    main()
