"""What a model sees on its way to an answer: features of its layers, by hooks, from any module as it is.

Which layers: the blocks that a network stacks (members of a `Sequential` or `ModuleList` that have layers of their own,
as the residual blocks of a ResNet and the encoder blocks of a transformer), and activations that stand in a stack
themselves (VGG); then what the last layer with weights is given, the penultimate features. Of many blocks some are
kept, evenly spread. Each is averaged over its places (positions of a map, tokens of a sequence) as it passes, so that
what is held is a vector for each image and layer, whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_LAYERS = 8
"""Blocks that are looked at, besides the penultimate features."""
MOST_WIDTH = 2048
"""A longer vector is averaged down to so many numbers: covariances grow with its square."""
_STACKS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NO_ACTIVATION = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)


@dataclass(frozen=True)
class Seen:
    """One forward pass, watched."""

    outputs: Tensor
    """What the model gives: logits (B, K) of a classifier."""
    layers: tuple[Tensor, ...]
    """(B, D) float32 for each layer, in the order of the pass; the penultimate features last."""
    names: tuple[str, ...]
    """The layers' names within the model."""

    @property
    def last(self) -> Tensor:
        """The penultimate features (B, D)."""
        return self.layers[-1]


def watch(model: nn.Module, images: Tensor) -> Seen:
    """One forward pass of `model`, and the features of its layers, with gradients where they are wanted.

    The model's hooks are its own again afterwards.
    """
    found: dict[str, Tensor] = {}
    entering: list[Tensor] = []
    with ExitStack() as stack:
        for name, block in _blocks(model):
            stack.callback(block.register_forward_hook(_keeper(found, name, len(images))).remove)
        for module in model.modules():
            if isinstance(module, _WEIGHTED):
                stack.callback(module.register_forward_pre_hook(_entry(entering)).remove)
        outputs = model(images)
    names = list(found)  # in the order of the pass
    if len(names) > MOST_LAYERS:
        names = [names[round(i * (len(names) - 1) / (MOST_LAYERS - 1))] for i in range(MOST_LAYERS)]
    layers = [found[name] for name in names]
    if entering and len(entering[0]) == len(images):
        layers.append(pooled(entering[0]))
        names.append("penultimate")
    if not layers:
        layers, names = [pooled(outputs)], ["outputs"]
    return Seen(outputs, tuple(layers), tuple(names))


@torch.no_grad()
def gather(model: nn.Module, images: Tensor, batch: int = 128) -> Seen:
    """`watch` of many images (N, C, H, W), so many at a time, without gradients."""
    parts = [watch(model, images[first : first + batch]) for first in range(0, len(images), batch)]
    layers = tuple(torch.cat(several) for several in zip(*(part.layers for part in parts), strict=True))
    return Seen(torch.cat([part.outputs for part in parts]), layers, parts[0].names)


def pooled(values: Tensor) -> Tensor:
    """(B, C, H, W), (B, tokens, C) or (B, D) to one float32 vector each."""
    values = values.float()
    if values.ndim == 3:
        values = values.mean(1)
    elif values.ndim > 3:
        values = values.flatten(2).mean(2)
    if values.ndim < 2:
        values = values[:, None]
    return values if values.shape[1] <= MOST_WIDTH else F.adaptive_avg_pool1d(values[:, None], MOST_WIDTH)[:, 0]


def _keeper(found: dict[str, Tensor], name: str, count: int) -> Any:
    def keep(module: nn.Module, given: Any, result: Any) -> None:
        if isinstance(result, Tensor) and result.is_floating_point() and result.ndim > 1 and len(result) == count:
            found[name] = pooled(result)

    return keep


def _entry(entering: list[Tensor]) -> Any:
    def keep(module: nn.Module, given: Any) -> None:
        if given and isinstance(given[0], Tensor):
            entering[:] = [given[0]]  # the last one called is the head

    return keep


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    weights = sum(parameter.numel() for parameter in model.parameters())

    def walk(parent: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
        for name, child in parent.named_children():
            full = f"{path}.{name}" if path else name
            if isinstance(parent, _STACKS) and (_activation(child) or _block(child, weights)):
                yield full, child
            else:
                yield from walk(child, full)

    return walk(model, "")


def _activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, _NO_ACTIVATION)


def _block(module: nn.Module, weights: int) -> bool:
    """Layers of its own, and no stack; a whole network within a stack of two (normalise, net) is no block of it."""
    if isinstance(module, _STACKS) or not any(True for _ in module.children()):
        return False
    own = sum(parameter.numel() for parameter in module.parameters())
    return not (own > weights / 2 and _stacks_blocks(module))


def _stacks_blocks(module: nn.Module) -> bool:
    return any(
        isinstance(stack, _STACKS)
        and any(not isinstance(child, _STACKS) and any(True for _ in child.children()) for child in stack.children())
        for stack in module.modules()
    )
