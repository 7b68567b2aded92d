"""Look up the method that [adapt] names, and check the table against the rest of its arm. Imports no torch.

The rule: no key is ignored silently. What contradicts the arm is an error; what has no effect is reported as unused, and reset.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from tlkit.errors import RecipeError, TlkitError, nearest
from tlkit.plans import auto_rates
from tlkit.plans.plan import Choice, ImagesPlan
from tlkit.plugin import Adapter, Head, registry
from tlkit.recipe import augmentations, maps, parsing
from tlkit.recipe.augmentations import Augmentation
from tlkit.recipe.domains import NONE, AdaptTable
from tlkit.recipe.losses import LossTable
from tlkit.recipe.maps import HEAD
from tlkit.recipe.messages import dotted, shown
from tlkit.recipe.recipe import Arm
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import weight_files
from tlkit.tasks.single_label import SINGLE_LABEL

# docs/domains.md, "What they are worth".
_HINT = "three of each class beside the source were worth as much as the best alignment or more in 4 measured pairs: adapt.labels_per_class = 3"


@dataclass(frozen=True)
class Adaptation:
    """[adapt] of an arm, with the method's plugin.

    Attributes:
        table: The recipe's, with the defaults of the method's options.
        adapter: The plugin; None for the method "none".
        options: The method's options, checked; None if it has none.
        threshold: Least probability of a pseudo-label of a solved head; None for the usual one.
    """

    table: AdaptTable
    adapter: Adapter | None
    options: BaseModel | None
    threshold: float | None = None

    @property
    def by_steps(self) -> bool:
        """Whether the method adds a loss to every training step."""
        return self.adapter is not None and bool(self.adapter.loss)

    @property
    def source_free(self) -> bool:
        """Whether the training images are those of the target, without labels, and none of the source."""
        return self.adapter is not None and self.adapter.source_free

    @property
    def beside(self) -> int:
        """How many inputs without labels a step takes for each image of the source: none, a target image, or two views of one."""
        if self.adapter is None or not self.by_steps or self.source_free:
            return 0
        return 1 + self.adapter.second_view

    @property
    def in_steps(self) -> bool:
        """Whether training steps take images of the target, where the head is trained by steps."""
        return self.by_steps or bool(self.table.labels_per_class)

    @property
    def replaces_statistics(self) -> bool:
        """Whether BatchNorm's statistics are replaced by those of the target before anything is learned."""
        return self.adapter is not None and self.adapter.batch_norm

    @property
    def domain_head(self) -> tuple[str, BaseModel | None] | None:
        """What builds the method's domain head, and its options; None where it has none."""
        return (self.adapter.domain_head, self.options) if self.adapter is not None and self.adapter.domain_head else None

    @property
    def uses_unlabelled(self) -> bool:
        """Whether target images are used without their labels."""
        return self.adapter is not None or bool(self.table.pseudo_labels)


def look_up(table: AdaptTable) -> Adaptation:
    """Return a table with its method's plugin.

    Raises:
        RecipeError: nobody offers the method, or its options are wrong.
    """
    adapter = None
    if table.method != NONE:
        try:
            adapter = registry.get(Adapter, table.method)
        except TlkitError as error:
            raise RecipeError(
                [TlkitError(f"adapt.method: {error.problem}", *error.hints, f'"{NONE}" adapts to nothing')]
            ) from error
    options = parsing.options(adapter.options if adapter is not None else None, table.options, place="adapt.options")
    if options is not None:
        table = table.model_copy(update={"options": options.model_dump(mode="json", exclude_none=True)})
    return Adaptation(table, adapter, options)


