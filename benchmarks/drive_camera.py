"""The driving world's cameras and LiDARs: frames a second, and where the time goes.

One camera of 64 x 96 pixels (colours, depth, class and instance, textured) and one LiDAR of 16 x 256 a world, 24 boxes
beside the own one on a street of four lanes. For each number of worlds the figure is the least of the rounds, in CPU
seconds of one thread, which other work on the machine disturbs less than wall time (but it does: caches are shared).

    python benchmarks/drive_camera.py --worlds 64 512 4096 --rounds 5
    python benchmarks/drive_camera.py --threads 2
    python benchmarks/drive_camera.py --plot docs/images/driving-cost.png

The last one draws the cost against the number of boxes and of pixels, in 128 worlds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numba
import numpy as np

from stalwart.drive.scene import Class, Ground, Scene
from stalwart.drive.sensors import camera as cameras
from stalwart.drive.sensors import lidar as lidars
from stalwart.drive.sensors import styles
from stalwart.drive.sensors.skins import PAINTS, skin


def street() -> Ground:
    """Four lanes along x, 240 m by 120 m, a pixel to 10 cm."""
    y, x = np.arange(1200) * 0.1 - 59.95, np.arange(2400) * 0.1 - 59.95
    at_y, at_x = np.meshgrid(y, x, indexing="ij")
    raster = np.full(at_y.shape, Class.TERRAIN, np.uint8)
    raster[abs(at_y) < 9.5] = Class.SIDEWALK
    raster[abs(at_y) < 7] = Class.ROAD
    raster[(abs(abs(at_y) - 3.5) < 0.08) & (at_x % 9 < 3)] = Class.LINE
    raster[abs(at_y) < 0.1] = Class.YELLOW_LINE
    return Ground(raster[None], 0.1, np.array([[-60, -60]], np.float32))


def traffic(worlds: int, boxes: int, ground: Ground, style: str) -> Scene:
    """Cars anywhere in the four lanes from 70 m behind to 70 m ahead of box 0."""
    g = np.random.default_rng(0)
    scene, shape = Scene.empty(worlds, boxes + 1, ground), (worlds, boxes + 1)
    scene.x_m[:], scene.y_m[:] = g.uniform(-40, 100, shape), (g.integers(0, 4, shape) - 1.5) * 3.5
    scene.yaw_rad[:] = np.where(scene.y_m < 0, 0, np.pi) + g.normal(0, 0.05, shape)
    scene.x_m[:, 0], scene.y_m[:, 0], scene.yaw_rad[:, 0] = 30, -1.75, g.normal(0, 0.1, worlds)
    scene.length_m[:], scene.width_m[:], scene.height_m[:] = g.uniform(4, 5, shape), 1.85, g.uniform(1.4, 2, shape)
    close = (abs(scene.x_m - 30) < 6) & (abs(scene.y_m + 1.75) < 2.2)
    scene.x_m[close] += 14
    scene.x_m[:, 0] = 30
    scene.kind[:], scene.skin[:], scene.alive[:] = Class.CAR, skin("car"), True
    scene.tint[:] = PAINTS[g.integers(0, len(PAINTS), shape)]
    scene.style[:], scene.sun_azimuth_rad[:] = styles.style(style), 2.0
    return scene


def least(work: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        begun = clock()
        work()
        times.append(clock() - begun)
    return min(times)


def cost(
    worlds: int, boxes: int, style: str, height: int, width: int, rounds: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of one camera frame and of one scan of as many channels as a quarter of the rows."""
    camera, lidar = cameras.Camera(height, width), lidars.Lidar(height // 4, width * 8 // 3)
    scene = traffic(worlds, boxes, street(), style)
    frames, scan = cameras.room(camera, worlds), lidars.room(lidar, worlds)
    cameras.see(scene, camera, out=frames)
    lidars.scan(scene, lidar, out=scan)
    seen = least(lambda: cameras.see(scene, camera, out=frames), rounds, clock) / worlds
    return seen, least(lambda: lidars.scan(scene, lidar, out=scan), rounds, clock) / worlds


def plot(file: str, style: str, rounds: int, clock: Callable[[], float]) -> None:
    """Cost against the number of boxes at 64 x 96, and against pixels and rays with 24 boxes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    boxes = [0, 6, 12, 24, 48, 96]
    sizes = [(32, 48), (64, 96), (96, 144), (128, 192), (192, 288)]
    by_boxes = np.array([cost(128, n, style, 64, 96, rounds, clock) for n in boxes]) * 1e6
    by_pixels = np.array([cost(128, 24, style, *size, rounds, clock) for size in sizes]) * 1e6
    pixels = np.array([h * w for h, w in sizes])
    for n, (seen, heard) in zip(boxes, by_boxes, strict=True):
        print(f"{n:4} boxes: {seen:7.1f} a frame, {heard:7.1f} a scan")
    for n, (seen, heard) in zip(pixels, by_pixels, strict=True):
        print(f"{n:6} pixels, {n * 2 // 3:6} rays: {seen:7.1f} a frame, {heard:7.1f} a scan")
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(boxes, by_boxes[:, 0], "o-", label="camera, 64 × 96")
    left.plot(boxes, by_boxes[:, 1], "s-", label="LiDAR, 16 × 256")
    left.set(xlabel="boxes beside the own one", ylabel="CPU µs, one thread", ylim=(0, None))
    right.plot(pixels / 1000, by_pixels[:, 0], "o-", label="camera, by pixels")
    right.plot(pixels * 2 / 3000, by_pixels[:, 1], "s-", label="LiDAR, by rays")
    right.set(xlabel="thousand pixels or rays (24 boxes)", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    plt.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[64, 512, 4096])
    parser.add_argument("--boxes", type=int, nargs="+", default=[24])
    parser.add_argument("--styles", nargs="+", default=["sun"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", help="a picture to be written, instead of the table")
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    unit = "CPU µs" if options.threads == 1 else "wall µs"
    begun = time.process_time()
    cost(1, 1, "sun", 64, 96, 1, clock)
    print(f"first call (compiles where nothing is cached): {time.process_time() - begun:.1f} CPU s")
    if options.plot:
        plot(options.plot, options.styles[0], options.rounds, clock)
        return
    head = f"{'style':8}{'worlds':>8}{'boxes':>7}{unit + ' a frame':>18}{'frames/s':>10}"
    print(head + f"{unit + ' a scan':>18}{'scans/s':>10}")
    for name in options.styles:
        for boxes in options.boxes:
            for worlds in options.worlds:
                seen, heard = cost(worlds, boxes, name, 64, 96, options.rounds, clock)
                row = f"{name:8}{worlds:8}{boxes:7}{seen * 1e6:18.1f}{1 / seen:10.0f}"
                print(row + f"{heard * 1e6:18.1f}{1 / heard:10.0f}", flush=True)


if __name__ == "__main__":
    main()
