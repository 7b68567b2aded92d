"""The pictures of a report on masks."""

import numpy as np

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
