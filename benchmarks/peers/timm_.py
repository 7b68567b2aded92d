"""timm's factories for the network, the data and the optimizer, in a plain loop as its training script has it.

Source: https://huggingface.co/docs/timm/training_script, train.py: create_model, create_dataset, create_loader (whose prefetcher copies on a
stream of its own and normalises on the device), create_optimizer_v2, autocast, channels-last. The pictures are cropped as everyone's are.
Everything trains, and create_loader leaves out a last small batch, so the training pictures should be whole batches.
"""

import timm
import torch
import torchvision
from timm.data import create_dataset, create_loader, create_transform
from timm.optim import create_optimizer_v2
from torch.nn import functional as F

from benchmarks.peers import contract


def loader(work, part, device):
    size = (3, work.side, work.side)
    made = create_loader(
        create_dataset("", root=f"{work.images}/{part}", split=part),
        input_size=size,
        batch_size=work.batch_size,
        is_training=part == "train",
        no_aug=True,
        mean=work.mean,
        std=work.std,
        interpolation=work.resize,
        device=device,
        **contract.loading(work),
    )
    # As in evaluation for both parts: a resize, then the centre. What create_loader sets for training resizes to the input's size.
    made.dataset.transform = create_transform(
        size, is_training=False, use_prefetcher=True, interpolation=work.resize, crop_pct=work.side / work.short
    )
    return made


def main():
    work = contract.spec()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(work.seed)
    torch.backends.cudnn.benchmark = work.tuned
    model = timm.create_model(work.network, num_classes=work.classes)
    model.load_state_dict(torch.load(work.state, weights_only=True))
    model = model.to(device, **contract.layout(work))
    optimizer = create_optimizer_v2(model, opt="momentum", lr=work.lr, momentum=work.momentum, weight_decay=0.0)
    clock, accuracies = contract.Clock(), []
    train, val = (loader(work, part, device) for part in ("train", "val"))
    for _ in range(work.epochs):
        model.train()
        for inputs, labels in train:
            clock.reach("first batch")
            inputs = inputs.contiguous(**contract.layout(work))
            with contract.autocast(work, device):
                loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clock.reach("first step")
        model.eval()
        correct = torch.zeros((), device=device)
        with torch.no_grad(), contract.autocast(work, device):
            for inputs, labels in val:
                correct += (model(inputs.contiguous(**contract.layout(work))).argmax(1) == labels).sum()
        accuracies.append(float(correct) / len(val.dataset))
        clock.lap()
    clock.answer(accuracies, {"timm": timm.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__})


if __name__ == "__main__":
    main()
