import colorsys
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as tv

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

SPELLED = [f"{name}()" for name in catalog.names("augments") if name not in ("shrink", "mosaic")] + [
    "crop(2, mode='zero')",
    "cutout(5, fill=0)",
    "colour(0.5, 0.5, 0.5, hue=0.5)",
]
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def make(spelled: str):
    return catalog.make(spelled, "augments")


def pictures(n: int = 12, channels: int = 3, height: int = 10, width: int = 7) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(n))


def noise(n: int = 12) -> Noise:
    return Noise.of_index(torch.arange(n), 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spelled", SPELLED)
def test_every_augment_keeps_the_contract(spelled, channels, layout):
    augment = make(spelled)
    images = pictures(channels=channels).contiguous(memory_format=LAYOUTS[layout])
    before = images.clone()
    out = augment(images, noise(), 0)
    assert torch.equal(images, before)
    assert out.shape == images.shape
    assert out.dtype == images.dtype
    assert out.is_contiguous(memory_format=LAYOUTS[layout])
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert not torch.equal(out, images)
    assert torch.equal(out, augment(images, noise(), 0))
    assert not torch.equal(out, augment(images, noise(), 1))
    other = Noise.of_index(torch.arange(12), 1)
    assert not torch.equal(out, augment(images, other, 0))


@pytest.mark.parametrize("spelled", SPELLED)
def test_what_a_sample_becomes_does_not_hang_on_its_batch_or_layout(spelled):
    augment, images = make(spelled), pictures()
    whole = augment(images, noise(), 3)
    order = torch.tensor([7, 0, 11])
    assert torch.equal(augment(images[order], noise().select(order), 3), whole[order])
    one = torch.tensor([5])
    assert torch.equal(augment(images[one], noise().select(one), 3), whole[one])
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(last, noise(), 3), whole)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_crops_are_windows_of_the_padded_image_and_every_shift_comes(mode):
    n, p = 400, 2
    images = pictures(n, height=6, width=5)
    out = make(f"crop({p}, mode={mode!r})")(images, noise(n), 0)
    padded = F.pad(images, (p, p, p, p), mode="reflect" if mode == "reflect" else "constant")
    seen = set()
    for i in range(n):
        fits = [
            (y, x)
            for y in range(2 * p + 1)
            for x in range(2 * p + 1)
            if torch.equal(padded[i, :, y : y + 6, x : x + 5], out[i])
        ]
        assert fits
        seen.update(fits)
    assert len(seen) == (2 * p + 1) ** 2


def test_crop_refuses_images_too_small_to_mirror():
    with pytest.raises(InputError, match="must be smaller than the images' 10×7 pixels"):
        make("crop(7)")(pictures(), noise(), 0)
    make("crop(7, mode='zero')")(pictures(), noise(), 0)


def test_crop_of_nothing_changes_nothing():
    assert torch.equal(make("crop(0)")(pictures(), noise(), 0), pictures())


def flipped(augment, epoch: int, n: int = 2000) -> torch.Tensor:
    images = pictures(n, 1, 1, 2)
    out = augment(images, noise(n), epoch)
    turned = (out == images.flip(3)).flatten(1).all(1)
    assert torch.equal(out[~turned], images[~turned])
    return turned


def test_flips_are_mirror_images_of_about_half():
    first, second = (flipped(make("flip()"), epoch) for epoch in (0, 1))
    for turned in (first, second):
        assert abs(float(turned.float().mean()) - 0.5) < 0.05
    assert abs(float((first == second).float().mean()) - 0.5) < 0.05  # coins without memory


def test_alternating_flips_alternate_from_a_random_start():
    turned = [flipped(make("altflip()"), epoch) for epoch in range(4)]
    assert abs(float(turned[0].float().mean()) - 0.5) < 0.05
    for before, after in itertools.pairwise(turned):
        assert torch.equal(after, ~before)


