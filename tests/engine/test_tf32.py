"""TF32 is off while tlkit computes in float32, on while it computes in TF32, and afterwards as the program had it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_step import made

from tlkit.engine import tf32
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.fold import folded
from tlkit.engine.step.step import Step
from tlkit.record.formats import ComputeFormat, PrefixPlan

# What a program may have done to torch's flags. Each runs in a process of its own: they cannot all be taken back.
PROGRAMS = {
    "nothing": "pass",
    "older interface": "torch.backends.cudnn.allow_tf32 = False; torch.backends.cuda.matmul.allow_tf32 = True",
    "precision of products": 'torch.set_float32_matmul_precision("high")',
    "bfloat16 products": 'torch.set_float32_matmul_precision("medium")',
    "everything": 'torch.backends.fp32_precision = "tf32"',
    "everything exact": 'torch.backends.fp32_precision = "ieee"',
    "products": 'torch.backends.cuda.matmul.fp32_precision = "tf32"',
    "convolutions": 'torch.backends.cudnn.conv.fp32_precision = "ieee"',
    "convolutions in TF32": 'torch.backends.cudnn.conv.fp32_precision = "tf32"; torch.backends.fp32_precision = "ieee"',
}
# Prints a line for each flag that is not as it should be; torch is imported once, and each program has a fork of it.
CHECK = """
import json, os, sys
import torch
from tlkit.engine import tf32

matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn

def flags():
    kinds = [(kind, part) for kind in ("cuda", "mkldnn") for part in ("all", "conv", "matmul", "rnn")]
    read = [torch._C._get_fp32_precision_getter(*each) for each in [("generic", "all"), *kinds]]
    for older in (torch.get_float32_matmul_precision, lambda: matmul.allow_tf32, lambda: cudnn.allow_tf32):
        try:
            read.append(older())
        except RuntimeError:
            read.append("mixed")
    return read

def now():
    return cudnn.conv.fp32_precision, matmul.fp32_precision, matmul.allow_tf32

def used():
    before, found = flags(), []
    tf32.described()
    with tf32.forbidden():
        found.append(now())
        with tf32.allowed():
            found.append(now())
            with tf32.forbidden():
                found.append(now())
            found.append(now())
        found.append(now())
    exact, rounded = ("ieee", "ieee", False), ("tf32", "tf32", True)
    if found != [exact, rounded, exact, rounded, exact]:
        print("within", found)
    if flags() != before:
        print("afterwards", before, flags())

def alone(program, then):
    read, write = os.pipe()
    if not os.fork():
        exec(program, globals())
        then()
        torch.backends.fp32_precision = "ieee"
        os.write(write, json.dumps(flags()).encode())
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    os.wait()
    return os.read(read, 10_000).decode()

for name, program in json.loads(sys.argv[1]).items():
    print("of", name, flush=True)
    if alone(program, used) != alone(program, lambda: None):
        print("what the program sets for everything later is another", flush=True)
"""


def test_flags_are_set_together_and_put_back_whatever_a_program_had_set() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK, json.dumps(PROGRAMS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"of {name}" for name in PROGRAMS]


def test_flags_are_set_together_and_put_back() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = tf32.described(), cudnn.allow_tf32, matmul.allow_tf32, torch.get_float32_matmul_precision()
    with tf32.forbidden():
        assert tf32.described() == "convolutions ieee, products ieee"
        with tf32.allowed():
            assert tf32.described() == "convolutions tf32, products tf32"
    assert (tf32.described(), cudnn.allow_tf32, matmul.allow_tf32, torch.get_float32_matmul_precision()) == before


class Looking(nn.Module):
    """A convolution and its BatchNorm that write down the flags under which they are run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.seen: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tf32.described())
        return self.norm(self.conv(x))


def test_folding_is_checked_in_float32() -> None:
    stage = Looking().eval()
    made = folded(stage, torch.randn(1, 3, 8, 8))
    assert set(stage.seen) | set(made.seen) == {"convolutions ieee, products ieee"}
    assert isinstance(made.norm, nn.Identity)


@pytest.mark.parametrize(("precision", "flags"), [("float32", "ieee"), ("tf32", "tf32")])
def test_a_prefix_and_a_step_are_rounded_as_their_precision_says(toy_recipe: Path, precision: str, flags: str) -> None:
    network, plan = made(toy_recipe, compute_format=ComputeFormat(precision))
    seen: list[str] = []
    network.stages["block1"].register_forward_hook(lambda *_: seen.append(tf32.described()))
    network.stages["block1"].register_full_backward_hook(lambda *_: seen.append(tf32.described()))
    with tf32.forbidden():
        step = Step(network, plan, torch.device("cpu"))
        step.begin_(1)
        step([(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3]))])
        assert len(seen) == 2
        EvaluationForward(network, plan, torch.device("cpu"))(torch.randn(4, 3, 16, 16))
        fixed = PrefixPlan(ComputeFormat(precision), chunk=4)
        run = prefix.build(network, 2, fixed, sample=torch.randn(1, 3, 16, 16))
        del seen[3:]  # of building, which folds
        run(torch.randn(2, 3, 16, 16))
        assert tf32.described() == "convolutions ieee, products ieee"
    assert seen == [f"convolutions {flags}, products {flags}"] * 4


def test_threads_whose_use_of_the_flags_overlaps_leave_them_as_they_were() -> None:
    before, one, other = tf32.described(), tf32.allowed(), tf32.forbidden()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert tf32.described() == "convolutions ieee, products ieee", "as the one that is left needs them"
    other.__exit__(None, None, None)
    assert tf32.described() == before
