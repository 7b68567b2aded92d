"""Models of timm's through the plugin are timm's own, to the last bit, name and parameter; its plan says where each is cut."""

from __future__ import annotations

import copy
import functools
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from conftest import Cli
from imports import HEAVY, loaded_by
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toy_tensors import tensors

from tlkit import api, files, plugin, testing
from tlkit.engine.evaluate import evaluating
from tlkit.errors import PluginError, RecipeError, WeightsError
from tlkit.network import building, weights
from tlkit.network.network import Network
from tlkit.plugin import HUB, Backbone, Head, registry
from tlkit.recipe import maps
from tlkit.sources.weight_files import Reading

timm = pytest.importorskip("timm", reason="timm, which the plugin is a bridge to, is not installed")
tlkit_timm = pytest.importorskip("tlkit_timm")

CLASSES = 10
NAMES = list(tlkit_timm.timm.names)
# timm's own small models, made for tests: other poolings, tokens and norms.
SMALL = ["test_vit2", "test_vit3", "test_convnext3", "test_efficientnet_gn", "test_nfnet"]
HEAVIER, SLOW = {"swin_tiny_patch4_window7_224", "deit_tiny_patch16_224", "resnetv2_50", "resnet26d"}, pytest.mark.slow
INSIDE = {
    "resnet18": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "resnet26d": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "efficientnet_b0": ["stem", *(f"block{number}" for number in range(7)), "top"],
    "efficientnet_lite0": ["stem", *(f"block{number}" for number in range(7)), "top"],
    "mixnet_s": ["stem", *(f"block{number}" for number in range(6)), "top"],
    "convnext_atto": ["stem", *(f"stage{number}" for number in range(4)), "norm"],
    "convnextv2_femto": ["stem", *(f"stage{number}" for number in range(4)), "norm"],
    "vit_tiny_patch16_224": ["stem", *(f"block{number}" for number in range(12)), "norm"],
    "deit_tiny_patch16_224": ["stem", *(f"block{number}" for number in range(12)), "norm"],
    "swin_tiny_patch4_window7_224": ["stem", *(f"layer{number}" for number in range(4)), "norm"],
}
OTHERS = {"levit_128s", "resnetv2_50", "deit_tiny_distilled_patch16_224"}  # of two classifiers, or of a convolution


def asked(name: str) -> Backbone:
    return registry.get(Backbone, f"timm:{name}")


of = functools.cache(asked)  # half a second each


def filled(name: str, *, classes: int = CLASSES, **more: object) -> nn.Module:
    """timm's own model with random tensors, none of which is zero or one."""
    made: nn.Module = timm.create_model(name, num_classes=classes, **more)
    made.load_state_dict(tensors(made))
    return made.eval()


def built(backbone: Backbone, *, classes: int = CLASSES) -> Network:
    head = registry.get(Head, "linear")
    assert head.options is not None
    return building.build(backbone, head, classes=classes, backbone_options=None, head_options=head.options(), seed=0)


def loaded(name: str, theirs: nn.Module, folder: Path) -> Network:
    """The network that tlkit builds, with the weights of a file of timm's, head included where it is timm's classifier."""
    backbone = of(name)
    mine = built(backbone)
    file = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in theirs.state_dict().items()}, file)
    weights.load_(mine, file, backbone=backbone, name=name)
    if backbone.whole:
        own = weights.import_names(theirs.state_dict(), backbone)
        mine.head.load_state_dict({key: own[f"head.{key}"] for key in mine.head.state_dict()})
    return mine


def pictures(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [*NAMES, *SMALL, "deit_tiny_distilled_patch16_224"])
def test_outputs_are_those_of_timm(name: str, tmp_path: Path) -> None:
    theirs, backbone = filled(name), of(name)
    mine = loaded(name, theirs, tmp_path)
    fixed = theirs.pretrained_cfg.get("fixed_input_size", False)
    x = pictures(backbone.image_size if fixed else max(64, backbone.minimum_size))
    with evaluating(mine), torch.inference_mode():
        expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        features = mine.embed(x)
        assert torch.isfinite(expected).all()
        assert expected.std() > 1e-6
        assert torch.equal(features, expected)
        assert features.shape == (2, backbone.features)
        if backbone.whole:
            assert torch.equal(mine(x), theirs(x))
    assert backbone.whole == (name not in OTHERS)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "test_vit3"])
