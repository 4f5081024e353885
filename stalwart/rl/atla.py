"""Alternate training with a learned adversary: Zhang et al., "Robust reinforcement learning on state observations with
learned optimal adversary" (ICLR 2021), algorithm 1.

By turns the policy learns under a rival's changes of what it sees, and the rival learns to change it so that it loses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Event, Learner, Student
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.mdp.deceived import DeceivedWorlds, DeceivingWorlds, decided
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import Spaces


@component
class atla:
    """A learner whose observations a second learner changes by up to ε (L∞, in the policy's units), by turns."""

    learner: Learner = "ppo()"  # type: ignore[assignment]
    """Learns the policy."""
    rival: Learner = "ppo(entropy=0.001)"  # type: ignore[assignment]
    """Learns the changes, which are vectors from −1 to 1."""
    epsilon: Annotated[float, above(0)] = 0.1
    """Largest change of each number seen, as the policy prepares it (normalised)."""
    turns: Annotated[int, at_least(1)] = 4
    """Turns of both in a chapter."""
    share: Annotated[float, between(0.01, 0.99)] = 0.5
    """Of all steps, those by which the rival learns."""
    climbs: Annotated[int, at_least(0)] = 0
    """Steps of ascent towards the direction that the rival decides for the policy's action (Sun et al., ICLR 2022);
    0: the rival decides the changes themselves."""

    def begin(self, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> _Student:
        if spaces.states or spaces.pixels:
            raise InputError("atla needs observations that are vectors.")
        return _Student(self, spaces, worlds, seed, device)


class _Student:
    def __init__(self, how: atla, spaces: Spaces, worlds: int, seed: int, device: torch.device) -> None:
        self.how = how
        self.agent: Student = how.learner.begin(spaces, worlds, seed_of(seed, "agent"), device)
        if not isinstance(self.agent.policy, Policy) or self.agent.policy.gru:
            raise InputError("atla needs a learner of policies without memory.")
        dims = decided(self.policy, how.climbs)
        pushes = Spaces(spaces.inputs, False, 0, (-1.0,) * dims, (1.0,) * dims, dims=dims)
        self.rival: Student = how.rival.begin(pushes, worlds, seed_of(seed, "rival"), device)
        self.architecture = self.agent.architecture

    @property
    def policy(self) -> Policy:
        assert isinstance(self.agent.policy, Policy)
        return self.agent.policy

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        how, done = self.how, 0
        rival = self.rival.policy
        assert isinstance(rival, Policy)
        figures: dict[str, Any] = {}
        for turn in range(how.turns):
            of = (begun + (ended - begun) * turn / how.turns, begun + (ended - begun) * (turn + 1) / how.turns)
            for who, share in (("agent", 1 - how.share), ("rival", how.share)):
                own = seed_of(seed, who, turn)
                if who == "agent":
                    between: Any = DeceivedWorlds(worlds, self.policy, rival, how.epsilon, own, how.climbs)
                    learning = self.agent.chapter(between, round(steps * share / how.turns), own, *of)
                else:
                    against = DeceivingWorlds(self.policy, worlds, how.epsilon, how.climbs)
                    learning = self.rival.chapter(against, round(steps * share / how.turns), own, *of)
                last = 0
                for event in learning:
                    last = int(event.values["done"])
                    names = {key: value for key, value in event.values.items() if key != "done"}
                    figures |= names if who == "agent" else {f"rival_{key}": value for key, value in names.items()}
                    yield Event("progress", {"done": done + last, **figures})
                done += last

    def state(self) -> dict[str, Tensor]:
        parts = {"agent": self.agent.state(), "rival": self.rival.state()}
        return {f"{who}/{name}": value for who, state in parts.items() for name, value in state.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        for who, student in (("agent", self.agent), ("rival", self.rival)):
            own = {name.removeprefix(f"{who}/"): value for name, value in state.items() if name.startswith(f"{who}/")}
            student.restore(own)
