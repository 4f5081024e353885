"""The network of `driver`: camera and LiDAR to the world from above, over time, and on to the controls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stalwart.drive.birdseye import FARTHEST_M, SIGNALS, Grid
from stalwart.drive.observation import PATH_M
from stalwart.drive.sensing import OWN, Acted, Perceived, Rig, Sensed
from stalwart.models._driver_lookout import Lookout
from stalwart.models._driver_plan import KEPT, allowed, planned, pursued, remembered
from stalwart.models._driver_views import Glances, Onto, Pillars, near_route, warped

_OWN_SCALE = torch.tensor([10.0, 3.0, 0.3, 15.0, *(10.0, 5.0) * len(PATH_M)])
_MOST_ASIDE_M = 4.0
_BRAKE_MPS2, _ACCEL_MPS2, _STEER_RAD = -9.0, 3.0, 0.6
_STEP_S = 0.1
_IMAGE, _SCENE, _STATE, _GLANCES = 64, 128, 96, 4
_GAIN = 10.0
"""Of the maps' last layer: a step of Adam changes each weight by the learning rate, and a map has few of them."""
_MOMENTUM = 0.03
"""Of the batch statistics: a batch is one moment of a few worlds."""


def _conv(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=_MOMENTUM),
        nn.ReLU(inplace=True),
    )


