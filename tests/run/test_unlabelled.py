"""data.unlabelled: more images without labels, which are trained on where the network is sure of their class."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_domains
from conftest import Cli
from safetensors.torch import load_file
from toy_observers import SignalAfter
from toy_training import training

from tlkit import api
from tlkit.errors import Interrupted, RecipeError
from tlkit.plans import jobs, resolve
from tlkit.sources.places import Places

RECIPE = """\
format = 1
name = "more"
[backbone]
name = "toy"
weights = "none"
[data]
name = "folder"
image_size = 16
batch_size = 8
options = { path = "bright" }
unlabelled = { name = "images", options = { path = "more" }, threshold = 0.36, weight = 0.5 }
[lr_groups]
backbone = 1e-2
head = 1e-2
[schedule]
epochs = 2
"""
TABLE = "data.unlabelled={ name='images', options={ path='more' }"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    toy_domains.pictures(tmp_path / "bright", 250)
    toy_domains.pictures(tmp_path / "found", 240, seed=3)
    (tmp_path / "more" / "deeper").mkdir(parents=True)
    for number, file in enumerate(sorted((tmp_path / "found").rglob("*.png"))):  # in no order, and in no folder of a class
        file.rename(tmp_path / "more" / ("deeper" if number % 3 else "") / f"{number}.png")
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path / "r.toml"


def test_a_step_is_that_of_plain_torch(recipe: Path) -> None:
    mine, plain = training(recipe), training(recipe).network
    for each in [*mine.network.modules(), *plain.modules()]:
        if isinstance(each, torch.nn.Dropout):
            each.p = 0.0
    steps, order = mine.fit._steps, mine.prepared.train.order(0)
    x, y = next(steps._batches(mine.fit._feed_of(1), order, 1, done=0))
    assert (len(x), len(y)) == (16, 8)
    target = mine.prepared.evaluated.target
    torch.testing.assert_close(x[8:], target.part.inputs(target.training.repeated(0, 8), 0, torch.device("cpu")))
    plain.train()
    logits = plain(x)
    p = logits[8:].softmax(1)
    sure = p.max(1).values >= 0.36
    assert 0 < sure.sum() < 8
    labelled = -logits[:8].log_softmax(1)[torch.arange(8), y].mean()
    others = -p.max(1).values[sure].log().sum() / 8
    (labelled + 0.5 * others).backward()
    mine.fit._step.begin_(1)
    mine.fit._step([(x, y)])
    assert mine.fit._step.sums().loss == pytest.approx(8 * labelled.item(), rel=1e-5)  # what is told is of the labelled images
    for (name, parameter), expected in zip(mine.network.named_parameters(), plain.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_a_step_learns_the_labels_of_one_view_by_the_second(recipe: Path) -> None:
    """Against plain PyTorch: FixMatch, eq. 4. The second view is the first with a further augmentation."""
    setting = f"{TABLE}, threshold=0.42, weight=0.5, second_view=[{{ name='random_erasing', p=1.0 }}] }}"
    mine = training(recipe, setting, 'data.augment=["hflip"]')
    plain = training(recipe, 'data.augment=["hflip"]').network
    for each in [*mine.network.modules(), *plain.modules()]:
        if isinstance(each, torch.nn.Dropout):
            each.p = 0.0
    steps, order = mine.fit._steps, mine.prepared.train.order(0)
    x, y = next(steps._batches(mine.fit._feed_of(1), order, 1, done=0))
    assert (len(x), len(y)) == (24, 8)
    erased = (x[8:16] != x[16:]).any(1)  # (8, H, W)
    assert erased.flatten(1).any(1).all()
    assert not erased.flatten(1).all(1).any()
    plain.train()
    logits = plain(x)
    p = logits[8:16].detach().softmax(1)
    sure, label = p.max(1).values >= 0.42, p.argmax(1)
    assert 0 < sure.sum() < 8
    labelled = -logits[:8].log_softmax(1)[torch.arange(8), y].mean()
    others = -logits[16:].log_softmax(1)[torch.arange(8), label][sure].sum() / 8
    (labelled + 0.5 * others).backward()
    mine.fit._step.begin_(1)
    mine.fit._step([(x, y)])
    for (name, parameter), expected in zip(mine.network.named_parameters(), plain.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_a_run_that_was_stopped_within_an_epoch_goes_on_to_the_same_bits(recipe: Path, tmp_path: Path) -> None:
    settings = ["freeze.stem=true", "data.unlabelled.second_view=['randaugment']"]
    api.apply(recipe, settings, runs=tmp_path / "whole")
    with pytest.raises(Interrupted):
        api.apply(recipe, settings, runs=tmp_path / "parts", observer=SignalAfter(2, step=2))
    api.apply(recipe, settings, runs=tmp_path / "parts")
    one, other = (load_file(next(tmp_path.glob(f"{name}/more/main-*/weights.safetensors"))) for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_a_solved_head_is_fitted_again_with_sure_images(recipe: Path) -> None:
    """Against scikit-learn's own pipeline on the network's features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    settings = ("head={ kind='logistic', options={ C=0.01 } }", "lr_groups={}", f"{TABLE}, threshold=0.6, weight=1.0 }}")
    with pytest.raises(RecipeError, match=r"data\.unlabelled: needs probabilities, and the head gives none"):
        api.plan(recipe, ["head={ kind='svm' }", *settings[1:]])
    mine = training(recipe, *settings)
    train, target = mine.prepared.train, mine.prepared.evaluated.target
    assert target is not None
    with torch.no_grad():
        mine.network.eval()
        x, more = (
            mine.network.read(mine.network.run(part.inputs(part.indices, 0, torch.device("cpu")))).numpy()
            for part in (train, target.part)
        )
    y = train.targets(train.indices, 0, torch.device("cpu")).numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(x, y)
    p = model.predict_proba(more)
    sure = p.max(1) >= 0.6
    assert 0 < sure.sum() < len(more)
    list(mine.fit.epochs())
    assert mine.fit.details(("a", "b", "c"))["chosen"][-1] == (
        f"pseudo-labels: {sure.sum()} of 36 images without a label got one (confident)"
    )


