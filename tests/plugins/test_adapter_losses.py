"""Losses of trained domain adaptation: each against loops in numpy and float64, cases worked by hand, and finite differences."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tlkit_adapters import cdan, dann, mcc, mdd, mmd, mme, reversal, shot

DRAW = np.random.default_rng(0)
Array = np.ndarray


def logits(images: int = 6, classes: int = 4) -> Array:
    return DRAW.normal(size=(images, classes)) * 2


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def entropies(p: Array) -> Array:
    return np.array([-sum(v * math.log(v) for v in row) for row in p])


def tensor(x: Array) -> Tensor:
    return torch.tensor(x, requires_grad=x.dtype.kind == "f")


def slopes(function: Callable[[Array], float], x: Array, step: float = 1e-6) -> Array:
    """The gradient by central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        found[place] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return found


# ---- MCC


def confusion(z: Array, temperature: float, certain: Array | None = None) -> float:
    """The class confusion by loops; the images' weights may be held."""
    p = softmax(z / temperature)
    images, classes = p.shape
    raw = 1 + np.exp(-entropies(p)) if certain is None else certain
    weight = images * raw / raw.sum()
    total = 0.0
    for j in range(classes):
        row = [sum(weight[i] * p[i, j] * p[i, k] for i in range(images)) for k in range(classes)]
        total += sum(value for k, value in enumerate(row) if k != j) / sum(row)
    return total / classes


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_mcc_is_the_confusion_by_loops(temperature: float) -> None:
    z = logits()
    x = tensor(z)
    found = mcc.loss(x, temperature=temperature)
    assert found.item() == pytest.approx(confusion(z, temperature), rel=1e-12)
    found.backward()
    held = 1 + np.exp(-entropies(softmax(z / temperature)))  # constants of the gradient
    expected = slopes(lambda moved: confusion(moved, temperature, held), z)
    np.testing.assert_allclose(x.grad, expected, atol=1e-8)


def test_mcc_of_two_images_by_hand() -> None:
    """Predictions (0.8, 0.2) and (0.2, 0.8): equally sure, so C = [[0.68, 0.32], [0.32, 0.68]], and 0.32 of each row lies beside."""
    z = torch.tensor([[0.8, 0.2], [0.2, 0.8]]).log()
    assert mcc.loss(z, temperature=1.0).item() == pytest.approx(0.32, rel=1e-6)


def test_mcc_is_0_for_sure_images_and_largest_for_images_that_say_nothing() -> None:
    assert mcc.loss(torch.tensor([[400.0, 0.0, 0.0], [0.0, 400.0, 0.0], [0.0, 0.0, 400.0]])).item() == pytest.approx(
        0, abs=1e-6
    )
    assert mcc.loss(torch.zeros(5, 3)).item() == pytest.approx(2 / 3)


def test_mcc_is_a_number_where_no_image_may_be_of_a_class() -> None:
    """The third class has a probability of 0 in float32; of the others 0.32 of each row lies beside, as in the case by hand."""
    z = torch.tensor([[0.8, 0.2, 1.0], [0.2, 0.8, 1.0]]).log() + torch.tensor([0.0, 0.0, -1000.0])
    z.requires_grad_()
    found = mcc.loss(z, temperature=1.0)
    assert found.item() == pytest.approx(0.64 / 3, rel=1e-6)
    found.backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


# ---- gradient reversal


def test_reversal_keeps_values_and_turns_gradients_round() -> None:
    """Against finite differences of the function without a reversal."""
    x, w = DRAW.normal(size=(3, 4)), DRAW.normal(size=(4, 2))

    def plain(moved: Array) -> float:
        return float(np.tanh(moved @ w).sum())

    features, factor = tensor(x), torch.tensor(0.3, dtype=torch.float64)
    after = reversal.reverse(features, factor)
    assert torch.equal(after, features)
    torch.tanh(after @ torch.tensor(w)).sum().backward()
    np.testing.assert_allclose(features.grad, -0.3 * slopes(plain, x), atol=1e-8)


def test_reversal_follows_its_factor_without_a_new_graph_of_python() -> None:
    features, factor = torch.ones(2, requires_grad=True), torch.tensor(0.0)
    for value in (0.0, 0.5, 1.0):
        factor.fill_(value)
        features.grad = None
        reversal.reverse(features, factor).sum().backward()
        assert features.grad.tolist() == [-value, -value]


# ---- MME, SHOT


