"""Runs on shards: the bits of a run on the folder, and embeddings of a shard at a time."""

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import shard_files
import torch
from conftest import TOY_RECIPE, Cli
from PIL import Image
from safetensors.torch import load_file
from shard_files import images, png, samples, tar
from toy_observers import SignalAfter

from tlkit import api
from tlkit.errors import Interrupted, TlkitError
from tlkit.run import loading, shard_embeddings
from tlkit.sources import shards
from tlkit_shards import index
from tlkit_shards import places as shard_places

_SYNTHETIC = TOY_RECIPE[TOY_RECIPE.index("[data.options]") : TOY_RECIPE.index("[lr_groups]")]


def recipe(folder: Path, name: str, data: str, options: str) -> Path:
    path = folder / f"{name}.toml"
    text = TOY_RECIPE.replace('name = "toy"\n\n[backbone]', f'name = "{name}"\n\n[backbone]').replace(
        '"synthetic"', f'"{data}"'
    )
    path.write_text(text.replace(_SYNTHETIC, f"[data.options]\n{options}\n\n").replace("batch_size = 16", "batch_size = 4"))
    return path


def applied(folder: Path, name: str, data: str, options: str) -> Path:
    """Apply a recipe, and return the folder of its run."""
    done = api.apply(recipe(folder, name, data, options), runs=folder / "runs")
    (run,) = done.result["arms"]["main"]["seeds"].values()
    return done.folder / run["folder"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One recipe on a folder, and on the shards of it."""
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        images(folder / "images", train=24)
        shards.write(folder / "images", folder / "out", size=10**4, progress=lambda *_: None, notify=print)
        first = applied(folder, "folder", "folder", 'path = "images"')
        patch.setenv("TLKIT_CACHE", str(folder / "another cache"))
        patch.setenv("TLKIT_CACHE_BYTES", "0")  # every epoch decodes again
        return {"folder": first, "shards": applied(folder, "shards", "shards", 'path = "out"')}


def test_training_on_shards_gives_the_bits_of_the_folder(runs: dict[str, Path]) -> None:
    ours, theirs = (load_file(runs[name] / "weights.safetensors") for name in ("shards", "folder"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    lines = [[json.loads(line) for line in (runs[name] / "metrics.jsonl").read_text().splitlines()] for name in runs]
    assert [line["train"] for line in lines[0]] == [line["train"] for line in lines[1]]
    parts = [json.loads((runs[name] / "split.json").read_text()) for name in runs]
    assert parts[0]["train"]["positions"] == parts[1]["train"]["positions"]


def test_stopped_within_an_epoch_a_run_on_shards_goes_on_to_the_same_bits(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shuffled shards and a shuffled buffer of their images."""
    folder = runs["shards"].parents[2]
    monkeypatch.setenv("TLKIT_CACHE", str(folder / "another cache"))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    shuffled = recipe(folder, "shuffled", "shards", 'path = "out"\nbuffer = 8')
    api.apply(shuffled, runs=folder / "whole")
    with pytest.raises(Interrupted, match="0 of 2 epochs and 2 of"):
        api.apply(shuffled, runs=folder / "stopped", observer=SignalAfter(1, step=2))
    api.apply(shuffled, runs=folder / "stopped")
    ours, theirs = (load_file(next((folder / each).rglob("weights.safetensors"))) for each in ("stopped", "whole"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_a_second_apply_has_nothing_to_do(runs: dict[str, Path]) -> None:
    folder = runs["shards"].parents[2]
    before = (runs["shards"] / "metrics.jsonl").stat().st_mtime_ns
    done = api.apply(folder / "shards.toml", runs=folder / "runs")
    assert not done.failures
    assert (runs["shards"] / "metrics.jsonl").stat().st_mtime_ns == before


def test_recipe_is_named_where_a_shard_changed(runs: dict[str, Path], tmp_path: Path, run: Cli) -> None:
    shutil.copytree(runs["shards"].parents[2] / "out", tmp_path / "out")
    with (tmp_path / "out" / "train-000000.tar").open("ab") as file:
        file.write(bytes(10_240))
    options = ("--set", 'also.other={name="shards", options={path="out"}}')
    named = recipe(tmp_path, "changed", "shards", 'path = "out"').name, "changed.toml: "
    beside = recipe(tmp_path, "beside", "synthetic", "").name, "beside.toml: also.other: "
    for (name, begin), more in ((named, ()), (beside, options)):
        for command in ("plan", "apply"):
            code, _, error = run(command, name, *more)
            assert code == 1
            assert re.match(rf"{begin}\S*out/train-000000\.tar: changed since it was indexed", error), error


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for number in range(3):
        tar(tmp_path / "set" / f"{number}.tar", samples(range(number * 5, number * 5 + 5)))
    return tmp_path / "set"


def test_embed_writes_a_file_a_shard_and_does_what_is_missing(
    runs: dict[str, Path], three: Path, tmp_path: Path, run: Cli
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    code, said, _ = run("embed", runs["folder"], "set", "--out", "done")
    assert (code, said) == (0, "done: 3 of 3 shards embedded, 15 images; 0 were there\n")
    assert sorted(os.listdir(tmp_path / "done")) == ["0.parquet", "1.parquet", "2.parquet", "embeddings.json"]
    found = parquet.read_table(tmp_path / "done" / "1.parquet").to_pydict()
    assert found["image"] == [f"{three}/1.tar/{number:06d}.png" for number in range(5, 10)]
    for number in range(5, 10):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"{number:06d}.png").write_bytes(png(number))
    run("embed", runs["folder"], "pictures", "--out", "x.npz")
    with np.load(tmp_path / "x.npz") as kept:
        assert (np.array(found["embedding"], np.float32) == kept["embeddings"]).all()
    (tmp_path / "done" / "1.parquet").unlink()
    kept = (tmp_path / "done" / "0.parquet").stat().st_mtime_ns
    code, said, _ = run("embed", runs["folder"], "set", "--out", "done")
    assert (code, said) == (0, "done: 1 of 3 shards embedded, 5 images; 2 were there\n")
    assert (tmp_path / "done" / "0.parquet").stat().st_mtime_ns == kept
    tar(three / "2.tar", samples(range(20, 40)))  # a shard that changed is embedded again
    assert run("embed", runs["folder"], "set", "--out", "done")[1] == "done: 1 of 3 shards embedded, 20 images; 2 were there\n"
    code, _, error = run("embed", runs["folder"], "set", "--out", "done", "--at", "stem")
    assert code == 1
    assert "done: holds embeddings of another network" in error


def test_an_executor_embeds_shards_to_the_same_bits(
    runs: dict[str, Path], three: Path, tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    (three / "2.tar").write_bytes((three / "2.tar").read_bytes()[:700])
    options = ("--executor", "here", "--cpus-per-run", str(torch.get_num_threads()))
    code, said, error = run("embed", runs["folder"], "set", "--out", "elsewhere", *options)
    assert (code, said) == (3, "elsewhere: 2 of 3 shards embedded, 10 images; 0 were there\n")
    run("embed", runs["folder"], "set", "--out", "here")
    assert "2.tar" in error
    for name in ("0.parquet", "1.parquet", "embeddings.json"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert run("embed", runs["folder"], "set", "--out", "elsewhere", *options)[1].startswith(
        "elsewhere: 0 of 3 shards embedded"
    )
    numbers = itertools.count()
    monkeypatch.setattr(shard_embeddings, "network_of", lambda *_: {"number": next(numbers)})
    _, _, error = run("embed", runs["folder"], "set", "--out", "other", *options)
    assert "a worker sees another network" in error
    assert os.listdir(tmp_path / "other") == ["embeddings.json"]
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / "0.png")
    code, _, error = run("embed", runs["folder"], "pictures", "--out", "x.npz", *options)
    assert (code, error.splitlines()[0]) == (2, "--executor here: embeds shards, and these are single files.")


def test_a_file_is_of_the_images_of_its_shard_and_of_one_network(
    runs: dict[str, Path], three: Path, tmp_path: Path, run: Cli
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    run("embed", runs["folder"], "set", "--out", "done")
    said = json.loads(parquet.read_schema(tmp_path / "done" / "0.parquet").metadata[b"tlkit"])
    total = hashlib.sha256()
    for number in range(5):
        total.update(hashlib.sha256(f"{number:06d}.png".encode()).digest() + hashlib.sha256(png(number)).digest())
    assert said["digest"] == total.hexdigest()
    assert said["network"] == json.loads((tmp_path / "done" / "embeddings.json").read_text())
    for each in three.iterdir():  # as on another machine: the same images with other times
        os.utime(each, (1, 1))
    assert run("embed", runs["folder"], "set", "--out", "done")[1] == "done: 0 of 3 shards embedded, 0 images; 3 were there\n"
    size = (three / "1.tar").stat().st_size
    changed = {name: content[:-1] + b"x" for name, content in samples(range(5, 10)).items() if name.endswith("png")}
    tar(three / "1.tar", samples(range(5, 10)) | changed)
    assert (three / "1.tar").stat().st_size == size
    assert run("embed", runs["folder"], "set", "--out", "done")[1] == "done: 1 of 3 shards embedded, 5 images; 2 were there\n"
    run("embed", runs["folder"], "set", "--out", "stem", "--at", "stem")
    os.replace(tmp_path / "stem" / "0.parquet", tmp_path / "done" / "0.parquet")
    assert run("embed", runs["folder"], "set", "--out", "done")[1] == "done: 1 of 3 shards embedded, 5 images; 2 were there\n"


def test_verify_reads_shards_again(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit of an image is another, and its file's size and times say nothing of it."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    shard_files.shards(tmp_path / "set")
    path = recipe(tmp_path, "verified", "shards", 'path = "set"')
    api.apply(path, runs=tmp_path / "runs")
    api.apply(path, runs=tmp_path / "runs", verify=True)
    shard = tmp_path / "set" / "train-0001.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    (kept,) = (each for each in (tmp_path / "cache").rglob("*.npz") if index.load(each).place == str(shard))
    index.write(kept, dataclasses.replace(index.load(kept), state=shard_places.state(str(shard))))
    doctored = kept.read_bytes()
    images(tmp_path / "images", train=24)
    beside = recipe(tmp_path, "beside", "folder", 'path = "images"')
    for refused, settings in (
        (path, []),
        (beside, ["data.unlabelled={ name='shards', options={ path='set' }, threshold=0.5, weight=0.5 }"]),
    ):
        kept.write_bytes(doctored)
        with pytest.raises(TlkitError, match=r"train-0001\.tar/000008\.png: changed since it was indexed"):
            api.apply(refused, settings, runs=tmp_path / "runs", verify=True)
        assert not kept.exists()


def test_a_folder_of_embeddings_is_of_one_type_of_weights(runs: dict[str, Path], tmp_path: Path) -> None:
    predictor = loading.load(runs["folder"], arm=None, device=torch.device("cpu"))
    for each in ("float", "bfloat16"):
        getattr(predictor.network, each)()
        for _ in range(2):
            shard_embeddings.begin(tmp_path / each, shard_embeddings.network_of(predictor, None))
    with pytest.raises(TlkitError, match="holds embeddings of another network"):
        shard_embeddings.begin(tmp_path / "float", shard_embeddings.network_of(predictor, None))


def test_a_shard_that_cannot_be_embedded_leaves_no_file(runs: dict[str, Path], three: Path, tmp_path: Path, run: Cli) -> None:
    pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    path = three / "1.tar"
    path.write_bytes(path.read_bytes()[:3000])
    tar(three / "2.tar", {**samples([1, 2]), "bad.png": b"no picture", "bad.cls": b"0"})
    code, said, error = run("embed", runs["folder"], "set", "--out", "done")
    assert code == 3
    assert said == "done: 2 of 3 shards embedded, 7 images; 0 were there\n"
    assert "1.tar: is truncated after 3,000 bytes" in error
    assert "2.tar/bad.png: is not an image" in error
    assert sorted(os.listdir(tmp_path / "done")) == ["0.parquet", "2.parquet", "embeddings.json"]
    for given in ("set", "set/2.tar", "s3://no/2.tar"):
        code, _, error = run("embed", runs["folder"], given, "--out", "done.npz")
        assert (code, error.startswith("done.npz: is the name of a file, and embeddings of shards fill a folder.")) == (2, True)
    code, said, error = run("embed", runs["folder"], "set", "--out", "done")  # and says again what is missing
    assert (code, said) == (3, "done: 0 of 3 shards embedded, 0 images; 2 were there\n")
    assert "2.tar/bad.png: is not an image" in error
    assert "1.tar: is truncated" in error


def test_a_shard_with_an_image_that_changed_is_not_embedded_and_said_again(
    runs: dict[str, Path], tmp_path: Path, run: Cli
) -> None:
    """The bit that changes is one that decoding does not look at."""
    pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    shards.write(images(tmp_path / "photos"), tmp_path / "out", size=10**4, progress=lambda *_: None, notify=print)
    path = tmp_path / "out" / "train-000000.tar"
    with tarfile.open(path) as archive:
        member = next(each for each in archive if each.name.endswith(".png"))
    content = bytearray(path.read_bytes())
    content[member.offset_data + member.size - 1] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        code, _, error = run("embed", runs["folder"], "out", "--out", "done")
        assert code == 3
        assert f"train-000000.tar/{member.name}: changed since it was indexed" in error
        assert not (tmp_path / "done" / "train-000000.parquet").exists()


def test_machines_take_parts_of_the_shards(runs: dict[str, Path], three: Path, tmp_path: Path, run: Cli) -> None:
    pytest.importorskip("pyarrow.parquet", reason="needs the extra tlkit[parquet]")
    for part, count in (("1/2", 2), ("2/2", 1)):
        code, said, _ = run("embed", runs["folder"], three, "--out", "done", "--part", part)
        assert (code, said) == (0, f"done: {count} of {count} shards embedded, {5 * count} images; 0 were there\n")
    assert run("embed", runs["folder"], three, "--out", "done", "--part", "3/2")[0] == 2


def test_shard_is_a_command(tmp_path: Path, run: Cli) -> None:
    images(tmp_path / "photos")
    code, said, _ = run("shard", "photos", "out", "--size", "10KB")
    assert code == 0
    assert said.startswith("out: ")
    assert said.endswith("images: 12 train, 4 test\n")
    assert run("shard", "photos", "out", "--size", "0MB")[0] == 2
    code, _, error = run("shard", "photos", "out")
    assert code == 1
    assert "out: is there already" in error


def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_in_the_order_of_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives that can only be read from beginning to end, nothing stored, and a block of five images is shuffled at a time."""
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    shard_files.shards(tmp_path / "set", suffix=".tar.gz")
    path = recipe(tmp_path, "buffered", "shards", 'path = "set"\nbuffer = 5')
    whole = api.apply(path, ["schedule.epochs=2"], runs=tmp_path / "whole")
    with pytest.raises(Interrupted):
        api.apply(path, ["schedule.epochs=2"], runs=tmp_path / "stopped", observer=SignalAfter(2, step=2))
    again = api.apply(path, ["schedule.epochs=2"], runs=tmp_path / "stopped")
    weights = [load_file(next(done.folder.glob("*/weights.safetensors"))) for done in (whole, again)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    results = [json.loads(next(done.folder.glob("*/result.json")).read_text()) for done in (whole, again)]
    assert [result["exact"] for result in results] == [True, True]
