"""Images to batches: every image once an epoch, in an order of seed and epoch alone, held in memory or not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from toy_training import CPU, Training, training

from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.mix import mixing
from tlkit.engine.images.corrupt import decodable
from tlkit.engine.images.geometry import Geometry, fitted
from tlkit.engine.images.library import Library
from tlkit.engine.images.normalisation import normalise
from tlkit.engine.images.parts import Part, TrainingPart
from tlkit.engine.images.pictures import Pictures
from tlkit.errors import DataError
from tlkit.plugin import IMAGENET, Images, Split
from tlkit.recipe import augmentations
from tlkit.store import cache

GEOMETRY = Geometry((8, 8), (10, 10), "bilinear")


def quiet(done: int, total: int) -> None: ...


def epoch_of(mine: Training, epoch: int, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Every picture and label of an epoch, in its order."""
    order = mine.prepared.train.order(epoch)
    return batches_of(mine.prepared.train, order, epoch, size)


def batches_of(part: Part, order: np.ndarray, epoch: int = 0, size: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    chunks = [order[at : at + size] for at in range(0, len(order), size)]
    inputs, targets = ([read(chunk, epoch, CPU) for chunk in chunks] for read in (part.inputs, part.targets))
    return torch.cat(inputs), torch.cat(targets)


def test_an_epoch_uses_every_training_image_once(toy_recipe: Path) -> None:
    mine = training(toy_recipe)
    train, split = mine.prepared.train, mine.prepared.images.splits["train"]
    assert split.pixels is not None
    held = mine.prepared.evaluated.validation
    assert sorted([*train.indices, *held.indices]) == list(range(80))
    for epoch in (0, 1, 7):
        assert sorted(train.order(epoch)) == list(train.indices)
        x, labels = epoch_of(mine, epoch)
        order = train.order(epoch)
        assert torch.equal(x, normalise(torch.from_numpy(split.pixels[order]), train.convention))
        assert labels.tolist() == split.targets[order].tolist()


def test_order_differs_by_epoch_and_by_seed_and_returns_with_them(toy_recipe: Path) -> None:
    seeds = [training(toy_recipe, "data.split.validation=0.0", seed=seed).prepared.train for seed in (0, 1)]
    orders = [train.order(epoch).tolist() for train in seeds for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 8
    again = training(toy_recipe, "data.split.validation=0.0", seed=1).prepared.train
    assert again.order(2).tolist() == seeds[1].order(2).tolist()


def test_arms_of_one_seed_share_order_augmentation_and_initial_head(toy_recipe: Path) -> None:
    toy_recipe.write_text(
        toy_recipe.read_text()
        + '[arms.all]\n[arms.top]\nfreeze = { backbone = true }\noptimizer = { name = "sgd" }\ndata.batch_size = 9\n'
    )
    augmented = 'data.augment=["random_crop", "hflip"]'
    arms = [training(toy_recipe, augmented, arm=arm, seed=4) for arm in ("all", "top")]
    for epoch in (0, 1):
        (x, labels), (other, others) = (epoch_of(mine, epoch) for mine in arms)
        assert torch.equal(x, other)
        assert torch.equal(labels, others)
    first, second = (mine.network.tensors() for mine in arms)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("names", ["[]", '["random_crop", "hflip"]'])
def test_pictures_decoded_again_at_every_use_are_those_stored(toy_recipe: Path, names: str) -> None:
    held, again = (training(toy_recipe, f"data.augment={names}", "data.image_size=24", keep=keep) for keep in (True, False))
    for epoch in (0, 1):
        (x, labels), (other, others) = epoch_of(held, epoch), epoch_of(again, epoch)
        assert x.shape == (72, 3, 24, 24)
        assert torch.equal(x, other)
        assert torch.equal(labels, others)
    for name in ("validation", "test"):
        parts = [getattr(mine.prepared.evaluated, name) for mine in (held, again)]
        (x, labels), (other, others) = (batches_of(part, part.indices) for part in parts)
        assert torch.equal(x, other)
        assert torch.equal(labels, others)


def test_augmentation_reaches_training_images_and_no_others(toy_recipe: Path) -> None:
    plain, flipped = training(toy_recipe), training(toy_recipe, 'data.augment=["hflip"]')
    x, y = epoch_of(plain, 0)[0], epoch_of(flipped, 0)[0]
    mirrored = (x != y).flatten(1).any(1)
    assert 15 < int(mirrored.sum()) < 57  # about half of 72
    assert torch.equal(x[mirrored].flip(3), y[mirrored])
    for name in ("validation", "test"):
        first, second = (getattr(mine.prepared.evaluated, name) for mine in (plain, flipped))
        assert torch.equal(*(part.inputs(part.indices, 3, CPU) for part in (first, second)))


def random_pictures(count: int, *, keep: bool) -> Pictures:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 12, 15, 3), dtype=np.uint8)
    return Pictures(Split(np.zeros(count, np.int64), pixels=pixels), GEOMETRY, keep=keep)


