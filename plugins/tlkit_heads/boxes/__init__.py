"""Heads that find objects, of torchvision's own parts: a feature pyramid, anchors, and convolutions that give classes and boxes."""
