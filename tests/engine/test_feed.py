"""What trains sees the same bits, whether the fixed prefix is read from the store or computed again."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tlkit_toy
import torch
from filelock import FileLock
from torch import Tensor, nn
from toy_training import CPU, Training, training

from tlkit.engine.prefix.prefix import Prefix
from tlkit.events import Observer
from tlkit.network.stages import Stage
from tlkit.plans.plan import PhasePlan, Plan
from tlkit.plugin import Backbone
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, ComputeFormat, StorePlan
from tlkit.store import cache
from tlkit.store.usage import Kind

CHUNK = 12
TRAIN, HELD_OUT = 72, 8 + 40  # images of the toy recipe
LAST = 99  # as late as the phase allows
Change = Callable[[Plan], Plan]

CASES = {
    "head only": ("freeze={backbone=true}",),
    "head only, dropout, running mean": (
        "freeze={backbone=true}", 'head={kind="mlp", options={dropout=0.4}}', 'optimizer={name="sgd", ema=0.9}',
    ),
    "last stage": ("freeze={stem=true, block1=true}",),
    "last stage, accumulated": ("freeze={stem=true, block1=true}", 'optimizer={name="adamw", accumulate=2, ema=0.9}'),
    "a head of several stages": ("head.kind=toy_maps", "freeze={backbone={epochs=1}, stem=true}", "schedule.epochs=3"),
    "three phases": ("freeze={stem=true, block1={epochs=2}, block2={epochs=1}}", "schedule.epochs=4"),
}  # fmt: skip
# Rows are vectors in one and maps in the other; what else the cases differ in does not see the form.
EVERY_FORM = {"head only", "last stage"}


def planned(
    *,
    compute_format: ComputeFormat = PLAIN_FORMAT,
    train: int | None = LAST,
    evaluation: int | None = LAST,
    chunk: int = CHUNK,
    folded: bool = True,
) -> Change:
    """Set the form of everything, and after how many stages outputs are stored; None for not at all."""

    def after(stages: int | None, cut: int) -> StorePlan | None:
        return None if stages is None else StorePlan(min(stages, cut), 0, 0, 0.0, "")

    def fix(phase: PhasePlan) -> PhasePlan:
        if phase.fixed is None:
            return phase
        cut = len(phase.prefix)
        stores = {"train": after(train, cut), "evaluation": after(evaluation, cut)}
        return replace(phase, fixed=replace(phase.fixed, compute_format=compute_format, chunk=chunk, folded=folded, **stores))

    return lambda plan: replace(plan, compute_format=compute_format, phases=tuple(map(fix, plan.phases)))


NOT_STORED = {"train": None, "evaluation": None}


@dataclass
class Outcome:
    """Everything that a run shows."""

    curve: list[tuple[object, ...]]
    tensors: dict[str, Tensor]


def finish(mine: Training) -> Outcome:
    curve = [(dict(e.train), e.validation, e.test, e.best) for e in mine.fit.epochs()]
    return Outcome(curve, {name: tensor.clone() for name, tensor in mine.fit.tensors().items()})


def outcome(recipe: Path, *settings: str, seed: int = 0, arm: str = "main", **change: object) -> Outcome:
    return finish(training(recipe, "data.batch_size=10", *settings, seed=seed, arm=arm, change=planned(**change)))


def assert_same(found: Outcome, right: Outcome) -> None:
    assert found.curve == right.curve
    assert found.tensors.keys() == right.tensors.keys()
    assert [name for name, tensor in right.tensors.items() if not torch.equal(found.tensors[name], tensor)] == []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@dataclass
class Computed:
    """Images that went through a prefix; one image alone only shows the shape of a row."""

    calls: list[int]

    def take(self) -> int:
        images = sum(count for count in self.calls if count > 1)
        self.calls.clear()
        return images


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    calls: list[int] = []
    original = Prefix.__call__

    def call(self: Prefix, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        calls.append(len(x))
        return original(self, x, start=start, stop=stop)

    monkeypatch.setattr(Prefix, "__call__", call)
    return Computed(calls)


def rows() -> int:
    return sum(each.rows for each in cache.listing() if each.kind == Kind.FEATURES)


# ---- the promise


@pytest.mark.parametrize(
    ("case", "compute_format"),
    [
        pytest.param(case, each, id=f"{case}-{each}")
        for case in CASES
        for each in (COMPUTE_FORMATS if case in EVERY_FORM else COMPUTE_FORMATS[-1:])
    ],
)
def test_stored_and_computed_give_the_same_bits(
    toy_recipe: Path,
    case: str,
    compute_format: ComputeFormat,
    computed: Computed,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = outcome(toy_recipe, *CASES[case], compute_format=compute_format, **NOT_STORED)
    assert not rows()
    often = computed.take()
    assert_same(outcome(toy_recipe, *CASES[case], compute_format=compute_format), right)
    assert rows()
    assert 0 < computed.take() < often
    assert_same(outcome(toy_recipe, *CASES[case], compute_format=compute_format), right)
    assert computed.take() == 0, "the second run reads"
    assert_same(outcome(toy_recipe, *CASES[case], compute_format=compute_format, train=1, evaluation=1), right)
    assert_same(outcome(toy_recipe, *CASES[case], compute_format=compute_format, train=1, evaluation=None), right)
    for path in folder.rglob("features/*/*.rows"):
        spoil(path)
    computed.take()
    assert_same(outcome(toy_recipe, *CASES[case], compute_format=compute_format), right)
    monkeypatch.setenv("TLKIT_CACHE", str(folder / "other"))
    monkeypatch.setenv("TLKIT_CACHE_BYTES", "0")
    assert_same(outcome(toy_recipe, *CASES[case], compute_format=compute_format), right)
    assert not rows()


def spoil(path: Path) -> None:
    """Change one byte in the middle and put the times back, as a disk does that forgets."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_promise_is_not_kept_by_chance(toy_recipe: Path) -> None:
    """Another form, another seed, another chunk of images: each changes the curve or the weights, so equality says something."""
    right = outcome(toy_recipe, *CASES["last stage"])
    for other in (
        outcome(toy_recipe, *CASES["last stage"], compute_format=ComputeFormat("bfloat16")),
        outcome(toy_recipe, *CASES["last stage"], seed=1),
    ):
        assert other.curve != right.curve


