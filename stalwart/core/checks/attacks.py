"""Does an attack keep its contract?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stalwart.core.checks._say import expect
from stalwart.core.contracts import Attack, Threat, Verdict
from stalwart.core.rng import Noise, generator


def attack(attack: Attack, threat: Threat) -> None:
    """Check that an attack keeps its contract: shapes, the same for the same noise, sample by sample, and it climbs.

    Args:
        threat: one that the attack is made for.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"attack {attack!r}"
    clean = torch.rand(4, 3, 8, 6, generator=generator("check", "attack")) * 0.5 + 0.25
    kept, goal, noise = clean.clone(), _Slope((3, 8, 6)), Noise.of_images(clean, 0)
    if getattr(attack, "least", False):  # attacks by decisions alone begin at a success: let there be some
        goal = _Slope((3, 8, 6), bar=float(goal.model(clean).max()) + 2.0)
    found = attack(clean, goal, threat, noise.fork("a"))
    expect(isinstance(found, Tensor), f"{who}: must give a tensor", type(found).__name__)
    expect(found.shape == clean.shape, f"{who}: must keep the shape {tuple(clean.shape)}", tuple(found.shape))
    expect(bool(found.isfinite().all()), f"{who}: must give finite values", "NaN or infinity")
    expect(not found.requires_grad, f"{who}: must give images without a graph", "requires_grad")
    expect(torch.equal(clean, kept), f"{who}: must not write into the clean images", "other values")
    again = attack(clean, goal, threat, noise.fork("a"))
    expect(torch.equal(found, again), f"{who}: must give the same for the same noise", "other images")
    order = torch.tensor([3, 1]) if not getattr(attack, "together", False) else torch.tensor([3, 1, 0, 2])
    part = attack(clean[order], goal.select(order), threat, noise.fork("a").select(order))
    expect(torch.allclose(part, found[order], atol=1e-5), f"{who}: must work sample by sample", "batch mates matter")
    with torch.no_grad():
        before, after = goal(clean).loss, goal(threat.project(found, clean)).loss
    expect(bool((after > before).all()), f"{who}: must raise a linear goal's loss", (after - before).tolist())


class _Slope:
    """A linear goal of four outcomes: the loss is each image's product with one fixed picture, less `bar`.

    Args:
        bar: how high the product must be for the goal to be reached; none reaches the default.
    """

    def __init__(self, shape: tuple[int, ...], bar: float = 40.0) -> None:
        self.model, self.bar = _Product(shape), bar

    def select(self, index: Tensor) -> _Slope:
        return self

    def on(self, model: nn.Module) -> _Slope:
        other = _Slope((1,), self.bar)
        other.model = model  # type: ignore[assignment]
        return other

    def __call__(self, images: Tensor) -> Verdict:
        loss = self.model(images) - self.bar
        gaps = torch.stack([torch.full_like(loss, -torch.inf), loss, loss - 1, loss - 2], 1)
        return Verdict(loss, loss > 0, gaps)


class _Product(nn.Module):
    weights: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.randn(shape, generator=generator("check", "goal")))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weights).flatten(1).sum(1)
