"""Data sets with several domains, from small copies of their official layouts and from real pictures of Office-31."""

import dataclasses
import hashlib
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from conftest import served
from PIL import Image
from toy_reading import read

from tlkit.errors import DataError, DataMissing, RecipeError
from tlkit.plans import overlap
from tlkit.plugin import Dataset, registry
from tlkit.sources import data_files
from tlkit.sources.places import Places
from tlkit_domains import DomainNetOptions
from tlkit_domains.domainnet_files import COUNTS, downloads


def picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


def of_folders(place: Path, domains: tuple[str, ...], classes: tuple[str, str], *, inner: str = ".") -> None:
    """Five pictures a class and domain."""
    for number, domain in enumerate(domains):
        for name in classes:
            for index in range(5):
                picture(place / domain / inner / name / f"frame_{index:04d}.jpg", 40 * number)


def office31(folder: Path) -> None:
    of_folders(folder / "domain_adaptation_images", ("amazon", "dslr", "webcam"), ("bike", "mug"), inner="images")


def office_home(folder: Path) -> None:
    of_folders(folder / "OfficeHomeDataset_10072016", ("Art", "Clipart", "Product", "Real World"), ("Bed", "Folder"))


def pacs(folder: Path) -> None:
    of_folders(folder / "kfold", ("photo", "art_painting", "cartoon", "sketch"), ("dog", "guitar"))


def visda(folder: Path) -> None:
    """Official lists: of `test` the folders say nothing of the class."""
    for domain, value in (("train", 0), ("validation", 50)):
        lines = [f"{name}/{domain}_{index}.png {number}" for name, number in (("bus", 2), ("truck", 11)) for index in range(5)]
        for line in lines:
            picture(folder / domain / line.split()[0], value)
        (folder / domain / "image_list.txt").write_text("\n".join(lines) + "\n")
    lines = ["trunc00/0.png 11", "trunc01/a b.png 2"]
    for line in lines:
        picture(folder / "test" / line.rpartition(" ")[0], 90)
    (folder / "test" / "image_list.txt").write_text("\n".join(lines) + "\n")


def domainnet(folder: Path) -> None:
    """Clipart and painting; as in the official lists, painting has a class in its test list that its training list lacks."""
    lists = {
        "clipart_train": ["clipart/sun/1.jpg 0", "clipart/sun/2.jpg 0", "clipart/t-shirt/1.jpg 1", "clipart/zebra/1.jpg 2"],
        "clipart_test": ["clipart/sun/3.jpg 0", "clipart/t-shirt/2.jpg 1"],
        "painting_train": ["painting/sun/1.jpg 0", "painting/zebra/1.jpg 2"],
        "painting_test": ["painting/sun/2.jpg 0", "painting/t-shirt/1.jpg 1", "painting/zebra/2.jpg 2"],
    }
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            picture(folder / line.split()[0])


@pytest.mark.parametrize(
    ("name", "make", "source", "target"),
    [
        ("office31", office31, "amazon", "webcam"),
        ("office_home", office_home, "art", "real_world"),
        ("pacs", pacs, "photo", "art_painting"),
        ("visda2017", visda, "train", "validation"),
    ],
)
def test_source_is_trained_on_and_target_is_tested(
    name: str, make: Callable[[Path], None], source: str, target: str, tmp_path: Path
) -> None:
    make(tmp_path)
    images = read(name, tmp_path, source=source, target=target)
    shown = {"real_world": "Real World", "art": "Art"}
    for part, domain in (("train", source), ("test", target)):
        split = images.splits[part]
        assert len(split.targets) == 10
        for file, label in zip(split.files, split.targets, strict=True):
            assert shown.get(domain, domain) in file.parts
            assert images.classes[label] == file.parent.name
    assert not images.test_held_out


@pytest.mark.parametrize(("key", "domain"), [("source", "amazon"), ("target", "dslr")])
def test_one_domain_alone_has_its_test_images_held_out(key: str, domain: str, tmp_path: Path) -> None:
    office31(tmp_path)
    images = read("office31", tmp_path, **{key: domain})
    assert {name: len(split.targets) for name, split in images.splits.items()} == {"train": 8, "test": 2}
    assert all(domain in file.parts for split in images.splits.values() for file in split.files)
    assert images.test_held_out


