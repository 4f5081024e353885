"""How much a policy changes its mind within a small distance of what it sees: Zhang et al., "Robust deep reinforcement
learning against adversarial perturbations on state observations" (NeurIPS 2020), section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stalwart.mdp.policies import Policy


def divergence(policy: Policy, here: Tensor, there: Tensor) -> Tensor:
    """(N,) KL(π(·|s) ‖ π(·|ŝ)) from the head's numbers at s and at ŝ, (N, outputs) each.

    For 'logits' that of two categorical distributions; for 'gaussian' ½ Σ ((μ − μ̂) / σ)², as both have one deviation.
    """
    if policy.kind == "logits":
        logs = here.log_softmax(-1)
        return (logs.exp() * (logs - there.log_softmax(-1))).sum(-1)
    return 0.5 * ((here - there) / policy.deviation().detach()).square().sum(-1)


def climbed(rises: Callable[[Tensor], Tensor], change: Tensor, reach: float, step: float, steps: int) -> Tensor:
    """A change after ascent by signs within ±`reach` (Madry et al., ICLR 2018). No gradient is left on weights.

    Args:
        rises: what a change (N, n) is to raise, one number.
        change: where it begins; it is written to.
    """
    for _ in range(steps):
        change.requires_grad_(True)
        (slope,) = torch.autograd.grad(rises(change), change)
        change = (change.detach() + step * slope.sign()).clamp(-reach, reach)
    return change.detach()


def furthest(policy: Policy, prepared: Tensor, epsilon: float, steps: int, rng: torch.Generator) -> Tensor:
    """(N, inputs) within ±ε of prepared observations where the policy differs most from what it does there.

    Ascent by signs from a random start, since at s itself the slope is 0.
    """
    with torch.no_grad():
        here, _ = policy.outputs_of(prepared)
    change = (torch.rand(prepared.shape, generator=rng).to(prepared) * 2 - 1) * epsilon

    def away(moved: Tensor) -> Tensor:
        return divergence(policy, here, policy.outputs_of(prepared + moved)[0]).sum()

    return prepared + climbed(away, change, epsilon, 2.5 * epsilon / (steps + 1), steps)


def roughness(policy: Policy, prepared: Tensor, epsilon: float, steps: int, rng: torch.Generator) -> Tensor:
    """The mean over observations of the greatest divergence found within ±ε (equation 8 there), to be descended.

    The policy's mind at s itself is held: its neighbours are drawn to it and not it to them.
    """
    there, _ = policy.outputs_of(furthest(policy, prepared, epsilon, steps, rng))
    with torch.no_grad():
        here, _ = policy.outputs_of(prepared)
    return divergence(policy, here, there).mean()
