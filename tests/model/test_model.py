"""Model, and the functions that `import tlkit` offers."""

import dataclasses
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tlkit_toy_build import ToyNet

import tlkit
from tlkit.errors import RecipeError, RunFailed, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.model import argument_names
from tlkit.plans import plan_json
from tlkit.plans.plan import ImagesPlan
from tlkit.recipe import recipe, schedules, tables
from tlkit.store import cache

pytestmark = pytest.mark.usefixtures("undrawn")

OPTIONS = {"classes": 4, "train": 80, "test": 40, "size": 16}
RATES = {"backbone": 1e-2, "head": 1e-2}


def _model(**options: object) -> tlkit.Model:
    return tlkit.Model("toy", **{"classes": 4, "image_size": 16, "device": "cpu", **options})


def _fit(model: tlkit.Model, **options: object) -> list[Epoch]:
    return model.fit("synthetic", **{"epochs": 2, "batch_size": 16, "options": OPTIONS, "verbose": 0, **options})


def _without_clock(epochs: list[Epoch]) -> list[Epoch]:
    return [dataclasses.replace(epoch, seconds=0.0, images_per_second=0.0, times={}) for epoch in epochs]


KINDS = {
    "plain": ((), {}, {}, ()),
    "frozen stages, sgd, augmented": (
        ("stem", "block1"),
        {"optimizer": {"name": "sgd", "nesterov": True}, "lr_groups": {"block2": 0.1, "head": {"lr": 0.01, "momentum": 0.5}}},
        {"augment": ["random_crop", "hflip"], "split": {"train_per_class": 6, "validation": 0.2}, "epochs": 3},
        (
            "freeze={stem=true, block1=true}", "optimizer={name='sgd', nesterov=true}",
            "lr_groups={block2=0.1, head={lr=0.01, momentum=0.5}}", "data.augment=['random_crop', 'hflip']",
            "data.split={train_per_class=6, validation=0.2}", "schedule.epochs=3",
        ),
    ),
    "smoothed, stopped early": (
        (),
        {"loss": {"label_smoothing": 0.1}, "schedule": {"name": "constant"}},
        {"epochs": 9, "early_stopping": 1, "options": {**OPTIONS, "noise": 2.0}},
        (
            "loss.label_smoothing=0.1", "schedule={name='constant', epochs=9}", "early_stopping.patience=1",
            "data.options.noise=2.0",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("freeze", "compiled", "fitted", "settings"), KINDS.values(), ids=KINDS)
def test_fit_ends_with_the_bits_that_apply_writes(
    toy_recipe: Path, freeze: tuple[str, ...], compiled: dict, fitted: dict, settings: tuple[str, ...]
) -> None:
    applied = tlkit.apply(toy_recipe, ["seeds=[3]", *settings], runs=toy_recipe.parent / "runs")
    folder = applied.folder / applied.result["arms"]["main"]["seeds"]["3"]["folder"]
    model = _model(seed=3)
    model.freeze(*freeze)
    model.compile(**{"lr_groups": RATES, "schedule": "cosine", **compiled})
    history = _fit(model, **fitted)
    written = load_file(folder / "weights.safetensors")
    assert model.state_dict().keys() == written.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, written[name]), name
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert _without_clock(history) == _without_clock([Epoch(**line) for line in lines])
    test = applied.result["arms"]["main"]["seeds"]["3"]["test"]
    # the model is evaluated unfolded, the run was folded where it was frozen
    assert model.evaluate("synthetic", options=fitted.get("options", OPTIONS), batch_size=16) == pytest.approx(test, rel=1e-6)


def test_best_epoch_by_validation_is_what_a_model_ends_with() -> None:
    model = _model()
    model.compile(lr_groups={"backbone": 0.05, "head": 0.05}, schedule="constant")
    hard = {**OPTIONS, "noise": 2.0}
    history = _fit(model, epochs=8, options=hard, split={"validation": 0.2})
    keys = [(epoch.validation["accuracy"], -epoch.validation["loss"]) for epoch in history]
    best = keys.index(max(keys))
    assert best != 7, "these settings no longer tell the best epoch from the last; choose others"
    assert model.evaluate("synthetic", options=hard, batch_size=16) == history[best].test


def test_weights_go_to_and_from_the_library(tmp_path: Path) -> None:
    torch.manual_seed(7)
    net = ToyNet(4)
    save_file({**net.state_dict()}, tmp_path / "toy.safetensors")
    model = _model(weights=str(tmp_path / "toy.safetensors"))
    again = ToyNet(4)
    again.load_state_dict(model.state_dict(), strict=True)
    for name, tensor in again.state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, net.state_dict()[name]), name


