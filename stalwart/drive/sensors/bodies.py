"""What vehicles, people and street furniture look like from each side. Tints multiply these: paint is nearly white.

A side is drawn with the front to the right; the front and the rear as seen by who looks at them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.sensors.canvas import Canvas

Drawing = Callable[[int], NDArray[np.float32]]

PAINT = (0.93, 0.93, 0.93)
SHUT = (0.80, 0.80, 0.80)
GLASS = (0.13, 0.16, 0.20)
SHINY = (0.30, 0.36, 0.42)
RUBBER = (0.05, 0.05, 0.055)
RIM = (0.45, 0.46, 0.48)
UNDER = (0.08, 0.08, 0.085)
LAMP = (1.0, 0.97, 0.86)
TAIL = (0.85, 0.06, 0.05)
PLATE = (0.95, 0.95, 0.85)


def wheels(canvas: Canvas, places: list[float], radius: float, flat: float) -> Canvas:
    for x in places:
        y = 1.0 - radius * flat
        canvas.disc(x, y, radius * 1.15, UNDER, flat=flat)
        canvas.disc(x, y, radius, RUBBER, flat=flat).disc(x, y, radius * 0.55, RIM, flat=flat)
    return canvas


def car_side(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.90, 1, 1, UNDER).box(0, 0.0, 1, 0.46, GLASS)
    c.polygon([(0.10, 0.0), (0.68, 0.0), (0.88, 0.46), (0.02, 0.46)], PAINT)
    c.polygon([(0.15, 0.07), (0.43, 0.07), (0.43, 0.43), (0.08, 0.43)], GLASS)
    c.polygon([(0.46, 0.07), (0.65, 0.07), (0.79, 0.43), (0.46, 0.43)], GLASS)
    c.polygon([(0.16, 0.07), (0.24, 0.07), (0.17, 0.43), (0.09, 0.43)], SHINY)
    c.box(0.445, 0.46, 0.452, 0.86, SHUT).box(0.72, 0.5, 0.727, 0.86, SHUT).box(0.0, 0.62, 1, 0.635, SHUT)
    c.box(0.95, 0.54, 1, 0.64, LAMP, 0.5).box(0, 0.52, 0.04, 0.64, TAIL, 0.35)
    return wheels(c, [0.19, 0.81], 0.085, 2.6).done()


def car_front(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.90, 1, 1, UNDER).box(0, 0, 1, 0.45, GLASS)
    c.polygon([(0.14, 0.0), (0.86, 0.0), (0.97, 0.46), (0.03, 0.46)], PAINT)
    c.polygon([(0.19, 0.06), (0.81, 0.06), (0.92, 0.44), (0.08, 0.44)], GLASS)
    c.polygon([(0.30, 0.06), (0.48, 0.06), (0.36, 0.44), (0.16, 0.44)], SHINY)
    c.box(0.22, 0.62, 0.78, 0.74, UNDER).box(0.38, 0.77, 0.62, 0.84, PLATE)
    c.box(0.03, 0.56, 0.2, 0.68, LAMP, 1.0).box(0.80, 0.56, 0.97, 0.68, LAMP, 1.0)
    return c.box(0.02, 0.88, 0.18, 1, RUBBER).box(0.82, 0.88, 0.98, 1, RUBBER).done()


def car_rear(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.90, 1, 1, UNDER).box(0, 0, 1, 0.42, GLASS)
    c.polygon([(0.13, 0.0), (0.87, 0.0), (0.98, 0.44), (0.02, 0.44)], PAINT)
    c.polygon([(0.19, 0.07), (0.81, 0.07), (0.90, 0.40), (0.10, 0.40)], GLASS)
    c.box(0.0, 0.70, 1, 0.72, SHUT).box(0.36, 0.60, 0.64, 0.70, PLATE)
    c.box(0.02, 0.48, 0.2, 0.62, TAIL, 0.8).box(0.80, 0.48, 0.98, 0.62, TAIL, 0.8)
    return c.box(0.02, 0.88, 0.18, 1, RUBBER).box(0.82, 0.88, 0.98, 1, RUBBER).done()


def car_top(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0.06, 0.24, 0.94, 0.36, GLASS).box(0.08, 0.82, 0.92, 0.91, GLASS)
    return c.box(0.02, 0.36, 0.06, 0.82, GLASS).box(0.94, 0.36, 0.98, 0.82, GLASS).done()


def van_side(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.93, 1, 1, UNDER)
    c.polygon([(0.93, 0.0), (1.0, 0.0), (1.0, 0.40), (0.99, 0.40)], GLASS)
    c.polygon([(0.74, 0.12), (0.88, 0.12), (0.94, 0.40), (0.74, 0.40)], GLASS)
    c.box(0.715, 0.08, 0.72, 0.9, SHUT).box(0.40, 0.08, 0.405, 0.9, SHUT).box(0.04, 0.56, 0.715, 0.57, SHUT)
    c.box(0.96, 0.55, 1, 0.66, LAMP, 0.5).box(0, 0.46, 0.015, 0.62, TAIL, 0.5)
    return wheels(c, [0.19, 0.82], 0.068, 2.6).done()


def van_front(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.93, 1, 1, UNDER).box(0.07, 0.1, 0.93, 0.44, GLASS)
    c.polygon([(0.3, 0.1), (0.46, 0.1), (0.34, 0.44), (0.18, 0.44)], SHINY).box(0.2, 0.62, 0.8, 0.74, UNDER)
    c.box(0.03, 0.56, 0.19, 0.70, LAMP, 1.0).box(0.81, 0.56, 0.97, 0.70, LAMP, 1.0).box(0.38, 0.8, 0.62, 0.86, PLATE)
    return c.box(0.02, 0.91, 0.18, 1, RUBBER).box(0.82, 0.91, 0.98, 1, RUBBER).done()


def van_rear(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.93, 1, 1, UNDER).box(0.495, 0.06, 0.505, 0.88, SHUT)
    c.box(0.08, 0.12, 0.46, 0.38, GLASS).box(0.54, 0.12, 0.92, 0.38, GLASS).box(0.3, 0.68, 0.5, 0.75, PLATE)
    c.box(0.0, 0.48, 0.07, 0.74, TAIL, 0.8).box(0.93, 0.48, 1, 0.74, TAIL, 0.8)
    return c.box(0.02, 0.91, 0.18, 1, RUBBER).box(0.82, 0.91, 0.98, 1, RUBBER).done()


def truck_side(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0.79, 0.0, 0.82, 1, UNDER).box(0, 0.78, 0.8, 1, UNDER).box(0.82, 0.93, 1, 1, UNDER)
    c.polygon([(0.87, 0.16), (0.97, 0.16), (0.985, 0.44), (0.87, 0.44)], GLASS).box(0.82, 0.0, 1, 0.06, SHUT)
    for k in range(1, 8):
        c.box(0.1 * k, 0.02, 0.1 * k + 0.004, 0.76, SHUT)
    return wheels(c, [0.10, 0.18, 0.26, 0.90], 0.038, 3.0).done()


def truck_front(size: int) -> NDArray[np.float32]:
    c = (
        Canvas(size, PAINT)
        .box(0, 0.92, 1, 1, UNDER)
        .box(0.05, 0.16, 0.95, 0.45, GLASS)
        .box(0.2, 0.52, 0.8, 0.72, UNDER)
    )
    c.polygon([(0.3, 0.16), (0.46, 0.16), (0.36, 0.45), (0.2, 0.45)], SHINY).box(0.38, 0.86, 0.62, 0.91, PLATE)
    return c.box(0.03, 0.77, 0.18, 0.85, LAMP, 1.0).box(0.82, 0.77, 0.97, 0.85, LAMP, 1.0).done()


def truck_rear(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.80, 1, 1, UNDER).box(0.494, 0.03, 0.506, 0.8, SHUT)
    c.box(0.04, 0.03, 0.05, 0.8, SHUT).box(0.95, 0.03, 0.96, 0.8, SHUT)
    c.box(0.02, 0.82, 0.2, 0.88, TAIL, 0.8).box(0.80, 0.82, 0.98, 0.88, TAIL, 0.8).box(0.4, 0.83, 0.6, 0.88, PLATE)
    return c.box(0.06, 0.9, 0.24, 1, RUBBER).box(0.76, 0.9, 0.94, 1, RUBBER).done()


def bus_side(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.95, 1, 1, UNDER).box(0.02, 0.16, 0.99, 0.56, GLASS).box(0, 0.70, 1, 0.74, SHUT)
    for k in range(1, 8):
        c.box(0.125 * k - 0.006, 0.16, 0.125 * k + 0.006, 0.56, UNDER)
    c.box(0.45, 0.2, 0.55, 0.93, GLASS).box(0.90, 0.2, 0.97, 0.93, GLASS).box(0.497, 0.2, 0.503, 0.93, PAINT)
    return wheels(c, [0.2, 0.78], 0.044, 3.6).done()


def bus_front(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT).box(0, 0.95, 1, 1, UNDER).box(0.05, 0.2, 0.95, 0.62, GLASS)
    c.box(0.2, 0.05, 0.8, 0.16, (0.08, 0.07, 0.04)).box(0.26, 0.08, 0.66, 0.13, (1.0, 0.62, 0.1), 0.9)
    c.polygon([(0.3, 0.2), (0.46, 0.2), (0.36, 0.62), (0.2, 0.62)], SHINY)
    return c.box(0.04, 0.76, 0.18, 0.86, LAMP, 1.0).box(0.82, 0.76, 0.96, 0.86, LAMP, 1.0).done()


def bus_rear(size: int) -> NDArray[np.float32]:
    c = (
        Canvas(size, PAINT)
        .box(0, 0.95, 1, 1, UNDER)
        .box(0.12, 0.16, 0.88, 0.46, GLASS)
        .box(0.2, 0.66, 0.8, 0.84, UNDER)
    )
    return c.box(0.03, 0.54, 0.1, 0.82, TAIL, 0.8).box(0.90, 0.54, 0.97, 0.82, TAIL, 0.8).done()


def roof(size: int) -> NDArray[np.float32]:
    c = Canvas(size, PAINT)
    for k in range(1, 6):
        c.box(0.05, k / 6, 0.95, k / 6 + 0.012, SHUT)
    return c.done()


SKIN = (0.80, 0.60, 0.48)
CLOTH = (0.95, 0.95, 0.95)
TROUSERS = (0.18, 0.20, 0.27)


def rider_side(size: int) -> NDArray[np.float32]:
    c = (
        Canvas(size, (0.36, 0.38, 0.36))
        .box(0.3, 0.22, 0.62, 0.55, CLOTH)
        .disc(0.52, 0.12, 0.08, (0.2, 0.2, 0.24), flat=1.2)
    )
    c.polygon([(0.3, 0.55), (0.55, 0.55), (0.62, 0.8), (0.5, 0.8)], TROUSERS).box(0.55, 0.3, 0.8, 0.36, CLOTH)
    for x in (0.2, 0.8):
        c.disc(x, 0.81, 0.18, RUBBER).disc(x, 0.81, 0.14, (0.36, 0.38, 0.36))
    return c.box(0.2, 0.66, 0.8, 0.70, (0.7, 0.2, 0.15)).done()


def motorcycle_side(size: int) -> NDArray[np.float32]:
    c = Canvas(size, (0.36, 0.38, 0.36)).box(0.28, 0.24, 0.58, 0.55, TROUSERS).disc(0.52, 0.13, 0.10, CLOTH, flat=1.2)
    c.polygon([(0.05, 0.5), (0.85, 0.46), (0.9, 0.66), (0.2, 0.72)], PAINT).box(0.3, 0.66, 0.66, 0.86, UNDER)
    for x in (0.18, 0.82):
        c.disc(x, 0.81, 0.17, RUBBER).disc(x, 0.81, 0.08, RIM)
    return c.box(0.86, 0.5, 0.95, 0.6, LAMP, 1.0).box(0.03, 0.52, 0.09, 0.6, TAIL, 0.8).done()


def rider_front(size: int) -> NDArray[np.float32]:
    c = Canvas(size, CLOTH).box(0, 0, 1, 0.22, (0.30, 0.32, 0.31)).disc(0.5, 0.12, 0.26, SKIN, flat=0.42)
    c.box(0, 0.55, 1, 0.8, TROUSERS).box(0, 0.7, 1, 1, UNDER).box(0.4, 0.6, 0.6, 1, RUBBER)
    return c.disc(0.5, 0.56, 0.12, LAMP, 1.0, flat=0.5).done()


def rider_rear(size: int) -> NDArray[np.float32]:
    c = Canvas(size, CLOTH).box(0, 0, 1, 0.22, (0.30, 0.32, 0.31)).disc(0.5, 0.12, 0.26, (0.2, 0.18, 0.16), flat=0.42)
    c.box(0, 0.55, 1, 0.8, TROUSERS).box(0, 0.7, 1, 1, UNDER).box(0.4, 0.6, 0.6, 1, RUBBER)
    return c.disc(0.5, 0.62, 0.10, TAIL, 0.8, flat=0.5).done()


def walker(size: int) -> NDArray[np.float32]:
    c = Canvas(size, CLOTH).box(0, 0, 1, 0.155, (0.32, 0.34, 0.33)).disc(0.5, 0.085, 0.30, SKIN, flat=0.28)
    c.box(0.2, 0.0, 0.8, 0.055, (0.22, 0.16, 0.11)).box(0, 0.52, 1, 0.94, TROUSERS).box(0, 0.94, 1, 1, RUBBER)
    c.box(0.47, 0.60, 0.53, 1, (0.28, 0.29, 0.30)).box(0.0, 0.2, 0.10, 0.5, SHUT).box(0.9, 0.2, 1, 0.5, SHUT)
    return c.box(0.0, 0.48, 0.10, 0.53, SKIN).box(0.9, 0.48, 1, 0.53, SKIN).done()


def cap_hair(size: int) -> NDArray[np.float32]:
    return Canvas(size, (0.22, 0.17, 0.13)).done()


DRAWINGS: dict[str, Drawing] = {
    f.__name__: f
    for f in (
        car_side, car_front, car_rear, car_top, van_side, van_front, van_rear, truck_side, truck_front, truck_rear,
        bus_side, bus_front, bus_rear, roof, rider_side, motorcycle_side, rider_front, rider_rear, walker, cap_hair,
    )
}  # fmt: skip