class DriverNet(nn.Module):
    """See `models.driver`. A `sensing.SensorPolicy`.

    Memory (W, M): maps of `memory` channels on cells of 2 m, moved along with the driver, then a GRU's state; with a
    second camera also the stop signs that it has seen and stood at, see `_driver_plan.remembered`.
    """

    def __init__(self, rig: Rig, width: int, memory: int) -> None:
        super().__init__()
        self.rig, self.grid = rig, Grid()
        self.coarse = Grid(cell_m=2 * self.grid.cell_m)
        self.channels = memory
        self.first = nn.Sequential(
            nn.Conv2d(3, width, 6, 4, 1, bias=False),
            nn.BatchNorm2d(width, momentum=_MOMENTUM),
            nn.ReLU(inplace=True),
            _conv(width, width),
        )
        self.second = _conv(width, 2 * width, 2)
        self.broad, self.deep = nn.Conv2d(width, 16, 1), nn.Conv2d(2 * width, 16, 1)
        self.low, self.high = Onto(rig.camera, self.grid, 0.0), Onto(rig.camera, self.coarse, 1.0)
        self.lift = _conv(16, 16, 2)
        self.pillars = Pillars(rig.lidar, self.coarse)
        self.fuse = _conv(16 + 16 + Pillars.CHANNELS + 1 + 2 + 2, width)
        self.gates = nn.Conv2d(width + memory, 2 * memory, 1)
        self.fresh = nn.Conv2d(width + memory, memory, 3, 1, 1)
        self.trunk = nn.Sequential(_conv(width + memory, 2 * width), _conv(2 * width, 2 * width, size=1))
        self.maps = nn.Conv2d(2 * width, 5 * 4, 1)
        shrunk = self.coarse.rows // 2 * (self.coarse.columns // 2)
        self.scene = nn.Sequential(
            _conv(2 * width, 32, 2), nn.Flatten(), nn.Linear(32 * shrunk, _SCENE), nn.ReLU(inplace=True)
        )
        pixels = (rig.camera.height // 8) * (rig.camera.width // 8)
        self.image = nn.Sequential(
            nn.Conv2d(2 * width, 16, 1), nn.Flatten(), nn.Linear(16 * pixels, _IMAGE), nn.ReLU(inplace=True)
        )
        self.glances = Glances(16, _GLANCES, rig.camera.height // 4, rig.camera.width // 4)
        told = _SCENE + _IMAGE + self.glances.outputs + OWN
        self.state = nn.GRUCell(told, _STATE)
        told += _STATE
        self.line = nn.Linear(told, len(SIGNALS) + 1)
        self.aside = nn.Linear(told, len(PATH_M))
        self.lookout = None if rig.lookout is None else Lookout(rig.lookout, max(width * 3 // 4, 1))
        last = nn.Linear(64, 1)
        self.accel = nn.Sequential(nn.Linear(told + len(SIGNALS) + 1, 64), nn.ReLU(inplace=True), last)
        for layer in (self.aside, last, self.maps):
            assert isinstance(layer.bias, Tensor)
            nn.init.zeros_(layer.weight)  # it begins by following its map, with nobody there
            nn.init.zeros_(layer.bias)
            if layer is self.maps:
                nn.init.constant_(layer.bias[4:8], -5.0 / _GAIN)  # the share of cells with somebody

    @property
    def remembered(self) -> int:
        """Numbers of memory."""
        return self._mapped + _STATE + (KEPT if self.lookout is not None else 0)

    @property
    def _mapped(self) -> int:
        return self.channels * self.coarse.rows * self.coarse.columns

    def forward(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        """What to do, and the memory for the next step; see `sensing.SensorPolicy`."""
        own, count = sensed.own, len(sensed.own)
        if memory is None:
            memory = own.new_zeros(count, self.remembered)
        maps, before = memory[:, : self._mapped], memory[:, self._mapped : self._mapped + _STATE]
        signs = None if self.lookout is None else memory[:, -KEPT:]
        held = maps.reshape(count, self.channels, self.coarse.rows, self.coarse.columns)
        held = warped(held, self.coarse, own[:, 0] * _STEP_S, own[:, 2] * _STEP_S)
        points = own[:, 4:].reshape(count, -1, 2)

        there = (sensed.camera.amax((1, 2, 3)) > 0).to(own)[:, None, None, None]  # blind, it says that it sees nothing
        pixels = ((sensed.camera - 0.45) / 0.25).contiguous(memory_format=torch.channels_last)
        first = self.first(pixels)
        second = self.second(first)
        seen = self.broad(first) + nn.functional.interpolate(self.deep(second), scale_factor=2.0, mode="nearest")
        some = (sensed.lidar[:, 2].amax((1, 2)) > 0).to(own)[:, None, None, None]
        shape = self.coarse.rows, self.coarse.columns
        places = torch.from_numpy(self.coarse.middles).to(own).permute(2, 0, 1) / 20
        now = self.fuse(torch.cat([
            there * self.lift(self.low(seen)), there * self.high(seen), self.pillars(sensed.lidar),
            near_route(points, self.coarse)[:, None], places.expand(count, -1, -1, -1),
            torch.cat([there, some], 1).expand(-1, -1, *shape),
        ], 1).contiguous(memory_format=torch.channels_last))  # fmt: skip
        reset, keep = torch.sigmoid(self.gates(torch.cat([now, held], 1))).chunk(2, 1)
        held = torch.lerp(torch.tanh(self.fresh(torch.cat([now, reset * held], 1))), held, keep)
        above = self.trunk(torch.cat([now, held], 1))

        scaled = own / _OWN_SCALE.to(own)
        blind = torch.cat(
            [scaled[:, :1], 0 * scaled[:, 1:2], scaled[:, 2:]], 1
        )  # what it does now is no reason to go on
        shown = there[:, :, 0, 0] * torch.cat([self.image(second), self.glances(seen)], 1)
        told = torch.cat([self.scene(above), shown, blind], 1)
        state = self.state(told, before)
        known = torch.cat([state, told], 1)
        ruling = self.line(known)
        if self.lookout is not None and sensed.lookout is not None:
            sees = sensed.lookout.amax((1, 2, 3)) > 0
            ruling = torch.where(sees[:, None], self.lookout(sensed.lookout), ruling)
        perceived, line = self._perceive(above, ruling)
        aside = _MOST_ASIDE_M * torch.tanh(self.aside(known))
        waypoints = torch.stack([points[..., 0], points[..., 1] + aside], -1)
        speed, limit = own[:, 0], own[:, 3]
        signs = None if signs is None else remembered(signs, perceived, speed)
        plan = planned(perceived, waypoints, speed, limit, self.grid, signs)
        accel = torch.minimum(plan + 3 * self.accel(torch.cat([known, line], 1))[:, 0], allowed(speed, limit))
        controls = torch.stack(
            [accel.clamp(_BRAKE_MPS2, _ACCEL_MPS2), pursued(waypoints, speed).clamp(-_STEER_RAD, _STEER_RAD)], 1
        )
        kept = [held.flatten(1), state] if signs is None else [held.flatten(1), state, signs.detach()]
        return Acted(controls, waypoints, perceived), torch.cat(kept, 1)

    def _perceive(self, above: Tensor, line: Tensor) -> tuple[Perceived, Tensor]:
        maps = nn.functional.pixel_shuffle(_GAIN * self.maps(above), 2)
        drivable, agents, route, ahead, left = maps.unbind(1)
        signal, way = line[:, :-1], FARTHEST_M * torch.sigmoid(line[:, -1])
        velocity = 3 * torch.stack([ahead, left], 1)
        seen = Perceived(drivable, agents, velocity, route, signal, way)
        return seen, torch.cat([signal.softmax(1), way[:, None] / FARTHEST_M], 1)