def _by_hand(model: tlkit.Model, pixels: np.ndarray) -> torch.Tensor:
    net = ToyNet(4)
    net.load_state_dict(model.state_dict())
    net.eval()
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        return torch.softmax(net(x), 1)


def test_pixels_are_as_the_weights_that_a_file_holds_want_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), np.uint8)
    plain, caffe = (tlkit.Model("toy", classes=3, image_size=16, input=each) for each in (None, "caffe"))
    caffe.network.load_state_dict(plain.network.state_dict())
    own = {"mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0], "channels": "bgr", "range": 255.0}
    table = tlkit.Model("toy", classes=3, image_size=16, input=own)
    table.network.load_state_dict(plain.network.state_dict())
    assert not np.allclose(plain.predict(pixels), caffe.predict(pixels), atol=1e-3)
    np.testing.assert_array_equal(caffe.predict(pixels), table.predict(pixels))


def test_predict_and_embed_are_the_networks_own(tmp_path: Path) -> None:
    model = _model()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), np.uint8)
    found = model.predict(pixels)
    assert found.dtype == np.float32
    assert torch.allclose(torch.from_numpy(found), _by_hand(model, pixels), atol=1e-6)
    state = model.state_dict()
    logits = torch.from_numpy(model.embed(pixels)) @ state["fc.weight"].T + state["fc.bias"]
    assert torch.allclose(torch.softmax(logits, 1), _by_hand(model, pixels), atol=1e-6)
    for index in range(3):
        Image.fromarray(pixels[index]).save(tmp_path / f"{index}.png")
    files = [tmp_path / "0.png", str(tmp_path / "1.png"), tmp_path / "2.png"]
    np.testing.assert_allclose(model.predict(files), found[:3], atol=1e-6)


def test_two_views_are_the_mean_of_a_picture_and_its_mirror_image() -> None:
    model, x = _model(), np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    wanted = (np.asarray(model.predict(x)) + np.asarray(model.predict(np.ascontiguousarray(x[:, :, ::-1])))) / 2
    np.testing.assert_allclose(np.asarray(model.predict(x, views=2)), wanted, atol=1e-6)
    labels = wanted.argmax(1)
    assert model.evaluate(x, labels, views=2, verbose=0)["accuracy"] == 1


def test_any_stage_can_be_embedded_at(tmp_path: Path) -> None:
    model = _model()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    net = ToyNet(4)
    net.load_state_dict(model.state_dict())
    net.eval()
    with torch.no_grad():
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        expected = net.block1(net.relu(net.bn1(net.conv1(x))))
    np.testing.assert_allclose(model.embed(pixels, at="block1", pooled=False), expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.embed(pixels, at="block1"), expected.mean((2, 3)).numpy(), atol=1e-5)
    assert model.embed(pixels[:0], at="block1", pooled=False).shape == (0, 8, 8, 8)
    with pytest.raises(TlkitError, match='embed: there is no stage "block3"') as error:
        model.embed(pixels, at="block3")
    assert "stages: stem, block1, block2" in error.value.hints


def test_asking_changes_nothing() -> None:
    model = _model()
    model.compile(lr_groups=RATES)
    _fit(model, epochs=1)
    before = {name: tensor.clone() for name, tensor in model.network.tensors().items()}
    modes = [module.training for module in model.network.modules()]
    model.predict(np.zeros((2, 16, 16, 3), np.uint8))
    model.evaluate("synthetic", options=OPTIONS)
    model.summary()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.tensors().items())
    assert [module.training for module in model.network.modules()] == modes


def test_model_can_be_asked_before_it_is_compiled() -> None:
    model = _model()
    scores = model.evaluate("synthetic", options=OPTIONS)
    assert set(scores) == {"loss", "accuracy", "balanced_accuracy", "f1", "auroc"}
    assert model.predict(np.zeros((1, 16, 16, 3), np.uint8)).shape == (1, 4)


def test_frozen_stages_do_not_move() -> None:
    model = _model()
    before = {name: tensor.clone() for name, tensor in model.network.tensors().items()}
    model.freeze("backbone").unfreeze("block2")
    model.compile(lr_groups=RATES)
    _fit(model)
    moved = {name for name, tensor in model.network.tensors().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"block2", "head"}


