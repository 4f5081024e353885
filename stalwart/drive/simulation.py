"""Thousands of driving worlds at once: `make` them, `observe`, `step`, `reset`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.drive.chance import world_keys
from stalwart.drive.compiled import single
from stalwart.drive.geometry.lanes import RoadMap, expect_choice
from stalwart.drive.geometry.tables import tables_of
from stalwart.drive.observation import OBSERVED, fill_scene, judge, observe
from stalwart.drive.scene import Ground, Scene
from stalwart.drive.sensors.styles import style as style_index
from stalwart.drive.traffic.drivers import Population, population_of
from stalwart.drive.traffic.joining import join
from stalwart.drive.traffic.step import advance, start
from stalwart.drive.world.state import empty_state

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Surface = Literal["dry", "wet", "snow", "ice"]

FRICTION = {"dry": 0.85, "wet": 0.55, "snow": 0.3, "ice": 0.12}
"""Friction coefficients of tyres by surface: typical values, rounded."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a step brought to the drivers from outside; (W, E) each."""

    progress_m: Floats
    """Along the route in this step."""
    hit: Flags
    """In a collision, of this step or an earlier one of the episode."""
    fault: Flags
    """And to blame for it."""
    off_road: Flags
    wrong_way: Flags
    ran_red: Flags
    ran_stop: Flags
    arrived: Flags
    """At the end of the route."""

    @property
    def over(self) -> Flags:
        """(W,) where the first driver has crashed, left the road or arrived: an episode ends there."""
        first: Flags = self.each_over[:, 0]
        return first

    @property
    def each_over(self) -> Flags:
        """(W, E) which drivers have."""
        each: Flags = self.hit | self.off_road | self.arrived
        return each


