"""PyTorch's transfer-learning tutorial, its loop as it stands there.

Source: https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html (Chilamkurthy; BSD). From it differ: the
network and its first weights, the deterministic crop, 2 workers instead of 4 (this is about 2 cores), and a constant rate, which
the tutorial's schedule also is for its first 7 epochs. Where the work is `tuned`, the same loop has what PyTorch's tuning guide recommends
(https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html), but for torch.compile.
"""

import os
import tempfile

import torch
import torchvision
from torch import nn, optim
from torchvision import datasets

from benchmarks.peers import contract

work = contract.spec()
device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
torch.manual_seed(work.seed)
torch.backends.cudnn.benchmark = work.tuned


def train_model(model, criterion, optimizer, num_epochs):
    accuracies = []
    with tempfile.TemporaryDirectory() as tempdir:
        best_model_params_path = os.path.join(tempdir, "best_model_params.pt")
        torch.save(model.state_dict(), best_model_params_path)
        best_acc = 0.0
        for _ in range(num_epochs):
            for phase in ["train", "val"]:
                if phase == "train":
                    model.train()
                else:
                    model.eval()
                running_loss = 0.0
                running_corrects = 0
                for inputs, labels in dataloaders[phase]:
                    clock.reach("first batch")
                    inputs = inputs.to(device, non_blocking=work.tuned, **contract.layout(work))
                    labels = labels.to(device, non_blocking=work.tuned)
                    optimizer.zero_grad()
                    with torch.set_grad_enabled(phase == "train"):
                        with contract.autocast(work, device):
                            outputs = model(inputs)
                            _, preds = torch.max(outputs, 1)
                            loss = criterion(outputs, labels)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                    running_loss += loss.item() * inputs.size(0)
                    clock.reach("first step")
                    running_corrects += torch.sum(preds == labels.data)
                epoch_acc = running_corrects.double() / dataset_sizes[phase]
                if phase == "val":
                    accuracies.append(float(epoch_acc))
                    if epoch_acc > best_acc:
                        best_acc = epoch_acc
                        torch.save(model.state_dict(), best_model_params_path)
            clock.lap()
        model.load_state_dict(torch.load(best_model_params_path, weights_only=True))
    return accuracies


model = contract.network(work)
for name, param in model.named_parameters():
    param.requires_grad = contract.trains(work, name)
model = model.to(device, **contract.layout(work))
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=work.lr, momentum=work.momentum)

clock = contract.Clock()
image_datasets = {
    x: datasets.ImageFolder(os.path.join(work.images, x), contract.transform(work, train=x == "train"))
    for x in ["train", "val"]
}
dataloaders = {
    x: torch.utils.data.DataLoader(image_datasets[x], batch_size=work.batch_size, shuffle=True, **contract.loading(work))
    for x in ["train", "val"]
}
dataset_sizes = {x: len(image_datasets[x]) for x in ["train", "val"]}
accuracies = train_model(model, criterion, optimizer, work.epochs)
clock.answer(accuracies, {"torch": torch.__version__, "torchvision": torchvision.__version__})
dataloaders.clear()  # on an H100 the process did not end within 80 s with pinned memory and workers that stay, which are ended here
