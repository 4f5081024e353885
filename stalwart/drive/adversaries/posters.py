"""A printed picture in the world: on the back of the car ahead, on the road, or on a board beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core.boxed import Boxed
from stalwart.core.contracts import Attack
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise, seed_of
from stalwart.drive.adversaries.aims import Aim, Eye, Poster
from stalwart.drive.adversaries.changes import Untouched, driver_of
from stalwart.drive.scenarios.stage import Stage
from stalwart.drive.scene import Class, Scene
from stalwart.drive.sensing import Sensed
from stalwart.drive.sensors import camera as cameras
from stalwart.drive.sensors.camera import Camera, Frames
from stalwart.drive.sensors.skins import SKINS, Look, Skin, default_look
from stalwart.drive.sensors.textures import Textures
from stalwart.drive.simulation import Worlds

Where = Literal["back", "road", "board"]
TEXTURE = "poster"
_NUMBER = 60_000
_THICK_M, _AWAY_M = 0.02, 0.03
_ROAD_M, _BOARD_M = (7.0, 3.0, 2.2), (3.5, 4.2, 2.4)
"""Road: metres before the body ahead, length and width. Board: metres to its right, width and height."""


class Hung(Untouched):
    """The picture (3, S, S) in [0, 1] hung up wherever there is a body ahead: the first actor of a scenario.

    Raises:
        InputError: worlds without an actor, when it is to be placed.
    """

    def __init__(self, picture: Tensor, where: Where, size_m: tuple[float, float]) -> None:
        self.picture, self.where, self.size_m = picture, where, size_m
        self._spots: NDArray[np.float64] | None = None

    def begin(self, world: Worlds, policy: Any) -> None:
        self._spots = None

    def look(self, look: Look) -> Look:
        size = look.textures.bank.shape[-1]
        square = torch.nn.functional.interpolate(self.picture[None].float(), (size, size), mode="area")[0]
        square = torch.cat([square, torch.zeros(1, size, size)])  # it does not shine
        textures = Textures(torch.cat([look.textures.bank, square[None]]), (*look.textures.names, TEXTURE))
        return Look(textures, (*look.skins, Skin(TEXTURE, TEXTURE, TEXTURE, TEXTURE, TEXTURE, TEXTURE)))

    def place(self, scene: Scene, world: Worlds) -> None:
        if world.egos < 2:
            raise InputError("a poster hangs on or near the actor ahead. Got a scenario without actors.")
        x, y, yaw = (a[:, 1].astype(np.float64) for a in (scene.x_m, scene.y_m, scene.yaw_rad))
        half = scene.length_m[:, 1].astype(np.float64) / 2
        wide, high = self.size_m
        lying, low = self.where == "road", 0.0
        if self.where == "back":
            back, aside, thick = half + _AWAY_M, 0.0 * half, _THICK_M
            low = max(0.0, (float(scene.height_m[:, 1].mean()) - high) * 0.45)
        elif lying:
            back, aside, thick = half + _ROAD_M[0], 0.0 * half, _ROAD_M[1]
            wide, high = _ROAD_M[2], _THICK_M
        else:
            back, aside, thick = half, 0.0 * half - _BOARD_M[0], _THICK_M
            wide, high, low = _BOARD_M[1], _BOARD_M[2], 0.8
        spots = np.stack([x - np.cos(yaw) * back - np.sin(yaw) * aside, y - np.sin(yaw) * back + np.cos(yaw) * aside,
                          yaw], 1)  # fmt: skip
        if self.where != "back":  # what lies on the road stays there when the car drives on
            spots = self._spots = spots if self._spots is None else self._spots
        slot = scene.boxes - 1  # the place of what stands farthest away
        scene.x_m[:, slot], scene.y_m[:, slot], scene.yaw_rad[:, slot] = spots.T
        scene.z0_m[:, slot], scene.height_m[:, slot] = low, high
        scene.length_m[:, slot], scene.width_m[:, slot] = thick, wide
        scene.kind[:, slot], scene.tint[:, slot] = Class.PATCH, 255
        scene.instance[:, slot], scene.alive[:, slot] = _NUMBER, scene.alive[:, 1]
        scene.skin[:, slot] = len(SKINS)  # the one that `look` adds behind the known


@dataclass(frozen=True)
class Filmed:
    """Moments in which a poster is in the world, for fitting."""

    moments: list[tuple[dict[Eye, Frames], Sensed]]
    """By camera what it saw, and all that was sensed."""
    textures: Textures


def film(policy: Any, stages: Sequence[Stage], hung: Hung, every: int = 5, seconds: float = 10.0) -> Filmed:
    """Drive past the poster for ten seconds and keep every fifth step.

    Args:
        hung: the poster as it hangs there meanwhile, such as a grey one: distances and angles are those of a driver who
            does not heed it.

    Raises:
        InputError: no stage.
    """
    moments: list[tuple[dict[Eye, Frames], Sensed]] = []
    textures = None
    for stage in stages:
        world = stage.world
        driver = driver_of(world, policy, hung)
        look = hung.look(default_look())
        textures = look.textures
        for tick in range(round(min(seconds, stage.seconds) / world.dt_s)):
            controls = driver()
            if stage.script is not None:
                controls[:, 1:] = stage.script(world, tick * world.dt_s)
            if tick % every == 0 and driver.sensed is not None:
                scene = driver.dressed.scene()
                frames: dict[Eye, Frames] = {"camera": _seen(scene, driver.rig.camera, look)}
                if driver.rig.lookout is not None:
                    frames["lookout"] = _seen(scene, driver.rig.lookout, look)
                moments.append((frames, driver.sensed))
            world.step(controls)
    if textures is None:
        raise InputError("a poster is fitted on at least one stage. Got none.")
    return Filmed(moments, textures)


def _seen(scene: Scene, camera: Camera, look: Look) -> Frames:
    return cameras.see(scene, camera, look=look, out=cameras.room(camera, scene.worlds, affine=True))


def printed(
    policy: nn.Module, filmed: Filmed, attack: Attack, aim: Aim, seed: int, size: int = 64, quiet: float = 0.0
) -> Tensor:
    """(3, size, size) in [0, 1], in whole levels: the picture that the attack finds.

    Args:
        quiet: see `aims.Poster`.
    """
    with frozen(policy):
        goal = Poster(policy, TEXTURE, filmed.textures, filmed.moments, aim, seed_of(seed, "poster") >> 1, quiet=quiet)
        grey = torch.full((1, 3, size, size), 0.5)
        found = attack(grey, goal, Boxed(1.0), Noise.of_images(grey, seed))
    return (found[0].detach().clamp(0, 1) * 255).round() / 255
