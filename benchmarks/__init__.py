"""What tlkit's speed and memory are, against a plain loop, against others, and over time."""
