"""Each change to pixels is torchvision's, with the parameters that were drawn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.v2 import functional

from tlkit.engine.augment import colour, randaugment, rotation
from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.draws import Draw, Draws
from tlkit.engine.augment.draws import noise as bytes_of
from tlkit.engine.augment.windows import windows
from tlkit.recipe import augmentations

SIDE = 61


def photographs() -> Tensor:
    """(8, 61, 61, 3) uint8: noise, smooth, saturated, dark, and four that leave nothing to change or to divide by."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (SIDE, SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    smooth = np.stack([255 * y, 255 * x, 127 * (1 + np.sin(9 * x * y))], axis=2)
    saturated = np.where(noise > 127, 255, 0)
    dark = noise // 8 + 20
    flat, black, white = (np.full((SIDE, SIDE, 3), value) for value in (93, 0, 255))
    one = black.copy()
    one[30, 30] = 255
    return torch.from_numpy(np.stack([noise, smooth, saturated, dark, flat, black, white, one]).astype(np.uint8))


def channels_first(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2).contiguous()


def apart(mine: Tensor, theirs: Tensor) -> tuple[int, float]:
    """Most grey levels between (n, H, W, 3) and (n, 3, H, W), and the share of values that differ."""
    difference = (channels_first(mine).int() - theirs.int()).abs()
    return int(difference.max()), float((difference > 0).float().mean())


COLOURS: dict[str, tuple[Callable[[Tensor, colour.Amounts], Tensor], Callable[[Tensor, float], Tensor], list[float]]] = {
    "brightness": (colour.brightness, functional.adjust_brightness, [0.0, 0.4, 0.93, 1.0, 1.27, 2.0]),
    "contrast": (colour.contrast, functional.adjust_contrast, [0.0, 0.4, 0.93, 1.0, 1.27, 2.0]),
    "saturation": (colour.saturation, functional.adjust_saturation, [0.0, 0.4, 0.93, 1.0, 1.27, 2.0]),
    "hue": (colour.hue, functional.adjust_hue, [-0.5, -0.31, -0.1, 0.0, 0.07, 0.25, 0.5]),
}
# Both round the result down, so a last bit that differs may make it one level less. Hue is rounded to the nearest here, and down
# there from 255.999 times its value.
SELDOM = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.01, "hue": 0.1}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_torchvisions_within_a_level(name: str) -> None:
    change, theirs, amounts = COLOURS[name]
    x = photographs()
    for amount in amounts:
        mine = colour.packed(change(colour.planar(x), np.full(8, amount)))
        most, share = apart(mine, torch.stack([theirs(picture, amount) for picture in channels_first(x)]))
        assert most <= 1
        assert share <= SELDOM[name]


@pytest.mark.parametrize("turn", [0.0, 0.123, -0.4])
def test_hue_is_that_of_the_standard_library(turn: float) -> None:
    import colorsys

    x = photographs()[:3, ::4, ::4]
    mine = colour.packed(colour.hue(colour.planar(x), np.full(3, turn)))
    for before, after in zip(x.reshape(-1, 3).tolist(), mine.reshape(-1, 3).tolist(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in before))
        expected = [255 * value for value in colorsys.hsv_to_rgb((h + turn) % 1, s, v)]
        assert max(abs(a - b) for a, b in zip(after, expected, strict=True)) <= 0.501


def test_jitter_changes_each_picture_by_its_own_amounts_in_its_own_order() -> None:
    (table,) = augmentations.read(["color_jitter"])
    x = photographs()[:4].repeat(30, 1, 1, 1)
    mine = augment(x, [table], size=(SIDE, SIDE), seed=4, epoch=2, images=np.arange(120))
    order = np.array(
        [(a, b, c, d) for a in range(4) for b in range(4) for c in range(4) for d in range(4) if len({a, b, c, d}) == 4]
    )
    draws = Draws(4, 2, np.arange(120))
    which = (draws.uniform(Draw.JITTER_ORDER) * 24).astype(int)
    factors = [0.6 + 0.8 * draws.uniform(draw) for draw in (Draw.BRIGHTNESS, Draw.CONTRAST, Draw.SATURATION)]
    amounts = [*factors, 0.2 * draws.uniform(Draw.HUE) - 0.1]
    theirs = channels_first(x)
    for image in range(120):
        for step in order[which[image]]:
            theirs[image] = list(COLOURS.values())[step][1](theirs[image], float(amounts[step][image]))
    most, _ = apart(mine, theirs)
    assert most <= 6  # a level that one step leaves, saturation and contrast after it make larger
    assert float((channels_first(mine).int() - theirs.int()).abs().float().mean()) < 0.6