def problems(arm: Arm, table: AdaptTable) -> Iterator[TlkitError]:
    """Yield what is wrong with the table whatever its method is."""
    if table.target not in arm.also:
        there = f"[also]: {', '.join(arm.also)}" if arm.also else f"a table names it: [{dotted('also', table.target)}]"
        yield TlkitError(
            f"adapt.target: there is no data set {dotted('also', table.target)}.", there, nearest(table.target, arm.also)
        )
    elif arm.also[table.target].of_own_images:
        yield TlkitError(
            f"adapt.target: {table.target} is the test images of [data] in low resolution.",
            f"{dotted('also', table.target)}.name, a data set",
        )
    elif (part := arm.also[table.target].split.per_class) is not None and table.labels_per_class > part:
        yield TlkitError(
            f"adapt.labels_per_class: is {table.labels_per_class}, and the training part of {table.target} has {part} images of each class.",
            f"{dotted('also', table.target)}.split.per_class = {table.labels_per_class}, or fewer labels",
        )
    if not table.source and not table.labels_per_class:
        yield TlkitError(
            "adapt.source: is false, and no target image has a label, so there is nothing to train on.",
            "adapt.labels_per_class = 3",
        )
    if not table.source and table.method != NONE:
        yield TlkitError(
            f"adapt.source: is false, and {table.method} adapts source images to the target.", f'adapt.method = "{NONE}"'
        )


def conflicts(arm: Arm, found: Adaptation, head: Head, *, solved: bool) -> Iterator[TlkitError]:
    """Yield what the method cannot do in this arm.

    Args:
        arm: Its tables.
        found: The method.
        head: The head plugin.
        solved: The head is solved, not trained by steps.
    """
    table, adapter = found.table, found.adapter
    if head.task != SINGLE_LABEL.name:
        yield TlkitError(
            f"adapt: needs one class for each image, and the {arm.head.kind} head has another task.", "leave [adapt] out"
        )
    elif head.several:
        yield TlkitError(
            f"adapt: works on the features of the last stage, and the {arm.head.kind} head reads the maps of several.",
            'a head of features, for instance head.kind = "linear"',
        )
    if solved:
        if adapter is not None and adapter.loss:
            yield TlkitError(
                f"adapt.method: {table.method} is trained by steps, and the {arm.head.kind} head is solved.",
                'a head that is trained, for instance head.kind = "linear"',
            )
        return
    if adapter is not None and adapter.solve:
        yield TlkitError(
            f"adapt.method: {table.method} aligns the features of a frozen network once, and the {arm.head.kind} head is trained by steps.",
            'a head that is solved, for instance head.kind = "logistic"',
        )
    wanted = {"source": (table.source, True), "pseudo_labels": (table.pseudo_labels, False)}
    for key, (value, usual) in wanted.items():
        if value != usual:
            yield TlkitError(
                f"adapt.{key}: is {shown(value)}, which only a solved head uses yet, and the {arm.head.kind} head is trained by steps.",
                'head.kind = "logistic", for instance',
            )
    if adapter is not None and adapter.second_view and not table.second_view:
        yield TlkitError(
            f"adapt.method: {table.method} compares two views of a target image, and there is one.",
            'adapt.second_view = ["randaugment"]',
        )
    yield from of_second_view(arm, table.second_view, place="adapt.second_view")
    if found.source_free:
        yield from _source_free_problems(arm, table)
    elif adapter is not None and adapter.compares and augmentations.mixes(arm.data.augment):
        yield TlkitError(
            f"adapt.method: {table.method} compares images of both domains, and data.augment mixes those of the source alone: "
            "it would learn which images are mixed.",
            "leave mixup and cutmix out, or a method that does not compare them: mcc, mme",
        )
    if adapter is not None and adapter.domain_head and auto_rates.is_auto(arm, maps.DOMAIN):
        yield TlkitError(
            f'{auto_rates.named(maps.DOMAIN)}: is "auto", and a range test takes steps of the source alone, in which no domain head trains.',
            "a rate of your own, or leave it out: it is that of head",
        )
    if adapter is not None and adapter.loss and head.maps:
        yield TlkitError(
            f"adapt.method: {table.method} reads features (N, F), and the {arm.head.kind} head reads a whole feature map.",
            'head.kind = "linear"',
        )


