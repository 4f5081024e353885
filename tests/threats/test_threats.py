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
