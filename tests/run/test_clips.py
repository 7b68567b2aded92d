"""Clips as a data set, and videos as what a run predicts; PyAV makes the clips here."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import toy_runs
from conftest import TOY_RECIPE, Cli

from tlkit.cli import predictions_file
from tlkit.errors import DataError
from tlkit.plugin import DataFiles
from tlkit.sources import video_files
from tlkit_clips import ClipsOptions
from tlkit_clips.read import find, read

av = pytest.importorskip("av", reason="PyAV, which reads videos, is not installed")
FRAMES, SIZE = 12, (24, 32)


def clip(path: Path, *, bar: bool, seed: int, frames: int = FRAMES) -> None:
    """Write a clip of a bright shape that moves over dark noise: a bar across the picture, or a square."""
    draw = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(frames):
            pixels = draw.integers(0, 40, (*SIZE, 3), dtype=np.uint8)
            left = 2 + number
            pixels[slice(2, 22) if bar else slice(8, 14), left : left + (3 if bar else 6)] = 230 if bar else 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips, five of each class."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        clip(folder / "bar" / f"{number}.mp4", bar=True, seed=number)
        clip(folder / "square" / f"{number}.mp4", bar=False, seed=10 + number)
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run on these clips; tests only read it."""
    place = tmp_path_factory.mktemp("finished")
    text = TOY_RECIPE.replace('"synthetic"', '"clips"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    text = text.replace(options, f'[data.options]\npath = "{folder}"\nframes = 4\n\n')
    with toy_runs.applied(place, text, "schedule.epochs=1", drawn=True) as done:
        yield done.folder


def test_frames_are_at_even_distances_and_a_split_parts_no_clip(folder: Path) -> None:
    images = read(find(folder), ClipsOptions(frames=4))
    assert images.classes == ("bar", "square")
    train, test = images.splits["train"], images.splits["test"]
    assert (len(train.files), len(test.files)) == (8 * 4, 2 * 4)
    assert train.groups is not None
    assert test.groups is not None
    assert not set(train.groups) & set(test.groups)
    assert [str(each).rpartition("#")[2] for each in train.files[:4]] == ["1", "4", "7", "10"], (
        "the middles of four parts of 12"
    )
    with av.open(str(folder / "bar" / "0.mp4")) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    (first,) = [each for part in (train, test) for each in part.files if str(each).endswith("bar/0.mp4#4")]
    header, pixels = first.read_bytes()[:13], first.read_bytes()[13:]
    assert header == b"P6\n32 24\n255\n"
    assert (np.frombuffer(pixels, np.uint8).reshape(*SIZE, 3) == expected[4]).all()


def test_the_run_keeps_clips_together(finished: Path) -> None:
    (path,) = finished.glob("*/split.json")
    split = json.loads(path.read_text())
    clips = {part: {file.partition("#")[0] for file in split[part]["files"]} for part in ("train", "validation", "test")}
    assert not clips["train"] & clips["validation"]
    assert not clips["train"] & clips["test"]


def test_a_clip_is_scored_by_the_mean_of_its_frames(finished: Path, folder: Path, run: Cli) -> None:
    (path,) = finished.glob("*/evaluation.json")
    found = json.loads(path.read_text())["test"]["groups"]
    with np.load(path.with_name("predictions.npz")) as arrays:
        known = dict(arrays)
    split = json.loads(path.with_name("split.json").read_text())["test"]
    files = dict(zip(split["positions"], split["files"], strict=True))
    tested = known["split"] == "test"
    clips = np.array([files[index].partition("#")[0] for index in known["index"][tested].tolist()])
    exponents = np.exp(known["logits"][tested].astype(np.float64))
    shares = exponents / exponents.sum(1, keepdims=True)
    names = sorted(set(clips))
    means = np.stack([shares[clips == name].mean(0) for name in names])
    labels = np.array([known["label"][tested][clips == name][0] for name in names])
    assert found["groups"] == len(names) == 2
    assert found["accuracy"] == (means.argmax(1) == labels).mean()
    assert found["loss"] == pytest.approx(-np.log(means[np.arange(2), labels]).mean(), abs=1e-5)
    settings = ("--set", f"data.options.path={folder}", "--set", "data.options.frames=4")
    code, out, error = run("evaluate", finished, "--on", "clips", *settings, "--json")
    assert code == 0, error
    assert json.loads(out)["groups"]["groups"] == 10, "of a data set without test clips of its own all are evaluated"
    code, given, error = run("evaluate", finished, "--on", folder, "--json")
    assert (code, json.loads(given)["groups"]) == (0, json.loads(out)["groups"]), error


def test_a_video_is_answered_by_the_mean_of_its_frames(finished: Path, folder: Path, run: Cli, tmp_path: Path) -> None:
    one = folder / "bar" / "1.mp4"
    code, out, error = run("predict", finished, one, "--every", "5", "--json")
    assert code == 0, error
    found = json.loads(out)
    assert [row["frame"] for row in found["predictions"]] == [0, 5, 10]
    assert [row["seconds"] for row in found["predictions"]] == pytest.approx([0, 0.5, 1.0])
    mean = {name: np.mean([row["probabilities"][name] for row in found["predictions"]]) for name in ("bar", "square")}
    (video,) = found["videos"]
    assert video["frames"] == 3
    assert video["probabilities"] == pytest.approx(mean, abs=1e-6)

    code, out, error = run("predict", finished, one, "--every", "5", "--csv", tmp_path / "frames.csv")
    assert code == 0, error
    rows = list(csv.DictReader(io.StringIO((tmp_path / "frames.csv").read_text())))
    assert [row["frame"] for row in rows] == ["0", "5", "10"]
    for row, answer in zip(rows, found["predictions"], strict=True):
        assert float(row["probability"]) == pytest.approx(max(answer["probabilities"].values()), abs=1e-5)


def test_a_broken_video_is_named_and_the_others_are_answered(finished: Path, folder: Path, run: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes((folder / "bar" / "1.mp4").read_bytes()[:400])
    code, out, error = run("predict", finished, tmp_path / "broken.mp4", folder / "square" / "1.mp4", "--json")
    assert code == 3
    assert "broken.mp4: cannot be read as a video" in error
    assert [row["video"].rpartition("/")[2] for row in json.loads(out)["videos"]] == ["1.mp4"]
    assert run("predict", finished, folder / "bar" / "0.mp4", "--out", tmp_path)[0] == 2
    code, _, error = run("predict", finished, folder / "bar" / "0.mp4", "a.png")
    assert code == 1
    assert "0.mp4 is a video and a.png is an image" in error


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "cannot be read as a video"), (b"text" * 99, "cannot be read as a video")],
    ids=["empty", "text"],
)
def test_every_broken_clip_of_a_data_set_is_named_at_once(tmp_path: Path, content: bytes, told: str) -> None:
    for name in ("a", "b"):
        for number in range(2):
            clip(tmp_path / name / f"{number}.mp4", bar=name == "a", seed=number)
        (tmp_path / name / "x.mp4").write_bytes(content)
    with pytest.raises(DataError, match=rf"a/x\.mp4: {told}") as caught:
        read(find(tmp_path))
    assert "b/x.mp4" in str(caught.value)