def test_mme_is_the_negative_mean_entropy() -> None:
    z = logits()
    assert mme.loss(tensor(z)).item() == pytest.approx(-entropies(softmax(z)).mean(), rel=1e-12)
    assert mme.loss(torch.zeros(3, 8)).item() == pytest.approx(-math.log(8))


def test_mme_moves_the_classifier_towards_the_target_and_the_target_towards_the_classifier() -> None:
    features = torch.tensor(DRAW.normal(size=(5, 3)), requires_grad=True)
    classifier = torch.tensor(DRAW.normal(size=(3, 4)), requires_grad=True)

    def uncertainty(x: Tensor, w: Tensor) -> float:
        return float(entropies(softmax((x @ w).detach().numpy())).mean())

    mme.loss(reversal.reverse(features, torch.ones((), dtype=torch.float64)) @ classifier).backward()
    assert features.grad is not None
    assert classifier.grad is not None
    before = uncertainty(features, classifier)
    assert uncertainty(features, classifier - 1e-3 * classifier.grad) > before
    assert uncertainty(features - 1e-3 * features.grad, classifier) < before


def test_shot_is_information_and_pseudo_labels() -> None:
    z, labels = logits(), np.array([0, 1, 2, 3, 0, 1])
    p = softmax(z)
    mean = p.mean(0)
    information = entropies(p).mean() + sum(value * math.log(value) for value in mean)
    told = np.mean([-math.log(p[i, label]) for i, label in enumerate(labels)])
    assert shot.information(tensor(z)).item() == pytest.approx(information, rel=1e-12)
    assert shot.loss(tensor(z), torch.tensor(labels), beta=0.3).item() == pytest.approx(information + 0.3 * told, rel=1e-12)


def test_shot_is_least_for_sure_images_of_all_classes() -> None:
    assert shot.information(100 * torch.eye(4)).item() == pytest.approx(-math.log(4))
    assert shot.information(torch.tensor([[100.0, 0, 0, 0]] * 4)).item() == pytest.approx(0, abs=1e-5)  # all of one class


# ---- MMD


def discrepancy(x: Array, y: Array) -> float:
    both = np.concatenate([x, y])
    squares = [((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j]
    width = float(np.mean(squares))

    def kernel(a: Array, b: Array) -> float:
        square = float(((a - b) ** 2).sum())
        return sum(math.exp(-square / (2.0**power * width)) for power in (-2, -1, 0, 1, 2)) / 5

    def among(z: Array) -> float:
        return float(np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]))

    return among(x) + among(y) - 2 * float(np.mean([kernel(a, b) for a in x for b in y]))


def test_mmd_is_the_discrepancy_by_loops() -> None:
    x, y = DRAW.normal(size=(5, 3)), DRAW.normal(size=(7, 3)) + 1
    assert mmd.loss(tensor(x), tensor(y)).item() == pytest.approx(discrepancy(x, y), rel=1e-10)


def test_mmd_of_features_that_are_all_the_same_is_0() -> None:
    assert mmd.loss(torch.ones(4, 3), torch.ones(5, 3)).item() == pytest.approx(0, abs=1e-6)


def test_following_mmds_gradient_brings_domains_together() -> None:
    x, y = torch.tensor(DRAW.normal(size=(40, 2))), torch.tensor(DRAW.normal(size=(40, 2)) + 2, requires_grad=True)
    mmd.loss(x, y).backward()
    assert (y.grad.mean(0) > 0).all()  # a step against it moves the target back by its shift


# ---- DANN, CDAN, MDD


def logistic_loss(scores: Array, label: int, weight: Array | None = None) -> float:
    each = [-math.log(1 / (1 + math.exp(-s)) if label else 1 - 1 / (1 + math.exp(-s))) for s in scores]
    return float(np.average(each, weights=weight))


def test_dann_is_the_cross_entropy_of_each_domain() -> None:
    source, target = DRAW.normal(size=5), DRAW.normal(size=8)
    expected = (logistic_loss(source, 1) + logistic_loss(target, 0)) / 2
    assert dann.loss(tensor(source), tensor(target)).item() == pytest.approx(expected, rel=1e-12)
    assert dann.loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_cdans_map_by_hand() -> None:
    found = cdan.multilinear(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.25, 0.75]]))
    assert found.tolist() == [[0.25, 0.5, 0.75, 0.75, 1.5, 2.25]]


