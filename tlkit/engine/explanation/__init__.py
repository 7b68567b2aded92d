"""What a trained network has learned and looks at: its first kernels, where it changed, what excites its channels, Grad-CAM, a map of images.

Everything here reads a network and changes nothing; what is drawn of it is in `reports`.
"""