def test_a_clip_without_frames_is_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=r"sound\.mp4: has no frames: it is a file of sound alone"):
        list(video_files.frames(tmp_path / "sound.mp4"))
    clip(tmp_path / "whole.mp4", bar=True, seed=0)
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: content.index(b"moov") + 200])
    with pytest.raises(DataError, match=r"cut\.mp4: cannot be read as a video: there is none in it; it may be cut off\."):
        list(video_files.frames(tmp_path / "cut.mp4"))


def test_without_pyav_there_is_one_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match="needs PyAV") as caught:
        list(video_files.frames(folder / "bar" / "0.mp4"))
    assert "pip install tlkit[video]" in str(caught.value)
    with pytest.raises(DataError, match="need PyAV"):
        read(DataFiles(folder, find(folder).files))


def test_a_written_video_has_the_frames_that_went_in(tmp_path: Path) -> None:
    with (tmp_path / "a.mp4").open("wb+") as file, video_files.writing(file, (33, 48), Fraction(10)) as writer:
        for level in (40, 120, 200):
            writer.add(np.full((33, 48, 3), level, np.uint8))
    found = list(video_files.frames(tmp_path / "a.mp4"))
    assert [frame.pixels.shape for frame in found] == [(32, 48, 3)] * 3, "the codec takes even sides"
    assert [frame.pixels.mean() for frame in found] == pytest.approx([40, 120, 200], abs=4)
    assert video_files.rate(tmp_path / "a.mp4") == 10


def test_a_written_video_is_as_slow_as_a_file_can_be(tmp_path: Path) -> None:
    with (tmp_path / "a.mp4").open("wb+") as file, video_files.writing(file, (32, 32), Fraction(25, 100_000)) as writer:
        writer.add(np.zeros((32, 32, 3), np.uint8))
    assert video_files.rate(tmp_path / "a.mp4") < 1


def test_no_two_pictures_write_one_file() -> None:
    paths = [Path(each) for each in ("x/a.png", "y/a.png", "z/a-2.png", "a-overlay.png", "b.png")]
    found = predictions_file.names(paths)
    assert found == ["a", "a-2", "a-2-2", "a-overlay-2", "b"]
