"""The learning-rate factor, held against torch.optim.lr_scheduler and numbers worked by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, OneCycleLR, SequentialLR, StepLR

from tlkit.plans.schedule import factor, ramp, warmup_steps
from tlkit.recipe.schedules import Constant, Cosine, OneCycle, Schedule, Step


def ours(schedule: Schedule, steps_per_epoch: int) -> list[float]:
    return [
        factor(step, schedule=schedule, steps_per_epoch=steps_per_epoch) for step in range(schedule.epochs * steps_per_epoch)
    ]


def theirs(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """Rates that torch's scheduler gives an optimizer whose peak rate is 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step() if len(rates) < steps else None
    return rates


@pytest.mark.parametrize(("epochs", "steps"), [(10, 7), (3, 5), (1, 10), (2, 2), (13, 1)])
@pytest.mark.parametrize(("rise", "start", "end"), [(0.3, 25.0, 1e4), (0.5, 10.0, 100.0), (0.9, 2.0, 2.0)])
def test_one_cycle_is_torchs(epochs: int, steps: int, rise: float, start: float, end: float) -> None:
    schedule = OneCycle(name="one_cycle", epochs=epochs, rise=rise, start_div=start, end_div=end)
    expected = theirs(
        lambda o: OneCycleLR(
            o, 1.0, total_steps=epochs * steps, pct_start=rise, div_factor=start, final_div_factor=end, cycle_momentum=False
        ),
        epochs * steps,
    )
    assert ours(schedule, steps) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("epochs", "steps", "final"), [(10, 7, 0.0), (3, 1, 0.1), (1, 1, 0.5), (1, 2, 0.0)])
def test_cosine_is_torchs(epochs: int, steps: int, final: float) -> None:
    expected = theirs(lambda o: CosineAnnealingLR(o, T_max=epochs * steps, eta_min=final), epochs * steps)
    assert ours(Cosine(name="cosine", epochs=epochs, final=final), steps) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("epochs", "steps", "every", "gamma"), [(10, 7, 3, 0.1), (4, 1, 1, 0.5), (2, 3, 5, 0.1), (5, 2, 5, 1.0)]
)
def test_step_is_torchs(epochs: int, steps: int, every: int, gamma: float) -> None:
    expected = theirs(lambda o: StepLR(o, step_size=every * steps, gamma=gamma), epochs * steps)
    assert ours(Step(name="step", epochs=epochs, every=every, gamma=gamma), steps) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("milestones", [[2], [2, 5], [5, 2], [1, 2, 3], [99], [3, 3]])
def test_step_at_milestones_is_torchs(milestones: list[int]) -> None:
    expected = theirs(lambda o: MultiStepLR(o, [4 * epoch for epoch in milestones], gamma=0.3), 28)
    assert ours(Step(name="step", epochs=7, milestones=milestones, gamma=0.3), 4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("warmup", [1.0, 2.5, 3.0])
def test_warm_up_and_cosine_are_torchs_one_after_the_other(warmup: float) -> None:
    """LinearLR from 1/w to 1 over w steps, then CosineAnnealingLR over the steps that are left."""
    steps, epochs = 4, 5
    first = round(warmup * steps)

    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        rise = LinearLR(optimizer, start_factor=1 / first, total_iters=first - 1)
        return SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, T_max=epochs * steps - first)], milestones=[first])

    schedule = Cosine(name="cosine", epochs=epochs, warmup_epochs=warmup)
    assert ours(schedule, steps) == pytest.approx(theirs(make, epochs * steps), abs=1e-12)


