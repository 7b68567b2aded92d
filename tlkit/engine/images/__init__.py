"""Image files and arrays to decoded pictures and to batches of normalised tensors."""
