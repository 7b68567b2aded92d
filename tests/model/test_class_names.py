"""Classes are known by name: other images bring theirs in any order, and a run's head comes along where they match."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_model import compiled, labels, model, pixels

import tlkit
from tlkit.errors import TlkitError

NAMES = ["dog", "ant", "cow", "bee"]  # not in the order that a folder has them
X, OTHER = pixels(), pixels(seed=1)
Y = [NAMES[label] for label in labels()]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> tuple[str, np.ndarray, list[str]]:
    """A folder with X in train and OTHER in test, and X and its names in the folder's order."""
    order = sorted(range(len(X)), key=lambda index: (Y[index], index))
    for index in order:
        for part, images in (("train", X), ("test", OTHER)):
            (tmp_path / "images" / part / Y[index]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[index]).save(tmp_path / "images" / part / Y[index] / f"{index:02}.png")
    return "images", X[order], [Y[index] for index in order]


def _same(one: tlkit.Model, other: tlkit.Model) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_images_are_evaluated_by_the_names_of_their_classes(folder: tuple[str, np.ndarray, list[str]]) -> None:
    made = model(classes=NAMES)
    correct = made.predict(OTHER).argmax(1) == [NAMES.index(name) for name in Y]
    assert made.evaluate(folder[0])["accuracy"] == pytest.approx(correct.mean())
    assert made.evaluate(folder[0]) == pytest.approx(made.evaluate(OTHER, Y))


class Table:
    """Columns of 0 and 1 as pandas has them."""

    def __init__(self, values: np.ndarray, columns: list[str]) -> None:
        self.values, self.columns = values, columns

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.values


@pytest.mark.parametrize("head", ["linear", "multilabel"])
def test_columns_of_a_table_are_known_by_their_names(head: str) -> None:
    order = sorted(NAMES)  # as pandas.get_dummies has them
    table = Table(np.array([[name == each for each in order] for name in Y], int), order)
    mine = model(classes=NAMES, head=head)
    wanted = mine.evaluate(X, np.array([[name == each for each in NAMES] for name in Y], int))
    assert mine.evaluate(X, table) == wanted
    with pytest.raises(TlkitError, match=r"y has other columns.*\n.*dog, ant, cow, bee\n.*y\.to_numpy\(\)"):
        mine.evaluate(X, Table(table.values, ["is_ant", "is_bee", "is_cow", "is_dog"]))
    if head == "linear":
        new = compiled(classes=None)
        with pytest.raises(TlkitError, match="y has columns of one name: ant, ant"):
            new.fit(X, Table(table.values, ["ant", "ant", *order[2:]]))
        new.fit(X, table, epochs=1, batch_size=8, verbose=0)
        assert new.class_names == tuple(order)


def test_fit_takes_classes_in_another_order_as_what_they_are_called(folder: tuple[str, np.ndarray, list[str]]) -> None:
    of_folder, of_arrays = compiled(classes=NAMES), compiled(classes=NAMES)
    fit = {"epochs": 2, "batch_size": 8, "verbose": 0, "split": {"validation": 0.25}}
    of_folder.fit(folder[0], **fit)
    of_arrays.fit(folder[1], folder[2], **fit)
    assert of_folder.class_names == tuple(NAMES)
    assert _same(of_folder, of_arrays)
    with pytest.raises(TlkitError, match="classes in another order"):
        of_folder.to_recipe("mine.toml")


def test_validation_data_may_have_classes_in_another_order(folder: tuple[str, np.ndarray, list[str]]) -> None:
    of_folder, of_arrays = compiled(classes=NAMES), compiled(classes=NAMES)
    one = of_folder.fit(X, Y, epochs=1, batch_size=8, verbose=0, validation_data=folder[0])
    other = of_arrays.fit(X, Y, epochs=1, batch_size=8, verbose=0, validation_data=(np.concatenate([X, OTHER]), Y + Y))
    assert one[0].validation == pytest.approx(other[0].validation)


def test_images_of_classes_that_the_model_has_not_are_refused(folder: tuple[str, np.ndarray, list[str]]) -> None:
    for made in (model(classes=["dog", "ant", "cow", "cat"]), model(classes=["dog", "ant", "cow", "bee", "fox"])):
        made.compile(lr=1e-2)
        with pytest.raises(TlkitError, match=r"other classes|has 5 classes"):
            made.fit(folder[0], epochs=1, verbose=0)
    with pytest.raises(TlkitError, match="other classes") as error:
        model(classes=["dog", "ant", "cow", "cat"]).evaluate(folder[0])
    assert "of the model: dog, ant, cow, cat" in str(error.value)


def test_order_and_views_go_on_over_fits() -> None:
    fit = {"batch_size": 8, "verbose": 0, "validation_split": 0.0, "augment": ["hflip"], "augment_views": 3}
    once, twice = compiled(), compiled()
    for made in (once, twice):
        made.freeze("stem")
        made.compile(optimizer="sgd", lr=1e-2, schedule="constant")
    once.fit(X, labels(), epochs=4, **fit)
    twice.fit(X, labels(), epochs=2, **fit)
    twice.fit(X, labels(), epochs=2, **fit)
    assert _same(once, twice)


# ---- weights = "run:PATH"


@pytest.fixture
def saved() -> tlkit.Model:
    made = model(classes=NAMES, seed=7)
    made.save("saved")
    return made


