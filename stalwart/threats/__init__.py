"""Threats: one file is one set around the clean input."""