def test_a_transformer_that_is_cut_takes_other_sizes_as_timm_does(name: str, tmp_path: Path) -> None:
    more = {"strict_img_size": False} if name.startswith("swin") else {"dynamic_img_size": True}
    theirs = filled(name, **more)
    mine, x = loaded(name, theirs, tmp_path), pictures(64)
    with evaluating(mine), torch.inference_mode():
        assert torch.equal(mine(x), theirs(x))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_many_as_timms(name: str) -> None:
    backbone = of(name)
    theirs = timm.create_model(name)
    with torch.device("meta"):
        mine = built(backbone, classes=1000)
    total = sum(parameter.numel() for parameter in theirs.parameters())
    ours = {owned.name: parameter.numel() for owned, parameter in mine.owned()}
    if backbone.whole:
        assert sum(ours.values()) == total
    else:
        left = sum(
            p.numel() for key, p in theirs.named_parameters() if f"{key}.".startswith(tuple(f"{n}." for n in backbone.beyond))
        )
        assert left
        assert sum(count for key, count in ours.items() if key not in ("head.weight", "head.bias")) + left == total


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=SLOW if name in HEAVIER else ()) for name in NAMES), "test_vit3"])
def test_it_keeps_the_contract(name: str) -> None:
    assert list(testing.check_backbone(of(name)))[-2:] == [
        "gives the same output cut after any stage",
        "runs on shapes alone, for plans",
    ]


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224", "regnetx_002", "test_vit3"])
def test_what_is_exported_loads_into_timm(name: str) -> None:
    backbone = of(name)
    mine = built(backbone)
    theirs = timm.create_model(name, num_classes=CLASSES)
    theirs.load_state_dict(weights.export(mine, backbone, linear=True), strict=True)
    assert all(
        torch.equal(mine.tensors()[key], tensor) for key, tensor in weights.import_names(theirs.state_dict(), backbone).items()
    )


@pytest.mark.parametrize("name", INSIDE)
def test_stages_follow_timms_own_groups(name: str) -> None:
    backbone = of(name)
    assert list(backbone.stages) == INSIDE[name]
    theirs = timm.create_model(name)
    with torch.device("meta"):
        mine = built(backbone)
    grouped = timm.models.group_parameters(theirs, theirs.group_matcher(coarse=True))
    group = {key: number for number, keys in grouped.items() for key in keys}
    found: dict[str, set[int]] = {}
    for owned, _ in mine.owned():
        if owned.stage != maps.HEAD:
            found.setdefault(owned.stage, set()).add(group[owned.name])
    assert list(found) == list(backbone.stages), "every stage owns something"
    assert all(len(numbers) == 1 for numbers in found.values())
    numbers = [each for groups in found.values() for each in groups]
    assert numbers == sorted(numbers)


def test_a_model_that_is_not_cut_inside_is_one_stage() -> None:
    for name in set(NAMES) - set(INSIDE):
        assert list(of(name).stages) == ["body"]


@pytest.mark.parametrize(("name", "words"), [("test_resnet", "after every stage"), ("test_byobnet", "before the head only")])
def test_a_plan_says_where_the_model_is_cut(name: str, words: str, run: Cli, toy_recipe: Path) -> None:
    changed = ["--set", f"backbone.name=timm:{name}", "--set", "data.image_size=32"]
    code, output, text = run("plan", toy_recipe, *changed)
    assert code == 0, text
    assert f"chosen     cut: {words} (timm's" in " ".join(output.split(" "))
    code, output, _ = run("plan", toy_recipe, *changed, "--json")
    choices = next(iter(json.loads(output)["arms"].values()))["choices"]
    assert [choice["value"] for choice in choices if choice["what"] == "cut"] == [words]
    assert words in run("show", f"timm:{name}")[1]


