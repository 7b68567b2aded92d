"""docs/gallery.md: the table of the recipes."""

from __future__ import annotations

from docs import lectures


def recipes() -> str:
    """A table of the recipes that ship: the question that opens each."""
    lines = ["| recipe | its question |", "|---|---|"]
    for path in sorted(lectures.RECIPES.glob("*.toml")):
        question = lectures.paragraphs(path.stem)[0].removeprefix(":schema ./recipe.schema.json ")
        lines.append(f"| [{path.stem}](../recipes/{path.name}) | {question} |")
    return "\n".join(lines) + "\n"
