"""A driver through sensors: what it senses, on which rig, what may stand between, and the policy that acts on it.

``SensorDriver(world, policy)`` drives; everything from the textures to the controls is PyTorch, so an attack can follow
the gradient from what the policy does back to the pixel, the echo or the texture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stalwart.core.errors import ContractError
from stalwart.drive.dressing import Dressed
from stalwart.drive.observation import PATH_M
from stalwart.drive.routes import route_ahead
from stalwart.drive.scene import Bytes, Scene
from stalwart.drive.sensors import camera as cameras
from stalwart.drive.sensors import lidar as lidars
from stalwart.drive.sensors.camera import Camera, Frames
from stalwart.drive.sensors.lidar import Lidar, Scan
from stalwart.drive.sensors.navigation import Motion, Navigation
from stalwart.drive.sensors.shade import shade
from stalwart.drive.sensors.skins import Look, default_look
from stalwart.drive.simulation import Worlds
from stalwart.drive.world.bodies import BODIES

OWN = 4 + 2 * len(PATH_M)
"""Numbers of `Sensed.own`: 14."""
Fault = Callable[[Bytes, Scene], Bytes]
"""Pictures (W, 3, H, B) uint8 and the scene → pictures as they come through: `sensors.faults`."""


@dataclass(frozen=True, eq=False)
class Sensed:
    """What W drivers sense in one step; float32, one row for each world."""

    camera: Tensor
    """(W, 3, H, B) in [0, 1]; all 0 where there is no camera."""
    lidar: Tensor
    """(W, 3, channels, azimuths): range over the LiDAR's reach `greatest_m`; intensity in [0, 1]; 1 where there is an
    echo. All 0 where nothing is heard. Order as `sensors.lidar.Scan`."""
    own: Tensor
    """(W, 14) speed [m/s], acceleration [m/s²], yaw rate [rad/s], speed limit [m/s]; then x, y [m] of the route 0, 5,
    10, 20 and 40 m ahead in the own frame (ahead, left), as a map shows them to one who is where the GPS says."""
    lookout: Tensor | None = None
    """(W, 3, h, b) in [0, 1], from the rig's second camera; all 0 where there is no camera, None where the rig has no
    second one."""

    def select(self, index: Any) -> Sensed:
        """The worlds at `index` (integers, a slice or a bool mask)."""
        return self.each(lambda part: part[index])

    def detached(self, *watched: Literal["camera", "lidar", "own", "lookout"]) -> Sensed:
        """A copy cut off from what it was computed from; those `watched` ask for gradients."""
        parts = {name: part.detach().clone() for name, part in self.parts().items()}
        return Sensed(**{name: part.requires_grad_(name in watched) for name, part in parts.items()})

    def to(self, device: torch.device | str) -> Sensed:
        return self.each(lambda part: part.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Sensed:
        """The same with every part changed."""
        return Sensed(**{name: change(part) for name, part in self.parts().items()})

    def parts(self) -> dict[str, Tensor]:
        """What there is, by name."""
        found = {"camera": self.camera, "lidar": self.lidar, "own": self.own}
        return found if self.lookout is None else {**found, "lookout": self.lookout}


def joined(parts: Sequence[Sensed]) -> Sensed:
    """What several sensed, worlds one after the other; all of one rig."""
    told = [one.parts() for one in parts]
    return Sensed(**{name: torch.cat([one[name] for one in told]) for name in told[0]})


@dataclass(frozen=True, eq=False)
class Perceived:
    """The world as a policy perceives it, from above; R × C cells of its `birdseye.Grid`, logits before the sigmoid."""

    drivable: Tensor
    """(W, R, C) logits: ground that a car may be on."""
    agents: Tensor
    """(W, R, C) logits: somebody is there."""
    velocity: Tensor
    """(W, 2, R, C) m/s over ground, ahead and left, of whoever is there."""
    route: Tensor
    """(W, R, C) logits: the lane of the own route."""
    signal: Tensor
    """(W, 6) logits of `birdseye.SIGNALS`: what rules at the next stop line within 40 m."""
    line_m: Tensor
    """(W,) way to that line."""


@dataclass(frozen=True, eq=False)
class Acted:
    """What a policy does, differentiable in what it sensed."""

    controls: Tensor
    """(W, 2) acceleration [m/s²] and steering angle [rad], as `Worlds.step` takes them."""
    waypoints: Tensor
    """(W, 5, 2) where it means the route to be 0, 5, 10, 20 and 40 m ahead: ahead, left [m]."""
    perceived: Perceived


@dataclass(frozen=True)
class Rig:
    """A car's sensors."""

    camera: Camera = field(default_factory=Camera)
    lidar: Lidar = field(default_factory=Lidar)
    navigation: Navigation = field(default_factory=Navigation)
    faults: tuple[Fault, ...] = ()
    """What goes wrong with the camera, in order."""
    without: Literal["camera", "lidar"] | None = None
    """A sensor that is left out: its readings are all 0. Without 'camera' there is no second one either."""
    lookout: Camera | None = None
    """A second camera, such as one that looks for signal heads at the kerb."""

    def read(
        self, world: Worlds, dressed: Dressed, *, look: Look | None = None, textures: Mapping[str, Tensor] | None = None
    ) -> tuple[Sensed, Moment]:
        """What the first driver of each world senses now.

        Args:
            look: the bank of textures and the skins; None: the default.
            textures: by name in place of the bank's (`sensors.shade.shade`); the camera's pictures are differentiable
                in them. Faults pass gradients straight through.
        """
        scene = dressed.scene()
        frames, picture = self._picture(self.camera, scene, look, textures)
        if self.faults and self.without != "camera":
            picture = self._spoiled(picture, frames, scene)
        second = None if self.lookout is None else self._picture(self.lookout, scene, look, textures)[1]
        heard = None
        echoes = torch.zeros(world.worlds, 3, self.lidar.channels, self.lidar.azimuths)
        if self.without != "lidar":
            heard = lidars.scan(scene, self.lidar)
            echoes = _echoes(heard, self.lidar)
        sensed = Sensed(picture, echoes, torch.from_numpy(_own(world, scene, self.navigation)), second)
        return sensed, Moment(world, scene, frames, heard, self)

    def _picture(
        self, camera: Camera, scene: Scene, look: Look | None, textures: Mapping[str, Tensor] | None
    ) -> tuple[Frames, Tensor]:
        frames = cameras.room(camera, scene.worlds, affine=textures is not None)
        if self.without == "camera":
            return frames, torch.zeros(scene.worlds, 3, camera.height, camera.width)
        cameras.see(scene, camera, look=look, out=frames)
        whole = torch.from_numpy(frames.rgb).float() / 255
        bank = (look or default_look()).textures
        return frames, whole if textures is None else shade(frames, bank, textures)

    def _spoiled(self, picture: Tensor, frames: Frames, scene: Scene) -> Tensor:
        """The camera's picture with its faults; slopes pass straight through."""
        sloped = frames.gain is not None
        rgb = (picture.detach() * 255).round().byte().cpu().numpy() if sloped else frames.rgb
        for fault in self.faults:
            rgb = fault(rgb, scene)
        through = torch.from_numpy(rgb).float().to(picture) / 255
        return picture + (through - picture).detach() if sloped else through


