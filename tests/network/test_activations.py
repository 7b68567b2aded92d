"""What the layers of a network take while it answers, worked out by hand."""

import torch
from torch import Tensor, nn

from tlkit.network.activations import answer_bytes
from tlkit.network.network import Network

PLANE = 4 * 6 * 6 * 4  # bytes of a channel of four float32 images of 6 x 6 pixels
POOLED = 4 * (8 + 2) * 4  # of their features and logits


class Around(nn.Module):
    """A layer, and its input added to what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.other(self.one(x))


def test_inputs_and_outputs_that_live_at_the_same_time_are_counted() -> None:
    with torch.device("meta"):
        plain = Network({"stem": nn.Conv2d(3, 8, 3, padding=1)}, nn.Linear(8, 2))
        around = Network({"stem": nn.Conv2d(3, 8, 3, padding=1), "block": Around()}, nn.Linear(8, 2))
    assert answer_bytes(plain, images=4, image_size=(6, 6)) == (3 + 8) * PLANE + POOLED
    assert answer_bytes(around, images=4, image_size=(6, 6)) == (3 + 8 + 16 + 8) * PLANE, (
        "what came before the sum is kept beside it"
    )
    assert answer_bytes(around, cut=2, images=4, image_size=(6, 6)) == 8 * PLANE + POOLED, "of a prefix its output alone"
