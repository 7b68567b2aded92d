"""Random changes to training images: a pure function of seed, epoch and image."""