def test_warm_up_by_hand() -> None:
    """Two epochs of two steps: quarters of the peak, then the schedule proper."""
    assert ours(Constant(name="constant", epochs=3, warmup_epochs=2.0), 2) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert ours(Cosine(name="cosine", epochs=3, warmup_epochs=1.0, final=0.0), 2) == pytest.approx(
        [0.5, 1, 1, (1 + 2**-0.5) / 2, 0.5, (1 - 2**-0.5) / 2]
    )
    # The drops of `step` are at epochs of the run, not of what follows the warm-up.
    assert ours(Step(name="step", epochs=4, every=2, gamma=0.5, warmup_epochs=1.0), 2) == [0.5, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_one_cycle_by_hand() -> None:
    """Ten steps, half of them rising: 1/4 at the start, the peak at step 4, 1/4/5 at the end."""
    factors = ours(OneCycle(name="one_cycle", epochs=5, rise=0.5, start_div=4, end_div=5), 2)
    assert (factors[0], factors[2], factors[4], factors[9]) == pytest.approx((0.25, 0.625, 1.0, 0.05))


def test_constant_is_the_peak_throughout() -> None:
    assert ours(Constant(name="constant", epochs=3), 2) == [1.0] * 6


ONE_EPOCH = [
    Constant(name="constant", epochs=1, warmup_epochs=0.5),
    Step(name="step", epochs=1, every=1, warmup_epochs=0.9),
    Cosine(name="cosine", epochs=1, warmup_epochs=0.5),
    OneCycle(name="one_cycle", epochs=1),
]


@pytest.mark.parametrize("schedule", ONE_EPOCH, ids=lambda schedule: schedule.name)
def test_one_step_in_all_is_taken_at_the_peak(schedule: Schedule) -> None:
    """A run of one step would learn nothing at the beginning of a rise."""
    assert ours(schedule, 1) == [1.0]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ONE_EPOCH, ids=lambda schedule: schedule.name)
def test_shortest_runs_reach_the_peak_nearly(schedule: Schedule, steps: int) -> None:
    assert max(ours(schedule, steps)) > 0.7


@pytest.mark.parametrize("step", [-1, 6, 100])
def test_step_outside_the_run_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="6 steps"):
        factor(step, schedule=Constant(name="constant", epochs=3), steps_per_epoch=2)


@pytest.mark.parametrize(
    ("warmup", "epochs", "steps", "expected"), [(0.0, 3, 5, 0), (1.0, 3, 5, 5), (0.3, 3, 5, 2), (0.09, 3, 5, 0), (2.9, 3, 1, 2)]
)
def test_warm_up_is_rounded_to_steps_and_leaves_one(warmup: float, epochs: int, steps: int, expected: int) -> None:
    assert warmup_steps(Constant(name="constant", epochs=epochs, warmup_epochs=warmup), steps) == expected


SCHEDULES: st.SearchStrategy[Schedule] = st.integers(1, 6).flatmap(
    lambda epochs: st.one_of(
        st.builds(
            Constant, name=st.just("constant"), epochs=st.just(epochs), warmup_epochs=st.floats(0, epochs, exclude_max=True)
        ),
        st.builds(
            Cosine, name=st.just("cosine"), epochs=st.just(epochs), final=st.floats(0, 0.9), warmup_epochs=st.floats(0, 0.9)
        ),
        st.builds(Step, name=st.just("step"), epochs=st.just(epochs), every=st.integers(1, 7), gamma=st.floats(0.1, 1)),
        st.builds(
            OneCycle,
            name=st.just("one_cycle"),
            epochs=st.just(epochs),
            rise=st.floats(0.01, 0.99),
            start_div=st.floats(1.1, 99),
        ),
    )
)


@given(schedule=SCHEDULES, steps=st.integers(1, 9), data=st.data())
def test_factor_is_a_pure_function_of_the_step_between_0_and_1(schedule: Schedule, steps: int, data: st.DataObject) -> None:
    whole = ours(schedule, steps)
    assert all(0 <= value <= 1 for value in whole)
    order = data.draw(st.permutations(range(len(whole))))
    assert [factor(step, schedule=schedule, steps_per_epoch=steps) for step in order] == [whole[step] for step in order]


def test_ramp_is_danns() -> None:
    assert ramp(0, total=100) == 0
    assert ramp(10, total=100) == pytest.approx(math.tanh(0.5))  # 2 / (1 + exp(-2 x)) - 1 is tanh(x)
    assert ramp(99, total=100) == pytest.approx(math.tanh(4.95))
    with pytest.raises(ValueError, match="step 100 is outside"):
        ramp(100, total=100)
