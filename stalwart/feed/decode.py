"""Image files to uint8 tensors, safely: what is too large, damaged or no raster image is refused by name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from stalwart.core.errors import DataError, InputError
from stalwart.core.places import letterbox

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""Raster formats alone: others (EPS above all) run programs or are rarely tested."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
"""Endings of such files, in lower case."""

MAX_BYTES = 256 * 1024**2
"""The largest file that is opened."""

MAX_PIXELS = 80_000_000
"""The largest image that is decoded, judged by its header: below the bound at which Pillow begins to warn."""

_Pixels = np.ndarray[Any, np.dtype[np.uint8]]
_Read = TypeVar("_Read", bound=np.ndarray[Any, Any])

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation of EXIF."""


BORDER = 114
"""The grey that fills what a whole image leaves of its new size."""


def decode(
    path: str | os.PathLike[str], channels: int = 3, size: tuple[int, int] | None = None, *, whole: bool = False
) -> Tensor:
    """The image in a file as uint8 (C, H, W), brought to `size` as `fit` does.

    grey, palette, CMYK   converted to RGB, or all to grey (ITU-R 601 luma) for one channel; ICC profiles are ignored
    transparent           laid on white, as a viewer shows it
    16 bit                scaled to 8 bits: 65535 becomes 255; other integers and floats have no known range: refused
    EXIF orientation      applied; damaged EXIF is ignored
    animated, many pages  the first frame

    Args:
        channels: 1 or 3.
        size: (height, width) in pixels; None for the image's own.
        whole: with a border rather than cut.

    Raises:
        DataError: no such file, no image of a known format, too large, truncated or damaged. It names the file.
        InputError: channels or size out of range.
    """
    _check_channels(channels)
    pixels = _open(path, lambda image, name: _to_array(_upright(image), channels, name))
    return fit(torch.from_numpy(pixels).permute(2, 0, 1), size, channels, whole=whole).contiguous()


def decode_indices(path: str | os.PathLike[str]) -> Tensor:
    """The index mask in a file as uint8 (H, W): grey levels as they are, or the entries of a palette.

    Raises:
        DataError: as `decode`; colours without a palette, or more than 8 bits.
    """
    return torch.from_numpy(_open(path, _to_indices))


def decode_numbers(path: str | os.PathLike[str]) -> Tensor:
    """The numbers in a mask of 8 or 16 bits as int32 (H, W): grey levels as they are, or the entries of a palette.

    Raises:
        DataError: as `decode`; colours without a palette, or more than 16 bits.
    """
    return torch.from_numpy(_open(path, _to_numbers))


def _to_numbers(image: Image.Image, name: str) -> np.ndarray[Any, Any]:
    """(H, W)"""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return np.asarray(image).astype(np.int32)
    return _to_indices(image, name).astype(np.int32)


def _to_indices(image: Image.Image, name: str) -> _Pixels:
    """(H, W)"""
    if image.mode not in ("L", "P", "1"):
        raise DataError(f"{name}: expected a mask of 8-bit indices, grey or with a palette. Got mode {image.mode}.")
    indices = np.array(image, dtype=np.uint8)
    if indices.ndim != 2:
        raise DataError(f"{name}: expected one number a pixel. Got shape {indices.shape}.")
    return indices


def _open(path: str | os.PathLike[str], read: Callable[[Image.Image, str], _Read]) -> _Read:
    """What `read` makes of the image in a file, whose size and kind were looked at before."""
    name = os.fspath(path)
    try:
        about = Path(path).stat()
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: expected an image file. Got {_reason(error)}.") from None
    if not stat.S_ISREG(about.st_mode):
        raise DataError(f"{name}: expected an image file. Got what is no ordinary file.")
    if about.st_size == 0:
        raise DataError(f"{name}: expected an image file. Got an empty file.")
    if about.st_size > MAX_BYTES:
        raise DataError(f"{name}: expected a file of at most {MAX_BYTES:,} bytes. Got {about.st_size:,}.")
    try:
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"{name}: expected at most {MAX_PIXELS:,} pixels. Got {width:,} × {height:,}.")
            image.load()
            return read(image, name)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: expected an image ({', '.join(FORMATS)}). Got another kind of file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{name}: expected at most {MAX_PIXELS:,} pixels. Got far more.") from None
    except Exception as error:  # what damaged files make Pillow raise has no common base
        raise DataError(f"{name}: expected a whole image. Got a damaged file ({_reason(error)}).") from None


def fit(image: Tensor, size: tuple[int, int] | None, channels: int, *, whole: bool = False) -> Tensor:
    """A uint8 image (C, H, W) at another size and number of channels.

    The largest middle part with the wanted proportions is resized (bilinear, antialiased): the shorter side is
    brought to size, and what the longer one has too much is cut off on both ends. With `whole` the longer side is
    brought to size, and grey fills what the shorter one lacks on both ends: nothing that a task has to find is cut
    off. `core/places.py::fitted` says where everything comes to lie.

    Returns:
        uint8 (channels, *size); `image` itself where nothing is to be done.
    """
    _check_channels(channels)
    if size is not None and tuple(image.shape[1:]) != size:
        height, width = image.shape[1:]
        scale = min(height / size[0], width / size[1])
        part_h, part_w = size[0] * scale, size[1] * scale
        left, top = (width - part_w) / 2, (height - part_h) / 2
        box = (max(left, 0.0), max(top, 0.0), min(left + part_w, width), min(top + part_h, height))
        above, beside, new_h, new_w = letterbox((height, width), size) if whole else (0, 0, *size)
        pixels = image.permute(1, 2, 0).numpy()
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if len(image) == 1 else pixels))
        picture = picture.resize((new_w, new_h), Image.Resampling.BILINEAR, box=None if whole else box)
        resized = torch.from_numpy(_planes(picture)).permute(2, 0, 1)
        if whole:
            image = torch.full((len(resized), *size), BORDER, dtype=torch.uint8)
            image[:, above : above + new_h, beside : beside + new_w] = resized
        else:
            image = resized
    if len(image) == channels:
        return image
    if channels == 3:
        return image.expand(3, -1, -1)
    grey = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).convert("L")
    return torch.from_numpy(_planes(grey)).permute(2, 0, 1)


def _to_array(image: Image.Image, channels: int, name: str) -> _Pixels:
    """(H, W, channels)"""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_grey(image, name)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _planes(image.convert("L" if channels == 1 else "RGB"))


def _to_grey(image: Image.Image, name: str) -> Image.Image:
    """16 bits to 8. Pillow's own conversion cuts everything above 255 off."""
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if not deep:
        raise DataError(f"{name}: expected 8 or 16 bits a channel. Got 32, whose range is not known.")
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))


def _planes(image: Image.Image) -> _Pixels:
    """(H, W, C), a copy"""
    pixels = np.array(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is written by many hands; the pixels are good all the same
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB). Got {channels!r}.")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].rstrip(".")
