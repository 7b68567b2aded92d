"""From a folder of images to a recipe. Imports no torch until something must be computed."""
