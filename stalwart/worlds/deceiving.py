"""Deceiving a policy, as a decision problem of its own: a learner that solves it is the strongest attacker there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from stalwart.core.component import above, at_least, component
from stalwart.core.errors import InputError
from stalwart.mdp.deceived import DeceivingWorlds
from stalwart.mdp.open import open_worlds
from stalwart.mdp.policies import Policy
from stalwart.store import checkpoint


@component
class deceiving:
    """What a policy sees is changed by up to ε, and whatever it loses is won.

    Zhang et al., "Robust reinforcement learning on state observations with learned optimal adversary" (ICLR 2021),
    section 3.1: for a fixed policy the best attacker's problem is a Markov decision process, with the policy's
    observations as states, changes as actions and the negative reward. Observations and ε are as the policy prepares
    them (normalised).

    With `climbs` the attacker decides in which direction the policy's action shall go, and ascent finds the change
    (Sun et al., ICLR 2022). Where much is seen and few numbers are decided, that is learned in far fewer steps.
    """

    run: str
    """The policy's run folder, or a checkpoint of it."""
    epsilon: Annotated[float, above(0)] = 0.1
    """Largest change of each number of an observation."""
    env: str = ""
    """Where the policy acts; empty: where it was trained."""
    climbs: Annotated[int, at_least(0)] = 0
    """Steps of ascent towards the direction that is decided; 0: what is decided are the changes themselves."""

    def build(self, count: int) -> DeceivingWorlds:
        folder = checkpoint.locate(Path(self.run))
        policy = checkpoint.load(folder)
        if not isinstance(policy, Policy) or policy.states:
            raise InputError(f"deceiving(run={self.run!r}) needs a policy that sees numbers. Got another model.")
        worlds = open_worlds(self.env or str(checkpoint.read_card(folder)["data"]), count)
        return DeceivingWorlds(policy.eval(), worlds, self.epsilon, self.climbs)
