"""Soft actor-critic: Haarnoja et al., "Soft actor-critic algorithms and applications" (2018).

Two critics descend (Q − (r + γ (min Q̄(s′, a′) − α log π(a′|s′))))² with a′ drawn from the policy (equation 5); the
policy descends E[α log π(a|s) − min Q(s, a)] with a differentiable in it (equation 9); α descends −α (log π + H̄), so
that the entropy stays near H̄ = −dims (equation 18). All slopes are by hand (`mdp/layers.py`, `mdp/squashing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import InputError
from stalwart.core.rng import generator, seed_of
from stalwart.mdp.flat import Flat, mean_loss
from stalwart.mdp.layers import Layers
from stalwart.mdp.policies import Policy
from stalwart.mdp.quick import heads_of
from stalwart.mdp.replay import Drawn, Replay
from stalwart.mdp.returns import Tally
from stalwart.mdp.spaces import Spaces, flat
from stalwart.mdp.squashing import LEAST_STD, MOST_STD, draw, slopes


@component
class sac:
    """Soft actor-critic for actions that are bounded vectors; the weight of entropy finds itself."""

    lr: Annotated[float, above(0)] = 3e-4
    """Learning rate of policy, critics and entropy's weight."""
    batch: Annotated[int, at_least(1)] = 256
    """Steps in one gradient."""
    every: Annotated[int, at_least(1)] = 1
    """Rounds of all worlds between two times of learning."""
    updates: Annotated[int, at_least(1)] = 1
    """Gradients at each of these times."""
    after: Annotated[int, at_least(1)] = 1000
    """Steps before learning begins; until then actions are drawn evenly."""
    memory: Annotated[int, at_least(10)] = 1_000_000
    """Steps remembered."""
    discount: Annotated[float, between(0, 1)] = 0.99
    """γ."""
    target_share: Annotated[float, between(0, 1)] = 0.005
    """How far the critics' copies follow at each gradient."""
    alpha: Annotated[float, above(0)] = 1.0
    """Weight of the entropy at the start."""
    widths: tuple[Annotated[int, at_least(1)], ...] = (256, 256)
    """Hidden layers, of the policy and of each critic."""
    normalise: bool = False
    """Observations by their running mean and deviation, kept with the policy."""

    def begin(self, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> _Student:
        if spaces.pixels:
            raise InputError("sac needs observations that are vectors; for pictures there are ppo and dqn.")
        if spaces.actions or not spaces.low:
            raise InputError("sac needs actions that are vectors with bounds; for discrete ones there are ppo and dqn.")
        return _Student(self, spaces, worlds, seed, device)


class _Student:
    def __init__(self, how: sac, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> None:
        self.how, self.device, self.dims = how, device, spaces.dims
        self.architecture = spaces.policy("squashed", how.widths, activation="relu", normalise=how.normalise)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "sac"))
            signature = Signature(spaces.dims, 1, (1, 1))
            self.policy: Policy = catalog.make(self.architecture, "models").build(signature).to(device)
            made = [
                Policy(spaces.inputs + spaces.dims, 1, "values", how.widths, activation="relu").to(device)
                for _ in range(4)
            ]
        self.critics, self.copies = made[:2], made[2:]
        self.hands = [Layers(net.body, [net.head], how.batch) for net in (self.policy, *self.critics, *self.copies)]
        self.log_alpha = nn.Parameter(torch.full((1,), math.log(how.alpha), device=device))
        self.actor = Flat(self.policy.parameters(), how.lr)
        self.critic = Flat([p for net in self.critics for p in net.parameters()], how.lr)
        self.copy = Flat([p for net in self.copies for p in net.parameters()], how.lr)
        self.tuner = Flat([self.log_alpha], how.lr)
        self.copy.follow(self.critic, 1.0)
        self.replay = Replay(how.memory, worlds, spaces)

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        how, replay, count = self.how, self.replay, worlds.num_envs
        random, rng = np.random.default_rng(seed), generator(seed, "sac")
        heads, shape = heads_of(self.policy, count), worlds.single_action_space.shape
        middle, reach = self.policy.middle.cpu().numpy(), self.policy.reach.cpu().numpy()
        seen = flat(worlds.reset(seed=seed % 2**31)[0])
        fresh, tally = np.zeros(count, np.bool_), Tally(count)
        losses: list[Tensor] = []
        rounds = max(1, round(steps / count))
        told = max(1, rounds // 100, 100 // count)
        for number in range(1, rounds + 1):
            if self.tuner.count:
                mean, log_std = np.split(heads(seen), 2, -1)
                deviation = np.exp(np.clip(log_std, LEAST_STD, MOST_STD))
                action = np.tanh(mean + deviation * random.standard_normal(mean.shape)).astype(np.float32)
            else:
                action = random.uniform(-1, 1, (count, self.dims)).astype(np.float32)
            taken = (middle + reach * action).reshape(count, *shape)
            after, reward, terminated, truncated, _ = worlds.step(taken)
            replay.add(seen, action, reward, terminated, truncated, ~fresh)
            seen, fresh = flat(after), terminated | truncated
            tally.add(reward, fresh)
            if number % how.every == 0 and len(replay) >= how.after:
                if self.policy.norm is not None:
                    self.policy.norm.learn(replay.recent(how.every).to(self.device))
                losses += [self._learn(replay.draw(how.batch, how.discount, random), rng) for _ in range(how.updates)]
            if number == rounds:
                replay.close(seen)
            if number % told == 0 or number == rounds:
                yield Event("progress", {"done": number * count, **tally.figures(), **self._figures(losses)})
                losses = []

    def _learn(self, drawn: Drawn, rng: torch.Generator) -> Tensor:
        """One gradient of critics, policy and entropy's weight; returns the critics' loss."""
        with torch.inference_mode():
            loss = self._learn_critics(drawn, rng)
            self.copy.follow(self.critic, self.how.target_share)
            self._learn_policy(self.policy.prepare(drawn.seen.to(self.device)), rng)
        return loss

    def _learn_critics(self, drawn: Drawn, rng: torch.Generator) -> Tensor:
        """½ Σ over critics of the mean of (Q − wanted)² (equation 5)."""
        device, policy = self.device, self.policy
        seen, ahead = policy.prepare(drawn.seen.to(device)), policy.prepare(drawn.ahead.to(device))
        actor, *critics = self.hands
        following = draw(actor.forward(ahead)[0], self._noise(len(ahead), rng))
        first, second = _worths(critics[2:], ahead, following.action)
        # The lesser of two critics, against the bias of maximising (Fujimoto et al., ICML 2018).
        worth = torch.minimum(first, second) - self.log_alpha.exp() * following.density
        wanted = drawn.reward.to(device) + drawn.discount.to(device) * worth
        self.critic.gradient.zero_()
        together, loss = torch.cat([seen, drawn.action.to(device)], -1), torch.zeros((), device=device)
        for net in critics[:2]:
            gap = net.forward(together)[0][:, 0] - wanted
            loss = loss + 0.5 / len(gap) * (gap @ gap)
            net.backward(together, [(gap / len(gap))[:, None]])
        self.critic.descend()
        return loss

    def _learn_policy(self, seen: Tensor, rng: torch.Generator) -> None:
        """The mean of α log π − min Q (equation 9), and α after it."""
        actor, *critics = self.hands
        drawn, alpha = draw(actor.forward(seen)[0], self._noise(len(seen), rng)), self.log_alpha.exp()
        first, second = _worths(critics[:2], seen, drawn.action)
        together, lesser, share = torch.cat([seen, drawn.action], -1), (first <= second)[:, None], -1.0 / len(seen)
        by_action = sum(
            net.backward(together, [chosen * share], weights=False, inputs=True)[:, seen.shape[1] :]
            for net, chosen in zip(critics, (lesser, ~lesser), strict=False)
        )
        assert isinstance(by_action, Tensor)
        self.actor.gradient.zero_()
        actor.backward(seen, [slopes(drawn, by_action, alpha / len(seen))])
        self.actor.descend()
        self.tuner.gradient.copy_(-alpha * (drawn.density.mean() - self.dims))  # of α itself, times dα / d log α = α
        self.tuner.descend()

    def _noise(self, rows: int, rng: torch.Generator) -> Tensor:
        return torch.randn(rows, self.dims, generator=rng).to(self.device)

    def _figures(self, losses: list[Tensor]) -> dict[str, float]:
        figures = {"alpha": float(self.log_alpha.detach().exp())}
        return figures | {"loss": mean_loss(losses, "sac", "a lower lr")} if losses else figures

    def _flats(self) -> dict[str, Flat]:
        return {"actor": self.actor, "critic": self.critic, "copy": self.copy, "tuner": self.tuner}

    def state(self) -> dict[str, Tensor]:
        found = self.policy.state() | self.replay.state()
        for name, one in self._flats().items():
            found |= one.state(name)
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        self.policy.restore(state)
        for name, one in self._flats().items():
            one.restore(state, name)
        self.replay.restore(state)


def _worths(critics: list[Layers], seen: Tensor, action: Tensor) -> list[Tensor]:
    """(B,) of each critic."""
    together = torch.cat([seen, action], -1)
    return [net.forward(together)[0][:, 0] for net in critics]
