"""Move arrays from the host to a device while it computes: from pinned memory, without waiting, on a stream for copies alone.

The rule: what reads ahead yields the same tensors in the same order as reading them one by one.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]
Fetch = Callable[[Indices, Tensor], None]  # which rows, and where they go: (n, ...) on the host

DEPTH = 3  # batches that are read ahead, each with a buffer of its own
_POLL = 0.1  # seconds after which a thread looks whether it is still needed


class Copied(Protocol):
    """A copy that was begun."""

    def synchronize(self) -> None:
        """Wait on the host until it is done."""


class Copier(Protocol):
    """What reading ahead needs from a device."""

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory of the host that the device can copy from by itself."""

    def copy(self, host: Tensor) -> tuple[Tensor, Copied]:
        """Begin to copy a tensor to the device."""

    def use(self, there: Tensor, copied: Copied) -> None:
        """Let what is computed from now on wait for a copy."""


class CudaCopier:
    """Copies on a stream of their own.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = side_stream(device, "copies")

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return pinned memory."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def copy(self, host: Tensor) -> tuple[Tensor, Copied]:
        """Begin a copy, and mark its end by an event."""
        with torch.cuda.stream(self._stream):
            there = host.to(self._device, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            event.record(self._stream)
        return there, event

    def use(self, there: Tensor, copied: Copied) -> None:
        """Let the current stream wait for the event, and keep the memory until that stream has used it."""
        current = torch.cuda.current_stream(self._device)
        assert isinstance(copied, torch.cuda.Event)
        current.wait_event(copied)
        there.record_stream(current)


class PlainCopier:
    """Copies of a device that has no streams: each is done when `copy` returns."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return ordinary memory."""
        return torch.empty(shape, dtype=dtype)

    def copy(self, host: Tensor) -> tuple[Tensor, Copied]:
        """Copy."""
        return host.to(self._device, copy=True), _Done()

    def use(self, there: Tensor, copied: Copied) -> None:
        """Do nothing: it is there."""


class _Done:
    def synchronize(self) -> None:
        pass


@cache
def side_stream(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """Return the one stream of a device for a purpose: each stream has a memory pool of its own."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def copier(device: torch.device) -> Copier:
    """Return what copies to a device."""
    return CudaCopier(device) if device.type == "cuda" else PlainCopier(device)


def upload(array: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Return an array on a device, without waiting for it where it is a CUDA one."""
    host = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return host.to(device)
    return pinned(host).to(device, non_blocking=True)


def pinned(host: Tensor) -> Tensor:
    """Return a copy in pinned memory, which torch gives to nobody else before copies from it are done."""
    return host.pin_memory()


def beside(made: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield what an iterator makes; each tensor is computed on a stream of its own, while the one before it is used.

    The current stream waits for a tensor before it uses it. A tensor is begun when the current stream has done all that it was given until
    then, so that memory that was freed until then can be used again.

    Args:
        made: Computes a tensor when it is asked for one.
        device: A CUDA device.
    """
    side = side_stream(device, "inputs")

    def begin() -> tuple[Tensor, torch.cuda.Event] | None:
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for x in made:
                done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                done.record(side)
                return x, done
        return None

    try:
        coming = begin()
        while coming is not None:
            x, done = coming
            torch.cuda.current_stream(device).wait_event(done)
            coming = begin()
            yield x
            del x
    finally:
        torch.cuda.current_stream(device).wait_stream(side)  # what it still reads may be freed and used again


def to_host(made: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield tensors of a device on the host, in order; of a CUDA device each comes to pinned memory while the next one is computed.

    Args:
        made: Computes a tensor when it is asked for one.
        device: That the tensors are on.
    """
    if device.type != "cuda":
        yield from (x.cpu() for x in made)
        return
    before: tuple[Tensor, torch.cuda.Event] | None = None
    for x in made:
        host = _page_locked(x).copy_(x, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        done.record(torch.cuda.current_stream(device))
        del x
        if before is not None:
            before[1].synchronize()
            yield before[0]
        before = host, done
    if before is not None:
        before[1].synchronize()
        yield before[0]


def _page_locked(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True)


def ahead(
    fetch: Fetch, chosen: Iterable[Indices], *, rows: int, shape: tuple[int, ...], dtype: torch.dtype, copier: Copier
) -> Iterator[Tensor]:
    """Yield rows (n, *shape) on a device: a thread reads the next ones, and their copy runs while the device computes.

    Args:
        fetch: Reads rows into memory of the host; called from one thread, in order.
        chosen: Which rows each tensor has.
        rows: The most of any.
        shape: Of one row.
        dtype: Of a row.
        copier: Of the device.
    """
    free: queue.Queue[tuple[Tensor, Copied | None]] = queue.Queue()
    filled: queue.Queue[tuple[Tensor, int] | BaseException | None] = queue.Queue()
    stop = threading.Event()
    for _ in range(DEPTH):
        free.put((copier.buffer((rows, *shape), dtype), None))
    reader = threading.Thread(target=_read, args=(fetch, iter(chosen), free, filled, stop), daemon=True)
    reader.start()
    flying: deque[tuple[Tensor, Copied]] = deque()
    try:
        ended, failure = False, None
        while flying or not ended:
            while not ended and len(flying) < DEPTH and (not flying or not filled.empty()):
                item = filled.get()
                if item is None or isinstance(item, BaseException):
                    ended, failure = True, item
                    break
                buffer, count = item
                there, copied = copier.copy(buffer[:count])
                free.put((buffer, copied))
                flying.append((there, copied))
            if flying:
                there, copied = flying.popleft()
                copier.use(there, copied)
                yield there
        if failure is not None:
            raise failure
    finally:
        stop.set()
        reader.join()


def _read(
    fetch: Fetch,
    chosen: Iterator[Indices],
    free: queue.Queue[tuple[Tensor, Copied | None]],
    filled: queue.Queue[tuple[Tensor, int] | BaseException | None],
    stop: threading.Event,
) -> None:
    """Fill buffers, each when the copy from it is done, until told to stop."""
    try:
        with (
            torch.inference_mode()
        ):  # a thread has a mode of its own, and evaluation's buffers can be written to in this one alone
            for indices in chosen:
                buffer = None
                while buffer is None:
                    if stop.is_set():
                        return
                    try:
                        buffer, copied = free.get(timeout=_POLL)
                    except queue.Empty:
                        continue
                    if copied is not None:
                        copied.synchronize()
                fetch(indices, buffer[: len(indices)])
                filled.put((buffer, len(indices)))
        filled.put(None)
    except BaseException as error:  # whatever it is, who waits for the rows gets it
        filled.put(error)
