"""KITTI's layout for 3-D detection: image_2, velodyne, calib and label_2 (Geiger, Lenz and Urtasun, CVPR 2012).

Camera axes are x to the right, y down, z ahead; the LiDAR's x ahead, y left, z up. A label's place is the middle of the
underside in the camera's axes, `rotation_y` turns about y from x towards −z. Pixels have their middles at integers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.labels import Thing
from stalwart.drive.scene import Class
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar, Scan

NAMES = {
    Class.CAR: "Car", Class.VAN: "Van", Class.TRUCK: "Truck", Class.BUS: "Bus", Class.MOTORCYCLE: "Motorcycle",
    Class.CYCLIST: "Cyclist", Class.PEDESTRIAN: "Pedestrian",
}  # fmt: skip
"""Types of labels; Bus and Motorcycle are ours, KITTI has neither. Signals and signs are not labelled."""
CAMERA = Camera(height=375, width=1242, fov_deg=81.4, x_m=0.6, z_m=1.65)
LIDAR = Lidar(channels=64, azimuths=1024, lowest_deg=-24.8, highest_deg=2.0, z_m=1.73)
"""Sizes and fields of view of KITTI's sensors."""
_PARTLY, _LARGELY = 0.1, 0.5
"""Share hidden from which on a label says partly (1) or largely (2) occluded."""


def calibration(camera: Camera, lidar: Lidar) -> dict[str, NDArray[np.float64]]:
    """P0 to P3 (3, 4), R0_rect (3, 3), Tr_velo_to_cam and Tr_imu_to_velo (3, 4): pixel ~ P2 · R0 · Tr · point.

    All four projections are those of the one camera, which must look straight ahead, as the LiDAR's points are turned
    by nothing but the exchange of axes.
    """
    f = camera.focal_px
    across, down = (camera.width - 1) / 2, camera.horizon * camera.height - 0.5
    project = np.array([[f, 0.0, across, 0.0], [0.0, f, down, 0.0], [0.0, 0.0, 1.0, 0.0]])
    axes = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    moved = axes @ np.array([lidar.x_m - camera.x_m, lidar.y_m - camera.y_m, lidar.z_m - camera.z_m])
    return {
        **{f"P{k}": project for k in range(4)},
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": np.concatenate([axes, moved[:, None]], 1),
        "Tr_imu_to_velo": np.eye(4)[:3],
    }


def calibration_text(camera: Camera, lidar: Lidar) -> str:
    """The file `calib/N.txt`."""
    found = calibration(camera, lidar)
    lines = [f"{name}: {' '.join(f'{number:.12e}' for number in found[name].ravel())}" for name in found]
    return "\n".join(lines) + "\n"


def label_text(found: list[Thing], camera: Camera) -> str:
    """The file `label_2/N.txt`: a line for each body; what is too small or hidden to count is DontCare."""
    lines = []
    for thing in found:
        if thing.kind not in NAMES:
            continue
        left, top, right, bottom = (edge - 0.5 for edge in thing.whole_px)
        box = f"{left:.2f} {top:.2f} {right:.2f} {bottom:.2f}"
        if not thing.counts:
            lines.append(f"DontCare -1 -1 -10 {box} -1 -1 -1 -1000 -1000 -1000 -10")
            continue
        x, y, z = camera.y_m - thing.place_m[1], camera.z_m - thing.place_m[2], thing.place_m[0] - camera.x_m
        turn = _wrapped(-thing.yaw_rad - math.pi / 2)
        hidden = 0 if thing.occlusion < _PARTLY else 1 if thing.occlusion < _LARGELY else 2
        length, width, height = thing.size_m
        lines.append(
            f"{NAMES[thing.kind]} {thing.truncation:.2f} {hidden} {_wrapped(turn - math.atan2(x, z)):.4f} {box} "
            f"{height:.4f} {width:.4f} {length:.4f} {x:.4f} {y:.4f} {z:.4f} {turn:.5f}"
        )
    return "".join(f"{line}\n" for line in lines)


def points(lidar: Lidar, heard: Scan, world: int) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """(n, 4) float32 x, y, z in m from the LiDAR and reflectance in [0, 1], as `velodyne/N.bin` holds them, and the
    instance (n,) of each echo; directions without one are left out."""
    there = heard.range_m[world] > 0
    local = lidar.points(heard.range_m[world])[there] - (lidar.x_m, lidar.y_m, lidar.z_m)
    cloud = np.concatenate([local, heard.intensity[world][there][:, None]], 1).astype(np.float32)
    return cloud, heard.instance[world][there]


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi
