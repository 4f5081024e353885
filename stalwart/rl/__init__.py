"""Learners of control: one file is one family of algorithms, with its paper and its equation."""