class Worlds:
    """Worlds side by side on one or more maps. `make` builds them; see there.

    Everything random in a world follows from `seed`, the world's number and its episode: the same bits for any number
    of worlds beside it and of threads.
    """

    def __init__(
        self, maps: Sequence[RoadMap], worlds: int, agents: int, walkers: int, egos: int, traffic: Population,
        seed: int, first: int, dt_s: float, surface: Surface, styles: Sequence[str], metres_per_pixel: float,
    ) -> None:  # fmt: skip
        for name, value, least, most in (
            ("worlds", worlds, 1, 2**24), ("agents", agents, 1, 4096), ("egos", egos, 1, agents),
            ("walkers", walkers, 0, agents - egos), ("seed", seed, 0, 2**62), ("first", first, 0, 2**40),
        ):  # fmt: skip
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"make({name}=...) must be an integer from {least} to {most}. Got {value!r}.")
        if not 0.01 <= dt_s <= 0.5:
            raise InputError(f"make(dt_s=...) must lie in [0.01, 0.5] seconds. Got {dt_s!r}.")
        expect_choice("make(surface=...)", surface, tuple(FRICTION))
        for name in styles:
            style_index(name)
        if len(styles) not in (1, worlds):
            raise InputError(f"make(style=...) must be one, or {worlds}, one for each world. Got {len(styles)}.")
        self.maps = tuple(maps)
        self.styles = tuple(styles) * (worlds if len(styles) == 1 else 1)
        """(W,) the weather and light of each world by name, which cameras see (`dressing.Dressed`)."""
        self.dt_s = dt_s
        self.walkers = walkers
        self.tables, self.places = tables_of(self.maps)
        self.state = empty_state(worlds, agents, egos)
        self.state.words[:, 2] = (np.arange(worlds) + first) % len(self.maps)
        self.state.grip_mps2[:] = FRICTION[surface] * 9.81
        self._crowd = traffic.crowd()
        self._keys = world_keys(seed, worlds, first)
        self._episode = np.zeros(worlds, np.uint64)
        self._dt: Any = np.float32(dt_s)
        self.ground = _ground(self.maps, metres_per_pixel)
        self._pixel_m = single(metres_per_pixel)
        self._vector = np.zeros((worlds, egos, OBSERVED), np.float32)
        self._flags = np.zeros((worlds, egos, 5), np.bool_)
        self._things = _things(self.maps)
        self._scene: Scene | None = None
        self._ready()

    def _ready(self) -> None:
        """The first episodes begin."""
        self._start(np.ones(self.worlds, np.bool_))

    @property
    def worlds(self) -> int:
        return self.state.worlds

    @property
    def egos(self) -> int:
        return self.state.egos

    def _start(self, mask: Flags) -> None:
        s = self.state
        start(
            self.tables, self.places, s.floats, s.ints, s.words, s.route, s.traits, self._crowd, self.walkers, mask,
            self._keys, self._episode,
        )  # fmt: skip

    def reset(self, mask: Flags | None = None) -> None:
        """Begin the next episode in the worlds of the mask (W,) bool, or in all.

        Raises:
            InputError: a mask of another shape or type.
        """
        chosen = np.ones(self.worlds, np.bool_) if mask is None else np.asarray(mask)
        if chosen.shape != (self.worlds,) or chosen.dtype != np.bool_:
            raise InputError(f"reset: mask must be bool of ({self.worlds},). Got {chosen.dtype} {chosen.shape}.")
        self._episode += chosen.astype(np.uint64)
        self._start(chosen)

    def rejoin(self, mask: Flags) -> Flags:
        """Place drivers from outside, mask (W, E) bool, anew with new routes, each alone, while their worlds go on.

        Returns:
            (W, E) bool: who is in its world now; not so those for whom there was no room on the map.
        """
        s = self.state
        join(self.tables, self.places, s.floats, s.ints, s.words, s.route, s.traits, self._crowd, mask)
        return np.asarray(s.alive[:, : s.egos] != 0)

    def observe(self) -> Floats:
        """(W, E, 92) the privileged vector of each driver from outside; see `observation.observe`. A new array."""
        s = self.state
        observe(self.tables, s.floats, s.ints, s.words, s.route, self._dt, self._vector)
        return self._vector.copy()

    def step(self, controls: NDArray[Any]) -> Outcome:
        """A tick on. `controls` (W, E, 2): acceleration [m/s²] and steering angle [rad] that each driver asks for; what
        its body makes of it is limited as `world.bicycle` says.

        Raises:
            InputError: another shape, or a value that is not finite.
        """
        asked = np.asarray(controls, np.float32)
        s = self.state
        if asked.shape != (s.worlds, s.egos, 2):
            raise InputError(f"step: controls must be of ({s.worlds}, {s.egos}, 2). Got {asked.shape}.")
        if not np.isfinite(asked).all():
            place = tuple(int(k) for k in np.argwhere(~np.isfinite(asked))[0])
            raise InputError(f"step: controls must be finite. Got {asked[place]} at {place}.")
        mine = slice(0, s.egos)
        s.wanted_accel_mps2[:, mine] = asked[..., 0]
        s.wanted_steer_rad[:, mine] = asked[..., 1]
        before, stopped = s.lane[:, mine].copy(), s.stopped_for[:, mine].copy()
        driven = s.driven_m[:, mine].copy()
        advance(
            self.tables, self.places, s.floats, s.ints, s.words, s.route, s.traits, s.grip_mps2, self._crowd,
            self.walkers, self._dt,
        )  # fmt: skip
        judge(
            self.tables, s.floats, s.ints, s.words, s.route, before, stopped, self.ground.raster, self.ground.origin_m,
            self._pixel_m, self._dt, self._flags,
        )  # fmt: skip
        flags = self._flags.copy()
        hit = s.hit[:, mine] >= 0
        return Outcome(
            s.driven_m[:, mine] - driven, hit, s.fault[:, mine] != 0,
            flags[..., 0], flags[..., 1], flags[..., 2], flags[..., 3], flags[..., 4],
        )  # fmt: skip

    def scene(self, boxes: int = 64) -> Scene:
        """What sensors see now: all agents, then of what stands as many as fit, the nearest to the first agent first.

        The same arrays are written to at each call with the same `boxes`.
        """
        s = self.state
        if boxes < s.agents:
            raise InputError(f"scene(boxes=...) must hold all {s.agents} agents. Got {boxes}.")
        if self._scene is None or self._scene.boxes != boxes:
            self._scene = Scene.empty(s.worlds, boxes, self.ground)
            self._scene.map_of_world[:] = s.words[:, 2].astype(np.int32)
        v = self._scene
        fill_scene(
            self.tables, self.places, s.floats, s.ints, s.words, self._dt, *self._things,
            v.x_m, v.y_m, v.z0_m, v.yaw_rad, v.length_m, v.width_m, v.height_m, v.kind, v.instance, v.tint, v.alive,
        )  # fmt: skip
        v.key[:] = s.words[:, 0]
        v.tick[:] = s.words[:, 1].astype(np.int64)
        return v


