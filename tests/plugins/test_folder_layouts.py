"""Folders as people have them: splits by any name, files by any suffix, names in any Unicode form."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit.advice import init_recipe
from tlkit.engine.images import decode
from tlkit.errors import DataError
from tlkit.plans import dataset_facts
from tlkit.plugin import DataFiles, Images, call, image_kinds
from tlkit_folder import FolderOptions, folder, layout


def find(root: Path, **options: object) -> DataFiles:
    return call(folder.find, root, FolderOptions.model_validate(options))


def read(root: Path, **options: object) -> Images:
    return call(folder.read, find(root, **options), FolderOptions.model_validate(options))


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"never opened")
    return root


def many(part: str, count: int) -> list[str]:
    return [f"{part}/{name}/{number}.jpg".lstrip("/") for name in ("ant", "bee") for number in range(count)]


def counts(images: Images) -> dict[str, int]:
    return {name: len(split.files) for name, split in images.splits.items()}


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8))


# ---- splits


@pytest.mark.parametrize(
    ("train", "other"),
    [
        ("Training", "Test"), ("training", "validation"), ("train_set", "test_set"), ("trainset", "testset"),
        ("train_data", "val_data"), ("seg_train", "seg_test"), ("trn", "val"), ("TRAIN", "Testing"), ("train-images", "dev"),
        ("images_train", "images_val"), ("train2017", "val2017"), ("Training Data", "Test Data"), ("traindata", "holdout"),
    ],
)  # fmt: skip
def test_a_split_is_known_however_its_folder_is_called(tmp_path: Path, train: str, other: str) -> None:
    images = read(put(tmp_path, *many(train, 3), *many(other, 2)))
    assert images.classes == ("ant", "bee")
    assert counts(images) == {"train": 6, "test": 4}
    assert {file.relative_to(tmp_path).parts[0] for file in images.splits["test"].files} == {other}


@pytest.mark.parametrize(
    "name", ["bus", "images", "protest", "invalid", "train_station", "trainer", "set", "2", "tests of time"]
)
def test_a_class_is_no_split(name: str) -> None:
    assert layout.role_of(name) is None


def test_folds_are_not_classes(tmp_path: Path) -> None:
    put(tmp_path, *many("fold_1", 3), *many("fold_2", 2), *many("fold_3", 1))
    with pytest.raises(DataError, match="fold_1, fold_2, fold_3 hold no images but the same folders, ant, bee") as caught:
        find(tmp_path)
    assert 'data.options.splits = { fold_1 = "train", fold_2 = "test" }' in str(caught.value)
    images = read(tmp_path, splits={"fold_1": "train", "fold_2": "train", "fold_3": "test"})
    assert images.classes == ("ant", "bee")
    assert counts(images) == {"train": 10, "test": 2}


def test_a_split_is_offered_by_the_word_in_its_name(tmp_path: Path) -> None:
    put(tmp_path, *many("my test", 2), *many("my train", 3))
    with pytest.raises(DataError, match="they look like splits") as caught:
        find(tmp_path)
    assert 'data.options.splits = { "my test" = "test", "my train" = "train" }' in str(caught.value)


def test_classes_with_the_same_folders_below_are_classes_where_that_is_said(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/{side}/{n}.jpg" for name in ("oak", "elm") for side in ("bark", "leaf") for n in range(2)))
    with pytest.raises(DataError, match="they look like splits, not classes") as caught:
        find(tmp_path)
    assert "if they are classes: data.options.splits = {}" in caught.value.hints
    assert read(tmp_path, splits={}).classes == ("elm", "oak")


def test_class_folders_that_each_hold_one_folder_are_classes(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/images/{n}.jpg" for name in ("ant", "bee") for n in range(2)))
    assert read(tmp_path).classes == ("ant", "bee")


def test_two_folders_of_one_split_are_told_with_the_whole_option(tmp_path: Path) -> None:
    put(tmp_path, *many("train", 3), *many("test1", 2), *many("test2", 1))
    with pytest.raises(DataError, match="test1 and test2 are both the test set") as caught:
        find(tmp_path)
    assert 'data.options.splits = { test1 = "test", test2 = "test", train = "train" }' in caught.value.hints[0]
    assert counts(read(tmp_path, splits={"test1": "test", "test2": "test", "train": "train"})) == {"train": 6, "test": 6}


def test_a_folder_that_splits_names_must_be_there(tmp_path: Path) -> None:
    put(tmp_path, *many("fold_1", 3), *many("fold_2", 2))
    with pytest.raises(DataError, match='there is no folder "fold1" in it') as caught:
        find(tmp_path, splits={"fold1": "train", "fold_2": "test"})
    assert 'did you mean "fold_1"?' in caught.value.hints
    with pytest.raises(DataError, match="no folder is the training set"):
        find(tmp_path, splits={"fold_2": "test"})


def test_one_folder_deeper_is_seen(tmp_path: Path) -> None:
    """As archives unpack: archive/seg_train/seg_train/CLASS, the layout of Intel's image classification on Kaggle."""
    put(tmp_path, *many("archive/seg_train/seg_train", 3), *many("archive/seg_test/seg_test", 2))
    found = find(tmp_path)
    assert found.root == tmp_path / "archive"
    images = read(tmp_path)
    assert images.classes == ("ant", "bee")
    assert counts(images) == {"train": 6, "test": 4}
    lone = read(put(tmp_path / "lone", *many("pictures/train", 10)))
    assert lone.classes == ("ant", "bee")
    assert counts(lone) == {"train": 16, "test": 4}


