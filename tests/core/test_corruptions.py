"""Each corruption against its published definition: Pillow, scipy, colorsys, a slow twin, or moments; and the peer."""

from __future__ import annotations

import colorsys
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from stalwart.core.corruptions import BENCHMARK, EXTRA, KINDS, blurs, corrupt, filters, noises, weather
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

SMALL, LARGE = (33, 40), (90, 104)


def pictures(n: int = 2, size: tuple[int, int] = SMALL, channels: int = 3) -> Tensor:
    rough = torch.rand(n, channels, 9, 11, generator=torch.Generator().manual_seed(5))
    smooth = nn.functional.interpolate(rough, size, mode="bilinear", align_corners=False)
    fine = torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(6))
    return ((0.8 * smooth + 0.2 * fine) * 255).round() / 255


def keyed(images: Tensor, seed: int = 0) -> Noise:
    return Noise.of_images(images, seed)


def test_there_are_fifteen_and_four() -> None:
    assert (len(BENCHMARK), len(EXTRA), len(KINDS)) == (15, 4, 19)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "channels"), [(SMALL, 3), (LARGE, 1), ((8, 8), 1)])
def test_any_size_and_colour_sample_by_sample_and_the_same_twice(
    kind: str, size: tuple[int, int], channels: int
) -> None:
    clean = pictures(3, size, channels)
    kept = clean.clone()
    for severity in (1, 5):
        found = corrupt(clean, kind, severity, keyed(clean))
        assert found.shape == clean.shape
        assert found.min() >= 0
        assert found.max() <= 1
        assert torch.equal(clean, kept)
        assert torch.equal(found, corrupt(clean, kind, severity, keyed(clean)))
        some = torch.tensor([2, 0])
        part = corrupt(clean[some], kind, severity, keyed(clean).select(some))
        torch.testing.assert_close(part, found[some], atol=2e-3, rtol=0)
        assert (part - found[some]).abs().gt(1e-5).float().mean() < 0.005
        assert (kind == "saturate" and channels == 1) or not torch.equal(found, clean)


GROWING = sorted(set(KINDS) - {"glass_blur", "elastic_transform", "spatter", "saturate", "snow", "frost", "fog"})


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_higher_severity_changes_more(kind: str, size: tuple[int, int]) -> None:
    clean = pictures(4, size)
    changes = [float((corrupt(clean, kind, s, keyed(clean)) - clean).square().mean()) for s in (1, 3, 5)]
    assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize(
    ("kind", "severity", "words"), [("fogg", 1, "'fog'"), ("fog", 0, "1 to 5"), ("fog", 6, "1 to 5")]
)
def test_mistakes_are_named(kind: str, severity: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        corrupt(pictures(), kind, severity, keyed(pictures()))
    with pytest.raises(InputError, match="1 or 3"):
        corrupt(torch.rand(1, 4, 9, 9), "fog", 1, keyed(torch.rand(1, 4, 9, 9)))


# ---------------------------------------------------------------- noise: moments


@pytest.mark.parametrize(("level", "light"), [(0, 60), (100, 3), (128, 60), (255, 500), (37.4, 60)])
def test_shot_noise_is_poisson(level: float, light: float) -> None:
    images = torch.full((1, 1, 150, 150), level / 255)
    counts = noises.poisson(images, light, keyed(images))
    mean = level / 255 * light
    assert torch.equal(counts, counts.round())
    assert counts.mean().item() == pytest.approx(mean, abs=4 * (mean / 22_500) ** 0.5 + 1e-9)
    assert counts.var().item() == pytest.approx(mean, abs=0.06 * mean + 1e-9)
    if level:
        from scipy.stats import poisson

        for k in (int(mean * 0.8), int(mean), int(mean * 1.2)):
            assert (counts <= k).float().mean().item() == pytest.approx(poisson.cdf(k, mean), abs=0.02)


@pytest.mark.parametrize(("size", "row"), [(SMALL, 0), (LARGE, 1)])
def test_the_constants_follow_the_size(size: tuple[int, int], row: int) -> None:
    grey = torch.full((8, 3, *size), 0.5)
    deviations = {"gaussian_noise": (0.08, 0.18), "speckle_noise": (0.12 * 0.5, 0.35 * 0.5)}
    for kind, wanted in deviations.items():
        change = corrupt(grey, kind, 3, Noise.of_index(torch.arange(8), 0)) - grey
        assert change.std().item() == pytest.approx(wanted[row], rel=0.05)
        assert abs(change.mean().item()) < 0.01
    salted = corrupt(grey, "impulse_noise", 5, Noise.of_index(torch.arange(8), 0))
    for value in (0.0, 1.0):
        assert (salted == value).float().mean().item() == pytest.approx((0.07, 0.27)[row] / 2, rel=0.15)


def test_both_numbers_of_a_draw_are_normal_and_have_nothing_to_do_with_each_other() -> None:
    drawn = noises.normal(Noise.of_index(torch.arange(4), 0), (50_001,))
    assert drawn.shape == (4, 50_001)
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)
    assert drawn.var().item() == pytest.approx(1, abs=0.02)
    assert drawn.pow(4).mean().item() == pytest.approx(3, abs=0.1)
    first, second = drawn[:, :25_000].flatten(), drawn[:, 25_001:50_001].flatten()  # cosines and sines
    for power in (1, 2):
        assert torch.corrcoef(torch.stack([first**power, second**power]))[0, 1].abs() < 0.015


