"""Where and how this process computes: what all parts of a run have in common while it is carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.step.graph import Backend, CudaBackend
from tlkit.events import Observer


@dataclass(frozen=True)
class Runtime:
    """Where and how this process computes.

    Attributes:
        device: The device that it uses.
        observer: Receives the progress, the notes and the epochs.
        watch: Called between batches; may raise to stop.
        graph: Capture the training step, the fixed prefix and evaluations as CUDA graphs where the device can.
        ranks: The processes of a run, of which this is one.
    """

    device: torch.device
    observer: Observer = field(default_factory=Observer)
    watch: Callable[[], None] = lambda: None
    graph: bool = True
    ranks: Ranks = ALONE

    @property
    def backend(self) -> Backend | None:
        """What captures here; None where nothing is captured."""
        return CudaBackend(self.device) if self.graph and self.device.type == "cuda" else None
