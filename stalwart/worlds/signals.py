"""Timing a junction's signals in the driving world, from who waits there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from stalwart.core.component import above, at_least, component
from stalwart.core.contracts import Roads
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of

YELLOW_S, ALL_RED_S = 3.0, 2.0
"""Between two greens nobody starts."""
WAITS_MPS = 2.0
"""Who is slower than this before the junction waits."""
_FOREVER_S, _LONG_AGO_S, _TICK_S = 1e6, 100.0, 0.1
_SCALE = 10.0
_SWING = 0.35
"""How far a street's share of a shifting demand goes up and down from a half."""

Demand = Literal["steady", "shifting"]


@component
class signals:
    """Which of two streets has green, decided every `hold` seconds; a change costs 3 s of yellow and 2 s of all red.

    Seen are, for each lane into the junction, how many wait and how many come, over 10; which street has green, and for
    how long, over 30 s. The reward is minus the seconds that vehicles waited, over 10. `fixed_time` and `max_pressure`
    are what it is to be compared with.

    A steady demand has as many vehicles under way all the time, so fewer come where more wait. A shifting one is
    Poisson's and does not yield: the streets' shares of it swing against each other once in an episode, from a moment
    that is drawn, and for whom there is no room yet waits before the map and is seen and counted as waiting.
    """

    roads: Roads = "crossroads(seed=1, lanes=2)"  # type: ignore[assignment]
    """A map with one junction under signals."""
    hold: Annotated[float, at_least(6.0)] = 8.0
    """Seconds between two decisions."""
    seconds: Annotated[float, at_least(60.0)] = 480.0
    """After which an episode is cut off."""
    agents: Annotated[int, at_least(2)] = 28
    """Vehicles under way, one that leaves comes again at the edge of the map; of a shifting demand the most at once."""
    traffic: str = "mixed"
    """How they drive."""
    demand: Demand = "steady"
    """Who comes: steady, or shifting from street to street."""
    flow: Annotated[float, above(0)] = 1500.0
    """Vehicles an hour in all, of a shifting demand."""

    def build(self, count: int) -> SignalWorlds:
        return SignalWorlds(
            self.roads.build(), count, self.hold, self.seconds, self.agents, self.traffic,
            self.flow if self.demand == "shifting" else 0.0,
        )  # fmt: skip


