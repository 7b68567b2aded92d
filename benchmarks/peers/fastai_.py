"""fastai, as its vision tutorial and the page of Learner have a user write it: from_folder, a splitter, freeze, fit.

Source: https://docs.fast.ai/tutorial.vision.html, https://docs.fast.ai/learner.html. `vision_learner` would put a head of its own
on the network, so `Learner` takes the common one. Against fastai's defaults, so that the work is the same: the last small batch is
trained on too, the normalisations of a frozen part are not trained (which is also faster), and torch's SGD is the optimizer.
"""

from functools import partial

import fastai
import torch
import torchvision
from fastai.vision.all import (
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    OptimWrapper,
    PILImage,
    Transform,
    accuracy,
    params,
)
from torchvision import transforms

from benchmarks.peers import contract


class Crop(Transform):
    """The crop that everyone takes."""

    def __init__(self, work):
        self.crop = transforms.Compose(contract.geometry(work, train=False))

    def encodes(self, x: PILImage):
        return PILImage(self.crop(x))


def main():
    work = contract.spec()
    torch.manual_seed(work.seed)
    fixed, trained = contract.halves(work, contract.network(work))
    model = torch.nn.Sequential(fixed, trained)
    clock = contract.Clock()
    dls = ImageDataLoaders.from_folder(
        work.images,
        train="train",
        valid="val",
        bs=work.batch_size,
        num_workers=work.workers,
        drop_last=False,
        item_tfms=Crop(work),
        batch_tfms=Normalize.from_stats(work.mean, work.std, cuda=torch.cuda.is_available()),
    )
    learn = Learner(
        dls,
        model,
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(OptimWrapper, opt=torch.optim.SGD, momentum=work.momentum),
        splitter=(lambda m: params(m)) if work.arm == "all" else (lambda m: [params(m[0]), params(m[1])]),
        metrics=accuracy,
        path=work.scratch,
        train_bn=False,
    )
    if work.arm != "all":
        learn.freeze()
    with learn.no_bar(), learn.no_logging():
        learn.fit(work.epochs, work.lr)
    versions = {"fastai": fastai.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    clock.answer([float(row[2]) for row in learn.recorder.values], versions)


if __name__ == "__main__":
    main()
