"""A Model of images of bands: fit, evaluate, predict and save, of files, arrays and tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch
import toy_bands

import tlkit
from tlkit.errors import TlkitError

X, LABELS = toy_bands.pictures(24, size=16)
Y = [toy_bands.CLASSES[label] for label in LABELS.tolist()]


def compiled() -> tlkit.Model:
    model = tlkit.Model("toy", classes=toy_bands.CLASSES, image_size=16, channels=13, device="cpu")
    model.compile(optimizer="adam", lr=1e-2)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bands.folder(tmp_path_factory.mktemp("bands"), X, LABELS)


@pytest.fixture(scope="module")
def fitted() -> tlkit.Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE_BYTES", "0")
        model = compiled()
        model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
        return model


def test_files_arrays_and_tensors_are_predicted_alike(fitted: tlkit.Model, folder: Path) -> None:
    files = sorted(folder.glob("*/*.npy"))
    order = [int(file.stem) for file in files]
    expected = np.asarray(fitted.predict(X, verbose=0))
    assert expected.shape == (24, 3)
    tensor = torch.from_numpy(np.moveaxis(X, -1, 1).astype(np.int32)).to(torch.uint16)
    for given, taken in ((files, order), (folder, order), (list(X), slice(None)), (tensor, slice(None)), (X[3], [3])):
        np.testing.assert_allclose(fitted.predict(given, verbose=0), expected[taken], atol=1e-6)
    assert fitted.embed(X[:2]).shape == (2, 16)


def test_what_fit_measured_is_kept_saved_and_used_by_the_next_fit(fitted: tlkit.Model, tmp_path: Path) -> None:
    fitted.save(tmp_path / "saved")
    again = tlkit.load(tmp_path / "saved", device="cpu")
    np.testing.assert_allclose(again.predict(X, verbose=0), fitted.predict(X, verbose=0), atol=1e-6)
    assert again.evaluate(X, Y, verbose=0) == pytest.approx(fitted.evaluate(X, Y, verbose=0))
    scaling = again._setup.resolved(where="test")[0].convention
    assert len(scaling.mean) == 13
    again.fit(X[:12] * 2, Y[:12], epochs=1, batch_size=8, verbose=0)
    assert again._setup.scaling == scaling


def test_a_folder_is_fitted_and_evaluated(folder: Path) -> None:
    model = compiled()
    model.fit(folder, epochs=1, batch_size=8, verbose=0)
    assert set(model.evaluate(folder, verbose=0)) >= {"loss", "accuracy"}


def test_images_of_another_kind_are_refused(fitted: tlkit.Model) -> None:
    with pytest.raises(TlkitError, match=r"an array has shape \(24, 16, 16, 4\), and the images have 13 bands"):
        fitted.predict(X[..., :4])
    with pytest.raises(TlkitError, match="uint16"):
        fitted.predict(X.astype(np.float32))
    with pytest.raises(TlkitError, match="was trained on images of uint16, and these are float32"):
        fitted.evaluate(X.astype(np.float32), Y, verbose=0)
    with pytest.raises(TlkitError, match="an array is of type float64"):
        fitted.predict(X / 2)
    with pytest.raises(TlkitError, match="not finite"):
        compiled().fit(np.full((24, 16, 16, 13), np.nan, np.float32), Y)


def test_bands_that_nothing_measured_cannot_be_predicted() -> None:
    with pytest.raises(TlkitError, match="mean and the standard deviation of the bands are not known yet"):
        compiled().predict(X)
    given = {"mean": [1.0] * 13, "std": [2.0] * 13}
    model = tlkit.Model("toy", classes=3, image_size=16, channels=13, input=given, device="cpu")
    assert model.predict(X[:2].astype(np.float32), verbose=0).shape == (2, 3)