def of_second_view(arm: Arm, second: Sequence[Augmentation], *, place: str) -> Iterator[TlkitError]:
    """Yield what a second view of images without labels has that it cannot have beside data.augment.

    Args:
        arm: The arm.
        second: The augmentations of the second view.
        place: The key that names them.
    """
    if (name := augmentations.twice(arm.data.augment, second)) is not None:
        yield TlkitError(
            f"{place}: has {name}, which data.augment has too.", "both views are augmented by data.augment; leave it out"
        )
    if arm.data.channels is not None and (colours := augmentations.of_colour(second)):
        yield TlkitError(
            f"{place}: {colours[0]} is of colours, and data.channels says {arm.data.channels} bands.",
            f"augmentations of bands: {', '.join(augmentations.not_of_colour())}",
        )


def _source_free_problems(arm: Arm, table: AdaptTable) -> Iterator[TlkitError]:
    """Yield what an arm has that a method without source images cannot use, or lacks."""
    what = f"adapt.method: {table.method}"
    if not arm.backbone.weights.startswith(weight_files.RUN):
        yield TlkitError(
            f"{what} adapts what a run learned from the source, and backbone.weights is {shown(arm.backbone.weights)}.",
            'backbone.weights = "run:RUNS/RECIPE/ARM-sSEED-DIGEST"',
        )
    if arm.freeze.get(HEAD) is not True:
        yield TlkitError(
            f"{what} leaves the classifier as the source's images made it, and head trains.", f"freeze.{HEAD} = true"
        )
    if table.labels_per_class:
        yield TlkitError(
            f"{what} uses no labels, and adapt.labels_per_class is {table.labels_per_class}.", "labels_per_class = 0"
        )
    if augmentations.mixes(arm.data.augment):
        yield TlkitError(
            f"{what} gives each image a pseudo-label, and data.augment mixes images.", "leave mixup and cutmix out"
        )
    if arm.loss != LossTable():
        yield TlkitError(f"{what} has the whole loss of a step, and [loss] is of labelled images.", "leave [loss] out")
    if open_ := [key for key in arm.lr_groups if auto_rates.is_auto(arm, key)]:
        yield TlkitError(
            f'{auto_rates.named(open_[0])}: is "auto", and a range test takes steps of the source, which {table.method} does not train on.',
            "a rate of your own",
        )


def of_no_use(found: Adaptation | None, trained: Collection[str], arm: Arm) -> list[str]:
    """Say that a method cannot do its work where these stages of the backbone train, if so.

    Args:
        found: What the arm adapts to, and how.
        trained: The stages of the backbone that are trained at some time.
        arm: The arm.
    """
    if found is None or found.adapter is None:
        return []
    name = found.table.method
    if found.adapter.moves_features and not trained:
        return [
            f"adapt.method: {name} works by training what the head reads, and the whole backbone is frozen: it does nothing, or harm"
        ]
    if found.adapter.batch_norm and trained and arm.backbone.batch_norm != "running":
        return [
            f"adapt.method: {name} replaces statistics before the first step, and BatchNorm of trained stages ({', '.join(trained)}) soon "
            'has those of the source again; backbone.batch_norm = "running" keeps them'
        ]
    return []


def chosen_by_source(found: Adaptation | None, arm: Arm, images: ImagesPlan) -> list[str]:
    """Say that images of the source choose the best epoch of a method that moves away from the source, if so."""
    if found is None or not found.source_free or not images.validation or arm.select_by in WITHOUT_LABELS:
        return []
    return [
        f"select_by: validation images of the source choose the best epoch, and {found.table.method} leaves the source behind; "
        'select_by = "snd" chooses by the target without its labels'
    ]


