"""Image folders: every layout that is understood, and a plain error for what is not."""

import os
import re
import tarfile
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from tlkit.advice import init_recipe
from tlkit.errors import DataError, DataMissing
from tlkit.plugin import DataFiles, Images, Split, call
from tlkit_folder import FolderOptions, folder

DATA = Path(os.environ.get("TLKIT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def find(root: Path) -> DataFiles:
    return call(folder.find, root, FolderOptions())


def read(root: Path, options: FolderOptions | None = None) -> Images:
    return call(folder.read, find(root), options)


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"never opened")
    return root


def names(images: Images, split: str, root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in images.splits[split].files]


def many(part: str, count: int) -> list[str]:
    return [f"{part}{name}/{number:03d}.jpg" for name in ("ant", "bee") for number in range(count)]


def test_train_val_and_test_are_three_splits(tmp_path: Path) -> None:
    put(tmp_path, "train/bee/1.jpg", "train/bee/2.jpg", "train/ant/3.jpg", "val/ant/4.jpg", "test/ant/6.jpg", "test/bee/5.jpg")
    images = read(tmp_path)
    assert images.classes == ("ant", "bee")
    assert set(images.splits) == {"train", "validation", "test"}
    assert names(images, "train", tmp_path) == ["train/ant/3.jpg", "train/bee/1.jpg", "train/bee/2.jpg"]
    assert images.splits["train"].targets.tolist() == [0, 1, 1]
    assert images.splits["train"].targets.dtype == "int64"
    assert names(images, "validation", tmp_path) == ["val/ant/4.jpg"]  # a class may be absent here
    assert images.splits["test"].targets.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation", "VAL"])
def test_every_name_of_the_validation_folder_is_known(tmp_path: Path, name: str) -> None:
    put(tmp_path, *many("Train/", 2), *many(f"{name}/", 1), *many("test/", 1))
    assert names(read(tmp_path), "validation", tmp_path) == many(f"{name}/", 1)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_the_only_other_folder_is_the_test_set(tmp_path: Path, name: str) -> None:
    put(tmp_path, *many("train/", 3), *many(f"{name}/", 1))
    images = read(tmp_path)
    assert set(images.splits) == {"train", "test"}
    assert names(images, "train", tmp_path) == many("train/", 3)
    assert names(images, "test", tmp_path) == many(f"{name}/", 1)


@pytest.mark.parametrize(
    ("count", "fraction", "held_out"), [(10, 0.2, 2), (2, 0.2, 1), (2, 0.9, 1), (7, 0.5, 4), (30, 0.01, 1)]
)
def test_without_a_test_folder_part_of_each_class_is_held_out(
    tmp_path: Path, count: int, fraction: float, held_out: int
) -> None:
    images = read(put(tmp_path, *many("", count)), FolderOptions(test_fraction=fraction))
    for label, name in enumerate(("ant", "bee")):
        by_hash = sorted((f"{name}/{n:03d}.jpg" for n in range(count)), key=lambda path: sha256(path.encode()).hexdigest())
        chosen = [file for file in names(images, "test", tmp_path) if file.startswith(name)]
        assert chosen == sorted(by_hash[:held_out])
        assert images.splits["test"].targets.tolist().count(label) == held_out
    assert sorted(names(images, "train", tmp_path) + names(images, "test", tmp_path)) == many("", count)


def test_a_fraction_of_0_holds_out_no_image(tmp_path: Path) -> None:
    images = read(put(tmp_path, *many("", 3), "cat/1.jpg"), FolderOptions(test_fraction=0))
    assert list(images.splits) == ["train"]
    assert names(images, "train", tmp_path) == sorted([*many("", 3), "cat/1.jpg"])


def test_a_lone_train_folder_splits_like_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path, *many("train/", 20))
    outer, inner = read(tmp_path), read(tmp_path / "train")
    assert list(outer.splits["test"].files) == list(inner.splits["test"].files)
    assert len(outer.splits["test"].files) == 8


def test_a_new_image_moves_at_most_one_other(tmp_path: Path) -> None:
    before = set(read(put(tmp_path, *many("", 40))).splits["test"].files)
    for number in range(40, 60):
        after = set(read(put(tmp_path, f"ant/{number:03d}.jpg")).splits["test"].files)
        assert len({file for file in before ^ after if file.name != f"{number:03d}.jpg"}) <= 1
        before = after


def test_images_are_known_by_their_ending_in_any_case_and_depth(tmp_path: Path) -> None:
    endings = ["bmp", "gif", "JPEG", "jpg", "pgm", "PNG", "ppm", "tif", "TIFF", "webp"]
    put(tmp_path, *(f"train/ant/{ending}.{ending}" for ending in endings), "train/ant/deep/er/x.jpg", "train/bee/x.png")
    put(tmp_path, "train/ant/notes.txt", "train/ant/.hidden.jpg", "train/.cache/x.jpg", ".git/x.jpg", "train/ant/.thumbs/x.jpg")
    put(tmp_path, "test/ant/x.jpg", "readme.jpg", "train/loose.jpg", "other/x.jpg")
    found = find(tmp_path)
    expected = sorted(f"train/ant/{ending}.{ending}" for ending in endings)
    expected += ["train/ant/deep/er/x.jpg", "train/bee/x.png", "test/ant/x.jpg"]
    assert [file.relative_to(tmp_path).as_posix() for file in found.files] == expected
    assert found.root == tmp_path


def test_a_folder_train_of_images_is_a_class(tmp_path: Path) -> None:
    images = read(put(tmp_path, "train/1.jpg", "train/2.jpg", "bus/1.jpg", "bus/2.jpg"))
    assert images.classes == ("bus", "train")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", *many("", 3))
    root = tmp_path / "root"
    root.mkdir()
    for name in ("ant", "bee"):
        (root / name).symlink_to(tmp_path / "elsewhere" / name)
    assert len(find(root).files) == 6


