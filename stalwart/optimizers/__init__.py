"""Optimizers by the name that their papers gave them, with the parameter groups they need."""
