"""What fit, evaluate and predict accept: the same images in any form give the same numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_model import compiled, labels, model, pixels

import tlkit
from tlkit.errors import TlkitError
from tlkit.model import inputs, pictures
from tlkit.model.labels import Labels, labels_of
from tlkit.model.predictions import Predictions

X, Y = pixels(), labels()
ANY = Labels((), None, several=False)


class Pairs(torch.utils.data.Dataset):
    """(image, label), counting how often each is read."""

    def __init__(self, form) -> None:
        self.form, self.reads = form, 0

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int):
        self.reads += 1
        return self.form(X[index]), int(Y[index])


class Wrapped:
    """An array as pandas and TensorFlow have it."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self._values


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, -3).copy())


FORMS = {
    "uint8": X,
    "floats": X / 255,
    "float32": (X / 255).astype(np.float32),
    "int64": X.astype(np.int64),
    "tensor": _tensor(X),
    "tensor of floats": _tensor(X).float() / 255,
    "floats that rounding brings back": np.where(X == 0, -1e-9, np.where(X == 255, 1.0001, X / 255)),
    "an array of another library": Wrapped(X),
    "arrays in a list": list(X),
    "tensors in a list": list(_tensor(X)),
    "PIL images": [Image.fromarray(x) for x in X],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_pixels_is_the_same_picture(form: str) -> None:
    found = pictures.read(FORMS[form], where="x")
    np.testing.assert_array_equal(np.stack(list(found)), X)


@pytest.mark.parametrize("form", [Image.fromarray, _tensor, lambda x: x])
def test_torch_data_set_is_read_once(form) -> None:
    data = Pairs(form)
    given = inputs.read(data, None, known=ANY, where="fit")
    assert data.reads == len(X)
    np.testing.assert_array_equal(inputs.whole(given.images).pixels, X)
    np.testing.assert_array_equal(inputs.whole(given.images).targets, Y)


def test_part_of_a_data_set_has_the_names_of_its_classes() -> None:
    data = Pairs(_tensor)
    data.classes = ["cat", "dog", "emu", "fox"]
    part = torch.utils.data.Subset(torch.utils.data.Subset(data, range(9)), [2, 3])
    given = inputs.read(part, None, known=ANY, where="fit").images
    assert given.classes == ("cat", "dog", "emu", "fox")
    np.testing.assert_array_equal(inputs.whole(given).targets, Y[2:4])


def test_fit_gives_the_same_weights_whatever_the_form(tmp_path: Path) -> None:
    for index, x in enumerate(X):
        Image.fromarray(x).save(tmp_path / f"{index}.png")
    paths = [tmp_path / f"{index}.png" for index in range(len(X))]
    found = []
    for x, y in [(X, Y), (X / 255, Y.tolist()), (_tensor(X), torch.from_numpy(Y)), (paths, Y), (Pairs(_tensor), None)]:
        trained = compiled()
        trained.fit(x, y, epochs=1, batch_size=8, verbose=0)
        found.append(trained.state_dict())
    for other in found[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in found[0].items())


@pytest.mark.parametrize("crop", ["random_crop", "random_resized_crop"])
def test_pil_images_of_several_sizes_are_as_their_files(tmp_path: Path, crop: str) -> None:
    draw = np.random.default_rng(1)
    images = [Image.fromarray(draw.integers(0, 255, (18 + i, 30 - i, 3), np.uint8)) for i in range(12)]
    for index, image in enumerate(images):
        image.save(tmp_path / f"{index}.png")
    one, other = compiled(), compiled()
    one.fit(images, labels(12), epochs=1, batch_size=4, augment=[crop], verbose=0)
    other.fit([tmp_path / f"{i}.png" for i in range(12)], labels(12), epochs=1, batch_size=4, augment=[crop], verbose=0)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_predict_takes_anything(tmp_path: Path) -> None:
    asked = model()
    expected = np.asarray(asked.predict(X))
    (tmp_path / "a").mkdir()
    for index, x in enumerate(X[:3]):
        Image.fromarray(x).save(tmp_path / "a" / f"{index}.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    for form in (
        X[0],
        X[:1] / 255,
        _tensor(X)[0],
        Image.fromarray(X[0]),
        tmp_path / "a" / "0.png",
        str(tmp_path / "a" / "0.png"),
    ):
        np.testing.assert_allclose(asked.predict(form), expected[:1], atol=1e-6)
    white = torch.ones(1, 3, 16, 16)
    np.testing.assert_array_equal(asked.predict(white.bfloat16()), asked.predict(white))
    names = np.array([str(tmp_path / "a" / "0.png")])
    np.testing.assert_allclose(asked.predict(names), expected[:1], atol=1e-6)
    for form in (tmp_path / "a", [tmp_path / "a" / "0.png", Image.fromarray(X[1]), X[2]]):
        np.testing.assert_allclose(asked.predict(form), expected[:3], atol=1e-6)
    assert asked.predict([]).shape == (0, 4)


REFUSED = {
    "normalised floats": ((X / 255 - 0.5) / 0.2, "it is normalised already"),
    "floats to 255": (X.astype(np.float32), 'x.astype("uint8")'),
    "floats that overshoot": (X / 255 * 1.2 - 0.1, "np.clip(x, 0, 1)"),
    "floats a little above 1": (X / 255 * 1.01, "from 0 to 1.006, not 0 to 1"),
    "pairs": ([(X[0], 1)], "x, y = zip(*pairs)"),
    "not finite": (np.full((1, 4, 4, 3), np.nan), "not finite"),
    "large whole numbers": (X.astype(np.int64) * 2, "not 0 to 255"),
    "text": (np.full((2, 4, 4, 3), "x"), "of type <U1"),
    "channels first in an array": (np.moveaxis(X, -1, 1), "x.transpose(0, 2, 3, 1)"),
    "channels last in a tensor": (torch.from_numpy(X), "x.permute(0, 3, 1, 2)"),
    "grey": (X[..., 0], "np.repeat(x[..., None], 3, axis=-1)"),
    "grey with a channel": (X[..., :1], "np.repeat(x, 3, axis=-1)"),
    "no pixels": (X[:, :0], "there is no pixel in it"),
    "a batch in a list": ([X], "is to be one picture"),
    "numbers": ([1, 2], "one of the images is of type int"),
    "nothing": (None, "one of the images is of type NoneType"),
    "a vector": (np.zeros(3), "not (N, H, W, 3)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_images_of_another_kind_are_an_error_that_says_what_is_wanted(kind: str) -> None:
    given, words = REFUSED[kind]
    with pytest.raises(TlkitError) as error:
        model().predict(given)
    assert words in str(error.value)
    assert "uint8, or floats from 0 to 1" in str(error.value)


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TlkitError, match="holds no image files"):
        model().predict(tmp_path)


LABELS = {
    "numbers": ([0, 1, 2], ("0", "1", "2"), [0, 1, 2]),
    "floats": ([0.0, 1.0, 1.0], ("0", "1"), [0, 1, 1]),
    "a column": ([[0], [1], [1]], ("0", "1"), [0, 1, 1]),
    "one-hot": ([[0, 1], [1, 0]], ("0", "1"), [1, 0]),
    "names": (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
    "a tensor": (torch.tensor([1, 0]), ("0", "1"), [1, 0]),
    "numbers of a table": (np.array([1, 0], dtype=object), ("0", "1"), [1, 0]),
    "yes and no": ([True, False], ("0", "1"), [1, 0]),
    "half precision": (np.array([1, 0], np.float16), ("0", "1"), [1, 0]),
    "a tensor of bfloat16": (torch.tensor([1, 0]).bfloat16(), ("0", "1"), [1, 0]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(kind: str) -> None:
    given, classes, numbers = LABELS[kind]
    found, targets = labels_of(given, known=ANY, where="fit")
    assert found == classes
    assert targets.tolist() == numbers


def test_columns_are_classes_of_a_multi_label_head() -> None:
    several = Labels(("a", "b", "c"), 3, several=True)
    _, targets = labels_of([[1, 0, 1], [0, 0, 0]], known=several, where="fit")
    assert targets.dtype == np.uint8
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    trained = tlkit.Model("toy", head="multilabel", classes=["a", "b", "c"], image_size=16, device="cpu")
    trained.compile(lr=1e-2)
    y = np.random.default_rng(0).integers(0, 2, (24, 3))
    trained.fit(X, y, epochs=1, batch_size=8, verbose=0)
    assert all(isinstance(names, list) for names in trained.predict(X[:2]).labels)
    assert set(trained.evaluate(X, y)) >= {"loss", "accuracy"}


CD = Labels(("cat", "dog"), 2, several=False)
WRONG_LABELS = {
    "too large": ([0, 2], CD, "labels from 0 to 2, and the model has 2 classes"),
    "negative": ([0, -1], CD, "labels from -1 to 0"),
    "negative of no model": ([0, -1], ANY, "classes are numbered from 0"),
    "identifiers": (np.array([3, 2**63], np.uint64), ANY, "return_inverse=True"),
    "infinite": ([0.0, np.inf], ANY, "not finite"),
    "one text": ("cat", ANY, "y is a str, not a label for each image"),
    "unknown name": (["cat", "dgo"], CD, 'did you mean "dog"?'),
    "fractions": ([0.5, 1.0], CD, "class numbers from 0, or class names"),
    "too many columns": ([[0, 1, 0]], CD, "3 columns, and the model has 2 classes"),
    "several ones": ([[1, 1]], CD, 'head="multilabel"'),
    "other values": ([[0.2, 0.8]], CD, "other values than 0 and 1"),
    "three axes": (np.zeros((2, 2, 2)), CD, "y has shape (2, 2, 2)"),
    "ragged": ([[0], [1, 0]], CD, "lists of several lengths"),
    "one class each": ([0, 1], Labels((), 2, several=True), "0 or 1"),
}


@pytest.mark.parametrize("kind", WRONG_LABELS)
def test_wrong_labels_are_a_message(kind: str) -> None:
    given, known, words = WRONG_LABELS[kind]
    with pytest.raises(TlkitError) as error:
        labels_of(given, known=known, where="Model.fit")
    assert words in str(error.value)


WRONG_CALLS = {
    "no labels": (lambda m: m.fit(X), "y is missing"),
    "other length": (lambda m: m.fit(X, Y[:3]), "x has 24 images, and y has 3 labels"),
    "labels beside a folder": (lambda m: m.fit("synthetic", Y), "leave y out"),
    "a data loader": (lambda m: m.fit(torch.utils.data.DataLoader(Pairs(_tensor))), "loader.dataset"),
    "paths and pixels": (lambda m: m.fit(["a.png", X[0]], [0, 1]), "both paths and images"),
    "both kinds of validation": (
        lambda m: m.fit(X, Y, validation_data=(X, Y), validation_split=0.2), "validation_data and validation_split",
    ),
    "a data set to validate on": (lambda m: m.fit(X, Y, validation_data="synthetic"), "is the name of a data set"),
    "validation images alone": (lambda m: m.fit(X, Y, validation_data=X), "validation_data=(x, y)"),
    "no images": (lambda m: m.fit(X[:0], []), "x holds no images"),
    "batches": (lambda m: m.fit((X, Y) for _ in range(2)), "zip(*batches)"),
    "class weight": (lambda m: m.fit(X, Y, class_weight={7: 2.0}), "there is no class 7"),
    "weight of another name": (lambda m: m.fit(X, Y, class_weight={"7": 2.0}), 'there is no class "7"'),
    "a weight that is none": (lambda m: m.fit(X, Y, class_weight={0: None}), "of class 0 is None"),
    "a weight in text": (lambda m: m.fit(X, Y, class_weight={0: "2"}), "of class 0 is '2'"),
    "weights in a row": (lambda m: m.fit(X, Y, class_weight=np.ones(4)), "dict(enumerate(weights))"),
    "weights in a column": (lambda m: m.fit(X, Y, class_weight=Wrapped(np.ones(4))), "dict(enumerate(weights))"),
    "a stage by number": (lambda m: m.embed(X, at=3), 'there is no stage "3"'),
    "the same images twice": (
        lambda m: m.fit(np.concatenate([X, X]), np.concatenate([Y, Y]), on_overlap="error", verbose=0), "Model.fit: data: ",
    ),
    "verbose": (lambda m: m.fit(X, Y, verbose=3), "verbose is 3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_CALLS)
def test_wrong_call_of_fit_is_a_message(kind: str) -> None:
    call, words = WRONG_CALLS[kind]
    with pytest.raises(TlkitError) as error:
        call(compiled())
    assert words in str(error.value)


def test_a_file_that_cannot_be_decoded_is_skipped_where_fit_says_so(tmp_path: Path) -> None:
    for index, x in enumerate(X):
        Image.fromarray(x).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    paths = [tmp_path / f"{index}.png" for index in range(len(X))]
    with pytest.raises(TlkitError, match=r"3\.png"):
        compiled().fit(paths, Y, epochs=1, verbose=0)
    assert len(compiled().fit(paths, Y, epochs=1, batch_size=8, on_corrupt="skip", verbose=0)) == 1


def test_validation_data_is_what_is_validated_on(tmp_path: Path) -> None:
    x, y = pixels(12, seed=5), labels(12)
    for index in range(12):
        (tmp_path / "held" / str(y[index])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[index]).save(tmp_path / "held" / str(y[index]) / f"{index}.png")
    for given in ((x, y), tmp_path / "held"):
        trained = compiled()
        history = trained.fit(X, Y, validation_data=given, epochs=1, batch_size=8, verbose=0)
        assert trained.evaluate(x, y)["accuracy"] == pytest.approx(history[0].validation["accuracy"])
        assert trained.evaluate(x, y)["loss"] == pytest.approx(history[0].validation["loss"], rel=1e-5)


def test_class_weight_is_the_loss_table() -> None:
    one, other = compiled(), model()
    one.fit(X, Y, epochs=1, batch_size=8, class_weight={0: 3.0, 2: 0.5}, verbose=0)
    other.compile(optimizer="sgd", lr=1e-2, schedule="constant", loss={"class_weights": {"0": 3.0, "2": 0.5}})
    other.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    balanced = compiled()
    balanced.fit(X, Y, epochs=1, class_weight="balanced", verbose=0)


def test_labels_of_masks_are_refused_with_what_gives_the_class_of_each_pixel() -> None:
    masks = Predictions(np.zeros((3, 2, 4, 5), np.float32), ("ground", "vessel"))
    for found, call, shape in ((masks, "predictions.argmax(1)", (3, 4, 5)), (masks[0], "predictions.argmax(0)", (4, 5))):
        with pytest.raises(TlkitError, match="a probability of each class for every pixel") as error:
            _ = found.labels
        assert error.value.hints == (f"{call}, the class number of each pixel",)
        assert eval(call, {"predictions": found}).shape == shape
