"""What every test may use: the toy plugin, real data where it is, folders that are not the user's."""

import os

# Before torch is imported: workers that share the cores would make its threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tlkit import machine

ROOT = Path(__file__).parents[1]
TOY = Path(__file__).parent / "toy"
sys.path.insert(0, str(TOY))

_NUMBERS = itertools.count()  # of folders

Cli = Callable[..., tuple[int, str, str]]

# Files whose slow tests take more than half a minute, the longest first. `make test-slow` gives each of its processes whole files, so that what
# a module prepares is prepared once, and begins with these: one that came last would leave the other process idle.
LONGEST = (
    "tests/docs/test_readme.py",
    "tests/run/test_executors.py",
    "tests/exports/test_export.py",
    "tests/docs/test_pages.py",
    "tests/run/test_faults.py",
    "tests/recipes/test_shipped_recipes.py",
    "tests/run/test_processes.py",
    "benchmarks/test_recipes.py",
    "tests/plugins/test_emoji_scenes.py",
    "tests/plugins/test_zoo.py",
    "tests/run/test_damaged_files.py",
    "tests/engine/test_cuda_networks.py",
    "tests/benchmarks/test_bench_cuda.py",
    "tests/exports/test_mask_export.py",
    "tests/advice/test_advise.py",
)

TOY_RECIPE = """\
format = 1
name = "toy"

[backbone]
name = "toy"
weights = "none"

[data]
name = "synthetic"
image_size = 16
batch_size = 16

[data.options]
classes = 4
train = 80
test = 40
size = 16

[lr_groups]
backbone = 1e-2
head = 1e-2

[schedule]
name = "cosine"
epochs = 2
"""


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs from tests that are not marked cuda: what they assert is what the CPU answers. Torch reads this at its first use of CUDA."""
    if not asks_for_cuda(config.getoption("markexpr")):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        machine.let_cublas_repeat()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Import what tests need once, in two ways.

    Python's garbage collector would go through the million objects that stay again and again: it does not see them, and looks for others as
    rarely as in the command line. And compiled modules are kept, also where PYTHONDONTWRITEBYTECODE says otherwise: each process that a
    test starts would compile tlkit again.
    """
    written = sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        machine.collect_rarely()
        sys.dont_write_bytecode = written


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import files without slow tests where only slow ones are asked for: nine of ten, a quarter of what collecting takes."""
    asked = config.getoption("markexpr") == "slow" and collection_path.suffix == ".py"
    return True if asked and b"mark.slow" not in collection_path.read_bytes() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests of some files first, those of the longest files; see `LONGEST`."""
    places = {ROOT / path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)) if item.get_closest_marker("slow") else len(LONGEST))


def asks_for_cuda(expression: str) -> bool:
    """Whether the tests that an expression of -m selects are those that need a GPU."""
    words = expression.replace("(", " ").replace(")", " ").split()
    return any(word == "cuda" and (not at or words[at - 1] != "not") for at, word in enumerate(words))


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """Write files as ever, but wait for no disk: a small run syncs 55 times, milliseconds each, and only a power failure can tell.

    tests/toy_power.py plays those, and tests/run/test_faults.py looks at which files are synced: both see each call.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _shared_networks() -> Iterator[None]:
    """Let all tests share networks on the meta device, as arms of one recipe do: most plan the same toy, a sixth of what runs cost here.

    tests/compiler/test_shared_networks.py holds that plans are those of networks that are not shared.
    """
    from tlkit.compiler import shared_networks

    with shared_networks.sharing():
        yield


def _made(base: Path, name: str) -> Path:
    """Make a folder of one test; `mktemp` looks at the names of all that tests made before, which takes 7 ms after 4,000 tests."""
    folder = base / f"{name}-{next(_NUMBERS)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the test alone, called nearly as pytest calls its own."""
    return _made(tmp_path_factory.getbasetemp(), re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's caches."""
    home = _made(tmp_path_factory.getbasetemp(), "home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("TLKIT_CACHE", "TLKIT_DATA", "TLKIT_WEIGHTS", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real images and weights; a test that needs them is skipped where they are not."""
    folder = Path(os.environ.get("TLKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs the real images and weights of TLKIT_TEST_DATA; {folder} is not there")
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave out the curves and the report of an applied recipe, which take as long as a toy's training. Gives what draws them."""
    from tlkit.reports import summary

    draw = summary.draw
    monkeypatch.setattr(summary, "draw", lambda *_: None)
    return draw


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on this machine, past any proxy; gives the address."""
    with pytest.MonkeyPatch.context() as patch, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(proxy, raising=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def python_path(*folders: Path) -> str:
    """Return PYTHONPATH with folders before what is in it: without that a process imports the tlkit that is installed, not this one."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def toy_recipe(tmp_path: Path) -> Path:
    """A recipe that trains in a moment."""
    path = tmp_path / "toy.toml"
    path.write_text(TOY_RECIPE)
    return path


@pytest.fixture
def tlkit(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, in the test's folder; seconds each, so use it sparingly."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tlkit", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": python_path(TOY), **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process and in the test's folder: exit code, stdout, stderr."""
    from tlkit.cli import app

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tlkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return call