def test_freeze_for_some_epochs_is_a_phase() -> None:
    model = _model()
    model.freeze("backbone", epochs=1)
    model.compile(lr_groups=RATES)
    assert [epoch.phase for epoch in _fit(model, epochs=2)] == [1, 2]


def test_freeze_for_more_epochs_than_compile_knows_of_is_no_error() -> None:
    model = _model()
    model.freeze("backbone", "head", epochs=12)
    model.unfreeze("head")
    model.compile(lr_groups=RATES, schedule={"name": "cosine", "warmup_epochs": 11})


def test_epochs_belong_to_fit() -> None:
    with pytest.raises(TlkitError, match='schedule has "epochs", which belong to fit') as error:
        _model().compile(lr_groups=RATES, schedule={"name": "cosine", "epochs": 5})
    assert "model.fit(.., epochs=5)" in str(error.value)


def test_fitting_again_goes_on_from_where_it_was() -> None:
    once, twice = _model(), _model()
    for model in (once, twice):
        model.compile(lr_groups=RATES, optimizer={"name": "sgd", "momentum": 0.0}, schedule="constant")
    _fit(once, epochs=1, split={"validation": 0.0})
    _fit(twice, epochs=1, split={"validation": 0.0})
    between = {name: tensor.clone() for name, tensor in twice.network.tensors().items()}
    again = _fit(twice, epochs=1, split={"validation": 0.0})
    assert all(torch.equal(tensor, between[name]) for name, tensor in once.network.tensors().items())
    assert not torch.equal(twice.network.tensors()["conv1.weight"], between["conv1.weight"])
    assert again[0].epoch == 1, "the schedule begins anew"


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.freeze("stem"),
        lambda model: model.unfreeze("stem"),
        lambda model: setattr(model.stages["stem"], "trainable", False),
    ],
)
def test_fit_after_a_change_of_what_is_frozen_needs_compile(change) -> None:
    model = _model()
    model.compile(lr_groups=RATES)
    change(model)
    with pytest.raises(TlkitError, match="what is frozen changed after the model was compiled") as error:
        _fit(model)
    assert "model.compile(" in str(error.value)
    model.compile(lr_groups=RATES)
    assert len(_fit(model, epochs=1)) == 1


def test_fit_needs_compile() -> None:
    with pytest.raises(TlkitError, match=r"Model\.fit: the model is not compiled") as error:
        _fit(_model())
    assert "model.compile(" in str(error.value)


ERRORS = {
    "backbone": (lambda: tlkit.Model("toi", classes=4), 'did you mean "toy"?'),
    "head": (lambda: _model(head="linera"), 'did you mean "linear"?'),
    "weights": (lambda: _model(weights="imagenet"), 'toy has no weights "imagenet"'),
    "classes": (lambda: _model(classes=1), "classes is 1"),
    "classes of text": (lambda: _model(classes="4"), "classes is '4'"),
    "classes not whole": (lambda: _model(classes=2.5), "classes is 2.5"),
    "device": (lambda: _model(device="gpu"), "one of: auto, cpu, cuda, cuda:1"),
    "unknown device": (lambda: _model(device="tpu"), "one of: auto, cpu, cuda, cuda:1"),
    "no device": (lambda: _model(device=None), "one of: auto, cpu, cuda, cuda:1"),
    "image size": (lambda: _model(image_size=4), "Model: image_size: is 4"),
    "frozen key": (lambda: _model().freeze("blok1").compile(lr_groups=RATES), 'did you mean "block1"?'),
    "no rate": (lambda: _model().compile(lr_groups={"head": 1e-3}), "trains but has no rate"),
    "optimizer": (lambda: _model().compile(lr_groups=RATES, optimizer="adamv"), 'did you mean "adam"?'),
    "schedule": (lambda: _model().compile(lr_groups=RATES, schedule="step"), "give either every or milestones"),
    "loss": (lambda: _model().compile(lr_groups=RATES, loss={"smoothing": 0.1}), "loss.smoothing"),
    "no rates": (lambda: _model().compile(lr_groups=None), "lr_groups"),
    "rates of text": (lambda: _model().compile(lr_groups="x"), "lr_groups"),
    "optimizer of a number": (lambda: _model().compile(lr_groups=RATES, optimizer=3), "others: adam, adamw"),
    "no schedule": (lambda: _model().compile(lr_groups=RATES, schedule=None), "schedule=\"constant\""),
    "batch of none": (lambda: _model().evaluate("synthetic", options=OPTIONS, batch_size=0), "batch_size is 0"),
    "negative batch": (lambda: _model().evaluate("synthetic", options=OPTIONS, batch_size=-1), "batch_size is -1"),
    "one rate": (lambda: _model().compile(lr=-1), "Model.compile: lr: is -1, but"),
    "key of another": (lambda: _model().compile({"name": "adam", "momentum": 1}, lr=1e-3), 'optimizer={"name": "sgd", "momentum": 0.9}'),
    "rate": (lambda: _model().compile(lr_groups={"backbone": 0, "head": 1e-3}), 'model.freeze("backbone")'),
    "decay": (lambda: _model().compile(lr_groups={"stem": {"lr": 1e-3, "decay": 0.5}}), '\n  lr_groups={"backbone": {"decay": ..}}'),
    "option": (lambda: _model(head={"kind": "linear", "dropout": 0.1}), 'option of the head: head={"options": {"dropout": 0.2}}'),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), ERRORS.values(), ids=ERRORS)
