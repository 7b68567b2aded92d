"""The pictures and first weights of each piece of work, as files that every contender reads."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers.contract import Spec

ROOT = Path(__file__).parents[2]
_TRAIN, _VAL = 1000, 500  # pictures of CIFAR-10, as even over its classes as can be


@dataclass(frozen=True)
class Work:
    """One data set and one network.

    Attributes:
        name: As --work takes it.
        network: Name in tlkit and in `contract`.
        weights: tlkit's name of the weights that everyone begins with; "none" for random ones.
        train: Training pictures.
        val: Pictures that are evaluated on.
    """

    name: str
    network: str
    weights: str
    train: int
    val: int

    @property
    def pictures(self) -> str:
        """Name of the data set."""
        return self.name.partition("-")[0]

    @property
    def title(self) -> str:
        """For a table."""
        return {"cifar10": "CIFAR-10", "hymenoptera": "ants and bees"}[self.pictures] + f", {self.network}"


WORKS = {
    work.name: work
    for work in (
        Work("cifar10-resnet18", "resnet18", "none", _TRAIN, _VAL),
        Work("hymenoptera-resnet18", "resnet18", "none", 244, 153),
        Work("hymenoptera-efficientnet_lite0", "efficientnet_lite0", "imagenet", 244, 153),
        Work("hymenoptera-mobilenet_v2", "mobilenet_v2", "none", 244, 153),
    )
}


def data_folder() -> Path:
    """Return the folder of real pictures: $TLKIT_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("TLKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"{folder}: is not there; $TLKIT_TEST_DATA names the folder with hymenoptera.tar and cifar10/.")
    return folder


def prepare(work: Work, folder: Path, *, images: int | None = None) -> Spec:
    """Write a piece of work's pictures and weights, and return it but for arm, epochs and the contender's folders.

    Args:
        work: Which.
        folder: For the files; what another piece of work wrote there is used again.
        images: Training pictures at most, and validation pictures likewise; only to try a script out.
    """
    pictures = folder / f"{work.pictures}{'' if images is None else f'-{images}'}"
    if not pictures.is_dir():
        {"cifar10": _cifar, "hymenoptera": _hymenoptera}[work.pictures](pictures)
        if images is not None:
            _reduce(pictures, images)
    classes = len(list((pictures / "train").iterdir()))
    from tlkit.plugin import Backbone, registry

    backbone = registry.get(Backbone, work.network)
    convention = backbone.weights[work.weights].input if work.weights in backbone.weights else backbone.input
    state = folder / f"{work.name}.pt"
    if not state.is_file():
        _weights(work, state, classes)
    return Spec(
        network=work.network, arm="", images=str(pictures), state=str(state), classes=classes, mean=list(convention.mean),
        std=list(convention.std), resize=convention.resize, scratch="", cache="", epochs=0,
    )  # fmt: skip


def _weights(work: Work, path: Path, classes: int) -> None:
    """Write the network that `tlkit apply` with seed 0 begins with, head and all, under its library's names."""
    import torch

    from tlkit.network import building, weights
    from tlkit.plugin import Backbone, Head, registry
    from tlkit.sources.weight_files import Reading
    from tlkit_heads import LinearOptions

    backbone = registry.get(Backbone, work.network)
    made = building.build(
        backbone, registry.get(Head, "linear"), classes=classes, backbone_options=None, head_options=LinearOptions(), seed=0
    )
    if work.weights != "none":
        named = backbone.weights[work.weights]
        _, distribution, inside = str(named.source).split(":")
        file = Path(str(metadata.distribution(distribution).locate_file(inside)))
        weights.load_(made, file, backbone=backbone, name=work.network, reading=Reading(rename=named.rename))
    torch.save({key: tensor.clone() for key, tensor in weights.export(made, backbone, linear=True).items()}, path)


def _hymenoptera(folder: Path) -> None:
    with tarfile.open(data_folder() / "hymenoptera.tar") as tar:
        tar.extractall(folder, filter="data")


def _cifar(folder: Path) -> None:
    """Write the first pictures of each class as PNG files, 32 x 32 pixels."""
    from tlkit_cifar.unpickle import Array, unpickle

    source = data_folder() / "cifar10" / "cifar-10-batches-py"
    names = [
        str(each.decode() if isinstance(each, bytes) else each) for each in unpickle(source / "batches.meta")["label_names"]
    ]
    for part, batch, count in (("train", "data_batch_1", _TRAIN), ("val", "test_batch", _VAL)):
        content = unpickle(source / batch)
        rows, labels = content["data"], np.array(content["labels"])
        assert isinstance(rows, Array)
        pixels = rows.values.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (N, 32, 32, 3)
        for label, name in enumerate(names):
            (folder / part / name).mkdir(parents=True)
            for index in np.flatnonzero(labels == label)[: count // len(names)]:
                Image.fromarray(pixels[index].astype(np.uint8)).save(folder / part / name / f"{index:05d}.png")


def _reduce(folder: Path, images: int) -> None:
    for part in ("train", "val"):
        classes = sorted((folder / part).iterdir())
        for each in classes:
            for file in sorted(each.iterdir())[max(images // len(classes), 1) :]:
                file.unlink()
