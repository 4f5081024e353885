"""Figures of many drives, with their intervals, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stalwart.core.statistics import wilson
from stalwart.drive.scores.episode import Episode
from stalwart.drive.scores.safety import poisson_interval

_MEANS = (
    "carla", "nuplan", "completion", "off_road_share", "wrong_way_share", "rss_unsafe_share", "speeding_share",
)  # fmt: skip


def figures(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Shares with Wilson's intervals, rates per 1000 km with Garwood's, means, the least time to collision.

    `clean` counts drives that reach the goal without collision, red light, stop sign, wrong way or leaving the road.
    """
    n, km = len(episodes), sum(max(e.way_m, 0.0) for e in episodes) / 1000
    counts = {
        "collisions": sum(e.collision is not None for e in episodes),
        "at_fault_collisions": sum(e.collision is not None and e.at_fault for e in episodes),
        "red_lights": sum(e.red_lights for e in episodes),
        "stop_signs": sum(e.stop_signs for e in episodes),
        "rss_violations": sum(e.rss_violations for e in episodes),
    }
    out: dict[str, Any] = {"drives": n, "km": km, **counts}
    for name, count in counts.items():
        out[f"{name}_per_1000km"] = 1000 * count / km if km > 0 else None
        out[f"{name}_per_1000km_95"] = [1000 * k for k in poisson_interval(count, km)] if km > 0 else None
    for name, good in (
        ("clean", [not e.failures for e in episodes]),
        ("comfortable", [e.comfortable for e in episodes]),
        ("timeouts", [e.timeout for e in episodes]),
        ("off_road", [e.off_road_share > 0 for e in episodes]),
        ("wrong_way", [e.wrong_way_share > 0 for e in episodes]),
    ):
        out[name], out[f"{name}_95"] = sum(good) / n, list(wilson(sum(good), n))
    for name in _MEANS:
        out[f"mean_{name}"] = sum(getattr(e, name) for e in episodes) / n
    times = [e.least_ttc_s for e in episodes if e.least_ttc_s is not None]
    out["least_ttc_s"] = min(times) if times else None
    return out
