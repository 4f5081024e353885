"""Labelled drives: what an expert's cameras and LiDAR meet on maps of their own for training, validation and test."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.core import catalog
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.rng import seed_of
from stalwart.drive.dressing import Dressed
from stalwart.drive.labels import Thing, things
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensors.camera import Camera, Frames, see
from stalwart.drive.sensors.lidar import Lidar, Scan, scan
from stalwart.drive.sensors.skins import skin
from stalwart.drive.sensors.styles import STYLES, style
from stalwart.drive.simulation import make

SPLITS = {"train": tuple(range(8)), "val": (8,), "test": (9,)}
"""Each split's maps: the last digit of a map's seed says which split it belongs to."""
FAMILIES = ("town(blocks=2)", "crossroads()", "roundabout()", "rural(length_m=600)")
WORLDS, SHOTS = 8, 4
"""Worlds of a clip, all on its map, and pictures of each."""
PER_CLIP = WORLDS * SHOTS
_WARM_UP, _APART = 40, 30
"""Steps of a tenth of a second before the first picture, and between two."""
_AGENTS, _WALKERS = 36, 8
_MAPS_PER_SEED = 1000
SIGNALS = ("none", "red", "yellow", "green")
_SIGNAL_M, _SIGNAL_PX = 40.0, 6
_HEADS = {"red": "signal_red", "yellow": "signal_amber", "green": "signal_green"}


@dataclass(frozen=True, eq=False)
class Shot:
    """One moment of `WORLDS` worlds."""

    scene: Scene
    frames: Frames
    scan: Scan | None
    signals: NDArray[np.int64]
    """(W,) index in `SIGNALS`: what the signal shows that the driver has to obey, where its line is at most 40 m away
    and a head showing it is seen in at least 6 pixels; else 'none'."""

    def things(self, world: int, camera: Camera) -> list[Thing]:
        return things(self.scene, world, self.frames, camera)


@dataclass(frozen=True)
class Footage:
    """What is filmed. Clip n of a split is the same whatever is filmed beside it.

    Raises:
        InputError: no families or styles, an unknown style, or a family without a seed.
    """

    camera: Camera
    lidar: Lidar | None = None
    families: tuple[str, ...] = FAMILIES
    """Spellings of the catalog's room `roads`, in turn; their seed is set for each clip."""
    styles: tuple[str, ...] = tuple(one.name for one in STYLES)
    """Weathers, in turn from a drawn one on."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.families or not self.styles:
            raise InputError("footage needs at least one family of roads and one style. Got none.")
        for name in self.styles:
            style(name)
        for family in self.families:
            self._roads(family, 0)

    def _roads(self, family: str, seed: int) -> Any:
        spelled = family if "(" in family else f"{family}()"
        roads: Any = catalog.make(spelled, "roads")
        if "seed" not in {field.name for field in dataclasses.fields(roads)}:
            raise SpellingError(f"families must be roads that have a seed, so that splits differ. Got {family!r}.")
        return dataclasses.replace(roads, seed=seed)

    def map_seed(self, split: str, number: int) -> int:
        """The seed of the number-th map of a split and family. Its last digit tells the split."""
        digits = SPLITS[split]
        tens, at = divmod(number + _MAPS_PER_SEED * self.seed, len(digits))
        return 10 * tens + digits[at]

    def style_of(self, split: str, clip: int, world: int) -> int:
        """Index in `styles` of a clip's world."""
        return (seed_of(self.seed, "style", split) + clip * WORLDS + world) % len(self.styles)

    def clip(self, split: str, number: int) -> list[Shot]:
        """`SHOTS` moments of `WORLDS` worlds on one map, three seconds apart, an expert at the wheel. Whoever has
        crashed, left the road or arrived begins anew elsewhere.

        Raises:
            InputError: no such split.
        """
        if split not in SPLITS:
            raise InputError(f"footage: split must be one of {', '.join(SPLITS)}. Got {split!r}.")
        turn, kind = divmod(number, len(self.families))
        roads = self._roads(self.families[kind], self.map_seed(split, turn))
        world = make(
            roads.build(), WORLDS, agents=_AGENTS, walkers=_WALKERS, seed=seed_of(self.seed, "footage", split) >> 1,
            first=number * WORLDS, metres_per_pixel=0.125,
        )  # fmt: skip
        driver = Baseline(world, "expert")
        names = [self.styles[self.style_of(split, number, k)] for k in range(WORLDS)]
        dressed = Dressed(world, names)
        shots = []
        for shot in range(SHOTS):
            for _ in range(_APART if shot else _WARM_UP):
                outcome = world.step(driver())
                over = outcome.over
                if over.any():
                    world.reset(over)
                    driver.reset(over)
            shots.append(self._film(dressed, world.observe()[:, 0]))
        return shots

    def _film(self, dressed: Dressed, vector: NDArray[np.float32]) -> Shot:
        scene = dressed.scene().select(np.arange(WORLDS))  # a copy: the next moment writes to the same arrays
        frames = see(scene, self.camera)
        heard = scan(scene, self.lidar) if self.lidar is not None else None
        return Shot(scene, frames, heard, _signals(scene, frames, vector))


def _signals(scene: Scene, frames: Frames, vector: NDArray[np.float32]) -> NDArray[np.int64]:
    """See `Shot.signals`; `vector` (W, 92) is what `observation.observe` tells."""
    found = np.zeros(scene.worlds, np.int64)
    for world in range(scene.worlds):
        way, green, yellow, red = vector[world, 22:26]
        state = next((name for name, lit in (("red", red), ("yellow", yellow), ("green", green)) if lit > 0), None)
        if state is None or way > _SIGNAL_M:
            continue
        turned = np.cos(scene.yaw_rad[world] - scene.yaw_rad[world, 0])  # a head that faces the driver: below 0
        heads = scene.alive[world] & (scene.skin[world] == skin(_HEADS[state])) & (turned < -0.7)
        mine = np.isin(frames.instance[world], scene.instance[world][heads]) & (frames.kind[world] == Class.SIGNAL)
        if mine.sum() >= _SIGNAL_PX:
            found[world] = SIGNALS.index(state)
    return found
