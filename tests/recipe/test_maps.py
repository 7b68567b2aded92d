"""The rules of the two maps: every parameter owned once, the most specific key wins, the order of keys never matters."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tlkit.plugin import Backbone, registry
from tlkit.recipe import maps, parsing
from tlkit.recipe.map_tables import Rate, Until
from tlkit.recipe.maps import Parameter, divide, names_only

# As a torchvision network has them: a stage named as its module, a stage of two modules, modules "1" and "10", a deep module.
STAGES = {"stem": ("conv1", "bn1"), "features": ("features.1", "features.10"), "layer1": ("layer1",)}
NAMES = {
    "conv1.weight": "stem", "bn1.weight": "stem", "bn1.bias": "stem",
    "features.1.weight": "features", "features.10.weight": "features", "features.10.bias": "features",
    "layer1.0.conv1.weight": "layer1", "layer1.0.bn1.weight": "layer1", "layer1.1.conv1.weight": "layer1",
    "layer1.1.downsample.0.weight": "layer1", "head.0.weight": "head", "head.0.bias": "head", "head.2.weight": "head",
}  # fmt: skip
PARAMETERS = [Parameter(name, stage) for name, stage in NAMES.items()]
ORDER = tuple(STAGES)


def said_by_the_rules(keys: Mapping[str, Any], name: str) -> str | None:
    """Rule 2 word by word: the module paths of a parameter from the deepest up, then its stage or head, then the backbone."""
    parts, stage = name.split("."), NAMES[name]
    paths = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    reserved = {*STAGES, "head", "backbone"}
    candidates = [*(path for path in paths if path not in reserved), stage, *([] if stage == "head" else ["backbone"])]
    return next((key for key in candidates if key in keys), None)


PATHS = sorted({".".join(name.split(".")[:end]) for name in NAMES for end in range(1, 6)} | {"backbone", *STAGES})
FREEZES = st.dictionaries(st.sampled_from(PATHS), st.booleans() | st.builds(Until, epochs=st.integers(1, 6)), max_size=6)
RATES = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([1e-3, 1.0]) | st.builds(Rate, lr=st.just(0.5)), max_size=6)
EPOCHS = 4


@settings(deadline=None)
@given(freeze=FREEZES, rates=RATES)
def test_every_parameter_is_owned_once_and_by_the_most_specific_key(
    freeze: dict[str, bool | Until], rates: dict[str, float | Rate]
) -> None:
    divided = divide(PARAMETERS, ORDER, freeze, rates, epochs=EPOCHS)
    assert [owned.parameter for owned in divided.parameters] == PARAMETERS
    for owned in divided.parameters:
        name = owned.parameter.name
        assert owned.group == said_by_the_rules(rates, name)
        key = said_by_the_rules(freeze, name)
        value = freeze[key] if key is not None else False
        if isinstance(value, Until):
            assert owned.trains_from == (value.epochs if value.epochs < EPOCHS else None)
        else:
            assert owned.trains_from == (None if value else 0)


@settings(deadline=None)
@given(freeze=FREEZES, rates=RATES, data=st.data())
def test_the_order_of_keys_never_matters(
    freeze: dict[str, bool | Until], rates: dict[str, float | Rate], data: st.DataObject
) -> None:
    turned_freeze = dict(data.draw(st.permutations(list(freeze.items()))))
    turned_rates = dict(data.draw(st.permutations(list(rates.items()))))
    divided = divide(PARAMETERS, ORDER, freeze, rates, epochs=EPOCHS)
    turned = divide(PARAMETERS, ORDER, turned_freeze, turned_rates, epochs=EPOCHS)
    assert divided.parameters == turned.parameters
    assert sorted(divided.unused) == sorted(turned.unused)


@settings(deadline=None)
@given(base=FREEZES, arm=st.none() | FREEZES)
def test_an_arm_replaces_a_map_whole_or_keeps_it(base: dict[str, bool | Until], arm: dict[str, bool | Until] | None) -> None:
    def toml(freeze: Mapping[str, bool | Until]) -> dict[str, Any]:
        return {key: {"epochs": value.epochs} if isinstance(value, Until) else value for key, value in freeze.items()}

    tables: dict[str, Any] = {
        "format": 1, "name": "x", "backbone": {"name": "toy", "weights": "none"}, "data": {"name": "synthetic"},
        "freeze": toml(base), "arms": {"a": {} if arm is None else {"freeze": toml(arm)}, "b": {}},
    }  # fmt: skip
    arms = parsing.build(tables, where="r.toml").arms
    assert arms["a"].freeze == (base if arm is None else arm)
    assert arms["b"].freeze == base


@pytest.mark.parametrize(
    ("keys", "name", "winner"),
    [
        (["features.1"], "features.1.weight", "features.1"),
        (["features.1"], "features.10.weight", None),
        (["layer1.0"], "layer1.1.conv1.weight", None),
        (["conv"], "conv1.weight", None),
        (["backbone", "layer1"], "layer1.0.bn1.weight", "layer1"),
        (["backbone", "layer1", "layer1.0"], "layer1.0.bn1.weight", "layer1.0"),
        (["layer1.0.conv1", "layer1.0"], "layer1.0.conv1.weight", "layer1.0.conv1"),
        (["layer1.0.conv1", "layer1.0"], "layer1.0.bn1.weight", "layer1.0"),
        (["layer1.0.conv1.weight", "layer1.0.conv1"], "layer1.0.conv1.weight", "layer1.0.conv1.weight"),
        (["stem", "conv1"], "conv1.weight", "conv1"),
        (["backbone"], "head.0.weight", None),
        (["backbone", "head"], "head.2.weight", "head"),
        (["head", "head.0"], "head.0.bias", "head.0"),
        (["head", "head.0"], "head.2.weight", "head"),
        ([], "conv1.weight", None),
    ],
)
def test_most_specific_key_wins(keys: list[str], name: str, winner: str | None) -> None:
    for order in itertools.permutations(keys):
        assert maps.winner(order, Parameter(name, NAMES[name]), ORDER) == winner


def test_stage_wins_over_backbone_whatever_it_is_called() -> None:
    assert maps.winner(["backbone", "a"], Parameter("conv.weight", "a"), ["a"]) == "a"
    assert maps.winner(["a", "a.0"], Parameter("a.0.weight", "b"), ["a", "b"]) == "a.0"  # the stage a has none of it


@pytest.mark.parametrize("beside", [Parameter("aux1.fc.weight", "head.aux"), Parameter("head.domain.weight", "head.domain")])
def test_key_head_covers_what_stands_beside_it_unless_that_has_a_key_of_its_own(beside: Parameter) -> None:
    own, module = beside.stage, beside.name.removesuffix(".weight")
    for keys, key in (
        (["backbone", "head"], "head"),
        (["head", own], own),
        ([own, "backbone"], own),
        (["backbone", "stem", {"head.aux": "head.domain", "head.domain": "head.aux"}[own]], None),
        (["head", own, "aux1.fc" if own == "head.aux" else "head.domain.weight"], module if own == "head.aux" else beside.name),
    ):
        assert maps.winner(keys, beside, ORDER) == maps.winner(keys[::-1], beside, ORDER) == key
    assert maps.winner([own], Parameter("head.0.weight", "head"), ORDER) is None


def test_auxiliary_classifier_begins_with_the_first_stage_that_it_reads_from() -> None:
    aux = [Parameter(f"aux{number}.fc.weight", "head.aux") for number in range(4)]
    depths = {"aux0": 1, "aux1": 2, "aux2": 3}

    def begins(**freeze: bool | Until) -> list[int | None]:
        keys = {key.replace("_", "."): value for key, value in freeze.items()}
        divided = divide([*PARAMETERS, *aux], ORDER, keys, {}, epochs=9, aux_depths=depths)
        assert [owned.parameter for owned in divided.parameters] == [*PARAMETERS, *aux]
        assert {owned.trains_from for owned in divided.parameters if owned.parameter.stage == "head"} == {0}
        return [owned.trains_from for owned in divided.parameters if owned.parameter.stage == "head.aux"]

    thawed: dict[str, bool | Until] = {"stem": True, "features": Until(epochs=4), "layer1": Until(epochs=2)}
    assert begins() == [0, 0, 0, None]  # the last one reads from no stage
    assert begins(**thawed) == [None, 4, 2, None]
    assert begins(**thawed, head_aux=Until(epochs=3)) == [None, 4, 3, None]
    assert begins(**thawed, head_aux=True) == [None, None, None, None]


def test_frozen_says_whether_and_the_rate_how_fast_and_neither_implies_the_other() -> None:
    divided = divide(PARAMETERS, ORDER, {"stem": True}, {"backbone": 1.0}, epochs=2)
    stem = [owned for owned in divided.parameters if owned.parameter.stage == "stem"]
    head = [owned for owned in divided.parameters if owned.parameter.stage == "head"]
    assert {(owned.trains_from, owned.group) for owned in stem} == {(None, "backbone")}
    assert {(owned.trains_from, owned.group) for owned in head} == {(0, None)}


def test_false_thaws_what_a_broader_key_froze() -> None:
    divided = divide(PARAMETERS, ORDER, {"backbone": True, "layer1": False, "layer1.0": Until(epochs=1)}, {}, epochs=2)
    trains = {owned.parameter.name: owned.trains_from for owned in divided.parameters}
    assert trains["bn1.bias"] is None
    assert trains["layer1.1.conv1.weight"] == 0
    assert trains["layer1.0.bn1.weight"] == 1


def test_phases_change_at_the_epochs_of_the_freeze_map_alone() -> None:
    freeze = {"stem": Until(epochs=3), "features": Until(epochs=1), "layer1": Until(epochs=9), "head": Until(epochs=3)}
    assert divide(PARAMETERS, ORDER, freeze, {}, epochs=9).boundaries() == (0, 1, 3)
    assert divide(PARAMETERS, ORDER, {"stem": True}, {}, epochs=9).boundaries() == (0,)


def said(freeze: Mapping[str, bool | Until], rates: Mapping[str, float | Rate], epochs: int = 4) -> list[str]:
    divided = divide(PARAMETERS, ORDER, freeze, rates, epochs=epochs)
    return [str(each) for each in maps.problems(divided, stages=ORDER, freeze=freeze, rates=rates, backbone="net")]


def said_of(
    parameters: Sequence[Parameter],
    stages: Sequence[str],
    freeze: Mapping[str, bool | Until],
    rates: Mapping[str, float | Rate],
    *,
    epochs: int = 4,
    tensors: bool = True,
) -> list[str]:
    divided = divide(parameters, stages, freeze, rates, epochs=epochs, aux_depths={"aux1": 1})
    found = maps.problems(divided, stages=stages, freeze=freeze, rates=rates, backbone="net", tensors=tensors)
    return [str(each) for each in found]


def test_right_maps_have_no_problem() -> None:
    assert said({"stem": True}, {"features": 1.0, "layer1": 1.0, "head": 1.0}) == []


STEM_ALONE = (
    "lr_groups: stem trains but has no rate (3 tensors).\n"
    "  give it one, lr_groups.stem = 1e-3, or freeze it, freeze.stem = true"
)
SEVERAL = (
    "lr_groups: stem, features, layer1 train but have no rate (8 tensors).\n"
    "  give them one, lr_groups.backbone = 1e-3\n"
    "  or freeze them, freeze.stem = true, freeze.features = true, freeze.layer1 = true"
)
BACKBONE_ALONE = (
    "lr_groups: backbone trains but has no rate (10 tensors).\n"
    "  give it one, lr_groups.backbone = 1e-3, or freeze it, freeze.backbone = true"
)
BACKBONE_AND_HEAD = (
    "lr_groups: backbone, head train but have no rate (13 tensors).\n"
    "  give them one, lr_groups.backbone = 1e-3 and lr_groups.head = 1e-3\n"
    "  or freeze them, freeze.backbone = true, freeze.head = true"
)


@pytest.mark.parametrize(
    ("freeze", "rates", "expected"),
    [
        ({}, {"features": 1.0, "layer1": 1.0, "head": 1.0}, STEM_ALONE),
        ({"features": Until(epochs=1)}, {"layer1.0": 1.0, "head": 1.0}, SEVERAL),
        ({}, {"head": 1.0}, BACKBONE_ALONE),
        ({}, {"head.0": 1.0, "head.2": 1.0}, BACKBONE_ALONE),
        ({}, {}, BACKBONE_AND_HEAD),
    ],
)
def test_what_trains_without_a_rate_is_said_once_with_its_tensors(
    freeze: dict[str, bool | Until], rates: dict[str, float | Rate], expected: str
) -> None:
    assert said(freeze, rates) == [expected]


def test_a_backbone_of_one_stage_is_called_by_the_name_of_the_stage() -> None:
    parameters = [Parameter("conv1.weight", "trunk"), Parameter("head.weight", "head")]
    (found,) = said_of(parameters, ["trunk"], {}, {"head": 1.0})
    assert found.startswith("lr_groups: trunk trains but has no rate (1 tensor).")
    (found,) = said_of([Parameter("conv2.weight", "top"), *parameters], ["trunk", "top"], {}, {"head": 1.0})
    assert found.startswith("lr_groups: backbone trains but has no rate (2 tensors).")


def test_parts_beside_the_head_without_a_rate_are_said_with_keys_that_toml_takes() -> None:
    aux, domain = Parameter("aux1.fc.weight", "head.aux"), Parameter("head.domain.weight", "head.domain")
    assert said_of([*PARAMETERS, aux, domain], ORDER, {}, {"backbone": 1.0}) == [
        "lr_groups: head, head.aux, head.domain train but have no rate (5 tensors).\n"
        '  give them one, lr_groups.head = 1e-3 and lr_groups."head.aux" = 1e-3 and lr_groups."head.domain" = 1e-3\n'
        '  or freeze them, freeze.head = true, freeze."head.aux" = true, freeze."head.domain" = true'
    ]
    assert said_of([*PARAMETERS, aux], ORDER, {}, {"backbone": 1.0, "head.0": 1.0, "head.2": 1.0}) == [
        "lr_groups: head.aux trains but has no rate (1 tensor).\n"
        '  give it one, lr_groups."head.aux" = 1e-3, or freeze it, freeze."head.aux" = true'
    ]


def test_keys_of_another_backbones_stages_are_said_once() -> None:
    rates = {"layer9": 1.0, "fc": 1.0, "backbone": 1.0, "head": 1.0}
    assert said({"layer7": True}, rates) == [
        "freeze.layer7, lr_groups.layer9, lr_groups.fc: net has no stages of these names.\n"
        "  stages: stem, features, layer1\n"
        "  the key backbone covers all of them"
    ]
    assert len(said({"layer7": True}, {key: rates[key] for key in ("fc", "backbone", "head")})) == 2, "two are said one by one"
    assert len(said({"layer7": True, "a.b": True}, rates)) == 4, "a module path says nothing of another backbone"


def test_path_above_several_stages_is_refused() -> None:
    parameters = [Parameter("blocks.0.weight", "early"), Parameter("blocks.1.weight", "late"), Parameter("head.weight", "head")]
    assert said_of(parameters, ["early", "late"], {"blocks": True}, {"head": 1.0}) == [
        "freeze.blocks: covers several stages: early, late.\n  give each stage a key of its own"
    ]
    beside = [Parameter("conv.weight", "early"), Parameter("head.weight", "head"), Parameter("aux1.weight", "head.aux")]
    assert said_of(beside, ["early"], {"head": Until(epochs=1)}, {"backbone": 1.0, "head": 1.0}) == []


def test_what_never_trains_needs_no_rate() -> None:
    assert said({"backbone": True, "layer1": Until(epochs=4)}, {"head": 1.0}, epochs=4) == []
    assert len(said({"backbone": True, "layer1": Until(epochs=4)}, {"head": 1.0}, epochs=5)) == 1


LISTED = "stages: stem, features, layer1"


@pytest.mark.parametrize("table", ["freeze", "lr_groups"])
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("layr1", ['layr1: net has no stage "layr1".', LISTED, 'did you mean "layer1"?']),
        ("features.2", ['"features.2": owns no parameter of net.', LISTED, 'did you mean "features.1"?']),
        ("layer1.0.conv2", ['"layer1.0.conv2": owns no parameter of net.', LISTED, 'did you mean "layer1.0.conv1"?']),
        ("conv1.", ['"conv1.": owns no parameter of net.', LISTED, 'did you mean "conv1"?']),
        ("haed", ['haed: net has no stage "haed".', LISTED, 'did you mean "head"?']),
        ("backbon", ['backbon: net has no stage "backbon".', LISTED, 'did you mean "backbone"?']),
        ("zzz", ['zzz: net has no stage "zzz".', LISTED]),
        ("", ['"": net has no stage "".', LISTED]),
    ],
)
def test_key_that_owns_no_parameter_is_said_with_the_nearest(table: str, key: str, expected: list[str]) -> None:
    rates: dict[str, float | Rate] = {"backbone": 1.0, "head": 1.0}
    (found,) = said({key: True}, rates) if table == "freeze" else said({}, rates | {key: 1.0})
    assert found == f"{table}." + "\n  ".join(expected)


def test_what_stands_beside_the_head_is_offered_where_it_is_there() -> None:
    rates: dict[str, float | Rate] = {"backbone": 1.0, "head": 1.0}
    (found,) = said_of([*PARAMETERS, Parameter("aux1.fc.weight", "head.aux")], ORDER, {"head.axu": True}, rates)
    assert found.endswith('did you mean "head.aux"?')
    (without,) = said({"head.axu": True}, rates)
    assert "head.aux" not in without


def test_module_is_offered_as_it_is_called_where_only_names_are_known() -> None:
    rates: dict[str, float | Rate] = {"backbone": 1.0, "head": 1.0, "features.1*": 1.0}
    (found,) = said_of(names_only(STAGES, {}, rates), ORDER, {}, rates, tensors=False)
    assert found.endswith('did you mean "features.1"?')


def test_nothing_to_train_is_said() -> None:
    nothing = "freeze: nothing trains: every part is frozen in every epoch.\n  train the head: freeze.head = false"
    assert said({"backbone": True, "head": Until(epochs=4)}, {}, epochs=4) == [nothing]
    assert said_of([], [], {}, {}) == []


@pytest.mark.parametrize(
    ("freeze", "rates", "line"),
    [
        ({"stem": True}, {"stem": 1.0}, "lr_groups.stem: all of it is frozen"),
        ({"backbone": True}, {"layer1.0": 1.0}, 'lr_groups."layer1.0": all of it is frozen'),
        ({}, {"stem": 1.0, "conv1": 1.0, "bn1": 1.0}, "lr_groups.stem: more specific keys cover all of it"),
        ({"layer1": True, "layer1.0": False, "layer1.1": False}, {}, "freeze.layer1: more specific keys cover all of it"),
    ],
)
def test_what_has_no_effect_is_said(freeze: dict[str, bool | Until], rates: dict[str, float | Rate], line: str) -> None:
    assert divide(PARAMETERS, ORDER, freeze, rates, epochs=4).unused == (line,)


def test_rate_of_what_trains_in_part_is_used() -> None:
    assert divide(PARAMETERS, ORDER, {"layer1.0": True}, {"layer1": 1.0}, epochs=4).unused == ()


def test_rate_of_what_trains_later_is_used() -> None:
    assert divide(PARAMETERS, ORDER, {"stem": Until(epochs=1)}, {"stem": 1.0, "backbone": 1.0}, epochs=2).unused == ()
    never = divide(PARAMETERS, ORDER, {"stem": Until(epochs=4)}, {}, epochs=4)
    assert never.unused == (), "expansion says it, before there is a network"


def test_part_that_more_specific_keys_cover_is_said_even_where_another_map_says_more() -> None:
    rates: dict[str, float | Rate] = {"head": 1.0, "stem": 1.0, "conv1": 1.0, "bn1": 1.0, "layr1": 1.0}
    freeze: dict[str, bool | Until] = {
        "layer1": Until(epochs=4),
        "layer1.0": True,
        "layer1.1": True,
        "head": True,
        "layr2": True,
    }
    assert divide(PARAMETERS, ORDER, freeze, rates, epochs=4).unused == (
        "lr_groups.head: all of it is frozen",
        "lr_groups.stem: more specific keys cover all of it",
        "freeze.layer1: more specific keys cover all of it",
    )


# names only: what `validate` knows without building a network


def test_names_stand_for_each_module_of_a_plugin_and_each_path_below_one() -> None:
    freeze: dict[str, bool | Until] = {"layer1.0": True, "stem": True, "head.aux": True, "nowhere.0": True}
    rates: dict[str, float | Rate] = {"layer1.0": 1.0, "backbone": 1.0, "head.0": 1.0, "aux1.fc": 1.0, "head.domain": 1.0}
    made = names_only(STAGES, freeze, rates, aux_heads=["aux1"], domain=True)
    assert sorted((each.name, each.stage) for each in made) == sorted([
        ("conv1.*", "stem"), ("bn1.*", "stem"), ("features.1.*", "features"), ("features.10.*", "features"), ("layer1.*", "layer1"),
        ("layer1.0.*", "layer1"), ("head.0.*", "head"), ("aux1.fc.*", "head.aux"),
        ("head.*", "head"), ("aux1.*", "head.aux"), ("head.domain.*", "head.domain"),
    ])  # fmt: skip
    assert [each.name for each in made][-3:] == ["head.*", "aux1.*", "head.domain.*"], "the head comes last, as divide wants it"
    assert names_only({"a": ("a",)}, {}, {}) == [Parameter("a.*", "a"), Parameter("head.*", "head")]


def test_module_of_the_library_that_is_called_head_belongs_to_its_stage() -> None:
    stages = {"blocks": ("blocks",), "norm": ("head.norm", "headline")}
    keys: dict[str, bool | Until] = {"head.norm": True, "head.norm.weight": True, "head.normal": True, "headline.0": True}
    made = names_only(stages, keys, {})
    assert {(each.name, each.stage) for each in made} == {
        ("blocks.*", "blocks"), ("head.norm.*", "norm"), ("headline.*", "norm"), ("head.*", "head"),
        ("head.norm.weight.*", "norm"), ("head.normal.*", "head"), ("headline.0.*", "norm"),
    }  # fmt: skip


def test_names_alone_say_no_count_and_nothing_of_a_stage_whose_parts_have_keys() -> None:
    def names_say(rates: dict[str, float | Rate]) -> list[str]:
        return said_of(names_only(STAGES, {}, rates), ORDER, {}, rates, tensors=False)

    assert names_say({"head": 1.0, "stem": 1.0, "features": 1.0, "layer1.0": 1.0}) == []
    assert names_say({"head": 1.0, "stem": 1.0, "layer1.0": 1.0}) == [
        "lr_groups: features trains but has no rate.\n"
        "  give it one, lr_groups.features = 1e-3, or freeze it, freeze.features = true"
    ]
    (layer1,) = names_say({"head": 1.0, "stem": 1.0, "features.1.0": 1.0, "features.10": 1.0})
    assert layer1.startswith("lr_groups: layer1 trains but has no rate.\n")
    (several,) = names_say({"head": 1.0, "stem": 1.0})
    assert several.startswith("lr_groups: features, layer1 train but have no rate.\n")


def verdicts(
    parameters: Sequence[Parameter],
    backbone: Backbone,
    freeze: Mapping[str, bool | Until],
    rates: Mapping[str, float | Rate],
    *,
    real: bool,
) -> set[str]:
    """First lines of the problems, without the counts that only real parameters have."""
    stages = tuple(backbone.stages)
    divided = divide(parameters, stages, freeze, rates, epochs=EPOCHS)
    found = maps.problems(divided, stages=stages, freeze=freeze, rates=rates, backbone="net", tensors=real)
    lines = {each.problem.partition(" (")[0].rstrip(".") for each in found}
    return {one for line in lines for one in _each_part(line)}


def _each_part(line: str) -> list[str]:
    """A line that names several stages without a rate as one line for each."""
    several = line.removesuffix(" train but have no rate")
    if several == line:
        return [line]
    return [f"lr_groups: {part} trains but has no rate" for part in several.removeprefix("lr_groups: ").split(", ")]


def real_parameters(name: str) -> tuple[Backbone, list[Parameter]]:
    """Parameters by torch's own `named_parameters` of the library's network, the classifier as the head."""
    backbone = registry.get(Backbone, name)
    if name == "toy":
        from tlkit_toy_build import ToyNet

        library: Any = ToyNet()
    else:
        import torchvision

        library = getattr(torchvision.models, name)()
    owner = {module: stage for stage, modules in backbone.stages.items() for module in modules}
    parameters = [
        Parameter(full, owner[full.partition(".")[0]]) for full, _ in library.named_parameters() if not full.startswith("fc.")
    ]
    return backbone, [*parameters, Parameter("head.weight", "head"), Parameter("head.bias", "head")]


TOY_KEYS = [
    "backbone",
    "head",
    "stem",
    "block1",
    "block2",
    "conv1",
    "bn1",
    "block1.0",
    "block1.1",
    "block2.0",
    "block2.1",
    "stme",
    "conv",
]


@settings(deadline=None, max_examples=200)
@given(
    freeze=st.dictionaries(st.sampled_from(TOY_KEYS), st.booleans() | st.builds(Until, epochs=st.integers(1, 5)), max_size=5),
    rates=st.dictionaries(st.sampled_from(TOY_KEYS), st.just(1.0), max_size=6),
)
def test_what_names_refuse_the_real_network_refuses_too(
    freeze: dict[str, bool | Until], rates: dict[str, float | Rate]
) -> None:
    """And where no key reaches below a module, the other way round."""
    backbone, parameters = real_parameters("toy")
    real = verdicts(parameters, backbone, freeze, rates, real=True)
    names = verdicts(names_only(backbone.stages, freeze, rates), backbone, freeze, rates, real=False)
    assert names <= real
    if not any("." in key for key in (*freeze, *rates)):
        assert names == real


@pytest.mark.parametrize("name", ["toy", "resnet18"])
@pytest.mark.parametrize(
    ("freeze", "rates"),
    [
        ({}, {}),
        ({}, {"backbone": 1.0, "head": 1.0}),
        ({"stem": True}, {"head": 1.0}),
        ({"conv1": True}, {"bn1": 1.0, "head": 1.0}),
        ({"backbone": True, "head": True}, {}),
        ({"head": True}, {"bn1": 1.0, "bm1": 1.0}),
        ({"stem": Until(epochs=2)}, {"backbone": 1.0}),
    ],
)
def test_names_agree_with_the_real_parameters(
    name: str, freeze: dict[str, bool | Until], rates: dict[str, float | Rate]
) -> None:
    backbone, parameters = real_parameters(name)
    names = verdicts(names_only(backbone.stages, freeze, rates), backbone, freeze, rates, real=False)
    assert names == verdicts(parameters, backbone, freeze, rates, real=True)


@settings(deadline=None)
@given(freeze=FREEZES, rates=RATES)
def test_stand_ins_are_one_of_a_name(freeze: dict[str, bool | Until], rates: dict[str, float | Rate]) -> None:
    stand_ins = names_only(STAGES, freeze, rates)
    assert len({each.name for each in stand_ins}) == len(stand_ins)
    assume(freeze or rates)
    assert {each.stage for each in stand_ins} == {*STAGES, "head"}


def test_many_keys_are_looked_at_once_each_and_told_in_a_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    real = maps.matches
    monkeypatch.setattr(maps, "matches", lambda key, *rest: (looks.append(key), real(key, *rest))[1])
    keys = {f"layer1.k{number}": 0.1 for number in range(300)}
    names = maps.names_only({"stem": ("conv1",), "layer1": ("layer1",)}, {}, keys)
    whole = maps.divide(names, ORDER, {}, keys, epochs=3)
    maps.problems(whole, stages=ORDER, freeze={}, rates=keys, backbone="toy", tensors=False)
    assert len(looks) < 10 * len(keys), "200,000 took hours"
    wrong = maps.problems(whole, stages=ORDER, freeze=dict.fromkeys(map(str, range(300)), True), rates={}, backbone="toy")
    assert "freeze.3, freeze.4 and others: toy has no stages of these names." in str(wrong[0])
