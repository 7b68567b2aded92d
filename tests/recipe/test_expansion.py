"""`decay`, `from` and `to`, and `gradual` of the backbone are a value for each stage that a person could have written."""

from collections.abc import Mapping
from typing import Any

import pytest

from tlkit.errors import RecipeError
from tlkit.recipe import parsing
from tlkit.recipe.expansion import expanded
from tlkit.recipe.map_tables import Gradual, Rate, RateRange, Until
from tlkit.recipe.messages import dotted
from tlkit.recipe.recipe import Arm

STAGES = {"stem": ("conv1", "bn1"), "layer1": ("layer1",), "layer2": ("layer2",)}


def arm(epochs: int = 10, **tables: Mapping[str, Any]) -> Arm:
    given = {"backbone": {"name": "toy", "weights": "none"}, "data": {"name": "synthetic"}, "schedule": {"epochs": epochs}}
    return parsing.build({"format": 1, "name": "x", **given, **tables}, where="r").arms["main"]


def test_decay_slows_each_stage_before_the_last() -> None:
    made, notes = expanded(arm(lr_groups={"head": 1.0, "backbone": {"lr": 1e-2, "decay": 0.5}}), STAGES)
    assert made.lr_groups == {"head": 1.0, "stem": 0.0025, "layer1": 0.005, "layer2": 0.01}
    assert notes == ()


def test_range_is_geometric_over_the_stages() -> None:
    made, _ = expanded(arm(lr_groups={"backbone": {"from": 1e-5, "to": 1e-3}}), STAGES)
    assert made.lr_groups == {"stem": 1e-5, "layer1": pytest.approx(1e-4, rel=1e-12), "layer2": 1e-3}
    made, _ = expanded(
        arm(lr_groups={"backbone": {"from": 1e-5, "to": 1e-1, "momentum": 0.5}}), {**STAGES, "a": (), "b": ("b",)}
    )
    rates = {"stem": 1e-5, "layer1": 1e-4, "layer2": 1e-3, "b": 1e-1}
    assert made.lr_groups == {name: Rate(lr=rate, momentum=0.5) for name, rate in rates.items()}, "a has no parameters"
    one, _ = expanded(arm(lr_groups={"backbone": {"from": 1e-5, "to": 1e-3}}), {"stem": ("conv1",)})
    assert one.lr_groups == {"stem": 1e-3}


def test_rates_of_stages_are_those_that_the_plan_prints() -> None:
    """So a recipe in which they are copied by hand has the same digest."""
    for written in ({"lr": 1e-3, "decay": 0.65}, {"from": 1e-5, "to": 7e-4}, {"lr": 0.00123456, "decay": 0.3}):
        made, _ = expanded(arm(lr_groups={"backbone": written}), {name: (name,) for name in "abcdefg"})
        assert all(float(f"{rate:g}") == rate for rate in made.lr_groups.values())
        assert made.lr_groups["g"] == written.get("lr", 7e-4)  # as it is written


def test_settings_of_the_backbone_reach_every_stage_and_its_own_key_wins() -> None:
    made, _ = expanded(arm(lr_groups={"backbone": {"lr": 1.0, "decay": 0.5, "weight_decay": 0.1}, "layer1": 3.0}), STAGES)
    assert made.lr_groups == {"layer1": 3.0, "stem": Rate(lr=0.25, weight_decay=0.1), "layer2": Rate(lr=1.0, weight_decay=0.1)}


def test_frozen_stage_gets_no_rate_unless_a_part_of_it_trains() -> None:
    rates = {"backbone": {"lr": 1.0, "decay": 0.5}}
    made, notes = expanded(arm(lr_groups=rates, freeze={"stem": True, "layer1": True, "layer1.0": False}), STAGES)
    assert (made.lr_groups, notes) == ({"layer1": 0.5, "layer2": 1.0}, ())
    made, notes = expanded(arm(lr_groups=rates, freeze={"backbone": True}), STAGES)
    assert (made.lr_groups, notes) == ({}, ("lr_groups.backbone: all of it is frozen",))


def test_stage_that_begins_to_train_late_has_a_rate_from_the_start() -> None:
    tables: dict[str, Any] = {"lr_groups": {"backbone": {"lr": 1.0, "decay": 0.5}}, "freeze": {"stem": {"epochs": 500}}}
    made, notes = expanded(arm(epochs=1000, **tables), STAGES)
    assert (made.lr_groups, notes) == ({"stem": 0.25, "layer1": 0.5, "layer2": 1.0}, ())


def test_rate_stays_above_zero_however_much_it_decays() -> None:
    made, _ = expanded(arm(lr_groups={"backbone": {"lr": 1.0, "decay": 1e-30}}), STAGES)
    assert made.lr_groups == {"stem": 1e-38, "layer1": 1e-30, "layer2": 1.0}


