"""Moving pictures as MP4 (H.264), by PyAV where it is installed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError


def encoder() -> Any:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise InputError("an .mp4 needs PyAV: pip install 'stalwart[video]'. A .gif needs nothing.") from None
    return av


def write_mp4(path: Path, pictures: Iterable[NDArray[np.uint8]], rate_hz: Fraction) -> None:
    """Write pictures (H, W, 3) uint8, all of one size; an odd row or column at the end is left out."""
    av = encoder()
    with av.open(str(path), "w", format="mp4") as file:
        stream: Any = None
        for picture in pictures:
            pixels = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # colours are kept for 2 × 2
            if stream is None:
                stream = file.add_stream("h264", rate=rate_hz)
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            file.mux(stream.encode(frame))
        if stream is not None:
            file.mux(stream.encode())
