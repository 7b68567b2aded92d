"""Sets of classes: the rank by hand, the sets of crepes, and the coverage on images that were not used."""

import numpy as np
import pytest
import torch
from crepes import ConformalClassifier

from tlkit.record import conformal


def test_rank_is_that_of_nineteen_images_by_hand() -> None:
    own = np.arange(1, 20) / 20  # 0.05 .. 0.95, and ceil(20 * 0.95) = 19: the smallest of them
    probabilities = np.stack([own, 1 - own], 1)
    labels = np.zeros(19, int)
    assert conformal.least_probability(probabilities, labels, coverage=0.95) == pytest.approx(0.05, rel=1e-3)
    assert conformal.least_probability(probabilities, labels, coverage=0.9) == pytest.approx(0.1, rel=1e-3)
    assert conformal.least_probability(probabilities, labels, coverage=0.96) == 0.0  # rank 20 of 19 images


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("images", [6, 40, 198])
def test_sets_are_those_of_crepes(coverage: float, images: int) -> None:
    """With numbers of images for which (images + 1) (1 - coverage) is not whole: there crepes takes a class whose p-value is 1 - coverage
    into the set, and Vovk's sets hold those above it.
    """
    draw = np.random.default_rng(images)
    probabilities = draw.dirichlet([0.5] * 6, images + 50)
    labels = draw.integers(0, 6, images)
    own = np.sort(probabilities[np.arange(images), labels])
    fitted = ConformalClassifier().fit(1 - probabilities[np.arange(images), labels])
    theirs = fitted.predict_set(1 - probabilities[images:], confidence=coverage, smoothing=False)
    least = conformal.least_probability(probabilities[:images], labels, coverage=coverage)
    assert ((probabilities[images:] >= least) == np.asarray(theirs)).all()
    assert least == 0 or np.isclose(own, least, rtol=1e-3, atol=0).any()


def test_a_class_as_probable_as_is_needed_is_in_the_set_in_float32_too() -> None:
    """A k-NN of seven neighbours: the run's answers are read as float64, and `predict` computes in float32."""
    logits = torch.log(torch.arange(1, 7).repeat(4)[:, None] / 7 * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0]))
    labels, found = np.zeros(24, int), torch.softmax(logits, 1).numpy()
    for coverage in (0.2, 0.4, 0.5, 0.7, 0.8, 0.9):
        least = conformal.least_probability(torch.softmax(logits.double(), 1).numpy(), labels, coverage=coverage)
        assert np.mean(found[:, 0] >= least) >= coverage


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_right_class_as_often_as_they_promise(coverage: float) -> None:
    draw = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        logits = draw.normal(size=(60, 5))
        labels = np.array([draw.choice(5, p=row) for row in np.exp(logits) / np.exp(logits).sum(1, keepdims=True)])
        probabilities = np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True)  # a network that is too sure of itself
        least = conformal.least_probability(probabilities[:50], labels[:50], coverage=coverage)
        hits.append(np.mean(probabilities[np.arange(50, 60), labels[50:]] >= least))
    # With 50 images the expected coverage is ceil(51 * coverage) / 51; 4000 images of 400 draws vary by about 0.01.
    assert np.mean(hits) == pytest.approx(np.ceil(51 * coverage) / 51, abs=0.025)
