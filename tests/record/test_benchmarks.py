"""The history of the benchmarks, the tracker that fails when something became slower, and what `tlkit bench` shows."""

import json
import mmap
import time
from pathlib import Path

import pytest
import torch
from conftest import TOY_RECIPE, Cli
from torch import nn
from toy_records import FIRST, record

import tlkit
from benchmarks import cases, pair, verdicts
from benchmarks.cases import Case, Job
from tlkit.errors import TlkitError
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record, Verdict
from tlkit.reports import trend

SECOND = "2027-02-03T04:05:06+00:00"


def verdict(now: Record, before: Record) -> Verdict:
    (found,) = benchmarks.compare([now], [before])
    return found


@pytest.mark.parametrize(
    ("ratio", "spread", "before", "slower"),
    [
        (3.61, 0.0, 0.0, False),  # a tenth of 4.0 may be lost
        (3.59, 0.0, 0.0, True),
        (3.49, 0.0, 0.03, False),  # and the baseline's spread: 13 %
        (3.47, 0.0, 0.03, True),
        (3.59, 0.5, 0.0, True),  # not that of the present session
        (3.41, 0.0, 0.3, False),  # of the baseline's, 5 % at most: 15 %
        (3.39, 0.0, 0.3, True),
        (5.0, 0.0, 0.0, False),
    ],
)
def test_a_loss_beyond_a_tenth_and_the_baselines_spread_is_slower(
    ratio: float, spread: float, before: float, slower: bool
) -> None:
    assert verdict(record(ratio, spread=spread), record(4.0, spread=before)).slower is slower


def test_a_noisy_session_cannot_excuse_its_own_loss() -> None:
    ratio, spread = benchmarks.centre([4, 4, 2, 2, 2])
    found = verdict(record(ratio, spread=spread), record(4.0, spread=0.0))
    assert found.slower
    assert found.words == (
        "SLOWER: 50% slower than the baseline, 10% are allowed; the spread is 50%, too noisy to trust: more rounds help"
    )


def test_ratios_are_compared_and_seconds_are_not() -> None:
    now = record(4.0, images_per_second=1.0, epoch_seconds=9000.0)
    assert not verdict(now, record(4.0)).slower


def test_the_verdict_says_what_it_means() -> None:
    assert verdict(record(2.0), record(4.0)).words == "SLOWER: 50% slower than the baseline, 13% are allowed"
    assert verdict(record(4.4), record(4.0)).words == "10% faster than the baseline"
    assert verdict(record(3.8, spread=0.3), record(4.0)).words == (
        "5% slower than the baseline; the spread is 30%, too noisy to trust: more rounds help"
    )
    assert verdict(record(4.4, spread=0.0, rounds=1), record(4.0)).words == (
        "10% faster than the baseline; one round tells no spread: more rounds help"
    )


UNLIKE = [
    ({"images": 512}, {"images": 64}, "64 images, the baseline has 512"),
    ({"threads": 2}, {"threads": 1}, "1 thread, the baseline has 2"),
    ({}, {"threads": 8}, "8 threads, the baseline does not say"),
    ({"versions": {"torch": "2.6.0"}}, {"versions": {"torch": "2.14.1", "tlkit": "2"}}, "torch 2.14.1, the baseline has 2.6.0"),
    ({"images": 512, "threads": 2}, {"threads": 1}, "64 images, the baseline has 512; 1 thread, the baseline has 2"),
]


@pytest.mark.parametrize(("before", "now", "words"), UNLIKE)
def test_unlike_sessions_are_not_compared(before: dict[str, object], now: dict[str, object], words: str) -> None:
    found = verdict(record(1.0, **now), record(4.0, **before))
    assert (found.slower, found.change, found.words) == (False, None, f"not comparable: {words}")


def test_another_version_of_tlkit_is_what_is_compared() -> None:
    torch_ = {"torch": "2.14.1"}
    assert verdict(record(1.0, versions={**torch_, "tlkit": "2"}), record(4.0, versions={**torch_, "tlkit": "1"})).slower


def test_a_line_without_threads_reads() -> None:
    line = json.loads(record().model_dump_json())
    del line["threads"]
    assert Record.model_validate(line).threads == 0


def test_new_and_missing_benchmarks_are_named_and_are_not_slower() -> None:
    verdicts = benchmarks.compare([record(arm="new")], [record(arm="old")])
    assert [(each.key[1], each.slower, each.words) for each in verdicts] == [
        ("new", False, "new: no baseline yet"),
        ("old", False, "not run, though the baseline has it"),
    ]


def test_the_centre_is_the_median_and_half_the_quartiles() -> None:
    assert benchmarks.centre([1, 2, 3, 4, 5]) == (3, 1 / 3)  # quartiles 2 and 4
    assert benchmarks.centre([7.0]) == (7.0, 0.0)


def test_the_ratio_is_of_a_whole_run() -> None:
    assert benchmarks.run_ratio(plain=10, first=6, later=1, epochs=5) == 50 / 10


