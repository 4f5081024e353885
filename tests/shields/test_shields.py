"""Each shield against an oracle, and the whole catalog against the contract."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from stalwart.core import catalog, checks
from stalwart.core.errors import InputError
from stalwart.core.shielding import differentiable, random


def pictures(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth shapes with a little noise, as 8-bit images have it."""
    dice = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=dice)
    fine = nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    shaken = fine + 0.04 * torch.randn(fine.shape, generator=dice)
    return (shaken.clamp(0, 1) * 255).round() / 255


def shield(spelled: str, model: nn.Module | None = None) -> Any:
    return catalog.make(spelled, "shields")(nn.Identity() if model is None else model)


@pytest.mark.parametrize("name", catalog.names("shields"))
def test_every_shield_keeps_the_contract(name: str) -> None:
    checks.shield(catalog.make(f"{name}()", "shields"))


def test_only_smoothing_claims_not_to_mask() -> None:
    honest = {name for name in catalog.names("shields") if not catalog.make(f"{name}()", "shields").masks}
    assert honest == {"smoothing"}


def pillow(image: Tensor, quality: int) -> Tensor:
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    written = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(written, "JPEG", quality=quality)
    read = np.asarray(Image.open(io.BytesIO(written.getvalue()))).reshape(pixels.shape)
    return torch.tensor(read.copy()).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 37, 29), (1, 28, 28)], ids=["colour", "odd", "grey"])
def test_jpeg_is_pillows(shape: tuple[int, int, int], quality: int) -> None:
    """In levels of 255. Libjpeg computes in whole numbers, so a coefficient near a tie may fall the other way."""
    images = pictures(12, *shape)
    ours = shield(f"jpeg({quality})")(images) * 255
    theirs = torch.stack([pillow(image, quality) for image in images]) * 255
    apart = (ours - theirs).abs()
    assert float(apart.mean()) < 0.6
    assert float((apart > 1).float().mean()) < 0.15
    changed = (images * 255 - theirs).abs().mean()
    assert float(apart.mean()) < 0.25 * float(changed)


def test_jpegs_twin_has_the_values_of_jpeg_and_nearly_the_identitys_slope() -> None:
    model = shield("jpeg(90)")
    x = pictures(2, 1, 16, 16).requires_grad_()
    twin = differentiable(model)
    assert torch.equal(twin(x), model(x))
    (slope,) = torch.autograd.grad(twin(x).sum(), x)
    inside = (x > 0.1) & (x < 0.9)
    assert torch.allclose(slope[inside], torch.ones(()), atol=1e-3)
    (plain,) = torch.autograd.grad(model(x).sum(), x)
    assert (plain == 0).all()


def test_jpeg_refuses_other_channels() -> None:
    with pytest.raises(InputError, match="1 or 3 channels"):
        shield("jpeg()")(torch.rand(1, 4, 8, 8))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 1000))
def test_bitdepth_rounds_to_so_many_levels(bits: int, seed: int) -> None:
    x = pictures(2, 1, 6, 6, seed)
    seen = shield(f"bitdepth({bits})")(x)
    assert set((seen * (2**bits - 1)).unique().tolist()) <= set(range(2**bits))
    assert float((seen - x).abs().max()) <= 0.5 / (2**bits - 1) + 1e-6


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_scipys(size: int) -> None:
    filters = pytest.importorskip("scipy.ndimage")
    x = pictures(2, 3, 9, 7)
    want = torch.tensor(filters.median_filter(x.numpy(), size=(1, 1, size, size), mode="mirror"))
    assert torch.equal(shield(f"median({size})")(x), want)


def test_median_refuses_an_even_size() -> None:
    with pytest.raises(InputError, match="odd"):
        catalog.make("median(4)", "shields")


def test_tv_is_a_minimum() -> None:
    """Chambolle's solution against a direct descent on the same energy."""
    x = pictures(2, 1, 8, 6).double()
    weight = 0.08

    def energy(u: Tensor) -> Tensor:
        down = nn.functional.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
        across = nn.functional.pad(u[..., 1:] - u[..., :-1], (0, 1))
        length = (down.square() + across.square() + 1e-12).sqrt()
        return ((u - x).square() / (2 * weight) + length).flatten(1).sum(1)

    ours = shield(f"tv({weight}, steps=200)")(x)
    u = x.clone()
    best = energy(u)
    for step in range(400):
        u.requires_grad_()
        (slope,) = torch.autograd.grad(energy(u).sum(), u)
        u = (u - 2e-3 / (1 + step / 20) * slope).detach()
        best = torch.minimum(best, energy(u))
    assert (energy(ours) <= best * 1.001).all()
    assert (energy(ours) < energy(x) * 0.9).all()
    usual = shield(f"tv({weight})")(x)
    assert (energy(usual) < energy(ours) * 1.05).all()  # 30 steps are near it


def test_thermometer_decodes_to_the_nearest_level_and_its_reader_can_learn() -> None:
    x = pictures(2, 3, 5, 5)
    model = shield("thermometer(levels=10)")
    assert torch.allclose(model(x), (x * 10).round() / 10, atol=1e-6)
    code = model.encode(x)
    assert (code[..., 1:] <= code[..., :-1]).all()  # a thermometer: no bit above one that is off
    model(x).square().sum().backward()
    assert (model.reader.grad != 0).all()
    twin, at = differentiable(model), torch.full((1, 1, 1, 1), 0.62, requires_grad=True)
    (slope,) = torch.autograd.grad(twin(at).sum(), at)
    assert float(slope) == pytest.approx(1.0)


def test_distillation_saturates_and_its_twin_does_not() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0]], requires_grad=True)
    model = shield("distillation(100)")
    assert torch.equal(model(logits).argmax(1), logits.argmax(1))
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(logits), torch.tensor([0])), logits)
    assert (slope == 0).all()
    (slope,) = torch.autograd.grad(
        nn.functional.cross_entropy(differentiable(model)(logits), torch.tensor([0])), logits
    )
    assert (slope != 0).all()


def test_resizepad_places_each_image_anew_and_differently() -> None:
    model = shield("resizepad(low=0.5, seed=3)")
    white = torch.ones(64, 1, 16, 16)
    seen = model(white)
    area = seen.flatten(1).sum(1) / 256
    assert float(area.min()) < 0.36
    assert float(area.max()) > 0.85
    assert ((area >= 0.24) & (area <= 1)).all()
    assert ((seen < 1e-5) | (seen > 1 - 1e-5)).all()
    rows = seen[:, 0].amax(2)  # (B, H): each image is one block of rows
    assert ((rows[:, 1:] != rows[:, :-1]).sum(1) <= 2).all()
    assert len({tuple(row) for row in rows.tolist()}) > 10
    assert not torch.equal(model(white), seen)
    assert random(model)


def test_resizepad_at_full_size_is_the_image() -> None:
    x = pictures(3, 3, 9, 7)
    assert torch.allclose(shield("resizepad(low=1.0)")(x), x, atol=1e-6)
