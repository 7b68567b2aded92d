"""What can go wrong in a run: the exit code, the message, and what is left on disk."""

import contextlib
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tomllib
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_runs
from conftest import TOY_RECIPE, Cli
from PIL import Image
from safetensors.torch import load_file, save_file
from tlkit_toy_build import ToyNet

from tlkit import api
from tlkit.engine.learner import Learner
from tlkit.engine.runtime import Runtime
from tlkit.engine.step.step import Step
from tlkit.errors import RunFolderError, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.record import run_choice
from tlkit.run.preparation import Prepared

QUICK = ("schedule.epochs=1", "data.batch_size=auto")
APPLY = ("apply", "toy.toml", "--set", QUICK[0], "--set", QUICK[1])


@pytest.fixture
def photos(toy_recipe: Path) -> Path:
    """Two classes of ten small pictures, named by the recipe."""
    draw = np.random.default_rng(0)
    folder = toy_recipe.parent / "photos"
    for name, level in (("dark", 60), ("light", 180)):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            pixels = (level + draw.integers(-50, 50, (20, 24, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "photos"\n\n'))
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs with a finished one of the toy recipe, its batch size "auto"; tests copy it."""
    folder = tmp_path_factory.mktemp("done")
    with toy_runs.applied(folder, TOY_RECIPE, *QUICK, drawn=True):
        yield folder / "runs"


@pytest.fixture
def finished(toy_recipe: Path, done: Path) -> Path:
    """The folder of a run of the toy recipe that is finished."""
    return _one(shutil.copytree(done, toy_recipe.parent / "runs"))


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full, as the system says it: no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _one(folder: Path) -> Path:
    (found,) = (path.parent for path in folder.glob("*/*/resolved.toml"))
    return found


def _result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def _assert_whole(folder: Path) -> None:
    """Every file below a folder can be read, and none is left over from writing."""
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        assert not path.name.startswith(".") or path.name == ".lock", path
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text())
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())


class FullAfter(Observer):
    """Fills the disk, for this process, once an epoch is saved."""

    def __init__(self, epoch: int, size: int, stack: contextlib.ExitStack) -> None:
        self._epoch, self._size, self._stack = epoch, size, stack

    def epoch(self, epoch: Epoch) -> None:
        if epoch.epoch == self._epoch:
            self._stack.enter_context(files_of_at_most(self._size))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy recipe of three epochs that nothing disturbed; tests only read it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "toy.toml").write_text(TOY_RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        api.apply(folder / "toy.toml", ["schedule.epochs=3"], runs=folder / "runs")
    return _one(folder / "runs")


# Bytes a file may have: none at all; a result; metrics and the like; weights, but no checkpoint.
@pytest.mark.parametrize("size", [0, 900, 9000, 15000])
def test_disk_that_fills_up_in_a_run_keeps_what_was_saved(toy_recipe: Path, whole: Path, size: int) -> None:
    settings, runs = ["schedule.epochs=3"], toy_recipe.parent / "runs"
    with contextlib.ExitStack() as stack:
        applied = api.apply(toy_recipe, settings, runs=runs, observer=FullAfter(1, size, stack))
    failure = applied.failures[0]
    assert failure.exit_code == 3
    assert "cannot be written" in str(failure)
    assert os.strerror(errno.EFBIG) in str(failure)
    assert "run the same command again" in str(failure)
    _assert_whole(runs)
    done = api.apply(toy_recipe, settings, runs=runs)
    assert done.failures == ()
    folder = _one(runs)
    for name, tensor in load_file(whole / "weights.safetensors").items():
        assert torch.equal(tensor, load_file(folder / "weights.safetensors")[name])
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_result_says_that_a_run_failed_for_want_of_room(toy_recipe: Path) -> None:
    with contextlib.ExitStack() as stack:
        applied = api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=FullAfter(1, 9000, stack))
    run = applied.result["arms"]["main"]["seeds"]["0"]
    assert run["status"] == "failed"
    assert "cannot be written" in run["error"]
    assert run["epochs"] == 1


@pytest.mark.parametrize("size", [0, 900])
def test_disk_that_is_full_from_the_start_leaves_no_run(toy_recipe: Path, run: Cli, size: int) -> None:
    with files_of_at_most(size):
        code, _, text = run("apply", toy_recipe)
    assert code == 3
    assert "cannot be written" in text
    assert "Traceback" not in text
    _assert_whole(toy_recipe.parent / "runs")
    assert not list((toy_recipe.parent / "runs").glob("*/*/resolved.toml"))
    assert run("apply", toy_recipe)[0] == 0


@pytest.mark.usefixtures("finished")
def test_finished_recipe_can_be_looked_at_on_a_full_disk(run: Cli) -> None:
    with files_of_at_most(0):
        code, output, _ = run(*APPLY)
    assert code == 0
    assert "nothing to do" in output


def test_file_where_a_folder_should_be_is_named(toy_recipe: Path, run: Cli) -> None:
    (toy_recipe.parent / "runs").write_text("not a folder")
    code, output, text = run("apply", toy_recipe)
    assert (code, output) == (1, "")
    assert text.startswith("--runs runs: is a file, not a folder.")
    assert (toy_recipe.parent / "runs").read_text() == "not a folder"


HOLD = (
    "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); sys.stdin.read()"
)


def test_run_that_another_process_holds_is_exit_4(toy_recipe: Path, run: Cli, finished: Path) -> None:
    (finished / "result.json").write_text((finished / "result.json").read_text().replace('"finished"', '"running"'))
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(finished / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    code, _, text = run(*APPLY)
    holder.communicate()
    assert code == 4
    assert f"{finished.relative_to(toy_recipe.parent)}: another process is running this." in text
    assert {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before
    assert run(*APPLY)[0] == 0


@pytest.mark.parametrize("name", ["result.json", "resolved.toml"])
def test_run_folder_of_another_version_is_named_not_guessed_at(toy_recipe: Path, run: Cli, finished: Path, name: str) -> None:
    path, image = finished / name, toy_recipe.parent / "image.png"
    path.write_text(path.read_text().replace('"format": 1', '"format": 7').replace("format = 1", "format = 7"))
    left = {each.name: each.read_bytes() for each in finished.iterdir() if each.is_file()}
    Image.new("RGB", (16, 16)).save(image)
    code, output, text = run(*APPLY) if name == "result.json" else run("predict", finished, image)
    assert (code, output) == (1, "")
    assert f"{name}: is of format 7, written by another version of tlkit; this one reads format 1." in text
    assert "move the folder away" in text
    assert {each.name: each.read_bytes() for each in finished.iterdir() if each.is_file()} == left


DAMAGES = {
    "no JSON": lambda text: text[: len(text) // 2],
    "no object": lambda _: "[1, 2]",
    "a key is missing": lambda text: text.replace('"digest"', '"digested"'),
    "a value of another type": lambda text: text.replace('"status": "finished"', '"status": "sleeping"'),
    "bytes that are no text": lambda _: "\xff\xfe",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_result_is_a_message_that_names_it(
    toy_recipe: Path, run: Cli, finished: Path, damage: Callable[[str], str]
) -> None:
    path = finished / "result.json"
    path.write_text(damage(path.read_text()), encoding="latin-1")
    code, output, text = run(*APPLY)
    assert (code, output) == (1, "")
    assert f"{path.relative_to(toy_recipe.parent)}: is damaged" in text
    assert "move the folder away" in text


@pytest.mark.parametrize("text", ["format = 1\n", "format = ", "format = 1\nbatch_size = 'x'\n[machine]\n"])
def test_damaged_resolved_toml_is_a_message_that_names_it(toy_recipe: Path, run: Cli, finished: Path, text: str) -> None:
    path, result = finished / "resolved.toml", finished / "result.json"
    result.write_text(result.read_text().replace('"finished"', '"interrupted"'))
    path.write_text(text)
    code, output, message = run(*APPLY)
    assert (code, output) == (1, "")
    assert f"{path.relative_to(toy_recipe.parent)}: is damaged" in message


@pytest.mark.parametrize(
    "text",
    ['{"format": 1, "arms": {}}', '{"format": 2, "arms": []}', '{"format": 2, "arms": {"a": {"seeds": {"0": {}}}}}', "["],
)
def test_damaged_result_of_a_recipe_is_mended_and_hides_no_run(toy_recipe: Path, finished: Path, text: str) -> None:
    folder = finished.parent
    (folder / "result.json").write_text(text)
    assert run_choice.choose(folder).folder == finished
    applied = api.apply(toy_recipe, QUICK, runs=folder.parent)
    assert not applied.changed
    assert json.loads((folder / "result.json").read_text()) == applied.result


ARMS = """
[arms.wild]
lr_groups = { backbone = 1e20, head = 1e20 }
optimizer = { name = "sgd", momentum = 0.0 }
[arms.tame]
"""


@pytest.mark.usefixtures("undrawn")
def test_loss_that_is_no_number_fails_its_run_and_no_other(toy_recipe: Path, run: Cli) -> None:
    toy_recipe.write_text(toy_recipe.read_text().replace("[schedule]", '[optimizer]\nname = "adam"\n\n[schedule]') + ARMS)
    code, _, text = run("apply", toy_recipe)
    assert code == 3
    assert "wild, seed 0" in text
    assert "epoch 1" in text
    assert "not" in text
    assert "number" in text
    assert "clip_norm" in text
    assert "Traceback" not in text
    arms = _result(toy_recipe.parent / "runs" / "toy")["arms"]
    assert {arm: table["seeds"]["0"]["status"] for arm, table in arms.items()} == {"wild": "failed", "tame": "finished"}
    assert "epoch 1" in arms["wild"]["seeds"]["0"]["error"]
    assert arms["wild"]["test"] == {}
    assert arms["tame"]["test"]["accuracy"]["n"] == 1
    assert run("apply", toy_recipe)[0] == 3, "it is tried again, and fails again"
    assert run("apply", toy_recipe, "--arm", "tame")[0] == 0


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _no_image(path: Path) -> None:
    path.write_text("this is no picture")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_truncate, _no_image, _empty])
def test_corrupt_image_is_named_and_nothing_is_written(toy_recipe: Path, photos: Path, run: Cli, harm: Callable) -> None:
    harm(photos / "dark" / "3.png")
    code, output, text = run("apply", toy_recipe)
    assert (code, output) == (1, "")
    assert str(Path("photos", "dark", "3.png")) in text.splitlines()[0]
    assert 'data.on_corrupt = "skip"' in text
    assert not (toy_recipe.parent / "runs").exists()


@pytest.mark.usefixtures("undrawn")
def test_corrupt_images_that_are_skipped_are_counted_and_named(toy_recipe: Path, photos: Path) -> None:
    for name in ("dark/3.png", "light/4.png", "light/5.png"):
        _no_image(photos / name)
    applied = api.apply(toy_recipe, ["data.on_corrupt=skip", "schedule.epochs=1"], runs=toy_recipe.parent / "runs")
    run = applied.result["arms"]["main"]["seeds"]["0"]
    assert run["skipped_images"] == 3
    split = json.loads((applied.folder / run["folder"] / "split.json").read_text())
    assert sum(split[name]["count"] for name in ("train", "validation", "test")) == 17
    assert len(split["skipped"]) == 3
    for name in ("dark/3.png", "light/4.png", "light/5.png"):
        assert sum(str(photos / name) in line for line in split["skipped"]) == 1
        assert not any(str(photos / name) in split[part].get("files", ()) for part in ("train", "validation", "test"))


def test_images_that_are_all_corrupt_are_an_error_even_where_they_are_skipped(toy_recipe: Path, photos: Path) -> None:
    for path in photos.rglob("*.png"):
        _no_image(path)
    with pytest.raises(TlkitError, match="no training image of class") as error:
        api.apply(toy_recipe, ["data.on_corrupt=skip"], runs=toy_recipe.parent / "runs")
    assert ".png: is not an image" in str(error.value)
    assert not (toy_recipe.parent / "runs").exists()


WEIGHTS = {
    "missing": lambda state: state.pop("block1.0.weight"),
    "surplus": lambda state: state.update({"block9.weight": torch.zeros(1)}),
    "misshapen": lambda state: state.update({"conv1.weight": torch.zeros(8, 1, 3, 3)}),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(toy_recipe: Path, run: Cli, kind: str) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nbackbone.weights = 'other.safetensors'\n")
    state = dict(ToyNet(4).state_dict())
    WEIGHTS[kind](state)
    save_file(state, toy_recipe.parent / "other.safetensors")
    code, output, text = run("apply", toy_recipe)
    assert (code, output) == (1, "")
    assert "other.safetensors: does not fit toy." in text
    assert f"{kind}: " in text
    assert not (toy_recipe.parent / "runs").exists()


def test_label_out_of_range_is_refused_before_anything_is_written(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tlkit_synthetic.read as plugin
    from tlkit.plugin import Images, Split

    whole = plugin.synthetic

    def wrong(found: object, options: object) -> Images:
        images = whole(found, options)
        test = images.splits["test"]
        labels = test.targets.copy()
        labels[7] = 4
        return Images(images.classes, {**images.splits, "test": Split(targets=labels, pixels=test.pixels)})

    monkeypatch.setattr(plugin, "synthetic", wrong)
    with pytest.raises(TlkitError, match="test: label 4 is out of range") as error:
        api.apply(toy_recipe, ["data.options.seed=12345"], runs=toy_recipe.parent / "runs")
    assert "labels of 4 classes are 0 to 3" in str(error.value)
    assert not (toy_recipe.parent / "runs").exists()


@pytest.mark.usefixtures("undrawn")
def test_damaged_result_of_a_later_arm_is_found_before_the_first_trains(toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\n")
    runs = toy_recipe.parent / "runs"
    done = api.apply(toy_recipe, ["schedule.epochs=1"], arm="b", runs=runs)
    (done.folder / done.result["arms"]["b"]["seeds"]["0"]["folder"] / "result.json").write_text("{")
    with pytest.raises(RunFolderError, match="is damaged"):
        api.apply(toy_recipe, ["schedule.epochs=1"], runs=runs)
    assert [path.parent.name[0] for path in runs.glob("toy/*/resolved.toml")] == ["b"]


@pytest.mark.usefixtures("undrawn")
def test_image_that_vanishes_while_a_run_trains_is_named(toy_recipe: Path, photos: Path) -> None:
    class Removes(Observer):
        def epoch(self, epoch: Epoch) -> None:
            for path in photos.rglob("*.png"):
                path.unlink(missing_ok=True)

    applied = api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=Removes())
    assert applied.failures == (), "the pictures are held in memory, so nothing is read again"


class LessMemory(Observer):
    """Leaves this process little more memory than it has, once a run begins."""

    def __init__(self, room: int, stack: contextlib.ExitStack) -> None:
        self._room, self._stack = room, stack

    def begin(self, label: str, *, epochs: int, done: int, steps: int, evaluations: int, images: int) -> None:
        before = resource.getrlimit(resource.RLIMIT_AS)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + self._room, before[1]))
        self._stack.callback(resource.setrlimit, resource.RLIMIT_AS, before)


class AtBegin(Observer):
    """Calls a function with a run's name when it begins."""

    def __init__(self, call: Callable[[str], None]) -> None:
        self._call = call

    def begin(self, label: str, **_: int) -> None:
        self._call(label)


@pytest.mark.usefixtures("undrawn")
def test_memory_of_a_failed_run_is_free_when_the_next_begins(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_recipe.write_text(toy_recipe.read_text().replace("[schedule]", '[optimizer]\nname = "adam"\n\n[schedule]') + ARMS)
    held: dict[str, list[weakref.ref]] = {}
    alive: dict[str, list[bool]] = {}
    learner = Prepared.learner

    def watched(self: Prepared, runtime: Runtime, **more: int) -> Learner:
        made = learner(self, runtime, **more)
        held[self.job.label] = [weakref.ref(each) for each in (made, made.network, *made.network.parameters())]
        return made

    monkeypatch.setattr(Prepared, "learner", watched)
    look = AtBegin(lambda label: alive.update({label: [ref() is not None for ref in held.get("wild, seed 0", [])]}))
    applied = api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=look)
    assert all(alive["wild, seed 0"]), "what runs is alive"
    assert not any(alive["tame, seed 0"])
    (failure,) = applied.failures
    assert "not a number" in failure.problem
    assert (failure.__traceback__, failure.__cause__, failure.__context__) == (None, None, None)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to know how much memory a process holds")
@pytest.mark.usefixtures("undrawn")
def test_batch_that_does_not_fit_into_memory_is_a_failed_run(toy_recipe: Path) -> None:
    large = ["data.batch_size=500", "data.options.train=600", "data.image_size=128"]
    with contextlib.ExitStack() as stack:  # the first convolution's output alone is 250 MiB
        applied = api.apply(toy_recipe, large, runs=toy_recipe.parent / "runs", observer=LessMemory(2**26, stack))
    (failure,) = applied.failures
    assert failure.exit_code == 3
    assert "main, seed 0: a batch of 500 images does not fit into the memory of cpu" in str(failure)
    assert "data.batch_size" in str(failure)
    assert applied.result["arms"]["main"]["seeds"]["0"]["status"] == "failed"


def test_a_precision_without_a_deterministic_kernel_is_a_failed_run_that_says_what_to_set(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_kernel(*_: object) -> None:
        raise RuntimeError("GET was unable to find an engine to execute this computation")

    monkeypatch.setattr(Step, "__call__", no_kernel)
    applied = api.apply(toy_recipe, "precision=bfloat16", runs=toy_recipe.parent / "runs")
    (failure,) = applied.failures
    assert "cuDNN has no kernel with the same bits every time for this network in bfloat16 contiguous" in failure.problem
    assert 'precision = "float32"' in str(failure)


def test_a_folder_that_cannot_hold_runs_is_refused_before_anything_is_done(
    toy_recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy_recipe.parent / "a_file").write_text("")
    file, below = toy_recipe.parent / "a_file", toy_recipe.parent / "a_file" / "runs"
    for command in ("apply", "plan", "rates", "inspect", "advise"):
        assert run(command, toy_recipe, "--runs", below)[2].startswith(f"--runs {below}: {file} is a file, not a folder.\n")
    for command in (["predict", "toy", "a.png"], ["export", "toy"], ["evaluate", "toy"], ["report", "toy"]):
        code, out, text = run(*command, "--runs", file)
        assert (code, out, text.splitlines()[0]) == (1, "", f"--runs {file}: is a file, not a folder.")
    with pytest.raises(TlkitError, match=f"cannot be written: {file} is a file, not a folder"):
        api.apply(toy_recipe, runs=below)
    assert api.plan(toy_recipe, runs=below), "writes nothing there"
    monkeypatch.chdir(toy_recipe.parent)
    (toy_recipe.parent / "runs").write_text("")
    assert run("report", file)[2].startswith(f"{file}: "), "of a run's folder no other is needed"


def test_folder_whose_name_is_not_utf8_is_refused_with_a_message(toy_recipe: Path, tmp_path: Path, run: Cli) -> None:
    """A run's files are JSON and TOML, which cannot name it."""
    strange = tmp_path / os.fsdecode(b"\xff")
    (strange / "cats").mkdir(parents=True)
    for arguments in (("init", strange), ("apply", toy_recipe, "--runs", strange)):
        code, _, text = run(*arguments)
        assert code == 1
        assert "udcff: the name is not UTF-8" in text
    with pytest.raises(TlkitError, match="the name is not UTF-8"):
        api.plan(strange / "toy.toml")
