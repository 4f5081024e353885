"""What drives and walks: its size and what it can do."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from stalwart.drive.scene import Class


@dataclass(frozen=True)
class Body:
    """A kind of body. Values are typical of the class, rounded."""

    length_m: float
    width_m: float
    height_m: float
    wheelbase_m: float
    most_steer_rad: float
    steer_rate_radps: float
    most_accel_mps2: float
    most_brake_mps2: float
    jerk_mps3: float
    """How fast acceleration may change; emergency braking included."""


BODIES: dict[Class, Body] = {
    Class.CAR: Body(4.6, 1.85, 1.5, 2.75, 0.60, 0.9, 3.5, 9.0, 40.0),
    Class.VAN: Body(5.6, 2.0, 2.3, 3.3, 0.58, 0.8, 2.6, 8.5, 35.0),
    Class.TRUCK: Body(8.8, 2.5, 3.4, 5.0, 0.65, 0.7, 1.6, 7.0, 25.0),
    Class.BUS: Body(11.8, 2.55, 3.1, 5.9, 0.75, 0.7, 1.5, 6.5, 25.0),
    Class.MOTORCYCLE: Body(2.2, 0.85, 1.45, 1.45, 0.60, 1.2, 4.5, 8.5, 45.0),
    Class.CYCLIST: Body(1.8, 0.65, 1.75, 1.1, 0.70, 1.5, 1.2, 5.0, 25.0),
    # A walker turns almost on the spot: a bicycle of 0.4 m with the wheel far over.
    Class.PEDESTRIAN: Body(0.45, 0.55, 1.75, 0.4, 1.35, 12.0, 2.0, 4.0, 40.0),
    Class.OBSTACLE: Body(1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.0, 9.0, 50.0),
}
"""In the order of their `Class` numbers, without a gap from CAR on."""

FIRST_KIND = int(Class.CAR)

LIMITS = np.array([astuple(body) for body in BODIES.values()], np.float32)
"""(kinds, 9) float32, row `kind - FIRST_KIND`."""

WHEELBASE, MOST_STEER, STEER_RATE, MOST_ACCEL, MOST_BRAKE, JERK = range(3, 9)

assert [int(kind) for kind in BODIES] == list(range(FIRST_KIND, FIRST_KIND + len(BODIES)))