def test_wrong_argument_is_a_message_with_the_fix(call, words: str) -> None:
    with pytest.raises(TlkitError) as error:
        call()
    assert words in str(error.value)


FIT_ERRORS = {
    "data": (("nowhere", {}), "Model.fit: nowhere is neither a data set nor a folder"),
    "no data": ((None, {}), "Model.fit: x is missing"),
    "data of a number": ((3, {}), "Model.fit: x is an int, which is neither images nor the name"),
    "pixels": ((np.zeros(3), {}), "Model.fit: an array has shape (3,), not (N, H, W, 3)"),
    "a name that is not there": (("synthetik", {}), 'did you mean "synthetic"?'),
    "split of a number": (("synthetic", {"split": 3}), "Model.fit: split: is 3"),
    "options of text": (("synthetic", {"options": "x"}), "Model.fit: options: is \"x\""),
    "augment of a number": (("synthetic", {"augment": 3}), "Model.fit: augment: is 3"),
    "classes": (("synthetic", {"options": {"classes": 3}}), "Model(.., classes=3)"),
    "augment": (("synthetic", {"augment": ["flip"]}), "Model.fit: augment.0: there is no"),
    "split": (("synthetic", {"split": {"train": 10, "train_per_class": 1}}), "give one"),
    "options": (("synthetic", {"options": {"klasses": 3}}), 'did you mean "classes"?'),
    "epochs": (("synthetic", {"epochs": 0}), "Model.fit: epochs: is 0"),
    "part": (("synthetic", {"validation_split": 2.0}), "Model.fit: validation_split: is 2.0"),
    "patience": (("synthetic", {"early_stopping": 0}), "Model.fit: early_stopping: is 0"),
    "many images": (("synthetic", {"options": OPTIONS, "split": {"train": 10**6}}), 'split={"train": 80}'),
    "too many": (("synthetic", {"options": OPTIONS, "split": {"train_per_class": 99}}), "and 99 are asked for"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), FIT_ERRORS.values(), ids=FIT_ERRORS)
def test_wrong_argument_of_fit_is_a_message(arguments: tuple, words: str) -> None:
    model = _model()
    model.compile(lr_groups=RATES)
    with pytest.raises(TlkitError) as error:
        model.fit(arguments[0], **{"verbose": 0, **arguments[1]})
    assert words in str(error.value)


def test_model_that_diverges_in_its_first_epoch_has_the_weights_from_before() -> None:
    model = _model()
    before = {name: tensor.clone() for name, tensor in model.network.tensors().items()}
    model.compile(lr_groups={"backbone": 1e20, "head": 1e20}, optimizer={"name": "sgd"}, schedule="constant")
    with pytest.raises(RunFailed, match="epoch 1") as error:
        _fit(model)
    assert str(error.value).endswith("the model's weights are those that it had before fit")
    assert len(model.history) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.tensors().items())


