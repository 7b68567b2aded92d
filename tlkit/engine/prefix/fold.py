"""Fold BatchNorm into the convolution before it; the pairs are found by running an image through the stage.

The rule: only where a convolution's output goes to that BatchNorm and to nothing else, so that folding changes no value but
its rounding.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tlkit.engine import tf32

# A folded stage may differ from itself by so much, |folded - stage| / |stage| in float32, else it is left as it is.
# Rounding gives about 1e-6; what is above is a mistake about the stage.
TOLERANCE = 1e-4

Pair = tuple[str, str]  # names of a convolution and of the BatchNorm that it alone feeds


def folded(stage: nn.Module, x: Tensor, *, note: Callable[[str], None] = lambda _: None) -> nn.Module:
    """Return a copy of a stage with its BatchNorm layers folded; the stage itself if it has none, or the copy is not equal enough.

    Args:
        stage: Any module in eval mode; it is not changed.
        x: An input of it, float32; folding is checked on it.
        note: Called with a message if the copy is not equal enough.
    """
    try:
        with tf32.forbidden():  # rounding to TF32 differs by more than the tolerance
            changed, wrong = _try(stage, x)
    except Exception:  # a third party's stage may use its modules in ways of its own; unfolded it is right
        return stage
    if wrong <= TOLERANCE:
        return changed
    kept = sum(isinstance(each, nn.BatchNorm2d) for each in stage.modules())
    note(f"{kept} BatchNorm layers are not folded: the output would be {wrong:.0e} off, allowed is {TOLERANCE:.0e}")
    return stage


def foldable(stage: nn.Module, x: Tensor) -> tuple[int, int]:
    """Return how many BatchNorm layers of a stage fold into the convolution before them, and how many it has; on the meta device too.

    Args:
        stage: Any module in eval mode; it is not changed.
        x: An input of it.
    """
    norms = sum(isinstance(each, nn.BatchNorm2d) for each in stage.modules())
    try:
        return len(_pairs(stage, x)[0]), norms
    except Exception:  # as above
        return 0, norms


def _try(plain: nn.Module, x: Tensor) -> tuple[nn.Module, float]:
    """Return a folded copy, and its relative error against the stage."""
    pairs, expected = _pairs(plain, x)
    if not pairs:
        return plain, 0.0
    changed = copy.deepcopy(plain)
    for convolution, norm in pairs:
        _fold_(changed, convolution, norm)
    with torch.no_grad():
        return changed, relative_error(changed(x), expected)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return |found - expected| / |expected| (Euclidean norm over all values); infinite if a value is not finite."""
    difference = (found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30)
    return float(difference) if bool(torch.isfinite(difference)) else float("inf")


def _pairs(stage: nn.Module, x: Tensor) -> tuple[list[Pair], Tensor]:
    """Run a stage once; return the (convolution, BatchNorm) pairs that may be folded, and the output."""
    watch = _Watch()
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
    handles = [
        module.register_forward_hook(
            lambda _, inputs, output, name=name: calls.setdefault(name, []).append((inputs[0], output))
        )
        for name, module in stage.named_modules()
        if isinstance(module, nn.Conv2d) or _foldable(module)
    ]
    try:
        with torch.no_grad(), watch:
            output = stage(x)
    finally:
        for handle in handles:
            handle.remove()
    once = {name: each[0] for name, each in calls.items() if len(each) == 1}
    made_by = {id(made): name for name, (_, made) in once.items() if isinstance(stage.get_submodule(name), nn.Conv2d)}
    pairs = [
        (made_by[id(taken)], name)
        for name, (taken, _) in once.items()
        if _foldable(stage.get_submodule(name)) and id(taken) in made_by and watch.used(taken) == 1 and taken is not output
    ]
    named = list(stage.named_modules(remove_duplicate=False))
    times = Counter(id(module) for _, module in named)
    shared = {name for name, module in named if times[id(module)] > 1}
    return [pair for pair in pairs if not shared & set(pair)], output


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Count how many operators read each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's __init__ has no types
        self._uses: dict[int, int] = {}
        self._alive: list[Tensor] = []  # so that no two tensors share an id

    def used(self, tensor: Tensor) -> int:
        """Return how many operators read a tensor."""
        return self._uses.get(id(tensor), 0)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator and count what it takes."""
        out = func(*args, **(kwargs or {}))
        for leaf in {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}.values():
            self._uses[id(leaf)] = self._uses.get(id(leaf), 0) + 1
            self._alive.append(leaf)
        return out


def _foldable(module: nn.Module) -> bool:
    """Return whether a module is a BatchNorm with fixed statistics; a subclass only if it ends in `drop` and `act`, as timm's does."""
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return False
    return type(module) is nn.BatchNorm2d or _rest(module) is not None


def _rest(norm: nn.BatchNorm2d) -> list[nn.Module] | None:
    rest = [getattr(norm, name, None) for name in ("drop", "act")]
    return [each for each in rest if isinstance(each, nn.Module)] if all(isinstance(each, nn.Module) for each in rest) else None


def _fold_(stage: nn.Module, convolution: str, norm: str) -> None:
    """Scale a convolution's filters and bias in place, and replace the BatchNorm by what follows it.

    y = (w * x + b - mean) / sqrt(var + eps) * gamma + beta, Ioffe & Szegedy 2015, arXiv:1502.03167, alg. 2; computed in float64.
    """
    conv, bn = stage.get_submodule(convolution), stage.get_submodule(norm)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_mean is not None  # says _foldable
    assert bn.running_var is not None
    scale = (bn.running_var.double() + bn.eps).rsqrt()  # (C,)
    if bn.weight is not None:
        scale = scale * bn.weight.double()
    bias = -bn.running_mean.double() if conv.bias is None else conv.bias.double() - bn.running_mean.double()
    bias = bias * scale if bn.bias is None else bias * scale + bn.bias.double()
    weight = conv.weight.detach().double().mul_(scale[:, None, None, None])  # (C, in, h, w)
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    rest = [] if type(bn) is nn.BatchNorm2d else _rest(bn) or []
    parent, _, name = norm.rpartition(".")
    stage.get_submodule(parent).add_module(name, (nn.Sequential(*rest) if rest else nn.Identity()).eval())
