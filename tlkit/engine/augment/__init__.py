"""Augmentation: random changes to training images, drawn from seed, epoch and image alone.

`draws` has the random numbers, `augment` applies a recipe's list to a batch, `mix` is mixup and cutmix. Which augmentations there
are, and their settings, is in `tlkit.recipe.augmentations`.
"""