# ---------------------------------------------------------------- blurs


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(0, 40), st.sampled_from(["nearest", "mirror", "reflect"]))
def test_borders_are_scipys_and_numpys(size: int, by: int, rule: str) -> None:
    line = np.arange(size)
    mode: Any = {"nearest": "edge", "mirror": "reflect", "reflect": "symmetric"}[rule]
    ours = filters.border(torch.arange(-by, size + by), size, rule)
    assert ours.tolist() == np.pad(line, by, mode=mode).tolist()


@pytest.mark.parametrize("size", [(8, 8), SMALL])
@pytest.mark.parametrize(("sigma", "rule"), [(0.4, "nearest"), (6.0, "nearest"), (20.0, "reflect")])
def test_gaussian_smoothing_is_scipys(size: tuple[int, int], sigma: float, rule: Any) -> None:
    image = pictures(1, size, 1)
    theirs = ndimage.gaussian_filter(image[0, 0].numpy(), sigma, mode=rule, truncate=4.0)
    torch.testing.assert_close(filters.gaussian(image, sigma, rule)[0, 0], torch.from_numpy(theirs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 5), (21, 17)])
def test_filtering_is_scipys_by_either_way(count: int, kernel: tuple[int, int]) -> None:
    images = pictures(2, (19, 23), 1)
    kernels = torch.rand(count, *kernel, generator=torch.Generator().manual_seed(0))
    ours = filters.filtered(images, kernels, "mirror", (kernel[0] // 2, kernel[1] // 2))
    for i in range(2):
        theirs = ndimage.correlate(images[i, 0].numpy(), kernels[i % count].numpy(), mode="mirror")
        torch.testing.assert_close(ours[i, 0], torch.from_numpy(theirs), atol=1e-4, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(7, 14), st.integers(7, 12))
def test_glass_takes_pixels_as_the_published_loop_does(seed: int, reach: int, height: int, width: int) -> None:
    drawn = np.random.default_rng(seed)
    image = drawn.random((height, width, 3)).astype(np.float32)
    down, right = drawn.integers(-reach, reach, (2, height, width))
    slow = image.copy()
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            other = (h + down[h, w], w + right[h, w])
            slow[h, w], slow[other] = slow[other], slow[h, w]  # as published: these are views, so it copies
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    ours = blurs.shuffle(batch, torch.from_numpy(down)[None], torch.from_numpy(right)[None], reach)
    assert torch.equal(ours[0].permute(1, 2, 0), torch.from_numpy(slow))


@pytest.mark.parametrize("angle", [-45.0, -17.0, 0.0, 30.0, -100.0])
def test_motion_is_imagemagicks_sum_of_shifted_pictures(angle: float) -> None:
    image, radius, sigma = pictures(1, (21, 17)), 6, 2.0
    ours = blurs.moved(image, radius, sigma, keyed(image), (angle, angle))
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    rows, columns = np.arange(21)[:, None], np.arange(17)[None]
    wanted = np.zeros((3, 21, 17))
    for i, weight in enumerate(weights):
        y = np.clip(rows + np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5).astype(int), 0, 20)
        x = np.clip(columns + np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5).astype(int), 0, 16)
        wanted += weight * image[0].numpy()[:, y, x]
    torch.testing.assert_close(ours[0].double(), torch.from_numpy(wanted), atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.3, 3.0])
