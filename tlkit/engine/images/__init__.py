"""Decode image files, keep the decoded pictures, and make batches of tensors from them.

`decode` reads files, `geometry` brings pictures to size, `pictures` keeps them, `library` those of a data set, `parts` makes normalised
batches. What varies at random is in `tlkit.engine.augment`.
"""
