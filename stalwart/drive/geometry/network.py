"""A draft of a road map: streets are laid, junctions join them, `finish` gives the map."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from stalwart.drive.geometry.conflicts import find_conflicts
from stalwart.drive.geometry.curves import CentreLine, Pose
from stalwart.drive.geometry.lanes import Area, Box, Lane, Marking, RoadMap, Signal, Stripe, Use

SIDEWALK_M = 2.4
"""Width of a sidewalk: one walking lane each way."""
PARKING_M = 2.2
"""Width of a parking strip."""


@dataclass
class Arm:
    """A street as a junction sees it."""

    pose: Pose
    """On the street's reference line at the junction's edge, heading out."""
    entering: list[int]
    """Lanes into the junction, from the middle of the road outwards."""
    leaving: list[int]
    right_edge_m: float
    """From the reference line to the road's edge on the right, looking out; lanes that leave are there."""
    left_edge_m: float
    walks: tuple[int, int, int, int] | None = None
    """Walking lanes: in and out on the left, in and out on the right, looking out."""
    major: bool = True
    """Others give way to it where signs rule."""


@dataclass
class Street:
    """What `Draft.street` laid: its reference line and both of its ends."""

    reference: CentreLine
    start: Arm
    end: Arm
    parking: bool
    sidewalk: bool


@dataclass
class Draft:
    """Lanes and all else, still growing."""

    lanes: list[Lane] = field(default_factory=list)
    links: list[list[int]] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    stripes: list[Stripe] = field(default_factory=list)
    junctions: int = 0

    def add(self, lane: Lane) -> int:
        self.lanes.append(lane)
        self.links.append([])
        return len(self.lanes) - 1

    def link(self, lane: int, successor: int) -> None:
        self.links[lane].append(successor)

    def change(self, lane: int, **fields: object) -> None:
        self.lanes[lane] = replace(self.lanes[lane], **fields)  # type: ignore[arg-type]

    def beside(self, lanes: list[int]) -> None:
        """Lanes of one direction, from the middle outwards, become neighbours with dashed lines between."""
        for inner, outer in itertools.pairwise(lanes):
            self.change(inner, right=outer, right_marking=Marking.DASHED)
            self.change(outer, left=inner, left_marking=Marking.NONE)

    def street(
        self, reference: CentreLine, forward: int, backward: int, width_m: float, limit_mps: float, *,
        sidewalk: bool = False, parking: bool = False, shoulder_m: float = 0.0, median_m: float = 0.0,
        major: bool = True,
    ) -> Street:  # fmt: skip
        """Lanes on both sides of a reference line, traffic on the right; sidewalks outside, a parking strip between."""
        back = reference.reversed()
        both = (reference, forward, backward), (back, backward, forward)
        laid = []
        for line, count, other in both:
            ids = []
            for k in range(count):
                middle = Marking.DOUBLE_YELLOW if other and not median_m else Marking.SOLID
                lane = Lane(
                    line.offset(-median_m / 2 - (k + 0.5) * width_m), width_m, limit_mps,
                    left_marking=middle if k == 0 else Marking.NONE,
                    right_marking=Marking.SOLID if k == count - 1 else Marking.NONE,
                    shoulder_m=(PARKING_M if parking else shoulder_m) if k == count - 1 else 0.0,
                )  # fmt: skip
                ids.append(self.add(lane))
            self.beside(ids)
            laid.append(ids)
        # On each line the double line is painted once.
        for inner in laid[1][:1] if laid[0] and not median_m else []:
            self.change(inner, left_marking=Marking.NONE)
        strip = PARKING_M if parking else 0.0
        edges = [median_m / 2 + count * width_m + strip for count in (forward, backward)]
        walks: list[list[int]] = []
        if sidewalk:
            for line, edge in ((reference, edges[0]), (back, edges[1])):
                ways = line.offset(-edge - 0.75 * SIDEWALK_M), line.offset(-edge - 0.25 * SIDEWALK_M).reversed()
                walks.append([self.add(Lane(way, SIDEWALK_M / 2, 1.4, Use.WALK)) for way in ways])
            for (with_it, against), (with_back, against_back) in ((walks[0], walks[1]), (walks[1], walks[0])):
                # Across the road the lane of the same direction: jaywalkers go there.
                self.change(with_it, left=against_back)
                self.change(against, right=with_back)
        start = Arm(reference.start, laid[1], laid[0], edges[0], edges[1], major=major)
        end = Arm(reference.end.reversed(), laid[0], laid[1], edges[1], edges[0], major=major)
        if sidewalk:
            (with_it, against), (with_back, against_back) = walks
            # Looking out of the start the forward side lies on the right: one walks in `against` it, out `with_it`.
            start.walks = (with_back, against_back, against, with_it)
            end.walks = (with_it, against, against_back, with_back)
        return Street(reference, start, end, parking, sidewalk)

    def finish(self, name: str) -> RoadMap:
        lanes = tuple(
            replace(lane, successors=tuple(links)) for lane, links in zip(self.lanes, self.links, strict=True)
        )
        fed = {successor for links in self.links for successor in links}
        lanes = tuple(
            replace(lane, entry=lane.entry or (index not in fed and lane.use == Use.DRIVE))
            for index, lane in enumerate(lanes)
        )
        conflicts = tuple(find_conflicts(lanes))
        return RoadMap(
            name, lanes, tuple(self.signals), conflicts, tuple(self.boxes), tuple(self.areas), tuple(self.stripes)
        )
