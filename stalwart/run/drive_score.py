"""Scores a driver in a suite of scenarios, and writes down what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.drive.scores.suite import score
from stalwart.store import atomic


def drive_score(
    driver: str = "expert", suite: str = "free", split: str = "test", seed: int = 0, out: Path | None = None,
    style: str | None = None, surface: str | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Drive every scenario of a suite; see `drive.scores.suite.score`.

    Args:
        style: weather and light of all scenarios; None: what each has.
        surface: dry, wet, snow or ice in all scenarios, for the friction; None: what each has.
        out: a JSON file for all figures, every drive and every failure with what replays it; None for none.

    Yields:
        start, progress (unit 'scenarios'), note, saved, result (kind 'drive_score').

    Raises:
        InputError: no such driver, suite, scenario or split, or `out` is a folder.
    """
    if out is not None and out.is_dir():
        raise InputError(f"{out} must be the file to write the figures to. Got a folder.")
    for event in score(driver, suite, split=split, seed=seed, style=style, surface=surface):
        if event.kind == "start":
            yield Event("start", {"what": "score", **event.values})
        elif event.kind == "result":
            values = {"kind": "drive_score", **event.values}
            if out is not None:
                atomic.write_json(out, values)
                yield Event("saved", {"path": str(out)})
            yield Event("result", values)
        else:
            yield event
