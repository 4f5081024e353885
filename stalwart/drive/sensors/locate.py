"""Where on which surface each pixel lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.scene import Floats, Scene
from stalwart.drive.sensors.camera import Camera, Frames, eyes, mount

GROUND, SKY = 5, 6
"""Faces of what is no box; a box's are 0 front, 1 rear, 2 left, 3 right, 4 roof or underside."""


def locate(
    scene: Scene, camera: Camera, frames: Frames, ego: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.uint8], Floats]:
    """Face (worlds, H, W) uint8 and uv (worlds, 2, H, W) float32 of every pixel of frames of this scene.

    On a wall u goes from the left to the right of who looks at it and v from the bottom to the top; on a roof u from
    the box's left to its right and v from its rear to its front; both in [0, 1]. On the ground they are x and y in m,
    in the sky 0. Instances are taken to be numbered once in each world.
    """
    fan = camera.fan
    ego = np.zeros(scene.worlds, np.int32) if ego is None else ego
    eye = eyes(scene, ego, [mount(camera)])[:, :, None, None]  # (worlds, 4, 1, 1)
    sky = ~np.isfinite(frames.depth_m)
    away = np.where(sky, 0.0, frames.depth_m.astype(np.float64))
    cosine, sine = np.cos(eye[:, 3]), np.sin(eye[:, 3])
    x = eye[:, 0] + away * (cosine * fan.columns[0] - sine * fan.columns[1])
    y = eye[:, 1] + away * (sine * fan.columns[0] + cosine * fan.columns[1])
    z = eye[:, 2] + away * fan.slopes.astype(np.float64)[:, None]
    face = np.where(sky, SKY, GROUND).astype(np.uint8)
    uv = np.where(sky[:, None], 0.0, np.stack([x, y], 1))
    for world in range(scene.worlds):
        for b in np.flatnonzero(np.isin(scene.instance[world], frames.instance[world]) & scene.alive[world]):
            seen = (
                (frames.instance[world] == scene.instance[world, b]) & (frames.instance[world] > 0) & (b != ego[world])
            )
            c, s = np.cos(np.float64(scene.yaw_rad[world, b])), np.sin(np.float64(scene.yaw_rad[world, b]))
            to_x, to_y = x[world][seen] - scene.x_m[world, b], y[world][seen] - scene.y_m[world, b]
            length, width, height = (float(a[world, b]) for a in (scene.length_m, scene.width_m, scene.height_m))
            ahead, left = (c * to_x + s * to_y) / length + 0.5, (c * to_y - s * to_x) / width + 0.5
            up = (z[world][seen] - scene.z0_m[world, b]) / height
            gaps = [(1 - ahead) * length, ahead * length, (1 - left) * width, left * width]
            gaps.append(np.minimum(up, 1 - up) * height)
            which = np.abs(gaps).argmin(0)
            across = np.choose(which, [left, 1 - left, 1 - ahead, ahead, 1 - left])
            face[world][seen] = which
            uv[world][:, seen] = np.clip([across, np.where(which == 4, ahead, up)], 0, 1)
    return face, uv.astype(np.float32)
