"""A toy Model and data for its tests."""

import numpy as np

import tlkit

OPTIONS = {"classes": 4, "train": 80, "test": 40, "size": 16}
RATES = {"backbone": 1e-2, "head": 1e-2}


def model(**options: object) -> tlkit.Model:
    return tlkit.Model("toy", **{"classes": 4, "image_size": 16, "device": "cpu", **options})


def compiled(**options: object) -> tlkit.Model:
    made = model(**options)
    made.compile(optimizer="sgd", lr=1e-2, schedule="constant")
    return made


def pixels(count: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, 16, 16, 3), np.uint8)


def labels(count: int = 24) -> np.ndarray:
    return np.arange(count) % 4
