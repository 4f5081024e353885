"""What a drive came to: kept step by step while worlds run, one record for each world in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalwart.drive.geometry.tables import LIMIT_MPS
from stalwart.drive.planners.along import along_route, courses, safe_beside_m
from stalwart.drive.planners.rss import proper_brake, rss_distance_on
from stalwart.drive.scenarios.stage import Stage
from stalwart.drive.scene import Class
from stalwart.drive.scores import nuplan
from stalwart.drive.scores.carla import Infractions, driving_score
from stalwart.drive.scores.foreseen import least_times
from stalwart.drive.simulation import Outcome

RESPONSE_S = 0.5
"""RSS: who has been too near for so long must be braking as hard as `rss.proper_brake` says."""
_NO_VEHICLE = ("pedestrian", "static", "obstacle")


@dataclass(frozen=True)
class Episode:
    """One world's drive, from its start to a collision, the goal, or the time limit."""

    scenario: str
    world: int
    """Its number on the stage: with the scenario, split and seed it is replayed."""
    variant: Mapping[str, Any]
    """What is swept, and what turned out on the way."""
    seconds: float
    way_m: float
    completion: float
    """Share of the way to the goal, in [0, 1]."""
    collision: str | None
    """What it touched, in lower case: 'car', 'pedestrian', ..., 'static'; None where nothing."""
    at_fault: bool
    red_lights: int
    stop_signs: int
    off_road_share: float
    """Share of the way."""
    wrong_way_share: float
    """Share of the time."""
    timeout: bool
    """Short of the goal at the time limit."""
    least_ttc_s: float | None
    """Least time to collision; None: never within 3 s."""
    rss_unsafe_share: float
    """Share of the time nearer to who is ahead than RSS has it."""
    rss_violations: int
    """Times that it did not respond to that as RSS wants."""
    speeding_share: float
    """Share of the time more than 5 % above the limit."""
    comfortable: bool
    carla: float
    """CARLA's driving score, in [0, 1]."""
    nuplan: float
    """nuPlan's closed-loop score, in [0, 1]."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What went wrong, in words; empty where nothing did."""
        said = (
            (self.collision is not None, f"collision with {self.collision}" + (", at fault" if self.at_fault else "")),
            (self.red_lights > 0, "red light"), (self.stop_signs > 0, "stop sign"),
            (self.off_road_share > 0, "off the road"), (self.wrong_way_share > 0, "wrong way"),
            (self.timeout, f"goal not reached: {self.completion:.0%}"),
        )  # fmt: skip
        return tuple(words for happened, words in said if happened)


