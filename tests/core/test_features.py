"""Features by hooks: which layers, what comes, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stalwart.core import catalog, features
from stalwart.core.contracts import Signature


@pytest.mark.parametrize(
    ("spelled", "names"),
    [
        ("fastnet()", ("blocks.0", "blocks.1", "blocks.2", "penultimate")),
        ("convnet(stages=2)", ("net.2", "net.5", "net.9", "net.12", "penultimate")),
        ("resnet18()", (*tuple(f"net.layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "penultimate")),
    ],
)
def test_blocks_and_the_penultimate_are_found(spelled: str, names: tuple[str, ...]) -> None:
    model = catalog.make(spelled, "models").build(Signature(5, 3, (32, 32))).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        seen = features.watch(model, images)
        assert torch.equal(seen.outputs, model(images))
    assert seen.names == names
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_network_in_a_stack_is_looked_into() -> None:
    inner = catalog.make("resnet18()", "models").build(Signature(5, 3, (32, 32)))
    with torch.no_grad():
        seen = features.watch(nn.Sequential(nn.Identity(), inner).eval(), torch.rand(2, 3, 32, 32))
    assert len(seen.layers) == 9


def test_features_are_means_over_places_and_the_heads_input() -> None:
    conv, head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
    model = nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    images = torch.rand(5, 1, 7, 6)
    seen = features.watch(model, images)
    expected = conv(images).relu().mean((2, 3))
    assert torch.allclose(seen.layers[0], expected, atol=1e-6)
    assert torch.allclose(head(seen.last), seen.outputs, atol=1e-6)
    whole = features.gather(model, images, batch=2)
    assert torch.allclose(whole.last, seen.last, atol=1e-6)
    assert not whole.last.requires_grad


def test_memory_is_bounded() -> None:
    deep = nn.Sequential(nn.Flatten(), *(layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.Tanh())))
    seen = features.watch(deep, torch.rand(2, 1, 8, 8))
    assert len(seen.layers) == features.MOST_LAYERS + 1
    wide = nn.Sequential(nn.Flatten(), nn.Linear(5000, 3))
    assert features.watch(wide, torch.rand(2, 1, 50, 100)).last.shape == (2, features.MOST_WIDTH)


def test_a_model_without_layers_gives_its_outputs() -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :3]

    seen = features.watch(Bare(), torch.rand(2, 1, 4, 4))
    assert seen.names == ("outputs",)
    assert torch.equal(seen.last, seen.outputs)
