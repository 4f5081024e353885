"""Drives on many maps of all families of roads, as the free suite has them, as a decision problem."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import nn

from stalwart.core import catalog
from stalwart.core.component import above, at_least, component
from stalwart.core.errors import InputError

if TYPE_CHECKING:
    from stalwart.drive.simulation import Outcome, Worlds

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
_DENSITIES, _TRAFFICS = ("light", "dense"), ("normal", "mixed", "aggressive")


@component
class journeys:
    """One driver in each world, in a seat that tells 110 numbers and asks for two (`drive.planners.seat`).

    Worlds take turns through the families, light and dense traffic, and normal, mixed and aggressive drivers. An
    episode ends with a collision, off the road or at the end of the route.
    """

    families: tuple[Literal["motorway", "rural", "crossroads", "roundabout", "town"], ...] = (
        "motorway", "rural", "crossroads", "roundabout", "town",
    )  # fmt: skip
    """Families of roads."""
    split: Literal["train", "test"] = "train"
    """Whose maps."""
    maps: Annotated[int, at_least(1)] = 3
    """Maps of each family."""
    seconds: Annotated[float, above(0)] = 60.0
    """After which an episode is cut off."""
    progress: Annotated[float, at_least(0)] = 0.1
    """Reward for a metre of the route."""
    crash: Annotated[float, at_least(0)] = 5.0
    """What a collision costs, or leaving the road."""
    fault: Annotated[float, at_least(0)] = 15.0
    """What a collision costs besides, where the driver is to blame."""
    rule: Annotated[float, at_least(0)] = 5.0
    """What a red light or a stop sign that was run costs; a second on the wrong side costs as much."""
    harsh: Annotated[float, at_least(0)] = 0.02
    """What a second at an acceleration of 1 m/s² costs; it grows with the square."""

    def build(self, count: int) -> Journeys:
        if not self.families:
            raise InputError("journeys(families=...) needs at least one family. Got none.")
        kinds = [
            f"free(roads={roads!r}, density={density!r}, traffic={_TRAFFICS[(turn + d + f) % 3]!r}, maps={self.maps}, "
            "worlds={})"
            for turn in range(3)
            for d, density in enumerate(_DENSITIES)
            for f, roads in enumerate(self.families)
        ]
        # The first 10 of 30 have all families, densities and drivers; a few groups run faster than many.
        groups = max(1, min(len(kinds), count // 24))
        sizes = [count // groups + (k < count % groups) for k in range(groups)]
        return Journeys(self, [kind.format(size) for kind, size in zip(kinds, sizes, strict=False)], sizes)

    def driver(self, world: Worlds, policy: nn.Module) -> Any:
        """Has a policy that was trained here drive other worlds; see `drive.planners.learned`."""
        from stalwart.drive.planners.learned import Seated

        return Seated(world, policy)


class Journeys(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Groups of worlds, each group with its own roads and traffic, as one vector environment."""

    def __init__(self, how: journeys, scenarios: Sequence[str], sizes: Sequence[int]) -> None:
        from stalwart.drive.planners.seat import DECIDED, TOLD  # Numba's kernels load only where they are wanted

        self.how, self.scenarios = how, tuple(scenarios)
        self.num_envs = sum(sizes)
        self._most = math.ceil(how.seconds / 0.1)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Box(-10.0, 10.0, (TOLD,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (DECIDED,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        ends = np.cumsum([0, *sizes])
        self._parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
        self._begin(0)

    def _begin(self, seed: int) -> None:
        from stalwart.drive.planners.seat import Adviser, Seat

        made = [catalog.make(one, "scenarios").stage(self.how.split, seed) for one in self.scenarios]
        self.worlds: list[Worlds] = [stage.world for stage in made]
        self._seats = [Seat(world) for world in self.worlds]
        self._advisers = [Adviser(world) for world in self.worlds]
        self._ended = np.zeros(self.num_envs, np.bool_)
        self._ticks = np.zeros(self.num_envs, np.int64)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode everywhere; with a seed, the first one of that seed's worlds."""
        if isinstance(seed, list):
            raise InputError("Journeys.reset: seed must be one integer; each world has its own stream of it.")
        if seed is not None:
            self._begin(seed)
        else:
            for world in self.worlds:
                world.reset()
        self._ended[:] = False
        self._ticks[:] = 0
        return np.concatenate([seat.look()[:, 0] for seat in self._seats]), {}

    def step(self, actions: Floats) -> tuple[Floats, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """A tenth of a second. Worlds whose episode has ended start anew instead, with reward 0."""
        fresh = self._ended
        asked = np.asarray(actions, np.float32)
        self._ticks += 1
        self._ticks[fresh] = 0
        out = [self._part(k, asked[part, None], fresh[part]) for k, part in enumerate(self._parts)]
        seen, reward, ended = (np.concatenate([one[k] for one in out]) for k in range(3))
        cut = (self._ticks >= self._most) & ~ended & ~fresh
        self._ended = ended | cut
        facts = {name: np.concatenate([one[3][name] for one in out]) for name in out[0][3]}
        return seen, reward, ended, cut, facts

    def _part(
        self, k: int, actions: Floats, fresh: Flags
    ) -> tuple[Floats, NDArray[Any], Flags, dict[str, NDArray[Any]]]:
        """One group a step on: what is seen, rewards, which episodes ended, facts."""
        world, seat = self.worlds[k], self._seats[k]
        outcome = world.step(seat.controls(actions))
        ended = outcome.over & ~fresh
        reward = np.where(fresh, 0.0, self._reward(world, outcome))
        facts = {
            "progress_m": outcome.progress_m, "collision": outcome.hit, "at_fault": outcome.hit & outcome.fault,
            "off_road": outcome.off_road, "wrong_way": outcome.wrong_way, "ran_red": outcome.ran_red,
            "ran_stop": outcome.ran_stop, "arrived": outcome.arrived,
        }  # fmt: skip
        if fresh.any():
            world.reset(fresh)
            seat.reset(fresh)
            self._advisers[k].reset(fresh)
        return seat.look()[:, 0], reward, ended, {name: values[:, 0] for name, values in facts.items()}

    def _reward(self, world: Worlds, outcome: Outcome) -> NDArray[np.float64]:
        how, dt = self.how, world.dt_s
        bad = how.crash * (outcome.hit | outcome.off_road) + how.fault * (outcome.hit & outcome.fault)
        rules = how.rule * (outcome.ran_red | outcome.ran_stop) + how.rule * dt * outcome.wrong_way
        harsh = how.harsh * dt * world.state.accel_mps2[:, :1].astype(np.float64) ** 2
        total: NDArray[np.float64] = (how.progress * outcome.progress_m - bad - rules - harsh)[:, 0]
        return total

    def advice(self) -> Floats:
        """(N, 2) what the rule-based expert would do now, to be imitated."""
        return np.concatenate([adviser()[:, 0] for adviser in self._advisers])
