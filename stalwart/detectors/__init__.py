"""Detectors: one file is one way to tell whether an input was tampered with."""