def settled(found: Adaptation, *, learns: str) -> tuple[Adaptation | None, tuple[str, ...]]:
    """Return an adaptation with its unused keys reset to their defaults, and a line for each of these keys; None where nothing learns."""
    if learns == "nothing":
        return None, ("adapt: nothing is trained",)
    table, usual = (
        found.table,
        {name: each.get_default(call_default_factory=True) for name, each in AdaptTable.model_fields.items()},
    )
    reasons: dict[str, str] = {}
    if not found.by_steps:
        reasons |= dict.fromkeys(("weight", "ramp"), f"{table.method} adds no loss")
    elif found.source_free:
        reasons |= dict.fromkeys(("weight", "ramp"), f"{table.method} has the whole loss of a step")
    if not found.uses_unlabelled:
        reasons["images"] = "no target image is used without its label"
    if not table.labels_per_class:
        reasons["label_weight"] = "labels_per_class = 0"
    if found.adapter is None or not found.adapter.second_view:
        reasons["second_view"] = f"{table.method} sees one view of an image"
    reset = {key: usual[key] for key in reasons if getattr(table, key) != usual[key]}
    # Arms that compare with no adaptation have these keys from the other arms.
    lines = [f"adapt.{key}: {reasons[key]}" for key in reset if found.adapter is not None or key == "label_weight"]
    return Adaptation(table.model_copy(update=reset), found.adapter, found.options), tuple(lines)


def choices(found: Adaptation | None, images: ImagesPlan) -> Iterator[Choice]:
    """Yield which images of the target are used, with labels and without, and what the method does with them."""
    if found is None:
        return
    table, few = found.table, ""
    if images.labelled:
        few = (
            f"{images.labelled:,} with labels ({table.labels_per_class} of each class), each counts {table.label_weight} times"
        )
    if not found.uses_unlabelled:
        if scored := images.target - images.labelled:
            few = f"{few + ', ' if few else ''}{scored:,} without labels, for scores alone"
        yield Choice("target", few or "no image is used", f'"{table.target}", method "{NONE}"')
    else:
        without = f"{images.target - images.labelled:,} images without labels"
        which = "its training part" if table.images == "train" else "all images, those that are tested too: transductive"
        yield Choice("target", f"{without}, {few}" if few else without, f'"{table.target}", {which}')
    if found.adapter is not None:
        yield Choice("adaptation", table.method, found.adapter.summary or found.adapter.target)
    if found.source_free:
        yield Choice(
            "source", "no image is trained on", f"{table.method} needs the run's weights alone; held-out images are evaluated"
        )
        yield Choice("pseudo-labels", "prototypes", "made anew at the beginning of each epoch")
    if found.adapter is not None and found.beside:
        weight = f"{table.weight:g}, " + ("rising from 0 as DANN's schedule" if table.ramp else "the same in every step")
        labelled = ", and labelled images" if images.labelled else ""
        yield Choice(
            "step",
            f"a batch of the source and one of the target, of one size{labelled}",
            f"weight of the method's loss: {weight}",
        )
        both = "of both domains together" if found.adapter.together else "of each domain by itself"
        yield Choice("BatchNorm", f"sees the images {both}", "as the method's paper has it")
        if found.adapter.second_view:
            more = ", ".join(each.name for each in table.second_view)
            yield Choice("two views", "of each target image of a step", f"the second is augmented by {more} too")
        if found.adapter.domain_head:
            yield Choice("domain head", "trains beside the head", 'rate of head, or lr_groups."head.domain"; it is not kept')
            yield Choice("seeds", "three or more", f"what {table.method} reaches moves from seed to seed, in its paper too")
    if table.pseudo_labels:
        yield Choice(
            "pseudo-labels",
            str(table.pseudo_labels),
            "the head is fitted a second time, with target images that it gave labels to",
        )
    if found.uses_unlabelled and not images.labelled and not found.source_free:
        yield Choice("target labels", "none", _HINT)
