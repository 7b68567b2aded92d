"""The data sets that come with tlkit, from small copies of their layouts: what is read is what was written, in its split."""

import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
from PIL import Image
from toy_reading import read

from tlkit.engine.images import decode
from tlkit.errors import DataError, DataMissing, PluginError, TlkitError
from tlkit.plugin import Dataset, registry
from tlkit.sources import data_files
from tlkit.sources.places import Places
from tlkit_caltech import CaltechOptions


def picture(path: Path, value: int = 0, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (value, value, value)).save(path)


# ---- hymenoptera, caltech101


def test_ants_and_bees_are_the_tutorials(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "hymenoptera.tar") as tar:
        tar.extractall(tmp_path / "hymenoptera_data", filter="data")
    images = read("hymenoptera", tmp_path)
    assert images.classes == ("ants", "bees")
    assert {name: len(split.targets) for name, split in images.splits.items()} == {"train": 244, "test": 153}
    assert {path.parts[-3] for path in images.splits["test"].files} == {"val"}


def test_ants_and_bees_elsewhere_say_where_they_were_looked_for(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "ants" / "0.png")
    with pytest.raises(DataMissing, match='"hymenoptera" is not on this machine: hymenoptera_data not found') as error:
        read("hymenoptera", tmp_path)
    assert f"looked in {tmp_path / 'hymenoptera_data'}" in error.value.hints


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    for name, count in (("accordion", 5), ("yin_yang", 6), ("BACKGROUND_Google", 4)):
        for index in range(count):
            picture(tmp_path / "101_ObjectCategories" / name / f"image_{index:04d}.jpg")
    return tmp_path


@pytest.mark.parametrize("background", [False, True])
def test_caltech101_has_its_background_where_it_is_asked_for(caltech: Path, background: bool) -> None:
    images = read("caltech101", caltech, background=background)
    assert images.classes == (("BACKGROUND_Google",) if background else ()) + ("accordion", "yin_yang")
    assert sum(len(split.targets) for split in images.splits.values()) == (15 if background else 11)
    assert read("caltech101", caltech / "101_ObjectCategories").classes == ("accordion", "yin_yang")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A server on loopback and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}", folder=folder)
    server.shutdown()
    thread.join()
    server.server_close()


def test_caltech101_is_planned_with_the_467_images_of_its_background(caltech: Path) -> None:
    for number in range(467):  # those of the fixture have the first names
        (caltech / "101_ObjectCategories" / "BACKGROUND_Google" / f"image_{number:04d}.jpg").touch()
    counts = {}
    for used in (False, True):
        images = read("caltech101", caltech, background=used)
        counts[used] = {name: len(split.targets) for name, split in images.splits.items()}
    nominal = {
        used: registry.get(Dataset, "caltech101").nominal_images(CaltechOptions(background=used)) for used in (False, True)
    }
    assert nominal[True]["train"] + nominal[True]["test"] == 9_144
    for name in ("train", "test"):
        assert counts[True][name] - counts[False][name] == nominal[True][name] - nominal[False][name]


def test_caltech101_is_unpacked_from_the_archive_within_its_archive(
    caltech: Path, site: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses
    import hashlib

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        tar.add(caltech / "101_ObjectCategories", "101_ObjectCategories")
    with zipfile.ZipFile(site.folder / "caltech-101.zip", "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
        archive.writestr("caltech-101/show_annotation.m", "")
    dataset = registry.get(Dataset, "caltech101")
    digest = hashlib.md5((site.folder / "caltech-101.zip").read_bytes()).hexdigest()
    (official,) = dataset.downloads
    here = dataclasses.replace(official, url=f"{site.address}/caltech-101.zip", checksum=f"md5:{digest}")
    dataset = dataclasses.replace(dataset, downloads=(here,))
    assert dataset.options is not None
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "data"))
    options = dataset.options()
    found = data_files.find_data("caltech101", dataset, options, Places(recipe=tmp_path), fetch=True)
    assert found.root == tmp_path / "data" / "caltech101" / "caltech-101" / "101_ObjectCategories"
    assert len(found.files) == 11
    assert not list((tmp_path / "data").rglob("*.tar.gz"))


