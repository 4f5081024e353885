"""Situations on the road: one file is one family of them, its parameters swept as worlds side by side."""
