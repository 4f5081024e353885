"""What a driver's report shows of its drives: where they ended, and clips of what the camera saw and of the world from
above."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from stalwart.drive.scene import Class
from stalwart.drive.sensing import SensorDriver
from stalwart.drive.topdown import GROUND, draw, route_of
from stalwart.pages.pictures import png

Picture = NDArray[np.uint8]
CLIPS, EVERY, _HIGH_PX, _ACROSS_M = 6, 4, 96, 50.0
"""Worlds that are filmed, steps from picture to picture, height of a picture, and what is seen from above."""
_MOST, _MAP_PX, _DOT_PX = 60, 420, 5
_TERRAIN = GROUND[Class.TERRAIN]
_CRASH, _FINE = (206, 44, 40), (30, 110, 235)


@dataclass
class Watched:
    """Looks on while worlds are driven: call it after each step."""

    clips: dict[int, list[Picture]] = field(default_factory=dict)
    """By world, (H, W, 3): the camera, the second one where there is one, and the world from above."""
    spots: list[tuple[int, float, float, bool]] = field(default_factory=list)
    """For each world its map, x and y in m where it crashed or was last, and whether it crashed."""
    _at: dict[int, tuple[int, float, float, bool]] = field(default_factory=dict)

    def __call__(self, driver: SensorDriver, tick: int) -> None:
        world = driver.world
        s = world.state
        for w in range(world.worlds):
            if not self._at.get(w, (0, 0.0, 0.0, False))[3]:
                place = float(s.x_m[w, 0]), float(s.y_m[w, 0])
                self._at[w] = (int(s.words[w, 2]), *place, bool(s.hit[w, 0] >= 0))
        self.spots = list(self._at.values())
        if tick % EVERY or tick // EVERY >= _MOST or driver.sensed is None:
            return
        scene = driver.dressed.scene()
        for w in range(min(CLIPS, world.worlds)):
            eyes = [driver.sensed.camera[w]] + ([] if driver.sensed.lookout is None else [driver.sensed.lookout[w]])
            route = route_of(world, w)
            above = draw(scene, w, size_px=_HIGH_PX, across_m=_ACROSS_M, route_m=route)
            self.clips.setdefault(w, []).append(np.concatenate([*map(_enlarged, eyes), above], 1))


def _enlarged(picture: Tensor) -> Picture:
    """(3, H, B) in [0, 1] to the clip's height."""
    seen = (picture * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    wide = round(_HIGH_PX * seen.shape[1] / seen.shape[0])
    return np.asarray(Image.fromarray(seen).resize((wide, _HIGH_PX), Image.Resampling.NEAREST))


def moving(pictures: list[Picture]) -> str:
    """A data URI of a GIF that shows them at the true speed."""
    frames = [Image.fromarray(one).quantize(96) for one in pictures]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100 * EVERY, loop=0)
    return "data:image/gif;base64," + base64.b64encode(file.getvalue()).decode()


def mapped(raster: Picture, origin_m: NDArray[np.floating], per_pixel_m: float,
           spots: list[tuple[float, float, bool]]) -> str:  # fmt: skip
    """A data URI of a map (rows from south to north) with a dot where each drive ended: red for a crash, blue
    without."""
    step = max(1, max(raster.shape) // _MAP_PX)
    coarse = raster[::step, ::step]
    colours = np.full((256, 3), _TERRAIN, np.uint8)
    for kind, colour in GROUND.items():
        colours[kind] = colour
    used = coarse != Class.TERRAIN
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    top, left = (int(k[0]) if len(k) else 0 for k in (rows, columns))
    low, right = (int(k[-1]) + 1 if len(k) else 1 for k in (rows, columns))
    picture = Image.fromarray(colours[coarse[top:low, left:right]][::-1].copy())
    brush = ImageDraw.Draw(picture)
    for x, y, crashed in sorted(spots, key=lambda spot: spot[2]):
        column = (x - float(origin_m[0])) / (per_pixel_m * step) - left
        row = (low - top) - ((y - float(origin_m[1])) / (per_pixel_m * step) - top)
        brush.ellipse(
            (column - _DOT_PX, row - _DOT_PX, column + _DOT_PX, row + _DOT_PX), fill=_CRASH if crashed else _FINE
        )
    return png(torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1))