# ---- medmnist


def test_medmnist_is_read_from_its_file(test_data: Path) -> None:
    images = read("medmnist:pneumoniamnist", test_data)
    assert images.classes == ("normal", "pneumonia")
    counts = {name: split.pixels.shape for name, split in images.splits.items()}
    assert counts == {"train": (4708, 28, 28, 3), "validation": (524, 28, 28, 3), "test": (624, 28, 28, 3)}
    with np.load(test_data / "pneumoniamnist.npz") as archive:
        assert np.array_equal(images.splits["test"].pixels[7, :, :, 1], archive["test_images"][7])
        assert np.array_equal(images.splits["test"].targets, archive["test_labels"][:, 0])
    assert images.splits["train"].targets.mean() == pytest.approx(0.742, abs=0.001)  # 3,494 of 4,708: MedMNIST v2, table 2


def test_medmnists_facts_are_of_one_length() -> None:
    family = registry.family(Dataset, "medmnist")
    for name in family.names:
        for size in ("", "_64", "_128", "_224"):
            dataset = registry.get(Dataset, f"medmnist:{name}{size}")
            (found,) = dataset.downloads
            assert found.filename == f"{name}{size}.npz"
            assert len(found.checksum) == len("md5:") + 32
    checksums = {
        registry.get(Dataset, f"medmnist:{name}{size}").downloads[0].checksum for name in family.names for size in ("", "_224")
    }
    assert len(checksums) == 2 * len(family.names)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": np.zeros((4, 28, 28), np.float32)}, "images are float32 (4, 28, 28)"),
        ({"train_labels": np.array([[0], [1], [2], [1]])}, "has label 2"),
        ({"train_labels": np.zeros((4, 3), np.uint8)}, "labels are uint8 (4, 3)"),
        ({"test_images": None}, "cannot be read as a MedMNIST file"),
    ],
)
def test_a_damaged_medmnist_file_is_a_message(tmp_path: Path, change: dict[str, object], words: str) -> None:
    parts: dict[str, object] = {}
    for name in ("train", "val", "test"):
        parts |= {f"{name}_images": np.zeros((4, 28, 28), np.uint8), f"{name}_labels": np.array([[0], [1], [0], [1]], np.uint8)}
    np.savez(tmp_path / "pneumoniamnist.npz", **{name: value for name, value in (parts | change).items() if value is not None})
    with pytest.raises(DataError) as error:
        read("medmnist:pneumoniamnist", tmp_path)
    assert words in str(error.value)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_medmnist_file_that_claims_more_than_it_holds_is_told_with_its_size(tmp_path: Path, packing: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)})
    with zipfile.ZipFile(tmp_path / "pneumoniamnist.npz", "w", packing) as file:
        file.writestr("train_images.npy", header.getvalue() + bytes(1000))
    with pytest.raises(DataError, match=r"is damaged, or made to fill the memory: train_images claims .*, 730\.2 GiB, and its"):
        read("medmnist:pneumoniamnist", tmp_path)


def test_names_of_families_are_checked() -> None:
    with pytest.raises(PluginError, match='there is no set "pneumonia"') as error:
        registry.get(Dataset, "medmnist:pneumonia")
    assert "did you mean" in str(error.value)
    with pytest.raises(PluginError, match='"medmnist": is a family; say which of it'):
        registry.get(Dataset, "medmnist")
    with pytest.raises(PluginError, match="folder is no family"):
        registry.get(Dataset, "folder:x")


# ---- torchvision


def pets(folder: Path) -> None:
    lines = {
        "trainval": ["Abyssinian_1 1 1 1", "beagle_1 2 2 1", "beagle_2 2 2 1"],
        "test": ["Abyssinian_2 1 1 1", "beagle_3 2 2 1"],
    }
    for name, each in lines.items():
        (folder / "oxford-iiit-pet" / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / "oxford-iiit-pet" / "annotations" / f"{name}.txt").write_text("\n".join(each) + "\n")
        for line in each:
            picture(folder / "oxford-iiit-pet" / "images" / f"{line.split()[0]}.jpg")


