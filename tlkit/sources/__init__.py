"""Find, download and read images and weights on this machine, and split images into training, validation and test images.

Nothing here decodes an image or imports torch.
"""
