"""What every contender is given, what it must answer, and the network that it trains. Imports torch where it is needed.

The rule: the same pictures, pixels, first weights, batches, optimizer, rate and epochs for everyone, and an evaluation on every
validation picture after each epoch.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torchvision import transforms

# Module names that train in an arm, beside those of the arms before it.
_TRAINED = {
    "resnet18": {"head": ("fc",), "last": ("layer4", "fc")},
    "efficientnet_lite0": {"head": ("classifier",), "last": ("conv_head", "bn2", "classifier")},
    "mobilenet_v2": {"head": ("classifier",), "last": ("features.18", "classifier")},
}


@dataclass(frozen=True)
class Spec:
    """One piece of work.

    Attributes:
        network: "efficientnet_lite0", or a classifier's name in torchvision.
        arm: What trains: "head", "last" (the last stage and the head) or "all".
        images: Folder with train/ and val/, a folder per class in each.
        state: State-dict file that everyone begins with.
        classes: How many.
        mean: Subtracted from pixels in 0..1.
        std: Divided by after that.
        resize: "bilinear" or "bicubic".
        scratch: Folder for what the contender writes.
        cache: Folder for what tlkit stores.
        epochs: With an evaluation after each.
        views: Fixed augmented views of each picture, tlkit only; 0 for no augmentation. Others augment afresh each epoch.
        seed: Of order and augmentation; of tlkit's run.
        short: Side that the short side of a picture is resized to, pixels.
        side: Of the centre crop, pixels.
        batch_size: Pictures of a step.
        lr: Constant rate, that of PyTorch's transfer-learning tutorial, as is the momentum.
        momentum: Of SGD.
        workers: Processes that decode.
        tuned: With what each one's documentation recommends on a GPU: channels-last, bfloat16 where it is half precision, pinned memory
            and workers that stay; else as its tutorial is.
    """

    network: str
    arm: str
    images: str
    state: str
    classes: int
    mean: Sequence[float]
    std: Sequence[float]
    resize: str
    scratch: str
    cache: str
    epochs: int
    views: int = 0
    seed: int = 0
    short: int = 256
    side: int = 224
    batch_size: int = 32
    lr: float = 1e-3
    momentum: float = 0.9
    workers: int = 2
    tuned: bool = False

    def write(self, path: Path) -> Path:
        """Write it for the contender's process."""
        path.write_text(json.dumps(asdict(self)))
        return path


def spec() -> Spec:
    """Read the file that the command line names."""
    return Spec(**json.loads(Path(sys.argv[1]).read_text()))


class Clock:
    """Seconds from the first data read to the last result; each stage that is reached is told on stderr at once, for a runner that ends it."""

    def __init__(self) -> None:
        self.began_at = time.time()  # against which the runner holds the start of the process
        self._began = time.perf_counter()
        self._ends = [self._began]
        self._reached: set[str] = set()
        self.reach("imported")

    def lap(self) -> None:
        """Note the end of an epoch and its evaluation."""
        self._ends.append(time.perf_counter())
        self.reach(f"epoch {len(self._ends) - 1}")

    def reach(self, stage: str) -> None:
        """Tell that a stage is reached; after the first time nothing happens."""
        if stage not in self._reached:
            self._reached.add(stage)
            print(json.dumps({"reached": stage, "at": time.time()}), file=sys.stderr, flush=True)

    def answer(self, accuracy: Sequence[float], versions: dict[str, str], **more: object) -> None:
        """Stop, and print the one line that the runner reads.

        Args:
            accuracy: On the validation pictures, after each epoch.
            versions: Of what ran.
            more: Columns of a contender's own.
        """
        seconds = time.perf_counter() - self._began
        line = {"seconds": seconds, "began_at": self.began_at, "accuracy": list(accuracy), "versions": versions} | more
        line |= {"epoch_seconds": [end - before for before, end in itertools.pairwise(self._ends)]} if self._ends[1:] else {}
        print(json.dumps(line), flush=True)


def network(work: Spec) -> nn.Module:
    """Return the network with the weights that everyone begins with."""
    import torch

    if work.network == "efficientnet_lite0":  # torchvision has none
        from benchmarks.peers import efficientnet

        return efficientnet.load(work.state, work.classes)
    from torchvision import models

    made: nn.Module = models.get_model(work.network, num_classes=work.classes)
    made.load_state_dict(torch.load(work.state, weights_only=True))
    return made


def trains(work: Spec, name: str) -> bool:
    """Whether the parameter of a name trains."""
    return work.arm == "all" or name.startswith(tuple(f"{module}." for module in _TRAINED[work.network][work.arm]))


def halves(work: Spec, made: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the network as what is fixed and what trains, both in the order in which they run."""
    from torch import nn

    children = list(_modules(made))
    first = next(number for number, (name, _) in enumerate(children) if trains(work, f"{name}."))
    fixed, trained = ([module for _, module in part] for part in (children[:first], children[first:]))
    # Their forward has these as functions, in front of the classifier.
    functions = {"resnet18": [nn.Flatten()], "mobilenet_v2": [nn.AdaptiveAvgPool2d(1), nn.Flatten()]}
    trained[-1:-1] = functions.get(work.network, [])
    return nn.Sequential(*fixed), nn.Sequential(*trained)


def _modules(made: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that run one after the other, those of `features` each for itself."""
    for name, module in made.named_children():
        if name == "features":
            yield from ((f"{name}.{inner}", each) for inner, each in module.named_children())
        else:
            yield name, module


def geometry(work: Spec, *, train: bool) -> list[object]:
    """Return torchvision's transforms from a picture to its crop; random only where the work augments."""
    from torchvision import transforms

    resize = transforms.Resize(work.short, interpolation=transforms.InterpolationMode(work.resize))
    if train and work.views:
        return [resize, transforms.RandomCrop(work.side), transforms.RandomHorizontalFlip()]
    return [resize, transforms.CenterCrop(work.side)]


def transform(work: Spec, *, train: bool) -> transforms.Compose:
    """Return torchvision's transforms from a picture to a normalised tensor."""
    from torchvision import transforms

    return transforms.Compose([*geometry(work, train=train), transforms.ToTensor(), transforms.Normalize(work.mean, work.std)])


def loading(work: Spec) -> dict[str, Any]:
    """Return the settings of a data loader that are not the work itself.

    Source: https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html.
    """
    if not work.tuned:
        return {"num_workers": work.workers}
    import torch

    return {
        "num_workers": work.workers,
        "pin_memory": torch.cuda.is_available(),
        "persistent_workers": work.workers > 0,
    }


def autocast(work: Spec, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which a tuned loop computes in bfloat16, and any other as it is."""
    import torch

    return torch.autocast(device.type, torch.bfloat16) if work.tuned else nullcontext()


def layout(work: Spec) -> dict[str, torch.memory_format]:
    """Return the arguments of `.to` that a tuned loop gives to its network and to its pictures: channels-last."""
    import torch

    return {"memory_format": torch.channels_last} if work.tuned else {}
