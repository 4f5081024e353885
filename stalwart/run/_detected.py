"""What is written of a detector: a fitted one, how well it tells attacks from clean images, and what to think of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stalwart.core import screening
from stalwart.core.contracts import Attack, Detector, Threat
from stalwart.core.joint import Guard
from stalwart.core.spelling import spell
from stalwart.run._negatives import Negatives
from stalwart.run._subject import Subject

ALPHAS = (0.05, 0.01)
"""False positive rates at which thresholds are set."""
BASELINE = "energy()"


@dataclass(frozen=True)
class Scorer:
    """A detector fitted and calibrated."""

    detector: Detector
    fitted: Mapping[str, Tensor]
    thresholds: Mapping[float, float]
    """Infinite where the calibration images are too few."""
    spread: float

    def guard(self, alpha: float) -> Guard:
        return Guard(self.detector, self.fitted, self.thresholds[alpha], self.spread)


def told(scorer: Scorer, sides: list[Negatives], lows: list[Tensor], highs: Tensor) -> dict[str, Any]:
    """How well successes are told from each kind of negative."""
    areas = {}
    for side, low in zip(sides, lows, strict=True):
        value, interval = screening.auroc(low, highs)
        areas[side.name] = {"value": value, "interval": interval}
    return {
        "auroc": areas,
        "alarms": [{"at": a, **screening.flagged(highs, scorer.thresholds[a])} for a in ALPHAS],
        "roc": screening.roc(lows[0], highs) if len(highs) else [],
    }


def entry_of(
    scorer: Scorer,
    sides: list[Negatives],
    lows: list[Tensor],
    rows: list[dict[str, Any]],
    evasion: dict[str, Any] | None,
) -> dict[str, Any]:
    """All that was found of one detector, ready for the run's `results/`."""
    spelled = spell(scorer.detector)
    entry = {
        "detector": spelled,
        "baseline": spelled == BASELINE,
        "thresholds": [
            {"at": a, "threshold": scorer.thresholds[a], "enough": math.isfinite(scorer.thresholds[a])} for a in ALPHAS
        ],
        "negatives": [
            {
                "name": side.name,
                "says": side.says,
                "n": len(side.images),
                "alarms": [{"at": a, **screening.flagged(low, scorer.thresholds[a])} for a in ALPHAS],
            }
            for side, low in zip(sides, lows, strict=True)
        ],
        "attacks": rows,
        "evasion": evasion,
    }
    return entry | {"says": said(entry)}


def card_of(
    subject: Subject, detector: Detector, scorer: Scorer, teacher: Attack, threat: Threat, parts: tuple[Tensor, ...]
) -> dict[str, Any]:
    return {
        "detector": spell(detector),
        "alpha": ALPHAS[0],
        "threshold": scorer.thresholds[ALPHAS[0]],
        "thresholds": [{"at": a, "threshold": scorer.thresholds[a]} for a in ALPHAS],
        "fit_attack": spell(teacher) if detector.trained else None,
        "threat": spell(threat),
        "data": subject.data,
        "calibration": len(parts[1]),
        "model_sha256": subject.card.get("sha256"),
    }


def said(entry: Mapping[str, Any]) -> str:
    """What is to be thought of a detector, in one or two sentences."""
    unseen = [row for row in entry["attacks"] if not row["seen"] and row["n"]] or [
        r for r in entry["attacks"] if r["n"]
    ]
    name = entry["detector"]
    text = f"{name} had nothing to detect."
    if unseen:
        worst = min(unseen, key=lambda row: row["auroc"]["clean"]["value"])
        caught = worst["alarms"][0]["share"]
        seen = ", which it was fitted on," if worst["seen"] else ""
        text = (
            f"{name} tells {worst['attack']}{seen} from clean images with an AUROC of "
            f"{worst['auroc']['clean']['value']:.3f} and catches {caught:.0%} of its successes at a threshold for 5 % "
            "false alarms."
        )
    joint = entry["evasion"]
    if joint:
        last = joint["levels"][0]["curve"][-1]
        passed, alone, n = last["evasion"], last["undefended"], joint["n"]
        text += (
            f" An attacker who knows it passes model and detector on {passed:.0%} of {n} images (the model alone falls "
            f"on {alone:.0%}): "
        )
        if alone == 0:
            text += "there was nothing to defend against."
        elif passed >= 0.9 * alone:
            text += "the detector is bypassed."
        elif passed > 0.5 * alone:
            text += "the detector is bypassed for most images."
        elif passed > 0.1 * alone:
            text += "the detector is bypassed for some images."
        else:
            text += "it held against these three attackers, which proves nothing against a better one."
    return text
