"""Runs and polygons against pycocotools, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core.errors import DataError
from stalwart.feed import polygons, rle

SIDES = st.integers(1, 40)


@given(height=SIDES, width=SIDES, share=st.floats(0, 1), seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=100)
def test_runs_are_read_as_pycocotools_writes_them(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    coded = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = coded["counts"].decode()
    assert np.array_equal(rle.read({"size": [height, width], "counts": text}, (height, width), "x"), mask)
    counts = rle.expand(text, "x")
    assert sum(counts) == height * width
    assert np.array_equal(rle.read({"size": [height, width], "counts": counts}, (height, width), "x"), mask)


@given(
    height=SIDES, width=SIDES, corners=st.integers(3, 12), seed=st.integers(0, 10_000), grid=st.sampled_from([0, 1, 2])
)
@settings(deadline=None, max_examples=300)
def test_polygons_cover_the_very_pixels_of_pycocotools(
    height: int, width: int, corners: int, seed: int, grid: int
) -> None:
    """Crossed, degenerate and partly outside ones among them; on whole and half pixels as well."""
    points = np.random.default_rng(seed).uniform(-0.3, 1.3, (2, corners, 2)) * [width, height]
    if grid:
        points = np.round(points * grid) / grid
    several = points.reshape(2, -1).tolist()
    coded = pycocotools.mask.merge(pycocotools.mask.frPyObjects(several, height, width))
    assert np.array_equal(polygons.draw(several, (height, width), "x"), pycocotools.mask.decode(coded).astype(bool))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"size": [4, 6], "counts": [24]}, r"expected 'size' \[4, 5\], the image's. Got \[4, 6\]"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "expected 'size'"),
        ({"counts": [20]}, "expected 'size'. Got none"),
        ({"size": [4, 5], "counts": [10, 9]}, "add up to 4 × 5. Got 19"),
        ({"size": [4, 5], "counts": [10**9, -(10**9) + 20]}, "whole numbers of 0 to 20. Got 1000000000"),
        ({"size": [4, 5], "counts": [20.0]}, r"Got 20\.0"),
        ({"size": [4, 5], "counts": "\x00"}, "as COCO compresses them"),
        ({"size": [4, 5], "counts": "oooooooooooo"}, "as COCO compresses them"),
        ({"size": [4, 5], "counts": "o"}, "cut off"),
        ({"size": [4, 5], "counts": 20}, "a list of runs or their compressed text. Got 20"),
    ],
)
def test_runs_that_are_none_are_refused(record: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=f"here: .*{message}"):
        rle.read(record, (4, 5), "here")


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "x, y by turns. Got 7 numbers"),
        ([0.0, 0.0, 1e9, 0.0, 0.0, 5.0], "within 1,000,000 pixels. Got a corner beyond"),
        ([0.0, 0.0, 1e6, 0.0, 0.0, 5.0], "expected a boundary of at most"),
    ],
)
def test_polygons_that_claim_too_much_are_refused(polygon: list[float], message: str) -> None:
    with pytest.raises(DataError, match=f"here: .*{message}"):
        polygons.draw([polygon], (4, 5), "here")


def test_polygons_of_two_corners_are_nothing() -> None:
    assert not polygons.draw([[0.0, 0.0, 9.0, 9.0], []], (4, 5), "here").any()