@pytest.mark.parametrize("classes", [NAMES, 4], ids=["names", "a number"])
def test_a_runs_head_comes_along_and_is_said(saved: tlkit.Model, classes: object, capsys: pytest.CaptureFixture[str]) -> None:
    made = model(weights="run:saved", classes=classes)
    np.testing.assert_array_equal(made.predict(X), saved.predict(X))
    assert made.class_names == tuple(NAMES)
    assert "with its head" in capsys.readouterr().err


def test_a_runs_head_comes_along_with_the_first_fit(saved: tlkit.Model, folder: tuple[str, np.ndarray, list[str]]) -> None:
    made = model(weights="run:saved", classes=None)
    made.compile(optimizer={"name": "sgd", "momentum": 0.0}, lr=1e-30, schedule="constant")
    made.freeze("backbone")
    made.compile(optimizer={"name": "sgd", "momentum": 0.0}, lr=1e-30, schedule="constant")
    made.fit(folder[0], epochs=1, batch_size=8, verbose=0)
    assert made.class_names == tuple(NAMES)
    np.testing.assert_array_equal(made.predict(X), saved.predict(X))


@pytest.mark.parametrize("classes", [["x", "y", "z", "w"], 3], ids=["other names", "another number"])
def test_a_head_that_begins_at_random_is_said(saved: tlkit.Model, classes: object, capsys: pytest.CaptureFixture[str]) -> None:
    made = model(weights="run:saved", classes=classes)
    assert "head begins anew" in capsys.readouterr().err
    assert torch.equal(made.state_dict()["conv1.weight"], saved.state_dict()["conv1.weight"])


def test_a_runs_classes_in_another_order_are_refused(saved: tlkit.Model) -> None:
    with pytest.raises(TlkitError, match="in another order than the run") as error:
        model(weights="run:saved", classes=sorted(NAMES))
    assert 'classes=["dog", "ant", "cow", "bee"]' in str(error.value)


def test_a_model_of_a_run_says_how_the_whole_network_is_had(saved: tlkit.Model) -> None:
    with pytest.raises(TlkitError, match="has no network yet") as error:
        model(weights="run:saved", classes=None).predict(X)
    assert 'tlkit.load("saved")' in str(error.value)


def test_what_is_evaluated_of_a_folder_is_said(
    folder: tuple[str, np.ndarray, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = model(classes=NAMES)
    made.evaluate(folder[0])
    assert "evaluating 24 images, the test part of images\n" in capsys.readouterr().err
    made.evaluate(folder[0], verbose=0)
    made.evaluate(X, Y)
    assert capsys.readouterr().err == ""


def test_a_head_that_is_not_solved_yet_predicts_nothing() -> None:
    made = model(head="logistic")
    for call in (lambda: made.predict(X), lambda: made.evaluate(X, labels())):
        with pytest.raises(TlkitError, match="the logistic head is not fitted yet"):
            call()
    assert made.embed(X).shape == (24, 16)


class _Torch(torch.utils.data.Dataset):
    """Images with class numbers in the order of `classes`, as torchvision's ImageFolder has them."""

    classes = sorted(NAMES)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return X[index], self.classes.index(Y[index])


def test_a_torch_data_set_is_known_by_its_class_names() -> None:
    made = model(classes=NAMES)
    assert made.evaluate(_Torch()) == pytest.approx(made.evaluate(X, Y))
    of_torch, of_arrays = compiled(classes=NAMES), compiled(classes=NAMES)
    fit = {"epochs": 1, "batch_size": 8, "verbose": 0}
    one = of_torch.fit(_Torch(), **fit, validation_data=_Torch())
    other = of_arrays.fit(X, Y, **fit, validation_data=(X, Y))
    assert one[0].validation == pytest.approx(other[0].validation)
    assert _same(of_torch, of_arrays)
    numbers = compiled()
    numbers.fit(X, labels(), **fit)
    assert numbers.evaluate(_Torch()) == numbers.evaluate(X, [sorted(NAMES).index(name) for name in Y]), "numbers are no names"
    with pytest.raises(TlkitError, match="other classes"):
        model(classes=["dog", "ant", "cow", "cat"]).evaluate(_Torch())


def test_names_of_a_run_give_way_to_those_of_the_first_fit(saved: tlkit.Model, capsys: pytest.CaptureFixture[str]) -> None:
    other = [name.upper() for name in Y]
    fit = {"epochs": 1, "batch_size": 8, "verbose": 0}
    by_number, named = model(weights="run:saved", classes=4), model(weights="run:saved", classes=sorted(set(other)))
    capsys.readouterr()
    for made in (by_number, named):
        made.compile(optimizer="sgd", lr=1e-2)
        made.fit(X, other, **fit)
        assert made.class_names == tuple(sorted(set(other)))
    assert "head begins anew" in capsys.readouterr().err
    assert _same(by_number, named)
    numbers = model(weights="run:saved", classes=4)
    numbers.compile(optimizer="sgd", lr=1e-2)
    numbers.fit(X, labels(), **fit)
    assert numbers.class_names == tuple(NAMES), "numbers are in the run's order"
    with pytest.raises(TlkitError, match="names a class that the model has not"):
        numbers.fit(X, other, **fit)