def test_cdans_random_map_keeps_inner_products_on_average() -> None:
    """E <T(f, g), T(f', g')> = <f, f'> <g, g'>, as that of the multilinear map: theorem 2 of the paper."""
    f, g = torch.randn(2, 30, generator=torch.manual_seed(0)), torch.rand(2, 10, generator=torch.manual_seed(1))
    exact = cdan.multilinear(f, g)
    drawn = cdan.ConditionalMap(30, 10, generator=torch.manual_seed(2), largest=100, values=200_000)
    mapped = drawn(f, g)
    assert mapped.shape == (2, 200_000) == (2, drawn.width)
    torch.testing.assert_close(mapped @ mapped.T, exact @ exact.T, rtol=0.1, atol=2.0)


def test_cdans_map_is_random_above_a_size_only() -> None:
    assert cdan.ConditionalMap(64, 64, generator=torch.manual_seed(0)).width == 4096
    larger = cdan.ConditionalMap(64, 65, generator=torch.manual_seed(0))
    assert larger.width == 1024
    assert set(larger.state_dict()) == {"of_features", "of_predictions"}  # saved with a run
    again = cdan.ConditionalMap(64, 65, generator=torch.manual_seed(0))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in larger.state_dict().items())


def test_cdan_weighs_sure_images_more() -> None:
    z, source, target = logits(5), DRAW.normal(size=5), DRAW.normal(size=5)
    weight = 1 + np.exp(-entropies(softmax(z)))
    found = cdan.weights(tensor(z))
    np.testing.assert_allclose(found, weight / weight.sum(), rtol=1e-12)
    assert not found.requires_grad
    expected = (logistic_loss(source, 1, weight) + logistic_loss(target, 0, weight)) / 2
    assert cdan.loss(tensor(source), tensor(target), found, found).item() == pytest.approx(expected, rel=1e-12)


def test_mdd_by_loops() -> None:
    zs, zt, source, target = (logits(images) for images in (5, 7, 5, 7))
    agrees = np.mean([-math.log(softmax(a)[z.argmax()]) for z, a in zip(zs, source, strict=True)])
    other = np.mean([-math.log(1 - softmax(a)[z.argmax()]) for z, a in zip(zt, target, strict=True)])
    found = mdd.loss(*map(tensor, (zs, source, zt, target)), margin=3.0)
    assert found.item() == pytest.approx(3 * agrees + other, rel=1e-12)


def test_mdd_is_finite_where_the_adversary_is_sure() -> None:
    sure, adversary = torch.tensor([[90.0, 0.0]]), torch.tensor([[200.0, 0.0]], requires_grad=True)
    found = mdd.loss(sure, adversary, sure, adversary)
    assert found.item() == pytest.approx(200.0)
    found.backward()
    assert adversary.grad.isfinite().all()


# ---- gradients


LOSSES: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "mme": (mme.loss, [(4, 3)]),
    "shot": (lambda z: shot.loss(z, torch.tensor([0, 2, 1, 0])), [(4, 3)]),
    "dann": (dann.loss, [(4,), (5,)]),
    "cdan": (lambda s, t: cdan.loss(s, t, torch.tensor([0.2, 0.8]), torch.tensor([0.5, 0.5])), [(2,), (2,)]),
    "multilinear": (cdan.multilinear, [(3, 4), (3, 2)]),
    "mdd": (lambda s, t: mdd.loss(torch.eye(3).double(), s, torch.eye(3).double(), t), [(3, 3), (3, 3)]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    function, shapes = LOSSES[name]
    inputs = tuple(torch.tensor(DRAW.normal(size=shape), requires_grad=True) for shape in shapes)
    assert torch.autograd.gradcheck(function, inputs)


def test_mmds_gradient_holds_the_bandwidth() -> None:
    """As finite differences of the loss with the bandwidth of the unmoved features."""
    x, y = DRAW.normal(size=(3, 2)), DRAW.normal(size=(4, 2)) + 1
    both = np.concatenate([x, y])
    width = float(np.mean([((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j]))

    def held(moved: Array) -> float:
        def k(a: Array, b: Array) -> float:
            return sum(math.exp(-((a - b) ** 2).sum() / (2.0**power * width)) for power in (-2, -1, 0, 1, 2)) / 5

        own = np.mean([k(a, b) for i, a in enumerate(moved) for j, b in enumerate(moved) if i != j])
        return float(own) - 2 * float(np.mean([k(a, b) for a in x for b in moved]))

    features = tensor(y)
    mmd.loss(torch.tensor(x), features).backward()
    np.testing.assert_allclose(features.grad, slopes(held, y), atol=1e-8)
