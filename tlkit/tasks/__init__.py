"""One file per kind of problem: what a target is, the loss, which predictions are correct, and the metrics.

Nothing outside asks which task it is. torch is imported inside functions only.
"""