@pytest.mark.parametrize("size", [1, 4, 5, 30])
def test_cutout_is_one_square_cut_by_the_border(size):
    images = pictures(1000) * 0.4
    out = make(f"cutout({size}, fill=1)")(images, noise(1000), 0)
    hit = out == 1
    assert torch.equal(out[~hit], images[~hit])
    for mask in hit[:, 0]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert int(mask.sum()) == len(rows) * len(columns)
        assert 1 <= len(rows) <= min(size, 10)
        assert 1 <= len(columns) <= min(size, 7)
        for line, length in ((rows, 10), (columns, 7)):
            whole = len(line) == size
            assert whole or line[0] == 0 or line[-1] == length - 1
    if size == 1:  # every pixel is as likely
        assert bool(hit[:, 0].any(0).all())


@pytest.mark.parametrize(
    ("spelled", "oracle"),
    [
        ("colour(0.4, 0, 0)", tv.adjust_brightness),
        ("colour(0, 0.4, 0)", tv.adjust_contrast),
        ("colour(0, 0, 0.4)", tv.adjust_saturation),
    ],
)
def test_colour_is_torchvisions_at_some_factor_in_range(spelled, oracle):
    images = pictures(40) * 0.5 + 0.2
    out = make(spelled)(images, noise(40), 0)
    factors = torch.linspace(0.6, 1.4, 1601)
    found = []
    for image, result in zip(images, out, strict=True):
        gaps = torch.stack([(oracle(image, float(f)) - result).abs().max() for f in factors[::40]])
        near = int(gaps.argmin()) * 40
        fine = factors[max(0, near - 60) : near + 60]
        gaps = torch.stack([(oracle(image, float(f)) - result).abs().max() for f in fine])
        assert float(gaps.min()) < 1e-3
        found.append(float(fine[int(gaps.argmin())]))
    assert min(found) < 0.7
    assert max(found) > 1.3


def test_hue_turns_colours_and_keeps_luma_and_grey():
    images = pictures(200) * 0.2 + 0.4
    out = make("colour(0, 0, 0, hue=0.25)")(images, noise(200), 0)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose((out * luma).sum(1), (images * luma).sum(1), atol=1e-4)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(make("colour(0, 0, 0, hue=0.5)")(grey, noise(200), 0), grey, atol=1e-4)
    red = torch.tensor([0.6, 0.4, 0.4])[None, :, None, None].expand(200, 3, 1, 1)
    turned = make("colour(0, 0, 0, hue=0.25)")(red, noise(200), 0)[:, :, 0, 0].numpy()
    hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in turned])
    hues = np.where(hues > 0.5, hues - 1, hues)
    assert np.abs(hues).max() < 0.36
    assert hues.min() < -0.15
    assert hues.max() > 0.15


def test_colour_of_nothing_changes_nothing():
    assert torch.equal(make("colour(0, 0, 0)")(pictures(), noise(), 0), pictures())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shrinking_ends_after_its_epochs(layout):
    augment = make("shrink(5, epochs=2)")
    images = pictures().contiguous(memory_format=LAYOUTS[layout])
    for epoch, size in ((0, (7, 5)), (1, (7, 5)), (2, (10, 7))):
        out = augment(images, noise(), epoch)
        assert out.shape[2:] == size
        assert out.is_contiguous(memory_format=LAYOUTS[layout])
        assert torch.equal(augment(images[[3]], noise(1), epoch), out[[3]])
    assert torch.equal(augment(images, noise(), 2), images)
    assert torch.equal(make("shrink(7)")(images, noise(), 0), images)


def test_shrinking_by_a_whole_factor_keeps_smooth_pictures():
    rows = torch.linspace(0, 1, 32)[None, None, :, None].expand(1, 3, 32, 32)
    small = make("shrink(16)")(rows, noise(1), 0)
    inner = slice(1, -1)
    assert torch.allclose(small[0, 0, inner, 0], F.avg_pool2d(rows, 2)[0, 0, inner, 0], atol=1e-6)
    assert float(make("shrink(8)")(pictures(height=16, width=16), noise(), 0).max()) <= 1
