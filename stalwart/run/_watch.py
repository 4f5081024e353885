"""What the course of robustness over the epochs says: attacked in vain, lost at once, or overfitted slowly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Epoch = Mapping[str, float]
"""epoch (from 1), first and last (steps, from 1), radius (the share of ε trained with), robust, clean (validation
scores), loss (of training), images (attacked)."""
Course = Sequence[Epoch]

HELD = 0.1
"""Robustness below this share is none to lose."""

IN_A_ROW = 3
"""Epochs that must agree before slow overfitting is called that."""


def remark(course: Course) -> str:
    """What is to be said after the course's last epoch; each thing once in a run. '' for nothing."""
    for say in (_in_vain, _lost, _overfitted):
        message = say(course)
        if message and not any(say(course[:n]) for n in range(1, len(course))):
            return message
    return ""


def _in_vain(course: Course) -> str:
    """Nothing holds from the first epoch on that trained with the whole radius."""
    now = course[-1]
    whole = [epoch for epoch in course if epoch["radius"] == 1]
    if len(whole) != 1 or whole[0] is not now:
        return ""
    if now["clean"] <= 0.3 or max(epoch["robust"] for epoch in course) >= 0.05 * now["clean"]:
        return ""
    return (
        f"no robustness: {now['clean']:.1%} of the untouched validation images are right, and {now['robust']:.1%} "
        "under the attack that watches. Where that is so from the first epoch on, training's own attack is too weak: "
        "try a smaller step, more attack steps (objective adversarial), or a lower learning rate."
    )


def _lost(course: Course) -> str:
    """Catastrophic overfitting: robustness that was there and is gone (Wong et al. 2020, section 5)."""
    now, peak = course[-1], max((epoch["robust"] for epoch in course[:-1]), default=0.0)
    if peak < HELD or now["robust"] > 0.5 * peak:
        return ""
    return (
        f"catastrophic overfitting: robust accuracy fell from {peak:.1%} to {now['robust']:.1%} in epoch "
        f"{now['epoch']:.0f} (steps {now['first']:.0f} to {now['last']:.0f}). The best checkpoint is from before. Try "
        "fast(align=0.2), a smaller step, more attack steps (objective adversarial), or fewer epochs."
    )


def _overfitted(course: Course) -> str:
    """Robust overfitting: training still gains where validation has lost for some epochs (Rice, Wong and Kolter,
    "Overfitting in adversarially robust deep learning", ICML 2020). A fall counts from a standard error on."""
    if len(course) <= IN_A_ROW or _any(_lost, course):
        return ""
    best = max(course[:-IN_A_ROW], key=lambda epoch: epoch["robust"])
    p = best["robust"]
    if p < HELD:
        return ""
    error = math.sqrt(p * (1 - p) / max(best["images"], 1))
    late = course[-IN_A_ROW:]
    if not all(epoch["robust"] < p - error and epoch["loss"] < best["loss"] for epoch in late):
        return ""
    highest = max(epoch["robust"] for epoch in late)
    return (
        f"robust overfitting since epoch {best['epoch']:.0f}: there robust accuracy was {p:.1%}, and in the last "
        f"{IN_A_ROW} epochs it was {highest:.1%} at most, while the training loss went on falling from "
        f"{best['loss']:.3g} to {late[-1]['loss']:.3g}. The best checkpoint is that epoch's; patience stops a run "
        "here, and awp, ema or extra data overfit less."
    )


def _any(say: Callable[[Course], str], course: Course) -> bool:
    return any(say(course[:n]) for n in range(1, len(course) + 1))