def test_classes_of_visdas_test_images_are_those_of_the_list(tmp_path: Path) -> None:
    visda(tmp_path)
    images = read("visda2017", tmp_path, source="train", target="test")
    told = {file.name: images.classes[label] for file, label in zip(images.splits["test"].files, images.splits["test"].targets)}
    assert told == {"0.png": "truck", "a b.png": "bus"}
    assert len(images.classes) == 12


def test_domainnet_is_divided_by_its_lists(tmp_path: Path) -> None:
    domainnet(tmp_path)
    images = read("domainnet", tmp_path, source="clipart", target="painting")
    assert images.classes == ("sun", "t-shirt", "zebra")
    assert {name: [str(file.relative_to(tmp_path)) for file in split.files] for name, split in images.splits.items()} == {
        "train": ["clipart/sun/1.jpg", "clipart/sun/2.jpg", "clipart/t-shirt/1.jpg", "clipart/zebra/1.jpg"],
        "test": ["painting/sun/2.jpg", "painting/t-shirt/1.jpg", "painting/zebra/2.jpg"],
    }
    assert images.splits["test"].targets.tolist() == [0, 1, 2]


def test_test_images_of_a_class_that_no_training_list_has_are_left_out_and_told(tmp_path: Path) -> None:
    domainnet(tmp_path)
    images = read("domainnet", tmp_path, source="painting")
    assert images.classes == ("sun", "zebra")
    assert [file.parent.name for file in images.splits["test"].files] == ["sun", "zebra"]
    dataset = registry.get(Dataset, "domainnet")
    options = DomainNetOptions(source="painting")
    found = data_files.find_data("domainnet", dataset, options, Places(data=tmp_path, offline=True), fetch=False)
    assert found.remarks == (
        "painting_test.txt: 1 images are left out: painting_train.txt has no image of their class (t-shirt)",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "names no domain; give source"),
        ({"source": "amazon", "target": "amazon"}, 'source and target are both "amazon"'),
        ({"source": "caltech"}, "data.options.source"),
    ],
)
def test_domains_that_make_no_sense_are_named(options: dict[str, str], words: str, tmp_path: Path) -> None:
    office31(tmp_path)
    with pytest.raises(RecipeError) as error:
        read("office31", tmp_path, **options)
    assert words in str(error.value)


def test_a_target_with_another_class_is_named(tmp_path: Path) -> None:
    office31(tmp_path)
    picture(tmp_path / "domain_adaptation_images" / "webcam" / "images" / "sofa" / "1.jpg")
    with pytest.raises(DataError, match='class "sofa" of test has no training images'):
        read("office31", tmp_path, source="amazon", target="webcam")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bus/1.png", 'line 3: is "bus/1.png"'),
        ("bus/1.png 12", "1.png is of class 12"),
        ("bus/9.png 2", "there is no such file"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(line: str, words: str, tmp_path: Path) -> None:
    visda(tmp_path)
    picture(tmp_path / "train" / "bus" / "1.png")
    (tmp_path / "train" / "image_list.txt").write_text(f"bus/1.png 2\n\n{line}\n")
    with pytest.raises(DataError) as error:
        read("visda2017", tmp_path, source="train")
    assert words in str(error.value)


def test_a_data_set_that_is_not_here_names_its_page(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match='"pacs" is not on this machine') as error:
        read("pacs", tmp_path, source="photo")
    assert f"looked in {tmp_path / 'pacs' / 'kfold'}" in error.value.hints
    assert "its page: https://dali-dl.github.io/project_iccv2017.html" in error.value.hints


# ---- DomainNet's download


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address on loopback, and the folder that is served there."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    with served(partial(Quiet, directory=str(folder))) as address:
        yield address, folder


def test_only_the_domains_that_are_named_are_downloaded(
    tmp_path: Path, site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = site
    whole = tmp_path / "whole"
    whole.mkdir()
    domainnet(whole)
    for file in whole.glob("*.txt"):
        (folder / file.name).write_bytes(file.read_bytes())
    with zipfile.ZipFile(folder / "clipart.zip", "w") as archive:
        for file in (whole / "clipart").rglob("*.jpg"):
            archive.write(file, file.relative_to(whole))

    def here(options: DomainNetOptions | None) -> tuple[object, ...]:
        return tuple(
            dataclasses.replace(
                each,
                url=f"{address}/{each.filename}",
                checksum=f"sha256:{hashlib.sha256((folder / each.filename).read_bytes()).hexdigest()}",
            )
            for each in downloads(options)
        )

    dataset = dataclasses.replace(registry.get(Dataset, "domainnet"), downloads=here)
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "data"))
    said: list[str] = []
    options = DomainNetOptions(source="clipart")
    found = data_files.find_data("domainnet", dataset, options, Places(notify=said.append), fetch=True)
    assert found.root == tmp_path / "data" / "domainnet"
    names = "clipart_train.txt", "clipart_test.txt", "clipart.zip"
    assert said == [f"downloading {address}/{name} (not by https)" for name in names]
    assert len(found.files) == 2 + 6
    (found.root / "clipart_test.txt").unlink()
    said.clear()
    data_files.find_data("domainnet", dataset, options, Places(notify=said.append), fetch=True)
    assert said == [f"downloading {address}/clipart_test.txt (not by https)"]  # the pictures are there