def test_a_plan_of_other_backbones_says_nothing_of_cuts(run: Cli, toy_recipe: Path) -> None:
    assert "cut:" not in run("plan", toy_recipe)[1]


def test_validating_a_name_again_imports_neither_torch_nor_timm(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(toy_recipe.parent / "cache"))
    toy_recipe.write_text(toy_recipe.read_text().replace('name = "toy"\nweights', 'name = "timm:resnet18"\nweights'))
    assert "timm:resnet18" in toy_recipe.read_text()
    code = f"""
sys.argv = ["tlkit", "validate", {str(toy_recipe)!r}, "--set", "data.image_size=32", "--set", "freeze.layer1=true"]
from tlkit.cli import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
"""
    assert {"torch", "timm"} <= loaded_by(code, cwd=toy_recipe.parent)
    assert not loaded_by(code, cwd=toy_recipe.parent) & HEAVY


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that timm was asked for."""
    from tlkit_timm import look

    found, names, real = {}, [], look.backbone

    def backbone(name: str) -> Backbone:
        names.append(name)
        if name not in found:
            found[name] = real(name)
        return found[name]

    monkeypatch.setattr(look, "backbone", backbone)
    return names


def test_what_is_remembered_is_what_was_found(looks: list[str]) -> None:
    for name in ("resnet18.a1_in1k", "levit_128s"):
        first = asked(name)
        assert asked(name) == first
    assert looks == ["resnet18.a1_in1k", "levit_128s"]


def test_a_damaged_file_is_as_none_and_is_mended(looks: list[str]) -> None:
    right = asked("test_resnet")
    (file,) = files.cache_folder().rglob("*.json")
    whole = file.read_text()
    for damaged in ("", "[]", "[" * 100_000, '{"value": {}}', whole.replace('"tlkit_timm.build:', '"os:'), whole[:-40]):
        file.write_text(damaged)
        assert asked("test_resnet") == right
        assert file.read_text() == whole
    assert looks == ["test_resnet"] * 7


def test_another_version_of_timm_is_asked_again(looks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked("test_resnet")
    monkeypatch.setattr(metadata, "version", lambda name: "2.0")
    asked("test_resnet")
    assert len(looks) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(
    looks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file"))
    assert asked("test_resnet") == asked("test_resnet")
    assert len(looks) == 2


def test_clearing_the_cache_forgets_what_timm_said(run: Cli) -> None:
    asked("test_resnet")
    assert list(files.cache_folder().rglob("*.json"))
    assert run("cache", "clear")[0] == 0
    assert not list(files.cache_folder().rglob("*.json"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet81", ['there is no model "resnet81"', 'did you mean "resnet']),
        ("resnet18.a9_in1k", ['no trained weights "a9_in1k"', "a1_in1k", "did you mean"]),
        ("tf_efficientnet_b0_ap", ["any more", "timm:tf_efficientnet_b0"]),
        ("../resnet18", ["there is no model"]),
        ("hf-hub:timm/resnet18", ["there is no model"]),
        ("", ["there is no model"]),
    ],
)
def test_an_unknown_name_is_told_what_there_is(name: str, words: list[str]) -> None:
    with pytest.raises(PluginError) as caught:
        asked(name)
    for word in words:
        assert word in str(caught.value)


def test_without_timm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(PluginError, match=r'pip install "tlkit\[timm\]"'):
        asked("resnet18")


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "densenet121", "vit_tiny_patch16_224", "regnetx_002"])
def test_trained_weights_are_timms_files(name: str) -> None:
    found, known = of(name), timm.models.get_arch_pretrained_cfgs(name)
    assert [f"{name}.{tag}" for tag in found.weights] == list(known)
    for tag, offered in found.weights.items():
        full, cfg = f"{name}.{tag}", known[f"{name}.{tag}"]
        if cfg.url.endswith(".pth") and "-" in cfg.url.rpartition("/")[2]:  # its name tells its checksum
            assert offered.source.url == cfg.url
            assert cfg.url.endswith(f"-{offered.source.checksum.removeprefix('sha256:')}.pth")
        else:
            assert offered.source.url == f"https://huggingface.co/timm/{full}/resolve/main/model.safetensors"
            assert (offered.source.checksum, offered.source.filename) == (HUB, f"{full}.safetensors")
        assert (offered.input.mean, offered.input.std) == (cfg.mean, cfg.std)
        assert (offered.input.resize, offered.input.crop) == (cfg.interpolation, cfg.crop_pct)
        assert (offered.input.channels, offered.input.range) == ("rgb", 1.0)
        assert offered.classes == cfg.num_classes
        assert list(of(full).weights) == [tag]


def test_both_kinds_of_addresses_are_there() -> None:
    checksums = [each.source.checksum for name in ("resnet18", "vit_tiny_patch16_224") for each in of(name).weights.values()]
    assert HUB in checksums
    assert any(each.startswith("sha256:") for each in checksums)


def test_weights_in_repositories_of_others_are_not_offered() -> None:
    """Their files have names of their own: apple/mobileclip_s0_timm."""
    assert list(timm.models.get_arch_pretrained_cfgs("fastvit_mci0")) == [
        "fastvit_mci0.apple_mclip", "fastvit_mci0.apple_mclip2_dfndr2b"
    ]  # fmt: skip
    assert list(of("fastvit_mci0").weights) == ["apple_mclip2_dfndr2b"]


def test_a_tag_decides_on_pixels_and_size() -> None:
    plain, tagged = of("efficientnet_b0"), of("efficientnet_b0.ra4_e3600_r224_in1k")
    assert tagged.input.mean == (0.5, 0.5, 0.5)
    assert tagged.input == of("efficientnet_b0.ra4_e3600_r224_in1k").input != plain.input
    assert tagged.stages == plain.stages


def test_a_published_file_is_read_by_timms_own_loader() -> None:
    rename = of("deit_tiny_patch16_224.fb_in1k").weights["fb_in1k"].rename
    own = timm.create_model("deit_tiny_patch16_224").state_dict()
    old = own | {"pre_logits.fc.weight": torch.zeros(192, 192)}  # of ViT's first code; timm leaves it out
    state = torch.get_rng_state()
    found = plugin.call(rename, old)
    assert isinstance(found, dict)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(WeightsError, match="timm cannot load these weights"):
        plugin.call(rename, {"fc.weight": torch.zeros(3)})


@pytest.mark.parametrize("name", [*INSIDE, "levit_128s", "densenet121", "ghostnet_050"])
def test_every_dropout_is_timms(name: str) -> None:
    """Module by module, and the one that timm's forward_head has as code: it stays in a body, or is the head's."""
    with torch.device("meta"):
        theirs, mine = timm.create_model(name), built(of(name))
    expected, found = (
        {key: each.p for module in modules for key, each in module.named_modules() if isinstance(each, nn.Dropout)}
        for modules in ([theirs], mine.stages.values())
    )
    assert {key: p for key, p in expected.items() if p or key in found} == found
    kept = mine.stages["body"].drop_rate if "body" in mine.stages and hasattr(theirs, "drop_rate") else 0.0
    assert getattr(theirs, "drop_rate", 0.0) == kept + of(name).dropout


def test_a_model_of_another_dropout_tells_it_to_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    from tlkit_timm import cuts

    for name in ("test_resnet", "test_efficientnet"):
        with torch.device("meta"):
            assert cuts.cut(timm.create_model(name, drop_rate=0.3)).dropout == 0.3


@pytest.mark.parametrize("classes", [1000, 7])
def test_older_names_are_known_in_a_file_of_the_users(tmp_path: Path, classes: int) -> None:
    """ConvNeXt as its authors named it, trained on as many classes as the file says."""
    own = filled("convnext_atto", classes=classes).state_dict()
    authors = {
        r"^stem\.": "downsample_layers.0.",
        r"\.blocks\.": ".",
        r"^stages\.(\d)\.downsample": r"downsample_layers.\1",
        "conv_dw": "dwconv",
        r"mlp\.fc": "pwconv",
        r"^head\.norm": "norm",
        r"^head\.fc": "head",
    }
    old = {functools.reduce(lambda key, pair: re.sub(*pair, key), authors.items(), key): own[key] for key in own}
    assert {"downsample_layers.1.0.weight", "stages.0.1.dwconv.weight", "norm.weight", "head.bias"} < old.keys()
    torch.save({"model": old}, tmp_path / "a.pth")
    mine = built(of("convnext_atto"))
    (note,) = weights.load_(mine, tmp_path / "a.pth", backbone=of("convnext_atto"), name="timm:convnext_atto")
    assert "were brought to these" in note
    assert all(torch.equal(mine.tensors()[key], own[key]) for key in own if not key.startswith("head.fc"))


def test_a_file_of_older_names_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    """timm's loader is asked to load strictly, whatever the number of classes."""
    own = filled("convnext_atto", classes=7).state_dict()
    old = {key.replace("conv_dw", "dwconv"): own[key] for key in own if key != "stages.0.blocks.0.conv_dw.weight"}
    torch.save(old, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"missing: stages\.0\.blocks\.0\.conv_dw\.weight"):
        weights.load_(built(of("convnext_atto")), tmp_path / "a.pth", backbone=of("convnext_atto"), name="timm:convnext_atto")


