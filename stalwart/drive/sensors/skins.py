"""Which textures a box wears. A box's `Scene.skin` is the index of its skin in `SKINS`, which `skin(name)` finds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from stalwart.core.errors import InputError, nearest
from stalwart.drive.scene import Class
from stalwart.drive.sensors.bodies import DRAWINGS
from stalwart.drive.sensors.frame import SKY_LAYERS
from stalwart.drive.sensors.styles import STYLES
from stalwart.drive.sensors.surroundings import BESIDE, GROUND, UNDERFOOT, sky
from stalwart.drive.sensors.textures import Textures


@dataclass(frozen=True)
class Skin:
    """Names of textures for each face of a box."""

    name: str
    front: str
    rear: str
    left: str
    right: str
    top: str
    tile_m: tuple[float, float] = (0.0, 0.0)
    """Width and height of one repetition; 0 stretches the texture over the face."""
    mirrored: bool = False
    """Whether the left side is the right side seen in a mirror, as a vehicle's is."""

    @property
    def faces(self) -> tuple[str, str, str, str, str]:
        return self.front, self.rear, self.left, self.right, self.top


def _vehicle(name: str, side: str, front: str, rear: str, top: str) -> Skin:
    return Skin(name, front, rear, side, side, top, mirrored=True)


def _all(name: str, texture: str, top: str, tile_m: tuple[float, float] = (0.0, 0.0)) -> Skin:
    return Skin(name, texture, texture, texture, texture, top, tile_m)


def _facing(name: str, picture: str, back: str) -> Skin:
    """A board whose picture is its front."""
    return Skin(name, picture, back, "metal", "metal", "metal")


SIGNALS = ("signal_off", "signal_red", "signal_red_amber", "signal_amber", "signal_green")

SKINS = (
    _all("plain", "plain", "plain"),
    _vehicle("car", "car_side", "car_front", "car_rear", "car_top"),
    _vehicle("van", "van_side", "van_front", "van_rear", "roof"),
    _vehicle("truck", "truck_side", "truck_front", "truck_rear", "roof"),
    _vehicle("bus", "bus_side", "bus_front", "bus_rear", "roof"),
    _vehicle("motorcycle", "motorcycle_side", "rider_front", "rider_rear", "cap_hair"),
    _vehicle("cyclist", "rider_side", "rider_front", "rider_rear", "cap_hair"),
    _all("pedestrian", "walker", "cap_hair"),
    _all("obstacle", "chevrons", "metal", (1.0, 0.0)),
    _all("brick_house", "brick", "flat_roof", (6.0, 6.0)),
    _all("render_house", "render", "flat_roof", (6.0, 6.0)),
    _all("stone_house", "stone", "flat_roof", (6.0, 6.0)),
    _all("office", "curtain_wall", "flat_roof", (6.0, 7.0)),
    _all("pole", "metal", "metal"),
    _all("trunk", "bark", "bark"),
    _all("tree", "leaves", "foliage", (4.0, 0.0)),
    _all("barrier", "rail", "metal", (4.0, 0.0)),
    *(_facing(name, name, "signal_back") for name in SIGNALS),
    *(_facing(sign, sign, "metal") for sign in ("stop_sign", "yield_sign", "limit_sign")),
    *(_facing(f"billboard_{k}", f"advert_{k}", "metal") for k in range(4)),
)  # fmt: skip
"""The skins that every look has, in the order of their indices."""

OF_CLASS = {
    Class.CAR: "car", Class.VAN: "van", Class.TRUCK: "truck", Class.BUS: "bus", Class.MOTORCYCLE: "motorcycle",
    Class.CYCLIST: "cyclist", Class.PEDESTRIAN: "pedestrian", Class.OBSTACLE: "obstacle",
    Class.BUILDING: "render_house", Class.POLE: "pole", Class.SIGNAL: "signal_off", Class.SIGN: "limit_sign",
    Class.BILLBOARD: "billboard_0", Class.BARRIER: "barrier", Class.TREE: "tree", Class.PATCH: "plain",
}  # fmt: skip
"""The skin that a class wears where nothing else is said."""

PAINTS = np.array(
    [(235, 236, 238), (200, 203, 207), (120, 124, 130), (44, 46, 50), (28, 30, 34), (150, 30, 32), (36, 62, 120),
     (60, 96, 140), (120, 104, 78), (52, 84, 62), (200, 120, 36)], np.uint8,
)  # fmt: skip
"""Colours of vehicles, the commonest first, for `Scene.tint`."""


@dataclass(frozen=True, eq=False)
class Look:
    """Textures, and the skins made of them.

    Raises:
        InputError: a skin names a texture that the bank has not.
    """

    textures: Textures
    skins: tuple[Skin, ...] = SKINS

    @cached_property
    def layers(self) -> NDArray[np.int32]:
        """(skins, 2, 5) each face's layer in the bank, without and with snow (which lies on what is no vehicle)."""
        index = {name: k for k, name in enumerate(self.textures.names)}
        for s in self.skins:
            for face in s.faces:
                if face not in index:
                    raise InputError(
                        f"skin {s.name!r} must name textures of the bank. Got {face!r}. {nearest(face, index)}"
                    )
        plain = np.array([[index[face] for face in s.faces] for s in self.skins], np.int32)
        snowy = plain.copy()
        snowy[[k for k, s in enumerate(self.skins) if s.top in ("flat_roof", "foliage")], 4] = index["snow"]
        snowy[snowy == index["leaves"]] = index["snowy_leaves"]
        return np.ascontiguousarray(np.stack([plain, snowy], 1))

    @cached_property
    def tiles(self) -> NDArray[np.float32]:
        """(skins, 2) width and height in m of a repetition."""
        return np.array([s.tile_m for s in self.skins], np.float32)

    @cached_property
    def mirrored(self) -> NDArray[np.bool_]:
        """(skins,)"""
        return np.array([s.mirrored for s in self.skins])

    @cached_property
    def ground(self) -> NDArray[np.int32]:
        """(2, 16) each ground class's layer, without and with snow; classes without a texture are grass."""
        layers = np.full((2, 16), self.textures.index("grass"), np.int32)
        for kind, names in UNDERFOOT.items():
            layers[:, kind] = [self.textures.index(name) for name in names]
        return layers

    @cached_property
    def skies(self) -> NDArray[np.int32]:
        """(styles,) the first layer of each style's sky."""
        return np.array([self.textures.index(f"sky_{style.name}_0") for style in STYLES], np.int32)


def skin(name: str) -> int:
    """A skin's index.

    Raises:
        InputError: there is no skin of that name; the nearest are named.
    """
    names = [s.name for s in SKINS]
    if name not in names:
        raise InputError(f"skin must be one of the known. Got {name!r}. {nearest(name, names)}")
    return names.index(name)


@cache
def default_look(size: int = 64) -> Look:
    """The look that is drawn when no other is given, with textures of `size` x `size`; made once.

    Raises:
        InputError: size is not a power of two from 16 to 256.
    """
    if size not in (16, 32, 64, 128, 256):
        raise InputError(f"size must be 16, 32, 64, 128 or 256. Got {size!r}.")
    drawings = DRAWINGS | GROUND | BESIDE
    squares = [drawing(size) for drawing in drawings.values()]
    names = list(drawings)
    for style in STYLES:
        squares.extend(sky(style, SKY_LAYERS, size))
        names.extend(f"sky_{style.name}_{k}" for k in range(SKY_LAYERS))
    return Look(Textures(torch.from_numpy(np.stack(squares)), tuple(names)))
