"""A training step as a captured graph: the first steps of a phase run eagerly, then one is captured, and the rest replay it.

The rule: what cannot be captured trains step by step instead, and says why. The first steps look for what a capture would
stumble over, so that one is rarely begun in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import torch

from tlkit import tasks
from tlkit.engine import transfer
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step.host_reads import HostReads
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.plans.batches import why_no_full_group
from tlkit.plans.plan import PhasePlan

WARM_UP = 3  # real steps before a capture, as many as torch.cuda.make_graphed_callables takes


class Graph(Protocol):
    """A captured step."""

    def replay(self) -> None:
        """Run the captured step once."""

    def release(self) -> None:
        """Free the graph's memory, after the device has finished with it."""


class Backend(Protocol):
    """What capturing needs from a device."""

    def warm_up(self) -> AbstractContextManager[None]:
        """Return a context manager for the eager steps before a capture."""

    def capture(self, run: Callable[[], None]) -> Graph:
        """Capture a call without running it; raises the error that makes capture impossible."""


class Captured:
    """A step with the methods of `Step` that replays a graph if it can.

    What is captured is one accumulation group of full batches. A shorter one, the end of an epoch, runs step by step on the
    same optimizer state. Every phase has a graph of its own, released when the next phase begins. Between replays only the
    contents of tensors change: input buffers, rates.

    Args:
        step: Built with static=True.
        backend: The graph backend of the step's device.
        note: Called once for each reason why a phase trains step by step.
        pieces: Parts of a batch that pass the network one after the other.

    Attributes:
        reason: Why the present phase trains step by step; None where it need not.
    """

    def __init__(self, step: Step, backend: Backend, *, note: Callable[[str], None], pieces: int = 1) -> None:
        self.step = step
        self._pieces = pieces
        self.reason: str | None = None
        self._backend = backend
        self._note = note
        self.refusals: list[str] = []
        self._said: set[str] = set()
        self._phase: PhasePlan | None = None
        self._warm = 0
        self._graph: Graph | None = None
        self._inputs: list[Batch] = []

    @property
    def captured(self) -> bool:
        """Whether the present phase has been captured."""
        return self._graph is not None

    def begin_(self, epoch: int) -> None:
        """Begin an epoch, counted from 1, as `Step.begin_` does; a new phase drops the graph."""
        phase = self.step.plan.phase(epoch)
        if phase != self._phase:
            self.release()
            self._phase, self._warm, self.reason = phase, 0, None
        self.step.begin_(epoch)
        eager = tasks.get(self.step.plan.task).eager
        unfused = [group["name"] for group in self.step.optimizer.param_groups if not group.get("fused")]
        if eager:
            self._refuse(eager)
        elif unfused:
            self._refuse(f"{type(self.step.optimizer).__name__} has no fused kernel here, and the others read rates back")
        elif why := why_no_full_group(self.step.plan):
            self._refuse(why)

    def __call__(self, batches: Sequence[Batch], whole: Whole | None = None) -> None:
        """Take one optimizer step, as `Step`."""
        if self.reason is not None or not self._is_full(batches, whole):
            self.step(batches, whole)
        elif self._graph is not None:
            self._replay(self._graph, batches)
        elif self._warm < WARM_UP:
            self._warm_up(batches, whole)
        else:
            self._capture(batches, whole)

    def release(self) -> None:
        """Free the graph's memory at the end of a run or phase."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.release()
        self._inputs = []

    def _is_full(self, batches: Sequence[Batch], whole: Whole | None) -> bool:
        plan = self.step.plan
        sizes = tuple(len(targets) for _, targets in batches) if whole is None else tuple(whole.batches)
        full = piece_sizes(plan.batch_size, self._pieces) * plan.tables.optimizer.accumulate
        return sizes == full and all(map(_is_alike, batches, self._inputs))

    def _warm_up(self, batches: Sequence[Batch], whole: Whole | None) -> None:
        self._warm += 1
        if self._warm < WARM_UP:
            with self._backend.warm_up():
                self.step(batches, whole)
            return
        with self._backend.warm_up(), HostReads() as reads:
            self.step(batches, whole)
        missing = self.step.without_gradient()
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            self._refuse(f"{missing[0]}{more} should train and took no part in the loss")
        elif reads.found:
            self._refuse(f"its forward or backward pass waits for the device at {reads.found[0]}")
        self._refuse_alike()

    def _capture(self, batches: Sequence[Batch], whole: Whole | None) -> None:
        inputs = [(torch.empty_like(x), torch.empty_like(targets)) for x, targets in batches]
        _copy_(inputs, batches)
        # Adam and AdamW refuse to be captured unless they are said to be capturable; fused ones are the same either way.
        groups = [group for group in self.step.optimizer.param_groups if "capturable" in group]
        for group in groups:
            group["capturable"] = True
        # Words, not errors: those would hold the step's gradient nodes, which belong to another stream than the next step's.
        causes: list[str] = []

        def run() -> None:
            try:
                self.step(inputs, whole)
            except Exception as error:
                causes.append(in_words(error))
                raise

        try:
            graph = self._backend.capture(run)
        except Exception as error:  # whatever it is, the step can still be taken without a graph
            self._refuse([*causes, in_words(error)][0])  # ending a capture that failed fails in another way
            graph = None
        finally:
            for group in groups:
                group["capturable"] = False
        self._refuse_alike()
        if graph is None or self.reason is not None:
            if graph is not None:
                graph.release()
            self.step(batches, whole)
            return
        self._graph, self._inputs = graph, inputs
        graph.replay()

    def _replay(self, graph: Graph, batches: Sequence[Batch]) -> None:
        _copy_(self._inputs, batches)
        graph.replay()

    def _refuse_alike(self) -> None:
        """Take steps without a graph where another process of the run must: their sums have to meet."""
        if self.step.ranks.any(self.reason is not None) and self.reason is None:
            self._refuse("another process of the run cannot capture it")

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        if reason not in self._said:
            self._said.add(reason)
            line = f"trains step by step, without a captured graph: {reason}"
            self.refusals.append(line)
            self._note(line)


class CudaBackend:
    """Capturing on a CUDA device.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs": warm-up on a side stream, a private pool.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = transfer.side_stream(device, "capture")

    @contextmanager
    def warm_up(self) -> Iterator[None]:
        """Run on a side stream, after queued work and before later work."""
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        try:
            with torch.cuda.stream(self._side):
                yield
        finally:  # what a step that fails has begun may still use memory that is then given away
            torch.cuda.current_stream(self._device).wait_stream(self._side)

    def capture(self, run: Callable[[], None]) -> Graph:
        """Capture a call with a memory pool of its own; torch registers the default generator, so dropout draws new values at each replay."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        streams = torch.cuda.current_stream(self._device), torch.cuda.current_stream()
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        generator = torch.cuda.default_generators[index]
        drawn = generator.clone_state()
        try:
            # Threads that decode may allocate pinned memory meanwhile, so only this one is held to the rules of capture.
            with torch.cuda.graph(graph, pool=pool, stream=self._side, capture_error_mode="thread_local"):
                run()
        except BaseException:
            for stream in streams:  # a capture that fails to end leaves its stream behind, and its device,
                torch.cuda.set_stream(stream)
            if _older_torch() and not _ended(graph):
                generator.graphsafe_set_state(drawn)
                _free(pool, index)
            graph.reset()  # its memory, and the generator in the middle of it
            raise
        return _CudaGraph(graph, self._device)


def _older_torch() -> bool:
    """Whether torch's `reset` leaves the memory and the generator of a capture that could not be ended.

    Torch 2.14 has mended both: https://github.com/pytorch/pytorch/pull/190348, https://github.com/pytorch/pytorch/pull/171265.
    """
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 14)


def _ended(graph: torch.cuda.CUDAGraph) -> bool:
    try:
        graph.pool()
    except RuntimeError:
        return False
    return True


def _free(pool: tuple[int, int], device: int) -> None:
    """Free the memory of a capture that could not be ended; until then no memory of the device is given back, and no other capture begins."""
    with suppress(RuntimeError):  # torch 2.12 and 2.13 have ended it: https://github.com/pytorch/pytorch/pull/180395
        torch._C._cuda_endAllocateToPool(device, pool)
    torch._C._cuda_releasePool(device, pool)


@dataclass(frozen=True)
class _CudaGraph:
    graph: torch.cuda.CUDAGraph
    device: torch.device

    def replay(self) -> None:
        self.graph.replay()

    def release(self) -> None:
        torch.cuda.synchronize(self.device)
        self.graph.reset()


def piece_sizes(images: int, pieces: int) -> tuple[int, ...]:
    """Return the sizes of so many parts of a batch, nearly one size; of each image where it has fewer."""
    pieces = min(pieces, images)
    return tuple(images // pieces + (number < images % pieces) for number in range(pieces))


def in_words(error: Exception) -> str:
    """Return the kind of an error and the first line of its message, without holding the error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no word'])[0]}"


def _copy_(inputs: Sequence[Batch], batches: Sequence[Batch]) -> None:
    for (own_x, own_targets), (x, targets) in zip(inputs, batches, strict=True):
        own_x.copy_(x, non_blocking=True)
        own_targets.copy_(targets, non_blocking=True)


def _is_alike(batch: Batch, other: Batch) -> bool:
    return all(mine.shape == its.shape and mine.dtype == its.dtype for mine, its in zip(batch, other, strict=True))