class Log:
    """What happens to the first driver of each world of a stage; a world is closed at a collision or at its goal."""

    def __init__(self, stage: Stage) -> None:
        worlds = stage.world.worlds
        self.stage = stage
        self.open = np.ones(worlds, np.bool_)
        """(W,) worlds that still run."""
        self._ticks = np.zeros(worlds, np.int64)
        self._way, self._off_m, self._least = np.zeros(worlds), np.zeros(worlds), np.full(worlds, np.inf)
        self._hit, self._fault = np.full(worlds, -1), np.zeros(worlds, np.bool_)
        self._arrived = np.zeros(worlds, np.bool_)
        self._counts = np.zeros((6, worlds), np.int64)
        self._unsafe_s = np.zeros(worlds)
        self._times = np.zeros((worlds, stage.world.egos), np.float32)
        self._course: list[NDArray[np.float32]] = []

    def note(self, outcome: Outcome) -> None:
        """Add a step that has just been made."""
        world, on = self.stage.world, self.open.copy()
        s, dt = world.state, world.dt_s
        self._ticks += on
        moved = np.where(on, outcome.progress_m[:, 0], 0.0)
        self._way += moved
        self._off_m += np.where(outcome.off_road[:, 0], np.abs(moved), 0.0)
        least_times(s.floats, s.ints, self._times)
        self._least = np.where(on, np.minimum(self._least, self._times[:, 0]), self._least)
        limit = world.tables.lane_f[s.lane[:, 0], LIMIT_MPS]
        unsafe = _too_near(self.stage)
        before = self._unsafe_s.copy()
        proper = proper_brake(s.grip_mps2)
        improper = unsafe & (before >= RESPONSE_S) & (s.accel_mps2[:, 0] > 0.25 - proper)
        improper &= s.speed_mps[:, 0] > 0.3  # who stands has responded
        # One violation is one stretch: time already spent improperly is set far ahead, until it is safe again.
        fresh = improper & (before < 1e6)
        self._unsafe_s = np.where(unsafe, np.where(fresh, 1e6, before + dt), 0.0)
        flags = (
            outcome.ran_red[:, 0], outcome.ran_stop[:, 0], outcome.wrong_way[:, 0],
            s.speed_mps[:, 0] > 1.05 * limit, unsafe, fresh,
        )  # fmt: skip
        for row, flag in zip(self._counts, flags, strict=True):
            row += flag & on
        self._course.append(np.stack([s.speed_mps[:, 0], s.yaw_rad[:, 0]]))
        crashed = on & outcome.hit[:, 0]
        self._hit = np.where(crashed, s.hit[:, 0], self._hit)
        self._fault |= crashed & outcome.fault[:, 0]
        self.open &= ~(crashed | outcome.arrived[:, 0] | (self._way >= self.stage.goal_m))
        self._arrived |= on & outcome.arrived[:, 0]

    def episodes(self, scenario: str) -> list[Episode]:
        """What each world came to."""
        facts = self.stage.facts() if self.stage.facts is not None else [{} for _ in self.open]
        return [self._episode(w, scenario, facts[w]) for w in range(len(self.open))]

    def _episode(self, w: int, scenario: str, facts: dict[str, Any]) -> Episode:
        stage, ticks = self.stage, max(int(self._ticks[w]), 1)
        red, stop, wrong, fast, unsafe, violations = (int(n) for n in self._counts[:, w])
        completion = 1.0 if self._arrived[w] else float(np.clip(self._way[w] / stage.goal_m[w], 0, 1))
        touched = self._touched(w)
        off = float(np.clip(self._off_m[w] / max(self._way[w], 1.0), 0, 1))
        late = bool(self.open[w])
        happened = Infractions(
            pedestrians=int(touched == "pedestrian"), vehicles=int(touched is not None and touched not in _NO_VEHICLE),
            static=int(touched == "static"), red_lights=red, stop_signs=stop, timeouts=int(late), off_lane_share=off,
        )  # fmt: skip
        course = np.stack(self._course[:ticks])[..., w]
        smooth = ticks * stage.world.dt_s < 1.6 or nuplan.comfortable(course[:, 0], course[:, 1], stage.world.dt_s)
        least = float(self._least[w])
        judged = nuplan.Drive(
            at_fault_collision=bool(self._fault[w]), off_road=off > 0, wrong_way=wrong > 0, progress=completion,
            least_ttc_s=least, speeding=fast / ticks, comfortable=smooth,
        )  # fmt: skip
        return Episode(
            scenario, w, {**stage.variants[w], **facts}, ticks * stage.world.dt_s, float(self._way[w]), completion,
            touched, bool(self._fault[w]), red, stop, off, wrong / ticks, late, least if np.isfinite(least) else None,
            unsafe / ticks, violations, fast / ticks, smooth, driving_score(completion, happened), nuplan.score(judged),
        )  # fmt: skip

    def _touched(self, w: int) -> str | None:
        other, s = int(self._hit[w]), self.stage.world.state
        if other < 0:
            return None
        return Class(int(s.kind[w, other])).name.lower() if other < s.agents else "static"


def _too_near(stage: Stage) -> NDArray[np.bool_]:
    """(W,) whether someone ahead on the route is nearer than RSS has it, both along the route and across it."""
    world = stage.world
    s, near = world.state, along_route(world)
    along, across = courses(world)
    safe = rss_distance_on(s.grip_mps2[:, None], s.speed_mps[:, :1], np.maximum(along[:, 0], 0.0))
    room = safe_beside_m(near, across)[:, 0]
    ahead = (near.ahead_m[:, 0] > 0) & (near.ahead_m[:, 0] < 1e3)
    dangerous = ahead & (near.clear_m[:, 0] < safe) & (near.beside_m[:, 0] < room)
    return np.asarray(dangerous.any(-1))