def test_a_download_with_another_checksum_is_refused(
    tmp_path: Path, site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = site
    (folder / "sketch_train.txt").write_text("sketch/sun/1.jpg 0\n")
    official = registry.get(Dataset, "domainnet")
    moved = tuple(
        dataclasses.replace(each, url=f"{address}/{each.filename}") for each in downloads(DomainNetOptions(source="sketch"))
    )
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "data"))
    with pytest.raises(DataMissing) as error:
        data_files.find_data(
            "domainnet", dataclasses.replace(official, downloads=moved), DomainNetOptions(source="sketch"), Places(), fetch=True
        )
    assert "does not have the checksum sha256:72f4bc6afa5702a1" in str(error.value)
    assert not (tmp_path / "data" / "domainnet" / "sketch_train.txt").exists()


def test_domainnets_addresses_are_official() -> None:
    every = downloads(None)
    assert len(every) == 3 * len(COUNTS) == 18
    assert {each.url.partition("/multi-source/")[0] for each in every} == {"http://csr.bu.edu/ftp/visda/2019"}
    assert len({each.checksum for each in every}) == 18
    assert all(len(each.checksum) == len("sha256:") + 64 for each in every)
    assert sum(map(sum, COUNTS.values())) == 586_575  # ai.bu.edu/M3SDA, cleaned version


# ---- real pictures


@pytest.fixture(scope="module")
def office(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("office")
    with tarfile.open(test_data / "office31.tar") as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_office31_has_its_published_counts(office: Path) -> None:
    counts = {"amazon": 2_817, "dslr": 498, "webcam": 795}
    images = read("office31", office, source="amazon", target="webcam")
    assert len(images.classes) == 31
    assert {name: len(split.targets) for name, split in images.splits.items()} == {
        "train": counts["amazon"], "test": counts["webcam"],
    }  # fmt: skip
    assert sum(len(split.targets) for split in read("office31", office, source="dslr").splits.values()) == counts["dslr"]


def test_overlap_check_finds_the_duplicates_of_amazon(office: Path) -> None:
    images = read("office31", office, source="amazon")
    parts = {name: images.splits[name].files for name in ("train", "test")}
    digests = {file: hashlib.sha256(file.read_bytes()).digest() for files in parts.values() for file in files}
    seen: set[bytes] = set()
    first, again = [], []
    for file in sorted(digests):
        (again if digests[file] in seen else first).append(file)
        seen.add(digests[file])
    assert sum(count > 1 for count in Counter(digests.values()).values()) == 49  # pictures that are there more than once
    (found,) = overlap.find(overlap.of_files({"train": again, "test": first}))
    assert (found.count, found.total) == (49, len(seen))
    trained = {digests[file] for file in parts["train"]}
    (found,) = overlap.find(overlap.of_files(parts))  # of the usual division, those that it parts
    assert found.count == sum(digests[file] in trained for file in parts["test"]) > 0
