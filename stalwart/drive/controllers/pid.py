"""A PID controller for many cars at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PID:
    """output = kp e + ki ∫e + kd de/dt, between `low` and `high`; where it is at a bound, the integral waits.

    State is one number for each car; `reset` forgets it for some.
    """

    def __init__(
        self, cars: int, kp: float, ki: float = 0.0, kd: float = 0.0, low: float = -9.0, high: float = 3.0
    ) -> None:
        self.kp, self.ki, self.kd, self.low, self.high = kp, ki, kd, low, high
        self._sum = np.zeros(cars)
        self._last = np.full(cars, np.nan)

    def __call__(self, error: NDArray[np.floating], dt_s: float) -> NDArray[np.float64]:
        """The output (cars,) for an error (cars,)."""
        slope = np.where(np.isnan(self._last), 0.0, (error - self._last) / dt_s)
        wanted = self.kp * error + self.ki * (self._sum + error * dt_s) + self.kd * slope
        output = np.clip(wanted, self.low, self.high)
        self._sum += np.where(output == wanted, error * dt_s, 0.0)
        self._last = np.array(error, np.float64)
        return output

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what has been, for the cars of the mask."""
        self._sum[mask] = 0.0
        self._last[mask] = np.nan
