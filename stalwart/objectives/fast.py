"""Fast adversarial training: one gradient step from a random start."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from stalwart.core.ascent import Unstopped, ascend
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Attack, Batch, Task, Threat
from stalwart.core.freeze import frozen, resting


@component
class fast:
    """FGSM-RS: adversarial training at the price of one more pass.

    Wong, Rice and Kolter, "Fast is better than free: revisiting adversarial training" (ICLR 2020), algorithm 3.
    It can fall into catastrophic overfitting: the model learns to be right at one step's end and wrong everywhere
    else, and robustness to PGD drops to nothing within an epoch. So `attack` watches the validation images each
    epoch, the trainer says when they fall, and the best checkpoint is one from before. `align` is to prevent it, at the
    price of two gradients that are themselves differentiated: about twice the time.
    """

    threat: Threat = "linf(8/255)"  # type: ignore[assignment]
    """The set around each training image."""
    step: Annotated[float, above(0)] = 1.25
    """Length of the step as a fraction of ε; the paper's 10/255 at ε = 8/255."""
    align: Annotated[float, at_least(0)] = 0.0
    """Weight λ of GradAlign, λ (1 − cos(∇ₓ L(x), ∇ₓ L(x + η))) with η a random point of the threat: Andriushchenko and
    Flammarion, "Understanding and improving fast adversarial training" (NeurIPS 2020), equation 5; theirs is 0.2 at
    ε = 8/255 on CIFAR-10. 0 for none."""
    attack: Attack = "pgd(steps=10)"  # type: ignore[assignment]
    """The attack that watches for catastrophic overfitting; it takes no part in training."""
    smoothing: Annotated[float, between(0, 1)] = 0.0
    """Label smoothing of the loss that is minimised."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.loss(model, task, batch, self.worst(model, task, batch))

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        with frozen(model):
            goal = Unstopped(task.goal(model, batch.targets))
            noise = batch.noise.fork("adversary")
            return ascend(batch.images, goal, self.threat, noise, steps=1, step=self.step, random_start=True).detach()

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        loss = task.loss(model, worst, batch.targets, smoothing=self.smoothing)
        if not self.align:
            return loss
        with resting(model):  # in training mode BatchNorm would make each gradient the whole batch's affair
            near = self.threat.start(batch.images, batch.noise.fork("align"))
            here, there = (_slope(model, task, images, batch.targets) for images in (batch.images, near))
        return loss + self.align * _turned(here, there)


def _slope(model: nn.Module, task: Task, images: Tensor, targets: Tensor) -> Tensor:
    """(B, D) the gradient to the images, itself differentiable in the weights."""
    x = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(task.loss(model, x, targets).sum(), x, create_graph=True)
    return gradient.flatten(1)


def _turned(a: Tensor, b: Tensor) -> Tensor:
    """(B,) 1 − cos of the angle between the rows; 0, as in the authors' code, where either is all zero."""
    squares = a.square().sum(1) * b.square().sum(1)
    flat = squares < 1e-36  # float32's square root has no slope at 0
    return torch.where(flat, 0.0, 1 - (a * b).sum(1) / squares.clamp_min(1e-36).sqrt())
