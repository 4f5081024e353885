"""The one ascent beneath FGSM, FGM, BIM, PGD and the MI, DI, TI and NI family: steps along the threat's steepest
direction, projected."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Goal, Threat, Verdict
from stalwart.core.direction import Direction, Habit
from stalwart.core.losses import raising
from stalwart.core.queries import quiet
from stalwart.core.rng import Noise


class Unstopped:
    """A goal that is never done: training wants the worst point of the threat, not the first bad one."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    def on(self, model: nn.Module) -> Unstopped:
        return Unstopped(self.goal.on(model))

    def raising(self, kind: str) -> Unstopped | None:
        goal = raising(self.goal, kind)
        return None if goal is None else Unstopped(goal)

    def select(self, index: Tensor) -> Unstopped:
        return Unstopped(self.goal.select(index))

    def __call__(self, images: Tensor) -> Verdict:
        verdict = self.goal(images)
        return replace(verdict, reached=None)


def ascend(
    clean: Tensor,
    goal: Goal,
    threat: Threat,
    noise: Noise,
    *,
    steps: int,
    step: float,
    random_start: bool,
    restarts: int = 1,
    habit: Habit | None = None,
) -> Tensor:
    """x ← project(x + step · steepest(∇ loss(x))), `steps` times, from `restarts` starts.

    A sample whose goal is reached leaves the batch at once, so later steps cost only what is still alive.
    Per sample and start: `steps` forwards and backwards at most; the last point is left to whoever judges.

    Args:
        clean: (B, C, H, W) in [0, 1].
        step: length of a step as a fraction of the threat's ε.
        random_start: begin at a random point of the threat; the starts after the first always do.
        habit: where it looks and how it gathers the slopes; None: at x itself, along the slope of the moment.

    Returns:
        (B, C, H, W): where the goal is reached, the point that reached it; else the last start's last point.
    """
    result = clean.clone()
    live = torch.arange(len(clean), device=clean.device)
    length = step * threat.epsilon
    for restart in range(restarts):
        origin, aim = (clean, goal) if len(live) == len(clean) else (clean[live], goal.select(live))
        random = random_start or restart > 0
        x = threat.start(origin, noise.fork("start", restart).select(live)) if random else origin.clone()
        direction = (
            None if habit is None else Direction(habit, threat, noise.fork("look", restart).select(live), length)
        )
        for _ in range(steps):
            gradient, reached = _slope(x, aim, direction)
            if reached is not None and bool(reached.any()):
                result[live[reached]] = x[reached]
                keep = (~reached).nonzero().squeeze(1)
                if not len(keep):
                    return result
                live, x, origin, aim = live[keep], x[keep], origin[keep], aim.select(keep)
                if direction is not None:
                    direction.keep(keep)
                # Few are left: a pass of theirs alone is cheaper than the backward pass of the whole batch.
                gradient = gradient[keep] if gradient is not None else _gradient(x, aim)
            elif gradient is None:
                gradient = _gradient(x, aim)
            if direction is not None:
                gradient = direction.turn(gradient)
            x = threat.project(threat.ascend(x, gradient, length), origin)
        result[live] = x
        if restart + 1 < restarts:  # the last start's end is the judge's to look at
            with torch.no_grad():
                reached = aim(x).reached
            if reached is not None:
                live = live[~reached]
            if not len(live):
                break
    return result


def _slope(x: Tensor, goal: Goal, direction: Direction | None) -> tuple[Tensor | None, Tensor | None]:
    """The gradient (B, C, H, W), or None where most samples are done anyway, and what is reached (B,)."""
    x = x.detach().requires_grad_()
    if direction is not None and direction.looks_elsewhere:
        return _slope_elsewhere(x, goal, direction)
    with torch.enable_grad():
        verdict = goal(x)
        if verdict.reached is not None and float(verdict.reached.float().mean()) > 0.5:
            return None, verdict.reached
        return _differentiate(verdict.loss, x), verdict.reached


def _slope_elsewhere(x: Tensor, goal: Goal, direction: Direction) -> tuple[Tensor, Tensor | None]:
    """The gradient by way of what the model is shown in place of x. Where that reaches the goal, x itself is tried."""
    with torch.enable_grad():
        seen = direction.view(x)
        shown = seen.detach().requires_grad_()
        verdict = quiet(goal)(shown)
        slope = _differentiate(verdict.loss, shown)
        (gradient,) = torch.autograd.grad(seen, x, slope)
    if verdict.reached is None:
        return gradient, None
    reached = verdict.reached.clone()
    tried = reached.nonzero().squeeze(1)
    if len(tried):
        with torch.no_grad():
            own = goal.select(tried)(x.detach()[tried]).reached
        assert own is not None
        reached[tried] = own
    return gradient, reached


def _gradient(x: Tensor, goal: Goal) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return _differentiate(goal(x).loss, x)


def _differentiate(loss: Tensor, x: Tensor) -> Tensor:
    """The loss is summed: a mean would shrink with the batch and underflow in half precision."""
    if not loss.requires_grad:  # a model that detaches: no slope to climb, which the runner reports
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