def test_folder_of_images_is_a_data_set(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(6):
            pixels = draw.integers(0, 255, (20, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    model = _model()
    model.compile(lr_groups=RATES)
    history = model.fit(tmp_path / "images", epochs=1, batch_size=8, verbose=0)
    assert history[0].test == model.evaluate(str(tmp_path / "images"), batch_size=8)


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = _model()
    model.compile(lr_groups=RATES)
    _fit(model, epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_argument_names_are_the_recipes_keys() -> None:
    keys = {"backbone", "weights", "head", "classes", "image_size"}
    assert keys < set(inspect.signature(tlkit.Model).parameters)
    compiled = set(inspect.signature(tlkit.Model.compile).parameters) - {"self", "lr"}
    assert compiled <= set(recipe.Arm.model_fields)
    of_keras = {"x", "y", "epochs", "validation_data", "validation_split", "callbacks", "verbose", "class_weight"}
    fitted = set(inspect.signature(tlkit.Model.fit).parameters) - {"self", "early_stopping"} - of_keras
    assert fitted <= set(tables.DataTable.model_fields)
    assert {argument_names.problem(f"Model.fit: data.{name}: is 1.", {}) for name in fitted} == {
        f"Model.fit: {name}: is 1." for name in fitted
    }
    assert "epochs" in schedules.ScheduleTable.model_fields
    assert "early_stopping" in recipe.Arm.model_fields


def test_summary_names_stages_and_rates(capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()
    model.freeze("stem")
    model.compile(lr_groups={"backbone": 3e-4, "head": 1e-2})
    model.summary()
    text = capsys.readouterr().out
    for word in ("stem", "block1", "block2", "head", "frozen"):
        assert word in text


def test_plan_has_every_arm_and_round_trips(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nfreeze = { backbone = true }\n")
    made = tlkit.plan(toy_recipe)
    assert list(made) == ["a", "b"]
    assert list(tlkit.plan(toy_recipe, arm="b")) == ["b"]
    assert made["b"].trained == 16 * 4 + 4
    assert made["a"].images == ImagesPlan(72, 8, 40, "counted")
    assert plan_json.from_json(plan_json.to_json(made["b"])) == made["b"]
    assert not (toy_recipe.parent / "runs").exists()


@pytest.mark.parametrize("settings", [(), ("data.batch_size=auto",), ("data.augment=['hflip']", "freeze.stem={epochs=1}")])
def test_epochs_of_a_plan_are_those_that_apply_trains(
    toy_recipe: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy_recipe.parent)
    (made,) = tlkit.plan(toy_recipe, settings).values()
    found = list(tlkit.epochs(plan_json.from_json(plan_json.to_json(made)), seed=5))
    assert not Path("runs").exists(), "nothing is written"
    applied = tlkit.apply(toy_recipe, [*settings, "seeds=[5]"])
    folder = applied.folder / applied.result["arms"]["main"]["seeds"]["5"]["folder"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert _without_clock(found) == _without_clock([Epoch(**line) for line in lines])


def test_epochs_take_the_batch_size_of_the_plan(toy_recipe: Path) -> None:
    (made,) = tlkit.plan(toy_recipe, ["data.batch_size=auto", "schedule.epochs=1"]).values()
    steps: list[int] = []

    class Steps(Observer):
        def step(self, epoch: int, step: int) -> None:
            steps.append(step)

    changed = dataclasses.replace(made, batch_size=24)
    assert made.batch_size != 24
    list(tlkit.epochs(changed, observer=Steps()))
    assert steps == [1, 2, 3]  # 72 training images


@pytest.mark.parametrize("stored", [True, False])
def test_epochs_store_what_the_plan_says(toy_recipe: Path, stored: bool) -> None:
    (made,) = tlkit.plan(toy_recipe, ["freeze={backbone=true}"]).values()
    (phase,) = made.phases
    assert phase.fixed.train is not None
    if not stored:
        fixed = dataclasses.replace(phase.fixed, train=None, evaluation=None)
        made = dataclasses.replace(made, phases=(dataclasses.replace(phase, fixed=fixed),))
    list(tlkit.epochs(made))
    assert sum(entry.rows for entry in cache.listing() if entry.kind == "features") == (72 + 8 + 40 if stored else 0)


def test_epochs_of_a_folder_begin_paths_at_the_recipe(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (16, 16), (index * 40, 0, 0)).save(tmp_path / "images" / name / f"{index}.png")
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "images"\n\n'))
    (made,) = tlkit.plan(toy_recipe).values()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(list(tlkit.epochs(made))) == 2


def test_error_of_a_recipe_has_all_its_problems(toy_recipe: Path) -> None:
    toy_recipe.write_text(
        toy_recipe.read_text().replace("[schedule]", "[schedul]").replace("batch_size = 16", "batch_size = 0")
    )
    with pytest.raises(RecipeError) as error:
        tlkit.apply(toy_recipe)
    assert len(error.value.problems) == 2
    assert "batch_size" in str(error.value)
    assert 'did you mean "schedule"?' in str(error.value)


def test_what_the_package_offers_is_there() -> None:
    for name in tlkit.__all__:
        assert getattr(tlkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        _ = tlkit.fly
