"""Write what the documentation takes from the code: the keys in docs/recipe.md, the order in docs/architecture.md, and
from the recipes: docs/lectures.md and the table of docs/gallery.md.

    make docs-api

The rule: a generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`, and nothing else is touched.
tests/docs/test_generated.py fails where a part is not what this would write.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs import charts, gallery, lectures
from tlkit.plugin.kinds import KINDS
from tlkit.recipe import (
    augmentations,
    cross_validation,
    domains,
    ensemble,
    evaluation,
    loggers,
    losses,
    map_tables,
    optimizers,
    recipe,
    schedules,
    search,
    tables,
    unlabelled,
)

FOLDER = Path(__file__).parent
TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "header": (recipe.Header,),
    "cross_validation": (cross_validation.CrossValidation,),
    "ensemble": (ensemble.Ensemble,),
    "evaluation": (evaluation.Evaluation,),
    "loggers": (loggers.LoggerTable,),
    "search": (search.Search,),
    "search.space": (search.SpaceEntry,),
    "backbone": (tables.BackboneTable,),
    "backbone.input": (tables.InputTable,),
    "head": (tables.HeadTable,),
    "data": (tables.DataTable,),
    "data.image_sizes": (tables.SizeForEpochs,),
    "data.scale_to": (tables.FieldOfView,),
    "data.split": (tables.SplitTable,),
    "data.unlabelled": (unlabelled.UnlabelledTable,),
    "optimizer": get_args(optimizers.Optimizer),
    "schedule": get_args(schedules.Schedule),
    "loss": (losses.LossTable,),
    "augment": get_args(augmentations.Augmentation),
    "freeze": (map_tables.Until,),
    "freeze.backbone": (map_tables.Gradual,),
    "lr_groups": (map_tables.Rate,),
    "lr_groups.backbone": (map_tables.RateRange,),
    "early_stopping": (tables.EarlyStopping,),
    "also": (domains.AlsoTable,),
    "also.split": (domains.AlsoSplit,),
    "adapt": (domains.AdaptTable,),
}


def main() -> None:
    """Write every picture, and every page that has a generated part."""
    charts.write()
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text()
        if (new := generated(text)) != text:
            path.write_text(new)
            print(f"{path.name}: written")


def generated(page: str) -> str:
    """Return a page with its generated parts as the code is now."""
    parts = dict(_parts())
    return re.sub(
        r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)",
        lambda found: found[1] + parts[found[2]]() + found[3],
        page,
        flags=re.S,
    )


def _parts() -> Iterator[tuple[str, Callable[[], str]]]:
    yield from ((f"keys {name}", lambda models=models: _keys(models)) for name, models in TABLES.items())
    yield "order", _order
    yield "kinds of plugins", _kinds
    yield "gallery reports", gallery.reports
    yield "gallery recipes", gallery.recipes
    yield "lectures measured", lectures.table
    yield "lectures first", lectures.first
    yield "lectures experiments", lectures.experiments


def _keys(models: tuple[type[BaseModel], ...]) -> str:
    """A table of a recipe table's keys; with several models, their common name in the first column."""
    several = len(models) > 1
    lines = ["| name | key | value | default | meaning |" if several else "| key | value | default | meaning |"]
    lines.append("|---|" * 1 + "---|" * (4 if several else 3))
    for model in models:
        fields = {each.alias or name: each for name, each in model.model_fields.items() if not (several and name == "name")}
        kind = get_args(model.model_fields["name"].annotation)[0] if several else ""
        summary = (inspect.getdoc(model) or "").partition("\n")[0]
        if several:
            lines.append(f"| `{kind}` | | | | {summary} |")
        for name, each in fields.items():
            cells = [f"`{name}`", _value(each.annotation), _default(each), _cell(each.description or "")]
            lines.append("| " + " | ".join(["", *cells] if several else cells) + " |")
    return "\n".join(lines) + "\n"


def _default(each: FieldInfo) -> str:
    if each.is_required():
        return "required"
    value = each.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return ", ".join(f"`{text}`" for key, text in value.model_dump().items() if key == "name")
    return f"`{str(value).lower() if isinstance(value, bool) else _toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in value) + "]"
    return "{}" if value == {} else str(value)


def _value(kind: Any) -> str:
    """The type of a key in TOML's words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _value(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{_toml(each)}`" for each in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_value(each) for each in arguments if each is not type(None)))
    if origin in (list, tuple):
        return "list" if origin is list else "pair"
    if origin is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "table"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(kind, "table")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _kinds() -> str:
    lines = ["| entry point | value | function that it names |", "|---|---|---|"]
    lines += [f"| `{each.group}` | `{each.value.__name__}` | {each.function} |" for each in KINDS]
    return "\n".join([*lines, ""])


def _order() -> str:
    """The packages and modules of tlkit/ in the order in which they may import each other, from tests/test_layers.py."""
    import ast

    source = (FOLDER.parent / "tests" / "test_layers.py").read_text()
    values = {
        str(target.id): ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("ORDER", "WITH_TORCH")
    }
    lines = ["| in order | what it is | importing it |", "|---|---|---|"]
    for room in values["ORDER"]:
        place = FOLDER.parent / "tlkit" / room
        parts = sorted(place.glob("**/__init__.py")) if place.is_dir() else [place.with_suffix(".py")]
        for part in parts:
            first = (ast.get_docstring(ast.parse(part.read_text())) or "").partition("\n\n")[0]
            name = (part.parent if place.is_dir() else part.with_suffix("")).relative_to(place.parent)
            torch = "imports torch" if room in values["WITH_TORCH"] else ""
            lines.append(f"| `{name.as_posix()}` | {_cell(first)} | {torch} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
