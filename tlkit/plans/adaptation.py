"""Look up the method that [adapt] names, and settle its keys. Imports no torch.

The rule: no key is ignored silently. What has no effect is reported as unused, and reset; what contradicts the arm is found by
`adaptation_checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from tlkit.errors import RecipeError, TlkitError
from tlkit.plans.plan import Choice, ImagesPlan
from tlkit.plugin import Adapter, registry
from tlkit.recipe import parsing
from tlkit.recipe.domains import NONE, AdaptTable

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


def needs_probabilities(found: Adaptation) -> TlkitError:
    """Return what refuses pseudo-labels by their probability of a head that gives none."""
    if found.threshold is not None:  # data.unlabelled
        return TlkitError(f"{found.table.target}: needs probabilities, and the head gives none.", 'head.kind = "logistic"')
    return TlkitError(
        'adapt.pseudo_labels: "confident" needs probabilities, and the head gives none.',
        'pseudo_labels = "prototypes", or head.kind = "logistic"',
    )


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
