"""Objectives: one file is what training minimises."""
