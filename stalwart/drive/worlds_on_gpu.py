"""Driving worlds that live on a graphics card: one thread of it for each world."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from stalwart.core.errors import InputError
from stalwart.drive.geometry.tables import LANES, LANES_END, Places, Tables
from stalwart.drive.observation import NEIGHBOURS, OBSERVED, find_faults, show, tell_line, tell_others, tell_self
from stalwart.drive.on_gpu import DEVICE, Each, beside, expect_gpu, spread, upload, uploaded
from stalwart.drive.scene import Scene
from stalwart.drive.sensors.on_gpu import GpuScene
from stalwart.drive.simulation import Flags, Floats, Outcome, Worlds
from stalwart.drive.traffic.around import NOTES
from stalwart.drive.traffic.drivers import Crowd
from stalwart.drive.traffic.joining import come
from stalwart.drive.traffic.step import begin, tick
from stalwart.drive.world.state import State

Tensor = torch.Tensor
_FLOAT, _INT = torch.float32, torch.int32


class GpuWorlds(Worlds):
    """`Worlds` whose `state` and all that they take and give are tensors on the card, `state`'s fields laid out so that
    neighbouring worlds lie side by side. A `scene` comes back to the processor, for whatever reads scenes.

    Signals, traffic and random numbers are those of the processor's worlds. Sines and roots differ in the last bits
    from one device to the other, so worlds of the same seed part with time.

    Raises:
        InputError: no graphics card, or no numba-cuda to use it with.
    """

    def _ready(self) -> None:
        expect_gpu()
        s = self.state
        worlds, agents, egos = s.worlds, s.agents, s.egos
        rows = self.places.map_n
        lanes = int((rows[:, LANES_END] - rows[:, LANES]).max())
        fields = (s.floats, s.ints, s.words, s.route, s.traits, s.grip_mps2)
        self.state = State(*(cast(Any, spread(field)) for field in fields))
        self._tables, self._places, self._people = uploaded(self.tables), uploaded(self.places), uploaded(self._crowd)
        self._scratch = (
            beside(worlds, lanes, dtype=_INT), beside(worlds, agents, dtype=_INT), beside(worlds, agents, dtype=_INT),
            beside(worlds, NOTES, agents, dtype=_FLOAT),
        )  # fmt: skip
        self._near = beside(worlds, NEIGHBOURS, dtype=_FLOAT), beside(worlds, NEIGHBOURS, dtype=_INT)
        self._told: Tensor = torch.zeros((worlds, egos, OBSERVED), device=DEVICE)
        self._faults = torch.zeros((worlds, egos, 5), dtype=torch.bool, device=DEVICE)
        self._raster, self._origin = upload(self.ground.raster), upload(self.ground.origin_m)
        self._key, self._episodes = upload(self._keys), torch.zeros(worlds, dtype=torch.int64, device=DEVICE)
        self._standing = tuple(upload(part) for part in self._things)
        self._walking = np.int64(self.walkers)
        self._start(cast(Any, torch.ones(worlds, dtype=torch.bool, device=DEVICE)))

    @property
    def _fields(self) -> tuple[Any, ...]:
        s = self.state
        return s.floats, s.ints, s.words, s.route, s.traits

    def _start(self, mask: Any) -> None:
        episode = self._episodes.view(torch.uint64)
        _begin(
            self.worlds, self._tables, self._places, *self._fields, self._people, self._walking, mask, self._key,
            episode,
        )  # fmt: skip

    def reset(self, mask: Any = None) -> None:
        chosen = self._mask("reset", torch.ones(self.worlds, dtype=torch.bool) if mask is None else mask, self.worlds)
        self._episodes += chosen.long()
        self._start(chosen)

    def rejoin(self, mask: Any) -> Flags:
        chosen = self._mask("rejoin", mask, self.worlds, self.egos)
        _come(self.worlds, self._tables, self._places, *self._fields, self._people, chosen)
        alive: Any = self.state.alive[:, : self.egos] != 0
        return cast(Flags, alive)

    def _mask(self, name: str, mask: Any, *shape: int) -> Tensor:
        chosen = torch.as_tensor(mask, device=DEVICE)
        if chosen.shape != shape or chosen.dtype != torch.bool:
            raise InputError(f"{name}: mask must be bool of {shape}. Got {chosen.dtype} {tuple(chosen.shape)}.")
        return chosen

    def observe(self) -> Floats:
        s = self.state
        _tell(self.worlds, self._tables, s.floats, s.ints, s.words, s.route, self._dt, self._told, *self._near)
        return cast(Floats, cast(Any, self._told.clone()))

    def step(self, controls: Any) -> Outcome:
        asked = torch.as_tensor(controls, dtype=_FLOAT, device=DEVICE)
        s: Any = self.state
        if asked.shape != (s.worlds, s.egos, 2):
            raise InputError(f"step: controls must be of ({s.worlds}, {s.egos}, 2). Got {tuple(asked.shape)}.")
        if not bool(torch.isfinite(asked).all()):
            place = tuple(torch.nonzero(~torch.isfinite(asked))[0].tolist())
            raise InputError(f"step: controls must be finite. Got {float(asked[place])} at {place}.")
        mine = slice(0, s.egos)
        s.wanted_accel_mps2[:, mine], s.wanted_steer_rad[:, mine] = asked[..., 0], asked[..., 1]
        before, stopped, driven = (each[:, mine].clone() for each in (s.lane, s.stopped_for, s.driven_m))
        _tick(
            self.worlds, self._tables, self._places, *self._fields, s.grip_mps2, self._people, self._walking, self._dt,
            *self._scratch,
        )  # fmt: skip
        _find_faults(
            self.worlds, self._tables, s.floats, s.ints, s.words, s.route, before, stopped, self._raster, self._origin,
            self._pixel_m, self._dt, self._faults,
        )  # fmt: skip
        flags: Any = self._faults.clone()
        return Outcome(
            s.driven_m[:, mine] - driven, s.hit[:, mine] >= 0, s.fault[:, mine] != 0,
            flags[..., 0], flags[..., 1], flags[..., 2], flags[..., 3], flags[..., 4],
        )  # fmt: skip

    def _word(self, column: int) -> Tensor:
        """(W,) a column of the words by its bits, as PyTorch does little with 64 bits without a sign."""
        words: Any = self.state.words
        return cast(Tensor, words[:, column].view(torch.int64))

    def scene_on_gpu(self, boxes: int = 64) -> GpuScene:
        """What sensors see now, for those of `sensors.on_gpu`. The same tensors are written to at each call."""
        s = self.state
        if boxes < s.agents:
            raise InputError(f"scene(boxes=...) must hold all {s.agents} agents. Got {boxes}.")
        if self._scene is None or self._scene.boxes != boxes:
            self._scene = Scene.empty(s.worlds, boxes, self.ground)
            self._scene.map_of_world[:] = self._word(2).cpu().numpy()
            self._shown = GpuScene.of(self._scene)
            self._spare = beside(s.worlds, boxes, dtype=_FLOAT), beside(s.worlds, boxes, dtype=_INT)
        seen = self._shown.boxes._asdict()
        _show(
            self.worlds, self._tables, self._places, s.floats, s.ints, s.words, self._dt, *self._standing,
            *(seen[name] for name in _SHOWN.values()), *self._spare,
        )  # fmt: skip
        self._shown.key.view(torch.int64).copy_(self._word(0))
        self._shown.tick.copy_(self._word(1))
        return self._shown

    def scene(self, boxes: int = 64) -> Scene:
        shown = self.scene_on_gpu(boxes)
        there = cast(Scene, self._scene)
        for name, field in _SHOWN.items():
            getattr(there, name)[...] = getattr(shown.boxes, field).cpu().numpy()
        there.key[:], there.tick[:] = shown.key.cpu().numpy(), shown.tick.cpu().numpy()
        return there


_SHOWN = {
    "x_m": "x", "y_m": "y", "z0_m": "z0", "yaw_rad": "yaw", "length_m": "length", "width_m": "width",
    "height_m": "height", "kind": "kind", "instance": "instance", "tint": "tint", "alive": "alive",
}  # fmt: skip
"""What `observation.show` writes, in its order: names in `Scene` and in `Boxes`."""


@Each
def _tick(
    i: int, t: Tables, p: Places, floats: Any, ints: Any, words: Any, routes: Any, traits: Any, grip: Any, crowd: Crowd,
    walkers: int, dt: float, head: Any, link: Any, order: Any, notes: Any,
) -> None:  # fmt: skip
    tick(
        t, p, floats[i], ints[i], words[i], routes[i], traits[i], grip[i], crowd, walkers, dt, head[i], link[i],
        order[i], notes[i],
    )  # fmt: skip


@Each
def _begin(
    i: int, t: Tables, p: Places, floats: Any, ints: Any, words: Any, routes: Any, traits: Any, crowd: Crowd,
    walkers: int, mask: Any, keys: Any, episode: Any,
) -> None:  # fmt: skip
    if mask[i]:
        begin(t, p, floats[i], ints[i], words[i], routes[i], traits[i], crowd, walkers, keys[i], episode[i])


@Each
def _come(
    i: int, t: Tables, p: Places, floats: Any, ints: Any, words: Any, routes: Any, traits: Any, crowd: Crowd, mask: Any
) -> None:
    for e in range(routes.shape[1]):
        if mask[i, e]:
            come(t, p, floats[i], ints[i], words[i], routes[i], traits[i], crowd, e)


@Each
def _tell(
    i: int, t: Tables, floats: Any, ints: Any, words: Any, routes: Any, dt: float, out: Any, least: Any, who: Any
) -> None:
    for e in range(routes.shape[1]):
        tell_self(t, floats[i], routes[i, e], ints[i], e, out[i, e])
        tell_line(t, floats[i], ints[i], words[i], routes[i, e], e, dt, out[i, e])
        tell_others(floats[i], ints[i], e, out[i, e], least[i], who[i])


@Each
def _find_faults(
    i: int, t: Tables, floats: Any, ints: Any, words: Any, routes: Any, before: Any, stopped: Any, raster: Any,
    origin: Any, metres_per_pixel: float, dt: float, out: Any,
) -> None:  # fmt: skip
    find_faults(
        t, floats[i], ints[i], words[i], routes[i], before[i], stopped[i], raster, origin, metres_per_pixel, dt, out[i]
    )


@Each
def _show(
    i: int, t: Tables, p: Places, floats: Any, ints: Any, words: Any, dt: float, first: Any, standing: Any, looks: Any,
    x: Any, y: Any, z0: Any, yaw: Any, length: Any, width: Any, height: Any, kind: Any, instance: Any, tint: Any,
    alive: Any, near: Any, who: Any,
) -> None:  # fmt: skip
    show(
        t, p, floats[i], ints[i], words[i], dt, first, standing, looks, x[i], y[i], z0[i], yaw[i], length[i], width[i],
        height[i], kind[i], instance[i], tint[i], alive[i], near[i], who[i],
    )  # fmt: skip
