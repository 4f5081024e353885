"""Learning from one who knows: behaviour cloning, and DAgger.

Cloning learns a = π*(s) where the expert goes, and is lost where it never went. DAgger (Ross, Gordon and Bagnell, "A
reduction of imitation learning and structured prediction to no-regret online learning", AISTATS 2011, algorithm 3.1)
lets the student drive, with a chance β_i of the expert at each step, asks the expert what it would have done, and
learns from all that was gathered so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from stalwart.core import catalog
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import InputError
from stalwart.core.rng import generator, seed_of
from stalwart.mdp.flat import Flat
from stalwart.mdp.policies import Policy
from stalwart.mdp.rollout import Collector, Rollout
from stalwart.mdp.spaces import Spaces
from stalwart.store import checkpoint


@component
class imitate:
    """Imitation of a trained policy or of a world's adviser: DAgger, or behaviour cloning with `dagger=False`."""

    expert: str = ""
    """A run or checkpoint of a policy without memory, for the same spaces; empty: the world's own adviser, as
    `journeys` has one."""
    dagger: bool = True
    """The student drives and the expert says what was right; else the expert drives."""
    decay: Annotated[float, between(0, 1)] = 0.5
    """β_i = decay^i: the expert's share of the driving in round i; it drives the first alone."""
    horizon: Annotated[int, at_least(1)] = 256
    """Steps of each world in a round."""
    gather: Annotated[int, at_least(1)] = 100_000
    """Steps kept; the oldest go first."""
    updates: Annotated[int, at_least(1)] = 200
    """Gradients in a round."""
    batch: Annotated[int, at_least(1)] = 128
    """Steps in one gradient."""
    lr: Annotated[float, above(0)] = 1e-3
    """Learning rate."""
    widths: tuple[Annotated[int, at_least(1)], ...] = (64, 64)
    """Hidden layers."""
    normalise: bool = True
    """Observations by their running mean and deviation, kept with the policy."""

    def begin(self, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> _Student:
        expert = self._expert(spaces, device) if self.expert else None
        return _Student(self, expert, spaces, worlds, seed, device)

    def _expert(self, spaces: Spaces, device: torch.device) -> Policy:
        expert = checkpoint.load(self.expert, str(device))
        outputs = spaces.actions or spaces.dims
        fits = isinstance(expert, Policy) and (expert.inputs, expert.outputs, expert.states) == (
            spaces.inputs, outputs, spaces.states,
        )  # fmt: skip
        if not isinstance(expert, Policy) or not fits or expert.gru:
            raise InputError(
                f"imitate: expert must be a policy without memory from {spaces.inputs} to {outputs} numbers. "
                f"Got {expert.card['model']} in {self.expert}."  # type: ignore[index]
            )
        return expert


class _Student:
    def __init__(
        self, how: imitate, expert: Policy | None, spaces: Spaces, worlds: int, seed: int, device: torch.device
    ) -> None:
        self.how, self.expert, self.spaces, self.device = how, expert, spaces, device
        kind: Any = "logits" if spaces.actions else "gaussian"
        self.architecture = spaces.policy(kind, how.widths, normalise=how.normalise)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "imitate"))
            signature = Signature(spaces.actions or spaces.dims, 1, (1, 1))
            self.policy: Policy = catalog.make(self.architecture, "models").build(signature).to(device)
        self.flat = Flat(self.policy.parameters(), how.lr)
        self.out = Rollout.empty(how.horizon, worlds, spaces, 0)
        self.seen = torch.zeros((0, *self.out.seen.shape[2:]), dtype=torch.from_numpy(self.out.seen).dtype)
        self.wanted = torch.zeros((0, *self.out.raw.shape[2:]), dtype=torch.from_numpy(self.out.raw).dtype)
        self.round = 0

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        how, out, count = self.how, self.out, worlds.num_envs
        advise = self._adviser(worlds)
        random, rng = np.random.default_rng(seed), generator(seed, "imitate")
        collector = Collector(worlds, out, seed % 2**31)
        shape = worlds.single_action_space.shape or ()
        rounds = max(1, round(steps / (how.horizon * count)))
        for number in range(rounds):
            beta = how.decay**self.round if how.dagger else 1.0

            def draw(t: int, seen: Any, memory: Any, beta: float = beta) -> Any:
                with torch.inference_mode():
                    known = torch.from_numpy(seen).to(self.device)
                    right = advise(seen)
                    own = right if beta == 1.0 else self.policy.act(known)[0].cpu().numpy()
                expert = random.random(count) < beta
                taken = np.where(expert.reshape(-1, *[1] * (right.ndim - 1)), right, own)
                return right, taken.reshape(count, *shape), None

            collector.collect(draw)
            good = out.valid
            self.seen = torch.cat([self.seen, torch.from_numpy(out.seen[:-1][good])])[-how.gather :]
            self.wanted = torch.cat([self.wanted, torch.from_numpy(out.raw[good])])[-how.gather :]
            if self.policy.norm is not None:
                self.policy.norm.learn(torch.from_numpy(out.seen[:-1][good]).to(self.device))
            figures = {"loss": self._learn(rng), "expert": beta}
            figures |= collector.tally.figures()
            self.round += 1
            yield Event("progress", {"done": (number + 1) * how.horizon * count, **figures})

    def _adviser(self, worlds: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """From what is seen to the actions that are right, (N,) or (N, dims)."""
        expert = self.expert
        if expert is not None:
            return lambda seen: np.asarray(expert.act(torch.from_numpy(seen).to(self.device))[0].cpu().numpy())
        if not hasattr(worlds, "advice"):
            raise InputError("imitate: this world has no adviser of its own. Give a run: imitate('runs/teacher').")
        return lambda seen: np.asarray(worlds.advice())

    def _learn(self, rng: torch.Generator) -> float:
        """Gradients on all that was gathered; the mean loss."""
        total = torch.zeros((), device=self.device)
        for _ in range(self.how.updates):
            index = torch.randint(len(self.seen), (self.how.batch,), generator=rng)
            out = self.policy(self.seen[index].to(self.device))
            wanted = self.wanted[index].to(self.device)
            loss = F.cross_entropy(out, wanted) if self.spaces.actions else self._distance(out, wanted)
            self.flat.step(loss)
            total += loss.detach()
        return float(total) / self.how.updates

    def _distance(self, out: Tensor, wanted: Tensor) -> Tensor:
        """Mean square between a vector and the expert's, in units of half the range, as the policy's numbers are."""
        return F.mse_loss(out, (wanted - self.policy.middle) / self.policy.reach)

    def state(self) -> dict[str, Tensor]:
        marks = {"seen": self.seen, "wanted": self.wanted, "round": torch.tensor(self.round)}
        return {**self.policy.state(), **self.flat.state("flat"), **marks}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.policy.restore(state)
        self.flat.restore(state, "flat")
        self.seen, self.wanted, self.round = state["seen"], state["wanted"], int(state["round"])
