"""The command line as a person meets it: exit codes, where words go, and never a traceback."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import TOY, Cli, python_path
from imports import HEAVY

from tlkit import api, file_digests, files
from tlkit.errors import TlkitError
from tlkit.plans import plan_json
from tlkit.store import cache_limit

pytestmark = pytest.mark.usefixtures("undrawn")

HANDLERS = [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)]

# ---- what imports torch, and what does not

WITHOUT_TORCH = [
    ["--help"], ["apply", "--help"], ["validate", "toy.toml"], ["validate", "wrong.toml"],
    *([verb, "spelt_wrong.toml"] for verb in ("plan", "apply", "rates", "inspect", "advise")),
    ["list"], ["show", "toy"], ["show", "resnet18"], ["schema"],
]  # fmt: skip


def test_what_needs_no_torch_does_not_import_it(toy_recipe: Path) -> None:
    (toy_recipe.parent / "wrong.toml").write_text(toy_recipe.read_text().replace("head = 1e-2", "haed = 1e-2"))
    (toy_recipe.parent / "spelt_wrong.toml").write_text(toy_recipe.read_text().replace("epochs = 2", "epocs = 2"))
    code = """
import json, sys
from tlkit import cli
for arguments in json.loads(sys.argv.pop()):
    sys.argv = ["tlkit", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        print("ended", ended.code, *arguments)
print("heavy", *{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(WITHOUT_TORCH)], cwd=toy_recipe.parent, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": python_path(TOY)}, check=False,
    )  # fmt: skip
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ended == [f"ended {int(command[-1].endswith('wrong.toml'))} {' '.join(command)}" for command in WITHOUT_TORCH], (
        done.stderr
    )
    heavy, *loaded = done.stdout.splitlines()[-1].split()
    assert heavy == "heavy"
    assert not set(loaded) & HEAVY


def test_garbage_is_collected_rarely(run: Cli) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        run("schema")
        assert gc.get_threshold() == (20_000, 10, 10)
    finally:
        gc.set_threshold(*before)


# ---- usage

USAGES = {
    "no such option": (["apply", "toy.toml", "--epochs", "3"], "--epochs"),
    "no such verb": (["train", "toy.toml"], "train"),
    "no recipe": (["apply"], "RECIPE"),
    "no images": (["predict", "runs"], "IMAGES"),
    "a number that is none": (["plan", "toy.toml", "--classes", "many"], "--classes"),
    "too few classes": (["plan", "toy.toml", "--classes", "1"], "--classes"),
    "top of nothing": (["predict", "runs", "a.png", "--top", "0"], "--top"),
    "an option without its value": (["apply", "toy.toml", "--runs"], "--runs"),
}


@pytest.mark.parametrize(("arguments", "word"), USAGES.values(), ids=USAGES)
def test_wrong_usage_is_exit_2(run: Cli, arguments: list[str], word: str) -> None:
    code, output, text = run(*arguments)
    assert (code, output) == (2, "")
    assert word in text
    assert "Error: " in text
    assert "Traceback" not in text


@pytest.mark.parametrize("verb", ["init", "list", "show", "check", "validate", "schema", "plan", "apply", "predict", None])
def test_every_verb_explains_itself(run: Cli, verb: str | None) -> None:
    code, output, text = run(*([verb] if verb else []), "--help")
    assert (code, text) == (0, "")
    assert output.startswith("Usage: tlkit")


# ---- bad input

BAD_RECIPES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "utf-16": "format = 1".encode("utf-16"),
    "not TOML": b"format: 1\nname: toy\n",
    "cut short": b'format = 1\nname = "t',
    "a key twice": b"format = 1\nformat = 1\n",
    "a huge integer": b"format = 1\nname = 'x'\nseeds = [" + b"9" * 5000 + b"]\n",
    "nested without end": b"format = 1\nx = " + b"[" * 20000,
    "a scalar for a table": b"format = 1\nname = 'x'\nbackbone = 'toy'\ndata = 3\n",
    "arms that are no tables": b"format = 1\nname = 'x'\narms = [1]\n",
    "another format": b"format = 2\nname = 'x'\n",
    "a date": b"format = 1979-05-27\nname = 07:32:00\n",
}


