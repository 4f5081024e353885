"""Families of roads, each from a seed: one file is one family."""
