"""What a driver's second camera tells of the next stop line: what rules there, and how far it is.

The camera looks over the kerb on the right, where signal heads and signs stand, with 2.4 times the focal length of the
first one. What rules is small and anywhere in the picture, so features are pooled by their greatest values and by a few
glances, and never tied to places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stalwart.drive.birdseye import SIGNALS
from stalwart.drive.sensors.camera import Camera
from stalwart.models._driver_views import Glances

CAMERA = Camera(64, 128, 50.0, yaw_deg=-20.0, horizon=0.95)
"""From 5 degrees to the left to 45 to the right, up to 24 above the horizon. While an expert drives, 96 of 100 heads
that rule from 2 to 40 m away lie 3 to 45 degrees to the right."""
_MOMENTUM, _GLANCES = 0.03, 4


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=_MOMENTUM),
        nn.ReLU(inplace=True),
    )


class Lookout(nn.Module):
    """Pictures (W, 3, h, b) in [0, 1], sides multiples of 4, to (W, 7): logits of `birdseye.SIGNALS`, then the logit of
    the way to the line as a share of the farthest."""

    def __init__(self, camera: Camera, width: int) -> None:
        super().__init__()
        self.camera = camera
        self.features = nn.Sequential(
            _conv(3, width, 5, 2), _conv(width, 2 * width, 3, 2), _conv(2 * width, 2 * width, 3, 1)
        )
        self.glances = Glances(2 * width, _GLANCES, camera.height // 4, camera.width // 4)
        told = 2 * width + self.glances.outputs
        last = nn.Linear(64, len(SIGNALS) + 1)
        self.tell = nn.Sequential(nn.Linear(told, 64), nn.ReLU(inplace=True), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        seen = self.features(((pictures - 0.45) / 0.25).contiguous(memory_format=torch.channels_last))
        told: Tensor = self.tell(torch.cat([seen.amax((2, 3)), self.glances(seen)], 1))
        return told
