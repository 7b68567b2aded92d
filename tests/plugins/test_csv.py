"""Tables as people have them: each is read right, or the message names the row and the option."""

import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tlkit
from tlkit.errors import DataError, DataMissing
from tlkit.plugin import DataFiles, Images, call
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places
from tlkit_csv import CsvOptions, csv

FOUR = "a.png,cat\nb.png,dog\nc.png,cat\nd.png,dog\n"
PICTURE = Image.new("RGB", (4, 4))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abcd":
        PICTURE.save(tmp_path / f"{name}.png")
    return tmp_path


def read(root: Path, text: str | bytes = "", **options: object) -> Images:
    if text:
        (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    checked = CsvOptions.model_validate(options)
    found = call(csv.find, root, checked)
    assert isinstance(found, DataFiles)
    return call(csv.read, found, checked)


def labels(images: Images) -> dict[str, str]:
    """File name -> class, of all splits."""
    return {
        file.name: images.classes[label]
        for split in images.splits.values()
        for file, label in zip(split.files, split.targets.tolist(), strict=True)
    }


def remarks(root: Path, **options: object) -> tuple[str, ...]:
    found = call(csv.find, root, CsvOptions.model_validate(options))
    assert isinstance(found, DataFiles)
    return (*found.remarks, *found.on_splits)


SEVERAL = {"classes": ["cat", "dog"], "several": True, "split": "split"}
RIGHT = {"a.png": "cat", "b.png": "dog", "c.png": "cat", "d.png": "dog"}


# ---- twice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"path,label\n{FOUR}a.png,cat\n", "a row lists an image again: lines 2 and 6: a.png"),
        (f"path,label\n{FOUR}./a.png,cat\n", "lines 2 and 6: a.png and ./a.png"),
        (f"path,label\n{FOUR}x/../b.png,dog\n", "lines 3 and 6: b.png and x/../b.png"),
        (f"path,label\n{FOUR}a.png,dog\n", "lines 2 and 6: a.png (class cat and dog)"),
    ],
)
def test_an_image_that_is_listed_twice_is_refused_with_its_rows(root: Path, text: str, words: str) -> None:
    (root / "x").mkdir()
    with pytest.raises(DataError) as caught:
        read(root, text)
    assert words in str(caught.value)


def test_an_image_in_train_and_in_test_is_refused(root: Path) -> None:
    text = "path,label,part\na.png,cat,train\nb.png,dog,train\na.png,cat,test\nb.png,dog,test\n"
    with pytest.raises(DataError) as caught:
        read(root, text, split="part")
    assert "2 rows list an image again: lines 2 and 4: a.png (split train and test)" in str(caught.value)
    assert "lines 3 and 5: b.png (split train and test)" in caught.value.hints


def test_an_image_in_two_tables_is_refused(root: Path) -> None:
    (root / "test.csv").write_text("path,label\nb.png,dog\n")
    with pytest.raises(DataError, match=r"labels\.csv and test\.csv, lines 3 and 2: b\.png"):
        read(root, f"path,label\n{FOUR}", test_file="test.csv")


