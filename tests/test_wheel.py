"""What a person gets who installs the wheels, without a checkout: the quickstart runs."""

import json
import os
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from conftest import ROOT
from pages import PAGES


def test_each_distribution_brings_the_licences_that_it_names() -> None:
    for project in (ROOT, *(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))):
        about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        first, *others = [(project / name).read_bytes() for name in about["license-files"]]
        assert first == (ROOT / "LICENSE").read_bytes(), project
        assert len(others) == about["license"].count(" AND "), project


@pytest.mark.slow
def test_wheels_in_an_empty_environment_run_the_quickstart(tmp_path: Path) -> None:
    command = "pip install . ./plugins/tlkit-efficientnet-lite"
    assert command in {each for page in PAGES for each in page.commands}
    place = tmp_path / "venv"
    venv.create(place)
    python = place / "bin" / "python"
    site = Path(_run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=tmp_path).strip())
    # torch and the other dependencies are those of this environment: a folder named in a .pth file, whose own .pth files (that of
    # the checkout) are not read.
    (site / "dependencies.pth").write_text("\n".join(_dependencies()))
    _run(
        [sys.executable, "-m", *shlex.split(command), "-q", "--no-deps", "--no-build-isolation", "--target", str(site)],
        cwd=ROOT,
    )
    for file in ("tlkit_fashion_mnist/fashion_mnist_mini.npz", "tlkit_fashion_mnist/LICENSE.fashion_mnist", "tlkit/py.typed"):
        assert (site / file).is_file()
    tlkit = [str(python), "-m", "tlkit"]
    assert _run([str(python), "-c", "import tlkit; print(tlkit.__file__)"], cwd=tmp_path).startswith(str(site))
    assert "quickstart" in _run([*tlkit, "list", "--kind", "recipe"], cwd=tmp_path)
    assert "efficientnet_lite0" in _run([*tlkit, "list", "--kind", "backbone"], cwd=tmp_path)
    _run([*tlkit, "init", "--from", "quickstart"], cwd=tmp_path)
    _run([*tlkit, "apply", "quickstart.toml", "--arm", "head_only", "--set", "schedule.epochs=1"], cwd=tmp_path)
    result = json.loads((tmp_path / "runs" / "quickstart" / "result.json").read_text())
    (run,) = result["arms"]["head_only"]["seeds"].values()
    assert run["status"] == "finished"
    assert run["test"]["accuracy"] > 0.6  # of ten classes


def _dependencies() -> list[str]:
    """Folders of installed packages in this environment, without the checkout's own."""
    folders = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*folders, sysconfig.get_path("purelib")]))


def _run(command: list[str], *, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
