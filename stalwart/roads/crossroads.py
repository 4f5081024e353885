"""One junction of three or four arms."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import seed_of
from stalwart.drive.geometry.curves import CentreLine, Pose, line
from stalwart.drive.geometry.furnish import furnish
from stalwart.drive.geometry.junctions import junction
from stalwart.drive.geometry.lanes import Control, RoadMap
from stalwart.drive.geometry.network import Draft

_CONTROLS = {
    "signals": Control.SIGNAL, "stop": Control.STOP, "yield": Control.YIELD, "all_way_stop": Control.ALL_WAY_STOP,
    "none": Control.NONE,
}  # fmt: skip


@component
class crossroads:
    """Streets that meet in one junction; with three arms a T. Left turns are not protected."""

    seed: Annotated[int, at_least(0)] = 0
    """Which of them: angles, lengths, lanes and what stands around."""
    arms: Annotated[int, between(3, 4)] = 4
    """Streets that meet."""
    control: Literal["signals", "stop", "yield", "all_way_stop", "none"] = "signals"
    """What rules: signals for all, signs for the minor road, an all-way stop, or priority to the right."""
    lanes: Annotated[int, between(1, 3)] = 1
    """Lanes each way on the major road; the minor one has one."""

    def build(self) -> RoadMap:
        random = np.random.default_rng(seed_of(self.seed, "crossroads"))
        draft = Draft()
        streets = []
        reach = 9.0 + 3.3 * max(self.lanes, 1)
        for k in range(self.arms):
            major = k % 2 == 0
            angle = k * math.pi / 2 + random.uniform(-0.12, 0.12)
            start = Pose(0.0, 0.0, angle).ahead(reach)
            count = self.lanes if major else 1
            reference = CentreLine(start, (line(float(random.uniform(90, 140))),))
            streets.append(draft.street(reference, count, count, 3.3, 13.9, sidewalk=True, major=major))
        junction(draft, [street.start for street in streets], _CONTROLS[self.control], 11.0)
        roads = draft.finish(f"crossroads(seed={self.seed}, arms={self.arms}, control={self.control!r})")
        return furnish(roads, streets, random, houses=0.5, billboards=0.5, trees=3.0)