def test_history_grows_and_reads_back(tmp_path: Path) -> None:
    first, second = record(), record(5.0, date=SECOND)
    benchmarks.add(tmp_path / "machine", [first])
    benchmarks.add(tmp_path / "machine", [second])
    assert benchmarks.history(tmp_path / "machine") == [first, second]
    assert benchmarks.machines(tmp_path) == ["machine"]
    assert list(benchmarks.latest([second, first]).values()) == [(first, second)]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / benchmarks.HISTORY).write_text(record().model_dump_json() + "\n" + '{"format": 1}\n')
    with pytest.raises(TlkitError, match=r"history\.jsonl: is damaged: recipe: Field required"):
        benchmarks.history(tmp_path)


def test_a_history_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / benchmarks.HISTORY).write_bytes(b'{"recipe": "\xff\xfe"}\n')
    with pytest.raises(TlkitError, match=r"history\.jsonl: is damaged: not UTF-8 at byte 12\."):
        benchmarks.history(tmp_path)


@pytest.mark.parametrize("name", ["ratio", "first_ratio", "later_ratio"])
def test_a_ratio_of_nothing_is_damage(tmp_path: Path, name: str) -> None:
    line = json.loads(record().model_dump_json()) | {name: 0}
    (tmp_path / benchmarks.HISTORY).write_text(json.dumps(line))
    with pytest.raises(TlkitError, match=rf"is damaged: {name}: Input should be greater than 0"):
        benchmarks.history(tmp_path)


def test_a_machine_is_named_by_processor_cores_and_gpu() -> None:
    name = benchmarks.kind("NVIDIA H200 (SXM)")
    assert name.endswith("-cores-nvidia-h200-sxm")
    assert name == name.lower()
    assert "/" not in name


def rounds(*, delay: float, count: int = 3) -> list[Record]:
    """What a session keeps, with real times: the plain side sleeps 40 ms, ours 20 ms and the delay."""

    def timed(seconds: float) -> float:
        began = time.perf_counter()
        time.sleep(seconds)
        return time.perf_counter() - began

    job = Job(recipe="", trains=[], train=64, asked=64, held=8, scale=10.0, epochs=3, flops=1e9)
    plain, ours = [], []
    for _ in range(count):
        plain.append({"seconds": timed(0.04), "peak_anonymous": 1})
        whole = {"first": timed(0.02 + delay), "later": timed(0.02 + delay)}
        ours.append({**whole, "peak_anonymous": 2, "form": {}, "versions": {}, "threads": 3})
    names = {"recipe": "toy", "arm": "main", "mode": "eager", "date": FIRST}
    return [Record(**names, **pair.figures(job, plain, ours, {"float32": 1e12}))]


def judge(folder: Path, records: list[Record], *, update: bool = False, whole: bool = True) -> bool:
    return verdicts.judge(folder, records, benchmarks.baseline(folder), update=update, whole=whole)


def test_a_deliberate_slowdown_is_called_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not judge(tmp_path, rounds(delay=0), update=True)
    assert judge(tmp_path, rounds(delay=0.04))
    assert "toy-main-eager: SLOWER: " in capsys.readouterr().out


def test_noise_within_the_allowance_is_not_called_slower(tmp_path: Path) -> None:
    assert not judge(tmp_path, [record(4.0, spread=0.04)], update=True)
    assert not judge(tmp_path, [record(3.5, spread=0.3)])  # 14 % are allowed, 12.5 % lost
    assert judge(tmp_path, [record(3.4, spread=0.3)])


def test_unlike_sessions_are_said_and_not_called_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge(tmp_path, [record(4.0, images=512)], update=True)
    assert not judge(tmp_path, [record(1.0, images=64)])
    said = capsys.readouterr().out
    assert "quickstart-head_only-eager: not comparable: 64 images, the baseline has 512." in said
    assert "SLOWER" not in said


def test_without_a_baseline_the_tracker_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not judge(tmp_path, [record()])
    assert "--update makes these figures one" in capsys.readouterr().out
    assert not (tmp_path / benchmarks.BASELINE).exists()


def test_a_partial_session_keeps_the_rest_of_the_baseline(tmp_path: Path) -> None:
    judge(tmp_path, [record(arm="a"), record(arm="b")], update=True)
    judge(tmp_path, [record(5.0, arm="a")], update=True, whole=False)
    assert {(each.arm, each.ratio) for each in benchmarks.baseline(tmp_path)} == {("a", 5.0), ("b", 4.0)}


def test_figures_are_those_of_the_rounds() -> None:
    (kept,) = rounds(delay=0)
    assert (kept.recipe, kept.images, kept.asked, kept.rounds, kept.threads) == ("toy", 64, 64, 3, 3)
    assert 1 < kept.ratio < 3  # 40 ms over 20 ms, on a machine that may be busy


