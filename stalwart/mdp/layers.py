"""A small network's layers forwards and backwards by hand, in buffers made once.

For networks of some 64 numbers a layer, recording what was done and making room for it anew takes PyTorch's autograd
about as long as the arithmetic. On a CPU what stands between the products is one pass each (`mdp/kernels.py`). A test
compares every slope with autograd's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stalwart.drive.compiled import Array
from stalwart.mdp import kernels
from stalwart.mdp.policies import Policy

_ops: Any = torch.ops.aten


def plain(policy: Policy) -> bool:
    """Whether a policy is layers alone: neither a memory nor convolutions, and no state's value of its own."""
    return policy.cell is None and not policy.pixels and policy.state_value is None


class Layers:
    """Hidden layers with tanh or ReLU behind each, and one or more heads on the last; weights are read where they lie
    when it is first called.

    Call it where no gradients are recorded. Each call to `forward` writes over what the one before gave.
    """

    def __init__(
        self, body: nn.Module, heads: Sequence[nn.Linear], rows: int,
        slopes: Mapping[Tensor, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Args:
        body: Linear layers and activations in turn; none at all: the heads see the input.
        rows: the most that `forward` is given.
        slopes: where the slopes of each weight are added; None: to its `grad`.
        """
        parts = list(body.children())
        self.hidden = [part for part in parts if isinstance(part, nn.Linear)]
        self.tanh = any(isinstance(part, nn.Tanh) for part in parts)
        self.heads = list(heads)
        self._into = slopes
        device = self.heads[0].weight.device
        self._kept, self._slopes = (
            [torch.empty(rows, layer.out_features, device=device) for layer in self.hidden] for _ in range(2)
        )
        self._out = [torch.empty(rows, head.out_features, device=device) for head in self.heads]
        first = self.hidden[0] if self.hidden else self.heads[0]
        self._below = torch.empty(rows, first.in_features, device=device)
        self._swift = device.type == "cpu"

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs) → (B, outputs) of each head."""
        count = len(x)
        for k, (layer, buffer) in enumerate(zip(self.hidden, self._kept, strict=True)):
            if self._swift:
                x = torch.mm(x, layer.weight.t(), out=buffer[:count])
                kept, bias = self._forwards[k]
                (kernels.tanh_of if self.tanh else kernels.relu_of)(kept[:count], bias)
            else:
                x = torch.addmm(layer.bias, x, layer.weight.t(), out=buffer[:count])
                x.tanh_() if self.tanh else x.relu_()
        return [
            torch.addmm(head.bias, x, head.weight.t(), out=buffer[:count])
            for head, buffer in zip(self.heads, self._out, strict=True)
        ]

    def backward(self, x: Tensor, slopes: Sequence[Tensor], *, weights: bool = True, inputs: bool = False) -> Tensor:
        """Go back after a `forward` of the same x.

        Args:
            slopes: (B, outputs) of each head, by which the loss rises with what it gave.
            weights: add the weights' slopes where they are kept.
            inputs: find the input's.

        Returns:
            (B, inputs) those slopes, a buffer that the next call writes over; meaningless where they are not asked for.
        """
        count = len(x)
        last = self._kept[-1][:count] if self.hidden else x
        if weights:
            for head, slope in zip(self.heads, slopes, strict=True):
                self._add(head, slope, last)
        below = [*([self._below] if inputs else []), *self._slopes]
        if not below:
            return self._below[:count]
        back = torch.mm(slopes[0], self.heads[0].weight, out=below[-1][:count])
        for head, slope in zip(self.heads[1:], slopes[1:], strict=True):
            back.addmm_(slope, head.weight)
        for k in range(len(self.hidden) - 1, -1, -1):
            given = self._kept[k][:count]
            if self._swift:
                above, sums = self._backwards[k]
                through = kernels.through_tanh if self.tanh else kernels.through_relu
                through(above[:count], self._forwards[k][0][:count], sums if weights else np.zeros_like(sums))
            elif self.tanh:
                _ops.tanh_backward(back, given, grad_input=back)
            else:
                _ops.threshold_backward(back, given, 0, grad_input=back)
            if weights:
                self._add(self.hidden[k], back, self._kept[k - 1][:count] if k else x, summed=self._swift)
            if k or inputs:
                back = torch.mm(back, self.hidden[k].weight, out=(self._slopes[k - 1] if k else self._below)[:count])
        return back

    def _add(self, layer: nn.Linear, slope: Tensor, x: Tensor, *, summed: bool = False) -> None:
        """Slopes of a layer's weights; `summed`: those of its bias have been added."""
        self._slope_of(layer.weight).addmm_(slope.t(), x)
        if not summed:
            self._slope_of(layer.bias).add_(slope.sum(0))

    def _slope_of(self, part: Tensor) -> Tensor:
        found = part.grad if self._into is None else self._into[part]
        assert found is not None
        return found

    @cached_property
    def _forwards(self) -> list[tuple[Array, Array]]:
        """Of each hidden layer what it gives and its bias, as kernels take them."""
        layers = zip(self._kept, self.hidden, strict=True)
        return [(kept.numpy(), layer.bias.detach().numpy()) for kept, layer in layers]

    @cached_property
    def _backwards(self) -> list[tuple[Array, Array]]:
        """The slopes of both."""
        layers = zip(self._slopes, self.hidden, strict=True)
        return [(slope.numpy(), self._slope_of(layer.bias).numpy()) for slope, layer in layers]
