"""Where the time of a training step goes, and what it could be at best: each operator beside its limit on this machine.

    python -m benchmarks.limits mobilenet_v2 [timm:vit_tiny_patch16_224 ...] [--side 224] [--batch 16] [--steps 5] [--top 8]
        [--shapes] [--format "bfloat16 channels_last"] [--json]

The engine's step trains everything on noise. Each operator that torch runs in it is timed, with its tensors and its operations. An operator's
limit is the longer of two times: its operations at the measured rate of a matrix product in its precision, and the bytes of its inputs
and outputs, each read or written once, at the measured rate of memory. So a limit is no forecast: an operator whose tensors lie in the
cache can be faster. "step" is the time without this timing; the rest of it is Python, autograd and allocation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import tlkit
from benchmarks import machine
from tlkit import machine as held
from tlkit.engine.step.step import Step
from tlkit.network import building
from tlkit.plans.plan import Plan
from tlkit.plugin import Backbone, Head, registry
from tlkit.record.formats import COMPUTE_FORMATS, ComputeFormat
from tlkit_heads import LinearOptions

# Views, and what only allocates: no bytes are moved.
_FREE = {"view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "detach", "alias", "as_strided", "unbind",
         "split", "unsqueeze", "squeeze", "empty", "empty_like", "_reshape_alias", "split_with_sizes", "new_empty", "empty_strided",
         "new_empty_strided", "lift_fresh", "unfold"}  # fmt: skip
_COPY = 256 * 2**20  # bytes of the tensor whose copy gives the rate of memory: eight times the largest cache here
RECIPE = """
format = 1
name = "limits"
[backbone]
name = "{backbone}"
weights = "none"
[data]
name = "synthetic"
image_size = {side}
batch_size = {batch}
[lr_groups]
backbone = 1e-6
head = 1e-6
[optimizer]
name = "sgd"
[schedule]
name = "cosine"
epochs = 1
"""


@dataclass
class Operator:
    """An operator on tensors of some shapes, over a step.

    Attributes:
        name: Of the operator, with the kind of convolution.
        shapes: Of its largest tensors.
        seconds: The least of a step.
        limit: Seconds that it would take at the machine's rates.
        calls: In a step.
        bound: "memory" or "product", whichever is its limit.
    """

    name: str
    shapes: str
    seconds: float = 0.0
    limit: float = 0.0
    calls: int = 0
    bound: str = "memory"


@dataclass(frozen=True)
class Rates:
    """What the machine can do.

    Attributes:
        product: Operations a second of a matrix product, by precision.
        memory: Bytes a second of a copy of a tensor much larger than the caches, read and written ones together.
    """

    product: Mapping[str, float]
    memory: float


@dataclass(frozen=True)
class Profile:
    """The step of a network.

    Attributes:
        network: Its name.
        compute_format: Precision and memory format of the step.
        step: Seconds of the step without timing of operators, the least.
        operators: Slowest first.
    """

    network: str
    compute_format: ComputeFormat
    step: float
    operators: Sequence[Operator]

    def by_name(self) -> list[Operator]:
        """Return the sums over all shapes, slowest first."""
        sums: dict[str, Operator] = {}
        for one in self.operators:
            total = sums.setdefault(one.name, Operator(one.name, "", bound=one.bound))
            total.seconds += one.seconds
            total.limit += one.limit
            total.calls += one.calls
        return sorted(sums.values(), key=lambda one: -one.seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", help="backbones")
    parser.add_argument("--side", type=int, default=224, help="of a picture, pixels (224)")
    parser.add_argument("--batch", type=int, default=16, help="pictures of a step (16)")
    parser.add_argument("--steps", type=int, default=5, help="that are timed, of which the least counts (5)")
    parser.add_argument("--top", type=int, default=8, help="rows of each table (8)")
    parser.add_argument("--format", default="bfloat16 channels_last", help="precision and memory format")
    parser.add_argument("--shapes", action="store_true", help="a row for each shape, not for each operator")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    compute_format = next((each for each in COMPUTE_FORMATS if str(each) == options.format), None)
    if compute_format is None:
        parser.error(f"--format: {options.format!r} is not one of {', '.join(map(str, COMPUTE_FORMATS))}")
    held.keep_blocks()  # as the command line does
    found = rates()
    if not options.json:
        products = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in found.product.items())
        print(f"matrix product {products}; memory {found.memory / 1e9:.1f} GB/s\n")
    for name in options.networks:
        made = profile(name, found, side=options.side, batch=options.batch, steps=options.steps, compute_format=compute_format)
        rows = list(made.operators if options.shapes else made.by_name())
        if options.json:
            print(json.dumps({"network": name, "step": made.step, "operators": [vars(each) for each in rows]}), flush=True)
        else:
            print(_table(made, rows[: options.top], side=options.side, batch=options.batch), flush=True)


def rates() -> Rates:
    """Measure this machine; the best of several, since a limit is what is possible."""
    product = {name: max(machine.rate(name) for _ in range(3)) for name in ("float32", "bfloat16")}
    source = torch.randn(_COPY // 4)
    target = torch.empty_like(source)
    seconds = [_seconds(lambda: target.copy_(source)) for _ in range(8)]
    return Rates(product, 2 * _COPY / min(seconds))


def profile(name: str, found: Rates, *, side: int, batch: int, steps: int, compute_format: ComputeFormat) -> Profile:
    """Time the operators of a training step, after two steps of warming up.

    Args:
        name: The backbone.
        found: The machine's rates.
        side: Of a picture, pixels.
        batch: Pictures of a step.
        steps: That are timed.
        compute_format: Precision and memory format.
    """
    call = training_step(name, side=side, batch=batch, compute_format=compute_format)
    for _ in range(2):
        call()
    step = min(_seconds(call) for _ in range(steps))
    taken = []
    for _ in range(steps):
        with _Timed(found) as timed:
            call()
        taken.append(timed.operators)
    whole = taken[0]
    for key, one in whole.items():
        one.seconds = min(each[key].seconds for each in taken if key in each)
    return Profile(name, compute_format, step, sorted(whole.values(), key=lambda one: -one.seconds))


def training_step(name: str, *, side: int, batch: int, compute_format: ComputeFormat) -> Callable[[], None]:
    """Return the engine's step of a network that is wholly trained, on one batch of noise."""
    plan = plan_of(name, side=side, batch=batch)
    backbone = registry.get(Backbone, plan.tables.backbone.name)
    made = building.build(
        backbone, registry.get(Head, "linear"), classes=plan.classes, backbone_options=_options(backbone, plan),
        head_options=LinearOptions(), seed=0, image_size=plan.image_size,
    )  # fmt: skip
    step = Step(made, replace(plan, compute_format=compute_format), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, *plan.image_size, generator=generator)
    labels = torch.randint(plan.classes, (batch,), generator=generator)
    step.begin_(1)
    step.set_rates_(1.0)
    return lambda: step([(x, labels)])


