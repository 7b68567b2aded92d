"""One training step: loss, gradients, optimizer, averaged weights, and its capture as a CUDA graph. Nothing here reads data."""