# ---- rows that do not fit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\na.png,cat\nb.png,dog, small\nc.png,cat\n", "line 3: has 3 cells, and the first row has 2"),
        ("path,label,extra\na.png,cat,1\nb.png,dog\n", "line 3: has 2 cells, and the first row has 3"),
        ("path,label,label\na.png,cat,1\nb.png,dog,2\n", 'line 1: two columns are called "label"'),
        ('path,label\na.png,"cat\nb.png,dog\n', "line 2: cannot be read as cells: a quote is not closed"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_line(root: Path, text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(root, text)
    assert words in str(caught.value)
    assert "_csv" not in str(caught.value)


def test_a_comma_between_quotes_is_part_of_the_name(root: Path) -> None:
    images = read(root, 'path,label\na.png,"dog, small"\nb.png,"dog, large"\nc.png,"dog, small"\nd.png,"dog, large"\n')
    assert images.classes == ("dog, large", "dog, small")


# ---- as programs write them


@pytest.mark.parametrize(
    "text",
    [
        f"path;label\n{FOUR}".replace(",", ";"),
        f"path,label\n{FOUR}".replace(",", "\t"),
        f"path|label\n{FOUR}".replace(",", "|"),
        f"sep=;\npath;label\n{FOUR}".replace(",", ";"),
        b"\xef\xbb\xbf" + f"path,label\n{FOUR}".encode(),
        f"path\tlabel\n{FOUR}".replace(",", "\t").encode("utf-16"),
        f"path,label\n{FOUR}".replace("\n", "\r\n"),
        f"path,label\n\n{FOUR}\n",
    ],
    ids=["semicolons", "tabs", "bars", "Excel", "byte-order mark", "UTF-16", "Windows", "empty lines"],
)
def test_what_programs_write_is_read(root: Path, text: str | bytes) -> None:
    assert labels(read(root, text)) == RIGHT


def test_delimiters_of_a_table_without_header_are_guessed(root: Path) -> None:
    assert labels(read(root, FOUR.replace(",", ";"), header=False)) == RIGHT


def test_latin_1_is_read_where_it_is_said(root: Path) -> None:
    text = f"path,label\n{FOUR}".replace("dog", "müde").encode("latin-1")
    with pytest.raises(DataError, match=r"line 3: is not UTF-8") as caught:
        read(root, text)
    assert "latin-1" in str(caught.value)
    assert read(root, encoding="latin-1").classes == ("cat", "müde")
    with pytest.raises(DataError, match='there is no encoding "latinx"'):
        read(root, encoding="latinx")


def test_utf_16_without_its_mark_names_the_option(root: Path) -> None:
    text = f"path,label\n{FOUR}".encode("utf-16-le")
    with pytest.raises(DataError) as caught:
        read(root, text)
    assert "data.options.encoding" in str(caught.value)
    assert labels(read(root, encoding="utf-16-le")) == RIGHT


def test_a_table_without_header_names_the_option(root: Path) -> None:
    with pytest.raises(DataError, match="no row that names the columns") as caught:
        read(root, FOUR)
    assert caught.value.hints == ("data.options.header = false",)
    assert labels(read(root, header=False)) == RIGHT
    swapped = "".join(",".join(reversed(line.split(","))) + "\n" for line in FOUR.splitlines())
    assert labels(read(root, swapped, header=False, image="2", label="1")) == RIGHT


def test_whole_numbers_are_sorted_by_value(root: Path) -> None:
    images = read(root, "path,label\na.png,10\nb.png,2\nc.png,10\nd.png,2\n")
    assert images.classes == ("2", "10")


def test_a_name_in_another_form_of_unicode_is_named(root: Path) -> None:
    (root / "a.png").rename(root / unicodedata.normalize("NFD", "bär.png"))
    with pytest.raises(DataError, match=r"(?s)there is no such file\.\n.*in another form of Unicode, as macOS writes them"):
        read(root, unicodedata.normalize("NFC", f"path,label\n{FOUR}".replace("a.png", "bär.png")))


def test_paths_may_lack_their_folder_and_suffix(root: Path) -> None:
    (root / "images").mkdir()
    for name in "abcd":
        (root / f"{name}.png").rename(root / "images" / f"{name}.png")
    text = f"path,label\n{FOUR}".replace(".png", "")
    with pytest.raises(DataError, match=r"line 2: .*/a: there is no such file") as caught:
        read(root, text)
    assert caught.value.hints == ('data.options.prefix = "images/"; data.options.suffix = ".png"',)
    assert labels(read(root, prefix="images/", suffix=".png")) == RIGHT
    with pytest.raises(DataError) as caught:
        read(root, prefix="images/")
    assert 'data.options.suffix = ".png"' in str(caught.value)


def test_paths_of_windows_are_read(root: Path) -> None:
    (root / "images").mkdir()
    for name in "abcd":
        (root / f"{name}.png").rename(root / "images" / f"{name}.png")
    assert labels(read(root, "path,label\n" + "".join(f"images\\{line}\n" for line in FOUR.splitlines()))) == RIGHT


def test_the_column_of_paths_is_proposed(root: Path) -> None:
    with pytest.raises(DataError, match='has no column "path"') as caught:
        read(root, f"picture,label\n{FOUR}")
    assert caught.value.hints[0] == 'data.options.image = "picture"'


@pytest.mark.parametrize("name", ["image", "file", "filename", "file_name", "filepath", "Image"])
def test_a_column_of_paths_with_a_usual_name_is_read_and_said(root: Path, name: str) -> None:
    assert labels(read(root, f"{name};label\n{FOUR.replace(',', ';')}")) == RIGHT
    found = call(csv.find, root, CsvOptions())
    assert isinstance(found, DataFiles)
    assert found.remarks == (f'labels.csv: paths are read from column "{name}"',)
    (root / "labels.csv").write_text(f"path,label\n{FOUR}")
    named = call(csv.find, root, CsvOptions())
    assert isinstance(named, DataFiles)
    assert (named.remarks, named.files) == ((), found.files)


def test_a_usual_name_is_not_taken_where_it_is_not_the_only_one_or_names_no_image(root: Path) -> None:
    two = "".join(f"{line},{line.partition(',')[0]}\n" for line in FOUR.splitlines())
    for text in (f"image,label,file\n{two}", "image,label\n1,cat\n2,dog\n"):
        with pytest.raises(DataError, match='has no column "path"'):
            read(root, text)
    with pytest.raises(DataError, match='has no column "pict"'):
        read(root, f"image,label\n{FOUR}", image="pict")
    assert labels(read(root, f"path,label,image\n{two}")) == RIGHT


def test_two_tables_are_two_splits(root: Path) -> None:
    (root / "train.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    (root / "test.csv").write_text("path,label\nd.png,dog\nc.png,cat\n")
    with pytest.raises(DataMissing, match=r"labels\.csv: there is no such table") as caught:
        read(root)
    assert "tables in its folder: test.csv, train.csv" in caught.value.hints
    assert "data.options.test_file" in str(caught.value)
    images = read(root, file="train.csv", test_file="test.csv")
    assert {name: [file.name for file in split.files] for name, split in images.splits.items()} == {
        "train": ["a.png", "b.png"],
        "test": ["d.png", "c.png"],
    }
    assert labels(images) == RIGHT
    assert not images.test_held_out, "so that they are evaluated, and not among the images of a cross-validation"
    (root / "train.csv").rename(root / "labels.csv")
    assert read(root).test_held_out


def test_tables_in_the_folders_of_splits_name_files_beside_them(root: Path) -> None:
    """As Hugging Face's imagefolder has them: the same names may be in both."""
    for split, place in (("train", "a.png,cat\nb.png,dog\n"), ("test", "a.png,dog\n")):
        (root / split).mkdir()
        (root / split / "metadata.csv").write_text(f"file_name,label\n{place}")
        for name in "ab":
            PICTURE.save(root / split / f"{name}.png")
    for name in "abcd":
        (root / f"{name}.png").unlink()
    images = read(root, file="train/metadata.csv", test_file="test/metadata.csv")
    assert [file for split in images.splits.values() for file in split.files] == [
        root / "train/a.png", root / "train/b.png", root / "test/a.png",
    ]  # fmt: skip
    PICTURE.save(root / "a.png")
    with pytest.raises(DataError, match="a row lists an image again"):  # the folder's own counts, as ever
        read(root, file="train/metadata.csv", test_file="test/metadata.csv")


def test_a_fraction_of_0_holds_out_no_row(root: Path) -> None:
    assert set(read(root, f"path,label\n{FOUR}").splits) == {"train", "test"}
    images = read(root, test_fraction=0)
    assert list(images.splits) == ["train"]
    assert labels(images) == RIGHT


def test_one_column_a_class_names_the_option(root: Path) -> None:
    text = "path,cat,dog\na.png,1,0\nb.png,0,1\nc.png,1,0\nd.png,0,1\n"
    with pytest.raises(DataError, match='has no column "label"') as caught:
        read(root, text)
    assert caught.value.hints[0] == 'if each of these columns is a class: data.options.classes = ["cat", "dog"]'
    assert labels(read(root, classes=["cat", "dog"])) == RIGHT
    with pytest.raises(DataError, match='line 3: dog is "maybe"'):
        read(root, text.replace("b.png,0,1", "b.png,0,maybe"), classes=["cat", "dog"])


def test_columns_of_several_classes_are_for_a_multi_label_head(root: Path) -> None:
    text = "path,cat,dog,split\na.png,1,1,train\nb.png,0,1,train\nc.png,0,0,train\nd.png,1,0,test\n"
    with pytest.raises(DataError, match="line 2: is of 2 classes: cat, dog") as caught:
        read(root, text, classes=["cat", "dog"], split="split")
    assert "data.options.several = true" in str(caught.value)
    images = read(root, **SEVERAL)
    assert images.splits["train"].targets.dtype == np.uint8
    assert images.splits["train"].targets.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert read(root, text.replace(",0,0,", ",,0,"), **SEVERAL).splits["train"].targets.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert remarks(root, **SEVERAL) == ('labels.csv: column "cat": empty cells (1) are read as 0',)


def test_a_column_of_patients_that_no_option_names_is_said(root: Path) -> None:
    (root / "labels.csv").write_text(
        "path,label,Patient ID,groups\na.png,cat,p1,1\nb.png,dog,p2,2\nc.png,cat,p1,3\nd.png,dog,p3,4\n"
    )
    (said,) = remarks(root)
    assert said.startswith('labels.csv: column "Patient ID": images with the same value may be parted')
    assert 'data.options.group = "Patient ID"' in said
    assert not remarks(root, group="Patient ID") + remarks(root, label="Patient ID")


@pytest.mark.parametrize(
    ("splits", "setting", "told"),
    [
        ("train validation test", "seeds=[1]", 0),
        ("train validation train", "seeds=[1]", 0),  # and no test images
        ("train train test", "seeds=[1]", 1),  # validation images are drawn of the training images
        ("train train test", "data.split.validation=0", 0),
        ("train validation test", "data.split.fractions=[0.5, 0.25, 0.25]", 1),
        ("", "data.split.validation=0", 1),  # the plugin draws test images
    ],
)
def test_patients_are_spoken_of_only_where_a_split_is_drawn(
    root: Path, toy_recipe: Path, splits: str, setting: str, told: int
) -> None:
    given = f"path='{root}'" + (", split='split'" if splits else "")
    rows = [["path", "label", "patient", "split"]]
    for number in range(24):
        picture = root / f"{number}.png"
        picture.write_bytes((root / "a.png").read_bytes())
        split = splits.split()[number // 2 % 3] if splits else ""
        rows.append([picture.name, "ab"[number % 2], f"p{number // 4}", split])
    (root / "labels.csv").write_text("\n".join(",".join(row if splits else row[:3]) for row in rows))
    (plan,) = tlkit.plan(toy_recipe, [f"data={{ name='csv', image_size=16, options={{ {given} }} }}", setting]).values()
    assert sum('data.options.group = "patient"' in line for line in plan.warnings) == told


def test_unicode_forms_and_spaces_of_one_name_are_one_class(root: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "mésange") for form in ("NFC", "NFD"))
    images = read(root, f"path,label\na.png,{nfc}\nb.png,{nfd} \nc.png,pie\nd.png,pie \n")
    assert images.classes == (nfc, "pie")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("labels.csv", 'data.options.path = "{root}", data.options.file = "labels.csv"'),
        ("photos.zip", "is an archive, not a folder"),
        ("photos.tar.gz", "unpack it, and name the folder that comes out"),
    ],
)
def test_a_file_that_is_named_as_folder_says_what_it_is(root: Path, name: str, words: str) -> None:
    (root / name).write_text(f"path,label\n{FOUR}")
    with pytest.raises(DataError) as caught:
        data_files.find_data("csv", csv, CsvOptions(path=name), Places(recipe=root), fetch=False)
    assert words.format(root=root) in str(caught.value)


def test_a_spreadsheet_is_called_one(root: Path) -> None:
    with pytest.raises(DataError, match="is a spreadsheet or an archive, not a table as text"):
        read(root, b"PK\x03\x04" + bytes(30))


# ---- test images


def test_a_column_of_splits_that_no_option_names_is_refused(root: Path) -> None:
    text = "path,label,part\na.png,cat,Train\nb.png,dog,Train\nc.png,cat,test\nd.png,dog,test\n"
    with pytest.raises(DataError, match='column "part" says which images are for what') as caught:
        read(root, text)
    assert 'data.options.split = "part"' in str(caught.value)
    assert {name: len(split.files) for name, split in read(root, text, split="part").splits.items()} == {"train": 2, "test": 2}


def test_a_class_may_be_called_train(root: Path) -> None:
    assert read(root, f"path,label\n{FOUR.replace('cat', 'train').replace('dog', 'test')}").classes == ("test", "train")


def test_a_column_is_guessed_only_where_no_cell_shows_it(root: Path) -> None:
    with pytest.raises(DataError, match='has no column "path"') as caught:
        read(root, "picture,path_of,label\na.png,x,cat\nb.png,y,dog\n")
    assert 'data.options.image = "picture"' in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_classes_of_one_image_each_leave_none_to_test(root: Path) -> None:
    (root / "labels.csv").write_text("path,label\na.png,0.1\nb.png,0.2\nc.png,0.3\n")
    found = call(csv.find, root, CsvOptions())
    assert isinstance(found, DataFiles)
    with pytest.raises(DataError, match="every one of its 3 classes has one image"):
        datasets.read_data(csv, found, CsvOptions())


def test_a_table_of_many_columns_takes_the_memory_of_its_text(root: Path) -> None:
    names, rows = [f"c{number}" for number in range(500)], 600
    cells = (",".join("1" if place == row % 2 else "0" for place in range(500)) for row in range(rows))
    text = "\n".join([f"path,{','.join(names)}", *(f"{row}.png,{each}" for row, each in enumerate(cells))])
    (root / "labels.csv").write_text(text)
    for row in range(rows):
        (root / f"{row}.png").touch()
    tracemalloc.start()
    found = call(csv.find, root, CsvOptions(classes=names, several=True))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, DataFiles)
    assert len(found.files) == 1 + rows
    assert peak < 5 * len(text)  # 16 bytes of every cell were kept beside it, 8 times the text