@pytest.mark.parametrize("side", [17, 48, 61, 90])
def test_resized_crops_are_torchvisions(side: int) -> None:
    (table,) = augmentations.read(["random_resized_crop"])
    x = photographs().repeat(10, 1, 1, 1)
    mine = augment(x, [table], size=(side, side), seed=1, epoch=7, images=np.arange(80))
    draws = Draws(1, 7, np.arange(80))
    drawn = windows(draws, (0.08, 1.0), (3 / 4, 4 / 3), size=(SIDE, SIDE), first=(Draw.WINDOW_AREAS, Draw.WINDOW_RATIOS))
    theirs = []
    for image in range(80):
        height, width = int(drawn.height[image]), int(drawn.width[image])
        top = int(draws.uniform(Draw.WINDOW_Y)[image] * (SIDE + 1 - height))
        left = int(draws.uniform(Draw.WINDOW_X)[image] * (SIDE + 1 - width))
        picture = x[image].permute(2, 0, 1)
        theirs.append(functional.resized_crop(picture, top, left, height, width, [side, side], antialias=True))
    most, share = apart(mine, torch.stack(theirs))
    assert most <= 1
    assert share < 0.01


def test_erased_windows_are_torchvisions_with_the_drawn_noise() -> None:
    (table,) = augmentations.read([{"name": "random_erasing", "p": 0.6}])
    x = photographs().repeat(5, 1, 1, 1)
    mine = augment(x, [table], size=(SIDE, SIDE), seed=2, epoch=1, images=np.arange(40))
    draws, theirs = Draws(2, 1, np.arange(40)), channels_first(x)
    drawn = windows(draws, (0.02, 0.33), (0.3, 3.3), size=(SIDE, SIDE), first=(Draw.ERASE_AREAS, Draw.ERASE_RATIOS))
    for image in np.flatnonzero(draws.uniform(Draw.ERASE) < 0.6):
        height, width = int(drawn.height[image]), int(drawn.width[image])
        top = int(draws.uniform(Draw.ERASE_Y)[image] * (SIDE + 1 - height))
        left = int(draws.uniform(Draw.ERASE_X)[image] * (SIDE + 1 - width))
        noise = torch.from_numpy(bytes_of(draws.states(Draw.ERASE_NOISE)[[image]], height * width * 3)).reshape(
            height, width, 3
        )
        theirs[image] = functional.erase(theirs[image], top, left, height, width, noise.permute(2, 0, 1))
    assert apart(mine, theirs) == (0, 0.0)