def test_zooming_is_scipys(factor: float) -> None:
    image = pictures(1, (32, 40), 1)[0, 0]
    found = []
    for size in image.shape:
        kept = int(np.ceil(size / factor))
        found.append(((size - kept) // 2, kept))
    (top, high), (left, wide) = found
    grown = ndimage.zoom(image[top : top + high, left : left + wide].numpy(), factor, order=1)
    first = [(a - b) // 2 for a, b in zip(grown.shape, image.shape, strict=True)]
    wanted = grown[first[0] : first[0] + 32, first[1] : first[1] + 40]
    ours = filters.zoomed(image[None, None], factor)[0, 0]
    torch.testing.assert_close(ours, torch.from_numpy(wanted), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- weather


@pytest.mark.parametrize("decay", [1.4, 3.0])
def test_plasma_is_the_diamond_square_algorithm(decay: float) -> None:
    size = 16
    noise = Noise.of_index(torch.arange(2), 3)
    ours = weather.plasma(size, decay, Noise(noise.keys))
    for sample in range(2):
        stream = noise.select(torch.tensor([sample]))
        heights = np.zeros((size, size))
        step, wobble = size, 100.0
        while step >= 2:
            half = step // 2
            for rule in ("middle", "top", "side"):
                drawn = stream.uniform((size // step, size // step), -1.0, 1.0)[0].double().numpy()
                for i in range(size // step):
                    for j in range(size // step):
                        y, x = i * step, j * step
                        at = {"middle": (y + half, x + half), "top": (y, x + half), "side": (y + half, x)}[rule]
                        reach = [(-half, -half), (-half, half), (half, -half), (half, half)]
                        near = reach if rule == "middle" else [(-half, 0), (half, 0), (0, -half), (0, half)]
                        total = sum(heights[(at[0] + a) % size, (at[1] + b) % size] for a, b in near)
                        heights[at] = total / 4 + wobble * wobble * drawn[i, j]
            step, wobble = half, wobble / decay
        heights -= heights.min()
        torch.testing.assert_close(ours[sample].double(), torch.from_numpy(heights / heights.max()), atol=1e-5, rtol=0)


def test_fog_leaves_the_brightest_value_where_it_was() -> None:
    clean = pictures(2) * 0.7
    found = corrupt(clean, "fog", 3, keyed(clean))
    strength = 0.75
    most = clean.flatten(1).amax(1).view(-1, 1, 1, 1)
    assert (found <= most + 1e-6).all()
    assert (found >= clean * most / (most + strength) - 1e-6).all()


def test_frost_is_ice_of_its_own_for_each_picture() -> None:
    clean = pictures(6, LARGE)
    ice = weather.crystals(clean, keyed(clean))
    assert 0.3 < ice.mean() < 0.85
    assert (ice.std((1, 2, 3)) > 0.05).all()
    assert len({round(float(part), 4) for part in ice.mean((1, 2, 3))}) == 6


# ---------------------------------------------------------------- colours, pixels, storage


@pytest.mark.parametrize("kind", ["brightness", "saturate"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_colours_change_as_in_hue_saturation_and_value(kind: str, severity: int) -> None:
    clean = pictures(1, (6, 7))
    clean[0, :, 0, 0] = 0.0
    clean[0, :, 0, 1] = 0.4  # grey: its hue is red by convention
    clean[0, :, 0, 2] = 1.0
    found = corrupt(clean, kind, severity, keyed(clean))[0]
    more = [0.05, 0.1, 0.15, 0.2, 0.3][severity - 1]
    factor, plus = [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)][severity - 1]
    for y in range(6):
        for x in range(7):
            h, s, v = colorsys.rgb_to_hsv(*clean[0, :, y, x].tolist())
            if kind == "brightness":
                v = min(v + more, 1)
            else:
                s = min(max(s * factor + plus, 0), 1)
            assert found[:, y, x].tolist() == pytest.approx(colorsys.hsv_to_rgb(h, s, v), abs=1e-5)


@pytest.mark.parametrize("size", [SMALL, LARGE, (8, 8)])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_large_pixels_are_pillows(size: tuple[int, int], severity: int) -> None:
    clean = pictures(1, size)
    share = ([0.95, 0.9, 0.85, 0.75, 0.65] if min(size) < 85 else [0.6, 0.5, 0.4, 0.3, 0.25])[severity - 1]
    image = Image.fromarray((clean[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    small = image.resize((int(size[1] * share), int(size[0] * share)), Image.Resampling.BOX)
    theirs = np.array(small.resize((size[1], size[0]), Image.Resampling.BOX)).astype(int)
    ours = (corrupt(clean, "pixelate", severity, keyed(clean))[0].permute(1, 2, 0) * 255).round().int().numpy()
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.01


@pytest.mark.parametrize(("size", "quality"), [(SMALL, 40), (LARGE, 7)])
def test_storage_is_pillows_jpeg(size: tuple[int, int], quality: int) -> None:
    clean = pictures(1, size)
    file = io.BytesIO()
    Image.fromarray((clean[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()).save(
        file, "JPEG", quality=quality
    )
    theirs = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    found = corrupt(clean, "jpeg_compression", 5, keyed(clean))[0]
    assert (found - theirs).abs().mean() < 1.0 / 255


def test_elastic_distortion_of_the_first_severity_is_affine() -> None:
    """A straight ramp stays straight under an affine map, and its mean slope changes by what the points may move."""
    ramp = torch.linspace(0.2, 0.8, 60).expand(4, 1, 60, 60).contiguous()
    found = corrupt(ramp, "elastic_transform", 1, Noise.of_index(torch.arange(4), 0))[..., 22:38, 22:38]
    bend = found[..., 2:, :] - 2 * found[..., 1:-1, :] + found[..., :-2, :]
    assert bend.abs().max() < 1e-4
    assert not torch.allclose(found, ramp[..., 22:38, 22:38], atol=1e-3)


# ---------------------------------------------------------------- the peer

EXACT = {"gaussian_blur": 1, "defocus_blur": 1, "brightness": 1, "contrast": 1, "saturate": 1}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("severity", [1, 5])
def test_what_is_left_to_no_chance_is_the_peers(kind: str, severity: int) -> None:
    peer = pytest.importorskip("imagecorruptions", exc_type=ImportError)
    clean = pictures(1, (120, 100))
    image = (clean[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    theirs = peer.corrupt(image, severity=severity, corruption_name=kind).astype(int)
    ours = (corrupt(clean, kind, severity, keyed(clean))[0].permute(1, 2, 0) * 255).int().numpy()  # it truncates
    assert np.abs(ours - theirs).max() <= EXACT[kind]


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_water_and_mud_from_the_same_noise_are_the_peers(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = pytest.importorskip("imagecorruptions", exc_type=ImportError)
    clean = pictures(1, (120, 100))
    image = (clean[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    stream = keyed(clean).fork("spatter", severity)
    drawn = noises.normal(stream, (1, 120, 100))[0, 0].double().numpy()

    def normal(loc: float = 0, scale: float = 1, size: Any = None) -> Any:
        return loc + scale * drawn

    monkeypatch.setattr(np.random, "normal", normal)
    theirs = peer.corrupt(image, severity=severity, corruption_name="spatter").astype(int)
    ours = (corrupt(clean, "spatter", severity, keyed(clean))[0].permute(1, 2, 0) * 255).int().numpy()
    assert np.abs(theirs - image).mean() > 1
    assert np.abs(ours - theirs).mean() < 0.2 * np.abs(theirs - image).mean()
    assert np.corrcoef((ours - image).ravel(), (theirs - image).ravel())[0, 1] > 0.97
