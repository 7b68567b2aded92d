"""What the images of a data set hold: duplicates, labels that look wrong, outliers, compared by the embeddings of a network.

It is given images and a network, and finds neither: who prepares a run, or an inspection, passes them.
"""