def make(
    roads: str | RoadMap | Sequence[str | RoadMap], worlds: int = 1, *, agents: int = 24, walkers: int = 4,
    egos: int = 1, traffic: str | Population = "mixed", seed: int = 0, first: int = 0, dt_s: float = 0.1,
    surface: Surface = "dry", style: str | Sequence[str] = "sun", metres_per_pixel: float = 0.25,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Worlds:  # fmt: skip
    """Worlds on the roads that are spelled: ``make("town(seed=3)", worlds=1024)``. Kernels compile at the first call.

    Args:
        roads: a spelling of the catalog's room `roads`, a map, or several; worlds take them in turn.
        agents: bodies in each world, drivers from outside and walkers included.
        walkers: how many of them walk, where a map has ways to walk on; the last ones.
        egos: how many are driven from outside; the first ones.
        traffic: 'mixed', 'timid', 'normal', 'aggressive' or a `Population`.
        seed: what everything random follows from, together with a world's number.
        first: number of the first world: worlds 5 to 7 are the same alone or among a thousand.
        dt_s: seconds of a step.
        surface: 'dry', 'wet', 'snow' or 'ice', for the friction.
        style: weather and light for cameras by name (`sensors.styles.STYLES`): one for all worlds, or one for each. It
            changes neither the surface nor what anybody does.
        metres_per_pixel: of the raster of the ground, which says where the road ends.
        device: 'cuda': the worlds live and move on a graphics card, as `worlds_on_gpu.GpuWorlds` says.

    Raises:
        InputError: a value out of range, roads that cannot be read, or no graphics card that can be used.
    """
    expect_choice("make(device=...)", device, ("cpu", "cuda"))
    spelled = [roads] if isinstance(roads, str | RoadMap) else list(roads)
    if not spelled:
        raise InputError("make: expected roads such as 'town(seed=3)'. Got none.")
    maps = [one if isinstance(one, RoadMap) else catalog.make(one, "roads").build() for one in spelled]
    kind = Worlds
    if device == "cuda":
        from stalwart.drive.worlds_on_gpu import GpuWorlds

        kind = GpuWorlds
    return kind(
        maps, worlds, agents, walkers, egos, population_of(traffic), seed, first, dt_s, surface,
        [style] if isinstance(style, str) else style, metres_per_pixel,
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _painted(roads: RoadMap, metres_per_pixel: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    return roads.raster(metres_per_pixel)


def _ground(maps: Sequence[RoadMap], metres_per_pixel: float) -> Ground:
    painted = [_painted(roads, metres_per_pixel) for roads in maps]
    height, width = (max(raster.shape[k] for raster, _ in painted) for k in (0, 1))
    bank = np.ones((len(maps), height, width), np.uint8)  # TERRAIN
    for row, (raster, _) in zip(bank, painted, strict=True):
        row[: raster.shape[0], : raster.shape[1]] = raster
    return Ground(bank, metres_per_pixel, np.array([origin for _, origin in painted], np.float32))


def _things(maps: Sequence[RoadMap]) -> tuple[NDArray[np.int32], Floats, NDArray[np.int32]]:
    boxes = [box for roads in maps for box in roads.boxes]
    rows = [(b.x_m, b.y_m, b.z0_m, b.yaw_rad, b.length_m, b.width_m, b.height_m) for b in boxes]
    return (
        np.cumsum([0, *(len(roads.boxes) for roads in maps)]).astype(np.int32),
        np.array(rows, np.float32).reshape(-1, 7),
        np.array([(b.kind, b.signal) for b in boxes], np.int32).reshape(-1, 2),
    )