def test_key_of_the_backbone_that_more_specific_keys_cover_is_said_to_have_no_effect() -> None:
    tables: dict[str, Any] = {"lr_groups": {"backbone": {"lr": 1.0, "decay": 0.5}}, "freeze": {"backbone": {"gradual": 1}}}
    own: dict[str, dict[str, Any]] = {"lr_groups": dict.fromkeys(STAGES, 3.0), "freeze": dict.fromkeys(STAGES, False)}
    made, notes = expanded(arm(**{key: tables[key] | own[key] for key in tables}), STAGES)
    assert (made.lr_groups, made.freeze) == (own["lr_groups"], own["freeze"])
    assert notes == tuple(f"{key}.backbone: more specific keys cover all of it" for key in ("freeze", "lr_groups"))


def test_gradual_unfreezes_one_more_stage_from_the_last_down() -> None:
    made, notes = expanded(arm(freeze={"backbone": {"gradual": 2}}), STAGES)
    assert (made.freeze, notes) == ({"stem": Until(epochs=6), "layer1": Until(epochs=4), "layer2": Until(epochs=2)}, ())


def test_stage_with_a_key_of_its_own_takes_no_turn() -> None:
    made, _ = expanded(arm(freeze={"backbone": {"gradual": 1}, "layer2": False, "head": {"epochs": 1}}), STAGES)
    assert made.freeze == {"layer2": False, "head": Until(epochs=1), "layer1": Until(epochs=1), "stem": Until(epochs=2)}


def test_stages_that_no_turn_reaches_stay_frozen_and_are_said() -> None:
    made, notes = expanded(arm(epochs=4, freeze={"backbone": {"gradual": 2}}), STAGES)
    assert made.freeze == {"layer2": Until(epochs=2), "layer1": True, "stem": True}
    assert notes == ("freeze.backbone: gradual = 2 does not reach stem, layer1 in 4 epochs: frozen in all of them",)
    _, notes = expanded(arm(epochs=1, freeze={"backbone": {"gradual": 1}}), {"stem": ("conv1",)})
    assert notes == ("freeze.backbone: gradual = 1 does not reach stem in 1 epoch: frozen in all of them",)
    _, notes = expanded(arm(epochs=4, freeze={"backbone": {"epochs": 4}, "head": {"epochs": 3}}), STAGES)
    assert notes == ("freeze.backbone: frozen in the whole run of 4 epochs; it never trains",)


NUMBER = 'a number such as 1e-3, or "auto": a range test chooses it before training'
RATE = '1e-3, or { lr = 1e-3, weight_decay = 0.01 }, or "auto"'
ZERO = ": the rate is 0, which would still cost gradients and move BatchNorm."
PEAK = 'peak learning rate; "auto": a range test chooses it before training'
DECAY = "the last stage has the rate `lr`, and each stage before it this many times the rate of the next; of `backbone` only"
GRADUAL = "number of epochs after which one more stage trains, from the last down; of `backbone` only"
STAYS = "number of epochs for which the part stays frozen"


