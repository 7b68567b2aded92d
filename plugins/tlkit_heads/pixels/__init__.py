"""Heads that answer for every pixel, a file each: they are given maps of the backbone and the size of the images."""
