"""Tables and pictures of what plans and runs say. Computes nothing, prints nothing, imports no torch."""
