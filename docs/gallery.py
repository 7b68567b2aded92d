"""docs/gallery.md: reports as `tlkit apply` makes them, and the table of the recipes.

    python -m docs.gallery quickstart --machine "2 cores of an AMD EPYC without a GPU"
    make docs-api

It trains the recipe in a folder of its own and copies the page. A training that was stopped goes on where it was. Two rules: a
page of the gallery names no folder of the machine that made it, and it shows only images whose licence allows copies. Of other data sets
the page is made of copies of the runs without their images: numbers, curves, kernels and maps are the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from docs import lectures
from tlkit.record import findings, report_data, run_folder
from tlkit.record.report_data import ReportData

REPORTS = ("quickstart", "ants_bees")
_WITHOUT_IMAGES = ("ants_bees",)  # pictures from ImageNet, for research; Fashion-MNIST is under the MIT licence
_LEFT_OUT = "Pictures of the data set are left out here: its licence forbids copies. tlkit apply makes this page with them."
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
    if given.recipe in _WITHOUT_IMAGES:
        page = without_images(page.parent, _WORK / f"{given.recipe}-without-images")
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


def without_images(runs: Path, to: Path) -> Path:
    """Return the page about copies of a recipe's runs that have no image of the data set, made from the folder that they are in.

    Args:
        runs: The recipe's folder, runs/NAME.
        to: The folder for the copies, which is made anew.
    """
    shutil.rmtree(to, ignore_errors=True)
    copies = to / "runs" / runs.name
    shutil.copytree(runs, copies, ignore=shutil.ignore_patterns("checkpoint", "*.safetensors", "*.html", "*.svg", ".*"))
    for run in (path.parent for path in copies.glob(f"*/{report_data.FILE}")):
        result, data = run_folder.read(run), report_data.load(run)
        if result is None or data is None:
            raise SystemExit(f"{run}: cannot be read.")
        report_data.save(run, _without_images(data))
        known = {name: each for name, each in result.files.items() if name != report_data.FILE}  # the copy is another file
        (run / run_folder.RESULT).write_text(result.model_copy(update={"files": known}).model_dump_json())
    if (found := findings.load(copies)) is not None:
        findings.save(copies, found[0], found[1][:0])
    subprocess.run([sys.executable, "-m", "tlkit", "report", f"runs/{runs.name}"], cwd=to, check=True)
    return to / run_folder.REPORT


def _without_images(data: ReportData) -> ReportData:
    about, arrays = dict(data.about), dict(data.arrays)
    for name in ("images", "grad_cam", "patches", "map_images"):
        arrays.pop(name, None)
    about |= {"images": [], "excited": [], "notes": [*about.get("notes", ()), _LEFT_OUT]}
    if "map" in about:
        about["map"] = about["map"] | {"pictured": []}
        arrays["map_images"] = data.arrays["map_images"][:0]
    return dataclasses.replace(data, about=about, arrays=arrays)


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