def test_the_stored_outputs_are_the_networks(toy_recipe: Path) -> None:
    """Against the network as it is, in plain PyTorch."""
    mine = training(toy_recipe, "freeze={stem=true, block1=true}", "data.batch_size=10", change=planned())
    list(mine.fit.epochs())
    feed = mine.fit._feed_of(1)
    train = mine.prepared.train
    order = train.order(5)
    seen = list(feed.train(order, 5))
    assert [len(x) for x, _ in seen] == [10] * 7 + [2]
    mine.network.eval()
    with torch.no_grad():
        right = mine.network.run(train.inputs(order, 5, CPU), stop=2)
    torch.testing.assert_close(torch.cat([x for x, _ in seen]), right, rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.cat([y for _, y in seen]), train.targets(order, 5, CPU))
    part = mine.prepared.evaluated.test
    held = list(feed.held_out(part))
    with torch.no_grad():
        right = mine.network.run(part.inputs(part.indices, 0, CPU), stop=2)
    torch.testing.assert_close(torch.cat([x for x, _ in held]), right, rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.cat([y for _, y in held]), part.targets(part.indices, 0, CPU))


def test_a_fixed_prefix_stays_what_it_was(toy_recipe: Path) -> None:
    mine = training(toy_recipe, *CASES["three phases"], change=planned())
    start = {name: tensor.clone() for name, tensor in mine.network.tensors().items()}
    still = {1: ("stem", "block1", "block2"), 2: ("stem", "block1"), 3: ("stem",), 4: ("stem",)}
    for epoch in mine.fit.epochs():
        for stage in still[epoch.epoch]:
            for name, tensor in mine.network.stages[stage].state_dict().items():
                assert torch.equal(tensor, start[name]), (epoch.epoch, name)
    assert not torch.equal(mine.network.tensors()["block1.0.weight"], start["block1.0.weight"])


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_continued_from_the_store_has_the_bits_of_a_whole_one(toy_recipe: Path, stop: int) -> None:
    settings = [*CASES["three phases"], 'optimizer={name="adamw", ema=0.9}', 'head={kind="mlp", options={dropout=0.4}}']
    right = outcome(toy_recipe, *settings, **NOT_STORED)
    first = training(toy_recipe, *settings, "data.batch_size=10", change=planned())
    for epoch in first.fit.epochs():
        if epoch.epoch == stop:
            break
    kept = {name: tensor.clone() for name, tensor in first.fit.tensors().items()}
    second = training(toy_recipe, *settings, "data.batch_size=10", change=planned())
    second.fit.resume_(kept, first.fit.scalars())
    rest = finish(second)
    assert rest.curve == right.curve[stop:]
    assert [name for name, tensor in right.tensors.items() if not torch.equal(rest.tensors[name], tensor)] == []


