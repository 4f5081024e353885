"""A driver through camera and LiDAR."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.component import at_least, between, component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.drive.sensing import Rig
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar
from stalwart.models._driver_lookout import CAMERA
from stalwart.models._driver_net import DriverNet


@component
class driver:
    """Camera and LiDAR to the world from above, over time, to acceleration and steering angle.

    Not a classifier of images: `drive.sensing.SensorDriver` drives with it.
    """

    height: Annotated[int, between(16, 512)] = 64
    """Of the camera's picture in pixels, a multiple of 8."""
    width: Annotated[int, between(16, 1024)] = 96
    """Likewise."""
    fov_deg: Annotated[float, between(20, 150)] = 80.0
    """The camera's horizontal field of view."""
    channels: Annotated[int, between(1, 128)] = 16
    """Of the LiDAR."""
    azimuths: Annotated[int, between(16, 4096)] = 256
    """Rays of each channel in a turn."""
    features: Annotated[int, between(4, 512)] = 16
    """Channels of the network's maps."""
    memory: Annotated[int, at_least(1)] = 8
    """Channels of the maps that it remembers."""
    lookout: bool = False
    """Whether a second camera looks for signal heads and signs at the kerb."""

    def __post_init__(self) -> None:
        if self.height % 8 or self.width % 8:
            raise InputError(f"driver: height and width must be multiples of 8. Got {self.height} and {self.width}.")

    @property
    def rig(self) -> Rig:
        """The sensors that it drives with."""
        first = Camera(self.height, self.width, self.fov_deg)
        return Rig(first, Lidar(self.channels, self.azimuths), lookout=CAMERA if self.lookout else None)

    def build(self, signature: Signature) -> nn.Module:
        return DriverNet(self.rig, self.features, self.memory)

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        pass
