"""Masks, boxes and adaptation on a GPU that is not there: how many kernels, and nothing that waits but where it must."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy_domains
import toy_masks
from torch import Tensor
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there
from toy_step import there
from toy_training import CPU, Training, training

from tlkit import tasks
from tlkit.compiler import compiler, memory_estimate
from tlkit.compiler.loss_memory import loss_bytes
from tlkit.engine import evaluate, host_rows, pseudo_labelling, tiles, transfer
from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.engine.explanation import excitation
from tlkit.engine.images import device_batches
from tlkit.engine.images.parts import Evaluated
from tlkit.engine.ranks.ranks import ALONE, Group
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.runtime import Runtime
from tlkit.engine.step.counting import Counted
from tlkit.engine.step.host_reads import HostReads
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.engine.transfer import PlainCopier
from tlkit.inspection import embedding
from tlkit.network import activations
from tlkit.network.network import Network
from tlkit.plugin import Boxes
from tlkit.plugin.masks import IGNORED
from tlkit.recipe.losses import LossTable
from tlkit.run import domain_features
from tlkit.tasks import detection, mask_rows

CUDA = torch.device("cuda")
SEGMENTATION = tasks.get("segmentation")
# Of the toy, forward, with the losses and sums of its task.
MOST_OF_MASKS, MOST_OF_BOTH_DOMAINS = 110, 140


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return toy_masks.recipe(tmp_path, monkeypatch)


def taken(step: Step, batch: Batch, whole: Whole) -> Operators:
    """The operators of the forward pass of a step, of its losses and sums."""
    with Operators() as operators, torch.no_grad():
        found = step._losses.of(batch, whole, 0, Counted(whole.counts[0]), synced=False, start=0, aux_heads={})
        step._add_(0, found, whole.counts[0], here=True)
    return operators


# ---- masks


@pytest.mark.parametrize("head", ["fcn", pytest.param("unet", marks=pytest.mark.slow)])
def test_a_step_on_masks_takes_as_many_kernels_for_any_batch_and_waits_for_nothing(recipe: Path, head: str) -> None:
    counts = []
    mine = training(recipe, "data.crop_size=16", f"head.kind={head}", "loss={dice=1.0, focal=1.0}", keep=False)
    with on_a_gpu_that_is_not_there():
        step = there(mine.network, replace(mine.plan, class_weights=(1.0, 2.0)))
        for images in (2, 16):
            x, masks = torch.empty(images, 3, 16, 16, device=FAKE), torch.zeros(images, 16, 16, dtype=torch.uint8, device=FAKE)
            operators = taken(step, (x, masks), Whole((images,), (images,)))
            assert (operators.reads, operators.uploads) == ([], 0)
            counts.append(len(operators.kernels))
    assert counts[0] == counts[1] <= MOST_OF_MASKS


@pytest.mark.parametrize("classes", [2, 5])
def test_masks_are_evaluated_without_a_look_at_the_device(classes: int) -> None:
    """What is kept of each image comes to the host once at the end, and its targets, which say nothing, beside it."""
    assert SEGMENTATION.reduction is not None
    counts = []
    for images in (2, 8):
        with on_a_gpu_that_is_not_there(), Operators() as operators:
            logits = torch.empty(images, classes, 20, 30, device=FAKE)
            rows = SEGMENTATION.reduction.rows(logits, torch.zeros(images, 20, 30, dtype=torch.uint8, device=FAKE))
        assert (rows.shape[0], rows.dtype, rows.device) == (images, torch.float64, FAKE)
        assert (operators.reads, operators.uploads) == ([], 0)
        counts.append(len(operators.kernels))
    assert counts[0] == counts[1] <= 45


@pytest.mark.parametrize("classes", [2, 5])
def test_pixels_are_counted_on_a_gpu_as_on_a_cpu_and_torchs_settings_stay(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fixed order would sort the pixels; torch's function that sets one imports its compiler, and sets that one too."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, classes, 20, 30, generator=draw)
    targets = torch.randint(classes, (3, 20, 30), generator=draw, dtype=torch.uint8)
    targets[:, :5] = IGNORED
    expected = mask_rows.rows(logits, targets, torch.zeros(3, 20, 30))
    modes = []
    scatter = Tensor.scatter_add_
    monkeypatch.setattr(
        Tensor, "scatter_add_", lambda *args: modes.append(torch.get_deterministic_debug_mode()) or scatter(*args)
    )
    monkeypatch.setattr(torch, "use_deterministic_algorithms", pytest.fail)
    monkeypatch.setattr(Tensor, "is_cuda", property(lambda _: True))
    torch.set_deterministic_debug_mode("warn")
    try:
        assert torch.equal(mask_rows.rows(logits, targets, torch.zeros(3, 20, 30)), expected)
        assert modes == [0] * (2 if classes == 2 else 1)
        assert torch.get_deterministic_debug_mode() == 1
    finally:
        torch.set_deterministic_debug_mode("default")


def test_masks_are_made_ahead_of_a_gpu_and_are_those_of_the_cpu(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[tuple[int, ...]] = []

    class Copier(PlainCopier):
        def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
            buffers.append(shape)
            return super().buffer(shape, dtype)

    mine = training(recipe, "data.crop_size=16", 'data.augment=["random_crop", "hflip"]', keep=False)
    monkeypatch.setattr(transfer, "copier", lambda _: Copier(CPU))
    train, held_out = mine.prepared.train, mine.prepared.evaluated.validation
    for part, size in ((train, (16, 16)), (held_out, held_out.pictures.geometry.size)):
        order = part.indices[::-1]
        found, expected = (list(device_batches.targets(part, order, 1, device, 3)) for device in (CUDA, CPU))
        assert len(found) == len(expected)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert set(buffers) == {(3, *size)}
        buffers.clear()


def test_the_memory_estimate_of_a_gpu_counts_the_loss_of_masks(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 21 classes 3 times the logits: log-probabilities, their gradient and that of the logits; Dice keeps two more."""
    logits = 4 * 21 * 64 * 64 * 4
    each = [
        loss_bytes(SEGMENTATION, LossTable(dice=weight), classes=21, images=4, size=(64, 64)) / logits for weight in (0.0, 1.0)
    ]
    assert each == pytest.approx([3, 5], abs=0.2)
    monkeypatch.setattr(memory_estimate, "loss_bytes", lambda *_, **more: 10**9 * (more["classes"] == 2))
    prepared = training(recipe, "data.crop_size=16", "data.batch_size=4", keep=False).prepared
    resolved, facts = prepared.decoded.resolved, prepared.decoded.facts
    on = {
        name: compiler.compile_plan(resolved, facts, where="here", device=torch.device(name)).memory.activations
        for name in ("cpu", "cuda")
    }
    assert on["cpu"] < 10**9
    assert on["cuda"] > 2 * 10**9


