"""The pictures of a report on masks."""

import numpy as np
import pytest
import torch

from tlkit.engine import picked_masks
from tlkit.engine.picked_masks import PickedMasks
from tlkit.engine.ranks.ranks import ALONE, Shared
from tlkit.plugin import IGNORED
from tlkit.run import mask_pictures


def test_a_missed_vessel_is_seen_on_a_red_retina() -> None:
    picture = np.full((1, 5, 3), (180, 60, 30), np.uint8)
    truth, picked = np.array([[0, 1, 1, 0, IGNORED]]), np.array([[0, 1, 0, 1, 1]])
    nothing, hit, missed, made_up, unknown = mask_pictures.marked(picture, truth, picked)[0].astype(int)
    grey = round(0.299 * 180 + 0.587 * 60 + 0.114 * 30)
    assert nothing.tolist() == unknown.tolist() == [grey] * 3
    for colour, channel in ((hit, 1), (missed, 0), (made_up, 2)):
        assert colour.argmax() == channel
        assert colour[channel] > grey + 20


def test_masks_of_few_pictures_are_kept_while_they_are_evaluated_and_of_many_none(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(5, 3, 4, 6)
    for most, kept in ((5 * 4 * 6, True), (5 * 4 * 6 - 1, False)):
        monkeypatch.setattr(picked_masks, "MOST", most)
        masks = PickedMasks(Shared(ALONE, np.arange(5), 2))
        for some in logits.split(2):
            masks.add_(some)
        found = masks.together()
        assert (found is not None) == kept
        assert found is None or (found.dtype == torch.uint8 and torch.equal(found.long(), logits.argmax(1)))