def food(folder: Path) -> None:
    meta = {
        "train": {"apple_pie": ["apple_pie/1", "apple_pie/2"], "tacos": ["tacos/1"]},
        "test": {"apple_pie": ["apple_pie/3"], "tacos": ["tacos/2"]},
    }
    for split, content in meta.items():
        (folder / "food-101" / "meta").mkdir(parents=True, exist_ok=True)
        (folder / "food-101" / "meta" / f"{split}.json").write_text(json.dumps(content))
        for paths in content.values():
            for path in paths:
                picture(folder / "food-101" / "images" / f"{path}.jpg")


def textures(folder: Path) -> None:
    for split, lines in {
        "train": ["banded/1.jpg", "dotted/1.jpg"],
        "val": ["banded/2.jpg", "dotted/2.jpg"],
        "test": ["banded/3.jpg", "dotted/3.jpg"],
    }.items():
        (folder / "dtd" / "dtd" / "labels").mkdir(parents=True, exist_ok=True)
        (folder / "dtd" / "dtd" / "labels" / f"{split}1.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            picture(folder / "dtd" / "dtd" / "images" / line)


def digits(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        pixels = rng.integers(0, 256, (32, 32, 3, count), np.uint8)
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": np.arange(1, count + 1).reshape(-1, 1) % 10 + 1})


@pytest.mark.parametrize(
    ("name", "make", "classes", "counts"),
    [
        ("oxford_pets", pets, ("Abyssinian", "Beagle"), {"train": 3, "test": 2}),
        ("food101", food, ("apple_pie", "tacos"), {"train": 3, "test": 2}),
        ("dtd", textures, ("banded", "dotted"), {"train": 2, "validation": 2, "test": 2}),
    ],
)
def test_a_set_of_torchvisions_is_read_from_its_layout(
    name: str, make: object, classes: tuple[str, ...], counts: dict[str, int], tmp_path: Path
) -> None:
    make(tmp_path)
    images = read(f"torchvision:{name}", tmp_path)
    assert images.classes == classes
    assert {split: len(each.targets) for split, each in images.splits.items()} == counts
    for each in images.splits.values():
        for path, label in zip(each.files, each.targets, strict=True):
            assert classes[label].lower() in str(path).lower()


def test_digits_of_house_numbers_are_read_as_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    digits(tmp_path)
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)  # the checksum is that of the real file
    images = read("torchvision:svhn", tmp_path)
    stored = scipy.io.loadmat(tmp_path / "train_32x32.mat")
    assert np.array_equal(images.splits["train"].pixels[3], stored["X"][:, :, :, 3])
    assert images.splits["train"].targets.tolist() == [int(value) % 10 for value in stored["y"][:, 0]]


def test_a_set_of_torchvisions_that_is_not_here_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match='"torchvision:flowers102" is not on this machine: flowers-102 not found') as error:
        read("torchvision:flowers102", tmp_path)
    assert f"looked in {tmp_path / 'torchvision' / 'flowers-102'}" in error.value.hints


def test_torchvisions_addresses_and_checksums_are_its_own() -> None:
    from torchvision.datasets import DTD, STL10, SVHN, Flowers102, Food101, OxfordIIITPet

    official = {
        "oxford_pets": dict(OxfordIIITPet._RESOURCES),
        "flowers102": {Flowers102._download_url_prefix + file: md5 for file, md5 in Flowers102._file_dict.values()},
        "dtd": {DTD._URL: DTD._MD5},
        "svhn": {SVHN.split_list[split][0]: SVHN.split_list[split][2] for split in ("train", "test")},
        "stl10": {STL10.url: STL10.tgz_md5},
        "food101": {Food101._URL: Food101._MD5},
    }
    for name, expected in official.items():
        found = registry.get(Dataset, f"torchvision:{name}").downloads
        assert {each.url: each.checksum for each in found} == {url: f"md5:{md5}" for url, md5 in expected.items()}


