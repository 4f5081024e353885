"""Shields: one file is one wrapper around a model that is to withstand attacks."""
