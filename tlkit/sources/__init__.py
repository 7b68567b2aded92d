"""Where images and weights lie on this machine: find, download and read them, and split images into training, validation and test.

Nothing here decodes an image or imports torch.
"""
