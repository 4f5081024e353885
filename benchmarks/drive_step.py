"""A whole step of the driving world with a camera and a LiDAR in every world: frames a second, and where the time goes.

    python benchmarks/drive_step.py [--worlds 1024] [--roads 'crossroads()'] [--threads 2] [--rounds 5]

Each round steps all worlds, fills the scene that sensors see, renders 64 x 96 pixels (colours, depth, class, instance)
and scans 16 x 256 rays. Of each part the fastest round counts, in CPU seconds of one thread or wall seconds of several.
"""

from __future__ import annotations

import argparse
import time

import numba
import numpy as np

from stalwart.drive import make
from stalwart.drive.dressing import Dressed
from stalwart.drive.sensors.camera import Camera, room, see
from stalwart.drive.sensors.lidar import Lidar, scan
from stalwart.drive.sensors.lidar import room as lidar_room


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--roads", default="crossroads()")
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--agents", type=int, default=24)
    parser.add_argument("--boxes", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    numba.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    world = make(given.roads, given.worlds, agents=given.agents)
    dressed = Dressed(world, boxes=given.boxes)
    coast = np.zeros((given.worlds, 1, 2), np.float32)
    camera, lidar = Camera(64, 96), Lidar(channels=16, azimuths=256)
    frames, echoes = room(camera, given.worlds), lidar_room(lidar, given.worlds)
    for _ in range(5):  # compiles, and lets traffic spread
        world.step(coast)
    least = dict.fromkeys(("traffic and rules", "scene", "camera", "LiDAR"), float("inf"))
    for k in range(given.rounds + 1):
        times = [clock()]
        world.step(coast)
        times.append(clock())
        scene = dressed.scene()
        times.append(clock())
        see(scene, camera, out=frames)
        times.append(clock())
        scan(scene, lidar, out=echoes)
        times.append(clock())
        for part, spent in zip(least, np.diff(times).tolist(), strict=True):
            least[part] = min(least[part], spent) if k else float("inf")
    whole = sum(least.values())
    for part, spent in least.items():
        print(f"{part:18} {spent / given.worlds * 1e6:8.1f} µs a world {100 * spent / whole:6.1f} %")
    print(
        f"{'all':18} {whole / given.worlds * 1e6:8.1f} µs a world, {given.worlds / whole:,.0f} worlds stepped a second"
    )


if __name__ == "__main__":
    main()
