"""Bodies: what they are, how they move, when they touch."""
