"""`tlkit.Model`: a network with the verbs that Keras has, and `tlkit.load`.

A Model builds a recipe and hands it to the same pipeline as `tlkit apply`. What trains, evaluates or predicts lives in the other
packages; here are only the arguments, what they mean in a recipe, and what is returned.
"""

from tlkit.model.model import Model, load

__all__ = ["Model", "load"]
