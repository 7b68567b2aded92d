"""Names of classes that differ in capitals, blanks or the form of letters alone are told before anything is trained on them."""

from pathlib import Path

from conftest import Cli
from PIL import Image

from tlkit.record.findings import Findings
from tlkit.sources import class_names

ANTS = '"Ants" and "ants": names of classes that differ in capitals, blanks or the form of letters alone; if they are one class, rename one'


def test_names_that_differ_in_capitals_blanks_or_forms_of_a_letter_are_alike() -> None:
    assert class_names.alike(["Ants", "bees", "ants"]) == (ANTS,)
    (said,) = class_names.alike(["fire ant", "Fire  ant ", "ﬁsh", "fish", "Straße", "STRASSE", "bee"])
    assert said.startswith('"fire ant" and "Fire  ant ", "ﬁsh" and "fish", "Straße" and "STRASSE": ')
    assert class_names.alike(["a", "A", "Z", "z", "ant", "ants"]) == ()  # letters are classes


def test_init_plan_and_inspection_warn_of_classes_of_nearly_one_name(run: Cli, tmp_path: Path) -> None:
    for name in ("Ants", "ants", "bees"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for shade in range(5):
            Image.new("RGB", (40, 40), (shade, len(name), ord(name[0]))).save(tmp_path / "images" / name / f"{shade}.png")
    code, _, said = run("init", "images", "--dissimilar")
    assert (code, said) == (0, f"{ANTS}\n")
    plan = " ".join(run("plan", "images.toml")[1].split())
    assert ANTS in plan
    found = Findings("folder", "", "", {}, {name: {"train": 4} for name in ("Ants", "ants", "bees")})
    assert found.warnings == (ANTS,)
