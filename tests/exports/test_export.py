"""What is exported is read by the library that it is for, and gives the probabilities of `predict`."""

import importlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import toy_runs
from conftest import TOY_RECIPE, Cli
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from scipy.stats import binomtest
from tlkit_toy_build import ToyNet
from torch import nn

import tlkit
from tlkit import tasks
from tlkit.engine.images import decode
from tlkit.engine.images.normalisation import normalise
from tlkit.errors import RunFolderError, TlkitError
from tlkit.exports import finished_run, graph, library_files, model_card, onnx_file, quantization, torch_file
from tlkit.exports.forms import Form
from tlkit.model.model import Model
from tlkit.record import statistics
from tlkit.reports.page import runs
from tlkit.run import loading

CLOSE = 1e-4
SIZES = ((1, 30, 41), (3, 17, 90), (2, 120, 22), (1, 16, 16))  # pictures, height, width; one is more than twice as tall as wide


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the toy recipe, with a crop; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    with toy_runs.applied(folder, TOY_RECIPE.replace("image_size = 16", "image_size = 16\ncrop = 0.8")) as done:
        return done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's file of torch.export, with its card beside it; tests only read it."""
    return tlkit.export(finished, "torch-export", tmp_path_factory.mktemp("exported") / "net.pt2").file


