"""Labelled frames of the driving world, written for other tools."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.drive.exports import kitti, layouts
from stalwart.drive.footage import FAMILIES, Footage
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.styles import STYLES

_MOST_PX = 4096


def export_frames(
    layout: str, out: Path, frames: int, *, size: str = "", families: tuple[str, ...] = (),
    styles: tuple[str, ...] = (), seed: int = 0,
) -> Iterator[Event]:  # fmt: skip
    """Write `frames` labelled frames in a layout: 'coco', 'camvid' or 'kitti'.

    Args:
        out: a new or empty folder; it is whole or not there.
        size: ``'375x1242'``, height and width; '' for the layout's own.
        families: roads without a seed, in turn; () for the usual ones.
        styles: weathers, in turn; () for all.

    Yields:
        start, progress (unit 'frames'), saved, result (kind 'drive_export').

    Raises:
        InputError: an unknown layout, family or style, a size or number out of range, or `out` holds something.
    """
    expect_choice("layout", layout, layouts.LAYOUTS)
    height, width = _size(size) if size else layouts.SIZES[layout]
    camera = replace(kitti.CAMERA, height=height, width=width) if layout == "kitti" else Camera(height, width)
    footage = Footage(
        camera, kitti.LIDAR if layout == "kitti" else None, families or FAMILIES,
        styles or tuple(style.name for style in STYLES), seed,
    )  # fmt: skip
    counts = layouts.split_counts(frames)
    yield Event("start", {"what": f"export {layout}", "total": frames, "unit": "frames"})
    begun = time.perf_counter()
    for done in layouts.export(layout, out, frames, footage):  # type: ignore[arg-type]
        rate = done / (time.perf_counter() - begun)
        yield Event("progress", {"done": done, "total": frames, "unit": "frames", "rate": rate,
                                 "left_s": (frames - done) / rate})  # fmt: skip
    yield Event("saved", {"path": str(out)})
    yield Event("result", {"kind": "drive_export", "layout": layout, "path": str(out), **counts, "height": height,
                           "width": width, "seconds": time.perf_counter() - begun})  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text)
    if match is None or not all(24 <= int(side) <= _MOST_PX for side in match.groups()):
        raise InputError(f"size must be HEIGHTxWIDTH, 24 to {_MOST_PX} each, such as 375x1242. Got {text!r}.")
    return int(match[1]), int(match[2])
