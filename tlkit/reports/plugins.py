"""Tables of installed plugins and shipped recipes, and the details of one plugin. Nothing here prints."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlkit.plugin import Adapter, Backbone, Convention, Dataset, Download, Executor, Family, Logger
from tlkit.plugin.kinds import AnyPlugin, Kind
from tlkit.plugin.registry import Entry
from tlkit.reports import plain_table

_OURS = ("tlkit", "tlkit-dlib-face", "tlkit-efficientnet-lite")


def plugins(kind: Kind, entries: Sequence[Entry]) -> RenderableType:
    """Return the installed plugins of one kind, backbones by family; a third party's name is followed by its distribution."""
    table, title = Table.grid(padding=(0, 2, 0, 0)), Text(kind.plural, style="bold")
    names = [entry.name for entry in entries]
    families: dict[str, list[str]] = {}
    for entry in entries:
        marks = [f"{entry.distribution} {entry.version}"] if entry.distribution not in _OURS else []
        marks += ["installed twice: uninstall one"] if names.count(entry.name) > 1 else []
        module = entry.target.partition(":")[0].partition(".")[0]
        family = module.removeprefix("tlkit_") if kind.value is Backbone else ""
        families.setdefault(family, []).append(entry.name + (f" ({', '.join(marks)})" if marks else ""))
    several = {family: members for family, members in families.items() if len(members) > 1}
    single = [member for members in families.values() if len(members) == 1 for member in members]
    for family, members in {**several, **({"others" if several else "": single} if single else {})}.items():
        table.add_row(f"  {family}" if kind.value is Backbone else title, Text(", ".join(sorted(members, key=_natural))))
    return Group(title, table) if kind.value is Backbone else table


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key by which resnet18 stands before resnet101."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def recipes(questions: Mapping[str, str]) -> Table:
    """Return the recipes that tlkit ships, each with the question that it answers."""
    table = plain_table.of("recipe", "question")
    for name, question in questions.items():
        table.add_row(name, Text(question))
    return table


def record(entry: Entry) -> dict[str, Any]:
    """Return the JSON record of an installed plugin: its name, distribution and version."""
    return {"name": entry.name, "distribution": entry.distribution, "version": entry.version}


def details(shown: AnyPlugin | Family) -> dict[str, Any]:
    """Return the fields that a plugin declares, ready for JSON; its options as a JSON Schema."""
    values = {each.name: getattr(shown, each.name) for each in dataclasses.fields(shown)}
    options = values.get("options")
    if options is not None:
        values["options"] = options.model_json_schema()
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(values, mode="json")
    return plain


def plugin(name: str, entry: Entry, shown: AnyPlugin | Family) -> RenderableType:
    """Return the details of a plugin that the author of a recipe needs."""
    if isinstance(shown, Backbone):
        return _backbone(name, entry, shown)
    if isinstance(shown, Dataset):
        return _dataset(name, entry, shown)
    if isinstance(shown, Family):
        table = _table(name, entry, shown.summary)
        table.add_row("names", "\n".join(f"{name}:{member}" for member in shown.names))
        return table
    if isinstance(shown, Logger | Executor):
        table = _table(name, entry, shown.summary)
        if shown.needs:
            table.add_row("needs", f"pip install '{shown.install or shown.needs}'")
        return Group(table, *(_options("loggers.options", shown.options) if isinstance(shown, Logger) else ()))
    if isinstance(shown, Adapter):
        table = _table(name, entry, shown.summary)
        when = (
            "once, on stored features"
            if shown.solve
            else "in every training step"
            if shown.loss
            else "once, before anything is learned"
        )
        table.add_row("adapts", when)
        needs = {
            "a domain head": bool(shown.domain_head),
            "BatchNorm": shown.batch_norm,
            "a run on the source": shown.source_free,
            "a backbone that trains": shown.moves_features,
            "features of several stages": isinstance(shown.stages, tuple) and bool(shown.stages),
            "images that are not mixed": shown.compares,
            "two views of an image": shown.second_view,
            "all classes in the target": not shown.partial,
        }
        if any(needs.values()):
            table.add_row("needs", ", ".join(what for what, asked in needs.items() if asked))
        return Group(table, *_options("adapt.options", shown.options))
    return Group(_table(name, entry, shown.summary), *_options("head.options", shown.options))


def _backbone(name: str, entry: Entry, shown: Backbone) -> RenderableType:
    table = _table(name, entry, shown.summary)
    table.add_row("stages", ", ".join(shown.stages))
    if shown.cut is not None:
        table.add_row("cut", ": ".join(shown.cut))
    table.add_row("features", str(shown.features))
    table.add_row(
        "image size", f"{shown.image_size} px, {'no other' if shown.fixed_size else f'at least {shown.minimum_size}'}"
    )
    for name_of, aux_head in shown.aux_heads.items():
        least = f", images of at least {aux_head.minimum_size} px" if aux_head.minimum_size > 1 else ""
        table.add_row(f"auxiliary {name_of}", f"after {aux_head.after}, weight {aux_head.weight:g}{least}")
    if shown.dropout:
        table.add_row("dropout before the classifier", f"{shown.dropout:g}")
    if shown.library:
        table.add_row("parameter names of", shown.library)
    table.add_row("input, random weights", _convention(shown.input))
    for weights, each in shown.weights.items():
        source = each.source.url if isinstance(each.source, Download) else each.source
        table.add_row(
            f"weights {weights}", f"{each.summary}\n{source}\ninput {_convention(each.input)}\nlicence {each.licence}"
        )
    return Group(table, *_options("backbone.options", shown.options))


def _dataset(name: str, entry: Entry, shown: Dataset) -> RenderableType:
    table = _table(name, entry, shown.summary)
    if shown.classes:
        table.add_row("classes", str(shown.classes))
    if images := shown.nominal_images():
        table.add_row("images", ", ".join(f"{split} {count:,}" for split, count in images.items()))
    if shown.files:
        table.add_row("files", ", ".join(shown.files))
    for each in shown.fetched():
        table.add_row("download", f"{each.url} ({each.checksum})")
    if shown.page:
        table.add_row("page", shown.page)
    if shown.licence:
        table.add_row("licence", shown.licence)
    return Group(table, *_options("data.options", shown.options))


def _table(name: str, entry: Entry, summary: str) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(Text(name, style="bold"), summary)
    table.add_row("from", f"{entry.distribution} {entry.version}")
    return table


def _options(place: str, model: type[BaseModel] | None) -> list[RenderableType]:
    if model is None:
        return []
    table = plain_table.of(f"[{place}]", "default", "meaning", gap=3)
    said = _attributes(model)
    for name, field in model.model_fields.items():
        if field.exclude:  # a recipe gives it in another table
            continue
        default = field.get_default(call_default_factory=True)
        shown = "required" if field.is_required() else "" if default is None else str(default)
        table.add_row(name, shown, Text(field.description or said.get(name, "")))
    return ["", table]


def _attributes(model: type[BaseModel]) -> dict[str, str]:
    """The descriptions under "Attributes:" in a class's docstring, name -> text."""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if start := re.fullmatch(r" {4}(\w+): (.*)", line):
            name, found[start[1]] = start[1], start[2]
        elif name and line.startswith(" " * 8):
            found[name] += " " + line.strip()
    return found


def _convention(shown: Convention) -> str:
    return f"{shown.pixels}, {shown.resize}, centre crop {shown.crop:g}"