def test_a_link_that_leads_back_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, *many("", 3))
    (tmp_path / "ant" / "again").symlink_to(tmp_path / "ant")
    with pytest.raises(DataError, match="again: is a link back to a folder that holds it"):
        find(tmp_path)


def test_an_image_that_links_to_nothing_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, *many("", 3))
    (tmp_path / "ant" / "x.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"ant/x.jpg: is no file, or a link to nothing"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["b.jpg", "a.jpg"], "{root}: has no class sub-folders; a.jpg lies directly in it"),
        ([], "{root}: has no class sub-folders"),
        (["ant/1.jpg", "ant/2.jpg"], "{root}: has images of one class (ant), and two are needed"),
        (["ant/1.jpg", "ant/2.jpg", "bee/x.txt"], "{root}/bee: the class folder holds no images"),
        (["train/ant/1.jpg", "train/bee/1.jpg", "test/ant/x.txt"], "{root}/test/ant: the class folder holds no images"),
        (["train/ant/1.jpg", "train/bee/1.jpg", "test/1.jpg"], "{root}/test: has no class sub-folders; 1.jpg lies directly"),
        (["train/1.jpg", "test/ant/1.jpg"], "{root}: has test, train but no train folder with a sub-folder per class"),
        (["test/ant/1.jpg", "val/ant/1.jpg"], "{root}: has test, val but no train folder with a sub-folder per class"),
        ([*many("train/", 2), *many("val/", 1), *many("valid/", 1)], "{root}: val and valid are both the validation set"),
        ([*many("train/", 2), "bus/1.jpg"], "{root}: is train the training set, or a class as bus beside it?"),
        ([*many("train/", 2), "test/bees/1.jpg"], '{root}/test/bees/1.jpg: class "bees" of test has no training images'),
        (
            [*many("train/", 2), *many("test/", 1), "val/wasp/1.jpg"],
            '{root}/val/wasp/1.jpg: class "wasp" of validation has no training images',
        ),
        (["ant/1.jpg", "ant/2.jpg", "bee/1.jpg"], '{root}/bee/1.jpg: is the only image of class "bee"'),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, files: list[str], message: str) -> None:
    put(tmp_path, *files)
    with pytest.raises(DataError, match=re.escape(message.format(root=tmp_path))):
        read(tmp_path)


def test_a_class_in_test_only_gets_the_nearest_name(tmp_path: Path) -> None:
    put(tmp_path, *many("train/", 2), "test/bees/1.jpg")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.hints == ('did you mean "bee"?',)


def test_a_missing_folder_and_an_archive_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="gone: there is no such folder"):
        find(tmp_path / "gone")
    with pytest.raises(DataError, match=r"a.tar: is a file, not a folder"):
        find(put(tmp_path, "a.tar") / "a.tar")


@pytest.mark.parametrize("fraction", [1.0, -0.1, float("nan"), "0.2"])
def test_a_fraction_outside_0_and_1_is_refused(fraction: object) -> None:
    with pytest.raises(ValidationError):
        FolderOptions.model_validate({"test_fraction": fraction})


def test_real_image_folder_has_the_documented_counts(tmp_path: Path) -> None:
    archive = DATA / "hymenoptera.tar"
    if not archive.is_file():
        pytest.skip(f"no hymenoptera.tar below {DATA} (TLKIT_TEST_DATA)")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (train,) = tmp_path.rglob("train")
    images = read(train.parent)
    assert images.classes == ("ants", "bees")
    assert counts(images.splits["train"]) == counts_on_disk(train)
    assert sum(counts(images.splits["train"])) == 244
    assert counts(images.splits["test"]) == counts_on_disk(train.parent / "val")
    assert sum(counts(images.splits["test"])) == 153


def counts(split: Split) -> list[int]:
    return [split.targets.tolist().count(label) for label in (0, 1)]


def counts_on_disk(part: Path) -> list[int]:
    return [len(list((part / name).iterdir())) for name in ("ants", "bees")]


def test_init_writes_toml_whatever_the_folders_are_called(tmp_path: Path) -> None:
    root = tmp_path / "my\npictures\x7f"
    for name, count in (("a\nb", 4), ("c\x7fd", 6)):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (40, 40)).save(root / name / f"{index}.png")
    path = init_recipe.write(root, tmp_path / "r.toml", force=False)
    assert tomllib.loads(path.read_text())["data"]["options"]["path"] == root.name
    assert "a\\nb" in path.read_text()


@pytest.mark.parametrize(
    ("parts", "said", "not_said"),
    [
        (["train/a", "train/b", "val/a", "val/b"], "folder val is the test set here", "test_fraction"),
        (["train/a", "train/b", "test/a", "test/b"], "validation = 0.1", "is the test set here"),
        (["train/a", "train/b", "val/a", "test/a"], 'path = "images"', "validation = 0.1"),
        (["a", "b"], "test_fraction = 0.2", "is the test set here"),
    ],
)
def test_init_says_where_test_images_come_from(tmp_path: Path, parts: list[str], said: str, not_said: str) -> None:
    for part in parts:
        (tmp_path / "images" / part).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (40, 40)).save(tmp_path / "images" / part / f"{index}.png")
    text = init_recipe.write(tmp_path / "images", tmp_path / "r.toml", force=False).read_text()
    assert said in text
    assert not_said not in text
    (tmp_path / "other").mkdir()
    elsewhere = init_recipe.write(tmp_path / "images", tmp_path / "other" / "r.toml", force=False).read_text()
    assert "on this machine only" not in text
    assert "not below this recipe" in elsewhere
