"""Arms with the same network are planned on one, and their plans are those of arms that are planned alone."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tlkit import api
from tlkit.compiler import compiler, shared_networks
from tlkit.compiler.network_cost import FlopCounterMode
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plans import resolve
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.plan import ImagesPlan, Plan
from tlkit.plans.resolved import Resolved
from tlkit.sources.places import Places

ARMS = """
[arms.all]
[arms.head]
freeze = { backbone = true }
[arms.headless]
freeze = { head = true }
[arms.thaws]
freeze = { stem = true, block1 = { epochs = 1 } }
[arms.running]
backbone = { batch_norm = "running" }
[arms.batch]
data = { batch_size = "auto" }
[arms.sizes]
data = { image_sizes = [{ epochs = 1, size = 8 }, { epochs = 1, size = 16 }] }
[arms.middle]
freeze = { block1 = true }
[arms.few]
data = { batch_size = 8 }
[arms.tapped]
backbone = { name = "toy_tapped" }
[arms.untapped]
backbone = { name = "toy_tapped" }
head = { aux_weight = 0.0 }
[arms.mlp]
head = { kind = "mlp" }
[arms.wide]
head = { kind = "mlp", options = { widths = [32] } }
[arms.solved]
freeze = { backbone = true }
head = { kind = "lda" }
[arms.larger]
data = { image_size = 24 }
"""
FACTS = DataFacts(4, ImagesPlan(80, 0, 40, "counted"))


@pytest.fixture(autouse=True)
def _nothing_is_shared_yet() -> Iterator[None]:
    """Leave what all tests share."""
    token = shared_networks._shared.set(None)
    yield
    shared_networks._shared.reset(token)


@pytest.fixture
def arms(toy_recipe: Path) -> dict[str, Resolved]:
    toy_recipe.write_text(toy_recipe.read_text() + ARMS)
    return resolve.load(toy_recipe, (), Places(recipe=toy_recipe.parent))[1]


def planned(resolved: Resolved) -> Plan:
    return compiler.compile_plan(resolved, FACTS, where="here", device=torch.device("cpu"))


def test_plans_of_arms_that_share_a_network_are_those_of_arms_alone(
    arms: dict[str, Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.network.device_memory.usable_memory", lambda _: 2**30)
    alone = {name: planned(each) for name, each in arms.items()}
    built: list[Network] = []
    build = building.build
    monkeypatch.setattr(building, "build", lambda *args, **kwargs: built.append(build(*args, **kwargs)) or built[-1])
    for order in (arms, list(reversed(arms))):
        built.clear()
        with shared_networks.sharing():
            assert {name: planned(arms[name]) for name in order} == alone
        assert len(built) == 6, "of toy with four heads, of toy for larger pictures, of toy_tapped"
    planned(arms["all"])
    assert len(built) == 7, "a plugin may have changed since"


def test_a_recipes_arms_pass_the_meta_device_once(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []
    enter = FlopCounterMode.__enter__
    monkeypatch.setattr(FlopCounterMode, "__enter__", lambda self: counted.append(self) or enter(self))
    api.plan(toy_recipe)
    alone = len(counted)
    toy_recipe.write_text(toy_recipe.read_text() + "\n[arms.a]\n[arms.b]\nfreeze = { backbone = true }\n")
    api.plan(toy_recipe)
    assert alone > 0
    assert len(counted) == 2 * alone


def test_features_that_solved_heads_read_are_counted_once_for_all_arms(
    toy_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[Network] = []
    read = Network.read
    monkeypatch.setattr(Network, "read", lambda self, x: networks.append(self) or read(self, x))
    toy_recipe.write_text(toy_recipe.read_text() + '[freeze]\nbackbone = true\n[head]\nkind = "logistic"\n[arms.a]\n[arms.b]\n')
    made = api.plan(toy_recipe)
    assert all(plan.memory.embeddings == 2 * plan.images.train * 16 * 4 for plan in made.values())
    assert len(networks) == 1


def test_the_last_networks_are_kept() -> None:
    def made(number: int) -> Network:
        return shared_networks.network(partial(lambda _: Network({}, torch.nn.Identity()), number))

    with shared_networks.sharing():
        first = made(0)
        with shared_networks.sharing():
            assert made(0) is first
        others = [made(number) for number in range(1, 4)]
        assert made(0) is first
        made(4)
        assert [made(number) is each for number, each in ((3, others[2]), (2, others[1]), (0, first))] == [True] * 3
        assert made(1) is not others[0]
    assert made(0) is not made(0)
