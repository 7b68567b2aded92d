"""Plugins are found by entry point: real metadata folders on sys.path, read without importing anything."""

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tlkit.errors import PluginError
from tlkit.plugin import Backbone, Dataset, Head, registry

Install = Callable[..., Path]
BACKBONE = """
from tlkit.plugin import Backbone
net = Backbone(build="nowhere:build", stages={"all": ("net",)}, features=3, classifier="fc")
number = 3
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on sys.path: its metadata, and a module where there is code."""
    before = set(sys.modules)

    def put(
        distribution: str, points: str, *, code: str = "", module: str = "", folder: str = "site", kind: str = "dist-info"
    ) -> Path:
        site = tmp_path / folder
        info = site / f"{distribution}.{kind}"
        info.mkdir(parents=True)
        file = info / "entry_points.txt"
        file.write_text(textwrap.dedent(points))
        if module:
            (site / f"{module}.py").write_text(code)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        registry.scan.cache_clear()
        return file

    yield put
    registry.scan.cache_clear()
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _scan_again() -> Iterator[None]:
    registry.scan.cache_clear()
    yield
    registry.scan.cache_clear()


def test_first_party_plugins_use_the_same_door() -> None:
    names = {kind: {entry.name for entry in registry.entries(kind)} for kind in (Backbone, Dataset, Head)}
    assert {"resnet18", "resnet50", "toy"} <= names[Backbone]
    assert {"cifar10", "fashion_mnist_mini", "folder", "synthetic"} <= names[Dataset]
    assert {"linear", "mlp"} <= names[Head]


def test_installed_plugin_is_found_with_its_distribution_and_version(install: Install) -> None:
    install("acme_nets-2.1", "[tlkit.backbones]\nacme = acme_nets:net\n", code=BACKBONE, module="acme_nets")
    assert registry.entry(Backbone, "acme") == registry.Entry("tlkit.backbones", "acme", "acme_nets:net", "acme-nets", "2.1")
    assert registry.get(Backbone, "acme").features == 3


def test_old_metadata_is_read_too(install: Install) -> None:
    install("acme-1.0", "[tlkit.backbones]\nacme = acme_nets:net\n", code=BACKBONE, module="acme_nets", kind="egg-info")
    assert registry.get(Backbone, "acme").features == 3


def test_listing_imports_nothing(install: Install) -> None:
    install("acme-1.0", "[tlkit.backbones]\nacme = acme_bomb:net\n", code="raise SystemExit('imported')", module="acme_bomb")
    assert "acme" in [entry.name for entry in registry.entries(Backbone)]
    assert "acme_bomb" not in sys.modules


def test_names_are_listed_in_order(install: Install) -> None:
    install("acme-1.0", "[tlkit.backbones]\nzz = m:a\nAa = m:b\naa = m:c\n")
    names = [entry.name for entry in registry.entries(Backbone)]
    assert names == sorted(names)
    assert {"Aa", "aa", "zz"} <= set(names)


def test_name_of_one_kind_is_none_of_another(install: Install) -> None:
    install("acme-1.0", "[tlkit.heads]\nacme = acme_nets:net\n", code=BACKBONE, module="acme_nets")
    with pytest.raises(PluginError, match='no backbone "acme"'):
        registry.get(Backbone, "acme")


def test_two_distributions_that_offer_one_name_are_both_named(install: Install) -> None:
    install("acme-1.0", "[tlkit.backbones]\nshared = acme_nets:net\n", code=BACKBONE, module="acme_nets")
    install("rival-0.3", "[tlkit.backbones]\nshared = rival_nets:net\nother = acme_nets:net\n")
    with pytest.raises(PluginError, match="two distributions offer it") as caught:
        registry.get(Backbone, "shared")
    assert "acme 1.0 (acme_nets:net)" in str(caught.value)
    assert "rival 0.3 (rival_nets:net)" in str(caught.value)
    assert "pip uninstall" in str(caught.value)
    assert "acme_nets" not in sys.modules
    assert registry.get(Backbone, "other").features == 3


def test_same_distribution_twice_on_the_path_is_the_first_one(install: Install) -> None:
    install("acme-1.0", "[tlkit.backbones]\nacme = acme_nets:net\n", code=BACKBONE, module="acme_nets", folder="later")
    install("acme-2.0", "[tlkit.backbones]\nacme = acme_nets:net\n", folder="earlier")
    assert registry.entry(Backbone, "acme").version == "2.0"
    assert registry.get(Backbone, "acme").features == 3


@pytest.mark.parametrize(
    "points",
    [
        "not an ini file\n",
        "[console_scripts\nx = y:z\n",
        "[a]\nx = y:z\nx = y:w\n",
        "[a]\n[a]\n",
        "[tlkit.backbones]\nx = not valid!\n",
    ],
)
def test_broken_entry_points_of_another_package_are_skipped_and_named(install: Install, points: str) -> None:
    file = install("broken-1.0", points)
    install("acme-1.0", "[tlkit.backbones]\nacme = acme_nets:net\n", code=BACKBONE, module="acme_nets")
    assert registry.get(Backbone, "acme").features == 3
    (line,) = registry.scan().broken
    assert line.startswith(f"{file}: ")
    assert "\n" not in line