def odd() -> dict[str, nn.Module]:
    """Maps of one pixel, whose memory format is ambiguous, and widths of which no row but the first is aligned."""
    return {
        "stem": Stage({"c": nn.Conv2d(3, 9, 16, bias=False), "n": nn.BatchNorm2d(9)}),
        "top": Stage({"d": nn.Conv2d(9, 33, 3, padding=1, bias=False), "m": nn.BatchNorm2d(33), "r": nn.ReLU()}),
    }


@pytest.mark.parametrize("compute_format", COMPUTE_FORMATS, ids=str)
@pytest.mark.parametrize(("freeze", "batch"), [("{stem=true}", 7), ("{backbone=true}", 10)])
def test_rows_of_odd_shapes_have_the_same_bits(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, freeze: str, compute_format: ComputeFormat, batch: int
) -> None:
    stages = {"stem": ("c", "n"), "top": ("d", "m")}
    backbone = Backbone(build="test_feed:odd", stages=stages, features=33, classifier="fc", minimum_size=16, image_size=16)
    monkeypatch.setattr(tlkit_toy, "toy", backbone)
    settings = [f"freeze={freeze}", f"data.batch_size={batch}", "data.options.train=200"]
    stored, again = (
        finish(training(toy_recipe, *settings, change=planned(compute_format=compute_format, **stores)))
        for stores in ({}, NOT_STORED)
    )
    assert_same(stored, again)


