"""The training images that a run's network finds most like an image: why it may have answered as it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Progress
from tlkit.plugin import Images
from tlkit.run import own_images, stored_embeddings
from tlkit.run.prediction import Predictor
from tlkit.sources.places import Places

_LEAST = 1e-12  # of a length that is divided by


@dataclass(frozen=True)
class Neighbour:
    """A training image.

    Attributes:
        image: Its file; "training image N" where the data set has no files.
        label: Its class, or classes.
        similarity: Cosine of the angle between both embeddings, -1 to 1.
    """

    image: str
    label: str
    similarity: float


def nearest(
    predictor: Predictor,
    run: Path,
    image: Path,
    *,
    count: int,
    places: Places,
    progress: Progress = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Neighbour]:
    """Return the training images whose embeddings, the pooled output of the last stage, are most like that of an image.

    Args:
        predictor: The run's.
        run: Its folder.
        image: The file.
        count: How many are returned.
        places: Where the training images are looked for.
        progress: Called with the images embedded and their total.
        note: Told why embeddings are not kept in the store.

    Raises:
        DataError: the image, or the run's data set, is not here or cannot be read.
        TlkitError: there are other images than those that the run was trained with.
    """
    (own,) = predictor.embed([image])
    images, parts = own_images.find(run, places)
    positions = parts["train"].indices
    pictures = Library(images).pictures("train", predictor.geometry)
    corrupt = pictures.prepare(positions, progress=lambda done, total: None)
    part = Part(pictures, positions[~np.isin(positions, list(corrupt))], predictor.convention, predictor.network.task)
    embeddings = stored_embeddings.StoredEmbeddings(predictor, note=note).of_part(part, progress=progress)
    cosines = _cosines(embeddings, own)
    best = np.argsort(-cosines, kind="stable")[:count]
    return [_neighbour(images, int(part.indices[place]), float(cosines[place])) for place in best]


def _cosines(rows: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float64]:
    wide, one = rows.astype(np.float64), own.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(one)
    return np.asarray(wide @ one / np.maximum(lengths, _LEAST))


def _neighbour(images: Images, position: int, similarity: float) -> Neighbour:
    split, names = images.splits["train"], images.classes
    target = split.targets[position]
    label = names[int(target)] if target.ndim == 0 else ", ".join(names[place] for place in np.flatnonzero(target)) or "none"
    return Neighbour(
        files.shown(split.files[position]) if split.files else f"training image {position}", label, round(similarity, 6)
    )
