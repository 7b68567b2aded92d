"""MMD with several kernels, as DAN uses it: both domains' features should have one distribution.

With source features x (n, F) and target features y (m, F), and kernels k:

    MMD^2 = sum_(i != j) k(x_i, x_j) / (n (n - 1)) + sum_(i != j) k(y_i, y_j) / (m (m - 1)) - 2 sum_ij k(x_i, y_j) / (n m)
    k(a, b) = mean_u exp(-|a - b|^2 / (2^u g)),   u = -2, -1, 0, 1, 2

Where several layers are compared, their MMD^2 are added, each with a g of its own (DAN, eq. 4).

g is the mean of |a - b|^2 over all pairs of different images of both domains, and a constant of the gradient. The estimate is unbiased, so it
may be a little below 0. Kernels have equal weights, as in the authors' code; the paper finds weights by a quadratic program.

Source: Long, Cao, Wang & Jordan 2015, arXiv:1502.02791, eq. 2 to 4; the estimate: Gretton et al. 2012, JMLR 13, eq. 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

POWERS = (-2, -1, 0, 1, 2)  # of 2, by which the bandwidth is multiplied; as the authors' code has them


def loss(source: Tensor, target: Tensor) -> Tensor:
    """Return MMD^2 between two batches of features.

    Args:
        source: (n, F), n >= 2.
        target: (m, F), m >= 2.
    """
    n, m = len(source), len(target)
    both = torch.cat([source, target])  # (n + m, F)
    squares = _squared_distances(both)
    bandwidth = squares.detach().sum() / ((n + m) * (n + m - 1))
    bandwidth = bandwidth.clamp_min(torch.finfo(both.dtype).tiny)
    kernel = torch.stack([(-squares / (bandwidth * 2.0**power)).exp() for power in POWERS]).mean(0)
    own_source, own_target = kernel[:n, :n], kernel[n:, n:]
    # Not trace(): its gradient on a GPU reads a value on the host.
    within = (own_source.sum() - own_source.diagonal().sum()) / (n * (n - 1))
    within = within + (own_target.sum() - own_target.diagonal().sum()) / (m * (m - 1))
    return within - 2 * kernel[:n, n:].mean()


def _squared_distances(x: Tensor) -> Tensor:
    """Return |x_i - x_j|^2 (N, N). By products, so that no (N, N, F) is made; rounding may not go below 0."""
    products = x @ x.T
    squares = products.diagonal()
    found: Tensor = (squares[:, None] + squares[None, :] - 2 * products).clamp_min(0)
    return found
