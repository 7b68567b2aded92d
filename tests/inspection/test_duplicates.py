"""Duplicates: which images are called identical, and which near duplicates."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tlkit.inspection import duplicates, neighbours, outliers


def picture(seed: int, side: int = 64) -> NDArray[np.uint8]:
    """A picture of large soft shapes, (side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def compressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


CHANGES = {
    "compressed": compressed,
    "resized": lambda pixels: np.asarray(Image.fromarray(pixels).resize((40, 40)).resize((64, 64))),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "darker": lambda pixels: (pixels * 0.7).astype(np.uint8),
    "cut": lambda pixels: np.asarray(Image.fromarray(pixels[1:-1, 1:-1]).resize((64, 64))),
}


def agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(duplicates.agreement(duplicates.shrunk(first[None]), duplicates.shrunk(second[None]))[0])


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copy_agrees_with_its_picture(change: str) -> None:
    assert all(agreement(picture(seed), CHANGES[change](picture(seed))) > 0.95 for seed in range(10))


def test_other_pictures_do_not_agree() -> None:
    assert max(agreement(picture(one), picture(other)) for one in range(10) for other in range(one)) < 0.8


def test_shrunk_picture_is_the_mean_over_each_field() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    by_hand = pixels.reshape(2, 16, 2, 16, 3, 3).astype(np.float64).mean((2, 4))
    np.testing.assert_allclose(duplicates.shrunk(pixels), by_hand)
    odd = np.random.default_rng(0).integers(0, 256, (2, 29, 7, 3), dtype=np.uint8)
    repeated = odd.repeat(16, axis=1).repeat(16, axis=2).reshape(2, 16, 29, 16, 7, 3).astype(np.float64).mean((2, 4))
    np.testing.assert_allclose(duplicates.shrunk(odd), repeated)


def test_images_are_identical_where_one_kind_of_digest_agrees() -> None:
    first = np.array([[1], [2], [1], [3], [4]], np.uint8)
    second = np.array([[5], [6], [7], [6], [8]], np.uint8)
    group = duplicates.groups([first, second])
    assert [group[0] == group[2], group[1] == group[3], len(set(group.tolist()))] == [True, True, 3]
    assert duplicates.exact(group) == [(0, 2), (1, 3)]


def test_embeddings_propose_and_pictures_confirm() -> None:
    """Rows 0 and 1 are close and agree; 2 and 3 are close and show different things; 4 agrees with 0 and is far from it."""
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(60, 32)).astype(np.float32)
    embeddings[1], embeddings[3] = embeddings[0] + 0.01, embeddings[2] + 0.01
    shown = np.stack([picture(seed) for seed in range(60)])
    shown[1], shown[4] = compressed(shown[0]), shown[0]
    rows, cosines = neighbours.nearest(neighbours.unit(embeddings), 10)
    found = duplicates.near(rows, cosines, np.arange(60), lambda rows: shown[rows])
    assert [edge[:2] for edge in found] == [(0, 1)]
    assert found[0][2] > 0.99


def test_nearest_others_are_those_of_all_cosines() -> None:
    embeddings = np.random.default_rng(0).normal(2.0, 1.0, (40, 8)).astype(np.float32)
    rows, cosines = neighbours.nearest(neighbours.unit(embeddings), 5)
    centred = embeddings.astype(np.float64) - embeddings.mean(0)
    every = np.zeros((40, 40))
    for one in range(40):
        for other in range(40):
            norms = np.linalg.norm(centred[one]) * np.linalg.norm(centred[other])
            every[one, other] = -2 if one == other else centred[one] @ centred[other] / norms
    np.testing.assert_array_equal(rows, np.argsort(-every, axis=1)[:, :5])
    np.testing.assert_allclose(cosines, -np.sort(-every, axis=1)[:, :5], atol=1e-5)


def test_image_unlike_all_others_is_an_outlier() -> None:
    generator = np.random.default_rng(0)
    embeddings = np.concatenate([generator.normal(centre, 0.1, (50, 8)) for centre in (np.eye(8)[0], np.eye(8)[1])])
    embeddings = np.concatenate([embeddings, [np.eye(8)[5]]]).astype(np.float32)
    _, cosines = neighbours.nearest(neighbours.unit(embeddings), 10)
    (found,) = outliers.outliers(cosines)
    assert found[0] == 100
    assert found[1] > 3
