"""Scale the loss so that gradients in float16 do not vanish; the scale is kept and adjusted on the device.

The rule: torch's own operators and constants, those of torch.amp.GradScaler, but every tensor keeps its address and nothing outside the
tensors changes from step to step, so a captured step scales as one that is not.

Source: Micikevicius et al. 2018, arXiv:1710.03740, sections 3.2 and 4; https://docs.pytorch.org/docs/stable/amp.html, "Gradient Scaling"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_PREFIX = "loss_scale/"
_FIRST = 2.0**16
_GROWTH, _BACKOFF = 2.0, 0.5  # after so many steps without an overflow, and after one that has
_INTERVAL = 2000  # steps


class LossScale:
    """The factor of the loss: halved after a step whose gradients overflow, which is not taken, and doubled after 2000 that do not.

    Args:
        device: The device of the network.
    """

    def __init__(self, device: torch.device) -> None:
        self._scale = torch.full((), _FIRST, dtype=torch.float32, device=device)
        self._steps = torch.zeros((), dtype=torch.int32, device=device)  # without an overflow
        self._overflow = torch.zeros((), dtype=torch.float32, device=device)  # 1 if the last step had one
        self._inverse = torch.zeros((), dtype=torch.float32, device=device)
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return a loss times the scale."""
        return loss * self._scale

    @torch.no_grad()
    def unscale_(self, grads: Sequence[Tensor]) -> None:
        """Divide gradients by the scale, and find out whether one is not finite."""
        self._overflow.zero_()
        self._inverse.copy_(self._scale.double().reciprocal())
        torch._amp_foreach_non_finite_check_and_unscale_(list(grads), self._overflow, self._inverse)

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's step unless a gradient overflowed, which its fused kernel asks on the device, and change the scale."""
        optimizer.grad_scale, optimizer.found_inf = None, self._overflow  # type: ignore[attr-defined]  # read by fused kernels
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]  # likewise
        self._skipped += self._overflow.long()
        torch._amp_update_scale_(self._scale, self._steps, self._overflow, _GROWTH, _BACKOFF, _INTERVAL)

    def clear_(self) -> None:
        """Count skipped steps from here on."""
        self._skipped.zero_()

    def skipped(self) -> int:
        """Read from the device how many steps were not taken since `clear_`."""
        return int(self._skipped)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs, by name; they are not copies."""
        return {f"{_PREFIX}scale": self._scale, f"{_PREFIX}steps": self._steps}

    def epoch_state(self) -> dict[str, Tensor]:
        """Return the number of skipped steps since `clear_`, by name; it is not a copy."""
        return {f"{_PREFIX}skipped": self._skipped}

    def load_state_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the scale to what `state` returned, in place; other names are ignored.

        Raises:
            KeyError: a tensor is not there.
        """
        for name, own in self.state().items():
            own.copy_(tensors[name])
