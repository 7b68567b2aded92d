"""Plans as rich tables. Nothing here prints."""

from __future__ import annotations

import itertools

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlkit import units
from tlkit.plans.plan import Plan
from tlkit.recipe.map_tables import AUTO
from tlkit.recipe.tables import FieldOfView
from tlkit.reports import plain_table
from tlkit.reports.tables_that_fit import STYLE, Rows

# A stage's column "training", by `StagePlan.trains`; other words, "from epoch 4", are shown as they are.
_TRAINING = {"never": "frozen", "always": "all epochs"}
_COLUMNS = ("stage", "parameters", "trainable", "training", "lr group", "peak lr", "GFLOPs", "output")
_STEPLESS = {"solved": "the head is solved", "nothing": "nothing is trained"}


def plan(shown: Plan) -> RenderableType:
    """Return a plan for a terminal."""
    images, memory = shown.images, shown.memory
    counts = [
        f"images     train {_trained_on(shown)}, validation {images.validation:,}, test {images.test:,} ({images.source})",
        f"steps      none: {_STEPLESS[shown.learns]}"
        if shown.learns in _STEPLESS
        else f"steps      {shown.steps_per_epoch:,} an epoch, {shown.steps:,} in all",
    ]
    counts += [f"also test  {name}: {count:,} images" for name, count in images.also.items()]
    lines = [
        *(
            counts
            if images.source != "unknown"
            else ["images     not on this machine yet, so their number and the number of steps are unknown"]
        ),
        f"memory     about {_bytes(memory.total)} at the peak, without Python and torch: weights {_bytes(memory.weights)}, gradients "
        f"{_bytes(memory.gradients)}, optimizer {_bytes(memory.optimizer)}, activations {_bytes(memory.activations)}, "
        f"images {_bytes(memory.images)}"
        + (f", embeddings {_bytes(memory.embeddings)}" if memory.embeddings else "")
        + (f"; pictures {_bytes(memory.resident)} stay beside it where they fit" if memory.resident else ""),
        *(f"licence    {licence.of}: {licence.words}" for licence in shown.licences),
        *(f"chosen     {choice.what}: {choice.value} ({choice.reason})" for choice in shown.choices),
    ]
    return Group(_title(shown), _stages(shown), _phases(shown), *map(Text, [_input(shown), *lines]), *_remarks(shown), "")


def kernels(shown: Plan) -> RenderableType:
    """Return the kernels that a plan chose for gradients of convolutions, a line each; nothing where it chose none."""
    return Group(
        *(Text(f"kernel     {each.kernel}: gradient of the {each.part}, {each.convolution}") for each in shown.kernels), ""
    )


def network(shown: Plan, *, classes: int | None, compiled: bool) -> RenderableType:
    """Return the part of a plan that is known without data: the stages and the preprocessing.

    Args:
        shown: The plan, of any number of classes where that is not known.
        classes: How many; None where the first images will say it.
        compiled: The plan's rates are those of the model; else they are not shown.
    """
    tables, size = shown.tables, units.pixels(shown.image_size)
    outputs = f"{classes} classes" if classes is not None else "classes not known yet"
    learns = _learns(shown) if compiled else "not compiled"
    title = Text(f"{tables.backbone.name} ({_weights(shown)}), {outputs}, {size}, {learns}", style="bold")
    lines = [_input(shown)]
    if classes is None:
        lines.append("head       has no classes yet: the first fit says how many, or Model(.., classes=)")
    return Group(title, _stages(shown, head=classes is not None, rates=compiled), *map(Text, lines), *_remarks(shown), "")


def _title(shown: Plan) -> Text:
    return Text(
        f"{shown.recipe} / {shown.arm}: {shown.tables.backbone.name} ({_weights(shown)}), {shown.classes} classes, "
        f"{_sizes(shown)}, batch {shown.batch_size}, {_learns(shown)}",
        style="bold",
    )


def _sizes(shown: Plan) -> str:
    """Sizes of the training images, in the order of the phases; the last is also that of images that are evaluated."""
    sizes = [phase.image_size or shown.image_size for phase in shown.phases]
    return ", then ".join(units.pixels(size) for size, _ in itertools.groupby(sizes))


def _learns(shown: Plan) -> str:
    tables = shown.tables
    steps = f"{tables.optimizer.name}, {tables.schedule.name}"
    return {"solved": f"{tables.head.kind}, solved", "nothing": "evaluated only"}.get(shown.learns, steps)


