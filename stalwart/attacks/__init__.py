"""Attacks: one file is one solver, which knows a goal and a threat and nothing of the task."""