def test_init_says_the_true_classes_and_where_test_images_come_from(tmp_path: Path) -> None:
    for part, count in (("Training", 6), ("Test", 3)):
        for name in ("ant", "bee", "cow"):
            (tmp_path / "in" / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                noise(number).save(tmp_path / "in" / "photos" / part / name / f"{number}.png")
    text = init_recipe.write(tmp_path / "in", tmp_path / "r.toml", force=False).read_text()
    assert "3 classes, 18 train, 9 test images" in text
    assert "Its folder Test is the test set here" in text
    assert "test_fraction" not in text


# ---- images without labels


def test_unlabelled_test_images_beside_train_say_what_to_name(tmp_path: Path) -> None:
    put(tmp_path, *many("train", 3), "test/1.jpg", "test/2.jpg")
    with pytest.raises(
        DataError, match=re.escape(f"{tmp_path}/test: has no class sub-folders; 1.jpg lies directly in it")
    ) as caught:
        find(tmp_path)
    assert f"name {tmp_path}/train as the folder" in str(caught.value)
    assert f"tlkit predict RUN {tmp_path}/test/*" in str(caught.value)


def test_images_of_a_folder_beside_the_splits_are_counted(tmp_path: Path) -> None:
    put(tmp_path, *many("seg_train", 3), *many("seg_test", 2), "seg_pred/seg_pred/1.jpg", "seg_pred/seg_pred/2.jpg")
    said = dataset_facts.unused(find(tmp_path))
    assert len(said) == 1
    assert said[0].startswith("2 images lie beside the class folders and are not used")


def test_tiny_imagenet_is_read_as_it_comes(tmp_path: Path) -> None:
    for name in ("n01", "n02"):
        put(tmp_path, *(f"train/{name}/images/{name}_{n}.JPEG" for n in range(3)))
        (tmp_path / f"train/{name}/{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t1\t1\n")
    put(tmp_path, *(f"val/images/val_{n}.JPEG" for n in range(4)), "test/images/test_0.JPEG", "test/images/test_1.JPEG")
    lines = [f"val_{n}.JPEG\t{'n02' if n else 'n01'}\t0\t32\t44\t62" for n in range(4)]
    (tmp_path / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    images = read(tmp_path)
    assert images.classes == ("n01", "n02")
    assert counts(images) == {"train": 6, "test": 4}
    labels = dict(zip((file.name for file in images.splits["test"].files), images.splits["test"].targets.tolist(), strict=True))
    assert labels == {"val_0.JPEG": 0, "val_1.JPEG": 1, "val_2.JPEG": 1, "val_3.JPEG": 1}
    assert tmp_path / "val/val_annotations.txt" in find(tmp_path).files  # its bytes determine the labels
    assert dataset_facts.unused(find(tmp_path)) == (
        f"{tmp_path}/test/images: 2 images without class folders are not used: they have no labels",
    )
    put(tmp_path, "val/images/val_9.JPEG")
    with pytest.raises(DataError, match=r"val_9\.JPEG: is not in .*val_annotations\.txt"):
        read(tmp_path)


# ---- suffixes


def test_what_pillow_can_decode_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "avif": "AVIF", "jp2": "JPEG2000", "pnm": "PPM", "tga": "TGA", "dib": "DIB"}
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number, (suffix, kind) in enumerate(kinds.items()):
            noise(number).save(tmp_path / name / f"{number}.{suffix}", format=kind)
        noise(90).save(tmp_path / name / "none", format="PNG")
        noise(91).save(tmp_path / name / "download.php", format="JPEG")
        noise(92).save(tmp_path / name / "x.image", format="WEBP")
    found = find(tmp_path)
    assert len(found.files) == 20
    assert not found.remarks
    assert all(decode.decode(file).size == (16, 12) for file in found.files)


def test_what_cannot_be_decoded_is_counted_by_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_kinds, "reads_heif", lambda: False)
    put(
        tmp_path,
        *many("", 8),
        "ant/1.heic",
        "bee/2.HEIC",
        "bee/3.mp4",
        "bee/noname",
        "bee/raw.nef",
        "bee/notes.txt",
        "ant/x.json",
    )
    (tmp_path / "bee/raw.nef").write_bytes(b"II*\0" + bytes(20))  # as a TIFF file begins; what Pillow finds in it is a preview
    said = dataset_facts.unused(find(tmp_path))
    assert said == (
        "left out, as files that cannot be read as images: 2 .heic, 1 without suffix, 1 .mp4, 1 .nef; "
        "`pip install tlkit[heif]` reads .heic files",
    )


