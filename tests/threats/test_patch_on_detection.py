"""One patch for all pictures against a detector, wherever, however large and however bright it comes to lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Objects
from stalwart.core.objects import ObjectBatch
from stalwart.core.rendering import Shown

PATCH = "patch(0.1, scale=0.5, brightness=0.5)"


class Bright(nn.Module):
    """Sees its one object as surely as the picture is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(40.0))

    def forward(self, images: Tensor) -> Tensor:
        return ((images.mean((1, 2, 3)) - 0.5) * self.slope)[:, None, None]

    def candidates(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([[[2.0, 2.0, 10.0, 10.0]]]).expand(len(outputs), 1, 4), outputs

    def losses(self, outputs: Tensor, targets: ObjectBatch) -> Tensor:
        return nn.functional.softplus(-outputs).flatten(1).sum(1)


@pytest.mark.parametrize("goal", ["untargeted", "vanish"])
def test_the_patch_found_is_the_best_there_is(goal: str) -> None:
    """The best patch on this detector is black, whose brightness no chance changes."""
    images = torch.randint(128, 156, (6, 3, 20, 16), generator=torch.Generator().manual_seed(0)) / 255
    targets = [Objects(torch.tensor([[2.0, 2.0, 10.0, 10.0]]), torch.tensor([0])) for _ in range(6)]
    model, task = Bright(), catalog.make("detection()", "tasks")
    found = stalwart.attack(model, images, targets, "universal(steps=60, batch=4)", PATCH, task=task, goal=goal)
    threat = catalog.make(PATCH, "threats")
    batch = task.collate(targets)
    shown = Shown.of(task.goal(model, batch, goal), threat, images, 8)
    black = shown.picture(torch.zeros_like(shown.neutral))
    assert float((found.adversarial - black).abs().mean()) < 0.002
    best = shown(torch.zeros_like(shown.neutral))
    assert best.reached is not None
    assert torch.equal(found.reached, best.reached)
    changed = (found.adversarial != images).any(1).flatten(1).float().mean(1)
    assert float(changed.max()) <= 0.1 + 1e-6
    assert float(changed.min()) < 0.09  # chance made some of them smaller
