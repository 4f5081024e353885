"""Proximal policy optimisation: Schulman et al., "Proximal policy optimization algorithms" (2017).

What is descended stands in `mdp/surrogate.py`. Advantages are GAE's (`mdp/returns.py`). What else makes it work is in
Huang et al., "The 37 implementation details of PPO" (ICLR blog 2022).
With κ above 0 it is SA-PPO (Zhang et al., NeurIPS 2020), `mdp/smooth.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core import catalog
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import InputError
from stalwart.core.rng import generator, seed_of
from stalwart.mdp.flat import Flat, mean_loss
from stalwart.mdp.layers import plain
from stalwart.mdp.pair import Pair, single, threads_for
from stalwart.mdp.policies import Policy, gumbel
from stalwart.mdp.quick import MOST, heads_of
from stalwart.mdp.returns import Floats, Scaling, advantages
from stalwart.mdp.rollout import Collector, Draw, Rollout
from stalwart.mdp.smooth import roughness
from stalwart.mdp.spaces import Spaces
from stalwart.mdp.surrogate import Found, Weighing, clipped, log_density, surrogate
from stalwart.mdp.surrogate_rows import surrogate_of_rows
from stalwart.store import checkpoint

_ENOUGH = 8192
"""Observations of a rollout from which their mean and deviation are learned, at least."""
_RISEN = 0.75
"""Of the training, when the ε of SA-PPO has risen in full."""


@component
class ppo:
    """Proximal policy optimisation, for discrete actions and vectors, with a memory (GRU) if wished."""

    lr: Annotated[float, above(0)] = 3e-4
    """Learning rate at the start; it falls to 0 in a straight line where `anneal` is set."""
    horizon: Annotated[int, at_least(1)] = 256
    """Steps of each world between two updates."""
    batch: Annotated[int, at_least(1)] = 64
    """Steps in one gradient; with a memory, whole worlds of `horizon` steps that come to about as many."""
    epochs: Annotated[int, at_least(1)] = 10
    """Passes over what was seen."""
    discount: Annotated[float, between(0, 1)] = 0.99
    """γ."""
    trace: Annotated[float, between(0, 1)] = 0.95
    """λ of the advantages."""
    clip: Annotated[float, above(0)] = 0.2
    """ε."""
    entropy: Annotated[float, at_least(0)] = 0.0
    """Weight of the entropy."""
    value: Annotated[float, at_least(0)] = 0.5
    """Weight of the values' squared error."""
    most_gradient: Annotated[float, above(0)] = 0.5
    """The gradient's norm at most."""
    anneal: bool = True
    """Whether the learning rate falls."""
    widths: tuple[Annotated[int, at_least(1)], ...] = (64, 64)
    """Hidden layers, of the policy and of the values."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Behind each hidden layer."""
    shared: bool = False
    """Whether the values are read from the policy's last hidden layer instead of a network of their own."""
    gru: Annotated[int, at_least(0)] = 0
    """Numbers of memory; 0: none."""
    normalise: bool = True
    """Observations by their running mean and deviation, kept with the policy."""
    scale_rewards: bool = False
    """Rewards over the running deviation of the discounted return."""
    start: str = ""
    """A run or checkpoint of a policy of the same shape to begin with, such as one that `imitate` made."""
    deviation: Annotated[float, above(0)] = 1.0
    """Of vector actions at the start, in units of half their range."""
    values_first: Annotated[int, at_least(0)] = 0
    """Rollouts at the start from which only the values learn: those of a policy to begin with are not known yet."""
    kappa: Annotated[float, at_least(0)] = 0.0
    """κ: weight of how much the policy may be changed within ε of what it sees; 0: plain PPO."""
    epsilon: Annotated[float, above(0)] = 0.1
    """ε, L∞, of observations as the policy prepares them; it rises from 0 within three quarters of the training."""
    climbs: Annotated[int, at_least(1)] = 3
    """Steps of ascent by which that is searched."""

    def begin(self, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> _Student:
        return _Student(self, spaces, worlds, seed, device)


class _Student:
    def __init__(self, how: ppo, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> None:
        self.how, self.spaces, self.device = how, spaces, device
        if how.gru and spaces.pixels:
            raise InputError(f"ppo: a memory (gru={how.gru}) goes with vectors; pictures are stacked in its place.")
        if how.shared and (how.gru or not how.widths):
            raise InputError("ppo: shared needs hidden layers and no memory.")
        kind: Any = "logits" if spaces.actions else "gaussian"
        self.architecture = spaces.policy(
            kind, how.widths, activation=how.activation, normalise=how.normalise, gru=how.gru
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "ppo"))
            outputs = spaces.actions or spaces.dims
            self.policy: Policy = catalog.make(self.architecture, "models").build(Signature(outputs, 1, (1, 1)))
            # Shared layers count as the policy's: the values are then one layer on what those give.
            inputs, widths = (how.widths[-1], ()) if how.shared else (spaces.inputs + how.gru, how.widths)
            self.critic = Policy(
                inputs, 1, "values", widths, activation=how.activation, pixels=() if how.shared else spaces.pixels
            )
        self.policy, self.critic = self.policy.to(device), self.critic.to(device)
        if how.start:
            self._begin_with(how.start)
        if self.policy.log_std is not None:
            self.policy.log_std.data.fill_(math.log(how.deviation))
        self.flat = Flat([*self.policy.parameters(), *self.critic.parameters()], how.lr, eps=1e-5)
        self.rollouts = 0
        self.out = Rollout.empty(how.horizon, worlds, spaces, how.gru)
        self.heads = np.zeros((how.horizon, worlds, outputs), np.float32)  # the policy's numbers, as it acted
        self.scaling = Scaling(worlds, how.discount)
        self.share = 0.0
        """Of the training, what is done."""
        if how.gru and how.kappa:
            raise InputError(f"ppo: kappa must be 0 where there is a memory. Got {how.kappa!r}.")
        self.pair: Pair | None = None
        """Policy and values with slopes by hand, where they are layers alone and nothing else wants their slopes."""
        self.threads = 1
        if plain(self.policy) and not how.kappa:
            self.threads = threads_for(how.batch, device)
            rows = max(how.batch, worlds)
            self.pair = Pair(self.policy, self.critic, how.shared, rows, self.flat, self.threads)
        self.ready: Tensor | None = None
        """(T + 1, N, inputs) what was seen, prepared, where acting has prepared it."""
        if self.pair is not None and worlds > MOST and self.policy.norm is not None:
            self.ready = torch.empty(how.horizon + 1, worlds, spaces.inputs, device=device)
        if how.gru and how.batch < how.horizon:
            raise InputError(f"ppo: batch must be at least the horizon where there is a memory. Got {how.batch}.")

    def _begin_with(self, run: str) -> None:
        found = checkpoint.load(run, str(self.device))
        was = str(found.card["model"])  # type: ignore[index]
        if was != self.architecture:
            raise InputError(f"ppo: start must be a policy of the same shape, {self.architecture}. Got {was} in {run}.")
        self.policy.load_state_dict(found.state_dict())

    # ------------------------------------------------------------ acting

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        how, out = self.how, self.out
        rng = generator(seed, "ppo")
        collector = Collector(worlds, out, seed % 2**31)
        self.scaling.running[:] = 0
        shape = worlds.single_action_space.shape or ()
        rounds = max(1, round(steps / (how.horizon * worlds.num_envs)))
        for number in range(rounds):
            share = self.share = begun + (ended - begun) * number / rounds
            self.flat.lr = how.lr * (1 - share) if how.anneal else how.lr
            with single(self.threads):
                with torch.inference_mode():
                    collector.collect(self._drawing(rng, worlds.num_envs, shape))
                figures = self._learn(rng)
            figures |= collector.tally.figures()
            yield Event("progress", {"done": (number + 1) * how.horizon * worlds.num_envs, **figures})

    def _drawing(self, rng: torch.Generator, count: int, shape: tuple[int, ...]) -> Draw:
        """What `Collector` asks each step; all of a rollout's noise is drawn at once."""
        policy, device = self.policy, self.device
        size = (self.how.horizon, count, policy.outputs)
        noise = (gumbel(size, rng) if policy.kind == "logits" else torch.randn(size, generator=rng)).numpy()
        if policy.kind == "gaussian":
            noise = noise * policy.deviation().cpu().numpy()
            centre, reach = policy.middle.cpu().numpy(), policy.reach.cpu().numpy()
        heads, norm, ready, pair = heads_of(policy, count), policy.norm, self.ready, self.pair

        def draw(t: int, seen: NDArray[Any], memory: Floats) -> tuple[NDArray[Any], NDArray[Any], Floats | None]:
            after = None
            if policy.gru:
                known = policy.prepare(torch.from_numpy(seen).to(device))
                found, state = policy.outputs_of(known, torch.from_numpy(memory).to(device))
                assert state is not None
                out, after = found.cpu().numpy(), state.cpu().numpy()
            elif pair is not None and count > MOST:
                here = torch.from_numpy(seen).to(device)
                known = policy.prepare(here) if ready is None or norm is None else norm.into(here, ready[t])
                out = pair.act(known).cpu().numpy()
            else:
                out = heads(seen)
            self.heads[t] = out
            raw = out + noise[t]
            if policy.kind == "logits":
                raw = raw.argmax(-1)
                return raw, raw, after
            action = centre + reach * np.clip(raw, -1.0, 1.0) if policy.bounded else raw
            return raw, action.reshape(count, *shape), after

        return draw

    # ------------------------------------------------------------ learning

    def _learn(self, rng: torch.Generator) -> dict[str, float]:
        how, out, policy = self.how, self.out, self.policy
        reward = self.scaling(out.reward, out.terminated | out.truncated) if how.scale_rewards else out.reward
        seen, raw, memory = (torch.from_numpy(part).to(self.device) for part in (out.seen, out.raw, out.memory))
        with torch.no_grad():
            flat_seen = seen.flatten(0, 1)
            if self.ready is not None and policy.norm is not None:
                policy.norm.into(seen[-1], self.ready[-1])
                prepared = self.ready.flatten(0, 1)
            else:
                prepared = policy.prepare(flat_seen)  # (T + 1 · N, inputs): as the policy saw them
            if self.pair is not None:
                worth = self.pair.values(prepared)
            else:
                known = policy.body(prepared) if how.shared else torch.cat([prepared, memory.flatten(0, 1)], -1)
                worth = self.critic.outputs_of(known)[0]
            values = worth.view(seen.shape[:2])
            count = raw.shape[0] * raw.shape[1]
            old, _ = log_density(policy, torch.from_numpy(self.heads).to(self.device), raw)
        gains = torch.from_numpy(
            advantages(reward, out.terminated, out.truncated, values.cpu().numpy(), how.discount, how.trace)
        ).to(self.device)
        valid = torch.from_numpy(out.valid).to(self.device)
        columns = [old, gains, gains + values[:-1], valid]
        figures = (
            self._sequences(prepared.view(*seen.shape[:2], -1), raw, columns, rng)
            if how.gru
            else self._shuffled(prepared[:count], raw.flatten(0, 1), [c.flatten() for c in columns], rng)
        )
        if policy.norm is not None:
            every = max(1, count // _ENOUGH)  # of many steps a part tells as much
            if len(told := seen[:-1][valid][::every]):
                policy.norm.learn(told)
        self.rollouts += 1
        return figures

    def _shuffled(self, prepared: Tensor, raw: Tensor, columns: list[Tensor], rng: torch.Generator) -> dict[str, float]:
        """Epochs over single steps in random order; those that belong to no episode are left out."""
        old, gains, targets, valid = columns
        chosen = valid.nonzero()[:, 0]
        losses: list[Tensor] = []
        if self.pair is not None:
            with torch.inference_mode():
                for _ in range(self.how.epochs):
                    order = chosen[torch.randperm(len(chosen), generator=rng).to(chosen.device)]
                    for index in torch.split(order, self.how.batch):
                        if len(index) > 1:  # no deviation of one
                            losses.append(self._step(self.pair, prepared, index, raw, old, gains, targets))
            return self._figures(losses)
        for _ in range(self.how.epochs):
            order = chosen[torch.randperm(len(chosen), generator=rng).to(chosen.device)]
            parts = [torch.split(column[order], self.how.batch) for column in (prepared, raw, old, gains, targets)]
            for seen, action, before, gain, target in zip(*parts, strict=True):
                if len(seen) < 2:  # no deviation of one
                    continue
                features = self.policy.body(seen)
                log, entropy = log_density(self.policy, self.policy.head(features), action)
                value = self.critic.outputs_of(features if self.how.shared else seen)[0][:, 0]
                losses.append(self._descend(log - before, gain, value, target, entropy, self._rough(seen, rng)))
        return self._figures(losses)

    def _sequences(
        self, prepared: Tensor, raw: Tensor, columns: list[Tensor], rng: torch.Generator
    ) -> dict[str, float]:
        """Epochs over whole worlds, whose memory is gone through again from what it was at the rollout's start."""
        old, gains, targets, valid = columns
        horizon, count = raw.shape[:2]
        first = torch.from_numpy(self.out.memory[0]).to(self.device)
        losses: list[Tensor] = []
        group = max(1, self.how.batch // horizon)
        for _ in range(self.how.epochs):
            for index in torch.split(torch.randperm(count, generator=rng).to(self.device), group):
                memory: Tensor | None = first[index]
                heads, memories = [], []
                for t in range(horizon):
                    assert memory is not None
                    memories.append(memory)
                    head, memory = self.policy.outputs_of(prepared[t, index], memory)
                    heads.append(head)
                    assert memory is not None
                    memory = memory * valid[t, index][:, None]
                good = valid[:, index]
                log, entropy = log_density(self.policy, torch.stack(heads)[good], raw[:, index][good])
                # The values read the memory but do not shape it.
                known = torch.cat([prepared[:-1, index], torch.stack(memories).detach()], -1)[good]
                value = self.critic.outputs_of(known)[0][:, 0]
                log_ratio = log - old[:, index][good]
                losses.append(self._descend(log_ratio, gains[:, index][good], value, targets[:, index][good], entropy))
        return self._figures(losses)

    def _rough(self, seen: Tensor, rng: torch.Generator) -> Tensor | None:
        """κ R of SA-PPO (equation 8); None in plain PPO."""
        epsilon = self.how.epsilon * min(self.share / _RISEN, 1.0)
        if not self.how.kappa or not epsilon:
            return None
        return self.how.kappa * roughness(self.policy, seen, epsilon, self.how.climbs, rng)

    def _step(self, pair: Pair, prepared: Tensor, index: Tensor, raw: Tensor, *columns: Tensor) -> Tensor:
        """One gradient of the steps of an index, its slopes by hand."""
        old, gain, target = columns
        how, count = self._weighing(), len(index)
        deviation, mean = torch.std_mean(gain[index])

        def loss_of(out: Tensor, value: Tensor, rows: Tensor) -> Found:
            if rows.device.type == "cpu":
                moments = float(mean), float(deviation)
                return surrogate_of_rows(self.policy, out, value, raw, old, gain, target, rows, moments, how, count)
            gains = (gain[rows] - mean) / (deviation + 1e-8)
            return surrogate(self.policy, out, value, raw[rows], old[rows], gains, target[rows], how, count)

        self.flat.gradient.zero_()
        loss = pair.slopes(prepared, index, loss_of)
        self.flat.descend(self.how.most_gradient)
        return loss

    def _weighing(self) -> Weighing:
        how = self.how
        return Weighing(how.clip, how.value, how.entropy, self.rollouts >= how.values_first)

    def _descend(
        self, log_ratio: Tensor, gain: Tensor, value: Tensor, target: Tensor, entropy: Tensor,
        rough: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        loss = self._loss(log_ratio, gain, value, target, entropy)
        if rough is not None:
            loss = loss + rough
        self.flat.step(loss, self.how.most_gradient)
        return loss.detach()

    def _loss(self, log_ratio: Tensor, gain: Tensor, value: Tensor, target: Tensor, entropy: Tensor) -> Tensor:
        """What is descended (equation 9, its sign turned)."""
        how = self._weighing()
        deviation, mean = torch.std_mean(gain)
        loss = how.value * torch.nn.functional.mse_loss(value, target)
        if how.climbing:
            loss = loss + clipped(log_ratio, (gain - mean) / (deviation + 1e-8), how.clip) - how.entropy * entropy
        return loss

    def _figures(self, losses: list[Tensor]) -> dict[str, float]:
        return {"loss": mean_loss(losses, "ppo", "a lower lr, or scale_rewards=True") if losses else 0.0}

    # ------------------------------------------------------------ going on later

    def state(self) -> dict[str, Tensor]:
        marks = {"income": torch.from_numpy(self.scaling.moments), "rollouts": torch.tensor(self.rollouts)}
        return {**self.policy.state(), **self.flat.state("flat"), **marks}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.policy.restore(state)
        self.flat.restore(state, "flat")
        self.scaling.moments[:] = state["income"].numpy()
        self.rollouts = int(state["rollouts"])
