"""What a fixed policy's actions are worth, learned from outside, so that an attacker knows which of them hurt.

Robust SARSA: Zhang et al., "Robust deep reinforcement learning against adversarial perturbations on state observations"
(NeurIPS 2020), section 3.5. Q descends (r + γ Q̄(s′, a′) − Q(s, a))² + λ max over â near a of (Q(s, â) − Q(s, a))²: the
second term keeps Q smooth in the action, so that its slope there can be trusted. With λ = 0 it is SARSA (Rummery and
Niranjan 1994), and climbing down it the critic-based attack (Pattanaik et al., AAMAS 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from stalwart.core.errors import InputError
from stalwart.core.rng import generator, seed_of
from stalwart.mdp.flat import Flat
from stalwart.mdp.policies import Policy
from stalwart.mdp.rollout import Collector, Rollout
from stalwart.mdp.smooth import climbed
from stalwart.mdp.spaces import Spaces

_BATCH = 256
_CLIMBS = 2
_SHARE = 0.02
"""How far Q̄ follows at each gradient."""


@dataclass(frozen=True)
class Sarsa:
    """How `worth_of` learns."""

    steps: int = 20_000
    """Of the policy in its worlds, in all."""
    gradients: int = 1500
    smooth: float = 0.0
    """λ."""
    near: float = 0.3
    """How far â may lie from a (L∞), where actions reach from −1 to 1."""
    discount: float = 0.98
    lr: float = 2e-3
    widths: tuple[int, ...] = (64, 64)


class Worth(nn.Module):
    """Q(s, a): (N, inputs) prepared observations and (N, dims) actions to (N,); bounds of actions are −1 and 1 here."""

    def __init__(self, inputs: int, dims: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.net = Policy(inputs + dims, 1, "values", widths, activation="relu")
        self.register_buffer("scale", torch.ones(()))  # of the returns, so that targets are near 1
        self.scale: Tensor

    def forward(self, seen: Tensor, action: Tensor) -> Tensor:
        out: Tensor = self.net.outputs_of(torch.cat([seen, action], -1))[0][:, 0]
        return out * self.scale


def as_taken(policy: Policy, mean: Tensor) -> Tensor:
    """Actions cut as the world's bounds cut them; slopes pass as if they were not."""
    return mean + (mean.clamp(-1.0, 1.0) - mean).detach() if policy.bounded else mean


def worth_of(policy: Policy, worlds: VectorEnv[Any, Any, Any], how: Sarsa, seed: int) -> Worth:
    """Learn Q of a policy that draws its actions, in worlds of its own.

    Raises:
        InputError: a policy with a memory, or of discrete actions, which have no neighbours.
    """
    return worths_of(policy, worlds, how, (how.smooth,), seed)[0]


def worths_of(
    policy: Policy, worlds: VectorEnv[Any, Any, Any], how: Sarsa, smooths: Sequence[float], seed: int
) -> list[Worth]:
    """The same for each λ of `smooths` in place of the one of `how`, from the same steps, which are played once."""
    if policy.gru or policy.kind not in ("gaussian", "squashed") or policy.states:
        raise InputError("the worth of actions is learned for vector actions of policies without memory.")
    played = _played(policy, worlds, how, seed)
    return [_learned(policy, played, replace(how, smooth=smooth), seed) for smooth in smooths]


def _learned(policy: Policy, played: tuple[Tensor, ...], how: Sarsa, seed: int) -> Worth:
    seen, action, reward, ended, valid = played
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "sarsa"))
        worth, older = (Worth(policy.inputs, action.shape[-1], how.widths) for _ in range(2))
    older.load_state_dict(worth.state_dict())
    worth.scale.fill_(max(float(reward[valid].std()), 1e-3) * 4)
    older.scale.copy_(worth.scale)
    flat, copy = Flat(worth.net.parameters(), how.lr), Flat(older.net.parameters(), how.lr)
    rng = generator(seed, "sarsa")
    # The last row has no action behind it, and neither has a step that belongs to no episode.
    places = valid[:-1].nonzero()
    for number in range(how.gradients):
        row, world = places[torch.randint(len(places), (_BATCH,), generator=rng)].unbind(1)
        here, taken = seen[row, world], action[row, world]
        with torch.no_grad():
            ahead = older(seen[row + 1, world], action[row + 1, world])
            wanted = reward[row, world] + how.discount * ahead * ~ended[row, world]
        known = worth(here, taken)
        loss = (known - wanted).square().mean()
        if how.smooth:
            away = _furthest(worth, here, taken, how.near, rng)
            loss = loss + how.smooth * (worth(here, away) - known).square().mean()
        flat.lr = how.lr * (1 - number / how.gradients)
        flat.step(loss / worth.scale**2)
        copy.follow(flat, _SHARE)
    return worth.requires_grad_(False).eval()


def _furthest(worth: Worth, seen: Tensor, action: Tensor, near: float, rng: torch.Generator) -> Tensor:
    """(N, dims) within ± `near` of actions where the worth differs most, by signs from a random start."""
    with torch.no_grad():
        known = worth(seen, action)
    change = (torch.rand(action.shape, generator=rng) * 2 - 1) * near

    def gap(moved: Tensor) -> Tensor:
        squares: Tensor = (worth(seen, action + moved) - known).square()
        return squares.sum()

    return action + climbed(gap, change, near, near, _CLIMBS)


def _played(policy: Policy, worlds: VectorEnv[Any, Any, Any], how: Sarsa, seed: int) -> tuple[Tensor, ...]:
    """(T, N, ...) observations, actions, rewards, ends and which steps are steps, of a policy that draws."""
    count = worlds.num_envs
    out = Rollout.empty(max(2, -(-how.steps // count)), count, Spaces.of(worlds), 0)
    rng, shape = generator(seed, "played"), worlds.single_action_space.shape or ()
    middle, reach = policy.middle.numpy(), policy.reach.numpy()

    def draw(t: int, seen: np.ndarray[Any, Any], _: Any) -> tuple[Any, Any, None]:
        taken = policy.act(torch.from_numpy(seen), None, rng)[0].numpy()
        return (taken - middle) / reach, taken.reshape(count, *shape), None

    with torch.no_grad():
        Collector(worlds, out, seed_of(seed, "worth") % 2**31).collect(draw)
        seen = policy.prepare(torch.from_numpy(out.seen[:-1]).flatten(0, 1)).view(len(out.raw), count, -1)
    rest = (out.raw, out.reward, out.terminated, out.valid)
    return seen, *(torch.from_numpy(part) for part in rest)
