"""A step on the toy backbone, random batches for it, and every tensor that it keeps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from toy_operators import FAKE
from toy_training import training

from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.step.graph import Captured
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.network.network import Network
from tlkit.plans.plan import Plan
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat

OPTIMIZERS = {
    "sgd": '{name="sgd", momentum=0.9, weight_decay=1e-3',
    "plain sgd": '{name="sgd", momentum=0.0',
    "nesterov": '{name="sgd", momentum=0.9, nesterov=true',
    "adam": '{name="adam", weight_decay=1e-3',
    "adamw": '{name="adamw"',
}
LATE_STEM = "freeze.stem={epochs=1}"
Taking = Step | Captured


def table(optimizer: str, *more: str) -> str:
    """A recipe's setting for an optimizer and further keys of its table."""
    return "optimizer=" + ", ".join([OPTIMIZERS[optimizer], *more]) + "}"


def made(recipe: Path, *settings: str, compute_format: ComputeFormat = PLAIN_FORMAT) -> tuple[Network, Plan]:
    """A network of the toy recipe, set to no phase yet, and its plan in a form."""
    mine = training(recipe, "lr_groups={backbone=3e-3, head=2e-2}", *settings)
    return mine.network, replace(mine.plan, compute_format=compute_format)


def batch(network: Network, plan: Plan, epoch: int = 1, *, images: int = 16, seed: int = 0, soft: bool = False) -> Batch:
    """Random pictures as the fixed prefix of an epoch's phase gives them, and random targets."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 3, 16, 16, generator=draw)
    x = x.contiguous(memory_format=torch.channels_last) if plan.compute_format.layout == "channels_last" else x
    device = network.head.weight.device
    with torch.no_grad():
        x = network.run(x.to(device), stop=len(plan.phase(epoch).prefix))
    labels = torch.randint(plan.classes, (images,), generator=draw)
    targets = torch.rand(images, plan.classes, generator=draw).softmax(1) if soft else labels
    return x, targets.to(device)


def group(network: Network, plan: Plan, epoch: int = 1, *, seed: int = 0) -> list[Batch]:
    """One full accumulation group."""
    return [batch(network, plan, epoch, seed=100 * seed + each) for each in range(plan.tables.optimizer.accumulate)]


def train(step: Taking, *, steps: int, epoch: int = 1, first: int = 0) -> None:
    """Take steps, each at a rate and on batches of its own."""
    whole = step.step if isinstance(step, Captured) else step
    for at in range(first, first + steps):
        whole.set_rates_(1 / (1 + at))
        step(group(whole.network, whole.plan, epoch, seed=at))


def still(network: Network) -> None:
    """Switch dropout off."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def everything(step: Step) -> dict[str, Tensor]:
    """Every tensor that outlives a step, by name."""
    parts = [step, step._sums, *([] if step._loss_scale is None else [step._loss_scale])]
    own = {name: value for each in parts for name, value in vars(each).items() if isinstance(value, Tensor)}
    grads = {f"grad of {p.name}": t.grad for p, t in step.network.owned() if t.grad is not None}
    rates = {f"rate of {name}": rate for name, rate in step.rates.items()}
    lists = {} if step.average is None else {f"weight {i}": t for i, t in enumerate(step.average._weights)}
    return {**step.network.tensors(), **step.state(), **rates, **own, **grads, **lists}


def addresses(step: Step) -> dict[str, int]:
    """Where every tensor is, but for gradients: they are dropped before each step, and a graph owns those that it made."""
    return {name: tensor.data_ptr() for name, tensor in everything(step).items() if not name.startswith("grad of ")}


def copies(step: Step) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in {**step.network.tensors(), **step.state()}.items()}


def assert_same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(mine[name], tensor), name


def there(network: Network, plan: Plan, ranks: Ranks = ALONE, domains: Callable[[], DomainLoss] | None = None) -> Step:
    """A step on a GPU that is not there, set to the first phase; `domains` makes its loss of adaptation once the network is there."""
    for module in network.modules():  # Module.to asks for a driver
        for name, tensor in module._parameters.items():
            module._parameters[name] = None if tensor is None else nn.Parameter(torch.empty_like(tensor, device=FAKE))
        for name, tensor in module._buffers.items():
            module._buffers[name] = None if tensor is None else torch.empty_like(tensor, device=FAKE)
    network.to = lambda **_: network
    step = Step(network, plan, FAKE, ranks=ranks, domains=None if domains is None else domains())
    step.begin_(1)
    step.set_rates_(1.0)
    return step


@dataclass
class Recorder:
    """A backend that writes down what is asked of it; the captures numbered in `failing` raise."""

    failing: dict[int, Exception] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)  # whether every group was capturable in a capture
    optimizer: torch.optim.Optimizer | None = None

    @contextmanager
    def warm_up(self) -> Iterator[None]:
        self.calls.append("warm up")
        yield

    def capture(self, run: Callable[[], None]) -> "Again":
        number = self.calls.count("capture")
        self.calls.append("capture")
        if self.optimizer is not None:
            self.seen.append(all(each["capturable"] for each in self.optimizer.param_groups))
        if number in self.failing:
            raise self.failing[number]
        return Again(run, self.calls)


@dataclass
class Again:
    run: Callable[[], None]
    calls: list[str]

    def replay(self) -> None:
        self.calls.append("replay")
        self.run()

    def release(self) -> None:
        self.calls.append("release")
