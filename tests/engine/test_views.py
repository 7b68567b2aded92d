"""Views of a picture are the crops of torchvision and their mirror images, and predictions for them are averaged."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tlkit import tasks
from tlkit.engine.images import views
from tlkit.engine.images.geometry import Geometry
from tlkit.errors import TlkitError
from tlkit.tasks import Predictions, averaging

NOISE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize(("count", "crops"), [(5, v2.FiveCrop), (10, v2.TenCrop)])
def test_five_and_ten_views_are_torchvisions_crops(count: int, crops: type) -> None:
    resized = v2.Resize(32, v2.InterpolationMode.BILINEAR)(Image.fromarray(NOISE))
    top_left, top_right, bottom_left, bottom_right, centre, *mirrored = crops(28)(resized)
    wanted = [centre, top_left, top_right, bottom_left, bottom_right]
    if mirrored:  # crops of the mirror image: its top left is that of the top right
        wanted += [mirrored[4], mirrored[1], mirrored[0], mirrored[3], mirrored[2]]
    made = views.pictures(NOISE, views.geometries(Geometry((28, 28), (32, 32), "bilinear"), count))
    np.testing.assert_array_equal(made, np.stack([np.asarray(each) for each in wanted]))


def test_two_views_are_the_picture_and_its_mirror_image() -> None:
    made = views.pictures(NOISE, views.geometries(Geometry((28, 28), (32, 32), "bilinear"), 2))
    np.testing.assert_array_equal(made[1], made[0][:, ::-1])


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_where_nothing_is_cut_off_corners_are_of_a_larger_picture(fit: str) -> None:
    plain = Geometry((28, 28), (28, 28), "bilinear", fit, (1, 2, 3) if fit == "pad" else None)
    made = views.pictures(NOISE[:, :50], views.geometries(plain, 5))  # of a square all fits are the same
    larger = np.asarray(Image.fromarray(NOISE[:, :50]).resize((32, 32), Image.Resampling.BILINEAR))  # 28 * 256 / 224
    np.testing.assert_array_equal(made[1], larger[:28, :28])
    np.testing.assert_array_equal(made[4], larger[4:, 4:])


@pytest.mark.parametrize("count", [0, 3, True, 2.0])
def test_other_numbers_of_views_are_a_message(count: object) -> None:
    with pytest.raises(TlkitError, match="predict: --views: is") as caught:
        views.check(count, where="predict: --views")
    assert "5: the picture and its four corners" in str(caught.value)


@pytest.mark.parametrize("kind", ["single_label", "binary", "multi_label"])
def test_averaged_predictions_have_the_mean_probabilities(kind: str) -> None:
    task, draw = tasks.get(kind), torch.Generator().manual_seed(0)
    logits = [torch.randn(7, 2, generator=draw) * scale for scale in (1, 30, 200)]  # also some that are very sure
    targets = task.targets.example((7, 2))
    mean = averaging.mean([Predictions(each, targets, task) for each in logits])
    same = torch.sigmoid if kind == "multi_label" else lambda each: torch.softmax(each, 1)
    wanted = torch.stack([same(each.double()) for each in logits]).mean(0)
    torch.testing.assert_close(mean.probabilities, wanted, atol=1e-6, rtol=0)
    assert torch.isfinite(mean.logits).all()
