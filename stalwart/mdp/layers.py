"""A small network's layers forwards and backwards by hand, in buffers made once.

For networks of some 64 numbers a layer, recording what was done and making room for it anew takes PyTorch's autograd
about as long as the arithmetic. A test compares every slope with autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.mdp.policies import Policy

_ops: Any = torch.ops.aten


def plain(policy: Policy) -> bool:
    """Whether a policy is layers alone: neither a memory nor convolutions, and no state's value of its own."""
    return policy.cell is None and not policy.pixels and policy.state_value is None


class Layers:
    """Hidden layers with tanh or ReLU behind each, and one or more heads on the last; weights are read where they lie.

    Call it where no gradients are recorded. Each call to `forward` writes over what the one before gave.
    """

    def __init__(self, body: nn.Module, heads: Sequence[nn.Linear], rows: int) -> None:
        """Args:
        body: Linear layers and activations in turn; none at all: the heads see the input.
        rows: the most that `forward` is given.
        """
        parts = list(body.children())
        self.hidden = [part for part in parts if isinstance(part, nn.Linear)]
        self.tanh = any(isinstance(part, nn.Tanh) for part in parts)
        self.heads = list(heads)
        device = self.heads[0].weight.device
        self._kept, self._slopes = (
            [torch.empty(rows, layer.out_features, device=device) for layer in self.hidden] for _ in range(2)
        )
        self._out = [torch.empty(rows, head.out_features, device=device) for head in self.heads]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs) → (B, outputs) of each head."""
        count = len(x)
        for layer, buffer in zip(self.hidden, self._kept, strict=True):
            x = torch.addmm(layer.bias, x, layer.weight.t(), out=buffer[:count])
            x.tanh_() if self.tanh else x.relu_()
        return [
            torch.addmm(head.bias, x, head.weight.t(), out=buffer[:count])
            for head, buffer in zip(self.heads, self._out, strict=True)
        ]

    def backward(self, x: Tensor, slopes: Sequence[Tensor]) -> None:
        """Add the weights' slopes to their `grad`, after a `forward` of the same x.

        Args:
            slopes: (B, outputs) of each head, by which the loss rises with what it gave.
        """
        count = len(x)
        last = self._kept[-1][:count] if self.hidden else x
        for head, slope in zip(self.heads, slopes, strict=True):
            _add(head, slope, last)
        if not self.hidden:
            return
        back = self._slopes[-1][:count]
        torch.mm(slopes[0], self.heads[0].weight, out=back)
        for head, slope in zip(self.heads[1:], slopes[1:], strict=True):
            back.addmm_(slope, head.weight)
        for k in range(len(self.hidden) - 1, -1, -1):
            given = self._kept[k][:count]
            if self.tanh:
                _ops.tanh_backward(back, given, grad_input=back)
            else:
                _ops.threshold_backward(back, given, 0, grad_input=back)
            _add(self.hidden[k], back, self._kept[k - 1][:count] if k else x)
            if k:
                back = torch.mm(back, self.hidden[k].weight, out=self._slopes[k - 1][:count])


def _add(layer: nn.Linear, slope: Tensor, x: Tensor) -> None:
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    layer.weight.grad.addmm_(slope.t(), x)
    layer.bias.grad.add_(slope.sum(0))


class Pair:
    """A policy and the values beside it, or on its last hidden layer, as `Layers`."""

    def __init__(self, policy: Policy, critic: Policy, shared: bool, rows: int) -> None:
        """Args:
        shared: `critic` is one layer on the policy's last hidden one.
        rows: the most that is passed at once.
        """
        if shared:
            self._nets = [Layers(policy.body, [policy.head, critic.head], rows)]
        else:
            self._nets = [Layers(net.body, [net.head], rows) for net in (policy, critic)]
        self._actor = Layers(policy.body, [policy.head], rows)
        self._rows = rows
        self._drawn = torch.empty(rows, policy.inputs, device=policy.head.weight.device)

    def act(self, prepared: Tensor) -> Tensor:
        """(B, inputs) → (B, outputs) of the policy alone, as a buffer that the next call writes over."""
        return self._actor.forward(prepared)[0]

    def values(self, prepared: Tensor) -> Tensor:
        """(M, inputs) → (M,) of any number."""
        return torch.cat([self._forward(part)[1][:, 0].clone() for part in torch.split(prepared, self._rows)])

    def _forward(self, prepared: Tensor) -> list[Tensor]:
        return [out for net in self._nets for out in net.forward(prepared)]

    def slopes(self, prepared: Tensor, index: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The loss of some rows, whose slopes are added to the weights' `grad`.

        Args:
            prepared: (M, inputs).
            index: (B,) which rows, at most as many as was said.
            loss_of: (B, outputs) of the policy and (B,) values to a loss, by operations that autograd knows.
        """
        with torch.no_grad():
            seen = torch.index_select(prepared, 0, index, out=self._drawn[: len(index)])
            out, value = (part.detach().requires_grad_() for part in self._forward(seen))
        with torch.enable_grad():
            loss = loss_of(out, value[:, 0])
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            found = [torch.zeros_like(part) if part.grad is None else part.grad for part in (out, value)]
            if len(self._nets) == 1:
                self._nets[0].backward(seen, found)
            else:
                for net, slope in zip(self._nets, found, strict=True):
                    net.backward(seen, [slope])
        return loss.detach()