def test_entry_points_that_are_no_text_are_skipped_and_named(install: Install) -> None:
    file = install("broken-1.0", "")
    file.write_bytes(b"\xff\xfe\x00tlkit.")
    registry.scan.cache_clear()
    (line,) = registry.scan().broken
    assert str(file) in line


def test_entry_points_of_other_groups_are_nothing_to_us(install: Install) -> None:
    install("other-1.0", "[console_scripts]\nother = other:main\n[pytest11]\nx = y\n")
    assert registry.scan().broken == ()


def test_unknown_name_lists_what_is_installed_and_the_nearest() -> None:
    with pytest.raises(PluginError, match='there is no backbone "resnet81" installed') as caught:
        registry.get(Backbone, "resnet81")
    assert "resnet101" in str(caught.value)
    assert 'did you mean "resnet18"?' in str(caught.value)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise ValueError('first\\nsecond')\n", "ValueError: first"),
        ("1 +\n", "SyntaxError: invalid syntax (acme_broken.py, line 1)"),
        ("", "AttributeError"),
        ("raise RuntimeError\n", "RuntimeError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("class E(BaseException): pass\nraise E\n", "E."),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n", "E."),
        (BACKBONE.replace("features=3", "features=0"), "features is 0."),
    ],
)
def test_plugin_that_does_not_import_is_said_with_its_distribution(install: Install, code: str, reason: str) -> None:
    install("acme-1.0", "[tlkit.backbones]\nacme = acme_broken:net\n", code=code, module="acme_broken")
    with pytest.raises(PluginError, match="does not import") as caught:
        registry.get(Backbone, "acme")
    assert reason in caught.value.problem
    assert "acme 1.0" in caught.value.problem
    assert "\n" not in caught.value.problem
    assert ".." not in caught.value.problem
    own = r"acme_broken\.py, line [1-4]; if it is not yours, reinstall it: pip install --force-reinstall acme"
    entry = "its entry point is acme_broken:net, as module:object; "  # the fault may be there
    assert re.search(entry if reason.startswith(("SyntaxError", "AttributeError")) else own, caught.value.hints[-1])
    assert caught.value.__cause__ is not None


def test_plugin_under_a_group_that_tlkit_does_not_have_is_told(install: Install) -> None:
    install(
        "acme-1.0", "[tlkit.backbone]\nacme = acme_nets:net\n[tlkit.heads]\nother = acme_nets:net\n[tlkit.x]\ny = no target!\n"
    )
    with pytest.raises(PluginError) as caught:
        registry.get(Backbone, "acme")
    for error in (registry.unknown("acme"), caught.value):
        assert error.hints[-1].startswith('acme 1.0 has it under "tlkit.backbone", which tlkit does not read')
        assert "tlkit.backbones" in error.hints[-1]
    assert registry.offers(Head, "other")
    assert registry.scan().broken == ()


@pytest.mark.parametrize("imports", [False, True])
def test_plugin_whose_import_brings_torch_is_told(install: Install, monkeypatch: pytest.MonkeyPatch, *, imports: bool) -> None:
    code = BACKBONE + ("import sys\nsys.modules['torch'] = sys\n" if imports else "")
    install("acme-1.0", "[tlkit.backbones]\nacme = acme_nets:net\n", code=code, module="acme_nets")
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert registry.imports_torch("acme") is None  # nobody can tell
    monkeypatch.delitem(sys.modules, "torch")
    assert registry.imports_torch("acme") is imports


@pytest.mark.parametrize(("target", "what"), [("acme_nets:number", "of type int"), ("acme_nets", "of type module")])
def test_plugin_of_another_type_is_refused(install: Install, target: str, what: str) -> None:
    install("acme-1.0", f"[tlkit.backbones]\nacme = {target}\n", code=BACKBONE, module="acme_nets")
    with pytest.raises(PluginError, match=r"not a tlkit\.plugin\.Backbone") as caught:
        registry.get(Backbone, "acme")
    assert what in str(caught.value)
    assert "acme" in str(caught.value)


def test_backbone_of_a_distribution_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a path without plugins/tlkit-efficientnet-lite's metadata."""
    here = [folder for folder in sys.path if not list(Path(folder or ".").glob("tlkit_efficientnet_lite-*"))]
    monkeypatch.setattr(sys, "path", here)
    with pytest.raises(PluginError, match='no backbone "efficientnet_lite0"') as caught:
        registry.get(Backbone, "efficientnet_lite0")
    assert "pip install tlkit-efficientnet-lite" in str(caught.value)
    assert "pip install plugins/tlkit-efficientnet-lite" in str(caught.value)
