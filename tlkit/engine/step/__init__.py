"""One optimizer step: loss, gradients, optimizer, running mean of weights, and its capture as a CUDA graph."""
