"""All of a network's weights in one vector, and Adam on it: one operation where others make one for each layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core.errors import TrainingError
from stalwart.mdp.kernels import adam


class Flat:
    """Weights as views of one vector, their gradients as views of another.

    Small networks spend their time in the overhead of operations; clipping, Adam and a target's moving average cost as
    many of them as there are tensors. Here each costs a handful.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, eps: float = 1e-8) -> None:
        self.parts = list(parameters)
        total = sum(part.numel() for part in self.parts)
        device = self.parts[0].device
        self.weights = torch.empty(total, device=device)
        self.gradient = torch.zeros(total, device=device)
        self.mean, self.square = torch.zeros(total, device=device), torch.zeros(total, device=device)
        self.lr, self.eps, self.count = lr, eps, 0
        self.arrays: list[NDArray[np.float32]] = []
        """The same on a CPU, as the kernel takes them."""
        if device.type == "cpu":
            self.arrays = [part.numpy() for part in (self.weights, self.gradient, self.mean, self.square)]
        at = 0
        for part in self.parts:
            size = part.numel()
            self.weights[at : at + size] = part.detach().reshape(-1)
            part.data = self.weights[at : at + size].view_as(part)
            part.grad = self.gradient[at : at + size].view_as(part)
            at += size

    def beside(self) -> tuple[Tensor, Mapping[Tensor, Tensor]]:
        """Another vector for slopes, zeros, and its views for each of the weights: for a second thread."""
        other = torch.zeros_like(self.gradient)
        sizes = [part.numel() for part in self.parts]
        views = [view.view_as(part) for view, part in zip(torch.split(other, sizes), self.parts, strict=True)]
        of: dict[Tensor, Tensor] = dict(zip(self.parts, views, strict=True))
        return other, of

    def step(self, loss: Tensor, clip: float = math.inf) -> None:
        """One step of Adam down `loss`: Kingma and Ba, "Adam" (ICLR 2015), algorithm 1.

        Args:
            clip: the greatest 2-norm of the gradient; a longer one is shortened (Pascanu et al., ICML 2013).
        """
        self.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        self.descend(clip)

    def descend(self, clip: float = math.inf) -> None:
        """The same down the slopes that stand in `gradient`."""
        gradient = self.gradient
        self.count += 1
        step, whole = self.lr / (1 - 0.9**self.count), 1 / (1 - 0.999**self.count)
        if self.arrays:
            weights, slopes, mean, square = self.arrays
            adam(weights, slopes, mean, square, np.array([clip, step, whole, self.eps], np.float32))
            return
        if clip < math.inf:
            gradient.mul_((clip / (gradient.norm() + 1e-6)).clamp_(max=1.0))
        self.mean.lerp_(gradient, 0.1)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = (self.square * whole).sqrt_().add_(self.eps)
        self.weights.addcdiv_(self.mean, scale, value=-step)

    def follow(self, other: Flat, share: float) -> None:
        """Move `share` of the way to another's weights: a target network."""
        self.weights.lerp_(other.weights, share)

    def state(self, name: str) -> dict[str, Tensor]:
        count = torch.tensor(self.count)
        return {f"{name}/weights": self.weights, f"{name}/mean": self.mean, f"{name}/square": self.square,
                f"{name}/count": count}  # fmt: skip

    def restore(self, state: dict[str, Tensor], name: str) -> None:
        """Put back what `state` gave."""
        self.weights.copy_(state[f"{name}/weights"])
        self.mean.copy_(state[f"{name}/mean"])
        self.square.copy_(state[f"{name}/square"])
        self.count = int(state[f"{name}/count"])


def mean_loss(losses: Sequence[Tensor], learner: str, advice: str) -> float:
    """The mean of the losses of some gradients.

    Raises:
        TrainingError: it is not finite.
    """
    mean = float(torch.stack(list(losses)).mean())
    if not math.isfinite(mean):
        raise TrainingError(f"{learner}: the loss is not finite. Try {advice}.")
    return mean
