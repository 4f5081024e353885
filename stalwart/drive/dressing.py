"""A world's scene with what bodies and houses wear, under a weather: what cameras are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.drive.chance import GOLDEN, finalised
from stalwart.drive.geometry.lanes import Control, RoadMap
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensors.skins import OF_CLASS, PAINTS, skin
from stalwart.drive.sensors.styles import style
from stalwart.drive.simulation import Worlds

Colours = NDArray[np.uint8]

_CLOTHES = np.array(
    [(58, 72, 110), (150, 46, 44), (70, 70, 74), (196, 176, 140), (60, 110, 84), (208, 150, 60), (120, 90, 140),
     (220, 220, 216)], np.uint8,
)  # fmt: skip
_LORRIES = np.array([(236, 236, 234), (60, 96, 140), (176, 52, 40), (214, 176, 60), (90, 120, 96)], np.uint8)
_BUSES = np.array([(196, 60, 48), (70, 112, 160), (224, 190, 70), (226, 226, 222)], np.uint8)
_GREENS = np.array([(255, 255, 255), (255, 244, 214), (226, 240, 220), (246, 255, 190)], np.uint8)
_WHITE = np.full((1, 3), 255, np.uint8)
PALETTES: dict[Class, Colours] = {
    Class.CAR: np.repeat(PAINTS, [6, 6, 5, 5, 5, 3, 3, 2, 1, 1, 1], 0),
    Class.VAN: np.repeat(PAINTS[:8], [8, 4, 2, 1, 1, 1, 1, 1], 0),
    Class.TRUCK: _LORRIES,
    Class.BUS: _BUSES,
    Class.MOTORCYCLE: PAINTS[[3, 4, 5, 6, 10]],
    Class.CYCLIST: _CLOTHES,
    Class.PEDESTRIAN: _CLOTHES,
    Class.TREE: _GREENS,
}
"""The tints of each kind of body, commoner ones more than once."""
HOUSES = ("brick_house", "render_house", "stone_house")
_OFFICE_M = 15.0
"""From this height on a house is an office."""
_HEADS = {(40, 255): "signal_green", (255, 40): "signal_red", (255, 200): "signal_amber"}
"""Red and green of the tint by which `Worlds.scene` tells a signal's state."""


class Dressed:
    """Scenes of `world` as cameras see them. What an agent wears follows from its world's key and its number, what
    stands from its map, and the sun's direction from the key: the same for any number of worlds.

    Args:
        styles: the weather, by name: one for all worlds, or one for each; None is what the worlds were made with.
        boxes: how many a scene holds, agents included; what stands farthest from the first agent is left out.

    Raises:
        InputError: an unknown style, another number of styles, or fewer boxes than agents.
    """

    def __init__(self, world: Worlds, styles: Sequence[str] | None = None, boxes: int = 128) -> None:
        styles = world.styles if styles is None else styles
        if len(styles) not in (1, world.worlds):
            raise InputError(f"styles must be 1 or {world.worlds}, one for each world. Got {len(styles)}.")
        self.world = world
        self.boxes = boxes
        self.styles = np.array([style(name) for name in styles], np.uint8)
        self._first = np.cumsum([0, *(len(roads.boxes) for roads in world.maps)])
        worn = [_worn(roads) for roads in world.maps]
        self._skins = np.concatenate([skins for skins, _ in worn])
        self._tints = np.concatenate([tints for _, tints in worn])
        self._of_class = np.zeros(256, np.uint16)
        for kind, name in OF_CLASS.items():
            self._of_class[kind] = skin(name)

    def scene(self) -> Scene:
        """What is there now. The same arrays are written to at each call."""
        scene = self.world.scene(self.boxes)
        agents = self.world.state.agents
        heads = scene.kind == Class.SIGNAL
        shown = scene.tint.copy()
        scene.skin[:] = self._of_class[scene.kind]
        if len(self._skins):
            place = self._first[scene.map_of_world][:, None] + scene.instance[:, agents:].astype(np.int64) - agents - 1
            place = np.where(scene.alive[:, agents:], place, 0)
            scene.skin[:, agents:], scene.tint[:, agents:] = self._skins[place], self._tints[place]
        for (red, green), name in _HEADS.items():
            lit = heads & (shown[..., 0] == red) & (shown[..., 1] == green)
            scene.skin[lit], scene.tint[lit] = skin(name), 255
        draws = _draws(scene.key, agents)
        for kind, palette in PALETTES.items():
            mine = scene.kind[:, :agents] == kind
            scene.tint[:, :agents][mine] = palette[draws[mine] % np.uint64(len(palette))]
        scene.style[:] = self.styles
        turn = _draws(scene.key, 1)[:, 0] % np.uint64(3600)
        scene.sun_azimuth_rad[:] = (turn.astype(np.float32) / 1800 - 1) * math.pi
        return scene


def _draws(keys: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """(W, count) numbers of 0 to 2³² − 1: splitmix64 of the key and a place."""
    places = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    drawn: NDArray[np.uint64] = finalised(keys[:, None] + places) >> np.uint64(32)
    return drawn


def _worn(roads: RoadMap) -> tuple[NDArray[np.uint16], Colours]:
    """Skin and tint of what stands on a map, (B,) and (B, 3)."""
    random = np.random.default_rng(seed_of("worn", roads.name))
    ruled = [lane for lane in roads.lanes if lane.control not in (Control.NONE, Control.SIGNAL)]
    starts = np.array([(lane.line.start.x_m, lane.line.start.y_m) for lane in ruled]).reshape(-1, 2)
    skins, tints = np.zeros(len(roads.boxes), np.uint16), np.full((len(roads.boxes), 3), 255, np.uint8)
    leafage = _WHITE[0]
    for k, box in enumerate(roads.boxes):
        name, palette = OF_CLASS[box.kind], PALETTES.get(box.kind, _WHITE)
        match box.kind:
            case Class.BUILDING:
                name = "office" if box.height_m > _OFFICE_M else str(random.choice(HOUSES))
            case Class.TREE if box.z0_m == 0.0:
                name = "trunk"
            case Class.BILLBOARD:
                name = f"billboard_{random.integers(4)}"
            case Class.SIGN if len(ruled):  # which sign it is the nearest lane that it can rule over says
                lane = ruled[int(np.hypot(*(starts - (box.x_m, box.y_m)).T).argmin())]
                name = "yield_sign" if lane.control == Control.YIELD else "stop_sign"
        tint = palette[random.integers(len(palette))]
        if name == "trunk":  # all of its crown is of one green
            leafage, tint = tint, _WHITE[0]
        skins[k], tints[k] = skin(name), leafage if name == "tree" else tint
    return skins, tints
