"""Names of a recipe that mean the same for every plugin."""

from pathlib import Path

import pytest

from tlkit.errors import RecipeError
from tlkit.plans import resolve
from tlkit.sources.places import Places


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