def test_what_is_prepared_in_parts_is_the_same_picture_stored_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large part that finds no room in the store, then a small one that does: neither may show the other's pictures."""
    reference = random_pictures(40, keep=False).get(np.arange(40))
    notes: list[str] = []
    pictures = random_pictures(40, keep=True)
    pictures.note = notes.append
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "2000")  # ten pictures of 192 bytes, each with its key, do not fit
    assert not pictures.prepare(np.arange(30), progress=quiet)
    assert not pictures.prepare(np.arange(30, 36), progress=quiet)
    for chosen in (np.arange(30), np.arange(30, 36), np.array([35, 2, 31, 39]), np.arange(40)[::-1].copy()):
        assert torch.equal(pictures.get(chosen), reference[torch.from_numpy(chosen)])
    (note,) = notes
    assert "do not fit" in note
    assert "decoded again every epoch" in note


def test_arrays_of_the_right_size_are_used_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    pictures = Pictures(Split(np.zeros(5, np.int64), pixels=pixels), Geometry((8, 8), (8, 8), "bilinear"))
    assert not pictures.prepare(np.arange(5), progress=quiet)
    assert np.array_equal(pictures.get(np.array([3, 0])).numpy(), pixels[[3, 0]])
    assert not cache.listing()


def test_pictures_that_live_on_a_device_are_the_same() -> None:
    pictures = random_pictures(12, keep=True)
    chosen = np.array([1, 4, 5, 9])
    pictures.prepare(chosen, progress=quiet)
    expected = pictures.get(np.array([9, 1, 9]))
    assert not pictures.settle_(chosen, CPU, beside=1 << 60)
    assert not pictures.resident_bytes
    assert pictures.settle_(chosen, CPU)
    assert torch.equal(pictures.get(np.array([9, 1, 9])), expected)
    for others in (np.array([0, 11]), np.array([1, 2])):  # of another part of the same split, not on the device
        assert torch.equal(pictures.get(others), random_pictures(12, keep=False).get(others))
    assert pictures.settle_(np.array([0, 2, 3]), CPU)  # another seed's, beside the first
    assert torch.equal(pictures.get(np.array([9, 1, 9])), expected)
    assert pictures.resident_bytes == 7 * expected[0].nbytes


def test_an_image_is_decoded_once_where_there_is_room(tmp_path: Path) -> None:
    folder, split = files(tmp_path, 6)
    pictures = Pictures(split, GEOMETRY)
    assert not pictures.prepare(np.arange(6), progress=quiet)
    expected = pictures.get(np.arange(6))
    for path in folder.iterdir():
        path.unlink()
    assert not pictures.prepare(np.arange(6), progress=quiet)
    assert torch.equal(pictures.get(np.arange(6)), expected)


def test_progress_ends_at_the_number_of_images() -> None:
    told: list[tuple[int, int]] = []
    pictures = random_pictures(12, keep=True)
    pictures.prepare(np.arange(8), progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 8) for done in range(1, 9)]


def test_arms_share_the_pictures_of_one_geometry() -> None:
    library = Library(Images(("a",), {"train": random_pictures(3, keep=True).split}))
    assert library.pictures("train", GEOMETRY) is library.pictures("train", Geometry((8, 8), (10, 10), "bilinear"))
    assert library.pictures("train", GEOMETRY) is not library.pictures("train", Geometry((8, 8), (10, 10), "bicubic"))