@dataclass(frozen=True, eq=False)
class Moment:
    """What else there is when something is sensed: for tampers, which may know all of it, and for reports."""

    world: Worlds
    scene: Scene
    """Its arrays are written to in the next step."""
    frames: Frames
    """What the camera saw, with depth, class and instance; not filled where there is no camera."""
    scan: Scan | None
    """What the LiDAR heard, with class and instance."""
    rig: Rig
    memory: Tensor | None = None
    """(W, M) the policy's memory before this step."""


Tamper = Callable[[Sensed, Moment, int], Sensed]
"""What stands between sensors and driver, an attack, a fault or a test of a defence: (what is sensed, the moment, steps
since the driver began) → what the driver gets instead. It may use gradients under ``torch.enable_grad()``."""


def together(*tampers: Tamper) -> Tamper:
    """One after the other, each on what the last one left."""

    def all_of_them(sensed: Sensed, moment: Moment, tick: int) -> Sensed:
        for tamper in tampers:
            sensed = tamper(sensed, moment, tick)
        return sensed

    return all_of_them


class SensorPolicy(Protocol):
    """What drives through sensors, an nn.Module such as the model `driver(...)`."""

    rig: Rig
    """The sensors that it was made for."""

    def __call__(self, sensed: Sensed, memory: Tensor | None = None) -> tuple[Acted, Tensor]:
        """What to do, and the memory (W, M) for the next step; rows of 0, or None, are a fresh one."""
        ...


