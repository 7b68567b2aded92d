"""What a run learns with: its plan, network and images, and where and how it is carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tlkit.engine.images.parts import Evaluated, Part, TrainingPart
from tlkit.engine.runtime import Runtime
from tlkit.network.network import Network
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.network_plugins import NetworkPlugins
from tlkit.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What a `Learner` is made of.

    Attributes:
        plan: The plan that is carried out.
        network: The network on the device, with its weights; a head that is solved is replaced.
        plugins: The backbone and the head that the network was built from.
        train: Training images.
        evaluated: Validation and test images.
        runtime: Where the network is; each of several processes has a part of every batch and of every evaluation, and the same state.
        sample: Training images that are evaluated after every epoch; None for none.
        adaptation: [adapt] with its method; None without.
        begin: Sets the weights that the first step begins with, where these are not the network's; not called where a run is continued.
        pieces: Parts of a batch that pass the network one after the other; a step is still one on all of its images.
    """

    plan: Plan
    network: Network
    plugins: NetworkPlugins
    train: TrainingPart
    evaluated: Evaluated
    runtime: Runtime
    sample: Part | None = None
    adaptation: Adaptation | None = None
    begin: Callable[[], None] | None = None
    pieces: int = 1
