"""A winding road in the country."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.core.rng import seed_of
from stalwart.drive.geometry.curves import CentreLine, Piece, Pose, line
from stalwart.drive.geometry.furnish import furnish
from stalwart.drive.geometry.lanes import RoadMap
from stalwart.drive.geometry.network import Draft


@component
class rural:
    """One lane each way; straights and bends of 60 to 250 m radius, led into and out of by clothoids."""

    seed: Annotated[int, at_least(0)] = 0
    """Which of them."""
    length_m: Annotated[float, between(200, 5000)] = 1200.0
    """About how long."""

    def build(self) -> RoadMap:
        random = np.random.default_rng(seed_of(self.seed, "rural"))
        pieces: list[Piece] = [line(60.0)]
        heading = 0.0
        while sum(piece.length_m for piece in pieces) < self.length_m - 60:
            curvature = 1 / random.uniform(60, 250)
            bend = float(random.uniform(0.3, 1.1))
            side = -1.0 if heading + bend > 1.2 else 1.0 if heading - bend < -1.2 else random.choice([-1.0, 1.0])
            lead = min(float(random.uniform(25, 45)), 0.8 * bend / curvature)  # turns lead × curvature / 2 at each end
            heading += side * bend
            k = float(side * curvature)
            pieces += [Piece(lead, 0.0, k), Piece(bend / curvature - lead, k, k), Piece(lead, k, 0.0)]
            pieces.append(line(float(random.uniform(20, 120))))
        draft = Draft()
        reference = CentreLine(Pose(0.0, 0.0, 0.0), tuple(pieces))
        street = draft.street(reference, 1, 1, 3.4, 22.2, shoulder_m=0.6)
        roads = draft.finish(f"rural(seed={self.seed})")
        return furnish(roads, [street], random, houses=0.06, billboards=0.15, trees=5.0)
