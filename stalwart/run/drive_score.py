"""Scores a driver in a suite of scenarios, beside others on the same drives, and writes down what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.drive.scores.beside import beside
from stalwart.drive.scores.suite import score
from stalwart.store import atomic


def drive_score(
    driver: str = "expert", suite: str = "free", split: str = "test", seed: int = 0, out: Path | None = None,
    style: str | None = None, surface: str | None = None, others: Sequence[str] = (),
) -> Iterator[Event]:  # fmt: skip
    """Drive every scenario of a suite; see `drive.scores.suite.score`.

    Args:
        style: weather and light of all scenarios; None: what each has.
        surface: dry, wet, snow or ice in all scenarios, for the friction; None: what each has.
        out: a JSON file for all figures, every drive and every failure with what replays it; None for none.
        others: drivers that drive the same drives, to be compared with.

    Yields:
        start, progress (unit 'scenarios'), note, saved, result (kind 'drive_score'; in `beside`, for each of `others`,
        its `driver`, its figures `all` and `scenarios`, and `above`: what the driver has more, drive by drive, see
        `drive.scores.beside.beside`).

    Raises:
        InputError: no such driver, suite, scenario or split, or `out` is a folder.
    """
    if out is not None and out.is_dir():
        raise InputError(f"{out} must be the file to write the figures to. Got a folder.")
    drivers = (driver, *others)
    # each is opened before the first drives, so that a misspelled name costs no hours
    scored = [score(one, suite, split=split, seed=seed, style=style, surface=surface) for one in drivers]
    results: list[Mapping[str, Any]] = []
    for number, events in enumerate(scored):
        for event in events:
            if event.kind == "start" and number == 0:
                yield Event("start", {"what": "score", **event.values, "total": event.values["total"] * len(drivers)})
            elif event.kind == "start":
                yield Event("note", {"message": f"{event.values['driver']}, on the same drives:"})
            elif event.kind == "progress":
                total = event.values["total"]
                done = number * total + event.values["done"]
                yield Event("progress", {**event.values, "done": done, "total": total * len(drivers)})
            elif event.kind == "result":
                results.append(event.values)
            else:
                yield event
    first, *rest = results
    values = {"kind": "drive_score", **first}
    if rest:
        values["beside"] = [
            {**{key: one[key] for key in ("driver", "all", "scenarios", "seconds")},
             "above": beside(first["episodes"], one["episodes"])}
            for one in rest
        ]  # fmt: skip
    if out is not None:
        atomic.write_json(out, values)
        yield Event("saved", {"path": str(out)})
    yield Event("result", values)
