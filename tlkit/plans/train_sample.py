"""How many training images are evaluated after every epoch, without augmentation and dropout. Imports no torch.

The rule: it costs little, so the train accuracy that people mean is there beside the mean over the training batches.
"""

from __future__ import annotations

from tlkit.plans import adaptation
from tlkit.plans.choices import flops, training_flops
from tlkit.plans.plan import PhasePlan, Plan

_SHARE = 0.05  # of the floating-point operations of an epoch
_FEWEST = 20  # images; the accuracy of fewer says little
_WITHOUT = 1000  # images at most where there are no held-out images to take the number from


def count(plan: Plan) -> int:
    """Return the number of training images that are evaluated after every epoch; 0 where that would cost too much.

    It is at most the number of test images, or of validation images where there are no test images. A run that takes no steps
    evaluates all its training images as they are in any case.
    """
    if plan.learns != "steps" or (plan.tables.adapt is not None and adaptation.look_up(plan.tables.adapt).source_free):
        return 0  # or their labels are those of the target
    most = plan.images.test or plan.images.validation or _WITHOUT
    affordable = min(
        int(_SHARE * (plan.images.train * training_flops(plan, phase)) / max(_image(plan, phase), 1)) for phase in plan.phases
    )
    images = min(most, plan.images.train, affordable)
    return images if images >= _FEWEST else 0


def _image(plan: Plan, phase: PhasePlan) -> int:
    """Floating-point operations of evaluating a training image: without the fixed prefix where its output is read."""
    stored = phase.fixed is not None and phase.fixed.train is not None and not plan.tables.data.augment
    return plan.flops_per_image - (flops(plan, 0, len(phase.prefix)) if stored else 0)
