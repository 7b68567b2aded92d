"""The output of leading stages that a plan may run once for each image: its shape, and whether the images repeat. Imports no torch."""

from __future__ import annotations

from tlkit.plans import packing
from tlkit.plans.plan import Plan
from tlkit.recipe import augmentations


def prefix_shape(plan: Plan, stages: int) -> tuple[int, ...]:
    """Return the shape of what so many leading stages give for one image, not pooled: with all maps or means that the rest needs."""
    *earlier, last = [plan.stages[stage].output for stage in packing.needed(plan.reads or plan.compared, stages)]
    if not plan.reads and not earlier:
        return last
    kept = earlier if plan.reads else [packing.mean_shape(each) for each in earlier]
    return packing.packed([*kept, last], plan.image_size)


def pools_after(plan: Plan, stages: int) -> bool:
    """Whether what so many leading stages give is pooled: all of them, where nothing but the head's features is needed of them."""
    return plan.pools and stages == plan.depth and not _joins(plan, stages)


def runs_on(plan: Plan, stages: int, prefix: int) -> bool:
    """Whether what so many leading stages give can be stored, and the others of a prefix run on it.

    Where the prefix ends in one tensor of several maps or means, its last sides are those of the image; a map alone does not tell them.
    """
    return bool(plan.reads) or stages == prefix or _joins(plan, stages) or not _joins(plan, prefix)


def _joins(plan: Plan, stages: int) -> bool:
    return len(packing.needed(plan.compared, stages)) > 1


def why_images_differ(plan: Plan) -> str:
    """Return why a training image never reaches the fixed prefix twice as it is; empty where it does."""
    data = plan.tables.data
    if augmentations.mixes(data.augment):
        return "mixup and cutmix mix images before it"
    if data.augment and data.augment_views is None:
        return "augmentation changes every image in every epoch; data.augment_views = 5 would draw five views once"
    return ""