def test_the_content_of_the_images_is_in_the_digest(recipe: Path) -> None:
    def digest(*settings: str) -> str:
        places = Places(recipe=recipe.parent, offline=True)
        read, arms = resolve.load(recipe, settings, places)
        (job,) = jobs.plan_jobs(read, arms, places, runs=recipe.parent, where="")
        return job.digest

    before = digest()
    assert digest(f"{TABLE}, threshold=0.9, weight=0.5 }}") != before
    (recipe.parent / "elsewhere").symlink_to("more")
    assert digest("data.unlabelled.options.path=elsewhere") == before  # a path does not count
    (recipe.parent / "more" / "new.png").write_bytes((recipe.parent / "bright" / "red" / "0.png").read_bytes())
    assert digest() != before


def test_the_plan_says_how_many_images_there_are(run: Cli, recipe: Path) -> None:
    code, out, error = run("plan", "r.toml")
    assert code == 0, error
    text = " ".join(out.split())
    assert "without labels: 36 images" in text
    assert "a class counts as its label where its probability is 0.36 or more" in text


def test_tested_images_among_those_without_labels_are_told_or_refused(run: Cli, recipe: Path) -> None:
    mine = training(recipe)
    test = mine.prepared.evaluated.test
    shutil.copy(test.pictures.split.files[test.indices[0]], recipe.parent / "more" / "copy.png")
    code, out, error = run("plan", "r.toml")
    assert code == 0
    words = "1 of 6 test images is identical to images without labels that are trained on"
    assert words in " ".join((out + error).split())
    code, _, error = run("apply", "r.toml", "--set", "data.on_overlap=error")
    assert code == 1
    assert words in error


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([f"{TABLE}, threshold=1.5 }}"], "data.unlabelled.threshold"),
        (
            ["data.unlabelled.weight=2.0", "head.kind=logistic", "lr_groups={}"],
            "data.unlabelled.weight: is 2, and a solved head counts",
        ),
        (["data.unlabelled.second_view=['mixup']"], "data.unlabelled.second_view: has mixup, which mixes images"),
        (
            ["data.unlabelled.second_view=['random_crop']"],
            "data.unlabelled.second_view: has random_crop, and both views are cropped alike",
        ),
        (
            ["data.unlabelled.second_view=['hflip']", "data.augment=['hflip']"],
            "data.unlabelled.second_view: has hflip, which data.augment has too",
        ),
        (
            ["data.unlabelled.second_view=['hflip']", "data.unlabelled.weight=1.0", "head.kind=logistic", "lr_groups={}"],
            "data.unlabelled.second_view: is there, and a solved head",
        ),
        (["data.unlabelled.options.pth=3"], "data.unlabelled.options.pth"),
        (
            ["also.dark={ name='folder', options={ path='bright' } }", "adapt.target=dark"],
            "data.unlabelled: is there beside [adapt]",
        ),
    ],
)
def test_what_cannot_be_is_named(run: Cli, recipe: Path, settings: list[str], words: str) -> None:
    code, _, error = run("validate", "r.toml", *[each for setting in settings for each in ("--set", setting)])
    assert code == 1
    assert words in error


def test_images_without_labels_have_the_size_of_each_phase(recipe: Path) -> None:
    recipe.write_text(
        RECIPE.replace("image_size = 16\n", "image_sizes = [{ epochs = 1, size = 8 }, { epochs = 1, size = 16 }]\n")
    )
    mine = training(recipe)
    steps, order = mine.fit._steps, mine.prepared.train.order(0)
    for epoch, size in ((1, 8), (2, 16)):
        x, _ = next(steps._batches(mine.fit._feed_of(epoch), order, epoch, done=0))
        assert x.shape == (16, 3, size, size)


def test_a_folder_that_is_not_there_or_has_no_image_is_named(recipe: Path) -> None:
    (recipe.parent / "empty").mkdir()
    for path, words in (("nowhere", "nowhere"), ("empty", "holds no images")):
        with pytest.raises(RecipeError, match=rf"data\.unlabelled: .*{words}"):
            training(recipe, f"data.unlabelled.options.path={path}")


def test_labels_of_a_data_set_with_classes_are_not_read(recipe: Path) -> None:
    for name in ("one", "other"):
        toy_domains.pictures(recipe.parent / name, 240, seed=3)
    (recipe.parent / "other" / "red").rename(
        recipe.parent / "other" / "crimson"
    )  # a class that is not trained on, the last too
    found = []
    for name in ("one", "other"):
        mine = training(recipe, "data.unlabelled.name=folder", f"data.unlabelled.options.path={name}")
        target = mine.prepared.evaluated.target
        assert len(target.part.indices) == 36
        assert not np.any(target.part.known)
        found.append(mine.plan.images)
    assert found[0] == found[1]
