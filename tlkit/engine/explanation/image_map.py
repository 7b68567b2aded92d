"""A map of images by their features: UMAP where umap-learn is installed, else the first two principal components."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlkit.engine.explanation import principal_components
from tlkit.errors import reason

_FEWEST = 16  # images that UMAP can arrange: its graph joins each with 15
_MOST = 1e6  # in the place of what is larger or not finite


@dataclass(frozen=True)
class ImageMap:
    """Where images are on the map.

    Attributes:
        method: "UMAP" or "PCA".
        points: (N, 2) float32.
        explained: Parts of the variance that the two axes explain; () of UMAP.
        why_not_umap: Its error, where UMAP is installed and failed; "" else.
    """

    method: str
    points: NDArray[np.float32]
    explained: tuple[float, ...]
    why_not_umap: str = ""


def place(features: NDArray[np.float32]) -> ImageMap:
    """Place images on a map by their features (N, F); the same features give the same map.

    Source: McInnes, Healy & Melville 2018, arXiv:1802.03426.
    """
    if len(features) < _FEWEST or importlib.util.find_spec("umap") is None:
        return _principal(features, "")
    try:
        return ImageMap("UMAP", _umap(features), ())
    except Exception as error:  # of an optional library and of what it compiles with; a run that is trained may not fail by it
        return _principal(features, reason(error))


def _principal(features: NDArray[np.float32], why_not_umap: str) -> ImageMap:
    points, explained = principal_components.project(features)
    return ImageMap("PCA", points, explained, why_not_umap)


def _umap(features: NDArray[np.float32]) -> NDArray[np.float32]:
    finite = np.clip(np.nan_to_num(features, posinf=_MOST, neginf=-_MOST), -_MOST, _MOST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a random_state forbids threads
        import umap  # it compiles for some seconds

        placed = umap.UMAP(n_neighbors=_FEWEST - 1, random_state=0, n_jobs=1).fit_transform(finite)
    return np.asarray(placed, np.float32)