def test_a_part_gives_normalised_images_and_their_labels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 15, 3), dtype=np.uint8)
    pictures = Pictures(Split(np.arange(20) % 3, pixels=pixels), GEOMETRY)
    chosen = np.array([1, 4, 5, 9, 19])
    pictures.prepare(chosen, progress=quiet)
    part = Part(pictures, chosen, IMAGENET)
    assert torch.equal(part.inputs(chosen[1:], 0, CPU), normalise(random_pictures(20, keep=False).get(chosen[1:]), IMAGENET))
    assert part.targets(chosen[1:], 0, CPU).tolist() == [1, 2, 0, 1]


def test_training_inputs_are_cropped_from_the_larger_picture() -> None:
    pictures = random_pictures(20, keep=True)
    pictures.prepare(np.arange(20), progress=quiet)
    crop = augmentations.read(["random_crop"])
    part = TrainingPart(pictures, np.arange(20), IMAGENET, augment=crop, size=(6, 6), seed=3)
    chosen = np.array([7, 2])
    expected = augment(pictures.get(chosen), crop, size=(6, 6), seed=3, epoch=4, images=chosen)
    assert torch.equal(part.inputs(chosen, 4, CPU), normalise(expected, IMAGENET))


def test_views_come_back_after_as_many_epochs_and_differ_between() -> None:
    pictures = random_pictures(20, keep=True)
    pictures.prepare(np.arange(20), progress=quiet)
    tables = augmentations.read(["random_crop", "hflip"])
    views, free = (
        TrainingPart(pictures, np.arange(20), IMAGENET, augment=tables, views=views, size=(6, 6), seed=3) for views in (3, None)
    )
    epochs = [views.inputs(np.arange(20), epoch, CPU) for epoch in range(6)]
    for epoch in range(3):
        assert torch.equal(epochs[epoch], epochs[epoch + 3])
        assert torch.equal(epochs[epoch], free.inputs(np.arange(20), epoch, CPU))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(free.inputs(np.arange(20), 3, CPU), epochs[0])


def test_mixup_reaches_inputs_and_targets_alike() -> None:
    pictures = random_pictures(20, keep=True)
    pictures.prepare(np.arange(20), progress=quiet)
    tables = augmentations.read([{"name": "mixup", "alpha": 1.0}])
    split = Split(np.arange(20) % 4, pixels=pictures.split.pixels)
    pictures.split = split
    part = TrainingPart(pictures, np.arange(20), IMAGENET, augment=tables, size=(8, 8), seed=3, classes=4)
    plain = TrainingPart(pictures, np.arange(20), IMAGENET, size=(8, 8), seed=3, classes=4)
    chosen = np.array([7, 2, 11])
    drawn = mixing(tables, size=(8, 8), seed=3, epoch=5, images=chosen, among=np.arange(20))
    x, targets = part.inputs(chosen, 5, CPU), part.targets(chosen, 5, CPU)
    for row, (image, partner, share) in enumerate(zip(chosen, drawn.partners, drawn.shares, strict=True)):
        pair = plain.inputs(np.array([image, partner]), 5, CPU)
        torch.testing.assert_close(x[row], share * pair[0] + (1 - share) * pair[1], rtol=1e-5, atol=1e-5)
        expected = torch.zeros(4)
        expected[image % 4] += share
        expected[partner % 4] += 1 - share
        torch.testing.assert_close(targets[row], expected)


def files(tmp_path: Path, count: int, *, corrupt: tuple[int, ...] = ()) -> tuple[Path, Split]:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(count):
        path = folder / f"{index:02}.png"
        Image.fromarray(np.full((12, 12, 3), 10 + index, np.uint8)).save(path)
        if index in corrupt:
            path.write_bytes(path.read_bytes()[:45])
    return folder, Split(np.arange(count) % 2, files=tuple(sorted(folder.iterdir())))


@pytest.mark.parametrize("keep", [False, True])
def test_corrupt_images_are_named_with_their_paths_up_to_five(tmp_path: Path, keep: bool) -> None:
    folder, split = files(tmp_path, 12, corrupt=(1, 3, 4, 6, 8, 9, 11))
    pictures = Pictures(split, GEOMETRY, keep=keep)
    with pytest.raises(DataError) as caught:
        decodable(pictures, np.arange(12), on_corrupt="error", progress=quiet)
    text = str(caught.value)
    for index in (1, 3, 4, 6, 8):
        assert str(folder / f"{index:02}.png") in text
    assert "and 2 more" in text
    assert 'data.on_corrupt = "skip"' in text


