"""What computes: data, steps, evaluation."""
