"""What one command measures on a GPU: the engine against its bare replay, the same work by others, and the lectures' recipes."""
