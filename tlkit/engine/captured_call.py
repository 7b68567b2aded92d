"""A function of one tensor as a captured graph: the same operators on the same memory for every input of one shape.

The rule: what cannot be captured runs as it is, and says why.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tlkit.engine.step.graph import Backend, Graph, in_words
from tlkit.engine.step.host_reads import HostReads

Outputs = tuple[Tensor, ...]


class CapturedCall:
    """A function that replays a graph for inputs like the first one, and runs as it is for others.

    Args:
        function: From a tensor to tensors; reads nothing from the device.
        backend: Of the device that the tensors are on.
        example: An input; what follows has its shape, its type and its memory format.
        what: Runs, in the message.
        note: Called with a message if the function cannot be captured.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Outputs],
        backend: Backend,
        example: Tensor,
        *,
        what: str,
        note: Callable[[str], None],
    ) -> None:
        self._function = function
        self._outputs: Outputs = ()
        self._graph: Graph | None = None
        self._input: Tensor | None = None
        # Evaluation may come first, and what it makes in its mode could not be written to in training.
        with torch.inference_mode(False), torch.no_grad():
            refusal = self._capture(backend, example)
        if refusal:
            note(f"{what} runs without a captured graph: {refusal}")

    def __call__(self, x: Tensor) -> Outputs:
        """Return the function's outputs, in memory of their own."""
        own = self._input
        if self._graph is None or own is None or x.shape != own.shape or x.dtype != own.dtype:
            return self._function(x)
        own.copy_(x, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)

    def release(self) -> None:
        """Free the graph's memory; the function runs as it is from now on."""
        graph, self._graph, self._input, self._outputs = self._graph, None, None, ()
        if graph is not None:
            graph.release()

    def _capture(self, backend: Backend, example: Tensor) -> str:
        """Capture the function after one call of it; return why that cannot be done, empty where it can."""
        try:
            own = torch.empty_like(example)
            own.copy_(example)
            with backend.warm_up(), HostReads() as reads:
                self._function(own)
            if reads.found:
                return f"it waits for the device at {reads.found[0]}"

            def run() -> None:
                self._outputs = self._function(own)

            self._graph, self._input = backend.capture(run), own
        except Exception as error:  # whatever it is, the function can still be called
            self._outputs = ()
            return in_words(error)
        return ""
