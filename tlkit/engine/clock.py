"""The clock by which computations on the CPU are timed."""

from __future__ import annotations

import time

import torch


def now() -> float:
    """Return seconds: of processor time where torch computes with one thread, since other programs change that little, else of the wall clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
