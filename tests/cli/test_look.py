"""Commands that look: what they list, and the same as JSON."""

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT, Cli
from PIL import Image

from tlkit.plugin import kinds, registry

KINDS = {each.name: each.value for each in kinds.KINDS}


def test_version_names_what_a_report_of_a_problem_should(run: Cli) -> None:
    code, output, _ = run("--version")
    assert code == 0
    for name in ("torch", "torchvision"):
        assert f"{name} {metadata.version(name)}" in output
    assert "device " in output


def test_help_lists_every_command_in_a_group(run: Cli) -> None:
    code, output, _ = run("--help")
    assert code == 0
    titles = [line for line in output.splitlines() if line in ("Look:", "Train:", "Use:", "Maintain:")]
    assert titles == ["Look:", "Train:", "Use:", "Maintain:"]
    for command in (
        "list",
        "show",
        "validate",
        "plan",
        "inspect",
        "schema",
        "check",
        "init",
        "apply",
        "predict",
        "evaluate",
        "embed",
        "neighbours",
        "runs",
        "diff",
        "bench",
        "cache",
    ):
        assert f"\n  {command} " in output


def test_shell_is_given_the_commands_that_begin_so(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TLKIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "tlkit va")
    monkeypatch.setenv("COMP_CWORD", "1")
    code, output, _ = run()
    assert (code, output.split()) == (0, ["validate"])


@pytest.mark.parametrize("kind", KINDS)
def test_list_of_one_kind_names_every_plugin_of_it(kind: str, run: Cli) -> None:
    code, output, _ = run("list", "--kind", kind)
    assert code == 0
    listed = output.replace(",", " ").split()
    assert all(entry.name in listed for entry in registry.entries(KINDS[kind]))


def test_a_backbone_without_a_library_shows_none(run: Cli) -> None:
    assert "parameter names of" not in run("show", "lenet5")[1]
    assert "parameter names of" in run("show", "resnet18")[1]


def test_kind_that_there_is_not_is_answered_with_the_nearest(run: Cli) -> None:
    code, _, text = run("list", "--kind", "backbones")
    assert code == 2
    assert 'there is no kind "backbones". One of: backbone, head, dataset, logger, executor, adapter, recipe.' in text
    assert 'did you mean "backbone"?' in text
    assert "Value error" not in text


def test_device_that_is_not_here_is_said_in_our_words(run: Cli, toy_recipe: Path) -> None:
    code, _, text = run("plan", toy_recipe, "--device", "cudda")
    assert code == 2
    assert 'did you mean "cuda"?' in text
    code, _, text = run("plan", toy_recipe, "--device", "cuda:97")
    assert code == 1
    assert text.startswith("--device cuda:97: ")
    assert text.endswith(".\n  --device cpu\n")
    assert "http" not in text


def test_list_fits_a_screen(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, output, _ = run("list")
    assert sum(-(-len(line) // 80) for line in output.splitlines()) <= 28  # of a terminal of 30 lines


def test_list_as_json_has_what_is_listed(run: Cli) -> None:
    record = json.loads(run("list", "--json")[1])
    assert set(record) == {"format", "recipe", *KINDS}
    for kind, value in KINDS.items():
        assert [each["name"] for each in record[kind]] == [entry.name for entry in registry.entries(value)]


def test_list_of_recipes_has_the_question_that_each_answers(run: Cli) -> None:
    record = json.loads(run("list", "--kind", "recipe", "--json")[1])
    assert {each["name"] for each in record["recipe"]} == {path.stem for path in (ROOT / "recipes").glob("*.toml")}
    assert all(len(each["question"].split()) > 5 for each in record["recipe"])


def test_recipe_that_is_shipped_can_be_written_here(run: Cli, tmp_path: Path) -> None:
    code, output, _ = run("init", "--from", "quickstart")
    assert (code, output) == (0, "quickstart.toml: written. Next: tlkit apply quickstart.toml\n")
    written = (tmp_path / "quickstart.toml").read_text()
    assert tomllib.loads(written) == tomllib.loads((ROOT / "recipes" / "quickstart.toml").read_text())
    assert "recipes/" not in written.partition("format = 1")[0]
    for place, runs, source in (("few.toml", "runs", "photos.toml"), ("in/few.toml", "../runs", "in/photos.toml")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        run("init", "--from", "few_paintings", "-o", place)
        text = (tmp_path / place).read_text()
        assert tomllib.loads(text)["backbone"]["weights"] == f"run:{runs}/photos", "where apply writes the runs"
        assert f"tlkit apply {source} " in text
    assert run("init", "--from", "quickstart")[0] == 1  # it is there now
    assert run("init", "--from", "quickstart", "--force")[0] == 0
    code, _, text = run("init", "--from", "quikstart", "-o", "other.toml")
    assert code == 1
    assert 'did you mean "quickstart"?' in text


@pytest.mark.parametrize("arguments", [[], ["images", "--from", "quickstart"]])
def test_init_takes_a_folder_or_a_shipped_recipe(run: Cli, arguments: list[str]) -> None:
    code, _, text = run("init", *arguments)
    assert code == 2
    assert "FOLDER" in text
    assert "--from" in text


def test_show_as_json_has_what_a_backbone_declares(run: Cli) -> None:
    (record,) = json.loads(run("show", "resnet18", "--json")[1])["plugins"]
    assert record["kind"] == "backbone"
    assert list(record["stages"]) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert record["features"] == 512


@pytest.mark.parametrize("kind", ["ray", "csv", "linear", "coral", "folder"])
def test_plugin_of_every_kind_is_shown(kind: str, run: Cli) -> None:
    code, output, _ = run("show", kind)
    assert code == 0
    assert output.startswith(kind)
    if kind == "ray":
        assert "pip install 'tlkit[ray]'" in output


def test_show_names_the_table_of_the_options_as_a_recipe_does(run: Cli) -> None:
    text = " ".join(run("show", "cdan")[1].split())
    assert "[adapt.options] default" in text
    assert "needs a domain head, a backbone that trains, images that are not mixed, all classes in the target" in text


def test_validate_as_json_says_what_is_valid(toy_recipe: Path, run: Cli) -> None:
    record = json.loads(run("validate", toy_recipe, "--json")[1])
    assert record == {"format": 1, "valid": True, "name": "toy", "arms": ["main"], "seeds": [0]}


def test_validate_as_json_has_every_problem(toy_recipe: Path, run: Cli) -> None:
    code, output, text = run("validate", toy_recipe, "--json", "--set", "optimizer.lr=1", "--set", "seeds=3")
    record = json.loads(output)
    assert code == 1
    assert record["valid"] is False
    assert len(record["problems"]) == 2
    assert all(each["problem"] in text for each in record["problems"])


def test_recipe_that_init_writes_elsewhere_has_the_name_of_its_file(run: Cli, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / "images" / name / f"{number}.png")
    assert run("init", "images", "-o", "pets at home.toml")[1].endswith("Next: tlkit apply 'pets at home.toml'\n")
    assert tomllib.loads((tmp_path / "pets at home.toml").read_text())["name"] == "pets-at-home"


def test_folder_that_no_data_set_reads_is_said(run: Cli, toy_recipe: Path) -> None:
    code, _, text = run("plan", toy_recipe, "--data", "nowhere")
    assert code == 0
    assert "--data nowhere has no effect: synthetic reads no folder" in text
