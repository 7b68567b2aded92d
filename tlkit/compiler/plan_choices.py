"""The choices that a plan tells: what is done for an arm that its recipe does not say word by word, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from tlkit import tasks, units
from tlkit.compiler import source_classes
from tlkit.compiler.memory_estimate import Draft
from tlkit.errors import first_few
from tlkit.network import input_layer
from tlkit.plans import adaptation, auto_rates, compared_stages, head_starts, unlabelled
from tlkit.plans.plan import Choice, GroupPlan
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Backbone
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import weight_files
from tlkit.tasks import Task, named_classes


def choices(
    draft: Draft, *, batch: Sequence[Choice], groups: Sequence[GroupPlan], class_weights: Sequence[float]
) -> tuple[Choice, ...]:
    """Return the choices of a plan, in the order in which they are shown.

    Args:
        draft: The values that the plan is made from.
        batch: What was chosen of the batches.
        groups: The groups of the plan.
        class_weights: What an image of each class counts in the loss; () for 1.
    """
    resolved, arm, facts = draft.resolved, draft.resolved.arm, draft.facts
    task = tasks.get(resolved.head.task)
    of_task = (
        *task.choices(arm, facts.names),
        *named_classes.weight_choices(arm.loss, class_weights, names=facts.names, pixels=facts.pixels),
    )
    return (
        *facts.choices,
        *_source_classes(resolved, facts.names),
        *_cut(resolved.backbone),
        *_size(draft),
        *_bands(resolved),
        *_without_labels(draft),
        *_dropout(resolved),
        *batch,
        *_solved(resolved),
        *_start(resolved),
        *(Choice(*each) for each in of_task),
        *draft.aux_heads.choices(draft.divided.parameters),
        *_selection(draft, task),
        *_norms(resolved),
        *auto_rates.choices(groups, source_alone=resolved.adaptation is not None and resolved.adaptation.in_steps),
    )


def _source_classes(resolved: Resolved, classes: Sequence[str]) -> list[Choice]:
    """Say which classes the images have too that the weights were trained on."""
    found = source_classes.shared(classes) if source_classes.of_imagenet(resolved.arm.backbone.weights) else ()
    if not found:
        return []
    share = f"ImageNet has {len(found):,} of {len(classes):,}, or kinds of them"
    return [Choice("classes", share, f"{first_few(found)}: {source_classes.MEANING}")]


def _without_labels(draft: Draft) -> Iterator[Choice]:
    """Say which images without labels are used: those of data.unlabelled, or of the target of [adapt]."""
    resolved, images = draft.resolved, draft.facts.images
    if resolved.unlabelled is not None:
        return unlabelled.choices(resolved.arm.data.unlabelled, images, learns=resolved.learns)
    found = adaptation.choices(resolved.adaptation, images)
    return chain(found, compared_stages.choices(resolved.adaptation, tuple(resolved.backbone.stages)))


def _cut(backbone: Backbone) -> list[Choice]:
    return [] if backbone.cut is None else [Choice("cut", *backbone.cut)]


def _size(draft: Draft) -> list[Choice]:
    """Say which size held-out images have, where training images have several."""
    if len(set(draft.sizes.values())) == 1:
        return []
    size = units.pixels(draft.resolved.image_size)
    return [Choice("held-out images", f"{size} in every epoch", "the last size: scores of all epochs can be compared")]


def _bands(resolved: Resolved) -> list[Choice]:
    """Say how the first convolution takes bands, where the images have such."""
    if resolved.arm.data.channels is None or (resolved.trained is not None and resolved.trained.channels == "bands"):
        return []
    if resolved.arm.backbone.weights == weight_files.NONE:
        return [Choice("first convolution", f"of {units.channels(resolved.channels)}", "its random weights are drawn for them")]
    return [Choice("first convolution", *input_layer.described(resolved.channels))]


def _dropout(resolved: Resolved) -> list[Choice]:
    """Say which dropout the head has, where that is the backbone's usual one."""
    dropout = resolved.head.usual_dropout(resolved.backbone)
    if not dropout or resolved.learns != "steps" or resolved.arm.head.options.get("dropout") != dropout:
        return []
    reason = f"as {resolved.backbone.library} has it before its classifier; head.options.dropout = 0 leaves it out"
    return [Choice("head dropout", f"{dropout:g}", reason)]


def _solved(resolved: Resolved) -> list[Choice]:
    """Say on which images a head is fitted, where it is solved."""
    if resolved.learns != "solved":
        return []
    arm, fitted = resolved.arm, "all training images"
    if arm.adapt is not None and not arm.adapt.source:
        fitted = f"the labelled images of {arm.adapt.target} alone: the source is left out"
    return [Choice("head", "solved once", f"{arm.head.kind} is fitted on the embeddings of {fitted}")]


def _start(resolved: Resolved) -> list[Choice]:
    """Say what the head begins with, where that is not random."""
    if resolved.arm.head.start != head_starts.SOLVED or resolved.learns != "steps":
        return []
    reason = "as the recipe says: a logistic regression on the features of the training images as they are"
    return [Choice("head start", "solved", reason)]


def _selection(draft: Draft, task: Task) -> list[Choice]:
    """Say which metric chooses the best epoch, where that is not accuracy, or that there are no images to choose it by."""
    resolved, images = draft.resolved, draft.facts.images
    by = resolved.arm.select_by
    if by == "auto" or resolved.learns != "steps":
        return []
    if by not in WITHOUT_LABELS and images.train and not images.validation:
        return [Choice("best epoch", "the last epoch", f"there are no validation images to choose it by {by}")]
    rare = "where classes are rare, accuracy is won by answering none" if by == task.select_by else "as the recipe says"
    of = "the target, without its labels" if by in WITHOUT_LABELS else "the validation images"
    return [Choice("best epoch", f"by {by} of {of}", rare)]


def _norms(resolved: Resolved) -> list[Choice]:
    """Say how BatchNorm normalizes, where it keeps its running statistics."""
    if resolved.arm.backbone.batch_norm != "running" or resolved.learns != "steps":
        return []
    return [Choice("BatchNorm", "normalizes by its running statistics, and keeps them", "as the recipe says")]