def operation(name: str, magnitude: int, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """An operation of RandAugment by torchvision's functions and its table of strengths."""
    strengths, _ = RandAugment()._augmentation_space(31, size)[name]
    level = float(strengths[abs(magnitude)]) * (-1 if magnitude < 0 else 1) if strengths.ndim else 0.0
    angle = math.degrees(math.atan(level))
    nearest = InterpolationMode.NEAREST

    def affine(shear: list[float], translate: list[int], center: list[float] | None) -> Callable[[Tensor], Tensor]:
        return lambda x: functional.affine(x, 0.0, translate, 1.0, shear, nearest, center=center)

    return {
        "Identity": lambda x: x,
        "ShearX": affine([angle, 0.0], [0, 0], [0, 0]),
        "ShearY": affine([0.0, angle], [0, 0], [0, 0]),
        "TranslateX": affine([0.0, 0.0], [int(level), 0], None),
        "TranslateY": affine([0.0, 0.0], [0, int(level)], None),
        "Rotate": lambda x: functional.rotate(x, level, nearest),
        "Brightness": lambda x: functional.adjust_brightness(x, 1 + level),
        "Color": lambda x: functional.adjust_saturation(x, 1 + level),
        "Contrast": lambda x: functional.adjust_contrast(x, 1 + level),
        "Sharpness": lambda x: functional.adjust_sharpness(x, 1 + level),
        "Posterize": lambda x: functional.posterize(x, int(level)),
        "Solarize": lambda x: functional.solarize(x, level),
        "AutoContrast": functional.autocontrast,
        "Equalize": functional.equalize,
    }[name]


def test_operations_are_those_of_torchvision() -> None:
    theirs = RandAugment()._augmentation_space(31, (SIDE, SIDE))
    assert {name: signed for name, (_, signed) in randaugment.CHANGES.items()} == {name: s for name, (_, s) in theirs.items()}


EXACT = ("Identity", "TranslateX", "TranslateY", "Posterize", "Solarize", "Equalize")
# Where a row's shift, or sine and cosine, end in a half, two pixels are equally near, and which is taken is a matter of the last
# bit. All others are exact, but for the colours: a product that is whole but for its last bit may be rounded down to one less.
TIES: dict[str, Callable[[int], bool]] = {
    "ShearX": lambda magnitude: magnitude % 4 == 0,
    "ShearY": lambda magnitude: magnitude % 4 == 0,
    "Rotate": lambda magnitude: abs(magnitude) == 30,
}
MAPPED = tuple(TIES)


@pytest.mark.parametrize("name", randaugment.CHANGES)
def test_operation_is_torchvisions_at_every_magnitude(name: str) -> None:
    change, signed = randaugment.CHANGES[name]
    x = photographs()
    for magnitude in [*range(31), *(range(-30, 0) if signed else ())]:
        theirs = operation(name, magnitude, (SIDE, SIDE))(channels_first(x))
        most, share = apart(change(x, magnitude), theirs)
        if name in EXACT or (name in MAPPED and not TIES[name](magnitude)):
            assert most == 0
        elif name in MAPPED:
            assert share < 0.05
        else:
            assert most <= 1
            assert share < 0.06


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (41, SIDE), (SIDE, 32)])
@pytest.mark.parametrize("degrees", [-180.0, -77.3, -15.0, 0.0, 3.3, 90.0, 161.0])
def test_a_turn_by_degrees_is_torchvisions(shape: tuple[int, int], degrees: float) -> None:
    """Within a grey level; torchvision blends pixels at the edge with the fill twice, so they are left out."""
    x, fill = photographs()[:, : shape[0], : shape[1]], (124, 116, 104)
    mine = rotation.turned(x, np.full(len(x), degrees), fill)
    theirs = functional.rotate(channels_first(x), degrees, InterpolationMode.BILINEAR, fill=list(fill))
    ones = torch.ones(1, 1, *shape)
    covered = functional.rotate(ones, degrees, InterpolationMode.BILINEAR)[0, 0]
    inside, outside = covered > 0.9999, covered < 0.0001
    difference = (channels_first(mine).int() - theirs.int()).abs()
    assert int(difference[..., inside].max()) <= 1
    assert torch.equal(mine[:, outside], torch.tensor(fill, dtype=torch.uint8).expand(len(x), int(outside.sum()), 3))
    assert inside.float().mean() > 0.3


def test_angles_are_drawn_for_each_picture_and_even_to_either_side() -> None:
    (table,) = augmentations.read([{"name": "rotate", "degrees": 30}])
    x = photographs().repeat(3, 1, 1, 1)
    mine = augment(x, [table], size=(SIDE, SIDE), seed=3, epoch=2, images=np.arange(24), fill=(9, 8, 7))
    angles = 60 * Draws(3, 2, np.arange(24)).uniform(Draw.ANGLE) - 30
    assert angles.min() < -15
    assert angles.max() > 15
    alone = [rotation.turned(x[i : i + 1], angles[i : i + 1], (9, 8, 7)) for i in range(24)]
    assert torch.equal(mine, torch.cat(alone))


@pytest.mark.parametrize("steps", [90, 180])
def test_steps_are_whole_turns_each_as_often(steps: int) -> None:
    (table,) = augmentations.read([{"name": "rotate", "steps": steps}])
    x = photographs()[:1].expand(4000, -1, -1, -1)[:, :9, :9]
    mine = augment(x, [table], size=(9, 9), seed=1, epoch=0, images=np.arange(4000))
    theirs = [functional.rotate(channels_first(x[:1]), angle)[0].permute(1, 2, 0) for angle in range(0, 360, steps)]
    counts = [int((mine == each).flatten(1).all(1).sum()) for each in theirs]
    assert sum(counts) == 4000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_vertical_flip_is_torchvisions_in_its_part_of_the_pictures() -> None:
    (table,) = augmentations.read([{"name": "vflip", "p": 0.3}])
    x = photographs()[:1].expand(2000, -1, -1, -1)[:, :5, :7]
    mine = augment(x, [table], size=(5, 7), seed=1, epoch=0, images=np.arange(2000))
    flipped = Draws(1, 0, np.arange(2000)).uniform(Draw.VFLIP) < 0.3
    assert torch.equal(channels_first(mine)[flipped], functional.vertical_flip(channels_first(x))[flipped])
    assert torch.equal(mine[~flipped], x[~flipped])


@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"])
@pytest.mark.parametrize("shape", [(41, SIDE), (SIDE, 32)])
def test_operations_that_move_pixels_are_torchvisions_on_rectangles(name: str, shape: tuple[int, int]) -> None:
    x = photographs()[:, : shape[0], : shape[1]]
    for magnitude in (-29, -9, 1, 9, 22):
        theirs = operation(name, magnitude, shape)(channels_first(x))
        assert apart(randaugment.CHANGES[name][0](x, magnitude), theirs)[0] == 0


