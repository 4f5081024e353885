"""A roundabout of one lane."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import seed_of
from stalwart.drive.geometry.curves import CentreLine, Pose, line
from stalwart.drive.geometry.furnish import furnish
from stalwart.drive.geometry.junctions import roundabout as ring
from stalwart.drive.geometry.lanes import RoadMap
from stalwart.drive.geometry.network import Draft


@component
class roundabout:
    """Streets that meet in a one-lane ring, driven counterclockwise; whoever enters gives way."""

    seed: Annotated[int, at_least(0)] = 0
    """Which of them: angles, radius and what stands around."""
    arms: Annotated[int, between(3, 5)] = 4
    """Streets that meet."""

    def build(self) -> RoadMap:
        random = np.random.default_rng(seed_of(self.seed, "roundabout"))
        draft = Draft()
        radius = float(random.uniform(18, 24))
        streets = []
        for k in range(self.arms):
            angle = 2 * math.pi * k / self.arms + random.uniform(-0.08, 0.08)
            reference = CentreLine(Pose(0.0, 0.0, angle).ahead(radius + 14), (line(float(random.uniform(90, 130))),))
            streets.append(draft.street(reference, 1, 1, 3.4, 13.9, shoulder_m=0.8, median_m=4.0))
        ring(draft, [street.start for street in streets], (0.0, 0.0), radius, 9.0)
        roads = draft.finish(f"roundabout(seed={self.seed}, arms={self.arms})")
        return furnish(roads, streets, random, houses=0.2, billboards=0.6, trees=4.0)