@pytest.mark.parametrize(
    ("table", "part", "value", "lines"),
    [
        ("lr_groups", "backbone", {"lr": 1e-3, "decay": 0.0}, [".decay: is 0.0, but should be greater than 0.", DECAY]),
        ("lr_groups", "backbone", {"lr": 1e-3, "decay": 1.5}, [".decay: is 1.5, but should be less than or equal to 1.", DECAY]),
        ("lr_groups", "backbone", {"lr": "auto", "decay": 0.5},
         [': lr is "auto" and decay is given: a range test chooses one rate for all of the part.',
          "{ lr = 1e-3, decay = 0.65 }; tlkit rates suggests the number"]),
        ("lr_groups", "backbone", {"from": 1e-2, "to": 1e-3},
         [": from is 0.01 and to is 0.001: the first stage would learn faster than the last.", "{ from = 0.001, to = 0.01 }"]),
        ("lr_groups", "backbone", {"from": 0, "to": 1e-3},
         [".from: is 0, but should be greater than 0.", "peak learning rate of the first stage; of `backbone` only"]),
        ("lr_groups", "backbone", {"to": 1e-3}, [".from: is missing.", "peak learning rate of the first stage; of `backbone` only"]),
        ("lr_groups", "backbone", {"from": 1e-3}, [".to: is missing.", "peak learning rate of the last stage, at least `from`; of `backbone` only"]),
        ("lr_groups", "backbone", {"from": 1e-4, "to": 1e-3, "lr": 1e-3},
         [".lr: there is no such key.", "keys: from, to, weight_decay, momentum",
          'a module path is one quoted key: lr_groups."backbone.lr"']),
        ("lr_groups", "head", {"lr": 1e-3, "decay": 0.5},
         [".decay: head is one part, and this runs over the stages of the backbone.", "lr_groups.backbone = { decay = .. }"]),
        ("lr_groups", "stem", {"from": 1e-4, "to": 1e-3},
         [".from: stem is one part, and this runs over the stages of the backbone.", "lr_groups.backbone = { from = .. }"]),
        ("lr_groups", "head", "high", [': is "high", but should be a valid number.', RATE]),
        ("lr_groups", "head", True, [": is true, but should be a valid number.", RATE]),
        ("lr_groups", "head", {"lr": "high"}, ['.lr: is "high".', NUMBER]),
        ("lr_groups", "head", {"lr": True}, [".lr: is true, but should be a valid number.", PEAK]),
        ("lr_groups", "head", {"lr": 1, "rate": 2},
         [".rate: there is no such key.", "keys: lr, weight_decay, momentum, decay",
          'a module path is one quoted key: lr_groups."head.rate"']),
        ("lr_groups", "head", 0, [ZERO, "to freeze it: freeze.head = true"]),
        ("lr_groups", "block1.0", {"lr": 0.0}, [f".lr{ZERO}", 'to freeze it: freeze."block1.0" = true']),
        ("lr_groups", "head", -1, [": is -1, but should be greater than 0."]),
        ("lr_groups", "head", {"lr": 1, "momentum": 1},
         [".momentum: is 1, but should be less than 1.", "momentum of this part, sgd only. Default: optimizer.momentum"]),
        ("freeze", "head", {"gradual": 1},
         [".gradual: head is one part, and this runs over the stages of the backbone.", "freeze.backbone = { gradual = .. }"]),
        ("freeze", "backbone", {"gradual": 0}, [".gradual: is 0, but should be greater than or equal to 1.", GRADUAL]),
        ("freeze", "backbone", {"gradual": 1, "epochs": 2},
         [".epochs: there is no such key.", "keys: gradual", 'a module path is one quoted key: freeze."backbone.epochs"']),
        ("freeze", "stem", {"epochs": 0}, [".epochs: is 0, but should be greater than or equal to 1.", STAYS]),
        ("freeze", "stem", {}, [".epochs: is missing.", STAYS]),
        ("freeze", "stem", {"0": {"1": True}, "epochs": 1},
         [".0: there is no such key.", "keys: epochs", 'a module path is one quoted key: freeze."stem.0"']),
        ("freeze", "stem", 1, [": is 1.", "true, false, or { epochs = N }; of the backbone also { gradual = N }"]),
        ("freeze", "stem", "yes", [': is "yes".', "true, false, or { epochs = N }; of the backbone also { gradual = N }"]),
    ],
)  # fmt: skip
def test_wrong_value_is_a_message(table: str, part: str, value: object, lines: list[str]) -> None:
    tables: dict[str, Any] = {table: {part: value}}
    with pytest.raises(RecipeError) as caught:
        arm(**tables)
    assert str(caught.value) == f"r: {table}.{dotted(part)}" + "\n  ".join(lines)


def test_every_wrong_part_of_a_map_is_said() -> None:
    with pytest.raises(RecipeError) as caught:
        arm(lr_groups={"head": 0, "stem": {"lr": 1.0, "decay": 0.5}, "layer1": "x"}, freeze={"stem": {"gradual": 1}, "head": 3})
    assert [str(each).partition(": ")[2].partition(":")[0] for each in caught.value.problems] == [
        "freeze.head", "lr_groups.head", "lr_groups.layer1",
    ]  # fmt: skip
    with pytest.raises(RecipeError) as caught:
        arm(
            lr_groups={
                "head": {"lr": 1.0, "decay": 0.5},
                "backbone": {"lr": 1.0, "decay": 0.5},
                "stem": {"from": 1.0, "to": 2.0},
            }
        )
    assert [str(each).partition(": ")[2].partition(":")[0] for each in caught.value.problems] == [
        "lr_groups.head.decay", "lr_groups.stem.from",
    ]  # fmt: skip


def test_right_values_of_the_maps_are_taken_as_they_are_written() -> None:
    freeze = {"stem": True, "layer1": {"epochs": 1}, "layer2": Until(epochs=2), "backbone": Gradual(gradual=1)}
    rates = {"head": "auto", "stem": {"lr": "auto"}, "layer1": 1, "layer2": Rate(lr=1.0), "backbone": {"from": 1.0, "to": 1.0}}
    made = arm(freeze=freeze, lr_groups=rates)
    assert made.freeze == freeze | {"layer1": Until(epochs=1)}
    backbone = made.lr_groups.pop("backbone")
    assert isinstance(backbone, RateRange)
    assert (backbone.from_, backbone.to) == (1.0, 1.0)
    assert made.lr_groups == {"head": "auto", "stem": Rate(lr="auto"), "layer1": 1.0, "layer2": Rate(lr=1.0)}
    assert arm(lr_groups={"backbone": backbone}).lr_groups == {"backbone": backbone}
    one = arm(lr_groups={"backbone": {"lr": 1.0, "decay": 1.0}}, freeze={"backbone": {"gradual": 1}})
    assert (one.lr_groups, one.freeze) == ({"backbone": Rate(lr=1.0, decay=1.0)}, {"backbone": Gradual(gradual=1)})