def test_trained_weights_of_a_file_answer_as_in_the_network_that_they_came_from(tmp_path: Path) -> None:
    """The ImageNet weights that the plugin tlkit-efficientnet-lite brings, in timm's network of that name."""
    sibling = pytest.importorskip(
        "tlkit_efficientnet_lite", reason="tlkit-efficientnet-lite, which brings weights, is not installed"
    )
    other = sibling.efficientnet_lite0
    _, distribution, path = other.weights["imagenet"].source.split(":")
    file = Path(str(metadata.distribution(distribution).locate_file(path)))
    theirs, mine = built(other), built(of("tf_efficientnet_lite0"))
    weights.load_(
        theirs, file, backbone=other, name="efficientnet_lite0", reading=Reading(rename=other.weights["imagenet"].rename)
    )
    stages = {key: tensor for key, tensor in theirs.tensors().items() if not key.startswith("head.")}
    save_file(stages, tmp_path / "lite0.safetensors")
    weights.load_(mine, tmp_path / "lite0.safetensors", backbone=of("tf_efficientnet_lite0"), name="timm:tf_efficientnet_lite0")
    x = pictures(96)
    with evaluating(mine), evaluating(theirs), torch.inference_mode():
        assert torch.equal(mine.embed(x), theirs.embed(x))