@pytest.mark.parametrize("keep", [False, True])
def test_corrupt_images_are_skipped_and_counted(tmp_path: Path, keep: bool) -> None:
    folder, split = files(tmp_path, 8, corrupt=(2, 5))
    pictures = Pictures(split, GEOMETRY, keep=keep)
    kept, lines = decodable(pictures, np.array([0, 1, 2, 4, 5, 7]), on_corrupt="skip", progress=quiet)
    assert kept.tolist() == [0, 1, 4, 7]
    assert [str(folder / name) in line for name, line in zip(("02.png", "05.png"), lines, strict=True)] == [True, True]
    assert pictures.get(kept)[:, 0, 0, 0].tolist() == [10, 11, 14, 17]


def test_an_image_asked_for_after_it_was_mended_is_read(tmp_path: Path) -> None:
    folder, split = files(tmp_path, 2, corrupt=(1,))
    pictures = Pictures(split, GEOMETRY)
    assert list(pictures.prepare(np.arange(2), progress=quiet)) == [1]
    Image.fromarray(np.full((12, 12, 3), 99, np.uint8)).save(folder / "01.png")
    assert not pictures.prepare(np.arange(2), progress=quiet)
    assert pictures.get(np.array([1])).unique().tolist() == [99]


def prepared(split: Split, geometry: Geometry = GEOMETRY) -> Pictures:
    pictures = Pictures(split, geometry)
    pictures.prepare(np.arange(len(split.targets)), progress=quiet)
    return pictures


def test_an_array_of_another_shape_and_the_same_bytes_is_another_picture() -> None:
    right = np.random.default_rng(0).integers(0, 256, (4, 12, 20, 3), dtype=np.uint8)
    labels, chosen = np.zeros(4, np.int64), np.arange(4)
    prepared(Split(labels, pixels=right.reshape(4, 20, 12, 3)))
    found = prepared(Split(labels, pixels=right)).get(chosen)
    assert torch.equal(found, Pictures(Split(labels, pixels=right), GEOMETRY, keep=False).get(chosen))


@pytest.mark.parametrize("replaced", ["in place", "by another file"])
def test_a_file_that_changes_before_it_is_decoded_is_refused_and_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: str
) -> None:
    folder, split = files(tmp_path, 3)
    path = folder / "01.png"
    before, after = path.read_bytes(), (folder / "02.png").read_bytes()
    pictures = Pictures(split, GEOMETRY)
    blocks = pictures._blocks

    def late(*arguments: object) -> object:
        if replaced == "by another file":
            path.unlink()
        path.write_bytes(after)
        yield from blocks(*arguments)

    monkeypatch.setattr(pictures, "_blocks", late)
    corrupt = pictures.prepare(np.arange(3), progress=quiet)
    assert list(corrupt) == [1]
    assert corrupt[1].problem == f"{path}: changed while it was read."
    path.write_bytes(before)
    assert prepared(split).get(np.arange(3))[:, 0, 0, 0].tolist() == [10, 11, 12]


def test_a_file_cut_short_is_refused_whatever_pillow_was_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    split = Split(np.zeros(1, np.int64), files=(path,))
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert not Pictures(split, GEOMETRY).prepare(np.arange(1), progress=quiet)
    assert list(Pictures(split, GEOMETRY).prepare(np.arange(1), progress=quiet)) == [0]


@pytest.mark.parametrize("of", ["files", "pixels"])
def test_an_image_that_does_not_fit_into_memory_is_an_error_of_that_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    folder, split = files(tmp_path, 3)
    if of == "pixels":
        split = Split(split.targets, pixels=np.stack([np.asarray(Image.open(path)) for path in split.files]))

    def full(image: Image.Image, geometry: Geometry) -> np.ndarray:
        if image.getpixel((0, 0))[0] == 11:
            raise MemoryError
        return fitted(image, geometry)

    monkeypatch.setattr("tlkit.engine.images.pictures.fitted", full)
    kept, lines = decodable(Pictures(split, GEOMETRY), np.arange(3), on_corrupt="skip", progress=quiet)
    assert kept.tolist() == [0, 2]
    assert lines == [f"{folder / '01.png' if of == 'files' else 'image 1'}: does not fit into memory."]