@pytest.mark.parametrize("verb", ["validate", "plan", "apply"])
@pytest.mark.parametrize("content", BAD_RECIPES.values(), ids=BAD_RECIPES)
def test_file_that_is_no_recipe_is_a_message(run: Cli, tmp_path: Path, content: bytes, verb: str) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    code, output, text = run(verb, "bad.toml")
    assert (code, output) == (1, "")
    assert text.startswith("bad.toml: ")
    assert "Traceback" not in text
    assert max(map(len, text.splitlines())) < 400, "not a dump of the recipe"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


BAD_VALUES = {
    "a name that climbs": ('name = "toy"\n', 'name = "../x"\n', "letters, digits"),
    "a name that is hidden": ('name = "toy"\n', 'name = ".x"\n', "letters, digits"),
    "a name that is absolute": ('name = "toy"\n', 'name = "/x"\n', "letters, digits"),
    "an empty name": ('name = "toy"\n', 'name = ""\n', "letters, digits"),
    "a name with a newline": ('name = "toy"\n', 'name = "x\\n"\n', "letters, digits"),
    "a name too long": ('name = "toy"\n', f'name = "{"x" * 300}"\n', "80"),
    "a name in another script": ('name = "toy"\n', 'name = "größe"\n', "letters, digits"),
    "a key in another script": ("head = 1e-2", '"κεφάλι" = 1e-2', "κεφάλι"),
    "an emoji": ('name = "synthetic"', 'name = "🐍"', "🐍"),
    "a huge rate": ("head = 1e-2", "head = 1e400", "head"),
    "a rate that is no number": ("head = 1e-2", "head = nan", "head"),
    "a negative rate": ("head = 1e-2", "head = -1.0", "head"),
    "a huge picture": ("image_size = 16", "image_size = 1000000", "image_size"),
    "a batch of none": ("batch_size = 16", "batch_size = 0", "batch_size"),
    "a boolean for a number": ("epochs = 2", "epochs = true", "epochs"),
    "a text for a number": ("epochs = 2", 'epochs = "2"', "epochs"),
    "a negative number": ("epochs = 2", "epochs = -2", "epochs"),
    "a seed too large": ('name = "toy"\n', 'name = "toy"\nseeds = [99999999999]\n', "seeds"),
    "a stage that is not": ("backbone = 1e-2", "backbonne = 1e-2", 'did you mean "backbone"?'),
    "weights that are not": ('weights = "none"', 'weights = "nowhere/x.pt"', "nowhere/x.pt"),
    "a folder as weights": ('weights = "none"', 'weights = "."', "weights"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "words"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_value_is_a_message_that_names_it(run: Cli, toy_recipe: Path, old: str, new: str, words: str) -> None:
    assert old in toy_recipe.read_text()
    toy_recipe.write_text(toy_recipe.read_text().replace(old, new, 1))
    for verb in ("validate", "apply"):
        code, output, text = run(verb, "toy.toml")
        assert (code, output) == (1, "")
        assert words in text
        assert text.startswith("toy.toml: ")
        assert "Traceback" not in text
    assert [path.name for path in toy_recipe.parent.iterdir()] == ["toy.toml"]


def test_epochs_and_batches_beyond_all_measure_are_planned_not_a_traceback(run: Cli, toy_recipe: Path) -> None:
    code, output, text = run(
        "plan", "toy.toml", "--set", f"schedule.epochs={10**18}", "--set", f"data.batch_size={10**12}", "--json"
    )
    assert (code, text) == (0, "")
    assert json.loads(output)["arms"]["main"]["batch_size"] == 10**12


BAD_COMMANDS = {
    "a recipe that is not there": (["validate", "nowhere.toml"], "nowhere.toml: there is no such recipe"),
    "a folder as recipe": (["validate", "."], ".: "),
    "a folder as recipe to apply": (["apply", "."], ".: "),
    "a setting without value": (["validate", "toy.toml", "--set", "epochs"], "--set epochs: is not key=value"),
    "a setting without key": (["validate", "toy.toml", "--set", "=3"], "--set =3: is not key=value"),
    "a setting of a strange key": (["validate", "toy.toml", "--set", "a b=3"], "is not a key"),
    "a setting with a newline": (["validate", "toy.toml", "--set", "a\nb=3"], "--set"),
    "a setting that is nested": (["validate", "toy.toml", "--set", "schedule=" + "[" * 20000], "--set"),
    "a setting of an arm that is not": (["validate", "toy.toml", "--set", "arms.x.schedule.epochs=3"], 'no arm "x"'),
    "a setting of a key that is not": (["validate", "toy.toml", "--set", "schedule.epoch=3"], 'did you mean "epochs"?'),
    "a setting below a value": (["validate", "toy.toml", "--set", "backbone.name.x=3"], "backbone.name"),
    "an arm that is not": (["apply", "toy.toml", "--arm", "x"], 'no arm "x"'),
    "a GPU that is not": (["apply", "toy.toml", "--device", "cuda:77"], "--device cuda:77"),
    "a plugin that is not": (["show", "toi"], 'did you mean "toy"?'),
    "a recipe without a folder": (["init", "--from", "quickstart", "-o", "no/r.toml"], "no/r.toml: cannot be written: there is no folder no."),
    "a recipe in a plugin's place": (["show", "quickstart"], "tlkit init --from quickstart writes the one that comes with tlkit"),
    "a plugin in capitals": (["show", "TOY"], 'did you mean "toy"?'),
    "a check of nothing": (["check", "toi"], "toi"),
    "a folder that is not": (["init", "nowhere"], "nowhere: there is no such folder.\n  a folder with the images of each class"),
    "data that are not": (["apply", "folder.toml", "--data", "nowhere"], "nowhere: there is no such folder"),
    "a file as data": (["apply", "folder.toml", "--data", "toy.toml"], "toy.toml"),
    "a recipe as a run": (["predict", "toy.toml", "a.png"], "toy.toml: is a recipe, not the folder of its runs"),
    "a run that is not": (["predict", "nowhere", "a.png"], "nowhere: there is no such run folder"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_bad_input_is_one_message_on_stderr(run: Cli, toy_recipe: Path, arguments: list[str], words: str) -> None:
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    (toy_recipe.parent / "folder.toml").write_text(text.replace(options, ""))
    code, output, text = run(*arguments)
    assert (code, output) == (1, "")
    assert words in text
    assert "Traceback" not in text
    assert len(text) < 2000
    assert sorted(path.name for path in toy_recipe.parent.iterdir()) == ["folder.toml", "toy.toml"]


# ---- results


def test_validate_says_what_is_in_the_recipe(run: Cli, toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nfreeze = { stem = true }\n")
    assert run("validate", "toy.toml", "--set", "seeds=[1, 2]") == (0, "toy.toml: valid. arms: a, b; 2 seeds\n", "")


def test_list_shows_every_plugin_and_whose_it_is_where_it_is_not_ours(run: Cli) -> None:
    code, output, text = run("list")
    assert (code, text) == (0, "")
    assert "toy (tlkit-toy 1.0)" in " ".join(output.split())
    for name in ("resnet18", "cifar10", "folder", "synthetic", "linear", "mlp"):
        assert re.search(rf"\b{name}\b(?! \()", output)


def test_show_names_stages_in_order(run: Cli) -> None:
    code, output, _ = run("show", "toy")
    assert code == 0
    assert output.index("stem") < output.index("block1") < output.index("block2")


def test_plan_as_json_is_the_plan(run: Cli, toy_recipe: Path) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nfreeze = { stem = true }\n")
    code, output, text = run("plan", "toy.toml", "--json", "--device", "cpu")
    assert (code, text) == (0, "")
    record = json.loads(output)
    assert record["format"] == 1
    made = api.plan("toy.toml")
    assert {name: plan_json.from_json(json.dumps(each)) for name, each in record["arms"].items()} == made
    assert not (toy_recipe.parent / "runs").exists()


def test_apply_prints_results_to_stdout_and_progress_to_stderr(run: Cli, toy_recipe: Path) -> None:
    code, output, text = run("apply", "toy.toml")
    assert code == 0
    assert "main" in output
    assert "accuracy" in output
    assert "runs/toy/curves.svg" in output
    assert "\n  1/2  " in text
    assert "\n  2/2  " in text
    assert "1/2  " not in output
    code, output, text = run("apply", "toy.toml", "--json")
    assert (code, text) == (0, "")
    assert json.loads(output) == json.loads(Path("runs", "toy", "result.json").read_text())


def test_table_is_whole_where_there_is_no_terminal(run: Cli, toy_recipe: Path) -> None:
    run("apply", "toy.toml", "--set", "schedule.epochs=1", "--set", f"name='{'n' * 80}'")
    _, output, _ = run("apply", "toy.toml", "--set", "schedule.epochs=1", "--set", f"name='{'n' * 80}'")
    assert "…" not in output
    assert f"runs/{'n' * 80}: finished before, nothing to do." in output


def test_class_folder_that_is_not_utf_8_is_a_message(run: Cli, tmp_path: Path) -> None:
    for name in (b"ant", b"b\xff"):
        (tmp_path / "images" / os.fsdecode(name)).mkdir(parents=True)
        (tmp_path / "images" / os.fsdecode(name) / "0.png").touch()
    code, output, text = run("init", "images")
    assert (code, output) == (1, "")
    assert text.startswith(r"images/b\udcff: the name of the class is not UTF-8.")


def test_machine_without_a_home_needs_only_its_cache_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    (tmp_path / "a.png").touch()
    monkeypatch.delenv("TLKIT_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert len(file_digests.content([tmp_path / "a.png"])) == 64
    with pytest.raises(TlkitError, match="there is no home folder") as error:
        files.cache_folder()
    assert "set HOME" in str(error.value)
    assert "set HOME" in files.told_cache()
    assert cache_limit.room() == cache_limit.limit() == 0, "so that plan and apply keep nothing, and go on"


def test_machine_without_temporary_folder_is_told_what_names_one(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    assert "TMPDIR" not in run("validate", "nowhere.toml")[2]
    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert run("validate", "nowhere.toml")[2].endswith("torch and matplotlib need one: TMPDIR names it\n")


@pytest.mark.parametrize(("command", "code"), [("schema >&-", 0), ("validate nowhere.toml 2>&-", 1)])
def test_closed_stream_is_no_traceback(tmp_path: Path, command: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m tlkit {command}"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": python_path(TOY)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_reader_that_goes_away_is_no_traceback(toy_recipe: Path) -> None:
    api.apply(toy_recipe, ["schedule.epochs=1"], runs=toy_recipe.parent / "runs")  # so that there is only something to print
    finished = ["apply", "toy.toml", "--set", "schedule.epochs=1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["schema"], ["validate", "toy.toml"], finished, [*finished, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "tlkit", *arguments], cwd=toy_recipe.parent, stdout=writing, stderr=subprocess.PIPE,
            text=True, env={**environment, "PYTHONPATH": python_path(TOY)}, check=False,
        )  # fmt: skip
        assert (done.stderr, done.returncode) == ("", 1), arguments
    os.close(writing)


def test_plan_without_images_invents_no_counts(toy_recipe: Path, run: Cli) -> None:
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    toy_recipe.write_text(text.replace("classes = 4\ntrain = 80\ntest = 40\nsize = 16", 'path = "nothere"'))
    code, out, _ = run("plan", "toy.toml", "--classes", "7")
    assert code == 0
    assert "not on this machine yet" in out
    assert "an epoch" not in out


@pytest.mark.parametrize(
    ("name", "words"), [("csv", "Between the classes of an image that may have several"), ("svm", "chosen by cross-validation")]
)
def test_every_option_that_is_shown_is_explained(run: Cli, name: str, words: str) -> None:
    code, output, _ = run("show", name)
    assert code == 0
    assert words in output
    rows = output.partition("options]")[2].splitlines()[1:]
    assert all(len(row.split()) > 2 for row in rows if row.strip())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_either_signal_stops_a_command_with_the_same_words(
    run: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("tlkit.cli.maintain.versions", lambda: signal.raise_signal(number))
    kept = [(each, signal.signal(each, handler)) for each, handler in HANDLERS]
    try:
        code, out, err = run("--version")
        assert [signal.getsignal(each) for each, _ in HANDLERS] == [handler for _, handler in HANDLERS]
    finally:
        for each, handler in kept:
            signal.signal(each, handler)
    assert (code, out, err.strip()) == (128 + number, "", f"stopped by {number.name}.")


def test_second_sigterm_ends_the_process_whatever_computes() -> None:
    code = """
import contextlib, os, signal, sys
from tlkit.cli import app, maintain
from tlkit.run import signals
from tlkit.run.signals import watching

app.ended_by_a_second, signals._APART = contextlib.nullcontext, 0.0  # by the handlers alone

def ignored():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        pass

def outside():
    ignored()
    ignored()

def within():
    with watching():
        outside()

def after():
    with watching():
        ignored()
    ignored()

sys.argv = ["tlkit", "--version"]
for maintain.versions in (outside, within, after):
    child = os.fork()
    if not child:
        app.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), end=" ", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == ([str(-signal.SIGTERM)] * 3, "")


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of glibc is all zeros")
def test_second_ctrl_c_ends_the_process_while_c_code_computes() -> None:
    """The first one is not even seen by Python then; a launcher may pass one on that the terminal had told too."""
    code = """
import ctypes, itertools, os, signal, sys, threading, time
from tlkit.cli import app, maintain
from tlkit.run import signals

signals._APART = 1.0  # a busy machine reads signals late, and then several at once
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it starts in the background

def computes():
    def send():
        for seconds in itertools.chain((0.2, 0.01, 0.01), itertools.repeat(0.5)):  # after the first three nothing ends
            time.sleep(seconds)
            os.write(1, b"sent ")
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=send, daemon=True).start()
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):  # the second waits forever, without Python's lock, and goes on waiting after a signal
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

maintain.versions = computes
sys.argv = ["tlkit", "--version"]
app.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.count("sent") > 3) == (130, True)
    assert done.stderr.strip() == "stopped at once by SIGINT; what was saved before is kept."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_signals_of_forked_processes_are_theirs_alone() -> None:
    """A pool ends its processes by SIGTERM, and one that lives on is not waited for."""
    code = """
import os, signal, sys, time
from tlkit.cli import app, maintain
from tlkit.run import signals

def forks():
    children = []
    for _ in range(2):
        children.append(os.fork())
        if not children[-1]:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                time.sleep(20)
                os._exit(0)
        time.sleep(0.1)
    return " ".join(map(str, children))

signals._APART = 0.0
maintain.versions = forks
sys.argv = ["tlkit", "--version"]
app.main()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        children = process.stdout.readline().split()
        try:
            assert (process.wait(10), len(children)) == (0, 2)
        finally:
            for child in children:
                os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("verb", ["inspect", "advise"])
def test_neither_folder_nor_recipe_is_told_as_such(run: Cli, verb: str) -> None:
    code, _, text = run(verb, "photos")
    assert (code, text.splitlines()[0]) == (1, "photos: there is no such folder or recipe.")
    assert run(verb, "photos.toml")[2].startswith("photos.toml: there is no such recipe.")


def test_a_file_that_cannot_be_written_is_told_before_anything_is_computed(
    run: Cli, toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs = (
        ("advise", toy_recipe), ("report", toy_recipe.parent), ("evaluate", "runs/none", "--on", "x", "--report"),
        ("embed", "resnet18", toy_recipe),
    )  # fmt: skip
    for verb in verbs:
        assert run(*verb, "--out", "none/a.npz")[2].startswith("--out none/a.npz: there is no folder none.")
    assert run("advise", toy_recipe, "--out", ".")[2].startswith("--out .: is a folder.")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert run("advise", toy_recipe, "--out", "a.toml")[2] == (
        "--out a.toml: the folder . cannot be written.\n  another file: --out FILE\n"
    )
    for verb in ("rates", "inspect", "apply"):
        code, out, text = run(verb, toy_recipe)
        assert (code, out) == (1, ""), "3 is for work of which a part is done"
        assert text.endswith(
            "runs/toy: cannot be written: Permission denied.\n"
            "  name another folder with --runs, or make this one writable and run the same command again; what is saved is kept\n"
        )


def test_value_that_an_option_never_takes_is_usage(run: Cli, toy_recipe: Path) -> None:
    for verb, *options in (
        ("predict", "toy", "a.png", "--views", "3"), ("evaluate", "toy", "--on", "a", "--views", "3"),
        ("apply", toy_recipe, "--device", "tpu"), ("rates", toy_recipe, "--steps", "1"), ("advise", ".", "--budget", "0"),
        ("export", "toy", "--to", "foo"), ("apply", toy_recipe, "--cpus-per-run", "0"), ("apply", toy_recipe, "--address", "auto"),
        ("embed", "toy", toy_recipe, "--out", "a.csv"), ("embed", "toy", toy_recipe, "--out", "a.npz", "--part", "1/2"),
    ):  # fmt: skip
        code, out, text = run(verb, *options)
        assert (code, out, options[-2].strip("-") in text or "a.csv" in text) == (2, "", True), (verb, text)
    assert run("plan", toy_recipe, "--arm", "none")[0] == 1, "another recipe may have it"


def test_matplotlib_is_loaded_whatever_backend_the_environment_names(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    assert run("schema")[0] == 0
    assert os.environ["MPLBACKEND"] == "agg"