def _trained_on(shown: Plan) -> str:
    """How many images are trained on: those of the source, or where it is left out the labelled ones of the target."""
    table = shown.tables.adapt
    if table is None or table.source:
        return f"{shown.images.train:,}"
    return f"{shown.images.labelled:,} of {table.target} alone"


def _weights(shown: Plan) -> str:
    return "random weights" if shown.tables.backbone.weights == "none" else shown.tables.backbone.weights


def _input(shown: Plan) -> str:
    """The preprocessing of every image, and the augmentation of training images."""
    size, data = shown.image_size, shown.tables.data
    resized = round(size[0] / shown.input.crop), round(size[1] / shown.input.crop)
    short = f"a short side of {resized[0]} px" if size[0] == size[1] else f"cover {units.pixels(resized)}"
    steps = {
        "crop": f"to {short}, centre crop {units.pixels(size)}",
        "pad": f"the whole picture into {units.pixels(size)}, padded with the mean colour",
        "squash": f"the whole picture to {units.pixels(size)}, whatever its shape",
    }
    line = f"input      {shown.input.pixels}; {shown.input.resize} {steps[data.fit]}"
    if shown.canvas is not None:
        line = f"input      {shown.input.pixels}; whole pictures{_scale(data.scale_to)} on a canvas of {units.pixels(shown.canvas)}"
        line += "" if shown.tile is None else f", evaluated in tiles of {shown.tile} px that overlap by a quarter"
    fixed = f", {data.augment_views} fixed views of each image" if data.augment_views else ""
    return f"{line}; training: {', '.join(each.name for each in data.augment)}{fixed}" if data.augment else line


def _scale(scale_to: float | FieldOfView | None) -> str:
    if isinstance(scale_to, FieldOfView):
        return f" with a field of view of {scale_to.field_of_view} px"
    return "" if scale_to is None else f", scaled by {scale_to:g},"


def _remarks(shown: Plan) -> list[Text]:
    unused = [Text(f"not used   {line}", style="yellow") for line in shown.unused]
    return unused + [Text(f"warning    {line}", style="bold yellow") for line in shown.warnings]


def _stages(shown: Plan, *, head: bool = True, rates: bool = True) -> Rows:
    """The stages; `head` says whether the size of the head is known, `rates` whether the rates are."""
    rows = []
    for row in shown.stages:
        known = head or row is not shown.stages[-1]
        cells = (
            row.name,
            f"{row.parameters:,}" if known else "?",
            f"{row.trained:,}" if known else "?",
            _TRAINING.get(row.trains, row.trains),
            ", ".join(row.groups) if rates else "",
            ", ".join(map(rate_text, row.peak_lr)) if rates else "",
            f"{row.flops / 1e9:.3f}" if known else "?",
            "x".join(map(str, row.output)) if known else "?",
        )
        rows.append(dict(zip(_COLUMNS, cells, strict=True)) | ({STYLE: "dim"} if row.trains == "never" else {}))
    total, trained, flops = shown.total, shown.trained, shown.flops_per_image
    if not head:
        last = shown.stages[-1]
        total, trained, flops = total - last.parameters, trained - last.trained, flops - last.flops
    cells = ("total" if head else "backbone", f"{total:,}", f"{trained:,}", "", "", "", f"{flops / 1e9:.3f}", "")
    rows.append(dict(zip(_COLUMNS, cells, strict=True)) | {STYLE: "bold"})
    return Rows(rows, _COLUMNS, ("stage", "training", "lr group"), {}, later=(_COLUMNS[-2:],))


def rate_text(rate: float | None) -> str:
    """Return a peak rate as text; "auto" where a range test chooses it before training."""
    return AUTO if rate is None else f"{rate:g}"


def _phases(shown: Plan) -> Table:
    size = ["images"] if shown.sizes else []
    table = plain_table.of("phase", "epochs", *size, "steps", "fixed prefix", "trainable", "why")
    for number, phase in enumerate(shown.phases, start=1):
        prefix = f"{phase.prefix[0]} .. {phase.prefix[-1]}" if len(phase.prefix) > 1 else "".join(phase.prefix) or "none"
        epochs = str(phase.first) if phase.first == phase.last else f"{phase.first} to {phase.last}"
        steps = f"{phase.steps:,}" if shown.images.source != "unknown" else "?"
        size = [units.pixels(phase.image_size or shown.image_size)] if shown.sizes else []
        table.add_row(str(number), epochs, *size, steps, prefix, f"{phase.trained:,}", phase.reason)
    return table


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
