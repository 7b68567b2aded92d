"""Calibration against torchmetrics, torch's own optimizer and numbers worked by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from tlkit.record import calibration


@pytest.fixture
def predicted() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 5, 600)
    logits = 4 * draw.normal(size=(600, 5)) + 3 * np.eye(5)[labels]
    return logits.astype(np.float32), labels


def test_expected_calibration_error_is_that_of_torchmetrics(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = calibration.softmax(predicted[0]), predicted[1]
    known = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), num_classes=5, n_bins=15)
    assert calibration.reliability(probabilities, labels).error == pytest.approx(float(known), abs=1e-6)


def test_reliability_worked_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6]])
    found = calibration.reliability(probabilities, np.array([0, 1, 1]), bins=10)
    assert found.images.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1, 1]  # 0.9 is in the bin that ends there
    assert found.error == pytest.approx((0.1 + 0.95 + 0.4) / 3)


def test_temperature_minimises_the_likelihood_as_torch_does(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = torch.tensor(predicted[0], dtype=torch.float64), torch.tensor(predicted[1])
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits * scale, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = calibration.temperature(*predicted)
    assert found == pytest.approx(1 / scale.item(), rel=1e-3)
    right = predicted[0].argmax(1) == predicted[1]
    assert calibration.temperature(predicted[0][right], predicted[1][right]) == 1, "the lower, the better: there is no best one"
    assert calibration.calibrated(predicted, (predicted[0][right], predicted[1][right])).after is None
    scaled, plain = (calibration.softmax(predicted[0], temperature=each) for each in (found, 1.0))
    assert calibration.reliability(scaled, predicted[1]).error < calibration.reliability(plain, predicted[1]).error
