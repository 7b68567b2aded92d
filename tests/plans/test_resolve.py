"""Names of a recipe that mean the same for every plugin."""

from pathlib import Path

import pytest

from tlkit.errors import RecipeError
from tlkit.plans import resolve
from tlkit.plugin import Dataset, Options, registry
from tlkit.sources.places import Places


class MustHavePath(Options):
    """A third party's options, whose path has no default."""

    path: str


@pytest.mark.parametrize(
    ("backbone", "weights"), [("resnet18", "imagenet1k-v1"), ("resnet50", "imagenet1k-v1"), ("efficientnet_lite0", "imagenet")]
)
def test_imagenet_means_the_first_imagenet_weights_of_any_backbone(toy_recipe: Path, backbone: str, weights: str) -> None:
    settings = [f"backbone.name={backbone}", "backbone.weights=imagenet", "data.image_size=64"]
    _, arms = resolve.load(toy_recipe, settings, Places())
    assert arms["main"].arm.backbone.weights == weights


def test_backbone_without_imagenet_weights_says_what_it_has(toy_recipe: Path) -> None:
    with pytest.raises(RecipeError, match='cifar_resnet20 has no weights "imagenet"') as caught:
        resolve.load(toy_recipe, ["backbone.name=cifar_resnet20", "backbone.weights=imagenet"], Places())
    assert "one of: cifar10, none, a file" in str(caught.value)


def test_data_folder_reaches_a_data_set_whose_path_must_be_given(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(read="tlkit_toy:read", find="tlkit_toy:find", options=MustHavePath)
    known = registry.get
    monkeypatch.setattr(registry, "get", lambda kind, name: dataset if name == "mine" else known(kind, name))
    settings = ["data={name='mine', image_size=16}"]
    with pytest.raises(RecipeError, match=r"data\.options\.path: is missing"):
        resolve.load(toy_recipe, settings, Places())
    _, arms = resolve.load(toy_recipe, settings, Places(data=tmp_path))
    assert arms["main"].data_options == MustHavePath(path=str(tmp_path))
    _, arms = resolve.load(toy_recipe, ["data={name='mine', options={path='x'}, image_size=16}"], Places(data=tmp_path))
    assert arms["main"].data_options == MustHavePath(path="x")  # the folder is still --data's when it is looked for


def test_a_crop_of_a_padded_picture_is_not_called_unused_where_evaluation_crops_nothing(toy_recipe: Path) -> None:
    for padding, unused in (("", 1), (", padding=2", 0)):
        settings = [f"data.augment=[{{name='random_crop'{padding}}}]", "data.crop=1.0"]
        _, arms = resolve.load(toy_recipe, settings, Places())
        assert len(arms["main"].unused) == unused


@pytest.mark.parametrize(
    ("group", "words"),
    [("[[a]", "Possible nested set"), ("a{99999999999999999999}", "the repetition number is too large"), ("(", "missing")],
)
def test_expression_that_python_cannot_use_is_refused_in_our_words(toy_recipe: Path, group: str, words: str) -> None:
    settings = [f"data={{name='folder', image_size=16, options={{path='x', group='{group}'}}}}"]
    with pytest.raises(RecipeError, match=rf"data\.options\.group: is no regular expression: {words}"):
        resolve.load(toy_recipe, settings, Places())
