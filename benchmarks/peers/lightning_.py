"""Lightning, as its page on transfer learning has a user write it.

Source: https://lightning.ai/docs/pytorch/stable/advanced/transfer_learning.html: what is fixed is put into eval mode and runs
without gradients. Its two batches of sanity checking are left out, since the others have none. Where the work is `tuned`, it has the
settings of its pages on speed (https://lightning.ai/docs/pytorch/stable/advanced/speed.html) and on precision, and channels-last.
"""

import lightning as L
import torch
import torchvision
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.peers import contract


class Transfer(L.LightningModule):
    def __init__(self, work):
        super().__init__()
        self.work, self.lr, self.momentum = work, work.lr, work.momentum
        self.feature_extractor, self.classifier = contract.halves(work, contract.network(work))
        if work.tuned:
            self.to(**contract.layout(work))
        self.feature_extractor.eval()
        for parameter in self.feature_extractor.parameters():
            parameter.requires_grad = False
        self.accuracies = []

    def forward(self, x):
        with torch.no_grad():
            representations = self.feature_extractor(x)
        return self.classifier(representations)

    def training_step(self, batch, batch_idx):
        self.clock.reach("first batch")
        x, y = batch
        x = x.contiguous(**contract.layout(self.work))
        return F.cross_entropy(self(x), y)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.clock.reach("first step")

    def validation_step(self, batch, batch_idx):
        x, y = batch
        x = x.contiguous(**contract.layout(self.work))
        self.log("val_acc", (self(x).argmax(1) == y).float().mean(), batch_size=len(y))  # averaged over pictures

    def on_validation_epoch_end(self):
        self.accuracies.append(float(self.trainer.callback_metrics["val_acc"]))
        self.clock.lap()

    def configure_optimizers(self):
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=self.lr, momentum=self.momentum)


def main():
    work = contract.spec()
    torch.manual_seed(work.seed)
    model = Transfer(work)
    clock = model.clock = contract.Clock()
    train, val = (
        DataLoader(
            ImageFolder(f"{work.images}/{part}", contract.transform(work, train=part == "train")),
            batch_size=work.batch_size,
            shuffle=part == "train",
            **contract.loading(work),
        )
        for part in ("train", "val")
    )
    trainer = L.Trainer(
        max_epochs=work.epochs,
        default_root_dir=work.scratch,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"precision": "bf16-mixed", "benchmark": True} if work.tuned else {}),
    )
    trainer.fit(model, train, val)
    versions = {"lightning": L.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    clock.answer(model.accuracies, versions)


if __name__ == "__main__":
    main()
