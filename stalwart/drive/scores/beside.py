"""Two drivers on the same drives: how far one is above the other, drive by drive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stalwart.core.statistics import bootstrap, sign_test

FIGURES = ("carla", "nuplan", "completion")
_ROUNDING = 1e-9


def beside(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `one` has more than `other`, of drives of the same suite, split and seed in the same order.

    Args:
        one, other: `episodes` of a result of `suite.score`.

    Returns:
        For each of `FIGURES` and for `clean` (1 for a drive without a failure): `difference`, the mean over drives;
        `difference_95`, its bootstrap interval over drives; `difference_95_by_map`, over whole maps, as drives on
        one map are alike (None where all have one map); `better` and `worse`, the number of drives, and `p` of the
        exact two-sided sign test on those.

    Raises:
        ValueError: not the same drives.
    """
    if [_place(e) for e in one] != [_place(e) for e in other]:
        raise ValueError("only drives of the same scenarios and worlds can be compared.")
    maps = [str(e["variant"].get("map", "")) for e in one]
    out: dict[str, Any] = {}
    for name in (*FIGURES, "clean"):
        change = np.array([_value(a, name) - _value(b, name) for a, b in zip(one, other, strict=True)])
        better, worse = int((change > _ROUNDING).sum()), int((change < -_ROUNDING).sum())
        out[name] = {
            "difference": float(change.mean()),
            "difference_95": list(bootstrap(change)),
            "difference_95_by_map": list(bootstrap(change, maps)) if len(set(maps)) > 1 else None,
            "better": better, "worse": worse, "p": sign_test(better, worse),
        }  # fmt: skip
    return out


def _place(episode: Mapping[str, Any]) -> tuple[Any, ...]:
    return episode["scenario"], episode["world"], episode["variant"].get("map")


def _value(episode: Mapping[str, Any], name: str) -> float:
    return float(not episode["failures"]) if name == "clean" else float(episode[name])
