"""Measured runs of the lectures' recipes, as data: docs/measurements/RECIPE.json, written from finished runs.

    python -m docs.measured recipes/cifar_three_ways.toml runs/cifar-three-ways --machine "2 cores of an AMD EPYC without a GPU"
    make docs-api

The first command writes the file and prints the figures for the recipe's head. The second draws the pictures and writes docs/lectures.md.
The rule: a run counts only if its digest follows from the recipe as it is now. tests/docs/test_measured.py holds that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tlkit.plans import resolve
from tlkit.plans.resolved import Resolved
from tlkit.recipe.digest import digest_of
from tlkit.record import epoch_lines, report_data, results, run_folder
from tlkit.record.run_folder import RunResult
from tlkit.sources.places import Places

FOLDER = Path(__file__).parent / "measurements"
_DIGITS = 5  # of accuracies and losses


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Curve(_Data):
    """Loss and accuracy, 0 to 1, after each epoch."""

    loss: list[float]
    accuracy: list[float]


class Run(_Data):
    """One run.

    Attributes:
        train: Of the training images while the network trains.
        validation: None where no images are held out.
        test: None where the test images are evaluated for the best epoch alone.
        result: The accuracy of the epoch that counts, on the training and the test images: "train", "test".
    """

    train: Curve | None
    validation: Curve | None
    test: Curve | None
    result: dict[str, float]


class Runs(_Data):
    """The runs of an arm by seed; all have one digest, which follows from the recipe and the content of its inputs."""

    digest: str
    inputs: dict[str, str]
    seeds: dict[int, Run]


class Kernels(_Data):
    """The first convolution of an arm with one seed: values in the order of `shape`, kernels first and colours last."""

    arm: str
    seed: int
    name: str
    shape: list[int]
    before: list[float]
    after: list[float]


class Measured(_Data):
    """What was measured with one recipe.

    Attributes:
        settings: That differ from the recipe's file, as --set takes them.
        machine: In words.
        images: In words, where they are not those of the lecture; else "".
        torch: Its version.
        date: Of the last run, or of the first and the last.
        arms: In the recipe's order.
        kernels: Of some arms.
    """

    settings: list[str]
    machine: str
    images: str
    torch: str
    date: str
    arms: dict[str, Runs]
    kernels: list[Kernels]

    def accuracy(self, arm: str, split: str) -> dict[str, Any] | None:
        """Return mean, low and high (None for one or two seeds) and n of the accuracy in "train" or "test"; None if it is missing."""
        runs = self.arms[arm].seeds.values() if arm in self.arms else ()
        found: dict[str, Any] | None = results.over_runs([run.result for run in runs], None).get(split)
        return found

    def figure(self, arm: str, split: str = "test") -> str:
        """Return the accuracy of an arm in %, "78.0 ± 1.2", with half of its 95 % interval over the seeds; "" if it is missing."""
        found = self.accuracy(arm, split)
        if found is None:
            return ""
        mean = f"{100 * found['mean']:.1f}"
        if found["low"] is not None:
            return f"{mean} ± {100 * max(found['high'] - found['mean'], found['mean'] - found['low']):.1f}"
        seeds = self.arms[arm].seeds
        if len(seeds) == 1:
            return f"{mean}, seed {next(iter(seeds))} alone"
        return f"{mean} ({', '.join(f'{100 * run.result[split]:.1f}' for run in seeds.values())})"

    @property
    def how(self) -> str:
        """Return machine, seeds, versions and date in words."""
        seeds = sorted({seed for runs in self.arms.values() for seed in runs.seeds})
        named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"
        given = f" with {' '.join(f'--set {each}' for each in self.settings)}" if self.settings else ""
        images = f", on {self.images}" if self.images else ""
        return f"Measured{given}{images}, {self.machine}, {named}, torch {self.torch}, {self.date}"

    def epochs(self, arm: str) -> list[list[dict[str, Any]]]:
        """Return the epochs of each seed of an arm, as lines of metrics.jsonl have them."""
        return [_lines(run) for run in self.arms[arm].seeds.values()]


def read(recipe: str) -> Measured | None:
    """Return what was measured with a recipe, named without its suffix; None where nothing was."""
    path = FOLDER / f"{recipe}.json"
    return Measured.model_validate_json(path.read_text()) if path.is_file() else None


def text(measured: Measured) -> str:
    """Return the content of the file: a line for each curve and each row of kernels."""
    return _written(measured.model_dump(mode="json"), 0) + "\n"


def gather(
    recipe: Path,
    folders: Iterable[Path],
    *,
    machine: str,
    settings: Sequence[str] = (),
    images: str = "",
    date: str | None = None,
    kernels: Sequence[str] = (),
) -> Measured:
    """Read the finished runs of a recipe.

    Args:
        recipe: Its file.
        folders: Folders that have run folders in them, as runs/<recipe>.
        machine: In words.
        settings: As they were given with --set; seeds need not be named.
        images: In words, where they are not the lecture's.
        date: In words; None takes that of the runs' files.
        kernels: Arms whose first convolution is kept, of the first seed.

    Raises:
        SystemExit: no run is finished, or arms named in `kernels` have none.
    """
    _, arms = resolve.load(recipe, tuple(settings), Places(recipe=recipe.parent))
    found = [(folder, result) for place in folders for folder, result in _finished(place, arms)]
    if not found:
        raise SystemExit(f"{recipe}: no finished run of it, with these settings, is in the folders")
    own: dict[str, Runs] = {}
    for arm in arms:
        mine = sorted(
            ((result.seed, folder, result) for folder, result in found if result.arm == arm), key=lambda each: each[0]
        )
        if mine:
            inputs = run_folder.resolved(mine[0][1])["inputs"]
            own[arm] = Runs(digest=mine[0][2].digest, inputs=inputs, seeds={seed: _run(*each) for seed, *each in mine})
    if missing := set(kernels) - own.keys():
        raise SystemExit(f"{recipe}: no finished run of {', '.join(sorted(missing))}")
    return Measured(
        settings=list(settings),
        machine=machine,
        images=images,
        torch=" and ".join(sorted({result.versions["torch"].partition("+")[0] for _, result in found})),
        date=date or _date(folder for folder, _ in found),
        arms=own,
        kernels=[_kernels(arm, found) for arm in kernels],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file of a recipe and print the figures for the recipe's head."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.measured", description="Write docs/measurements/RECIPE.json from finished runs."
    )
    parser.add_argument("recipe", type=Path, help="the recipe's file")
    parser.add_argument("runs", type=Path, nargs="+", help="folders with its runs, as runs/NAME")
    parser.add_argument("--machine", required=True, help="in words")
    parser.add_argument("--images", default="", help="in words, where they are not the lecture's")
    parser.add_argument("--date", help="in words; else that of the runs' files")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as the runs were made with")
    parser.add_argument("--kernels", action="append", default=[], metavar="ARM", help="keep the first convolution of this arm")
    given = parser.parse_args(arguments)
    made = gather(
        given.recipe, given.runs, machine=given.machine, settings=given.set, images=given.images, date=given.date,
        kernels=given.kernels,
    )  # fmt: skip
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{given.recipe.stem}.json").write_text(text(made))
    print(f"# {made.how}")
    width = max(map(len, made.arms))
    for arm in made.arms:
        print(f"#   {arm:<{width}}  test {made.figure(arm)}  train {made.figure(arm, 'train')}")


def _finished(place: Path, arms: Mapping[str, Resolved]) -> list[tuple[Path, RunResult]]:
    """Return the finished runs in a folder whose digest follows from the recipe."""
    found = []
    for path in sorted(place.glob(f"*/{run_folder.RESULT}")):
        result = run_folder.read(path.parent)
        if result is None or result.status != "finished" or result.fold is not None or result.arm not in arms:
            continue
        if result.digest == digest_of(arms[result.arm].arm, run_folder.resolved(path.parent)["inputs"]):
            found.append((path.parent, result))
        else:
            print(f"left out, since the recipe is another one now: {path.parent}")
    return found


def _run(folder: Path, result: RunResult) -> Run:
    epochs = epoch_lines.read(folder)
    scores = {"train": result.train, "test": result.test}
    return Run(
        train=_curve(epochs, "train"),
        validation=_curve(epochs, "validation"),
        test=_curve(epochs, "test"),
        result={split: round(each["accuracy"], _DIGITS) for split, each in scores.items() if each is not None},
    )


def _curve(epochs: Sequence[Mapping[str, Any]], split: str) -> Curve | None:
    if not epochs or not all(epoch[split] for epoch in epochs):
        return None
    loss, accuracy = ([round(epoch[split][name], _DIGITS) for epoch in epochs] for name in ("loss", "accuracy"))
    return Curve(loss=loss, accuracy=accuracy)


def _lines(run: Run) -> list[dict[str, Any]]:
    curves = {"train": run.train, "validation": run.validation, "test": run.test}
    count = max((len(each.loss) for each in curves.values() if each), default=0)
    return [
        {"epoch": epoch + 1}
        | {
            split: {"loss": each.loss[epoch], "accuracy": each.accuracy[epoch]} if each else None
            for split, each in curves.items()
        }
        for epoch in range(count)
    ]


def _date(folders: Iterable[Path]) -> str:
    written = sorted((folder / run_folder.RESULT).stat().st_mtime for folder in folders)
    first, last = (datetime.fromtimestamp(each, UTC).date().isoformat() for each in (written[0], written[-1]))
    return last if first == last else f"{first} to {last}"


def _kernels(arm: str, found: Sequence[tuple[Path, RunResult]]) -> Kernels:
    folder, result = min(((folder, result) for folder, result in found if result.arm == arm), key=lambda each: each[1].seed)
    data = report_data.load(folder)
    if data is None or not data.about.get("kernels"):
        raise SystemExit(f"{folder}: keeps no kernels; tlkit report {folder} makes them")
    before, after = (data.arrays[f"kernel0_{when}"] for when in ("before", "best"))
    flat = [[round(float(value), _DIGITS) for value in each.ravel()] for each in (before, after)]
    return Kernels(
        arm=arm,
        seed=result.seed,
        name=data.about["kernels"][0]["name"],
        shape=list(before.shape),
        before=flat[0],
        after=flat[1],
    )


def _written(value: object, depth: int) -> str:
    """Return a value as JSON, indented; a list of numbers or words is one line."""
    if isinstance(value, dict) and value:
        inner = ",\n".join(f"{' ' * (depth + 1)}{json.dumps(key)}: {_written(each, depth + 1)}" for key, each in value.items())
        return f"{{\n{inner}\n{' ' * depth}}}"
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        inner = ",\n".join(f"{' ' * (depth + 1)}{_written(each, depth + 1)}" for each in value)
        return f"[\n{inner}\n{' ' * depth}]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
