"""Deep Q-networks: Mnih et al., "Human-level control through deep reinforcement learning" (Nature 2015).

Q descends the Huber loss of r + γ^n max_a′ Q̄(s′, a′) − Q(s, a), with Q̄ an older copy. Double: the network chooses a′
and its copy says its worth (van Hasselt et al., AAAI 2016). Duelling: Q = V + A − mean A (Wang et al., ICML 2016).
n steps: Sutton 1988. Prioritised replay: Schaul et al., ICLR 2016 (`mdp/replay.py`). Together: Hessel et al., "Rainbow"
(AAAI 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stalwart.core import catalog
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.mdp.flat import Flat, mean_loss
from stalwart.mdp.layers import Layers
from stalwart.mdp.policies import Policy
from stalwart.mdp.quick import heads_of
from stalwart.mdp.replay import Drawn, Replay
from stalwart.mdp.returns import Tally
from stalwart.mdp.spaces import Spaces, flat


@component
class dqn:
    """Deep Q-network for discrete actions: double, duelling, n-step and prioritised as wished."""

    lr: Annotated[float, above(0)] = 1e-3
    """Learning rate."""
    batch: Annotated[int, at_least(1)] = 64
    """Steps in one gradient."""
    every: Annotated[int, at_least(1)] = 4
    """Rounds of all worlds between two times of learning."""
    updates: Annotated[int, at_least(1)] = 1
    """Gradients at each of these times."""
    after: Annotated[int, at_least(1)] = 1000
    """Steps before learning begins."""
    memory: Annotated[int, at_least(10)] = 50_000
    """Steps remembered."""
    discount: Annotated[float, between(0, 1)] = 0.99
    """γ."""
    steps: Annotated[int, at_least(1)] = 1
    """n: rewards counted before Q̄ is asked."""
    double: bool = True
    """Whether the network chooses a′."""
    duelling: bool = False
    """Whether values are a state's value and advantages."""
    priority: Annotated[float, between(0, 1)] = 0.0
    """α of prioritised replay; 0: all steps are as likely."""
    beta: Annotated[float, between(0, 1)] = 0.4
    """β of prioritised replay at the start; it rises to 1."""
    target_every: Annotated[int, at_least(1)] = 250
    """Gradients between two moves of the copy."""
    target_share: Annotated[float, between(0, 1)] = 1.0
    """How far the copy moves each time."""
    explore: Annotated[float, between(0, 1)] = 1.0
    """Share of random actions at the start."""
    explore_last: Annotated[float, between(0, 1)] = 0.05
    """The same from `explore_share` of the training on."""
    explore_share: Annotated[float, above(0)] = 0.2
    """Part of the training in which it falls."""
    most_gradient: Annotated[float, above(0)] = 10.0
    """The gradient's norm at most."""
    signs: bool = False
    """Rewards are learned from by their sign alone, as Mnih et al. do with games; returns are told as they are."""
    widths: tuple[Annotated[int, at_least(1)], ...] = (64, 64)
    """Hidden layers."""
    normalise: bool = False
    """Observations by their running mean and deviation, kept with the policy."""

    def begin(self, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> _Student:
        if not spaces.actions:
            raise InputError("dqn needs discrete actions; for vectors there are ppo and sac.")
        return _Student(self, spaces, worlds, seed, device)


class _Student:
    def __init__(self, how: dqn, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> None:
        self.how, self.device, self.actions = how, device, spaces.actions
        self.architecture = spaces.policy(
            "values", how.widths, activation="relu", normalise=how.normalise, duelling=how.duelling
        )
        signature = Signature(spaces.actions, 1, (1, 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "dqn"))
            self.policy: Policy = catalog.make(self.architecture, "models").build(signature).to(device)
            self.target: Policy = catalog.make(self.architecture, "models").build(signature).to(device)
        self.flat = Flat(self.policy.parameters(), how.lr)
        self.copy = Flat(self.target.parameters(), how.lr)
        self.copy.follow(self.flat, 1.0)
        self.replay = Replay(how.memory, worlds, spaces, how.steps, how.priority)
        self.hands: tuple[_Hand, _Hand] | None = None
        """The network and its copy with slopes by hand, where they are layers alone."""
        if not spaces.pixels:
            self.hands = _Hand(self.policy, how.batch), _Hand(self.target, how.batch)

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        how, replay, count = self.how, self.replay, worlds.num_envs
        random = np.random.default_rng(seed)
        heads = heads_of(self.policy, count)
        seen = flat(worlds.reset(seed=seed % 2**31)[0])
        fresh, tally = np.zeros(count, np.bool_), Tally(count)
        losses: list[Tensor] = []
        rounds = max(1, round(steps / count))
        told = max(1, rounds // 100, 250 // count)
        for number in range(1, rounds + 1):
            share = begun + (ended - begun) * number / rounds
            fallen = min(share / how.explore_share, 1.0)
            astray = random.random(count) < how.explore + (how.explore_last - how.explore) * fallen
            action = random.integers(self.actions, size=count)
            if not astray.all():
                action = np.where(astray, action, heads(seen).argmax(-1))
            after, reward, terminated, truncated, _ = worlds.step(action)
            replay.add(seen, action, np.sign(reward) if how.signs else reward, terminated, truncated, ~fresh)
            seen, fresh = flat(after), terminated | truncated
            tally.add(reward, fresh)
            if number % how.every == 0 and len(replay) >= max(how.after, how.batch):
                if self.policy.norm is not None:
                    self.policy.norm.learn(replay.recent(how.every).to(self.device))
                for _ in range(how.updates):
                    beta = how.beta + (1 - how.beta) * share
                    losses.append(self._learn(replay.draw(how.batch, how.discount, random, beta)))
            if number == rounds:
                replay.close(seen)
            if number % told == 0 or number == rounds:
                yield Event("progress", {"done": number * count, **tally.figures(), **self._figures(losses)})
                losses = []

    def _learn(self, drawn: Drawn) -> Tensor:
        """One gradient."""
        policy, target = self.hands or (_Recorded(self.policy), _Recorded(self.target))
        with torch.no_grad():
            ahead = self.policy.prepare(drawn.ahead.to(self.device))
            worth = target.values(ahead)
            chooser = policy.values(ahead) if self.how.double else worth
            best = worth.gather(1, chooser.argmax(1, keepdim=True))[:, 0]
            wanted = drawn.reward.to(self.device) + drawn.discount.to(self.device) * best
            seen, action = self.policy.prepare(drawn.seen.to(self.device)), drawn.action.to(self.device)[:, None]
            weight = drawn.weight.to(self.device)
        self.flat.gradient.zero_()
        error, loss = policy.descend(seen, action, wanted, weight)
        self.flat.descend(self.how.most_gradient)
        if self.how.priority:
            self.replay.surprise(drawn.place, error.cpu().numpy())
        if self.flat.count % self.how.target_every == 0:
            self.copy.follow(self.flat, self.how.target_share)
        return loss

    def _figures(self, losses: list[Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(losses, "dqn", "a lower lr")} if losses else {}

    def state(self) -> dict[str, Tensor]:
        return {**self.policy.state(), **self.flat.state("flat"), **self.copy.state("copy"), **self.replay.state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.policy.restore(state)
        self.flat.restore(state, "flat")
        self.copy.restore(state, "copy")
        self.replay.restore(state)


class _Recorded:
    """A network whose slopes autograd finds."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def values(self, seen: Tensor) -> Tensor:
        """(B, actions)."""
        return self.policy.outputs_of(seen)[0]

    def descend(self, seen: Tensor, action: Tensor, wanted: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Add the slopes of the weighted Huber loss; returns (B,) by how much each value is too high, and the loss."""
        value = self.values(seen).gather(1, action)[:, 0]
        loss = (weight * F.smooth_l1_loss(value, wanted, reduction="none")).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return (value - wanted).detach(), loss.detach()


class _Hand:
    """The same by hand; what `values` gives may be written over by the next call."""

    def __init__(self, policy: Policy, rows: int) -> None:
        self.duelling = policy.state_value is not None
        heads = [policy.head] if policy.state_value is None else [policy.head, policy.state_value]
        self.layers = Layers(policy.body, heads, rows)

    def values(self, seen: Tensor) -> Tensor:
        out, *state = self.layers.forward(seen)
        return state[0] + out - out.mean(-1, keepdim=True) if state else out

    def descend(self, seen: Tensor, action: Tensor, wanted: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            values = self.values(seen)
            error = values.gather(1, action)[:, 0] - wanted
            slope = error.clamp(-1.0, 1.0)  # of Huber's loss s (e − s / 2)
            loss = (weight * slope * (error - 0.5 * slope)).mean()
            each = torch.zeros_like(values).scatter_(1, action, (slope * weight / len(error))[:, None])
            slopes = [each]
            if self.duelling:
                slopes = [each - each.mean(-1, keepdim=True), each.sum(-1, keepdim=True)]
            self.layers.backward(seen, slopes)
        return error, loss
