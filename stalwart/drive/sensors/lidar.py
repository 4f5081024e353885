"""Spinning LiDARs: channels times azimuths, with range, intensity, class and instance of every echo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stalwart.core.errors import InputError
from stalwart.drive.scene import Bytes, Class, Floats, Scene
from stalwart.drive.sensors import styles
from stalwart.drive.sensors.camera import bundles, eyes
from stalwart.drive.sensors.echoes import Echoes, Faults, new_ears, scan_views
from stalwart.drive.sensors.fan import Fan, spinning
from stalwart.drive.sensors.moments import moment
from stalwart.drive.sensors.records import Rays
from stalwart.drive.threads import share


@dataclass(frozen=True)
class Lidar:
    """A LiDAR that turns once in a step; all rays of a turn leave at one moment.

    Raises:
        InputError: a value out of range, named.
    """

    channels: int = 16
    azimuths: int = 256
    lowest_deg: float = -18.0
    """Elevation of the lowest channel; the others follow at equal angles."""
    highest_deg: float = 3.0
    x_m: float = 0.0
    """Mount, ahead of the box's middle."""
    y_m: float = 0.0
    z_m: float = 1.9
    """Above the ground."""
    yaw_deg: float = 0.0
    greatest_m: float = 100.0
    """What reflects a tenth of the light is heard up to here, in clear air."""
    deviation_m: float = 0.02
    """Standard deviation of a range."""
    dropout: float = 0.002
    """Share of echoes that are lost for no reason."""
    weather: float = 1.0
    """By how much fog, rain and snow count: 1 as they are, 0 not at all."""

    def __post_init__(self) -> None:
        for name, value, fits, wanted in (
            ("channels", self.channels, self.channels >= 1, "at least 1"),
            ("azimuths", self.azimuths, self.azimuths >= 4, "at least 4"),
            ("highest_deg", self.highest_deg, -90 < self.lowest_deg <= self.highest_deg < 90, "from lowest_deg to 90"),
            ("z_m", self.z_m, self.z_m > 0, "above 0"),
            ("greatest_m", self.greatest_m, self.greatest_m > 0, "above 0"),
            ("deviation_m", self.deviation_m, self.deviation_m >= 0, "at least 0"),
            ("dropout", self.dropout, 0 <= self.dropout <= 1, "in [0, 1]"),
            ("weather", self.weather, self.weather >= 0, "at least 0"),
        ):
            if not fits:
                raise InputError(f"lidar.{name} must be {wanted}. Got {value!r}.")

    @cached_property
    def fan(self) -> Fan:
        angles = np.linspace(math.radians(self.highest_deg), math.radians(self.lowest_deg), self.channels)
        return spinning(angles.astype(np.float64), self.azimuths)

    def points(self, range_m: Floats) -> NDArray[np.float64]:
        """(..., channels, azimuths, 3) x, y, z in m in the carrying box's frame (ahead, left, above the ground).

        Where nothing was heard (range 0) the point is the sensor itself.
        """
        fan, yaw = self.fan, math.radians(self.yaw_deg)
        flat = range_m / np.sqrt(1 + fan.slopes.astype(np.float64)[:, None] ** 2)
        cosine, sine = np.cos(fan.azimuths + yaw), np.sin(fan.azimuths + yaw)
        z = self.z_m + flat * fan.slopes[:, None]
        return np.stack([self.x_m + flat * cosine, self.y_m + flat * sine, z], -1)


@dataclass(frozen=True, eq=False)
class Scan:
    """One turn in all worlds, (worlds, channels, azimuths) each; where nothing is heard, all are 0.

    Channels go from the highest to the lowest, azimuths from behind over the left side, the front and the right.
    """

    range_m: Floats
    intensity: Floats
    """Reflectivity times the cosine of incidence, faded by the air; in [0, 1]."""
    kind: Bytes
    """A `Class`; 0 for an echo from rain or snow."""
    instance: NDArray[np.uint16]


