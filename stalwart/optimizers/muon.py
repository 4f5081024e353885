"""Muon: momentum whose matrix is made orthogonal before the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from stalwart.core.component import Range, above, at_least, component
from stalwart.core.parameters import weights_and_rest


@component
class muon:
    """Muon for the hidden layers' weights; Nesterov SGD for biases, norms and the last layer.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024): the momentum matrix U S Vᵀ is
    replaced by nearly U Vᵀ, so that all directions move alike. The orthogonalisation is five-term Newton-Schulz:
    X ← a X + (b A + c A²) X with A = X Xᵀ and (a, b, c) = (3.4445, −4.7750, 2.0315). A convolution's filter counts
    as the matrix (out, in · height · width). With `unit`, each weight is brought to the norm √out before its step,
    as in Jordan's airbench, so that a learning rate means the same in every layer.
    """

    lr: Annotated[float, above(0)] = 0.12
    """Peak learning rate of the orthogonal steps."""
    momentum: Annotated[float, Range(0, 1, open_high=True)] = 0.6
    """Of the orthogonal steps, in Nesterov's form."""
    rounds: Annotated[int, at_least(1)] = 4
    """Newton-Schulz rounds."""
    unit: bool = True
    """Keep each hidden weight at the norm √out."""
    bias_lr: Annotated[float, above(0)] = 0.1
    """Peak learning rate of biases and norms."""
    head_lr: Annotated[float, above(0)] = 0.1
    """Peak learning rate of the last layer's weight."""
    sgd_momentum: Annotated[float, Range(0, 1, open_high=True)] = 0.85
    """Of biases, norms and the last layer."""
    decay: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    """Share that biases, norms and the last layer lose in a step at the peak rate; `unit` bounds the hidden weights."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        weights, rest = weights_and_rest(model)
        last = [p for p in weights if p.ndim == 2][-1:]  # the classifier's own weight, by the usual order of layers
        hidden = [p for p in weights if all(p is not other for other in last)]
        common = {"momentum": self.sgd_momentum, "rounds": 0, "unit": False}
        groups: list[dict[str, Any]] = [
            {
                "params": hidden,
                "lr": self.lr,
                "momentum": self.momentum,
                "weight_decay": 0.0,
                "rounds": self.rounds,
                "unit": self.unit,
            },
            {"params": rest, "lr": self.bias_lr, "weight_decay": self.decay / self.bias_lr, **common},
            {"params": last, "lr": self.head_lr, "weight_decay": self.decay / self.head_lr, **common},
        ]
        return _Muon([group for group in groups if group["params"]])


class _Muon(torch.optim.Optimizer):
    """Groups with `rounds` > 0 take orthogonal steps, the others Nesterov's."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "rounds": 0, "unit": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise TypeError("muon takes no closure: call backward() before step().")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        gradient = weight.grad
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity = state["velocity"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(velocity, alpha=group["momentum"])
        if not group["rounds"]:
            weight.add_(ahead, alpha=-group["lr"])
            return
        if group["unit"]:
            weight.mul_(len(weight) ** 0.5 / weight.norm().clamp_min(1e-12))
        # A filter lies as (out, height, width, in) in memory under channels_last: flattening it in that order needs no
        # copy, and the order of the columns changes nothing in U Vᵀ but their order.
        lying = ahead.movedim(1, -1) if ahead.ndim > 2 else ahead
        step: Tensor = orthogonal(lying.reshape(len(lying), -1), group["rounds"]).view(lying.shape)
        weight.add_(step.movedim(-1, 1) if ahead.ndim > 2 else step, alpha=-group["lr"])


def orthogonal(matrix: Tensor, rounds: int) -> Tensor:
    """Nearly U Vᵀ of the matrix U S Vᵀ: singular values end between about 0.7 and 1.2, enough for a step."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(rounds):
        a = x @ x.T
        x = torch.addmm(x, torch.addmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    result: Tensor = x.T if tall else x
    return result