class SensorDriver:
    """A driver for all worlds through its policy's sensors: ``score(lambda world: SensorDriver(world, policy))``.

    Args:
        policy: in evaluation mode, on any device.
        rig: other sensors than the policy's own, such as a camera with faults.
        tamper: what stands between sensors and policy; see `Tamper` and `together`.
        dressed: the worlds as cameras see them; None: as they were made.
        look: textures and skins, such as those with a patch.
    """

    def __init__(
        self, world: Worlds, policy: SensorPolicy, rig: Rig | None = None, tamper: Tamper | None = None,
        dressed: Dressed | None = None, look: Look | None = None,
    ) -> None:  # fmt: skip
        self.world, self.policy, self.tamper, self.look = world, policy, tamper, look
        self.rig = policy.rig if rig is None else rig
        self.dressed = Dressed(world) if dressed is None else dressed
        parameters: Any = getattr(policy, "parameters", None)
        self.device = next(iter(parameters()), torch.zeros(0)).device if parameters else torch.device("cpu")
        self.memory: Tensor | None = None
        self.tick = 0
        self.sensed: Sensed | None = None
        """What the policy got in the last step, tampered with."""
        self.acted: Acted | None = None
        """What it did."""

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what was, in the worlds of the mask (W,)."""
        if self.memory is not None:
            kept = torch.from_numpy(~np.asarray(mask)).to(self.memory)
            self.memory = self.memory * kept[:, None]

    def __call__(self) -> NDArray[np.float32]:
        """(W, E, 2) controls for `Worlds.step`; 0 for others than the first driver of each world.

        Raises:
            ContractError: the policy's controls are of another shape.
        """
        with torch.no_grad():
            sensed, moment = self.rig.read(self.world, self.dressed, look=self.look)
            sensed = sensed.to(self.device)
            if self.tamper is not None:
                sensed = self.tamper(sensed, replace(moment, memory=self.memory), self.tick)
            self.sensed = sensed
            self.acted, self.memory = self.policy(sensed, self.memory)
        self.tick += 1
        mine = self.acted.controls.cpu().numpy()
        if mine.shape != (self.world.worlds, 2):
            raise ContractError(f"policy: controls must be of ({self.world.worlds}, 2). Got {mine.shape}.")
        controls = np.zeros((self.world.worlds, self.world.egos, 2), np.float32)
        controls[:, 0] = mine
        return controls


def _echoes(heard: Scan, lidar: Lidar) -> Tensor:
    hit = heard.range_m > 0
    rows = np.stack([heard.range_m / lidar.greatest_m, heard.intensity, hit], 1)
    return torch.from_numpy(rows.astype(np.float32))


def _own(world: Worlds, scene: Scene, navigation: Navigation) -> NDArray[np.float32]:
    """(W, 14) see `Sensed.own`."""
    s = world.state
    speed, steer = s.speed_mps[:, 0], s.steer_rad[:, 0]
    tangent = np.tan(steer)
    base = np.array([BODIES[kind].wheelbase_m for kind in s.kind[:, 0]], np.float32)
    turning = (speed * tangent / base / np.sqrt(1 + tangent**2 / 4)).astype(np.float32)
    truth = Motion(s.x_m[:, 0], s.y_m[:, 0], s.yaw_rad[:, 0], speed, s.accel_mps2[:, 0], turning)
    read = navigation.read(scene, truth)
    cosine, sine = np.cos(truth.yaw_rad), np.sin(truth.yaw_rad)
    east, north = read.x_m - truth.x_m, read.y_m - truth.y_m
    off = np.stack([east * cosine + north * sine, north * cosine - east * sine], -1)  # where it thinks it is
    here = np.zeros((world.worlds, 1), np.float32)
    tangent_here = route_ahead(world.tables, s.floats, s.ints, s.route, here)[:, 0, 2:]
    way = (off * tangent_here).sum(-1, keepdims=True) + PATH_M
    points = route_ahead(world.tables, s.floats, s.ints, s.route, way)[..., :2] - off[:, None]
    turn = (read.yaw_rad - truth.yaw_rad)[:, None]
    c, n = np.cos(turn), np.sin(turn)
    x, y = c * points[..., 0] + n * points[..., 1], c * points[..., 1] - n * points[..., 0]
    limit = world.observe()[:, 0, 6]
    first = np.stack([read.speed_mps, read.accel_mps2, read.yaw_rate_radps, limit], -1)
    return np.concatenate([first, np.stack([x, y], -1).reshape(world.worlds, -1)], -1).astype(np.float32)