REFLECTIVITY = {
    Class.TERRAIN: 0.35, Class.ROAD: 0.16, Class.SHOULDER: 0.25, Class.SIDEWALK: 0.32, Class.PARKING: 0.18,
    Class.PLOT: 0.30, Class.LINE: 0.75, Class.YELLOW_LINE: 0.60, Class.STOP_LINE: 0.75, Class.CROSSING: 0.75,
    Class.ARROW: 0.75, Class.CAR: 0.50, Class.VAN: 0.60, Class.TRUCK: 0.60, Class.BUS: 0.55, Class.MOTORCYCLE: 0.35,
    Class.CYCLIST: 0.40, Class.PEDESTRIAN: 0.40, Class.OBSTACLE: 0.60, Class.BUILDING: 0.45, Class.POLE: 0.50,
    Class.SIGNAL: 0.30, Class.SIGN: 0.95, Class.BILLBOARD: 0.60, Class.BARRIER: 0.70, Class.TREE: 0.40,
    Class.PATCH: 0.40,
}  # fmt: skip
"""Of near-infrared light that meets it squarely, by class; assumed, not measured."""


def room(lidar: Lidar, worlds: int) -> Scan:
    """A scan to be written to; used again from step to step it spares the time that fresh memory takes."""
    shape = (worlds, lidar.channels, lidar.azimuths)
    return Scan(
        np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.uint16)
    )


def tables(lidar: Lidar) -> tuple[Faults, Floats, Floats]:
    """How good the LiDAR is, what each style's air does, and what classes reflect, as `scan_views` takes them."""
    faults = Faults(lidar.greatest_m, lidar.deviation_m, lidar.dropout, lidar.weather)
    table = styles.table()
    thin = table[:, styles.EXTINCTION] <= 0.005
    air = np.stack([np.where(thin, 0, table[:, styles.EXTINCTION]), table[:, styles.DROPS] * 1.5e-6], 1)
    albedo = np.zeros(32, np.float32)
    for kind, value in REFLECTIVITY.items():
        albedo[kind] = value
    return faults, air.astype(np.float32), albedo


def scan(scene: Scene, lidar: Lidar, ego: NDArray[np.int32] | None = None, out: Scan | None = None) -> Scan:
    """What a LiDAR on box `ego` of each world (box 0 where none is given) hears; the box itself is not heard.

    Noise is drawn from each world's key and tick and from the mount, so it is the same in any batch.

    Raises:
        InputError: `ego` is no box, or `out` was made for another LiDAR or another number of worlds.
    """
    ego = np.zeros(scene.worlds, np.int32) if ego is None else ego
    out = out or room(lidar, scene.worlds)
    if out.range_m.shape != (scene.worlds, lidar.channels, lidar.azimuths):
        raise InputError(
            f"out must be room for ({scene.worlds}, {lidar.channels}, {lidar.azimuths}). Got {out.range_m.shape}."
        )
    fan = lidar.fan
    views = eyes(scene, ego, [(lidar.x_m, lidar.y_m, lidar.z_m, math.radians(lidar.yaw_deg))])
    boxes, land = bundles(scene)
    keys = moment(scene, "lidar", round(lidar.x_m * 1000), round(lidar.y_m * 1000), round(lidar.z_m * 1000))
    rays = Rays(*fan.singles, fan.azimuths, fan.slopes, fan.lens, np.zeros((1, 0), np.float32), views, ego, keys)
    echoes = Echoes(out.range_m, out.intensity, out.kind, out.instance)

    def work(first: int, last: int) -> None:
        ears = new_ears(scene.boxes, lidar.channels, lidar.azimuths, np.empty)
        per_pixel = scene.ground.metres_per_pixel
        scan_views(first, last, boxes, land, rays, echoes, *tables(lidar), per_pixel, ears)

    share(work, scene.worlds)
    return out
