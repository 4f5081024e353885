"""The two places to write to: results on stdout, complaints on stderr."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WIDTH = 120
"""Columns where the output is no terminal and COLUMNS does not say."""


def out() -> Console:
    """Standard output. Markup is off: what users name their files is printed as it is."""
    return _console(stderr=False)


def err() -> Console:
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)
