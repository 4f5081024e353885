"""Patches, rotations and the like: what is rendered, and that any attack works on it and the judge on the picture."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog, checks
from stalwart.core.boxed import Boxed
from stalwart.core.contracts import Rendered, Threat
from stalwart.core.errors import ContractError, InputError, SpellingError
from stalwart.core.rng import Noise
from stalwart.run._judge import eight_bit


def images(n: int = 12, size: tuple[int, int] = (14, 10), channels: int = 3) -> Tensor:
    rough = torch.rand(n, channels, 5, 4, generator=torch.Generator().manual_seed(3))
    smooth = nn.functional.interpolate(rough, size, mode="bilinear", align_corners=True)
    return (smooth * 255).round() / 255


def net(channels: int = 3, size: tuple[int, int] = (14, 10), seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * math.prod(size), 5))


def shown(threat: Rendered, clean: Tensor, theta: Tensor | None = None) -> Tensor:
    noise = Noise.of_images(clean, 0)
    theta = threat.neutral(clean, Noise.of_images(clean, 0)) if theta is None else theta
    return threat.render(clean, theta, noise)


EXACT = ["spatial()", "spatial(elastic=0.1, scale=0.2)", "patch(0.1)", "patch(0.1, shape='circle', place='centre')"]


@pytest.mark.parametrize("spelled", [*EXACT, "patch(0.2, rotation=30, scale=0.3)", "patch(0.1, brightness=0.2)"])
@pytest.mark.parametrize("channels", [1, 3])
def test_neutral_parameters_give_the_clean_image(spelled: str, channels: int) -> None:
    clean = images(channels=channels)
    off = (shown(catalog.make(spelled, "threats"), clean) - clean).abs()
    assert off.max() < 1e-5 if spelled in EXACT else off.mean() < 0.02


@pytest.mark.parametrize(
    "threat", ["spatial()", "spatial(0, 0, elastic=0.1)", "patch(0.2)", "patch(0.2, shape='circle')"]
)
@pytest.mark.parametrize("attack", ["pgd(steps=5)", "apgd(steps=5)", "square(queries=20)", "cw(steps=3, searches=1)"])
def test_every_attack_climbs_and_the_judge_keeps_8_bit_pictures(attack: str, threat: str) -> None:
    model, clean = net(), images(20)
    labels = model(clean).argmax(1)
    found = stalwart.attack(model, clean, labels, attack, threat)
    assert found.adversarial.shape == clean.shape
    assert eight_bit(found.adversarial)
    assert found.worst_size <= catalog.make(threat, "threats").epsilon + 1e-5
    assert torch.equal(model(found.adversarial).argmax(1) != labels, found.reached)
    assert found.reached.any()
    assert not found.clean_reached.any()
    wrong = stalwart.attack(model, clean, (labels + 1) % 5, attack, threat)
    assert wrong.clean_reached.all()
    assert torch.equal(wrong.adversarial, clean)
    assert wrong.size.eq(0).all()


@pytest.mark.parametrize("threat", ["spatial(elastic=0.1)", "patch(0.1, rotation=20, scale=0.3, brightness=0.2)"])
def test_rendered_results_depend_neither_on_batch_size_nor_on_order(threat: str) -> None:
    model, clean = net(), images(20)
    labels = model(clean).argmax(1)
    whole = stalwart.attack(model, clean, labels, "pgd(steps=4)", threat, seed=5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    parts = stalwart.attack(model, clean[order], labels[order], "pgd(steps=4)", threat, seed=5, batch=7)
    assert torch.equal(parts.reached, whole.reached[order])
    assert (parts.adversarial - whole.adversarial[order]).abs().gt(1.5 / 255).float().mean() < 0.01


def test_every_image_has_a_random_start_of_its_own() -> None:
    """All neutral θ are alike, so the noise must come from the images."""
    seen = []

    def watch(clean: Tensor, goal: Any, threat: Threat, noise: Noise) -> Tensor:
        seen.append(threat.start(clean, noise))
        return clean

    model, clean = net(), images(6)
    stalwart.attack(model, clean, model(clean).argmax(1), watch, "spatial()")
    assert len({tuple(row.flatten().tolist()) for row in seen[0]}) == 6


@pytest.mark.parametrize("threat", ["spatial()", "patch(0.2)", "unbounded()"])
def test_nothing_happens_at_epsilon_zero_and_more_falls_at_more(threat: str) -> None:
    model, clean = net(), images(20)
    labels = model(clean).argmax(1)
    whole = catalog.make(threat, "threats")
    shares = []
    for share in (0.0, 0.3, 1.0):
        part = catalog.make(repr(whole), "threats")
        object.__setattr__(part, "epsilon", whole.epsilon * share)
        found = stalwart.attack(model, clean, labels, "pgd(steps=6, restarts=2)", part)
        shares.append(found.reached.float().mean().item())
        if share == 0:
            assert torch.equal(found.adversarial, clean)
            assert found.backwards == 0
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[2] > 0


# ---------------------------------------------------------------- spatial


def theta_of(threat: Any, clean: Tensor, **shares: float) -> Tensor:
    """θ with each named transformation at a share of its bound in [-1, 1]."""
    theta = threat.neutral(clean, Noise.of_images(clean, 0))
    first = 0
    for name, width in threat._parts():
        if name in shares:
            theta[..., first : first + width] = 0.5 + shares[name] / 2
        first += width
    return theta


def test_a_quarter_turn_is_exact_and_clockwise() -> None:
    clean = images(size=(8, 8))
    threat = catalog.make("spatial(rotation=90, translation=0)", "threats")
    turned = shown(threat, clean, theta_of(threat, clean, rotation=1.0))
    torch.testing.assert_close(turned, torch.rot90(clean, -1, (2, 3)), atol=1e-5, rtol=0)
    half = catalog.make("spatial(rotation=180, translation=0)", "threats")
    clean = images()  # not square: only a half turn fits
    turned = shown(half, clean, theta_of(half, clean, rotation=1.0))
    torch.testing.assert_close(turned, clean.flip(2, 3), atol=1e-5, rtol=0)


def test_a_quarter_turn_of_a_wide_image_keeps_its_shapes() -> None:
    """A square in the middle of a wide image stays a square: angles are taken in pixels, not in shares of the sides."""
    clean = torch.zeros(1, 1, 8, 20)
    clean[..., 2:6, 8:12] = 1
    threat = catalog.make("spatial(rotation=90, translation=0)", "threats")
    turned = shown(threat, clean, theta_of(threat, clean, rotation=1.0))
    torch.testing.assert_close(turned, clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("outside", "edge"), [("black", 0.0), ("edge", None), ("mirror", None)])
def test_a_shift_by_whole_pixels_is_exact(outside: str, edge: float | None) -> None:
    clean = images(size=(10, 20))
    threat = catalog.make(f"spatial(rotation=0, translation=0.1, outside={outside!r})", "threats")
    moved = shown(threat, clean, theta_of(threat, clean, translation=1.0))  # one down, two to the right
    torch.testing.assert_close(moved[:, :, 1:, 2:], clean[:, :, :-1, :-2], atol=1e-5, rtol=0)
    if edge is not None:
        assert moved[:, :, :1].abs().max() < 1e-5


def test_scale_enlarges_about_the_middle() -> None:
    clean = torch.zeros(1, 1, 12, 12)
    clean[..., 4:8, 4:8] = 1
    threat = catalog.make("spatial(rotation=0, translation=0, scale=1.0)", "threats")
    grown = shown(threat, clean, theta_of(threat, clean, scale=1.0))
    assert grown.sum() == pytest.approx(64, rel=0.05)
    shrunk = shown(threat, clean, theta_of(threat, clean, scale=-1.0))
    assert shrunk.sum() == pytest.approx(4, rel=0.05)


def test_the_gradient_of_a_rotation_is_its_difference_quotient() -> None:
    clean = images(4).double()
    threat = catalog.make("spatial(scale=0.1, elastic=0.05)", "threats")
    theta = Boxed(0.3).start(threat.neutral(clean, Noise.of_images(clean, 0)), Noise.of_images(clean, 1)).double()
    weights = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad((threat.render(clean, x, Noise.of_images(clean, 0)) * weights).sum(), x)
    step = 1e-6
    for place in range(4):  # the rotation, the shifts, the zoom
        moved = theta.clone()
        moved[..., place] += step
        rise = (threat.render(clean, moved, Noise.of_images(clean, 0)) - shown(threat, clean, theta)) * weights
        want = rise.flatten(1).sum(1) / step
        torch.testing.assert_close(slope[:, 0, 0, place], want, rtol=2e-2, atol=2e-2)


def test_spatial_without_any_bound_is_refused() -> None:
    with pytest.raises(InputError, match="bound above 0"):
        catalog.make("spatial(rotation=0, translation=0)", "threats")


# ---------------------------------------------------------------- patch


@pytest.mark.parametrize("shape", ["square", "circle"])
@pytest.mark.parametrize("place", ["'random'", "'corner'", "'centre'", "(0.2, 0.9)"])
@pytest.mark.parametrize("size", [(20, 20), (14, 30)])
def test_a_patch_covers_its_share_in_one_piece(shape: str, place: str, size: tuple[int, int]) -> None:
    clean = images(8, size)
    threat = catalog.make(f"patch(0.1, shape={shape!r}, place={place})", "threats")
    theta = 1 - threat.neutral(clean, Noise.of_images(clean, 0)).round()  # far from what it covers
    changed = (shown(threat, clean, theta) != clean).any(1)
    area = math.prod(size)
    counts = changed.flatten(1).sum(1)
    assert (counts <= 0.1 * area).all()
    assert (counts >= 0.07 * area).all()
    rows, columns = changed.any(2).sum(1), changed.any(1).sum(1)
    assert (rows == columns).all()  # as high as it is wide, whatever the image
    if place == "'corner'" and shape == "square":
        assert changed[:, 0, 0].all()
    if place == "'centre'":
        assert (changed.flip(1, 2) ^ changed).float().mean() < 0.12
    spread = changed.float().mean(0)
    assert (spread.max() == 1) != (place == "'random'")


def test_a_patch_that_is_too_high_becomes_as_large_a_rectangle() -> None:
    clean = images(4, (6, 40))
    threat = catalog.make("patch(0.5)", "threats")
    assert threat.neutral(clean, Noise.of_images(clean, 0)).shape == (4, 3, 6, 20)
    with pytest.raises(InputError, match="disc"):
        catalog.make("patch(0.5, shape='circle')", "threats").neutral(clean, Noise.of_images(clean, 0))
    whole = catalog.make("patch(1.0)", "threats")
    theta = torch.rand(clean.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(shown(whole, clean, theta), theta, atol=1e-5, rtol=0)


def test_what_is_outside_the_patch_stays_whatever_the_attack_does() -> None:
    model, clean = net(), images(30)
    labels = model(clean).argmax(1)
    found = stalwart.attack(model, clean, labels, "pgd(steps=5)", "patch(0.1, place='corner')")
    assert (found.adversarial[:, :, 4:] == clean[:, :, 4:]).all()
    assert (found.adversarial[:, :, :, 4:] == clean[:, :, :, 4:]).all()
    assert found.size[found.reached].eq(0.1).all()


def test_a_patch_smaller_than_a_pixel_changes_nothing() -> None:
    model, clean = net(), images(10)
    labels = model(clean).argmax(1)
    found = stalwart.attack(model, clean, labels, "pgd(steps=3)", "patch(0.001)")
    assert torch.equal(found.adversarial, clean)


# ---------------------------------------------------------------- the contract


class Lamp:
    """A user's own: the light may be turned down. One file is enough."""

    def __init__(self, epsilon: float = 0.5) -> None:
        self.epsilon = epsilon

    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        return torch.zeros(len(clean), 1, 1, 1)

    def within(self) -> Threat:
        return Boxed(self.epsilon)

    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        return clean * (1 - theta)

    def size(self, theta: Tensor, neutral: Tensor) -> Tensor:
        return (theta - neutral).abs().flatten(1).amax(1)


