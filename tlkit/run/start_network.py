"""Build the network that a run begins from, with its weights."""

from __future__ import annotations

from collections.abc import Callable

from tlkit.errors import RecipeError, TlkitError
from tlkit.events import Observer
from tlkit.network import building, weights
from tlkit.network.network import Network
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.plugin import Images
from tlkit.record import run_files, run_folder
from tlkit.run import loading
from tlkit.sources import weight_files


class StartNetwork:
    """The network that a run begins from, on the CPU: built when it is first asked for, and held until it is taken.

    Args:
        build: Builds it, with its weights.
        network: The network, if it is built already.
    """

    def __init__(self, build: Callable[[], Network], network: Network | None = None) -> None:
        self._build = build
        self._network = network

    def get(self) -> Network:
        """Return the network, and hold it."""
        if self._network is None:
            self._network = self._build()
        return self._network

    def take(self) -> Network:
        """Return the network, and let go of it: whoever takes it may change it."""
        network = self.get()
        self._network = None
        return network

    def release(self) -> None:
        """Free the memory of the network; it is built again when it is asked for."""
        self._network = None


def build(job: Job, plan: Plan, images: Images, *, observer: Observer) -> Network:
    """Build a job's network with the weights it starts from, on the CPU.

    Raises:
        WeightsError: the file does not fit.
    """
    resolved = job.resolved
    network = building.build(
        resolved.backbone, resolved.head, classes=plan.classes,
        backbone_options=resolved.backbone_options, head_options=resolved.head_options, seed=job.seed,
        image_size=resolved.image_size, positive=plan.positive, channels=resolved.channels, domain_head=resolved.domain_head,
        compared=resolved.compared,
    )  # fmt: skip
    value, name = resolved.arm.backbone.weights, resolved.arm.backbone.name
    if job.weights is None:
        return network
    if value.startswith("run:"):
        run_files.check(job.weights.parent, (run_folder.RECIPE, run_folder.RESOLVED, run_folder.WEIGHTS))
        head = weights.load_run_(network, job.weights, backbone=resolved.backbone, name=name, classes=images.classes)
        with_head = ", with its head" if head and not resolved.head.solve else ""
        observer.note(f"{value}: begins from {job.weights.parent}{with_head}")
        for line in loading.changed_plugins(job.weights.parent):
            observer.note(line)
        if not head:
            if plan.learns == "nothing" or resolved.source_free:
                raise RecipeError([_no_head(value, source_free=resolved.source_free)])
            observer.note(
                f"{value}: its head is of another kind, of other classes or another shape; this run's head begins anew"
            )
        return network
    reading = weight_files.reading(value, job.weights, resolved.backbone)
    for note in weights.load_(network, job.weights, backbone=resolved.backbone, name=name, reading=reading):
        observer.note(f"{value}: {note}")
    return network


def _no_head(value: str, *, source_free: bool) -> TlkitError:
    return TlkitError(
        f"backbone.weights: {value} has no head of these classes, and nothing of it is to be trained.",
        "a run of the same classes with the same head" if source_free else "freeze.head = false trains one",
    )