def test_a_classifier_that_is_no_linear_layer_is_dropped_and_not_written(tmp_path: Path) -> None:
    backbone, theirs = of("levit_128s"), filled("levit_128s")
    assert backbone.beyond == ("head", "head_dist")
    mine = loaded("levit_128s", theirs, tmp_path)
    kept = set(theirs.state_dict()) - {key for key in theirs.state_dict() if key.startswith(("head.", "head_dist."))}
    exported = weights.export(mine, backbone, linear=registry.get(Head, "linear").fits(backbone))
    assert set(exported) == kept | {"head.weight", "head.bias"}
    assert of("resnetv2_50").beyond == ("head.fc",)


def test_biases_that_levit_keeps_in_eval_mode_follow_the_weights() -> None:
    """timm keeps them until train() is called, and tlkit sets the mode of each module by itself."""
    body = built(of("levit_128s")).eval().stages["body"]
    x = pictures(224)
    before = body(x)  # with gradients, after which a module cannot be copied that keeps what it computed
    copy.deepcopy(body)
    with torch.no_grad():
        for name, parameter in body.named_parameters():
            if name.endswith("attention_biases"):
                parameter.copy_(torch.rand_like(parameter) * 10)
        assert not torch.equal(body(x), before)


def test_embeddings_inside_a_transformer_are_means_over_its_tokens(tmp_path: Path) -> None:
    theirs = filled("vit_tiny_patch16_224")
    mine, x = loaded("vit_tiny_patch16_224", theirs, tmp_path), pictures(224)
    with evaluating(mine), torch.inference_mode():
        tokens = theirs.blocks[:4](theirs.patch_drop(theirs._pos_embed(theirs.patch_embed(x))))
        torch.testing.assert_close(mine.embed(x, at="block3"), tokens.mean(1))
        assert mine.embed(x, at="block3", pooled=False).shape == (2, 192, 197, 1)


