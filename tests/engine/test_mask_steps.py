"""The loss of a training step on masks is a mean over the pixels that count, of all its batches and processes together."""

from pathlib import Path

import pytest
import torch
import toy_masks
import toy_two_processes
from torch import Tensor
from torch.nn import functional
from toy_step import still
from toy_training import CPU, training

from tlkit.engine.ranks import shares
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.plugin import IGNORED

PLAIN = ("data.crop_size=16", 'optimizer={name="sgd", momentum=0.0, accumulate=2}', 'backbone.batch_norm="running"')
DICE = 0.7
FOCAL = 2.0


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return toy_masks.recipe(tmp_path, monkeypatch)


def made(recipe: Path, *settings: str, ranks: Ranks = ALONE) -> Step:
    mine = training(recipe, *PLAIN, *settings, keep=False)
    still(mine.network)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a head begins with zeros, and passes no gradient
        for tensor in mine.network.head.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=draw))
    step = Step(mine.network, mine.plan, CPU, ranks=ranks)
    step.begin_(1)
    step.set_rates_(1.0)
    return step


def drawn() -> list[Batch]:
    """Two batches of four pictures, of which more and more is ignored: all of the last."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(8, 3, 16, 16, generator=draw)
    masks = torch.randint(0, 2, (len(x), 16, 16), generator=draw, dtype=torch.uint8)
    for index, mask in enumerate(masks):
        mask[: 2 * (index + 1)] = IGNORED
    masks[-1] = IGNORED
    return [(x[:4], masks[:4]), (x[4:], masks[4:])]


def expected(recipe: Path, *, dice: float = 0.0, focal: float = 0.0) -> tuple[dict[str, Tensor], float]:
    """Gradients in plain PyTorch, and the loss: cross-entropy and focal loss of one large batch, and Dice of each of two."""
    network = made(recipe).network
    x, masks = (torch.cat(each) for each in zip(*drawn(), strict=True))
    there = masks != IGNORED
    logit = network(x)[:, 1]  # beside zeros for the first class
    each = functional.binary_cross_entropy_with_logits(logit[there], masks[there].float(), reduction="none")
    loss = (each + focal * (1 - (-each).exp()) ** 2 * each).mean()
    for part in (slice(0, 4), slice(4, 8)) if dice else ():
        inside = there[part]
        shown, known = logit[part][inside].sigmoid(), masks[part][inside].float()
        part_loss = 1 - (2 * (shown * known).sum() + 1) / (shown.sum() + known.sum() + 1)
        loss = loss + dice * part_loss * inside.sum() / there.sum()
    loss.backward()
    return {p.name: t.grad for p, t in network.owned() if t.grad is not None}, loss.item()


def assert_near(step: Step, gradients: dict[str, Tensor], loss: float) -> None:
    found = {p.name: t.grad for p, t in step.network.owned() if t.grad is not None}
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert step.sums().loss / 8 == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("dice", [0.0, DICE])
def test_batches_that_are_accumulated_count_by_their_pixels(recipe: Path, dice: float) -> None:
    step = made(recipe, f"loss.dice={dice}", f"loss.focal={FOCAL}")
    step(drawn())
    assert_near(step, *expected(recipe, dice=dice, focal=FOCAL))


def test_two_processes_take_the_step_of_one(recipe: Path) -> None:
    """The second process has one picture of the last batch, and all of it is ignored: it counts for nothing, and Dice is of all pixels."""

    def take(step: Step, ranks: Ranks) -> None:
        own = []
        for number, (x, masks) in enumerate(drawn()):
            mine = shares.share(len(x), ranks.rank, 2)
            at = slice(0, 3) if ranks.rank == 0 else slice(3, 4)
            own.append((x[at], masks[at]) if number else (x[mine.start : mine.stop], masks[mine.start : mine.stop]))
        step(own, shares.Whole((4, 4), (2, 3 if ranks.rank == 0 else 1)))

    gradients, loss = expected(recipe, dice=DICE)
    for step in toy_two_processes.at_once(lambda ranks: made(recipe, f"loss.dice={DICE}", ranks=ranks), take):
        assert_near(step, gradients, loss)
