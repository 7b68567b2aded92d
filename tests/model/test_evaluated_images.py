"""Which images of a folder `Model.evaluate` evaluates: those of `tlkit evaluate`, and of its own data those that fit left out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from toy_model import compiled, labels, model, pixels

import tlkit
from tlkit.record import trained_data
from tlkit.run import evaluation
from tlkit.run.loading import load
from tlkit.sources.places import Places

NAMES = ["a", "b", "c", "d"]
X, Y = pixels(40), [NAMES[label] for label in labels(40)]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _folder(place: Path, **parts: range) -> str:
    for part, chosen in parts.items():
        for index in chosen:
            file = place / part.removeprefix("every") / Y[index] / f"{index:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(X[index]).save(file)
    return str(place)


def _command(saved: str, on: str, *settings: str) -> tuple[evaluation.Evaluation, list[str]]:
    said: list[str] = []
    predictor = load(Path(saved), arm=None, device=torch.device("cpu"))
    return evaluation.evaluate(predictor, Path(saved), on, settings, places=Places(recipe=Path()), note=said.append), said


def test_other_images_are_evaluated_as_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All images where none are test images of their own: where a fifth would be held out, or there are validation images."""
    plain = _folder(tmp_path / "plain", every=range(40))
    tested = _folder(tmp_path / "tested", train=range(24), test=range(24, 40))
    rows = [f"plain/{Y[index]}/{index:02}.png,{Y[index]},{'train' if index < 24 else 'validation'}" for index in range(40)]
    (tmp_path / "images.csv").write_text("\n".join(["path,label,split", *rows]))
    made = model(classes=NAMES)
    made.save("saved")
    table = {"path": str(tmp_path), "file": "images.csv", "split": "split"}
    for on, options, chosen in ((plain, {}, range(40)), (tested, {}, range(24, 40)), ("csv", table, range(40))):
        scores = made.evaluate(on, options=options)
        assert scores == pytest.approx(made.evaluate(X[chosen], [Y[index] for index in chosen]), rel=1e-5)
        other, said = _command("saved", on, *(f"data.options.{key}={value}" for key, value in options.items()))
        assert (scores, len(chosen), []) == (pytest.approx(other.metrics, rel=1e-5), other.images, said)
        own = "the test part of" if on == tested else "all of"
        assert f"evaluating {len(chosen)} images, {own} {on}" in capsys.readouterr().err


def test_training_images_are_never_evaluated_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _folder(tmp_path / "images", every=range(40))
    made = compiled(classes=NAMES)
    fit: dict[str, Any] = {"batch_size": 8, "epochs": 1, "verbose": 0}
    history = made.fit(folder, **fit)
    assert made.evaluate(folder) == history[0].test
    made.save("saved")
    again = tlkit.load("saved", device="cpu")
    assert again.evaluate(folder) == history[0].test, "as training left them out"
    assert capsys.readouterr().err.count("evaluating 8 images, the test part of") == 2
    made.evaluate(folder, options={"test_fraction": 0.5})
    assert "evaluating 40 images, all of" in (said := capsys.readouterr().err), "some of this half were trained on"
    assert "of which the model was trained on images: the metrics do not tell" in said
    again.compile(lr=1e-2)
    again.fit(folder, split={"fractions": [0.8, 0.2, 0.0]}, **fit)
    again.save("again")
    for each in (again, tlkit.load("again", device="cpu")):
        each.evaluate(folder)
        assert "evaluating 40 images, all of" in (said := capsys.readouterr().err)
        assert "of which the model was trained on images" in said
    again.fit(X, Y, validation_data=(X, Y), **fit)
    again.save("again")
    found, notes = _command("again", folder)
    assert found.images == 40
    assert "was trained on images of this data set" in notes[0], "by an earlier fit"


def test_what_one_fit_held_out_another_may_have_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fit counts after save and load; also where the folder that was loaded has been replaced since."""
    folder = _folder(tmp_path / "images", every=range(16))
    fit: dict[str, Any] = {"batch_size": 16, "epochs": 1, "verbose": 0}
    made = compiled(classes=NAMES)
    made.fit(folder, options={"test_fraction": 0.0}, **fit)
    made.save("saved")
    again = tlkit.load("saved", device="cpu")
    model(classes=NAMES).save("saved")
    again.fit(folder, **fit)
    again.save("again")
    last = tlkit.load("again", device="cpu")
    last.evaluate(folder)
    assert f"evaluating 16 images, all of {folder}, of which the model was trained on images" in capsys.readouterr().err
    last.save("once more")
    assert len(trained_data.of_run(Path("once more"))) == 2, "each once"


def test_own_test_images_may_have_been_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all images were divided anew: of the model, of a saved one, and by the command."""
    tested = _folder(tmp_path / "tested", train=range(12), test=range(12, 16))
    made = compiled(classes=NAMES)
    made.fit(tested, split={"fractions": [0.8, 0.2, 0.0]}, batch_size=16, epochs=1, verbose=0)
    made.save("saved")
    for each in (made, tlkit.load("saved", device="cpu")):
        each.evaluate(tested)
    line = f"evaluating 4 images, the test part of {tested}, of which the model was trained on images: the metrics do not tell"
    assert capsys.readouterr().err.count(line) == 2
    found, notes = _command("saved", tested)
    assert (found.images, len(notes)) == (4, 1)
    assert "was trained on images of this data set" in notes[0]


def test_fit_says_which_images_it_holds_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With images to validate on, a folder without test images is trained on whole, and the saved recipe says so."""
    folder = _folder(tmp_path / "images", every=range(40))
    fit: dict[str, Any] = {"batch_size": 8, "epochs": 1, "verbose": 2}
    made = compiled(classes=NAMES)
    made.fit(folder, **fit)
    assert f"images: train 28, validation 4, test 8; the test images are held out of {folder}" in capsys.readouterr().err
    made.fit(folder, validation_data=(X[:8], Y[:8]), **fit)
    assert "images: train 40, validation 8, test 0\n" in capsys.readouterr().err
    made.save("saved")
    assert "test_fraction = 0.0" in Path("saved/recipe.toml").read_text()
    made.evaluate(folder)
    assert "of which the model was trained on images" in capsys.readouterr().err
    made.fit(folder, validation_data=(X[:8], Y[:8]), options={"test_fraction": 0.2}, **fit)
    assert "images: train 32, validation 8, test 8; " in capsys.readouterr().err
    tested = _folder(tmp_path / "tested", train=range(24), test=range(24, 40))
    made.fit(tested, validation_data=(X[:8], Y[:8]), **fit)
    assert "images: train 24, validation 8, test 16\n" in capsys.readouterr().err
    made.save("saved")
    made.evaluate(tested)
    assert f"evaluating 16 images, the test part of {tested}\n" in capsys.readouterr().err, "none of them was trained on"
    assert _command("saved", tested)[1] == []
