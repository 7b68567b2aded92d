"""What closed-form adaptation is worth: accuracy on another domain, by method, with the embeddings of one frozen network.

    python -m benchmarks.domains photo art_painting [--draws 3] [--json]

Source and target are folders with one folder for each class. Pictures are embedded by efficientnet_lite0 with ImageNet's weights at
128 px, and the head is a logistic regression with C = 0.01 on standardised embeddings. A draw takes 20 images of each class of the
target; all others are tested. A method sees all target images without labels, so it is transductive, as published figures are. The
columns "3 labels" use three labelled images of each class, of the 20: alone, and beside the source, where each counts 20 times.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.errors import DataError
from tlkit.model.classes import Classes
from tlkit.model.setup import Setup
from tlkit.run.prediction import Predictor
from tlkit.run.stored_embeddings import StoredEmbeddings
from tlkit.sources.places import Places
from tlkit_adapters import alignment, pseudo_labels

_HELD = 20  # images of each class that are not tested
_LABELS = 3  # of each class
_WEIGHT = 20  # of a labelled target image, beside the source's 1
_SIDE = 128


@dataclass(frozen=True)
class Domain:
    """Embeddings (N, F) of a folder's images, and the names of their classes (N,)."""

    x: NDArray[np.float32]
    labels: NDArray[np.str_]

    def draw(self, per_class: int, seed: int) -> NDArray[np.int64]:
        """Positions of so many images of each class."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        return np.concatenate([order[self.labels[order] == name][:per_class] for name in np.unique(self.labels)])


def embed(folders: Sequence[Path]) -> list[Domain]:
    """Embed the images of each folder; those that the store has are read."""
    tables = {
        "backbone": {"name": "efficientnet_lite0", "weights": "imagenet"}, "head": {"kind": "linear"}, "freeze": {},
        "data": {"image_size": _SIDE},
    }  # fmt: skip
    setup = Setup(tables, Places(recipe=Path.cwd()), 0, torch.device("cpu"))
    resolved = setup.untrained(where="benchmarks.domains")
    geometry = evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
    predictor = Predictor(setup.network(Classes(2)).eval(), (), resolved.convention, geometry, 16, torch.device("cpu"))
    store, domains = StoredEmbeddings(predictor, note=print), []
    for folder in folders:
        files = sorted(file for file in folder.glob("*/*") if file.is_file())
        rows = list(store.of_files(files))
        for row in rows:
            if isinstance(row, DataError):
                raise row
        good = [row for row in rows if not isinstance(row, DataError)]
        domains.append(Domain(np.stack(good), np.array([file.parent.name for file in files])))
    return domains


def head() -> Pipeline:
    """Return the classifier, not fitted."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5_000))


def measure(source: Domain, target: Domain, draws: int) -> Iterator[tuple[str, list[float]]]:
    """Yield the accuracy of each method, %, on the test images of each draw."""
    tests = [np.setdiff1d(np.arange(len(target.labels)), target.draw(_HELD, seed)) for seed in range(draws)]

    def tested(predicted: NDArray[np.str_]) -> list[float]:
        return [100 * float((predicted[test] == target.labels[test]).mean()) for test in tests]

    for name, method in alignment.METHODS.items():
        found = method(source.x, target.x)
        xs, xt = found.source(source.x), found.target(target.x)
        model = head().fit(xs, source.labels)
        yield name, tested(model.predict(xt))
        told = pseudo_labels.prototypes(model[0].transform(xt), model.predict_proba(xt))
        again = head().fit(np.concatenate([xs, xt]), np.concatenate([source.labels, model.classes_[told]]))
        yield f"{name}, prototypes", tested(again.predict(xt))
    alone, both = [], []
    for seed, test in enumerate(tests):
        held = target.draw(_HELD, seed)
        few = np.concatenate([held[target.labels[held] == name][:_LABELS] for name in np.unique(target.labels)])
        alone.append(100 * head().fit(target.x[few], target.labels[few]).score(target.x[test], target.labels[test]))
        x, y = np.concatenate([source.x, target.x[few]]), np.concatenate([source.labels, target.labels[few]])
        weight = np.where(np.arange(len(y)) < len(source.labels), 1.0, float(_WEIGHT))
        model = head().fit(x, y, standardscaler__sample_weight=weight, logisticregression__sample_weight=weight)
        both.append(100 * model.score(target.x[test], target.labels[test]))
    yield f"{_LABELS} labels alone", alone
    yield f"source and {_LABELS} labels", both


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.domains", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with labels")
    parser.add_argument("target", type=Path, help="folder of the same classes, which is adapted to and tested")
    parser.add_argument("--draws", type=int, default=3, help="of the images that are not tested (3)")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    source, target = embed([asked.source, asked.target])
    rows = dict(measure(source, target, asked.draws))
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"{asked.source.name} -> {asked.target.name}: accuracy in %, mean over {asked.draws} draws, lowest to highest")
    for name, found in rows.items():
        print(f"{name:24}{statistics.fmean(found):6.1f}  {min(found):.1f} to {max(found):.1f}")


if __name__ == "__main__":
    main()
