"""Transferability scores: how well features that a network already computes separate the classes of new images, without training it.

Each score is one number, computed with numpy and scikit-learn from features (n, d) and labels (n,); larger is better. Scores of different
networks on the same images can be compared, scores of different images cannot. No score imports torch or knows a network.
"""

from tlkit.advice.scores.gbc import gbc
from tlkit.advice.scores.h_score import h_score
from tlkit.advice.scores.leep import leep, nleep
from tlkit.advice.scores.logme import logme
from tlkit.advice.scores.neighbours import nearest_neighbours
from tlkit.advice.scores.table import SCORES, of

__all__ = ["SCORES", "gbc", "h_score", "leep", "logme", "nearest_neighbours", "nleep", "of"]