# ---- csv


def table(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_text(text)
    for line in text.splitlines()[1:]:
        picture(folder / line.split(",")[0])


def test_a_table_says_class_split_and_group(tmp_path: Path) -> None:
    table(tmp_path, "path,label,part,patient\na.png,cat,train,p1\nb.png,dog,train,p2\nc.png,cat,val,p3\nd.png,dog,test,p4\n")
    images = read("csv", tmp_path, split="part", group="patient")
    assert images.classes == ("cat", "dog")
    assert {name: [path.name for path in split.files] for name, split in images.splits.items()} == {
        "train": ["a.png", "b.png"], "validation": ["c.png"], "test": ["d.png"],
    }  # fmt: skip
    assert images.splits["train"].groups.tolist() == ["p1", "p2"]


def test_a_table_without_splits_sets_whole_groups_aside(tmp_path: Path) -> None:
    rows = [f"{patient}{index}.png,{('sick', 'well')[patient % 2]},p{patient}" for patient in range(20) for index in range(3)]
    table(tmp_path, "path,label,patient\n" + "\n".join(rows) + "\n")
    images = read("csv", tmp_path, group="patient")
    train, test = (set(images.splits[name].groups.tolist()) for name in ("train", "test"))
    assert not train & test
    assert len(train) + len(test) == 20
    assert 12 <= len(images.splits["test"].targets) <= 18


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("picture,label\na.png,cat\n", {}, 'has no column "path"'),
        ("path,label\na.png,cat\nb.png,\n", {}, "line 3: label is empty"),
        ("path,label\n", {}, "lists no images"),
        ("path,label\na.png,cat\nb.png,cat\n", {}, "of one class (cat)"),
        ("path,label,part\na.png,cat,train\nb.png,dog,often\n", {"split": "part"}, 'line 3: there is no split "often"'),
        (
            "path,label,part\na.png,cat,train\nb.png,dog,train\nc.png,cow,test\n",
            {"split": "part"},
            'class "cow" of test has no training images',
        ),
    ],
)
def test_a_table_that_is_wrong_is_a_message_with_its_line(
    tmp_path: Path, text: str, options: dict[str, str], words: str
) -> None:
    table(tmp_path, text)
    with pytest.raises(TlkitError) as error:
        read("csv", tmp_path, **options)
    assert words in str(error.value)


