"""From images to a recipe: `init` writes one at once, from counts alone; `advise` measures which network fits and what of it to train.

Modules that `init` needs import no torch. `advising` and `probing` compute, and are imported by functions only.
"""
