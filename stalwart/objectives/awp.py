"""Adversarial weight perturbation: minimise the loss where the weights, too, are at their worst."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.func import functional_call

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Attack, Batch, Hardening, Objective, Rendered, Task, Threat


@component
class awp:
    """min over weights of max over ‖v_l‖ ≤ γ ‖w_l‖ of the objective's loss at w + v, the images' worst points fixed.

    Wu, Xia and Wang, "Adversarial weight perturbation helps robust generalization" (NeurIPS 2020), equation 7, with the
    one step of equation 10 for each layer l: v_l = γ ‖w_l‖ g_l / ‖g_l‖, where g is the loss's gradient at w. As in the
    authors' code, parameters of one dimension are left alone. The gradient at w + v is taken by computing with w + v in
    the place of w: the weights themselves are never touched, and BatchNorm's statistics see the second pass alone.
    A flatter minimum overfits less: worth it in long trainings, at the price of one more forward and backward pass.
    """

    objective: Objective = "adversarial()"  # type: ignore[assignment]
    """What is minimised at the shifted weights: any objective."""
    gamma: Annotated[float, at_least(0)] = 0.005
    """Length γ of the shift as a share of each layer's norm; the paper's 0.005 around trades, 0.01 around
    adversarial."""

    @property
    def attack(self) -> Attack | None:
        return getattr(self.objective, "attack", None)

    @property
    def threat(self) -> Threat | Rendered | None:
        return getattr(self.objective, "threat", None)

    @property
    def replays(self) -> int:
        return getattr(self.objective, "replays", 1)

    @property
    def carries(self) -> bool:
        return getattr(self.objective, "carries", False)

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        (losses,) = self.parts(model, task, [batch], lambda tensor: tensor)
        return losses

    def parts(
        self, model: nn.Module, task: Task, batches: Sequence[Batch], total: Callable[[Tensor], Tensor]
    ) -> Iterator[Tensor]:
        """The shift is that of the whole batch, in however many parts and processes it is computed."""
        model = getattr(model, "_orig_mod", model)  # what was compiled cannot compute with other weights
        weights = {name: p for name, p in model.named_parameters() if p.requires_grad and p.ndim > 1}
        worst = [self._worst(model, task, batch) for batch in batches]
        slopes = [torch.zeros_like(weight) for weight in weights.values()]
        for batch, images in zip(batches, worst, strict=True):
            buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
            loss = self._loss(_With(model, buffers), task, batch, images).sum()
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for slope, part in zip(slopes, found, strict=True):
                if part is not None:
                    slope += part
        _sum(slopes, total)
        shifts = [self._shift(weight, slope) for weight, slope in zip(weights.values(), slopes, strict=True)]
        for batch, images in zip(batches, worst, strict=True):
            moved = {name: weight + shift for (name, weight), shift in zip(weights.items(), shifts, strict=True)}
            yield self._loss(_With(model, moved), task, batch, images)

    @torch.no_grad()
    def _shift(self, weight: Tensor, gradient: Tensor) -> Tensor:
        length: Tensor = self.gamma * weight.norm() / gradient.norm().clamp_min(1e-30)
        return length * gradient

    def _worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.objective.worst(model, task, batch) if isinstance(self.objective, Hardening) else batch.images

    def _loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        if isinstance(self.objective, Hardening):
            return self.objective.loss(model, task, batch, worst)
        return self.objective(model, task, batch)


def _sum(tensors: Sequence[Tensor], total: Callable[[Tensor], Tensor]) -> None:
    """Sum each tensor over all processes, in place and in one go."""
    if not tensors:
        return
    flat = total(torch.cat([tensor.flatten() for tensor in tensors]))
    done = 0
    for tensor in tensors:
        tensor.copy_(flat[done : done + tensor.numel()].view(tensor.shape))
        done += tensor.numel()


class _With(nn.Module):
    """The model, computing with these tensors in the place of its own of the same names."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.inner, self.training = model, model.training
        self._tensors = tensors

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = functional_call(self.inner, self._tensors, (images,))
        return output