class SignalWorlds(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """Junctions side by side. Each world has the map's tables for itself, so its signals are its own.

    Args:
        flow: vehicles an hour of a shifting demand; 0: a steady one.
    """

    def __init__(
        self, roads: Any, num_envs: int, hold: float, seconds: float, agents: int, traffic: str, flow: float = 0.0
    ) -> None:  # fmt: skip
        if len(roads.signals) != 2:
            raise InputError(f"signals needs a map with one junction under signals. {roads.name} has "
                             f"{len(roads.signals) // 2}.")  # fmt: skip
        self.num_envs, self.hold, self.agents, self.traffic = num_envs, hold, agents, traffic
        self._roads, self._flow = roads, flow
        self._most = max(1, round(seconds / hold))
        lanes = roads.lanes
        ruled = {n: lanes[n].signal for n in range(len(lanes)) if lanes[n].signal >= 0 and lanes[n].use == 0}
        self.entering = [n for n in range(len(lanes)) if any(after in ruled for after in lanes[n].successors)]
        """Lanes into the junction, as the map numbers them."""
        self.street = np.array([next(ruled[k] for k in lanes[n].successors if k in ruled) for n in self.entering])
        """Of each of them, the signal that rules it: 0 or 1."""
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Box(-np.inf, np.inf, (2 * len(self.entering) + 3,), np.float32)
        self.single_action_space = Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode everywhere; with a seed, the first one of that seed's worlds."""
        from stalwart.drive.simulation import make  # Numba's kernels load only where they are wanted

        if isinstance(seed, list):
            raise InputError("SignalWorlds.reset: seed must be one integer; each world has its own stream of it.")
        if seed is not None or not hasattr(self, "world"):
            self.world = make(
                [self._roads] * self.num_envs, self.num_envs, agents=self.agents + 1, walkers=0, traffic=self.traffic,
                seed=seed or 0, dt_s=_TICK_S, metres_per_pixel=4.0,
            )  # fmt: skip
            self._seed, self._episode = seed or 0, 0
            base = self.world.places.map_n[:, 0]  # where a map's lanes begin
            index = np.full(len(self.world.tables.lane_n), -1)
            for column, lane in enumerate(self.entering):
                index[base + lane] = column
            self._column = index
            self._doors = (base[:, None] + np.array(self.entering)).astype(np.int32)
            if self._flow:
                from stalwart.drive.traffic.entering import close

                close(self.world.places)
        else:
            self.world.reset()
            self._episode += 1
        self._begin()
        return self._seen(), {}

    def _begin(self) -> None:
        self.world.state.alive[:, : None if self._flow else 1] = 0  # nobody drives from outside
        self.held = np.zeros((self.num_envs, len(self.entering)), np.int64)
        """Who waits before the map, by lane."""
        if self._flow:
            self._due = np.stack([self._arrivals(n) for n in range(self.num_envs)], 1)
        self.green = np.zeros(self.num_envs, np.int64)
        self.since = np.zeros(self.num_envs)
        self._ticks, self._over = 0, False
        self._at = self._columns()
        now = self._now()
        rows = self._rows()
        rows[:, 0] = np.stack([np.full_like(now, _FOREVER_S), now, *np.full((2, len(now)), _FOREVER_S / 2)], 1)
        self._redden(np.arange(self.num_envs), np.ones(self.num_envs, np.int64), now - _LONG_AGO_S)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """`hold` seconds; or, where the episode is over, a new one begins."""
        nothing = np.zeros(self.num_envs, np.bool_)
        waited, served, came = (np.zeros(self.num_envs) for _ in range(3))
        facts = {"waited_s": waited, "served": served, **({"came": came} if self._flow else {})}
        if self._over:
            self.reset()
            return self._seen(), waited, nothing, nothing.copy(), facts
        changing = np.flatnonzero(np.asarray(actions) != self.green)
        self._redden(changing, self.green[changing], self._now()[changing])
        clear = round((YELLOW_S + ALL_RED_S) / _TICK_S)
        still = np.zeros((self.num_envs, 1, 2), np.float32)
        self.since += self.hold
        for tick in range(1, round(self.hold / _TICK_S) + 1):
            self.world.step(still)
            if tick == clear and len(changing):
                self.green[changing] ^= 1
                now = self._now()[changing]
                self._rows()[changing, self.green[changing]] = np.stack(
                    [np.full_like(now, _FOREVER_S), now, *np.full((2, len(now)), _FOREVER_S / 2)], 1
                )
                self.since[changing] = self.hold - clear * _TICK_S
            if tick % 10 == 0:
                at, before = self._columns(), self._at
                alive = self.world.state.alive != 0
                served += ((before >= 0) & (at < 0) & alive).sum(1)
                waited += ((at >= 0) & (self.world.state.speed_mps < WAITS_MPS)).sum(1) * 10 * _TICK_S
                self._at = at
                if self._flow:
                    came += self._admit()
                    waited += self.held.sum(1) * 10 * _TICK_S
        self._ticks += 1
        self._over = self._ticks >= self._most
        cut = np.full(self.num_envs, self._over)
        return self._seen(), -waited / _SCALE, nothing, cut, facts

    def _arrivals(self, n: int) -> NDArray[np.int64]:
        """(T, L) of a world's episode: how many come in each second, by lane. Each has a stream of its own."""
        rng = np.random.default_rng(seed_of(self._seed, "demand", n, self._episode))
        time = np.arange(round(self._most * self.hold)) / (self._most * self.hold)
        first = 0.5 + _SWING * np.sin(2 * np.pi * (time + rng.uniform()))
        share = np.where(self.street == 0, first[:, None], 1 - first[:, None])
        lanes = np.bincount(self.street, minlength=2)[self.street]
        found: NDArray[np.int64] = rng.poisson(self._flow / 3600 * share / lanes)
        return found

    def _admit(self) -> NDArray[np.int64]:
        """(W,) how many come in this second; who finds room enters the map."""
        from stalwart.drive.traffic.entering import enter

        due, self._due = self._due[0], self._due[1:]
        self.held += due
        world, s = self.world, self.world.state
        self.held -= enter(
            world.tables, s.floats, s.ints, s.words, s.traits, world._crowd, s.egos, self._doors, self.held
        )
        came: NDArray[np.int64] = due.sum(1)
        return came

    def _rows(self) -> NDArray[np.float32]:
        """(W, 2, 4) period, start, green and yellow of each world's two signals: written in place."""
        return self.world.tables.signal_s.reshape(self.num_envs, 2, 4)

    def _redden(self, worlds: NDArray[np.int64], which: NDArray[np.int64], now: NDArray[np.float32]) -> None:
        """Yellow from `now` on, then red for good."""
        full = np.ones_like(now)
        self._rows()[worlds, which] = np.stack([full * _FOREVER_S, now, full * 0, full * YELLOW_S], 1)

    def _now(self) -> NDArray[np.float32]:
        """(W,) what the signals' clocks say."""
        from stalwart.drive.compiled import single
        from stalwart.drive.traffic.step import clock

        return np.array([clock(words, single(_TICK_S)) for words in self.world.state.words], np.float32)

    def _columns(self) -> NDArray[np.int64]:
        """(W, N) for each vehicle, which of the lanes into the junction it is in; −1: none."""
        state = self.world.state
        found: NDArray[np.int64] = np.where(state.alive != 0, self._column[state.lane], -1)
        return found

    def _seen(self) -> NDArray[np.float32]:
        at, lanes = self._columns(), np.arange(len(self.entering))
        slow = self.world.state.speed_mps < WAITS_MPS
        here = at[:, :, None] == lanes
        waiting, coming = self.held + (here & slow[..., None]).sum(1), (here & ~slow[..., None]).sum(1)
        rest = np.stack([self.green == 0, self.green == 1, self.since / 30.0], 1)
        return np.concatenate([waiting / _SCALE, coming / _SCALE, rest], 1).astype(np.float32)


def fixed_time(first: int, second: int, step: int) -> int:
    """Which street has green in decision `step` of a plan that gives them so many decisions by turns."""
    return int(step % (first + second) >= first)


def max_pressure(seen: NDArray[np.float32], street: NDArray[np.int64], margin: int = 0) -> NDArray[np.int64]:
    """(N,) the street with the greater pressure: Varaiya, "Max pressure control of a network of signalized
    intersections" (Transportation Research C, 2013). Nobody queues behind a single junction, so that a street's
    pressure is how many are before it; it stays as it is unless the other's is greater by more than the margin.
    """
    lanes = len(street)
    queue = np.rint(_SCALE * (seen[:, :lanes] + seen[:, lanes : 2 * lanes]))
    pressure = np.stack([queue[:, street == k].sum(1) for k in (0, 1)], 1)
    kept = seen[:, 2 * lanes + 1].astype(np.int64)
    more = np.where(kept == 0, pressure[:, 1] - pressure[:, 0], pressure[:, 0] - pressure[:, 1])
    chosen: NDArray[np.int64] = np.where(more > margin, 1 - kept, kept)
    return chosen
