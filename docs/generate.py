"""Write what the documentation takes from the code: docs/api.md, the keys in docs/recipe.md, the order in docs/architecture.md, and
from the recipes: docs/lectures.md.

    make docs-api

The rule: a generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`, and nothing else is touched.
tests/docs/test_generated.py fails where a part is not what this would write.
"""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs import charts, lectures
from tlkit.recipe import (
    augmentations,
    cross_validation,
    evaluation,
    loggers,
    losses,
    map_tables,
    optimizers,
    recipe,
    schedules,
    tables,
)

FOLDER = Path(__file__).parent
MODULES = ("tlkit", "tlkit.plugin", "tlkit.network", "tlkit.errors", "tlkit.testing")
# What the functions of a module return and nobody imports: "module:name".
RETURNED = {
    "tlkit": (
        "tlkit.api:Applied",
        "tlkit.events:Epoch",
        "tlkit.exports.export:Exported",
        "tlkit.record.findings:Findings",
        "tlkit.model.history:History",
        "tlkit.model.predictions:Predictions",
    )
}
TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "header": (recipe.Header,),
    "cross_validation": (cross_validation.CrossValidation,),
    "evaluation": (evaluation.Evaluation,),
    "loggers": (loggers.LoggerTable,),
    "backbone": (tables.BackboneTable,),
    "backbone.input": (tables.InputTable,),
    "head": (tables.HeadTable,),
    "data": (tables.DataTable,),
    "data.split": (tables.SplitTable,),
    "optimizer": (optimizers.Sgd, optimizers.Adam, optimizers.AdamW),
    "schedule": (schedules.Constant, schedules.Step, schedules.Cosine, schedules.OneCycle),
    "loss": (losses.LossTable,),
    "augment": get_args(augmentations.Augmentation),
    "lr_groups": (map_tables.Rate,),
    "early_stopping": (tables.EarlyStopping,),
    "also": (tables.AlsoTable,),
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
    yield from ((f"module {name}", lambda name=name: _module(name)) for name in MODULES)
    yield "order", _order
    yield "lectures measured", lectures.table
    yield "lectures first", lectures.first
    yield "lectures experiments", lectures.experiments


def _keys(models: tuple[type[BaseModel], ...]) -> str:
    """A table of a recipe table's keys; with several models, their common name in the first column."""
    several = len(models) > 1
    lines = ["| name | key | value | default | meaning |" if several else "| key | value | default | meaning |"]
    lines.append("|---|" * 1 + "---|" * (4 if several else 3))
    for model in models:
        fields = {name: each for name, each in model.model_fields.items() if not (several and name == "name")}
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


def _module(name: str) -> str:
    """Every public name of a module, with its signature and docstring."""
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None) or [key for key, value in vars(module).items() if _is_own(value, name, key)]
    out = [(inspect.getdoc(module) or "").partition("\n")[0], ""]
    for key in sorted(public, key=str.lower):
        if not key.startswith("__"):
            out += _entry(key, getattr(module, key))
    for target in RETURNED.get(name, ()):
        home, _, key = target.partition(":")
        out += _entry(key, getattr(importlib.import_module(home), key))
    return "\n".join(out) + "\n"


def _is_own(value: object, module: str, key: str) -> bool:
    return not key.startswith("_") and getattr(value, "__module__", "") == module and callable(value)


def _plain(kind: object) -> object:
    """A type without what pydantic checks of it, whose text would be another in every process."""
    if get_origin(kind) is not Annotated:
        return kind
    inner = get_args(kind)[0]
    return " | ".join(getattr(each, "__name__", str(each)) for each in map(_stripped, get_args(inner) or [inner]))


def _stripped(kind: object) -> object:
    return str(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _entry(name: str, value: object) -> list[str]:
    if inspect.ismodule(value):
        return [f"### {name}", "", (inspect.getdoc(value) or "").partition("\n")[0], ""]
    if not callable(value) or get_origin(value) is not None:
        kind = _plain(value) if get_origin(value) is not None else repr(value)
        return [f"### {name}", "", "```text", f"{name} = {str(kind).replace('typing.', '')}", "```", ""]
    out = [f"### {name}", "", "```text", _signature(name, value), "```", "", *_docstring(inspect.getdoc(value) or ""), ""]
    if inspect.isclass(value) and not issubclass(value, BaseException):
        for key, method in vars(value).items():
            own = method.fget if isinstance(method, property) else getattr(method, "__func__", method)
            if not key.startswith("_") and inspect.isfunction(own):
                line = f"{name}.{key}" if isinstance(method, property) else _signature(f"{name}.{key}", own, method=True)
                out += ["```text", line, "```", "", *_docstring(inspect.getdoc(own) or ""), ""]
    return out


def _signature(name: str, value: Callable[..., object], *, method: bool = False) -> str:
    try:
        signature = inspect.signature(value)
    except ValueError:
        return name
    given, starred = [], False
    for each in list(signature.parameters.values())[1 if method else 0 :]:
        if each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            given.append("*")
        starred = starred or each.kind is each.VAR_POSITIONAL
        star = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        text = star + each.name + ("" if each.annotation is each.empty else f": {_annotation(each.annotation)}")
        given.append(text + ("" if each.default is each.empty else f" = {_short(each.default)}"))
    back = (
        ""
        if signature.return_annotation in (signature.empty, "None", None)
        else f" -> {_annotation(signature.return_annotation)}"
    )
    one = f"{name}({', '.join(given)}){back}"
    return one if len(one) <= 100 else f"{name}(\n" + "".join(f"    {each},\n" for each in given) + f"){back}"


def _annotation(kind: object) -> str:
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    return re.sub(r"\b(collections\.abc|typing|pathlib|tlkit(\.\w+)+)\.", "", text)


def _short(value: object) -> str:
    text = repr(value)
    return "..." if text.startswith("<") or len(text) > 40 else text


def _docstring(text: str) -> list[str]:
    """A Google docstring as Markdown: each section a list."""
    out: list[str] = []
    inside, example = False, False
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Attributes|Raises|Returns|Yields|Example|Examples):", line):
            example = line.startswith("Example")
            inside = not example
            out += [f"**{line}**", ""]
        elif inside and (found := re.fullmatch(r"    (\*{0,2}[\w.]+): (.*)", line)):
            out.append(f"- `{found[1]}`: {found[2]}")
        elif inside and line.strip():
            out.append("  " + line.strip())
        else:
            inside = inside and line.startswith(" ")
            out.append(line)
    return out


def _order() -> str:
    """The packages in the order in which they may import each other, from tests/test_layers.py."""
    import ast

    source = (FOLDER.parent / "tests" / "test_layers.py").read_text()
    values = {
        str(target.id): ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("ORDER", "WITH_TORCH")
    }
    order: list[str] = values["ORDER"]
    lines = ["```mermaid", "flowchart LR"]
    groups: list[tuple[bool, list[str]]] = []
    for room in order:
        heavy = room in values["WITH_TORCH"]
        if not groups or groups[-1][0] != heavy:
            groups.append((heavy, []))
        groups[-1][1].append(room)
    for index, (heavy, rooms) in enumerate(groups):
        lines.append(f'  subgraph g{index}["{"imports torch" if heavy else "importing it loads no torch"}"]')
        lines.append("    direction TB")
        lines.append("    " + " --> ".join(rooms))
        lines.append("  end")
    lines += [f"  g{index} --> g{index + 1}" for index in range(len(groups) - 1)]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    main()