def test_a_swin_transformers_stages_hand_on_maps(tmp_path: Path) -> None:
    theirs = filled("swin_tiny_patch4_window7_224")
    mine, x = loaded("swin_tiny_patch4_window7_224", theirs, tmp_path), pictures(224)
    with evaluating(mine), torch.inference_mode():
        expected = theirs.layers[:2](theirs.patch_embed(x)).permute(0, 3, 1, 2)
        assert torch.equal(mine.embed(x, at="layer1", pooled=False), expected)


def test_a_norm_that_timm_calls_head_is_the_stages(run: Cli, toy_recipe: Path) -> None:
    backbone = of("test_convnext")
    assert backbone.stages["norm"] == ("head.norm",)
    assert backbone.owns("head.norm.weight")
    assert not backbone.owns("head.weight")
    settings = [
        "backbone.name=timm:test_convnext",
        "data.image_size=32",
        'lr_groups={backbone=1e-3, head=1e-2, "head.norm"=1e-4}',
    ]
    for verb in ("validate", "plan"):
        code, _, text = run(verb, toy_recipe, *(part for each in settings for part in ("--set", each)))
        assert code == 0, text


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_byobnet"])
def test_a_run_trains_it_and_timm_reads_what_it_wrote(name: str, run: Cli, toy_recipe: Path) -> None:
    """The backbone is frozen at first, so that its output is stored and its BatchNorm, where it has one, folded."""
    settings = [f"backbone.name=timm:{name}", "data.image_size=32", "freeze.backbone.epochs=1"]
    code, _, text = run("apply", toy_recipe, *(part for each in settings for part in ("--set", each)))
    assert code == 0, text
    (file,) = toy_recipe.parent.rglob("weights.safetensors")
    assert tomllib.loads((file.parent / "recipe.toml").read_text())["backbone"]["name"] == f"timm:{name}"
    more = {"dynamic_img_size": True} if name == "test_vit" else {}
    theirs = timm.create_model(name, num_classes=4, **more)
    theirs.load_state_dict(load_file(file), strict=True)
    assert torch.isfinite(theirs.eval()(pictures(32))).all()


def test_a_model_of_one_size_says_so_of_any_other(toy_recipe: Path) -> None:
    levit = ["backbone.name=timm:levit_128s", "backbone.weights=none"]
    assert api.plan(toy_recipe, [*levit, "data.image_size=224"])["main"].image_size == (224, 224)
    for size in ("256", "[224, 320]"):
        with pytest.raises(RecipeError) as caught:
            api.plan(toy_recipe, [*levit, f"data.image_size={size}"])
        assert f"data.image_size: is {size}; timm:levit_128s takes only squares of 224 pixels" in str(caught.value)
        assert ('data.fit = "pad"' in str(caught.value)) == size.startswith("[")


def test_a_transformer_that_takes_other_sizes_takes_rectangles(toy_recipe: Path) -> None:
    settings = ["backbone.name=timm:vit_tiny_patch16_224", "backbone.weights=none"]
    assert api.plan(toy_recipe, [*settings, "data.image_size=[32, 64]"])["main"].image_size == (32, 64)
    with pytest.raises(PluginError, match="images of 40x64 px do not pass through stage stem"):
        api.plan(toy_recipe, [*settings, "data.image_size=[40, 64]"])
