"""Keras's transfer-learning guide: a frozen backbone, then all of it at a low rate, BatchNorm as it was, on ants and bees."""

import tarfile
from pathlib import Path

import pytest

import tlkit


@pytest.mark.slow
def test_fine_tuning_after_a_frozen_phase_is_at_least_as_good(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_WEIGHTS", str(test_data / "weights"))
    with tarfile.open(test_data / "hymenoptera.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    (folder,) = {path.parent for path in tmp_path.rglob("train") if path.is_dir()}
    model = tlkit.Model(
        "efficientnet_lite0", weights="imagenet", classes=2, image_size=96, device="cpu", batch_norm="running", offline=True
    )

    model.freeze("backbone")
    model.compile(optimizer="adam", lr=1e-2)
    first = model.fit(folder / "train", epochs=3, validation_data=folder / "val", verbose=0)

    model.unfreeze("backbone")
    model.compile(optimizer="adam", lr=1e-4, precision="float32")  # the rounding of bfloat16 decides one of the 153 images
    second = model.fit(folder / "train", epochs=4, validation_data=folder / "val", verbose=0)

    before, after = max(first.history["val_accuracy"]), max(second.history["val_accuracy"])
    assert before > 0.7
    assert after >= before
