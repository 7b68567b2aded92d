"""The computation of a run: decoding, augmentation, frozen stages, training steps, evaluation.

Nothing here reads a recipe, finds a plugin or knows a run folder.
"""
