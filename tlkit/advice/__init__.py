"""Write recipes for the user: from a folder of images, or a copy of a recipe that ships. Nothing here trains."""
