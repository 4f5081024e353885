"""A policy whose observations somebody changes at every step, within a threat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.contracts import Attack, Rendered, Threat, Verdict
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.mdp.deceived import changed
from stalwart.mdp.policies import Policy
from stalwart.mdp.sarsa import Worth, as_taken
from stalwart.run._judge import Ledger, judge_clean, search

REACH = 10.0
"""Observations, normalised where the policy does so, lie within ± this; attacks see them as one row of an image."""
SCALED = ("linf", "l2", "l1")
"""Threats whose ε is a length, and so can be given in the units of observations."""

Change = Callable[[Tensor, Tensor | None], Tensor]
"""From prepared observations (N, inputs) and the policy's memory to changed ones."""


class Deceived(nn.Module):
    """Acts as the policy does on changed observations. To `mdp.evaluation.evaluate` it is a policy.

    Args:
        sure: change only where the policy prefers its best action to its worst by more than this, as probabilities:
            Lin et al., "Tactics of adversarial attack on deep reinforcement learning agents" (IJCAI 2017), equation 3.
    """

    def __init__(self, policy: Policy, change: Change, sure: float = 0.0) -> None:
        super().__init__()
        if policy.states:
            raise InputError("this policy sees the number of a state, which cannot be changed a little.")
        if sure and policy.kind not in ("logits", "values"):
            raise InputError(f"sure=... is for discrete actions, which are preferred to one another. Got {sure}.")
        self.policy, self.change, self.sure = policy, change, sure
        self.steps = self.changed = 0

    def act(
        self, observations: Tensor, memory: Tensor | None = None, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `Policy.act`, at its best action."""
        with torch.inference_mode(False):
            seen = self.policy.prepare(observations.clone()).detach()
            held = None if memory is None else memory.clone()
            peak = float(seen.abs().max())
            if peak > REACH:
                raise InputError(
                    f"observations must lie within ±{REACH:g} where they are attacked. Got {peak:.4g}: let the policy "
                    "normalise what it sees (normalise=True)."
                )
            shown = self.change(seen, held)
            if self.sure:
                with torch.no_grad():
                    shares = self.policy.outputs_of(seen, held)[0].softmax(-1)
                chosen = shares.amax(-1) - shares.amin(-1) > self.sure
                shown = torch.where(chosen[:, None], shown, seen)
            self.steps += len(seen)
            self.changed += int((shown != seen).any(-1).sum())
            with torch.no_grad():
                out, after = self.policy.outputs_of(shown, held)
                return self.policy.best(out), after


class Climbed:
    """Changes that an attack of the catalog finds at each step: the policy is to do something else.

    With discrete actions the goal is another action than the policy's own there: Huang et al., "Adversarial attacks on
    neural network policies" (2017). With vectors it is an action as far from its own as can be had, the maximal action
    difference of Zhang et al., "Robust deep reinforcement learning against adversarial perturbations on state
    observations" (NeurIPS 2020), section 3.5, for a fixed deviation; its slope is 0 at the observation itself, so it
    takes an attack that starts elsewhere, as `pgd` does.

    Args:
        threat: `linf`, `l2` or `l1`; ε in the units of prepared observations.
        worth: what actions are worth where the policy truly is; then the goal is the action that is worth least.
    """

    def __init__(
        self, policy: Policy, solver: Attack, threat: Threat, seed: int, worth: Worth | None = None
    ) -> None:  # fmt: skip
        self.policy, self.solver, self.threat, self.seed = policy, solver, scaled(threat), seed
        self.worth = worth
        self.forwards = self.backwards = self.flat = self.broken = 0
        self.climbed = False

    def __call__(self, seen: Tensor, memory: Tensor | None) -> Tensor:
        images = _rows(seen)
        with torch.enable_grad():
            with torch.no_grad():
                own = self.policy.outputs_of(seen, memory)[0]
            goal: _Other | _Worse = (
                _Other(self.policy, own, memory) if self.worth is None else _Worse(self.policy, self.worth, seen)
            )
            ledger = Ledger(images, goal, self.threat, None)
            judge_clean(ledger, self.solver)
            search(ledger, self.solver, self.seed)
        self.forwards += ledger.forwards
        self.backwards += ledger.backwards
        self.climbed |= ledger.climbed
        self.flat += int(ledger.flat)
        self.broken += int(ledger.broken)
        return _moved(seen, ledger.answer - images)


class Shaken:
    """Changes of the full size in a random direction: what an attack must beat to be one."""

    def __init__(self, threat: Threat, seed: int) -> None:
        self.threat, self.seed, self.step = scaled(threat), seed, 0

    def __call__(self, seen: Tensor, memory: Tensor | None) -> Tensor:
        images = _rows(seen)
        noise = Noise.of_images(images, self.seed).fork("shaken", self.step)
        self.step += 1
        moved = self.threat.ascend(images, noise.normal(images.shape[1:]), self.threat.epsilon)
        return _moved(seen, self.threat.project(moved, images) - images)


class Learned:
    """Changes of what `policy` sees that another one was trained to make: `worlds.deceiving`."""

    def __init__(self, policy: Policy, adversary: Policy, epsilon: float, climbs: int = 0) -> None:
        self.policy, self.adversary, self.epsilon, self.climbs = policy, adversary, epsilon, climbs

    def __call__(self, seen: Tensor, memory: Tensor | None) -> Tensor:
        with torch.no_grad():
            chosen, _ = self.adversary.act(seen)
        return changed(self.policy, seen, chosen, self.epsilon, self.climbs, memory).clamp(-REACH, REACH)


def scaled(threat: Any) -> Threat:
    """The threat in the scale of `REACH`.

    Raises:
        InputError: a threat of another kind, or a radius beyond all observations.
    """
    name = spell(threat).partition("(")[0]
    if name not in SCALED or isinstance(threat, Rendered):
        raise InputError(f"observations are attacked under {', '.join(SCALED)}. Got {spell(threat)}.")
    if threat.epsilon > 2 * REACH:
        raise InputError(f"{name}: ε must be at most {2 * REACH:g} here. Got {threat.epsilon!r}.")
    found: Threat = replace(threat, epsilon=threat.epsilon / (2 * REACH))
    return found


def _rows(seen: Tensor) -> Tensor:
    """(N, 1, 1, inputs) observations as images in [0, 1]."""
    return (seen / (2 * REACH) + 0.5)[:, None, None]


def _moved(seen: Tensor, change: Tensor) -> Tensor:
    """(N, inputs) observations after a change (N, 1, 1, inputs) of their images."""
    return (seen + change[:, 0, 0] * (2 * REACH)).clamp(-REACH, REACH)


class _Other:
    """To have the policy do something else than its own head's numbers (N, outputs) say."""

    def __init__(self, policy: nn.Module, own: Tensor, memory: Tensor | None) -> None:
        self.model, self.own, self.memory = policy, own, memory

    def on(self, model: nn.Module) -> _Other:
        return _Other(model, self.own, self.memory)

    def select(self, index: Tensor) -> _Other:
        return _Other(self.model, self.own[index], None if self.memory is None else self.memory[index])

    def __call__(self, images: Tensor) -> Verdict:
        policy: Any = self.model
        out = policy.outputs_of((images[:, 0, 0] - 0.5) * (2 * REACH), self.memory)[0].float()
        if policy.kind in ("logits", "values"):
            own = self.own.argmax(-1)
            theirs = out.gather(1, own[:, None])
            gaps = (out - theirs).scatter(1, own[:, None], -torch.inf)
            return Verdict(F.cross_entropy(out, own, reduction="none"), out.detach().argmax(-1) != own, gaps)
        there, here = policy.mean_action(out), policy.mean_action(self.own.float())
        away = (there - here).square().sum(-1)
        never = torch.zeros(len(out), dtype=torch.bool, device=out.device)
        return Verdict(away, never, harm=away.detach())


class _Worse:
    """To have the policy do what is worth least in the states (N, inputs) that it is truly in."""

    def __init__(self, policy: nn.Module, worth: Worth, seen: Tensor) -> None:
        self.model, self.worth, self.seen = policy, worth, seen

    def on(self, model: nn.Module) -> _Worse:
        return _Worse(model, self.worth, self.seen)

    def select(self, index: Tensor) -> _Worse:
        return _Worse(self.model, self.worth, self.seen[index])

    def __call__(self, images: Tensor) -> Verdict:
        policy: Any = self.model
        out = policy.outputs_of((images[:, 0, 0] - 0.5) * (2 * REACH))[0].float()
        loss = -self.worth(self.seen, as_taken(policy, policy.mean_action(out)))
        never = torch.zeros(len(out), dtype=torch.bool, device=out.device)
        return Verdict(loss, never, harm=loss.detach())
