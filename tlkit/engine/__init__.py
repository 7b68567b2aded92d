"""What computes: decoded images, augmentation, the frozen prefix, the training step, evaluation.

Nothing here reads a recipe, finds a plugin or knows a run folder.
"""
