"""Slips that a newcomer makes: each is a message at once, and the model is as it was."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tlkit
from tlkit.errors import Interrupted, RecipeError, SaidElsewhere, TlkitError

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), np.uint8)


def model(**more: object) -> tlkit.Model:
    return tlkit.Model("toy", classes=["cat", "dog"], image_size=16, device="cpu", **more)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("blok1",), 'toy has no stage "blok1"'),
        ((["stem", "block1"],), "Model.freeze: is given"),
        ((3,), "Model.freeze: is given 3"),
    ],
)
def test_freeze_of_what_is_no_part_is_refused_at_once(keys: tuple[object, ...], words: str) -> None:
    mine = model()
    with pytest.raises(TlkitError, match=words):
        mine.freeze(*keys)
    assert [stage.trainable for stage in mine.stages.values()] == [True] * len(mine.stages)
    mine.predict(PIXELS[0])


def test_unfreeze_of_what_is_no_part_is_refused_at_once() -> None:
    mine = model().freeze("stem")
    with pytest.raises(TlkitError, match="has no stage"):
        mine.unfreeze("steem")
    assert not mine.stages["stem"].trainable


def test_parts_that_no_rate_reaches_yet_can_be_thawed() -> None:
    mine = model().freeze("backbone")
    mine.compile(lr_groups={"head": 1e-2})
    assert mine.unfreeze("backbone").stages["stem"].trainable
    assert mine.predict(PIXELS[:2]).shape == (2, 2)
    assert set(mine.evaluate(PIXELS, ["cat", "dog"] * 6)) >= {"loss", "accuracy"}


def test_the_whole_model_can_be_frozen_and_thawed_as_in_keras() -> None:
    mine = model()
    mine.trainable = False
    assert not any(stage.trainable for stage in mine.stages.values())
    mine.stages["head"].trainable = True
    assert mine.trainable
    with pytest.raises(TlkitError, match=r"stem: trainable is 'no'\.\n  True or False"):
        mine.trainable = "no"


def test_attribute_that_is_not_there_cannot_be_set() -> None:
    mine = model()
    for owner, name, words in (
        (mine, "trainble", 'Model: has no "trainble" to set.\n  did you mean "trainable"?'),
        (mine, "stop_trainig", 'did you mean "stop_training"?'), (mine, "optimizer", "callbacks cannot change a rate"),
        (mine, "notes", 'a name of your own begins with "_", or a subclass has it: _notes'),
        (mine.stages, "trainable", "model.trainable = False"),
        (mine.stages["stem"], "trainabel", 'Model.stages: stem: has no "trainabel" to set.\n  did you mean "trainable"?'),
    ):  # fmt: skip
        with pytest.raises(TlkitError) as caught:
            setattr(owner, name, False)
        assert words in str(caught.value)
    mine._notes = "my own"

    class Mine(tlkit.Model):
        """A model of a program."""

    with pytest.raises(AttributeError, match=r"calls super\(\)\.__init__"):
        Mine.__new__(Mine).predict(PIXELS)
    own = Mine("toy", classes=2, image_size=16, device="cpu")
    own.notes, own.stop_training = "my own", False
    assert copy.deepcopy(own).notes == "my own"


@pytest.mark.parametrize("labels", [["a"] * 12, np.zeros(12, int), [1] * 12, np.ones((12, 1)), [7] * 12])
def test_labels_of_one_class_are_refused(labels: object) -> None:
    mine = tlkit.Model("toy", image_size=16, device="cpu")
    mine.compile(lr=1e-2)
    with pytest.raises(TlkitError, match="y has one class"):
        mine.fit(PIXELS, labels, epochs=1, batch_size=4, verbose=0)


def test_classes_without_an_image_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    mine = tlkit.Model("toy", image_size=16, device="cpu")
    mine.compile(lr=1e-2)
    mine.fit(PIXELS, [1, 3] * 6, epochs=1, batch_size=4, verbose=2)
    assert mine.class_names == ("0", "1", "2", "3"), "as in Keras: some may be missing by chance"
    said = capsys.readouterr().err
    assert "Model.fit: y has no image of 2 of 4 classes: 0, 2; " in said
    assert "number them from 0, or give names as y" in said
    named = tlkit.Model("toy", classes=["cat", "dog", "fox"], image_size=16, device="cpu", head="multilabel")
    named.compile(lr=1e-2)
    named.fit(PIXELS, [[1, 0, 0], [1, 1, 0]] * 6, epochs=1, batch_size=4, verbose=2)
    assert "y has no image of 1 of 3 classes: fox\n" in capsys.readouterr().err
    named.fit(PIXELS, [[1, 0, 0], [1, 1, 1]] * 6, epochs=1, batch_size=4, verbose=2)
    assert "no image of" not in capsys.readouterr().err


def test_images_that_are_all_but_black_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    mine = model()
    mine.compile(lr=1e-2)
    for x, said in ((PIXELS / 255 / 255, True), ((PIXELS / 255).astype(np.uint8), True), (PIXELS / 255, False)):
        mine.fit(x, ["cat", "dog"] * 6, epochs=1, batch_size=4)
        assert ("no pixel of x is above 1 of 255" in capsys.readouterr().err) is said


@pytest.mark.parametrize("size", [4, [32, 32, 3]])
def test_a_size_that_cannot_be_is_said_of_the_key(size: object) -> None:
    with pytest.raises(TlkitError) as caught:
        tlkit.Model("toy", classes=2, image_size=size, device="cpu")
    assert str(caught.value).startswith("Model: image_size: is ")
    assert "=side" not in str(caught.value)
    assert "=pair" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None, True, 2**31])
def test_a_seed_that_cannot_be_is_a_message(seed: object) -> None:
    with pytest.raises(TlkitError, match=r"Model: seed is .*\n  a whole number from 0 to 2147483647$"):
        model(seed=seed)


def test_errors_keep_every_line_through_a_process_pool() -> None:
    recipe = RecipeError([TlkitError("a: is 1.", "2"), TlkitError("b: is 2.")])
    for error in (recipe, TlkitError("c: is 3.", "4", "5"), Interrupted(15, "stopped.", "go on"), SaidElsewhere(4)):
        got = pickle.loads(pickle.dumps(error))
        assert (type(got), str(got), got.hints, got.exit_code) == (type(error), str(error), error.hints, error.exit_code)


def test_arguments_of_kerass_evaluate_and_predict_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    mine, labels = model(), ["cat", "dog"] * 6
    whole = mine.predict(PIXELS)
    np.testing.assert_allclose(mine.predict(PIXELS, batch_size=5, verbose=0), whole, atol=1e-6)
    assert mine.evaluate(PIXELS, labels, verbose=0, return_dict=True) == mine.evaluate(PIXELS, labels, verbose=1)
    assert capsys.readouterr() == ("", ""), "a bar is for a terminal or a notebook"
    for call, words in (
        (lambda: mine.evaluate(PIXELS, labels, return_dict=False), "it always returns a dict"),
        (lambda: mine.evaluate(PIXELS, labels, verbose=3), "Model.evaluate: verbose is 3"),
        (lambda: mine.predict(PIXELS, batch_size=0), "Model.predict: batch_size is 0"),
        (lambda: mine.predict(PIXELS, steps=3), "every image is used once"),
    ):
        with pytest.raises(TlkitError) as caught:
            call()
        assert words in str(caught.value)


def test_epochs_of_a_head_that_is_solved_are_said_to_have_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    mine, labels = model(head="logistic"), ["cat", "dog"] * 6
    mine.fit(PIXELS, labels, epochs=5, batch_size=4)
    text = capsys.readouterr().err
    assert "not used: epochs and schedule: the logistic head is solved, not trained" in text
    assert "lr_groups" not in text, "nobody gave rates"
    mine.fit(PIXELS, labels, batch_size=4)
    assert "not used" not in capsys.readouterr().err


def test_validation_data_is_a_pair_in_a_list_too() -> None:
    mine, labels = model(), ["cat", "dog"] * 6
    mine.compile(lr=1e-2)
    pair = mine.fit(PIXELS, labels, epochs=1, batch_size=4, verbose=0, validation_data=[PIXELS, labels])
    assert pair[0].validation is not None
    with pytest.raises(TlkitError, match="single images cannot be weighed"):
        mine.fit(PIXELS, labels, verbose=0, validation_data=(PIXELS, labels, np.ones(12)))


def test_summary_says_what_is_not_known_yet(capsys: pytest.CaptureFixture[str]) -> None:
    mine = tlkit.Model("toy", image_size=16, device="cpu")
    mine.summary()
    text = capsys.readouterr().out
    assert "classes not known yet, 16 px, not compiled" in text
    assert "the first fit says how many" in text
    assert "2 classes" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("head   ") and "?" in line]
    assert row.split()[1:3] == ["?", "?"]
    known = model()
    known.compile(lr_groups={"head": 1e-2, "backbone": 3e-4})
    known.summary()
    assert "2 classes, 16 px, adamw, one_cycle" in capsys.readouterr().out
    known.freeze("backbone")
    known.compile(lr_groups={"head": 1e-2})
    known.unfreeze("backbone").summary()
    text = capsys.readouterr().out
    assert "not compiled" in text
    assert "0.01" not in text, "what trains now has no rate yet"


def test_a_run_that_is_not_there_is_said_of_the_key() -> None:
    with pytest.raises(TlkitError, match=r"weights: \"run:nope\": .*nope: there is no such run folder"):
        model(weights="run:nope")


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        ("csv", {}, '"csv" needs to know which folder.\n  options={"path": "images"}'),
        ("csv", {"path": "no"}, '/no: there is no such folder.\n  name the folder of images (options={"path": "images"})'),
        ("cifar10", {}, "in one of these folders, or name their folder with TLKIT_DATA"),
        ("cifar10", {"path": "no"}, "is given path.\n  TLKIT_DATA names the folder of its files"),
    ],
)
def test_images_that_are_not_there_are_told_with_what_fit_takes(x: str, options: dict[str, str], words: str) -> None:
    mine = model(offline=True)
    mine.compile(lr=1e-2)
    for call in (mine.fit, mine.evaluate):
        with pytest.raises(TlkitError) as refused:
            call(x, options=options)
        assert str(refused.value).endswith(words)


def test_weights_that_are_not_there_are_told_without_settings_which_no_model_takes(toy_recipe: Path) -> None:
    text = toy_recipe.read_text().replace('name = "toy"\nweights = "none"', 'name = "cifar_resnet20"\nweights = "cifar10"')
    toy_recipe.write_text(text)
    with pytest.raises(TlkitError, match="on this machine") as refused:
        tlkit.Model.from_recipe(toy_recipe, offline=True).fit(verbose=0)
    assert "settings=" not in str(refused.value)


def test_numbers_of_numpy_are_numbers() -> None:
    mine = model(seed=np.int64(1))
    mine.compile(optimizer="sgd", lr=np.float32(1e-3))
    mine.fit(
        PIXELS, ["cat", "dog"] * 6, epochs=np.int64(1), batch_size=np.int32(4), validation_split=np.float32(0.5), verbose=0
    )
    assert len(mine.history.epoch) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("layers", "model.stages"),
        ("save_weights", "model.save"),
        ("load_weights", "run:"),
        ("optimizer", "schedule="),
        ("parameters", r"model\.network"),
        ("eval", "by themselves"),
        ("predct", 'did you mean "predict"'),
        ("get_weights", r"copy\.deepcopy"),
    ],
)
def test_an_attribute_of_keras_says_what_does_the_same(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(model(), name)
    assert not hasattr(model(), name)
    with pytest.raises(AttributeError, match=r"tlkit\.load\(FOLDER\)"):
        tlkit.load_model  # noqa: B018  # the access is what is tested
    with pytest.raises(TlkitError, match=r'model\.save\(FOLDER\), then tlkit\.export\(FOLDER, "onnx"\)'):
        tlkit.export(model(), "onnx")


def test_a_model_cannot_be_saved_under_a_name_that_no_folder_can_have() -> None:
    with pytest.raises(TlkitError, match="cannot be written"):
        model().save("x" * 5000)


def test_a_huge_image_is_told_with_what_raises_the_limit_of_a_model(tmp_path: Path, toy_recipe: Path) -> None:
    for number in range(8):
        (folder := tmp_path / "images" / ("cat", "dog")[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(folder / f"{number}.png")
    toy_recipe.write_text(toy_recipe.read_text().replace("batch_size = 16", "batch_size = 16\nmax_pixels = 255"))
    mine = tlkit.Model.from_recipe(toy_recipe, device="cpu")
    mine.compile(lr=1e-2)
    raises = r"data\.max_pixels = 256, or make the image smaller; Model\.from_recipe reads a recipe with such a key"
    with pytest.raises(TlkitError, match=raises) as caught:
        mine.fit(tmp_path / "images", epochs=1, verbose=0)
    assert 'on_corrupt="skip"' in caught.value.hints[-1]
    with pytest.raises(TlkitError, match=raises):
        mine.evaluate(tmp_path / "images")


def test_no_weights_are_random_ones_as_in_keras() -> None:
    named, none = (tlkit.Model("toy", classes=2, image_size=16, weights=each, device="cpu") for each in ("none", None))
    assert all(bool((tensor == named.state_dict()[name]).all()) for name, tensor in none.state_dict().items())


def test_pickling_a_model_says_how_it_is_saved_and_copies_are_models() -> None:
    mine = model()
    with pytest.raises(TlkitError, match=r"(?s)cannot be pickled.*model\.save\(FOLDER\).*tlkit\.load"):
        pickle.dumps(mine)
    assert copy.copy(mine).network is mine.network
    deep = copy.deepcopy(mine)
    assert deep.network is not mine.network
    assert np.array_equal(deep.predict(PIXELS), mine.predict(PIXELS))


def test_gradual_freezes_the_backbone_alone_and_by_one_length() -> None:
    mine = model().freeze("backbone", gradual=1)
    assert [stage.trainable for stage in mine.stages.values()] == [True] * len(mine.stages)
    mine.compile(lr_groups={"backbone": {"from": 1e-3, "to": 1e-2}, "head": 1e-2})
    with pytest.raises(TlkitError, match="gradual is of the backbone alone, not of head"):
        mine.freeze("head", gradual=1)
    with pytest.raises(TlkitError, match="epochs and gradual are both given"):
        mine.freeze("backbone", epochs=1, gradual=1)


HABITS = {
    "call": (lambda m: m(PIXELS), "model.predict(x) takes pictures"),
    "position of a stage": (lambda m: m.stages[-1], "list(model.stages.values())[-2:]"),
    "layers but the last": (lambda m: m.stages[:-2], "list(model.stages.values())[-2:]"),
    "optimizer of torch": (lambda m: m.compile(torch.optim.Adam, lr=1e-3), "others: adam, adamw"),
    "loss of torch": (lambda m: m.compile(loss=torch.nn.MSELoss(), lr=1e-3), "the head's task has its loss"),
    "module as head": (lambda _: model(head=torch.nn.Linear(8, 2)), "is offered by a plugin"),
    "argument of fit": (
        lambda m: m.fit(PIXELS, [0, 1] * 6, initial_epoch=3),
        "another fit goes on from where the last one ended",
    ),
    "argument of summary": (lambda m: m.summary(line_length=80), "Model.summary: has no argument"),
    "batches for predict": (lambda m: m.predict(iter([PIXELS])), "np.concatenate(list(x))"),
    "paths of a generator": (lambda m: m.predict(Path("x").glob("*.png")), "a list of them: list(x)"),
    "a whole table": (lambda m: m.fit(np.array([["a.png", "a"]], object)), 'x = table["path"], y = table["label"]'),
    "momentum": (lambda m: m.compile("sgd", lr=1e-2, momentum=0.9), 'optimizer={"name": "sgd", "momentum": 0.9}'),
    "a pair": (lambda m: m.fit((PIXELS, PIXELS)), "images and labels are two arguments"),
    "more classes": (lambda m: m.fit(PIXELS, [0, 1, 2] * 4), 'Model(.., weights="run:FOLDER", classes=3)'),
    "lists of names": (lambda m: m.fit(PIXELS, [["cat"], ["cat", "dog"]] * 6), "one column per class"),
    "bytes of a file": (lambda m: m.predict(b"x"), "PIL.Image.open(io.BytesIO(data))"),
    "address": (lambda m: m.predict("https://x/y.png"), "https://x/y.png: is an address"),
    "transparency": (lambda m: m.predict(np.zeros((2, 16, 16, 4), np.uint8)), "x[..., :3]"),
    "a missing name": (lambda m: m.fit(PIXELS, ["cat", float("nan")] * 6), "y holds float and str"),
    "labels from 1": (lambda m: m.fit(PIXELS, [1, 2] * 6), "they begin at 0: y - 1"),
}


@pytest.mark.parametrize("habit", HABITS)
def test_habits_of_keras_and_torch_are_told_what_does_the_same(habit: str) -> None:
    call, words = HABITS[habit]
    mine = model()
    mine.compile(lr=1e-2)
    with pytest.raises(TlkitError) as caught:
        call(mine)
    assert words in str(caught.value)


def test_network_whose_modules_a_program_replaced_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    mine = model()
    mine.compile(lr=1e-2)
    mine.network.head = torch.nn.Sequential(mine.network.head)
    for call in (lambda: mine.fit(PIXELS, [0, 1] * 6, verbose=0), lambda: mine.save(tmp_path / "m")):
        with pytest.raises(TlkitError, match=r"model\.network was changed: it has other parameters.*: head\.0\.weight"):
            call()
    assert not (tmp_path / "m").exists(), "what tlkit.load could not read"


def test_requires_grad_is_not_the_way_to_freeze_and_is_put_back_after_a_fit() -> None:
    mine = model().freeze("backbone")
    mine.compile(lr=1e-2)
    mine.network.stages["stem"].requires_grad_(False)  # as the model has it too
    mine.fit(PIXELS, [0, 1] * 6, epochs=1, batch_size=6, verbose=0)
    assert all(each.requires_grad for each in mine.network.parameters())
    mine.unfreeze("backbone")
    mine.compile(lr=1e-2)
    mine.network.stages["stem"].requires_grad_(False)
    with pytest.raises(TlkitError, match="has requires_grad False, and stem trains") as caught:
        mine.fit(PIXELS, [0, 1] * 6, epochs=1, batch_size=6, verbose=0)
    assert 'model.freeze("stem")' in str(caught.value)


def test_a_copy_that_a_callback_makes_of_a_model_is_trained_on() -> None:
    """Though parts of it are frozen in that epoch."""
    mine, copies = model().freeze("stem", epochs=1), []

    class Copy:
        def on_epoch_end(self, epoch: int, logs: object) -> None:
            copies.append(copy.deepcopy(mine))

    mine.compile(lr=1e-2)
    mine.fit(PIXELS, [0, 1] * 6, epochs=2, batch_size=6, verbose=0, callbacks=[Copy()])
    assert len(copies[0].fit(PIXELS, [0, 1] * 6, epochs=2, batch_size=6, verbose=0)) == 2


@pytest.mark.parametrize("verb", ["compile", "freeze", "fit"])
def test_a_callback_changes_nothing_of_the_fit_that_calls_it(verb: str) -> None:
    class Change:
        def on_epoch_begin(self, epoch: int, logs: object) -> None:
            calls = {
                "compile": lambda: self.model.compile("adam", lr=1e-3),
                "freeze": lambda: self.model.freeze("stem"),
                "fit": lambda: self.model.fit(PIXELS, [0, 1] * 6),
            }
            calls[verb]()

    mine = model()
    mine.compile("sgd", lr=1e-2)
    with pytest.raises(TlkitError, match=rf"Change.on_epoch_begin raised TlkitError: Model.{verb}: fit trains the model now\."):
        mine.fit(PIXELS, [0, 1] * 6, epochs=1, batch_size=6, callbacks=[Change()], verbose=0)
    assert mine.stages["stem"].trainable
    assert len(mine.fit(PIXELS, [0, 1] * 6, epochs=1, batch_size=6, verbose=0)) == 1