def test_a_table_that_lists_a_file_that_is_not_there_names_it(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\nlost.png,cat\n")
    with pytest.raises(DataError, match=r"line 2: .*lost\.png: there is no such file"):
        read("csv", tmp_path)


# ---- groups of a folder


def test_patients_stay_on_one_side(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "chest_xray.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    (root,) = {path.parent for path in tmp_path.rglob("virus") if path.is_dir()}
    images = read("folder", root, group="person[0-9]+")
    sides = {
        name: {path.name.partition("_")[0] for path in split.files if path.parent.name == "virus"}
        for name, split in images.splits.items()
    }
    assert not sides["train"] & sides["test"]
    assert len(sides["train"]) > len(sides["test"]) > 10


# ---- flowers102 and stl10 of torchvision, whose files have checksums of their own


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine flowers in the official layout: numbers and classes count from 1, and a split is a list of numbers in any order."""
    from torchvision.datasets import Flowers102

    root = tmp_path / "flowers-102"
    labels = np.array([[77, 1, 102, 1, 77, 102, 2, 2, 1]])
    for number in range(1, 1 + labels.size):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
        (root / "jpg").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "jpg" / f"image_{number:05d}.jpg")
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels})
    numbers = {"trnid": np.array([[9, 1, 3, 7]]), "valid": np.array([[2, 5]]), "tstid": np.array([[8, 4, 6]])}
    scipy.io.savemat(root / "setid.mat", numbers)
    unchecked = {key: (name, None) for key, (name, _) in Flowers102._file_dict.items()}
    monkeypatch.setattr(Flowers102, "_file_dict", unchecked)  # the checksums are those of the real files
    return tmp_path


def test_flowers_are_torchvisions(flowers: Path) -> None:
    from torchvision.datasets import Flowers102

    images = read("torchvision:flowers102", flowers)
    assert images.classes == tuple(Flowers102.classes)
    assert (len(images.classes), images.classes[0], images.classes[76]) == (102, "pink primrose", "passion flower")
    assert {name: split.targets.tolist() for name, split in images.splits.items()} == {
        "train": [0, 76, 101, 1], "validation": [0, 76], "test": [1, 0, 101],
    }  # fmt: skip
    for name, theirs in (("train", "train"), ("validation", "val"), ("test", "test")):
        split, official = images.splits[name], Flowers102(flowers, split=theirs)
        assert len(split.targets) == len(split.files) == len(official)
        for path, label, (picture_, label_) in zip(split.files, split.targets, official, strict=True):
            assert label == label_
            assert np.array_equal(decode.decode(path), picture_)
    assert images.splits["train"].files[0].name == "image_00009.jpg"


def test_flowers_with_a_damaged_list_are_a_message(flowers: Path) -> None:
    (flowers / "flowers-102" / "setid.mat").write_bytes(b"MATLAB")
    with pytest.raises(DataError, match=r"flowers-102: torchvision cannot read it: .*\n.*remove it and fetch it again"):
        read("torchvision:flowers102", flowers)


@pytest.fixture
def stl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every file of the official folder, small: classes count from 1, and of each picture (3, columns, rows)."""
    from torchvision.datasets import STL10

    root = tmp_path / "stl10_binary"
    root.mkdir()
    rng = np.random.default_rng(0)
    for part, labels in {"train": [10, 1, 3, 1], "test": [2, 10, 1]}.items():
        pixels = rng.integers(0, 256, (len(labels), 96, 96, 3), np.uint8)  # rows, columns
        np.save(tmp_path / f"{part}.npy", pixels)
        pixels.transpose(0, 3, 2, 1).tofile(root / f"{part}_X.bin")
        np.array(labels, np.uint8).tofile(root / f"{part}_y.bin")
    rng.integers(0, 256, (2, 3, 96, 96), np.uint8).tofile(root / "unlabeled_X.bin")
    (root / "class_names.txt").write_text("airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n")
    (root / "fold_indices.txt").write_text("0 1 \n" * 10)
    for files in ("train_list", "test_list"):  # the checksums are those of the real files
        monkeypatch.setattr(STL10, files, [[name, None] for name, _ in getattr(STL10, files)])
    return tmp_path


def test_pictures_of_stl10_are_torchvisions(stl: Path) -> None:
    from torchvision.datasets import STL10

    images = read("torchvision:stl10", stl)
    assert images.classes == ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    assert {name: split.targets.tolist() for name, split in images.splits.items()} == {"train": [9, 0, 2, 0], "test": [1, 9, 0]}
    for name, split in images.splits.items():
        official = STL10(stl, split=name)
        assert tuple(official.classes) == images.classes
        assert split.pixels.shape == (len(official), 96, 96, 3)
        assert np.array_equal(split.pixels, np.load(stl / f"{name}.npy"))
        for pixels, label, (picture_, label_) in zip(split.pixels, split.targets, official, strict=True):
            assert label == label_
            assert np.array_equal(pixels, picture_)


@pytest.mark.parametrize("cut", [1, 96 * 96 * 3])
def test_stl10_that_was_cut_short_is_a_message(stl: Path, cut: int) -> None:
    file = stl / "stl10_binary" / "train_X.bin"
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"torchvision cannot read it|3 images and 4 targets"):
        read("torchvision:stl10", stl)


def test_stl10_without_its_class_names_says_what_is_missing(stl: Path) -> None:
    (stl / "stl10_binary" / "class_names.txt").unlink()
    with pytest.raises(DataMissing, match=r"stl10_binary"):
        read("torchvision:stl10", stl)