def plan_of(name: str, *, side: int, batch: int) -> Plan:
    """Return the plan of a recipe that trains everything."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "limits.toml"
        path.write_text(RECIPE.format(backbone=name, side=side, batch=batch))
        return tlkit.plan(path)["main"]


def _options(backbone: Backbone, plan: Plan) -> Any:
    from tlkit.recipe import parsing

    return parsing.options(backbone.options, plan.tables.backbone.options, place="backbone.options")


class _Timed(TorchDispatchMode):
    """Times each operator below autograd and autocast, and works out its limit."""

    def __init__(self, found: Rates) -> None:
        super().__init__()
        self.operators: dict[tuple[str, str], Operator] = {}
        self._rates = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        began = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - began
        name = func.__name__.partition(".")[0]
        if name in _FREE:
            return out
        inputs = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        outputs = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        by_bytes = sum(map(_bytes, inputs + outputs)) / self._rates.memory
        by_product = self._operations(func, args, kwargs, out) / self._rates.product[_precision(inputs)]
        largest = sorted(inputs, key=lambda each: -each.numel())[:2]
        kind = _kind(name, args)
        key = kind, " ".join("x".join(map(str, each.shape)) for each in largest)
        one = self.operators.setdefault(key, Operator(*key, bound="product" if by_product > by_bytes else "memory"))
        one.seconds += seconds
        one.limit += max(by_bytes, by_product)
        one.calls += 1
        return out

    @staticmethod
    def _operations(func: Any, args: Any, kwargs: Any, out: Any) -> float:
        name = func.__name__
        if name.startswith("convolution_backward"):  # torch's own count forgets the groups
            gradient, weight, mask = args[0], args[2], args[10]
            return 2.0 * gradient.numel() * weight[0].numel() * sum(mask[:2])
        if name.startswith("convolution"):
            return 2.0 * out.numel() * args[1][0].numel()
        count = flop_registry.get(func._overloadpacket)
        return 0.0 if count is None else float(count(*args, **kwargs, out_val=out))


def _kind(name: str, args: Sequence[Any]) -> str:
    """Return an operator's name, with the kind of a convolution."""
    if not name.startswith("convolution"):
        return name
    back = name.endswith("backward")
    weight, stride, groups = (args[2], args[4], args[9]) if back else (args[1], args[3], args[8])
    window = "x".join(map(str, weight.shape[2:]))
    depthwise = "depthwise " if groups > 1 and groups == weight.shape[0] else f"{groups} groups " if groups > 1 else ""
    return f"{'gradients of ' if back else ''}{depthwise}{window} convolution{'' if max(stride) == 1 else f', stride {max(stride)}'}"


def _bytes(tensor: Tensor) -> int:
    """Return the bytes that a tensor really holds: an expanded dimension has one value."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count * tensor.element_size()


def _precision(tensors: Sequence[Tensor]) -> str:
    return "bfloat16" if any(each.dtype == torch.bfloat16 for each in tensors) else "float32"


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _table(made: Profile, rows: Sequence[Operator], *, side: int, batch: int) -> str:
    total, limit = (sum(getattr(one, name) for one in made.operators) for name in ("seconds", "limit"))
    lines = [
        f"{made.network}, {side} px, batch {batch}, {made.compute_format}, {torch.get_num_threads()} threads: step {made.step * 1e3:.0f} ms, "
        f"operators {total * 1e3:.0f} ms, their limit {limit * 1e3:.0f} ms ({made.step / limit:.1f} times)",
        "",
        "| operator | calls | ms | part | limit, ms | times its limit | bound by |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        what = f"{one.name} {one.shapes}".strip()
        times = f"{one.seconds / one.limit:.1f}" if one.limit else ""
        lines.append(
            f"| {what} | {one.calls} | {one.seconds * 1e3:.1f} | {one.seconds / total:.0%} | {one.limit * 1e3:.1f} | {times} | {one.bound} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
