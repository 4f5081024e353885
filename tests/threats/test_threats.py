"""What must hold of every threat that is a ball, and the closed forms of those that have one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core import catalog
from stalwart.core.rng import Noise, generator

BALLS = ["linf", "l2"]
cases = st.tuples(st.sampled_from(BALLS), st.floats(0, 2), st.integers(0, 10_000))


def make(name: str, epsilon: float, seed: int):  # type: ignore[no-untyped-def]
    threat = catalog.make(f"{name}({epsilon!r})", "threats")
    clean = torch.rand(6, 3, 4, 5, generator=generator(seed))
    far = clean + torch.randn(clean.shape, generator=generator(seed, "far")) * 2 * (epsilon + 0.01)
    return threat, clean, far


@settings(deadline=None)
@given(cases)
def test_projection_ends_inside_and_stays_put(case: tuple[str, float, int]) -> None:
    threat, clean, far = make(*case)
    inside = threat.project(far, clean)
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert (threat.size(inside, clean) <= threat.epsilon * (1 + 1e-5) + 1e-6).all()
    torch.testing.assert_close(threat.project(inside, clean), inside, atol=1e-6, rtol=1e-5)
    assert threat.size(clean, clean).eq(0).all()


@settings(deadline=None)
@given(cases)
def test_start_is_inside_and_random(case: tuple[str, float, int]) -> None:
    threat, clean, _ = make(*case)
    begun = threat.start(clean, Noise.of_images(clean, 0))
    assert begun.min() >= 0
    assert begun.max() <= 1
    assert (threat.size(begun, clean) <= threat.epsilon * (1 + 1e-5) + 1e-6).all()
    if threat.epsilon > 1e-3:
        assert (threat.size(begun, clean) > 0).all()


@settings(deadline=None)
@given(cases)
def test_ascent_is_the_steepest_of_its_length(case: tuple[str, float, int]) -> None:
    """No other direction of the same size has a larger product with the gradient (the dual norm's definition)."""
    threat, clean, _ = make(*case)
    gradient = torch.randn(clean.shape, generator=generator(case[2], "gradient"))
    moved = threat.ascend(clean, gradient, 0.1)
    torch.testing.assert_close(threat.size(moved, clean), torch.full((6,), 0.1), atol=1e-5, rtol=1e-4)
    gain = ((moved - clean) * gradient).flatten(1).sum(1)
    dual = gradient.abs().flatten(1).sum(1) if case[0] == "linf" else gradient.flatten(1).norm(dim=1)
    torch.testing.assert_close(gain, 0.1 * dual, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", BALLS)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_ascent_does_not_lose_tiny_or_huge_gradients(name: str, scale: float) -> None:
    threat, clean, _ = make(name, 0.5, 0)
    gradient = torch.randn(clean.shape, generator=generator(1))
    if name == "l2" and scale < 1e-20:
        scale = 1e-18
    near = threat.ascend(clean, gradient, 0.1)
    torch.testing.assert_close(threat.ascend(clean, gradient * scale, 0.1), near, atol=1e-5, rtol=1e-4)
    assert torch.equal(threat.ascend(clean, gradient * 0, 0.1), clean)


def test_l2_start_fills_the_ball_evenly() -> None:
    """In d dimensions the share within half the radius is 2^-d."""
    clean = torch.full((4000, 1, 1, 3), 0.5)
    threat = catalog.make("l2(0.4)", "threats")
    sizes = threat.size(threat.start(clean, Noise.of_index(torch.arange(4000), 0)), clean)
    assert abs((sizes < 0.2).float().mean() - 1 / 8) < 0.03


def bisected(images: torch.Tensor, clean: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The nearest point of the L1 ball and the box, by halving λ in float64: the definition, no sorting."""
    shift, clean = (images - clean).double(), clean.double()
    room = torch.where(shift > 0, 1 - clean, clean)

    def kept(level: torch.Tensor) -> torch.Tensor:
        return torch.minimum((shift.abs() - level.view(-1, 1, 1, 1)).clamp_min(0), room)

    low, high = torch.zeros(len(clean), dtype=torch.float64), shift.abs().flatten(1).amax(1)
    for _ in range(200):
        middle = (low + high) / 2
        over = kept(middle).flatten(1).sum(1) > epsilon
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    low = torch.where(kept(torch.zeros_like(low)).flatten(1).sum(1) > epsilon, high, torch.zeros_like(low))
    return clean + kept(low) * shift.sign()


@settings(deadline=None)
@given(st.floats(0, 12), st.integers(0, 10_000))
def test_l1_projects_onto_ball_and_box_at_once(epsilon: float, seed: int) -> None:
    threat, clean, far = make("l1", epsilon, seed)
    assert torch.allclose(threat.project(far, clean).double(), bisected(far, clean, epsilon), atol=2e-5)
    alone = clean[[2]]
    assert torch.allclose(threat.project(far[[2]], alone), threat.project(far, clean)[[2]], atol=1e-6)


def test_l1_projection_is_nearer_than_the_ball_then_the_box() -> None:
    threat, clean, far = make("l1", 3.0, 4)
    from stalwart.core import balls

    both = (clean + balls.project(far - clean, 3.0, 1)).clamp(0, 1)
    nearest = (threat.project(far, clean) - far).flatten(1).norm(dim=1)
    assert (nearest <= (both - far).flatten(1).norm(dim=1) + 1e-6).all()
    assert (nearest < (both - far).flatten(1).norm(dim=1) - 1e-3).any()


def test_l1_ascent_changes_the_steepest_entries_that_have_room() -> None:
    threat = catalog.make("l1(2.0, dense=0.1)", "threats")
    images = torch.full((2, 1, 5, 4), 0.5)
    images[0, 0, 0, 0] = 1.0
    gradient = torch.arange(1.0, 21.0).view(1, 1, 5, 4).repeat(2, 1, 1, 1)
    gradient[0, 0, 0, 0] = 100.0  # at its wall already
    moved = threat.ascend(images, gradient, 0.3) - images
    assert threat.size(images + moved, images).tolist() == pytest.approx([0.3, 0.3])
    assert [part.nonzero().tolist() for part in moved[:, 0]] == [[[4, 2], [4, 3]]] * 2


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 10_000))
def test_l0_keeps_the_strongest_pixels_and_counts_places(epsilon: int, seed: int) -> None:
    threat, clean, _ = make("l0", float(epsilon), seed)
    far = torch.rand(clean.shape, generator=generator(seed, "l0"))
    inside = threat.project(far, clean)
    changed = (inside != clean).any(1).flatten(1)
    assert torch.equal(threat.size(inside, clean), changed.sum(1).float())
    assert (changed.sum(1) == min(epsilon, 20)).all()
    weight = (far - clean).square().sum(1).flatten(1)
    for kept, strength in zip(changed, weight, strict=True):
        if 0 < epsilon < 20:
            assert strength[kept].min() >= strength[~kept].max()
    begun = threat.start(clean, Noise.of_images(clean, 0))
    assert (threat.size(begun, clean) == min(epsilon, 20)).all()


def test_l0_ascent_takes_the_pixels_that_gain_most() -> None:
    threat = catalog.make("l0(3)", "threats")
    images = torch.full((1, 2, 2, 3), 0.5)
    gradient = torch.tensor([[1.0, -4.0, 0.0], [2.0, 0.5, 0.0]]).view(1, 1, 2, 3).repeat(1, 2, 1, 1)
    moved = threat.ascend(images, gradient, 2.0)
    assert moved[0, :, 0, 1].tolist() == [0.0, 0.0]
    assert moved[0, :, 1, 0].tolist() == [1.0, 1.0]
    assert threat.size(moved, images).item() == 2