@pytest.mark.parametrize("setting", ["mixup", "cutmix"])
def test_mixed_images_go_through_the_prefix_in_every_epoch(toy_recipe: Path, setting: str, computed: Computed) -> None:
    settings = [*CASES["last stage"], f'data.augment=[{{name="{setting}", alpha=1.0}}, "hflip"]', "data.batch_size=10"]
    mine = training(toy_recipe, *settings)
    (phase,) = mine.plan.phases
    assert phase.fixed.train is None
    assert "mixup and cutmix mix images before it" in phase.fixed.reason
    assert phase.fixed.evaluation is not None
    first = finish(mine)
    assert rows() == HELD_OUT
    assert computed.take() == HELD_OUT + 2 * TRAIN
    chunk = phase.fixed.chunk
    assert_same(finish(training(toy_recipe, *settings, change=planned(chunk=chunk, **NOT_STORED))), first)
    plain = training(toy_recipe, *settings, change=lambda plan: replace(plan, phases=(replace(phase, fixed=None, prefix=()),)))
    for (ours, *_), (theirs, *_) in zip(first.curve, finish(plain).curve, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


# ---- views

VIEWS = [
    'data.augment=["random_crop", "hflip", "color_jitter", {name="random_erasing", p=0.5}]', "data.augment_views=2",
    "schedule.epochs=5",
]  # fmt: skip
OTHER_VIEWS = ['data.augment=["random_resized_crop", "randaugment"]', "data.augment_views=3", "schedule.epochs=4"]


@pytest.mark.parametrize(
    ("views", "compute_format"), [(VIEWS, PLAIN_FORMAT), (OTHER_VIEWS, COMPUTE_FORMATS[-1])], ids=["two", "three"]
)
@pytest.mark.parametrize("case", ["head only", "last stage", "three phases"])
def test_stored_views_have_the_bits_of_those_computed_in_every_epoch(
    toy_recipe: Path, case: str, views: list[str], compute_format: ComputeFormat, computed: Computed
) -> None:
    settings = [*CASES[case], *views]
    right = outcome(toy_recipe, *settings, compute_format=compute_format, **NOT_STORED)
    assert_same(outcome(toy_recipe, *settings, compute_format=compute_format), right)
    computed.take()
    assert_same(outcome(toy_recipe, *settings, compute_format=compute_format), right)
    assert computed.take() == 0
    assert_same(outcome(toy_recipe, *settings, compute_format=compute_format, train=1), right)


def test_an_epoch_uses_the_view_of_its_number(toy_recipe: Path) -> None:
    """Each is what augmentation without views draws in epoch e mod K, through the prefix alone."""
    mine = training(toy_recipe, *CASES["last stage"], *VIEWS, change=planned())
    feed = mine.fit._feed_of(1)
    free = replace(mine.prepared.train, views=None)
    seen = []
    for epoch in range(5):
        order = mine.prepared.train.order(epoch)
        found = torch.cat([x for x, _ in feed.train(order, epoch)])
        parts = [order[at : at + CHUNK] for at in range(0, len(order), CHUNK)]
        right = torch.cat([feed._prefix(free.inputs(chosen, epoch % 2, CPU)) for chosen in parts])
        assert torch.equal(found, right)
        seen.append(found[np.argsort(order)])
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert rows() == 2 * TRAIN + HELD_OUT


# ---- what is shared

ARMS = """
[arms.first]
freeze = { stem = true, block1 = true }
[arms.second]
freeze = { stem = true, block1 = true }
optimizer = { name = "sgd" }
data.batch_size = 9
lr_groups = { backbone = 1e-3, head = 1e-1 }
"""


@pytest.mark.parametrize("views", [[], VIEWS], ids=["plain", "views"])
def test_another_arm_computes_nothing(toy_recipe: Path, views: list[str], computed: Computed) -> None:
    toy_recipe.write_text(toy_recipe.read_text() + ARMS)
    finish(training(toy_recipe, *views, arm="first", change=planned()))
    assert computed.take() == HELD_OUT + TRAIN * (2 if views else 1)
    second = finish(training(toy_recipe, *views, arm="second", change=planned()))
    assert computed.take() == 0
    assert_same(finish(training(toy_recipe, *views, arm="second", change=planned(**NOT_STORED))), second)


def weights_of(recipe: Path) -> str:
    """A file of weights, so that seeds begin alike."""
    from safetensors.torch import save_file
    from tlkit_toy_build import ToyNet

    path = recipe.parent / "weights.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_file(dict(ToyNet(4).state_dict()), path)
    return f'backbone.weights="{path}"'


def test_another_seed_computes_nothing(toy_recipe: Path, computed: Computed) -> None:
    settings = [weights_of(toy_recipe), "freeze={backbone=true}"]
    outcome(toy_recipe, *settings, seed=0)
    assert computed.take() == TRAIN + HELD_OUT
    second = outcome(toy_recipe, *settings, seed=1)
    assert computed.take() == 0, "the split is drawn anew, but every image is there"
    assert_same(outcome(toy_recipe, *settings, seed=1, **NOT_STORED), second)


def test_what_another_process_computes_is_waited_for_and_not_computed_again(
    toy_recipe: Path, computed: Computed, folder: Path
) -> None:
    """The other holds the locks of what it computes, and gives them up when that is stored."""
    settings, stored = [weights_of(toy_recipe), "freeze={backbone=true}"], folder / Kind.FEATURES
    right = finish(training(toy_recipe, *settings, change=planned()))
    elsewhere = stored.rename(folder.parent / "elsewhere")
    locks = [FileLock(folder / f".filling-{digit}.lock") for digit in "0123456789abcdef"]

    class Other(Observer):
        told: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.told.append(text)
            if "waits" in text:
                shutil.copytree(elsewhere, stored, dirs_exist_ok=True)
                for lock in locks:
                    lock.release()

    for lock in locks:
        lock.acquire()
    computed.take()
    assert_same(finish(training(toy_recipe, *settings, change=planned(), observer=Other())), right)
    assert computed.take() == 0
    assert [line for line in Other.told if "waits" in line] == [
        "another process computes outputs of the same frozen stages; this one waits for them"
    ]


def test_another_seed_has_other_views_but_the_same_held_out_images(toy_recipe: Path, computed: Computed) -> None:
    settings = [weights_of(toy_recipe), "freeze={backbone=true}", *VIEWS, "data.split.validation=0.0"]
    outcome(toy_recipe, *settings, seed=0)
    assert computed.take() == 2 * 80 + 40
    second = outcome(toy_recipe, *settings, seed=1)
    assert computed.take() == 2 * 80
    assert_same(outcome(toy_recipe, *settings, seed=1, **NOT_STORED), second)


# ---- what may not be shared


def spared(recipe: Path, *settings: str, alter: Callable[[Training], None] = lambda _: None, **change: object) -> Outcome:
    mine = training(recipe, *CASES["last stage"], "data.batch_size=10", *settings, change=planned(**change))
    alter(mine)
    return finish(mine)


def shift(name: str) -> Callable[[Training], None]:
    def alter(mine: Training) -> None:
        tensor = mine.network.tensors()[name]
        tensor.view(-1)[0] = torch.nextafter(tensor.view(-1)[0], torch.tensor(9.0))

    return alter


ALTERED = {
    "weight": {"alter": shift("conv1.weight")},
    "running mean": {"alter": shift("bn1.running_mean")},
    "running variance": {"alter": shift("block1.1.running_var")},
    "precision": {"compute_format": ComputeFormat("bfloat16")},
    "memory format": {"compute_format": ComputeFormat("float32", "channels_last")},
    "chunk": {"chunk": 16},
    "not folded": {"folded": False},
    "stored earlier": {"train": 1, "evaluation": 1},
}


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
def test_rows_of_another_prefix_are_never_read(toy_recipe: Path, altered: dict[str, object], computed: Computed) -> None:
    spared(toy_recipe)
    assert computed.take() == TRAIN + HELD_OUT
    other = spared(toy_recipe, **altered)
    assert computed.take() >= TRAIN + HELD_OUT
    assert_same(spared(toy_recipe, **{**altered, **NOT_STORED}), other)


def test_weights_that_only_the_suffix_has_do_not_count(toy_recipe: Path, computed: Computed) -> None:
    spared(toy_recipe)
    computed.take()
    spared(toy_recipe, alter=shift("block2.0.weight"))
    assert computed.take() == 0


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    yield
    torch.set_num_threads(before)


def test_rows_of_other_threads_are_never_read(toy_recipe: Path, computed: Computed, request: pytest.FixtureRequest) -> None:
    spared(toy_recipe)
    computed.take()
    request.getfixturevalue("two_threads")
    spared(toy_recipe)
    assert computed.take() == TRAIN + HELD_OUT


def test_only_an_image_that_changed_is_computed_again(toy_recipe: Path) -> None:
    settings = ["data.options.seed=4321", *CASES["last stage"]]
    finish(training(toy_recipe, *settings, change=planned()))
    assert rows() == TRAIN + HELD_OUT
    mine = training(toy_recipe, *settings, change=planned())
    train = mine.prepared.train
    pixels = train.pictures.split.pixels.copy()
    changed = train.indices[[3, 17]]
    pixels[changed, 0, 0, 0] ^= 1
    train.pictures.split = replace(train.pictures.split, pixels=pixels)
    train.pictures._keyed[changed] = False  # the images were compared with those of the other parts before
    finish(mine)
    assert rows() == TRAIN + HELD_OUT + 2
    feed = mine.fit._feed_of(1)
    with torch.no_grad():
        right = feed._prefix(train.inputs(changed, 0, CPU))
    assert torch.equal(next(feed._rows[id(train)].batches(changed, 0, CPU, len(changed))), right)


def test_fewer_views_are_among_the_stored(toy_recipe: Path, computed: Computed) -> None:
    augment = 'data.augment=["hflip", "random_crop"]'
    spared(toy_recipe, augment, "data.augment_views=2")
    computed.take()
    fewer = spared(toy_recipe, augment, "data.augment_views=1")
    assert computed.take() == 0
    assert_same(spared(toy_recipe, augment, "data.augment_views=1", **NOT_STORED), fewer)


# ---- what goes wrong


def noted(mine: Training) -> list[str]:
    notes: list[str] = []
    parts = [mine.prepared.train, mine.prepared.evaluated.validation, mine.prepared.evaluated.test]
    for part in parts:
        part.pictures.note = notes.append
    return notes


def test_a_damaged_row_is_computed_again_and_said(toy_recipe: Path, folder: Path, computed: Computed) -> None:
    right = spared(toy_recipe)
    computed.take()
    for path in folder.rglob("features/*/*.rows"):
        spoil(path)
    segments = len(list(folder.rglob("features/*/*.rows")))
    mine = training(toy_recipe, *CASES["last stage"], "data.batch_size=10", change=planned())
    notes = noted(mine)
    assert_same(finish(mine), right)
    assert len([note for note in notes if "1 of " in note and "damaged and are computed again" in note]) == segments
    assert sum(computed.calls) == segments, "one row of each file"
    computed.take()
    assert_same(spared(toy_recipe), right)
    assert computed.take() == 0


def test_a_cache_that_cannot_be_written_costs_no_bit(toy_recipe: Path, folder: Path) -> None:
    right = spared(toy_recipe)
    cache.clear()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    folder.write_text("a file where the folder should be")
    assert_same(spared(toy_recipe), right)


class Stop(Exception):
    """Somebody asks to stop."""


@pytest.mark.parametrize("views", [[], VIEWS], ids=["plain", "views"])
@pytest.mark.parametrize("at", [2, 5, 9])
def test_what_was_computed_before_an_interruption_is_kept(
    toy_recipe: Path, at: int, views: list[str], computed: Computed
) -> None:
    """The training images are 6 chunks a view; then come one of 8 images and 4 of the test's."""
    calls: list[int] = []

    def watch() -> None:
        calls.append(1)
        if len(calls) == at + 1:  # the first is that of the training step that needs them
            raise Stop

    settings = [*CASES["last stage"], *views]
    right = outcome(toy_recipe, *settings, **NOT_STORED)
    assert not rows()
    computed.take()
    mine = training(toy_recipe, *settings, "data.batch_size=10", change=planned(), watch=watch)
    with pytest.raises(Stop):
        finish(mine)
    done = computed.take()
    assert rows() == done
    assert 0 < done < TRAIN + HELD_OUT
    assert_same(outcome(toy_recipe, *settings), right)
    assert computed.take() == TRAIN * (2 if views else 1) + HELD_OUT - done