def test_bench_shows_every_session_and_draws_the_trend(run: Cli, tmp_path: Path) -> None:
    benchmarks.add(
        tmp_path / "benchmarks/baselines/some-machine", [record(4.0), record(2.0, date=SECOND), record(3.0, arm="all")]
    )
    code, out, _ = run("bench")
    assert code == 0
    lines = out.splitlines()
    assert lines[lines.index("quickstart: head_only, eager") + 1].split()[:2] == ["2027-01-02", "0123456"]
    assert max(map(len, lines)) <= 80, "no terminal cuts it"
    assert "-50%" in out
    svg = (tmp_path / "benchmarks/baselines/some-machine/trend.svg").read_text()
    assert "quickstart" in svg
    assert "head_only" in svg


def test_the_history_marks_what_became_slower_and_compares_only_what_is_alike() -> None:
    sessions = [
        record(4.0, spread=0.0), record(3.5, spread=0.5, date=SECOND), record(1.0, date="2027-03-04T00:00:00+00:00", images=8),
    ]  # fmt: skip
    lines = [line for line in trend.table("some-machine", sessions).renderables if line.plain.startswith("2027")]
    styled = [line.plain[span.start : span.end].strip() for line in lines for span in line.spans if span.style == "bold red"]
    assert (len(lines), styled) == (3, ["-12%"])


def test_bench_prints_json(run: Cli, tmp_path: Path) -> None:
    benchmarks.add(tmp_path / "benchmarks/baselines/some-machine", [record()])
    code, out, _ = run("bench", "--json")
    assert code == 0
    assert json.loads(out)["machines"]["some-machine"][0]["ratio"] == 4.0
    assert not (tmp_path / "benchmarks/baselines/some-machine/trend.svg").exists()


def test_bench_without_a_history_says_how_to_make_one(run: Cli, tmp_path: Path) -> None:
    code, _, err = run("bench")
    assert code == 1
    assert "benchmarks/baselines: holds no history." in err
    assert "make bench-track" in err
    benchmarks.add(tmp_path / "benchmarks/baselines/some-machine", [record()])
    code, _, err = run("bench", "--machine", "some-machin")
    assert code == 1
    assert 'did you mean "some-machine"?' in err


def test_every_arm_of_every_recipe_is_a_case() -> None:
    names = {case.name for case in cases.cases()}
    assert {"quickstart-scratch", "quickstart-head_only", "quickstart-finetune", "resnet18_cifar-main"} <= names


@pytest.fixture
def small(tmp_path: Path) -> Job:
    """An arm of a toy recipe, made smaller still."""
    path = tmp_path / "toy.toml"
    path.write_text(TOY_RECIPE + "[arms.head_only]\nfreeze = { backbone = true }\nlr_groups = { head = 1e-2 }\n")
    return cases.make(Case(path, "head_only"), tmp_path, images=36)


def test_a_case_keeps_what_the_recipe_says_and_its_proportions(small: Job) -> None:
    plan = tlkit.plan(small.recipe)["main"]
    assert (plan.tables.backbone.weights, plan.tables.data.name, plan.batch_size) == ("none", "synthetic", 16)
    assert {group.name for group in plan.groups} == {"head"}
    assert (plan.images.train, plan.images.train + plan.images.validation, plan.images.test) == (36, 40, 20)  # of 72, 80, 40
    assert (small.scale, small.epochs, plan.epochs) == (2, 2, 4)  # half the pictures, twice the epochs


def test_the_operations_of_a_frozen_backbone_are_those_of_its_forward(small: Job) -> None:
    plan = tlkit.plan(small.recipe)["main"]
    head = plan.stages[-1].flops
    assert small.flops == 36 * (plan.flops_per_image + 2 * head) + 24 * plan.flops_per_image


def test_both_sides_of_the_overhead_take_the_same_step() -> None:
    from benchmarks import overhead

    cpu = torch.device("cpu")
    plan = overhead.plan_of("toy", side=16, batch=8, rate=1e-2)  # so high that another rate would be seen
    batches = overhead.batches_of(plan, steps=1, device=cpu)
    ours, bare, before = (overhead.network(plan) for _ in range(3))
    for dropout in (each for each in [*ours.modules(), *bare.modules()] if isinstance(each, nn.Dropout)):
        dropout.p = 0.0  # the sides would draw other masks
    overhead.engine(plan, ours, batches, cpu)()
    overhead.by_hand(plan, bare, batches)()
    for name, tensor in ours.tensors().items():
        torch.testing.assert_close(tensor, bare.tensors()[name], msg=lambda text, name=name: f"{name}: {text}")
    assert not ours.tensors()["head.weight"].equal(before.tensors()["head.weight"])


def test_memory_of_a_block_is_its_peak() -> None:
    from benchmarks.machine import Peak, anonymous

    if not anonymous():
        pytest.skip("this system does not tell a process's anonymous memory")
    before = anonymous()
    # not from the heap, which may still hold what an earlier test freed
    with Peak() as peak, mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(bytes(64 << 20))
        time.sleep(0.1)
    assert peak.bytes >= before + (60 << 20)
