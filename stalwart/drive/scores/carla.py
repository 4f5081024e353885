"""CARLA's driving score."""

from __future__ import annotations

from dataclasses import dataclass

from stalwart.core.errors import InputError


@dataclass(frozen=True)
class Infractions:
    """What somebody did on a route."""

    pedestrians: int = 0
    vehicles: int = 0
    static: int = 0
    red_lights: int = 0
    stop_signs: int = 0
    timeouts: int = 0
    off_lane_share: float = 0.0
    """Share of the way off the lanes."""

    def penalty(self) -> float:
        """The product of .50, .60, .65, .70, .80, .70 for each infraction, times 1 − the share off the lanes."""
        if min(self.pedestrians, self.vehicles, self.static, self.red_lights, self.stop_signs, self.timeouts) < 0:
            raise InputError(f"Infractions must be counts of at least 0. Got {self!r}.")
        if not 0 <= self.off_lane_share <= 1:
            raise InputError(f"Infractions.off_lane_share must lie in [0, 1]. Got {self.off_lane_share!r}.")
        product = 0.50**self.pedestrians * 0.60**self.vehicles * 0.65**self.static
        product *= 0.70**self.red_lights * 0.80**self.stop_signs * 0.70**self.timeouts
        return product * (1 - self.off_lane_share)


def driving_score(completion: float, infractions: Infractions) -> float:
    """Route completion in [0, 1] times the penalty, in [0, 1]: the CARLA Leaderboard 1.0 formula for one route.

    Raises:
        InputError: a completion outside [0, 1], or counts below 0.
    """
    if not 0 <= completion <= 1:
        raise InputError(f"driving_score: completion must lie in [0, 1]. Got {completion!r}.")
    return completion * infractions.penalty()
