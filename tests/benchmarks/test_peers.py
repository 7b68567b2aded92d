"""The contenders of benchmarks/peers do the same work, and their table says what the raw lines say."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
import torchvision
from PIL import Image

import tlkit
from benchmarks.peers import contract, efficientnet, run, table, tlkit_, trial, work
from benchmarks.peers.contract import Spec
from benchmarks.peers.trial import Cell

CLASSES = 2
# What the first two arms train is called otherwise in each network.
WORK = [*product(["resnet18", "efficientnet_lite0", "mobilenet_v2"], ["head", "last"]), ("resnet18", "all")]


def spec(tmp_path: Path, network: str = "resnet18", arm: str = "head", **other: Any) -> Spec:
    """A piece of work on a few pictures of noise."""
    images = tmp_path / "pictures"
    for part, count in (("train", 3), ("val", 2)):
        for label in range(CLASSES):
            folder = images / part / f"class{label}"
            if not folder.is_dir():
                folder.mkdir(parents=True)
                for index in range(count):
                    Image.effect_noise((300, 270), 64).convert("RGB").save(folder / f"{index}.png")
    fields = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize": "bilinear", "cache": str(tmp_path / "cache"), "epochs": 1}
    return Spec(
        network=network, arm=arm, images=str(images), state=str(tmp_path / "state.pt"), classes=CLASSES, scratch=str(tmp_path),
        **(fields | other),
    )  # fmt: skip


def model(network: str) -> torch.nn.Module:
    if network == "efficientnet_lite0":
        return efficientnet.efficientnet_lite0(CLASSES)
    return torchvision.models.get_model(network, num_classes=CLASSES)


@pytest.mark.parametrize(("network", "arm"), WORK)
def test_every_contender_trains_what_tlkit_trains(tmp_path: Path, network: str, arm: str) -> None:
    made = model(network)
    given = spec(tmp_path, network, arm)
    torch.save(made.state_dict(), given.state)
    path = tmp_path / "peer.toml"
    path.write_text(tomli_w.dumps(tlkit_.recipe(given)))
    plan = tlkit.plan(path)["main"]
    theirs = {name for name, _ in made.named_parameters() if contract.trains(given, name)}
    classifier = {"resnet18": "fc.", "efficientnet_lite0": "classifier.", "mobilenet_v2": "classifier.1."}[network]
    ours = {each.name.replace("head.", classifier) if each.name.startswith("head.") else each.name
            for each in plan.parameters if each.trains_from == 0}  # fmt: skip
    assert theirs == ours
    _, trained = contract.halves(given, made)
    assert sum(p.numel() for p in trained.parameters()) == plan.trained


def test_tlkit_trains_on_all_of_train_and_evaluates_all_of_val(tmp_path: Path) -> None:
    given = spec(tmp_path)
    torch.save(model("resnet18").state_dict(), given.state)
    path = tmp_path / "peer.toml"
    path.write_text(tomli_w.dumps(tlkit_.recipe(given)))
    plan = tlkit.plan(path)["main"]
    assert (plan.images.train, plan.images.validation, plan.images.test) == (6, 0, 4)
    assert (plan.image_size, plan.batch_size, plan.epochs) == ((224, 224), 32, 1)
    assert plan.tested == "every"


@pytest.mark.parametrize(("network", "arm"), WORK)
def test_the_halves_are_the_network(tmp_path: Path, network: str, arm: str) -> None:
    made = model(network).eval()
    fixed, trained = contract.halves(spec(tmp_path, network, arm), made)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(trained(fixed(x)), made(x))


def test_the_plain_efficientnet_is_the_plugins() -> None:
    from tlkit_efficientnet_lite.build import efficientnet_lite0

    torch.manual_seed(0)
    stages = efficientnet_lite0()
    state = {name: tensor for stage in stages.values() for name, tensor in stage.state_dict().items()}
    plain = efficientnet.efficientnet_lite0(CLASSES)
    head = {f"classifier.{name}": tensor for name, tensor in plain.classifier.state_dict().items()}
    plain.load_state_dict(state | head)
    ours = torch.nn.Sequential(*stages.values(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), plain.classifier)
    x = torch.randn(2, 3, 97, 97, generator=torch.Generator().manual_seed(0))
    for mode in (False, True):
        assert torch.equal(plain.train(mode)(x), ours.train(mode)(x))


@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_the_pixels_are_tlkits(tmp_path: Path, resize: str) -> None:
    from tlkit.engine.images import decode
    from tlkit.engine.images.geometry import evaluation_geometry
    from tlkit.engine.images.normalisation import normalise
    from tlkit.plugin import Convention
    from tlkit.recipe.tables import DataTable

    given = spec(tmp_path, resize=resize)
    convention = Convention(mean=(0.5,) * 3, std=(0.5,) * 3, resize=resize, crop=224 / 256)
    (file, *_) = sorted(Path(given.images).glob("train/*/*"))
    geometry = evaluation_geometry((224, 224), convention, DataTable(name="any"))
    pixels = decode.picture(file, geometry).copy()  # torch takes writable arrays only
    ours = normalise(torch.from_numpy(pixels)[None], convention)[0]
    with Image.open(file) as picture:
        theirs = contract.transform(given, train=False)(picture)
    assert (ours - theirs).abs().max() <= 2 / 255 + 1e-6  # one step of uint8, in units of the standard deviation


def test_only_training_pictures_of_the_views_are_augmented(tmp_path: Path) -> None:
    given = spec(tmp_path, views=5)
    names = [[type(step).__name__ for step in contract.geometry(given, train=train)] for train in (True, False)]
    assert names == [["Resize", "RandomCrop", "RandomHorizontalFlip"], ["Resize", "CenterCrop"]]
    data = tlkit_.recipe(given)["data"]
    assert (data["augment"], data["augment_views"]) == (["random_crop", "hflip"], 5)


@pytest.mark.slow
def test_the_loop_and_tlkit_answer_alike(tmp_path: Path) -> None:
    """Two contenders of the four: the others need environments of their own."""
    given = spec(tmp_path)
    torch.manual_seed(0)
    torch.save(model("resnet18").state_dict(), given.state)
    lines = {}
    for name in ("tutorial", "tlkit"):
        lines[name] = trial.run(
            Cell("any", "head"), name, given, python=trial.interpreter(name, tmp_path), epochs=2, measured=tmp_path / "measured"
        )
        assert len(lines[name]["accuracy"]) == 2
        assert 0 < lines[name]["seconds"] < lines[name]["whole"]
        assert 0 < lines[name]["start"] < lines[name]["whole"]
        assert lines[name]["versions"]["torch"] == torch.__version__


def test_the_seconds_of_measuring_are_what_tlkit_kept_of_it(tmp_path: Path) -> None:
    """As `tlkit.store.measurements` writes it."""
    from tlkit.record.timings import Measurements
    from tlkit.store import measurements

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path))
        measurements.remember({"a": 1}, Measurements(seconds=2.5))
        measurements.remember({"a": 2}, Measurements(seconds=1.5))
    files = list((tmp_path / trial.MEASURED).iterdir())
    assert trial._seconds(files) == 4.0
    kernels = tmp_path / "kernels.json"
    kernels.write_text('{"value": [{"waited": 0.0}]}')
    assert trial._seconds([*files, kernels]) == 4.0
    files[0].write_text("{}")
    assert trial._seconds(files) is None


def line(cell: str, contender: str, seconds: float, number: int = 1, **other: Any) -> dict[str, Any]:
    header = {"session": "2027-01-02T03:04:05+00:00", "machine": "m-2-cores", "commit": "abc", "command": "python -m x",
              "threads": "2", "of": 5, "images": None}  # fmt: skip
    done = {"cell": cell, "contender": contender, "round": number, "epochs": 5, "counted": seconds, "seconds": seconds,
            "accuracy": [0.5, 0.75], "versions": {"torch": "2"}, "whole": seconds + 3, "start": 2.0}  # fmt: skip
    return header | done | other


def test_the_figures_are_medians_of_ratios_of_one_round() -> None:
    cell = Cell("cifar10-resnet18", "head").name
    lines = [line(cell, "tutorial", s, n) for n, s in ((1, 100.0), (2, 110.0), (3, 260.0))]
    lines += [line(cell, "tlkit", s, n) for n, s in ((0, 50.0), (1, 10.0), (2, 10.0), (3, 20.0))]
    lines += [line(f"{cell}/again", "tlkit", s, n) for n, s in ((1, 2.0), (2, 2.0), (3, 2.0))]
    shown = table.figures(lines)
    assert "| at least 12 times faster | 11.0 times (10.0 to 13.0, n = 3) |" in shown
    assert "| at least 60 times | 55.0 times (50.0 to 130.0, n = 3) |" in shown
    assert shown.count(table.UNMEASURED) == 6
    assert "m-2-cores" in shown


def test_an_epoch_counted_five_times_says_so_and_counts_in_the_whole_process() -> None:
    cell = Cell("hymenoptera-efficientnet_lite0", "head").name
    lines = [line(cell, "tutorial", 20.0, epochs=1, counted=100.0, whole=24.0), line(cell, "tlkit", 4.0, whole=8.0)]
    shown = table.figures(lines)
    assert "| at least 5 times | 13.0 times (13.0 to 13.0, n = 1) |" in shown  # 24 - 20 + 100 over 8
    assert "one epoch timed, counted 5 times" in shown


def test_quickstart_is_held_against_the_sum_of_two_arms() -> None:
    lines = [
        line("quickstart", name, 0, whole=whole) for name, whole in (("three", 110.0), ("finetune", 50.0), ("scratch", 50.0))
    ]
    assert "| the sum +10 % (+10 to +10 %, n = 1) |" in table.figures(lines)


def test_the_table_shows_every_contender_with_its_accuracy_and_what_the_machine_took() -> None:
    cell = Cell("hymenoptera-resnet18", "last").name
    lines = [line(cell, name, 40.0) for name in ("tutorial", "fastai", "lightning")] + [line(cell, "tlkit", 10.0)]
    lines += [line(cell, "tlkit", 16.0, number=0)]
    shown = table.peers(lines)
    assert "| fastai | 40.0 | 40.0 to 40.0 | 4.0 times (4.0 to 4.0, n = 1) | 50.0%, 75.0% | 2.0 |  | 43.0 |" in shown
    assert "| tlkit | 10.0 | 10.0 to 10.0 |  | 50.0%, 75.0% | 2.0 | 6.0 | 13.0 |" in shown


def test_the_latest_session_counts_and_trials_of_few_pictures_do_not() -> None:
    cell = Cell("hymenoptera-resnet18", "last").name
    old = [line(cell, "tlkit", 10.0), line(cell, "tutorial", 20.0)]
    new = [{**each, "session": "2027-09-09T00:00:00+00:00", "counted": 7.0} for each in old]
    tried = [{**each, "session": "2028-01-01T00:00:00+00:00", "images": 16} for each in old]
    assert "1.0 times (1.0 to 1.0, n = 1)" in table.peers([*old, *new, *tried])


def test_tables_stand_between_their_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- peers -->\nold\n<!-- end of peers -->\nb\n<!-- figures -->\n<!-- end of figures -->\n")
    table.fill(readme, {"peers": "new", "figures": "two"})
    table.fill(readme, {"peers": "newer"})
    assert readme.read_text() == (
        "a\n<!-- peers -->\nnewer\n<!-- end of peers -->\nb\n<!-- figures -->\ntwo\n<!-- end of figures -->\n"
    )
    with pytest.raises(SystemExit, match="has no markers"):
        table.fill(readme, {"other": ""})


def test_the_benchmarks_readme_has_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text((run.ROOT / "benchmarks" / "README.md").read_text())
    table.fill(readme, {"peers": "", "figures": ""})


def test_contenders_take_turns_in_who_begins(tmp_path: Path) -> None:
    options = run._options(
        ["--work", "cifar10-resnet18", "--arms", "head,all", "--rounds", "2", "--contenders", "tutorial,tlkit"]
    )
    order = [(cell.arm, who, number) for _, (cell, who), number in run._trials(options)]
    assert order == [
        ("head", "tlkit", 0), ("all", "tlkit", 0),
        ("head", "tlkit", 1), ("head", "tutorial", 1), ("all", "tlkit", 1), ("all", "tutorial", 1),
        ("head", "tutorial", 2), ("head", "tlkit", 2), ("all", "tutorial", 2), ("all", "tlkit", 2),
    ]  # fmt: skip


def test_both_tables_come_from_the_same_trials() -> None:
    trials = list(run._trials(run._options(["--both", "--rounds", "1"])))
    cells = {(name[0].name, name[1]) for do, name, number in trials if do == "trial" and number}
    assert len(cells) == 4 * 3 * 4 + 2 + 1
    assert {who for cell, who in cells if cell.endswith("/views")} == {"tutorial", "tlkit"}
    assert {who for cell, who in cells if cell.endswith("/again")} == {"tlkit"}
    assert [name for do, (name, *_), number in trials if do == "quickstart" and number] == ["finetune", "scratch", "three"]
    assert len(trials) == len(set(trials))


def test_real_pictures_and_first_weights(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written once, 4 of each kind; the state dict loads strictly into what the others train."""
    monkeypatch.setenv("TLKIT_TEST_DATA", str(test_data))
    made = work.prepare(work.WORKS["hymenoptera-resnet18"], tmp_path, images=4)
    assert made.classes == 2
    assert [len(list(Path(made.images, part).glob("*/*.jpg"))) for part in ("train", "val")] == [4, 4]
    network = contract.network(replace(made, arm="head"))
    assert network.fc.out_features == 2
    assert json.loads(made.write(tmp_path / "spec.json").read_text())["mean"] == list(made.mean)
