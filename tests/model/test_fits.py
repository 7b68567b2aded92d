"""Several fits of one model: weights, optimizer state, draws, and what is said of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_model import OPTIONS, RATES, compiled, labels, model, pixels

import tlkit
from tlkit.errors import TlkitError

X, Y = pixels(), labels()
FIT = {"batch_size": 8, "verbose": 0, "validation_split": 0.0, "augment": ["hflip"]}


def _same(one: tlkit.Model, other: tlkit.Model) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_fits_of_a_constant_rate_are_one_of_as_many_epochs(optimizer: str) -> None:
    once, twice, anew = model(), model(), model()
    for each in (once, twice, anew):
        each.compile(optimizer=optimizer, lr=1e-2, schedule="constant")
    once.fit(X, Y, epochs=3, **FIT)
    twice.fit(X, Y, epochs=1, **FIT)
    twice.fit(X, Y, epochs=2, **FIT)
    assert _same(once, twice)
    anew.fit(X, Y, epochs=1, **FIT)
    anew.compile(optimizer=optimizer, lr=1e-2, schedule="constant")
    anew.fit(X, Y, epochs=2, **FIT)
    assert not _same(once, anew), "compiled anew, the optimizer begins without its state"


def test_compile_again_keeps_the_weights() -> None:
    trained = compiled()
    trained.fit(X, Y, epochs=1, **FIT)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    trained.unfreeze("backbone")
    trained.compile(optimizer="adam", lr_groups=RATES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_frozen_then_unfrozen_trains_as_keras_guide_writes_it() -> None:
    trained = tlkit.Model("toy", image_size=16, device="cpu")
    trained.freeze("backbone")
    trained.compile(optimizer="adam", lr=1e-2)
    trained.fit(X, Y, epochs=1, **FIT)
    random = model()
    assert torch.equal(trained.state_dict()["conv1.weight"], random.state_dict()["conv1.weight"])
    frozen = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    trained.unfreeze("backbone")
    trained.compile(optimizer="adam", lr=1e-4)
    trained.fit(X, Y, epochs=1, **FIT)
    assert not torch.equal(trained.state_dict()["conv1.weight"], frozen["conv1.weight"])


def test_classes_are_left_to_the_first_fit() -> None:
    trained = tlkit.Model("toy", image_size=16, device="cpu")
    trained.compile(lr=1e-2)
    for call in (lambda: trained.network, lambda: trained.predict(X), lambda: trained.evaluate(X, Y)):
        with pytest.raises(TlkitError, match="the number of classes is not known"):
            call()
    names = np.array(["ant", "bee", "cow", "dog"])[Y]
    trained.fit(X, names, epochs=1, **FIT)
    assert trained.class_names == ("ant", "bee", "cow", "dog")
    assert trained.classes == 4
    assert set(trained.predict(X).labels) <= set(trained.class_names)
    same = model(classes=["ant", "bee", "cow", "dog"])
    same.compile(lr=1e-2)
    same.fit(X, Y, epochs=1, **FIT)
    assert _same(same, trained)


def test_images_of_other_classes_are_refused() -> None:
    trained = model(classes=["ant", "bee", "cow", "dog"])
    trained.compile(lr=1e-2)
    with pytest.raises(TlkitError, match="other classes") as error:
        trained.fit("synthetic", options=OPTIONS, verbose=0)
    assert "of the model: ant, bee, cow, dog" in str(error.value)


def test_stages_are_frozen_by_name() -> None:
    made = model()
    made.freeze("backbone")
    made.stages["block2"].trainable = True
    assert {name: stage.trainable for name, stage in made.stages.items()} == {
        "stem": False, "block1": False, "block2": True, "head": True,
    }  # fmt: skip
    with pytest.raises(TlkitError, match='no stage "blok2"') as error:
        made.stages["blok2"]
    assert 'did you mean "block2"?' in str(error.value)


def test_history_has_keras_names_and_the_best_epoch() -> None:
    history = compiled().fit(X, Y, epochs=3, batch_size=8, validation_split=0.25, verbose=0)
    assert {name: len(values) for name, values in history.history.items()} == dict.fromkeys(
        ("loss", "accuracy", "val_loss", "val_accuracy", "lr"), 3
    )
    keys = [(epoch.validation["accuracy"], -epoch.validation["loss"]) for epoch in history]
    assert history.best_epoch == 1 + keys.index(max(keys))
    assert history.epoch == [0, 1, 2]
    left, right = history.plot().axes
    assert [axes.get_title() for axes in (left, right)] == ["loss", "accuracy"]
    solid = next(line for line in right.lines if line.get_linestyle() == "-")
    assert solid.get_ydata().tolist() == history.history["val_accuracy"]
    assert "val accuracy" in history._repr_html_()
    assert repr(history).startswith(f"History(3 epochs, best {history.best_epoch}")


def test_verbose_says_a_line_an_epoch_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    trained = compiled()
    for verbose, lines in ((0, 0), (2, 2), (1, 2), ("auto", 2)):
        trained.fit(X, Y, epochs=2, batch_size=8, verbose=verbose)
        output = capsys.readouterr()
        assert output.out == ""
        assert sum("/2 " in line for line in output.err.splitlines()) == lines, output.err


def test_predictions_are_an_array_with_labels() -> None:
    found = model(classes=["ant", "bee", "cow", "dog"]).predict(X)
    rows = np.asarray(found)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(np.argmax(found, axis=1), rows.argmax(1))
    assert found.labels == [["ant", "bee", "cow", "dog"][index] for index in rows.argmax(1)]
    ranked = found.top(2)
    assert [pair[0][0] for pair in ranked] == found.labels
    assert [pair[1][1] for pair in ranked] == pytest.approx(np.sort(rows, axis=1)[:, -2].tolist())
    assert found[3].labels == found.labels[3:4]
    assert found[:5].top(1) == found.top(1)[:5]
    assert pickle.loads(pickle.dumps(found)).top(4) == found.top(4), "a process pool hands them over"
    for wrong in (lambda: found[:, :2].labels, lambda: found.top(0), lambda: found.sum(1).top(1)):
        with pytest.raises(TlkitError):
            wrong()


NAMES = {
    "epochs": (lambda m: m.fit(X, Y, epoch=3), 'Model.fit: has no argument "epoch"', 'did you mean "epochs"?'),
    "backbone": (lambda m: tlkit.Model("toy", weigths="none"), 'has no argument "weigths"', 'did you mean "weights"?'),
    "optimizer": (lambda m: m.compile(optimiser="sgd", lr=1), 'no argument "optimiser"', 'did you mean "optimizer"?'),
    "metrics": (lambda m: m.compile(metrics=["accuracy"]), 'no argument "metrics"', "every metric"),
    "learning rate": (lambda m: m.compile(learning_rate=1e-3), 'no argument "learning_rate"', "lr="),
    "too many": (lambda m: m.fit(X, Y, 3), "too many positional arguments", "by name: epochs="),
    "a name": (lambda m: tlkit.load(), "load: missing", "arguments: folder"),
    "rates of parts": (lambda m: m.compile(lr=RATES), "lr is a dict", "lr_groups={'backbone': 1e-4, 'head': 1e-2}"),
    "both rates": (lambda m: m.compile(lr=1e-3, lr_groups=RATES), "both given", "lr is one rate"),
    "a loss": (lambda m: m.compile(lr=1e-3, loss="categorical_crossentropy"), "loss is", "label_smoothing"),
    "names twice": (lambda m: model(classes=["a", "a"]), "classes is", "two or more different names"),
    "a single name": (lambda m: model(classes=["a"]), "classes is", "two or more different names"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_misspelt_argument_offers_the_nearest(kind: str) -> None:
    call, problem, hint = NAMES[kind]
    with pytest.raises(TlkitError) as error:
        call(model())
    assert problem in error.value.problem
    assert hint in str(error.value)


def test_notebook_shows_models_and_plans(toy_recipe: Path) -> None:
    assert "block1" in model()._repr_html_()
    assert "toy" in repr(model())
    shown = tlkit.plan(toy_recipe)._repr_html_()
    assert shown.startswith("<pre")
    assert "block1" in shown
    assert "steps" in shown
    (plan,) = tlkit.plan(toy_recipe).values()
    assert plan._repr_html_() == shown