def test_a_users_own_rendered_threat_passes_and_is_attacked() -> None:
    checks.threat(Lamp())

    class Dim(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            level = x.flatten(1).mean(1)
            return torch.stack([level, torch.full_like(level, 0.3)], 1)

    clean = images(20).clamp_min(0.35)
    clean = (clean * 255).round() / 255
    found = stalwart.attack(Dim(), clean, torch.zeros(20, dtype=torch.int64), "pgd(steps=10)", Lamp())
    level = clean.flatten(1).mean(1)
    assert torch.equal(found.reached, level * 0.5 < 0.3)
    with pytest.raises(SpellingError, match="Threat or Rendered"):
        stalwart.attack(Dim(), clean, torch.zeros(20, dtype=torch.int64), "fgsm()", object())  # type: ignore[arg-type]


class Brighter(Lamp):
    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        return torch.full((len(clean), 1, 1, 1), 0.5)


class Leaves(Lamp):
    def within(self) -> Threat:
        return Boxed(2 * self.epsilon)


class Cut(Lamp):
    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        return clean * (1 - theta.detach()) + 0 * theta


class Mates(Lamp):
    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        return clean * (1 - theta.mean())


class Whims(Lamp):
    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        return (clean * (1 - theta) * torch.rand(1)).clamp(0, 1)


@pytest.mark.parametrize("broken", [Brighter, Leaves, Cut, Mates, Whims])
def test_a_broken_rendered_threat_is_caught(broken: type[Lamp]) -> None:
    with pytest.raises(ContractError):
        checks.threat(broken())