def test_more_left_out_than_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_kinds, "reads_heif", lambda: False)
    put(tmp_path, *many("", 2), *(f"ant/{n}.heic" for n in range(5)))
    with pytest.raises(
        DataError, match=r"5 files cannot be read as images \(5 \.heic\), more than the 4 images that can"
    ) as caught:
        find(tmp_path)
    assert "`pip install tlkit[heif]` reads .heic files" in caught.value.hints
    put(tmp_path, "cow/1.heic")
    with pytest.raises(DataError, match=r"cow: the class folder holds no images; left out, .*: 1 \.heic"):
        find(tmp_path)


def test_photographs_of_telephones_are_read_with_pi_heif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif, which writes the file")
    pytest.importorskip("pi_heif", reason="needs pi-heif")
    picture = Image.new("RGB", (64, 32), (200, 40, 90))
    pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "without").write_bytes((tmp_path / "a.heic").read_bytes())
    for name in ("a.heic", "without"):
        assert image_kinds.kind(tmp_path / name) is image_kinds.Kind.IMAGE
        decoded = decode.decode(tmp_path / name)
        assert decoded.size == (64, 32)
        assert np.abs(np.asarray(decoded).astype(int) - (200, 40, 90)).max() <= 4
    monkeypatch.setattr(image_kinds, "reads_heif", lambda: False)
    with pytest.raises(DataError, match=r"a\.heic: is a HEIF file, which needs pi-heif"):
        decode.decode(tmp_path / "a.heic")


def test_what_programs_leave_among_images_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, *many("", 3), "__MACOSX/ant/._1.jpg", "@eaDir/ant/1.jpg")
    assert read(tmp_path).classes == ("ant", "bee")


# ---- Unicode forms


NFC, NFD = (unicodedata.normalize(form, "mésange") for form in ("NFC", "NFD"))


def test_one_class_in_two_unicode_forms_is_said(tmp_path: Path) -> None:
    put(tmp_path, f"{NFC}/1.jpg", f"{NFC}/2.jpg", f"{NFD}/1.jpg", f"{NFD}/2.jpg")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system holds one of two Unicode forms")
    with pytest.raises(DataError, match=f'has two folders of one class, "{NFC}"') as caught:
        find(tmp_path)
    assert "they differ in their Unicode form" in str(caught.value)


@pytest.mark.parametrize("other", [NFD, f"{NFC} "])
def test_a_class_that_is_written_otherwise_in_test_is_said(tmp_path: Path, other: str) -> None:
    put(tmp_path, f"train/{NFC}/1.jpg", "train/pie/1.jpg", f"test/{other}/1.jpg", "test/pie/1.jpg")
    with pytest.raises(DataError, match="of test is written") as caught:
        read(tmp_path)
    assert ascii(other) in str(caught.value)
    assert ascii(NFC) in str(caught.value)
