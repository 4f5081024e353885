import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from stalwart.core.errors import DataError, InputError
from stalwart.feed import decode as module
from stalwart.feed.decode import decode, fit

RED_BLUE = np.zeros((4, 6, 3), np.uint8)
RED_BLUE[:, :3, 0] = 255
RED_BLUE[:, 3:, 2] = 255


def save(path, image, **options):
    image.save(path, **options)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def hwc(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tif", "ppm"])
def test_lossless_formats_come_back_as_they_were(tmp_path, ending):
    options = {"lossless": True} if ending == "webp" else {}
    path = save(tmp_path / f"x.{ending}", Image.fromarray(RED_BLUE), **options)
    image = decode(path)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 4, 6)
    assert image.is_contiguous()
    assert np.array_equal(hwc(image), RED_BLUE)


def test_jpeg_is_what_pillow_reads(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    path = save(tmp_path / "x.jpg", Image.fromarray(pixels))
    assert np.array_equal(hwc(decode(path)), np.array(Image.open(path)))


def test_grey_becomes_three_equal_channels_and_rgb_becomes_luma(tmp_path):
    grey = save(tmp_path / "g.png", Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)))
    assert decode(grey, 1).shape == (1, 3, 4)
    assert torch.equal(decode(grey, 3), decode(grey, 1).expand(3, -1, -1))
    rgb = save(tmp_path / "c.png", Image.fromarray(RED_BLUE))
    luma = decode(rgb, 1)
    assert luma[0, 0, 0] == 76  # 0.299 · 255
    assert luma[0, 0, 5] == 29  # 0.114 · 255


def test_transparency_is_laid_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    image = decode(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert hwc(image)[0].tolist()[:2] == [[255, 0, 0], [255, 255, 255]]
    assert abs(int(image[0, 0, 2]) - 127) <= 1
    la = decode(save(tmp_path / "la.png", Image.fromarray(pixels).convert("LA")), 1)
    assert la[0, 0, 1] == 255


def test_a_palette_with_a_transparent_colour(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 0])
    picture.putpixel((1, 0), 1)
    plain = decode(save(tmp_path / "p.png", picture))
    assert hwc(plain)[0].tolist() == [[10, 20, 30], [200, 100, 0]]
    clear = decode(save(tmp_path / "t.png", picture, transparency=1))
    assert hwc(clear)[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path, ending):
    values = np.array([[0, 256, 257 * 100, 32768, 65535]], np.uint16)
    image = decode(save(tmp_path / f"deep.{ending}", Image.fromarray(values)), 1)
    assert image[0, 0].tolist() == [0, 1, 100, 128, 255]


def test_sixteen_bit_colour(tmp_path):
    pixel = struct.pack(">HHH", 65535, 257 * 80, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(png(1, 1, 16, 2, b"\0" + pixel))
    assert decode(path)[:, 0, 0].tolist() == [255, 80, 0]


def test_sixteen_bit_pgm(tmp_path):
    path = tmp_path / "deep.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + struct.pack(">HHH", 0, 257 * 7, 65535))
    assert decode(path, 1)[0, 0].tolist() == [0, 7, 255]


def test_floats_have_no_known_range_and_are_refused(tmp_path):
    path = save(tmp_path / "f.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(DataError, match=r"f\.tif: expected 8 or 16 bits"):
        decode(path)


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path / "ink.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    red, green, blue = decode(path)[:, 4, 4].tolist()
    assert red > 230
    assert max(green, blue) < 25


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, ending):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"turned.{ending}", Image.fromarray(pixels), exif=exif)
    with Image.open(path) as picture:
        expected = np.array(ImageOps.exif_transpose(picture))
    assert np.array_equal(hwc(decode(path)), expected)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("lime", "red", "blue")]
    path = save(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode(path)[:, 0, 0].tolist() == [0, 255, 0]


def test_a_huge_header_is_refused_before_anything_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(50_000, 50_000, 8, 2, b"\0" * 1000))
    with pytest.raises(DataError, match=r"bomb\.png: expected at most 80,000,000 pixels"):
        decode(path)


@pytest.mark.filterwarnings("error")
def test_the_pixel_bound_is_a_refusal_just_above_it_and_none_just_below(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png", Image.fromarray(RED_BLUE))
    monkeypatch.setattr(module, "MAX_PIXELS", 24)
    assert decode(path).shape == (3, 4, 6)
    monkeypatch.setattr(module, "MAX_PIXELS", 23)
    with pytest.raises(DataError, match="expected at most 23 pixels"):
        decode(path)


def test_the_byte_bound(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png", Image.fromarray(RED_BLUE))
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"x\.png: expected a file of at most 10 bytes"):
        decode(path)


def test_what_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("empty.png", "text.png", "eps.png", "folder.png", "pipe.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            decode(tmp_path / name)


def test_a_format_off_the_list_is_refused_though_pillow_reads_it(tmp_path):
    path = save(tmp_path / "x.ico", Image.fromarray(RED_BLUE).resize((16, 16)))
    with Image.open(path) as picture:
        picture.load()
    with pytest.raises(DataError, match=r"x\.ico: expected an image"):
        decode(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "tif", "ppm"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files_are_refused(tmp_path, ending, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{ending}", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=f"cut.{ending}"):
        decode(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_files_give_an_image_or_a_data_error(tmp_path_factory, seed, damage):
    ending = ("png", "jpeg", "gif", "tiff", "webp", "bmp")[seed % 6]
    noise = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, ending)
    data = bytearray(buffer.getvalue())
    for place, value in damage:
        data[place % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "x.img"
    path.write_bytes(data)
    try:
        assert decode(path).dtype == torch.uint8
    except DataError as error:
        assert "x.img" in str(error)  # noqa: PT017


def test_damaged_exif_does_not_cost_the_image(tmp_path):
    path = save(tmp_path / "x.png", Image.fromarray(RED_BLUE), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(hwc(decode(path)), RED_BLUE)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (10, 20), (20, 10), (33, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_is_pillows_fit(size, channels):
    pixels = np.random.default_rng(1).integers(0, 256, (24, 31, channels), dtype=np.uint8)
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    expected = np.array(ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR)).reshape(*size, channels)
    got = hwc(fit(torch.from_numpy(pixels).permute(2, 0, 1), size, channels))
    assert np.abs(got.astype(int) - expected).max() <= 1  # the box's last bit may round another way


def test_fit_of_a_file_is_fit_of_its_pixels(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "x.png", Image.fromarray(noise))
    for channels in (1, 3):
        assert torch.equal(decode(path, channels, (16, 16)), fit(decode(path, channels), (16, 16), channels))


def test_fit_leaves_alone_what_fits():
    image = torch.zeros(3, 5, 5, dtype=torch.uint8)
    assert fit(image, (5, 5), 3) is image
    assert fit(image, None, 3) is image


def test_channels_must_be_one_or_three(tmp_path):
    with pytest.raises(InputError, match="channels must be 1"):
        decode(tmp_path / "x.png", channels=4)