def test_the_memory_estimate_of_a_gpu_counts_a_picture_in_tiles_that_takes_more_than_a_batch(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a tile in eval mode: of one that is a single value of a map, as 32 pixels are for ResNet-18, BatchNorm has no statistics."""
    answer_bytes, training_mode = activations.answer_bytes, []

    def seen(network: Network, **more: object) -> int:
        training_mode.append(any(module.training for module in network.modules()))
        return answer_bytes(network, **more)

    monkeypatch.setattr(activations, "answer_bytes", seen)
    monkeypatch.setattr(tiles, "peak_bytes", lambda size, **_: 10**9)
    prepared = training(recipe, "data.crop_size=16", "data.tile_size=40", "data.batch_size=4", keep=False).prepared
    resolved, facts = prepared.decoded.resolved, prepared.decoded.facts
    for name, counts in (("cpu", 0), ("cuda", 1)):
        memory = compiler.compile_plan(resolved, facts, where="here", device=torch.device(name)).memory
        assert memory.activations // 10**9 == counts
    assert training_mode == [False]


@pytest.mark.parametrize("size", [(40, 100), (97, 130)])
def test_tiles_are_put_together_where_the_picture_is(size: tuple[int, int]) -> None:
    with on_a_gpu_that_is_not_there(), Operators() as operators:
        x = torch.empty(2, 3, *size, device=FAKE)
        found = tiles.logits(SEGMENTATION, lambda part: part[:, :2].contiguous(), x, tile=64)
    assert (found.shape, found.device) == ((2, 2, *size), FAKE)
    assert (operators.reads, operators.uploads) == ([], 0)


# ---- classes


@pytest.mark.parametrize("what", ["pseudo-labels", "patches", "domains", "inspection", "evaluation"])
def test_batches_come_to_the_host_together(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Each copy waits for a GPU, which then has nothing to do until the host has asked for the next batch. What is kept of all images of
    a data set, not of some of them, is copied before it fills the GPU.
    """
    mine = training(toy_recipe)
    part = mine.prepared.evaluated.parts["test"]
    copied: list[int] = []
    cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda rows: copied.append(len(rows)) or cpu(rows))
    forward = EvaluationForward(mine.network, mine.plan, CPU)
    for images, room in ((4, 1 << 28), (12, 1 << 28), (6, 1)):
        monkeypatch.setattr(host_rows, "_AT_ONCE", room)
        batches = list(torch.randn(images, 3, 16, 16).split(2))
        feed = SimpleNamespace(inputs=lambda *_, batches=batches: batches, held_out=lambda _, b=batches: [(x, None) for x in b])
        train = SimpleNamespace(pseudo=np.zeros(images, np.int64), indices=np.arange(images))
        monkeypatch.setattr(domain_features, "inputs", feed.inputs)
        monkeypatch.setattr(embedding, "Feed", lambda *given, feed=feed: feed if given[-1].ranks is ALONE else None)
        copied.clear()
        if what == "pseudo-labels":
            pseudo_labelling.label_(train, SimpleNamespace(part=None), forward, feed, watch=lambda: None)
        elif what == "evaluation":
            targets = torch.zeros(2, dtype=torch.int64)
            evaluate.evaluate(mine.network, forward, [(x, targets) for x in batches], watch=lambda: None)
        elif what == "patches":
            excitation.scan(mine.network, batches)
        elif what == "domains":
            domain_features.features(mine.network, part, np.arange(images), device=CPU)
        else:
            plan = replace(mine.plan, phases=(None,))
            embedding.embed(mine.network, None, plan, part, Evaluated(None, part), Runtime(CPU, ranks=Group(0, 2, 0, 2)))
        assert copied
        assert set(copied) == {2 if room == 1 and what in ("pseudo-labels", "inspection", "evaluation") else images}


