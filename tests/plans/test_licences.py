"""The plan tells the licences of weights and data set, and warns of those that forbid commercial use."""

import json
from pathlib import Path

import pytest
from conftest import Cli

from tlkit.plans import licences
from tlkit.plugin import Backbone, registry
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Arm


@pytest.mark.parametrize(
    ("text", "forbids"),
    [
        ("CC BY-NC 4.0", True),
        ("cc-by-nc-4.0", True),
        ("non-commercial use", True),
        ("fair-noncommercial-research-license", True),
        ("research use", True),
        ("apple-amlr", True),
        ("apple-ascl", False),
        ("MIT", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_licence_that_forbids_commercial_use_is_recognised(text: str, forbids: bool) -> None:
    licence = licences.Licence("weights a of b", text)
    assert licence.forbids_commercial_use is forbids
    assert licence.warning == (f"the licence of the weights a of b forbids commercial use: {text}" if forbids else "")


def arm(tmp_path: Path, backbone: str, weights: str) -> Arm:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'format = 1\nname = "one"\nbackbone = {{ name = "{backbone}", weights = "{weights}" }}\ndata = {{ name = "hymenoptera" }}\n'
        "[freeze]\nbackbone = true\n[lr_groups]\nhead = 1e-3\n"
    )
    (found,) = parsing.read(path).arms.values()
    return found


def test_timms_own_licence_of_weights_is_told(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    name, tag = "convnextv2_atto", "fcmae_ft_in1k"
    mine = arm(tmp_path, f"timm:{name}", tag)
    weights, data = licences.of(mine, registry.get(Backbone, f"timm:{name}"))
    assert weights.text == timm.get_pretrained_cfg(f"{name}.{tag}").license == "cc-by-nc-4.0"
    assert weights.forbids_commercial_use
    assert (data.of, data.text) == ("data set hymenoptera", "research use; pictures from ImageNet")


def test_torchvisions_weights_are_said_to_have_the_terms_of_their_data_set(tmp_path: Path) -> None:
    weights, _ = licences.of(arm(tmp_path, "resnet18", "imagenet1k-v1"), registry.get(Backbone, "resnet18"))
    assert weights.of == "weights imagenet1k-v1 of resnet18"
    assert "weights may have terms derived from their data set, here ImageNet" in weights.text
    assert not weights.warning


def test_plan_has_a_line_for_each_licence_and_a_warning_where_one_forbids_commercial_use(run: Cli, toy_recipe: Path) -> None:
    code, out, _ = run("plan", toy_recipe)
    assert code == 0
    assert "licence    data set synthetic: none needed: made by tlkit" in out
    assert "forbids commercial use" not in out
    head, _, rest = toy_recipe.read_text().replace('name = "synthetic"', 'name = "hymenoptera"').partition("[data.options]")
    toy_recipe.write_text(f"{head}[lr_groups]{rest.partition('[lr_groups]')[2]}")
    record = json.loads(run("plan", toy_recipe, "--json")[1])
    (plan,) = record["arms"].values()
    assert {"of": "data set hymenoptera", "text": "research use; pictures from ImageNet"} in plan["licences"]
    warned = "the licence of the data set hymenoptera forbids commercial use: research use; pictures from ImageNet"
    assert warned in plan["warnings"]
