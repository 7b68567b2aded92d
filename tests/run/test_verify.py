"""`apply --verify` believes no time: data and weights are hashed again before it is known which run they mean."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tlkit_toy_build import ToyNet
from toy_observers import Notes

from tlkit import api, file_digests, files
from tlkit.api import Applied


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)


def weights(path: Path, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_file(dict(ToyNet(4).state_dict()), path)


@pytest.fixture
def recipe(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy recipe on a folder of images and a file of weights, whose hashes are remembered at once."""
    monkeypatch.setattr(file_digests, "_RACY", 0)
    for number in range(16):
        picture(toy_recipe.parent / "images" / "ab"[number % 2] / f"{number}.png", number)
    weights(toy_recipe.parent / "w.safetensors", 0)
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"').replace('"none"', '"w.safetensors"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "images"\n\n').replace("epochs = 2", "epochs = 1"))
    return toy_recipe


def applied(recipe: Path, told: Notes, *, verify: bool) -> Applied:
    return api.apply(recipe, runs=recipe.parent / "runs", verify=verify, observer=told)


def unseen(path: Path) -> None:
    """Make the remembered hash of a file that changed that of the file as it is now, as bits that rot would."""
    with sqlite3.connect(files.cache_folder() / "hashes.sqlite") as memory:
        now = path.stat()
        state = f"{now.st_size} {now.st_mtime_ns} {now.st_ctime_ns} {now.st_ino}"
        where = os.fsencode(path.resolve())
        ((known,),) = memory.execute("select sha256 from file where path = ?", (where,))
        crc = file_digests._crc(where, state, known)
        assert memory.execute("update file set stat = ?, crc = ? where path = ?", (state, crc, where)).rowcount == 1
    memory.close()


CHANGES = {"images/a/0.png": picture, "w.safetensors": weights}


@pytest.mark.parametrize("name", CHANGES)
def test_a_finished_run_of_other_bytes_is_another_run_and_says_which_file(recipe: Path, name: str) -> None:
    first = applied(recipe, Notes(), verify=False)
    path = recipe.parent / name
    CHANGES[name](path, 99)
    unseen(path)
    assert not applied(recipe, Notes(), verify=False).changed, "no time shows it"
    told = Notes()
    second = applied(recipe, told, verify=True)
    assert second.changed
    digests = [each.result["arms"]["main"]["seeds"]["0"]["digest"] for each in (first, second)]
    assert digests[0] != digests[1]
    (line,) = [line for line in told.notes if str(path) in line]
    assert line == f"{path}: its content changed, though its size and times did not"
    assert not applied(recipe, Notes(), verify=True).changed


def test_a_remembered_hash_that_is_wrong_is_forgotten_though_the_file_changed_a_moment_ago(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe.parent / "images/a/0.png"
    before = file_digests.digests([path])
    picture(path, 99)
    unseen(path)
    assert file_digests.digests([path]) == before
    monkeypatch.setattr(file_digests, "_RACY", 1 << 62)
    told: list[str] = []
    right = file_digests.digests([path], again=True, notify=told.append)
    assert len(told) == 1
    assert file_digests.digests([path]) == right != before


def test_a_finished_recipe_says_what_was_checked(recipe: Path) -> None:
    applied(recipe, Notes(), verify=False)
    told = Notes()
    assert not applied(recipe, told, verify=True).changed
    assert told.notes == [
        "verify: every run is finished with data, weights and plugins as they are now; no stored row was read"
    ]


def test_a_file_of_several_arms_is_hashed_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.write_text(recipe.read_text() + "\n[arms.one]\n[arms.two]\n")
    applied(recipe, Notes(), verify=False)
    read, hashed = list[str](), file_digests.sha256

    def counted(path: Path) -> str:
        read.append(path.name)
        return hashed(path)

    monkeypatch.setattr(file_digests, "sha256", counted)
    applied(recipe, Notes(), verify=True)
    inputs = [*(f"{number}.png" for number in range(16)), "w.safetensors"]
    assert sorted(name for name in read if name in inputs) == sorted(inputs)
