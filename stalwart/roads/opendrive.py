"""The roads of an OpenDRIVE file."""

from __future__ import annotations

from stalwart.core.component import component
from stalwart.drive.geometry.lanes import RoadMap
from stalwart.drive.opendrive.build import load


@component
class opendrive:
    """Lanes, junctions, marks, traffic lights, stop and yield signs of an OpenDRIVE file, as CARLA's towns have them.

    Heights are not read: the world is flat. What else a file holds and is not read is said in one warning.
    """

    path: str
    """The file, such as Town01.xodr."""

    def build(self) -> RoadMap:
        return load(self.path)