# ---- boxes


def boxes(images: int) -> Tensor:
    """Targets of images that have 0, 1, 2 ... boxes, the last of each ignored."""
    targets = np.empty(images, object)
    for index in range(images):
        corners = np.array([[4, 4, 12, 20]] * (index % 4), np.float32).reshape(-1, 4)
        ignored = np.arange(len(corners)) == len(corners) - 1
        targets[index] = Boxes((32, 32), corners, np.arange(len(corners)) % 2, ignored, 4)
    return detection.batch(targets)


def answered(images: int) -> Tensor:
    """What a head of places gives for two classes and two levels, of 16 and 4 places."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, 2 + detection.POINT_DETECTION.outputs(0), 20, generator=generator)
    steps = torch.arange(20.0)
    logits[:, 6:10] = torch.stack([steps, steps, steps + 8, steps + 8])
    logits[:, 10] = torch.tensor([0.0] * 16 + [1.0] * 4)
    return logits


def test_the_boxes_that_count_are_found_with_one_look_at_the_device_for_any_number_of_images() -> None:
    for images in (1, 7):
        with HostReads() as reads:
            hits, total = detection.POINT_DETECTION.correct(answered(images), boxes(images))
        assert reads.found == ["aten.index.Tensor"]
        assert int(total) == sum(max(0, index % 4 - 1) for index in range(images))
        assert 0 <= int(hits) <= int(total)


def test_levels_are_counted_once_for_a_batch_of_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    bincount = torch.bincount

    def counting(*args: Tensor, **more: int) -> Tensor:
        counted.append(len(args[0]))
        return bincount(*args, **more)

    monkeypatch.setattr(torch, "bincount", counting)
    logits, targets = answered(5), boxes(5)
    rows = detection.POINT_DETECTION.reduction.rows(logits, targets)
    assert counted == [20]
    torch.testing.assert_close(rows[:, 0], detection.POINT_DETECTION.losses(logits, targets))
    hits, total = detection.POINT_DETECTION.correct(logits, targets)
    assert rows[:, 1:3].sum(0).tolist() == [int(hits), int(total)]


def test_boxes_come_to_a_gpu_without_waiting_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: list[Tensor] = []
    monkeypatch.setattr(transfer, "upload", lambda host, device: uploaded.append(host) or host)

    class Part:
        masks, places = None, True

        def targets(self, chosen: np.ndarray, epoch: int, device: torch.device) -> Tensor:
            assert device == CPU
            return torch.from_numpy(chosen)

    found = list(device_batches.targets(Part(), np.arange(5), 0, CUDA, 2))
    assert [each.tolist() for each in found] == [[0, 1], [2, 3], [4]]
    assert len(uploaded) == 3


# ---- adaptation

METHODS = {
    "cdan": 'adapt={target="dark", images="all", method="cdan"}',
    "dann": 'adapt={target="dark", images="all", method="dann"}',
    "mdd": 'adapt={target="dark", images="all", method="mdd"}',
    "mmd": 'adapt={target="dark", images="all", method="mmd", options={stages=["stem", "block2"]}}',
    "mcc": 'adapt={target="dark", images="all", method="mcc"}',
    "mme": 'adapt={target="dark", images="all", method="mme", labels_per_class=2}',
}  # fmt: skip


def adapted(folder: Path, *settings: str) -> Training:
    text = toy_domains.recipe(adapt='method = "dann"\n', more="[lr_groups]\nbackbone = 1e-2\nhead = 1e-2\n")
    return training(toy_domains.write(folder, text), *settings, keep=False)


@pytest.mark.parametrize(
    "method", ["cdan", "mmd", "mme", *(pytest.param(method, marks=pytest.mark.slow) for method in ("dann", "mcc", "mdd"))]
)
def test_a_step_of_adaptation_takes_as_many_kernels_for_any_batch_and_waits_for_nothing(tmp_path: Path, method: str) -> None:
    counts, few = [], 3 if method == "mme" else 0
    mine = adapted(tmp_path, METHODS[method])
    adaptation = mine.prepared.job.resolved.adaptation
    assert adaptation is not None
    with on_a_gpu_that_is_not_there():
        step = there(mine.network, mine.plan, domains=lambda: DomainLoss(mine.network, adaptation, FAKE, labelled=0.3))
        step.set_ramp_(0.5)
        for images in (4, 32):
            x = torch.empty(2 * images + few, 3, 16, 16, device=FAKE)
            labels = torch.zeros(images + few, dtype=torch.int64, device=FAKE)
            operators = taken(step, (x, labels), Whole((images,), (images,), (few,) if few else ()))
            assert (operators.reads, operators.uploads) == ([], 0)
            counts.append(len(operators.kernels))
    assert counts[0] == counts[1] <= MOST_OF_BOTH_DOMAINS


def test_images_that_are_adapted_to_stay_on_a_device_as_those_of_the_source_do(tmp_path: Path) -> None:
    mine = adapted(tmp_path, METHODS["dann"], 'data.augment=["random_resized_crop"]')
    target = mine.prepared.evaluated.target
    assert target.training.pictures is not target.part.pictures
    mine.fit._feed_of(1)._settle()
    for part in (mine.prepared.train, target.training, target.part):
        assert part.pictures.on(part.indices, CPU)
