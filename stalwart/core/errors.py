"""Errors that speak to a user: one line that says who, what was expected and what came.

The command line prints the line without a traceback: exit code 2 for a mistake in the input,
1 for a run that failed on its way.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StalwartError(Exception):
    """Base of everything that Stalwart raises on purpose."""

    exit_code = 1


class InputError(StalwartError, ValueError):
    """A user's mistake: a wrong spelling, a missing file, a value out of range. Exit code 2."""

    exit_code = 2


class SpellingError(InputError):
    """A component's spelling that cannot be read: unknown name, unknown field, value out of range."""


class DataError(InputError):
    """A file or a data set that is missing, damaged or not what was said."""


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, or does not fit what it is used with."""


class RunError(InputError):
    """A run folder that cannot be used: in use, finished, or made with another configuration."""


class ContractError(StalwartError, TypeError):
    """A component that does not keep its contract: wrong shape, wrong type, state that changed."""


class TrainingError(StalwartError, RuntimeError):
    """Training that cannot go on: the loss is not finite, the disk is full."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``Did you mean 'pgd'?``; or the known names where nothing comes near."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not names:
        return "There are none."
    shown = ", ".join(names[:24]) + (", ..." if len(names) > 24 else "")
    return f"Known: {shown}."
