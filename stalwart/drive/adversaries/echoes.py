"""What a laser at the roadside can do to a LiDAR: put in echoes, take echoes away, within an angle and a count.

What has been shown are some 60 to 200 echoes within 10 degrees, where a VLP-16 sends 800 rays: Cao et al., "Adversarial
sensor attack on LiDAR-based perception in autonomous driving" (CCS 2019) and Sun et al. (USENIX Security 2020);
removal in Cao et al., "You can't see me" (USENIX Security 2023). A LiDAR of 16 channels and 256 azimuths sends 114
rays there, so that 28 of them are the same share. One echo for each ray: what is put in is nearer than what was there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.adversaries.changes import Untouched
from stalwart.drive.sensing import Moment, Sensed
from stalwart.drive.sensors.lidar import Lidar

Flags = NDArray[np.bool_]
Floats = NDArray[np.floating]
_WIDE_M, _HIGH_M = 1.8, 1.5
"""A phantom's rear: a car's."""


def nearest_first(mask: Flags, off: Floats, most: int) -> Flags:
    """(W, C, A): of the rays in the mask at most `most` of each world, those with the smallest `off` (W, C, A)."""
    flat = np.where(mask, off, np.inf).reshape(len(mask), -1)
    order = np.argsort(flat, axis=1, kind="stable")[:, :most]
    kept = np.zeros_like(flat, np.bool_)
    np.put_along_axis(kept, order, True, 1)
    return kept.reshape(mask.shape) & mask


def turned(lidar: Lidar, towards_rad: Floats) -> Floats:
    """(W, A) by how much each azimuth is off a direction (W,), in (−π, π]."""
    off = lidar.fan.azimuths[None] - towards_rad[:, None]
    found: Floats = (off + np.pi) % (2 * np.pi) - np.pi
    return found


def phantom(range_m: Floats, lidar: Lidar, distance_m: float, points: int, window_deg: float) -> Floats:
    """(W, C, A) ranges with a car's rear straight ahead: rays that would meet it, and were heard farther away or not at
    all, answer from it; at most `points` of them, its middle first."""
    flat = distance_m - lidar.x_m
    slopes = lidar.fan.slopes.astype(np.float64)[:, None]
    cosine = np.cos(lidar.fan.azimuths)
    facing = cosine > 0.1
    cosine = np.maximum(cosine, 0.1)
    aside, height = np.sin(lidar.fan.azimuths) / cosine * flat, lidar.z_m + flat / cosine * slopes
    within = facing & (np.abs(lidar.fan.azimuths) <= np.radians(window_deg) / 2)
    meets = within & (np.abs(aside) <= _WIDE_M / 2) & (height > 0.25) & (height <= _HIGH_M)
    far = flat / cosine * np.sqrt(1 + slopes**2)
    free = meets[None] & ((range_m <= 0) | (range_m > far[None]))
    off = np.broadcast_to(np.abs(height - 0.9) + np.abs(aside), range_m.shape)
    chosen = nearest_first(free, off, points)
    return np.where(chosen, far[None], range_m)


def grounded(range_m: Floats, lidar: Lidar, moved: Flags) -> Floats:
    """(W, C, A) ranges with those of a mask pushed back to where their rays meet the ground; rays that do not come down
    fall silent."""
    slopes = lidar.fan.slopes.astype(np.float64)[:, None]
    down = np.where(slopes < 0, lidar.z_m / np.maximum(-slopes, 1e-9) * np.sqrt(1 + slopes**2), 0.0)
    down = np.where(down < lidar.greatest_m, down, 0.0)
    return np.where(moved, down[None], range_m)


def heard(sensed: Sensed, moment: Moment) -> tuple[Floats, Lidar]:
    """(W, C, A) ranges in m, 0 where nothing is heard, and the LiDAR.

    Raises:
        InputError: there is none on the rig.
    """
    if moment.scan is None:
        raise InputError("an attack on a LiDAR needs a driver that has one. Got a camera alone.")
    lidar = moment.rig.lidar
    return sensed.lidar[:, 0].detach().cpu().numpy().astype(np.float64) * lidar.greatest_m, lidar


def told(sensed: Sensed, range_m: Floats, lidar: Lidar) -> Sensed:
    """What is sensed with other ranges (W, C, A); echoes that are new answer as half of a full one."""
    before = sensed.lidar
    share = torch.from_numpy((range_m / lidar.greatest_m).astype(np.float32)).to(before)
    same = (share - before[:, 0]).abs() < 1e-6
    there = (share > 0).to(before)
    intensity = torch.where(same, before[:, 1], 0.5 * there)
    rows = torch.stack([torch.where(same, before[:, 0], share), intensity, torch.where(same, before[:, 2], there)], 1)
    return replace(sensed, lidar=rows)


class Spoofed(Untouched):
    """A phantom straight ahead, in every step.

    Args:
        random: so many echoes at ranges drawn between 0 and what was heard, anywhere in the window: the control.
    """

    def __init__(self, distance_m: float, points: int, window_deg: float, random: bool, seed: int) -> None:
        self.distance_m, self.points, self.window_deg, self.random, self.seed = (
            distance_m, points, window_deg, random, seed,
        )  # fmt: skip

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        range_m, lidar = heard(sensed, moment)
        if not self.random:
            return told(sensed, phantom(range_m, lidar, self.distance_m, self.points, self.window_deg), lidar)
        random = np.random.default_rng((self.seed, tick))
        window = np.abs(lidar.fan.azimuths) <= np.radians(self.window_deg) / 2
        chosen = nearest_first(np.broadcast_to(window, range_m.shape), random.random(range_m.shape), self.points)
        nearer = np.where(range_m > 0, range_m, lidar.greatest_m) * random.random(range_m.shape)
        return told(sensed, np.where(chosen, nearer, range_m), lidar)


class Removed(Untouched):
    """Echoes of what stands ahead are taken away, in every step.

    Args:
        mimic: put them where the ground would answer, the nearest first, at most `points` of them; otherwise all rays
            of the window fall silent.
        random: as many rays anywhere in the front half: the control.
    """

    def __init__(self, points: int, window_deg: float, mimic: bool, random: bool, seed: int) -> None:
        self.points, self.window_deg, self.mimic, self.random, self.seed = points, window_deg, mimic, random, seed

    def __call__(self, sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        range_m, lidar = heard(sensed, moment)
        twenty = sensed.own[:, 10:12].detach().cpu().numpy().astype(np.float64)  # the route 20 m ahead
        off = np.abs(turned(lidar, np.arctan2(twenty[:, 1], twenty[:, 0])))[:, None]
        window = np.broadcast_to(off <= np.radians(self.window_deg) / 2, range_m.shape)
        if self.window_deg == 0:
            return sensed
        if self.random:
            front = np.broadcast_to(np.cos(lidar.fan.azimuths) > 0, range_m.shape)
            order = np.random.default_rng((self.seed, tick)).random(range_m.shape)
            count = self.points if self.mimic else int(window[0].sum())
            return told(sensed, np.where(nearest_first(front, order, count), 0.0, range_m), lidar)
        if not self.mimic:
            return told(sensed, np.where(window, 0.0, range_m), lidar)
        height = lidar.points(range_m)[..., 2]
        body = window & (range_m > 0) & (height > 0.3) & (height < 2.5)
        return told(sensed, grounded(range_m, lidar, nearest_first(body, range_m, self.points)), lidar)
