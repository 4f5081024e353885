"""Footage in the layouts that other tools read: one file is one layout."""