def pictures(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def predicted(folder: Path, images: np.ndarray) -> np.ndarray:
    return loading.load(folder, arm=None, device=torch.device("cpu")).predict(images)


def saved(folder: Path, name: str = "toy", **more: object) -> Path:
    """A model that was not trained, as a folder."""
    options = {"weights": "none", "classes": ["ant", "bee", "cat"], "image_size": 32, "device": "cpu"} | more
    Model(name, **options).save(folder / "saved")
    return folder / "saved"


# ---- weights


def test_safetensors_hold_the_librarys_tensors_class_names_and_preprocessing(finished: Path, run: Cli) -> None:
    code, out, _ = run("export", finished, "--to", "safetensors")
    assert code == 0
    file = Path("exported") / finished.name / "safetensors" / "model.safetensors"
    assert out.split() == ["safetensors:", str(file), "model", "card:", str(file.parent / "README.md")]
    network = ToyNet(4)
    network.load_state_dict(load_file(file))
    with safe_open(file, framework="pt") as opened:
        known = opened.metadata()
    assert json.loads(known["classes"]) == ["class0", "class1", "class2", "class3"]
    told = json.loads(known["preprocessing"])
    assert (told["image_size"], told["resized"], told["mean"]) == ([16, 16], [20, 20], [0.5] * 3)
    x = pictures(5, 16, 16)
    with torch.no_grad():
        found = torch.softmax(network.eval()((torch.from_numpy(x).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5), 1)
    mine = loading.load(finished, arm=None, device=torch.device("cpu"))
    expected = torch.softmax(mine.network(normalise(torch.from_numpy(x), mine.convention)), 1)
    assert torch.allclose(found, expected, atol=CLOSE)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_torchvisions_own_network_loads_its_file_and_answers_the_same(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, name, image_size=64, head="conv" if name == "squeezenet1_1" else "linear")
    made = tlkit.export(folder, "torchvision", tmp_path / "out" / "net.safetensors")
    code = made.card.read_text().partition("```python\n")[2].partition("```")[0]
    (call,) = [line for line in code.splitlines() if line.startswith("network = ")]
    network = eval(call.removeprefix("network = "), {"torchvision": torchvision})
    network.load_state_dict(load_file(made.file))
    mine = loading.load(folder, arm=None, device=torch.device("cpu"))
    x = normalise(torch.from_numpy(pictures(2, 64, 64)), mine.convention)
    with torch.no_grad():
        assert torch.allclose(network.eval()(x), mine.network(x), atol=CLOSE)


def test_timms_own_network_loads_its_file_and_answers_the_same(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    folder = saved(tmp_path, "timm:test_resnet", image_size=64)
    made = tlkit.export(folder, "timm", tmp_path / "out" / "net.safetensors")
    network = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(made.file))
    mine = loading.load(folder, arm=None, device=torch.device("cpu"))
    x = normalise(torch.from_numpy(pictures(2, 64, 64)), mine.convention)
    with torch.no_grad():
        assert torch.allclose(network.eval()(x), mine.network(x), atol=CLOSE)
    known = json.loads((made.file.parent / "config.json").read_text())
    assert known["architecture"] == "test_resnet"
    assert known["label_names"] == ["ant", "bee", "cat"]
    assert known["pretrained_cfg"]["input_size"] == [3, 64, 64]


# ---- graphs


def test_a_file_of_torch_export_answers_as_predict_for_pictures_of_any_size(finished: Path, exported: Path) -> None:
    extra = {"classes.json": ""}
    network = torch.export.load(exported, extra_files=extra).module()
    assert json.loads(extra["classes.json"]) == ["class0", "class1", "class2", "class3"]
    assert json.loads(extra["preprocessing.json"])["image_size"] == [16, 16]
    assert (extra["task.txt"], "threshold.json" in extra) == ("single_label", False)
    assert extra["input.txt"] == "pictures (N, H, W, 3) uint8 RGB, of any size, upright"
    for size in SIZES:
        x = pictures(*size)
        with torch.no_grad():
            assert np.abs(network(torch.from_numpy(x)).numpy() - predicted(finished, x)).max() < CLOSE


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_a_graph_has_every_fit_and_other_orders_of_channels(fit: str, finished: Path) -> None:
    run = finished_run.load(finished)
    geometry = replace(run.predictor.geometry, fit=fit, resized=(16, 16), padding=(9, 99, 199) if fit == "pad" else None)
    convention = replace(
        run.predictor.convention, channels="bgr", range=255.0, mean=(99.0, 110.0, 120.0), std=(60.0, 50.0, 40.0)
    )
    run = replace(run, predictor=replace(run.predictor, geometry=geometry, convention=convention))
    network = graph.program(run).module()
    for size in SIZES:
        x = pictures(*size)
        with torch.no_grad():
            assert np.abs(network(torch.from_numpy(x)).numpy() - run.predictor.predict(x)).max() < CLOSE


def test_a_file_of_torch_export_holds_no_pickle(exported: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        begins = {name: archive.read(name)[:2] for name in archive.namelist()}
    assert not [name for name, two in begins.items() if two[:1] == b"\x80" or two == b"PK"]


def test_onnx_answers_as_predict_for_pictures_of_any_size(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    made = tlkit.export(finished, "onnx", tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(made.file)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == [f"class{index}" for index in range(4)]
    for size in SIZES:
        x = pictures(*size)
        (found,) = session.run(None, {"pictures": x})
        assert np.abs(found - predicted(finished, x)).max() < CLOSE


def test_a_multilabel_head_gives_each_class_its_own_probability(tmp_path: Path) -> None:
    folder = saved(tmp_path, head="multilabel")
    run = finished_run.load(folder)
    network = graph.program(run).module()
    x = pictures(2, 40, 50)
    with torch.no_grad():
        found = network(torch.from_numpy(x)).numpy()
    assert np.abs(found - predicted(folder, x)).max() < CLOSE
    assert not np.allclose(found.sum(1), 1)
    card = model_card.write(tmp_path / "m.pt2", run, Form.TORCH_EXPORT).read_text()
    (line,) = [each for each in card.splitlines() if each.startswith("print(")]
    classes, printed = run.predictor.classes, []
    exec(line, {"classes": classes, "probabilities": found, "print": printed.append})
    assert printed == [[name for name, each in zip(classes, found[0].tolist(), strict=True) if each >= 0.5]]
    assert (run.metadata["threshold"], "whose probability is 0.5 or more" in card) == ("0.5", True)


@pytest.mark.slow
def test_int8_is_smaller_and_its_accuracy_is_told_beside_that_of_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    recipe = tmp_path / "toy.toml"
    recipe.write_text(TOY_RECIPE.replace("[lr_groups]", "[data.split]\nvalidation = 0.25\n\n[lr_groups]"))
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    done = tlkit.apply(recipe, runs=tmp_path / "runs")
    folder = done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]
    said: list[str] = []
    made = tlkit.export(folder, "onnx", tmp_path / "out" / "net.onnx", quantize="int8", note=said.append)
    validation = json.loads((folder / "result.json").read_text())["validation"]["accuracy"]
    (line,) = [line for line in said if "int8" in line]
    assert line.startswith("accuracy on 20 validation images: ")
    assert line.endswith(f"{validation:.1%} as float32")
    assert line in made.card.read_text()
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(made.file).graph.node}  # folded into convolutions
    x = pictures(2, 40, 50)
    (found,) = onnxruntime.InferenceSession(made.file).run(None, {"pictures": x})
    assert 0 < np.abs(found - predicted(folder, x)).max() < 0.1
    with pytest.raises(TlkitError, match="is for --to onnx"):
        tlkit.export(folder, "timm", quantize="int8")


@pytest.mark.parametrize(
    ("lost", "gained", "ruined"),
    [
        (0, 0, False),
        (1, 0, False),
        (9, 9, False),
        (5, 0, False),
        (6, 0, True),
        (30, 2, True),
    ],  # p of (5, 0) is 1/16, of (6, 0) 1/32
)
def test_int8_ruins_a_network_where_it_loses_more_than_chance_explains(lost: int, gained: int, ruined: bool) -> None:
    right = np.repeat([True, False], [80, 20])
    after = right.copy()
    after[:lost], after[80 : 80 + gained] = False, True
    answers = [torch.tensor(np.where(each[:, None], [0.9, 0.1], [0.2, 0.8])) for each in (right, after)]
    text = quantization.comparison(*answers, torch.zeros(100, dtype=torch.long), tasks.get("single_label"))
    assert text.startswith(f"accuracy on 100 validation images: {80 - lost + gained:.1f}% as int8, 80.0% as float32")
    p = binomtest(lost, lost + gained).pvalue if lost + gained else 1
    assert (f"int8 ruins this network: it loses {lost - gained:.1f} points" in text) is ruined
    assert (f"exact McNemar p = {p:.2g}); leave --quantize out" in text) is ruined


# ---- the model card


@pytest.mark.slow
def test_model_card_tells_result_licences_recipe_and_how_to_call_it(finished: Path, exported: Path, tmp_path: Path) -> None:
    card = (exported.parent / "README.md").read_text()
    result = json.loads((finished / "result.json").read_text())
    accuracy = result["test"]["accuracy"]
    interval = statistics.wilson(round(accuracy * 40), 40)
    found = f"95 % interval {interval.low:.1%} to {interval.high:.1%}: Wilson, 40 images, one run"
    assert f"- test images: accuracy {accuracy:.1%} ({found}), loss" in card
    assert "licence of the data set synthetic: none needed: made by tlkit." in card
    assert (finished / "recipe.toml").read_text().strip() in card
    code = card.partition("```python\n")[2].partition("```")[0]
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    Image.fromarray(pictures(1, 30, 40)[0]).save(tmp_path / "picture.jpg", exif=turned)
    (tmp_path / exported.name).symlink_to(exported)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        names: dict[str, torch.Tensor] = {}
        exec(compile(code, "README.md", "exec"), names)
    assert names["probabilities"].shape == (1, 4)
    answered = finished_run.load(finished).predictor.answers([tmp_path / "picture.jpg"])
    np.testing.assert_allclose(names["probabilities"].detach(), list(answered), atol=1e-4)


def test_model_card_has_the_interval_over_seeds_where_there_are_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy = pytest.importorskip("scipy.stats")
    recipe = tmp_path / "toy.toml"
    recipe.write_text(TOY_RECIPE.replace('name = "toy"\n', 'name = "toy"\nseeds = [0, 1, 2]\n', 1))
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    done = tlkit.apply(recipe, runs=tmp_path / "runs")
    seeds = done.result["arms"]["main"]["seeds"]
    own = [run["test"]["accuracy"] for run in seeds.values()]
    card = tlkit.export(done.folder / seeds["1"]["folder"], "safetensors", tmp_path / "net.safetensors").card.read_text()
    low, high = scipy.t.interval(0.95, 2, np.mean(own), scipy.sem(own))
    known = (
        f"mean of 3 runs {np.mean(own):.1%}, 95 % interval {max(low, 0):.1%} to {min(high, 1):.1%}: Student's t over 3 seeds"
    )
    assert f"- test images: accuracy {own[1]:.1%} ({known}), loss" in card
    (
        done.folder / seeds["2"]["folder"] / "plan.json"
    ).unlink()  # without it the arm is not known, and the card has this run alone
    again = tlkit.export(done.folder / seeds["1"]["folder"], "safetensors", tmp_path / "net.safetensors").card.read_text()
    assert f"- test images: accuracy {own[1]:.1%}, loss" in again
    with pytest.raises(RunFolderError, match=r"plan\.json: is missing"):
        runs.read([done.folder / seeds["2"]["folder"]])


def test_files_of_somebody_else_are_not_replaced(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# mine\n")
    with pytest.raises(TlkitError, match=r"README\.md: is no model card"):
        tlkit.export(finished, "safetensors", tmp_path / "net.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "README.md").unlink()
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(TlkitError, match=r"config\.json: is not of an export"):
        tlkit.export(saved(tmp_path, "timm:test_resnet", image_size=64), "timm", tmp_path / "net.safetensors")
    for _ in range(2):  # what an earlier export wrote is
        tlkit.export(finished, "safetensors", tmp_path / "out" / "net.safetensors")


# ---- refusals


@pytest.mark.parametrize(
    ("form", "more", "words"),
    [
        ("torchvision", {}, "not of torchvision"),
        ("torchvision", {"name": "efficientnet_lite0"}, "--to timm or --to safetensors"),
        ("timm", {"name": "resnet18"}, "torchvision.models.resnet18, not of timm"),
        ("torchvision", {"name": "resnet18", "head": "mlp"}, "another classifier than the mlp head"),
        ("torch-export", {"input": {"resize": "nearest"}}, 'the filter "nearest"'),
        ("onx", {}, "did you mean"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(form: str, more: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(TlkitError, match=words):
        tlkit.export(saved(tmp_path, **more), form, tmp_path / "out" / "net")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_images_is_refused_where_none_is_read(finished: Path, run: Cli) -> None:
    code, out, said = run("export", finished, "--to", "onnx", "--data", "images")
    assert (code, out, "--data is for the images of --quantize int8" in said) == (2, "", True)
    with pytest.raises(TlkitError, match='data="images": is for the images of quantize="int8"'):
        tlkit.export(finished, "onnx", data="images")


# ---- real networks

FAMILIES = {
    "alexnet": 64, "resnet18": 64, "densenet121": 64, "efficientnet_lite0": 64, "cifar_resnet20": 32, "lenet5": 32,
    "googlenet": 64, "inception_v3": 128, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "squeezenet1_1": 64,
    "timm:test_vit": 160, "timm:test_convnext": 64,
}  # fmt: skip


def inputs(run: finished_run.FinishedRun, arrays: list[np.ndarray]) -> np.ndarray:
    return np.stack([decode.picture(x[0], run.predictor.geometry) for x in arrays])


def sharpened(run: finished_run.FinishedRun, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Make the probabilities of a network that was not trained tell pictures apart, and return them.

    Its BatchNorm gets the statistics of these pictures: without them the features of deep networks are the same for every picture in
    float32. Then its head is centred and scaled.
    """
    predictor = run.predictor
    for norm in (each for each in predictor.network.modules() if isinstance(each, nn.BatchNorm2d)):
        norm.train().momentum = 1.0  # the statistics of one batch
    with torch.no_grad():
        predictor.network(normalise(torch.from_numpy(inputs(run, arrays)), predictor.convention))
    predictor.network.eval()
    logits = torch.log(torch.from_numpy(np.concatenate([predictor.predict(x) for x in arrays])).double())
    logits -= logits.mean(1, keepdim=True)
    centre = logits.mean(0)
    scale = 0.5 / (logits - centre).std()
    weight, bias = predictor.network.head.parameters()
    with torch.no_grad():
        weight.mul_(scale)
        bias.sub_(centre).mul_(scale)
    return [predictor.predict(x) for x in arrays]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_form_of_a_family_tells_photographs_apart_as_predict_does(
    name: str, tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real photographs, in their own sizes."""
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    head = "conv" if name == "squeezenet1_1" else "linear"
    run = finished_run.load(saved(tmp_path, name, image_size=FAMILIES[name], head=head))
    with tarfile.open(test_data / "hymenoptera.tar") as archive:
        photographs = [archive.extractfile(each) for each in archive if each.name.endswith(".jpg")][::60]
        arrays = [np.array(Image.open(each).convert("RGB"))[None] for each in photographs]
    assert len(arrays) >= 5
    expected = sharpened(run, arrays)
    assert np.ptp(np.concatenate(expected), axis=0).max() > 0.1
    program = graph.program(run)
    monkeypatch.setattr(graph, "program", lambda _: program)  # the same for both forms, and seconds of each family
    session = onnxruntime.InferenceSession(onnx_file.to_bytes(run))
    module = torch.export.load(io.BytesIO(torch_file.to_bytes(run))).module()
    library = run.backbone.library.partition(".")[0]
    for x, wanted in zip(arrays, expected, strict=True):
        assert np.abs(session.run(None, {"pictures": x})[0] - wanted).max() < CLOSE
        with torch.no_grad():
            assert np.abs(module(torch.from_numpy(x)).numpy() - wanted).max() < CLOSE
    if library in ("torchvision", "timm") and run.head.fits(run.backbone):
        (path, chunks), *_ = library_files.contents(tmp_path / "net.safetensors", run, Form(library)).items()
        path.write_bytes(b"".join(chunks))
        network = eval(library_files.call(run), {library: importlib.import_module(library)})
        network.load_state_dict(load_file(path))
        with torch.no_grad():
            logits = network.eval()(normalise(torch.from_numpy(inputs(run, arrays)), run.predictor.convention))
        assert np.abs(logits.softmax(1).numpy() - np.concatenate(expected)).max() < CLOSE
