"""The weights that a linear head begins with: those of a logistic regression on the features of the training images.

The rule: they depend on the network's weights, the training images and the seed alone, and are the same on all processes of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.engine.images.parts import Evaluated, TrainingPart
from tlkit.engine.learning import Learning
from tlkit.engine.runtime import Runtime
from tlkit.engine.solver import SinglePass
from tlkit.errors import DataError
from tlkit.events import Observer
from tlkit.network.network import Network
from tlkit.plans import plan_json
from tlkit.plans.network_plugins import NetworkPlugins
from tlkit.plans.plan import Plan


@dataclass(frozen=True)
class HeadStart:
    """What solves a head's first weights.

    Attributes:
        plan: Of the pass over the training images.
        plugins: What the network is built from, with the logistic regression as its head.
        train: Training images as they are, without augmentation.
    """

    plan: Plan
    plugins: NetworkPlugins
    train: TrainingPart

    def solve_(self, network: Network, runtime: Runtime) -> None:
        """Set the head of a network; its other weights stay as they are.

        Args:
            network: On the device, with the weights that it begins with.
            runtime: Where the network is; of several processes each passes a part of the images.

        Raises:
            DataError: a class has no training image.
            RunFailed: the features are not finite numbers.
            PluginError: the regression failed.
        """
        ranks = runtime.ranks
        plan = plan_json.from_json(ranks.told(plan_json.to_json(self.plan)))  # forms and stores are the first process's
        given = Learning(
            plan=plan, network=network, plugins=self.plugins, train=self.train, evaluated=Evaluated(None, None),
            runtime=replace(runtime, observer=_Storing(runtime.observer)),
        )  # fmt: skip
        weight, bias = affine(SinglePass(given).fitted().estimator, plan.classes)
        if network.task.outputs(plan.classes) == 1:  # of two classes: the logit of the positive one against the other
            positive = network.positive
            weight, bias = (each[positive : positive + 1] - each[1 - positive : 2 - positive] for each in (weight, bias))
        found = {"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()}
        with torch.no_grad():
            for name, tensor in ranks.told_tensors(found).items():
                network.head.get_parameter(name).copy_(tensor)


def affine(pipeline: Any, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight (classes, features) and bias (classes,) of a logistic regression, with the scaling before it in them.

    Raises:
        DataError: it has not seen every class.
    """
    *scalers, (_, model) = pipeline.steps
    if len(model.classes_) < classes:
        raise DataError(
            f'head.start: is "solved", but the training images are of {len(model.classes_)} of the {classes} classes.',
            'head.start = "random", or data without such classes',
        )
    weight, bias = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    for _, scaler in scalers:
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
    if len(weight) == 1:  # of two classes, the logit of the second against the first
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    return weight, bias


class _Storing(Observer):
    """Hands on what is told outside an epoch: the pass is no epoch of the run.

    Args:
        observer: Of the run.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def note(self, text: str) -> None:
        self._observer.note(text)

    def storing(self, done: int, total: int) -> None:
        self._observer.storing(done, total)
