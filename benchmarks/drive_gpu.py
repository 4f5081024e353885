"""The driving world on a graphics card: the same worlds as on the processor, and how fast.

    python benchmarks/drive_gpu.py                                       # on a machine with a card: 4 minutes
    NUMBA_ENABLE_CUDASIM=1 python benchmarks/drive_gpu.py --tiny        # its kernels in Numba's simulator, no figures
    python benchmarks/drive_gpu.py --ptx                                 # no card: compile every kernel for one

Worlds are moved side by side on both from the same seeds for a few ticks, then everything is compared that a driver is
told, all bodies, and all that a LiDAR and a camera give. Sines and roots differ in the last bits, and what hangs on a
comparison may then differ too: so the share of equal numbers is printed, and the run fails below 99 %.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

ROADS = "crossroads(seed=3)"
TICKS = 5


def share(name: str, ours: Any, theirs: Any, tolerance: float) -> float:
    """The share of numbers that are the same up to a tolerance, printed."""
    a, b = (np.asarray(x.cpu() if isinstance(x, torch.Tensor) else x).astype(np.float64) for x in (ours, theirs))
    same = float(np.isclose(a, b, rtol=tolerance, atol=tolerance).mean())
    print(f"  {name:22} {same:8.2%} of {a.size} numbers", flush=True)
    return same


def compare(worlds: int, agents: int, channels: int, azimuths: int, height: int, width: int) -> float:
    """The least share of equal numbers of all that is compared."""
    from stalwart import drive
    from stalwart.drive.dressing import Dressed
    from stalwart.drive.sensors import camera as cameras
    from stalwart.drive.sensors import lidar as lidars
    from stalwart.drive.sensors import on_gpu as sensors

    lidar = lidars.Lidar(channels=channels, azimuths=azimuths)
    here = drive.make(ROADS, worlds, agents=agents, walkers=1, egos=2)
    there: Any = drive.make(ROADS, worlds, agents=agents, walkers=1, egos=2, device="cuda")
    mask, one = np.arange(worlds) % 2 == 0, np.arange(2 * worlds).reshape(worlds, 2) % 3 == 0
    controls = np.random.default_rng(0).uniform(-0.3, 0.3, (TICKS, worlds, 2, 2)).astype(np.float32)
    for k, asked in enumerate(controls):
        ours, theirs = here.step(asked), there.step(asked)
        if k == 1:
            here.reset(mask), there.reset(mask)
        if k == 2:
            here.rejoin(one), there.rejoin(one)
    shares = [share("integers of state", here.state.ints, there.state.ints, 0)]
    shares.append(share("floats of state", here.state.floats, there.state.floats, 1e-3))
    shares.append(share("random keys", here.state.words, there.state.words, 0))
    shares.append(share("routes", here.state.route, there.state.route, 0))
    shares += [share(f"outcome: {name}", getattr(ours, name), getattr(theirs, name), 1e-3) for name in vars(ours)]
    shares.append(share("what a driver is told", here.observe(), there.observe(), 1e-3))
    scene, seen = here.scene(agents + 8), there.scene(agents + 8)
    shares += [
        share(f"scene: {name}", getattr(scene, name), getattr(seen, name), 1e-3) for name in ("x_m", "kind", "alive")
    ]
    scene = Dressed(here, [("rain", "night", "snow", "sun")[k % 4] for k in range(worlds)], agents + 8).scene()
    ours, theirs = lidars.scan(scene, lidar), sensors.scan(sensors.GpuScene.of(scene), lidar)
    shares += [share(f"LiDAR: {name}", getattr(ours, name), getattr(theirs, name), 1e-3) for name in vars(ours)]
    view = cameras.Camera(height=height, width=width)
    seen, theirs = cameras.room(view, worlds, affine=True), sensors.frame_room(view, worlds, affine=True)
    cameras.see(scene, view, out=seen), sensors.see(sensors.GpuScene.of(scene), view, out=theirs)
    shares += [share(f"camera: {name}", getattr(seen, name), getattr(theirs, name), 1e-3) for name in vars(seen)]
    return min(shares)


def rate(work: Callable[[], object], count: int, seconds: float) -> float:
    """How many a second, the card waited for."""
    work()
    torch.cuda.synchronize()
    begun, rounds = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        work()
        torch.cuda.synchronize()
        rounds += 1
    return count * rounds / (time.perf_counter() - begun)


def speeds(seconds: float) -> None:
    from stalwart import drive
    from stalwart.drive.sensors import on_gpu as sensors
    from stalwart.drive.sensors.camera import Camera
    from stalwart.drive.sensors.lidar import Lidar

    print(f"{torch.cuda.get_device_name()}; 24 agents, one of them driven from outside")
    for worlds in (4096, 16384, 65536):
        world: Any = drive.make("motorway()", worlds, agents=24, walkers=0, metres_per_pixel=1.0, device="cuda")
        coast = torch.zeros((worlds, 1, 2), device="cuda")
        step = rate(lambda: world.step(coast), 24 * worlds, seconds)  # noqa: B023
        print(f"  {worlds:6} worlds: {step / 1e6:8.1f} million agent-steps/s", flush=True)
        if worlds <= 16384:
            scene, lidar = world.scene_on_gpu(), Lidar()
            out = sensors.scan_room(lidar, worlds)
            scans = rate(lambda: sensors.scan(scene, lidar, out=out), worlds, seconds)  # noqa: B023
            print(f"  {worlds:6} worlds: {scans / 1e3:8.1f} thousand scans/s of 16 x 256", flush=True)
            frames = sensors.frame_room(Camera(), worlds)
            shots = rate(lambda: sensors.see(scene, Camera(), out=frames), worlds, seconds)  # noqa: B023
            print(f"  {worlds:6} worlds: {shots / 1e3:8.1f} thousand frames/s of 64 x 96", flush=True)


def compile_only() -> list[str]:
    """Makes every launch a compilation to PTX for compute capability 9.0, by numba-cuda's compiler and no driver.

    Returns:
        Where the names of those go that do not compile.
    """
    from numba import cuda, typeof, types
    from numba.cuda import dispatcher

    from stalwart.drive import on_gpu

    class Card:
        compute_capability = (9, 0)

    done: set[Any] = set()
    failed: list[str] = []

    def compiled(self: Any, count: int, *arguments: Any) -> None:
        if self not in done:
            done.add(self)
            begun, given = time.process_time(), tuple(on_gpu.handed(a) for a in arguments)
            kinds = types.void(types.int64, typeof(given))
            name = self.function.__name__
            try:
                code, _ = cuda.compile(
                    on_gpu.launcher(self.function), kinds, device=False, cc=(9, 0), output="ptx", abi="numba"
                )
            except Exception as error:
                failed.append(name)
                print(f"{name:16} {error}", flush=True)
                return
            took = time.process_time() - begun
            print(f"{name:16} {len(code) / 1e3:7.0f} kB of PTX in {took:5.1f} CPU s", flush=True)

    dispatcher.get_current_device = lambda: Card
    on_gpu.DEVICE, on_gpu.expect_gpu = "cpu", lambda: None
    on_gpu.handed = _as_arrays
    on_gpu.Each.__call__ = compiled  # type: ignore[method-assign]
    return failed


def _as_arrays(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_as_arrays(part) for part in value))
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--tiny", action="store_true", help="two worlds and a few rays: for the simulator")
    parser.add_argument("--ptx", action="store_true", help="compile every kernel for a card that is not here")
    given = parser.parse_args()
    failed = compile_only() if given.ptx else []
    least = compare(*((2, 4, 3, 8, 6, 8) if given.tiny or given.ptx else (256, 24, 16, 256, 64, 96)))
    if given.ptx:
        sys.exit(f"{', '.join(failed)}: no PTX" if failed else 0)
    print(f"at least {least:.2%} the same")
    if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
        speeds(given.seconds)
    if least < 0.99:
        sys.exit("the card's worlds are not the processor's")


if __name__ == "__main__":
    main()