@pytest.mark.parametrize(("shape", "size"), [((30, 61), (26, 53)), ((61, 40), (53, 35))])
def test_resized_crops_of_rectangles_are_torchvisions(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """A window's shape is relative to the picture's: with a ratio of 1 it is a smaller picture of the same shape."""
    (table,) = augmentations.read([{"name": "random_resized_crop", "scale": [0.2, 0.9], "ratio": [1.0, 1.0]}])
    x = photographs()[:, : shape[0], : shape[1]].repeat(5, 1, 1, 1)
    mine = augment(x, [table], size=size, seed=1, epoch=7, images=np.arange(40))
    draws, theirs = Draws(1, 7, np.arange(40)), []
    for image in range(40):
        scale = math.sqrt(0.2 + 0.7 * draws.uniform(Draw.WINDOW_AREAS)[image])
        height, width = round(shape[0] * scale), round(shape[1] * scale)
        top = int(draws.uniform(Draw.WINDOW_Y)[image] * (shape[0] + 1 - height))
        left = int(draws.uniform(Draw.WINDOW_X)[image] * (shape[1] + 1 - width))
        picture = x[image].permute(2, 0, 1)
        theirs.append(functional.resized_crop(picture, top, left, height, width, list(size), antialias=True))
    most, share = apart(mine, torch.stack(theirs))
    assert most <= 1
    assert share < 0.01


def test_erased_windows_of_rectangles_lie_within_them() -> None:
    (table,) = augmentations.read([{"name": "random_erasing", "p": 1.0, "scale": [0.1, 0.1], "ratio": [1.0, 1.0]}])
    x = torch.full((200, 20, 60, 3), 7, dtype=torch.uint8)
    erased = (augment(x, [table], size=(20, 60), seed=5, epoch=0, images=np.arange(200)) != 7).any(3)
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert set(rows.tolist()) == set(columns.tolist()) == {11}  # the square root of 0.1 * 20 * 60
    assert erased.any(0)[[9, 10], [1, -2]].all()


def outcomes(x: Tensor, magnitude: int) -> dict[bytes, tuple[str, int]]:
    """What each operation makes of one picture (1, H, H, 3)."""
    return {
        change(x, sign * magnitude).numpy().tobytes(): (name, sign)
        for name, (change, signed) in randaugment.CHANGES.items()
        for sign in ((1, -1) if signed else (1,))
    }


def test_every_operation_and_sign_is_drawn_as_often() -> None:
    x = photographs()[:1, 20:40, 20:40].clamp(20, 235)
    known = outcomes(x, 9)
    assert len(known) == 23
    (table,) = augmentations.read([{"name": "randaugment", "ops": 1}])
    made = augment(x.expand(14_000, -1, -1, -1), [table], size=(20, 20), seed=0, epoch=0, images=np.arange(14_000))
    drawn = [known[picture.tobytes()] for picture in made.numpy()]
    counts = {name: [drawn.count((name, 1)), drawn.count((name, -1))] for name in randaugment.CHANGES}
    assert stats.chisquare([sum(each) for each in counts.values()]).pvalue > 1e-3
    signs = np.array([each for name, each in counts.items() if randaugment.CHANGES[name][1]])
    assert stats.chisquare(signs.ravel(), np.repeat(signs.sum(1) / 2, 2), ddof=8).pvalue > 1e-3


def test_operations_follow_each_other() -> None:
    x = photographs()[:1, 20:40, 20:40].clamp(20, 235)
    images = np.arange(300)
    first, second = (
        augment(x.expand(300, -1, -1, -1), augmentations.read([{"name": "randaugment", "ops": ops}]), size=(20, 20), seed=0, epoch=0, images=images)
        for ops in (1, 2)
    )  # fmt: skip
    following = set()
    for once, twice in zip(first, second, strict=True):
        after = outcomes(once[None], 9)
        assert twice.numpy().tobytes() in after
        following.add(after[twice.numpy().tobytes()][0])
    assert len(following) > 9


@pytest.mark.parametrize("magnitude", [-30, -17, 2, 9, 22])
def test_sharpness_leaves_flat_pictures_alone(magnitude: int) -> None:
    x = torch.arange(0, 256, 5, dtype=torch.uint8)[:, None, None, None].repeat(1, 9, 9, 3)
    assert torch.equal(randaugment.CHANGES["Sharpness"][0](x, magnitude), x)
