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


def remark(course: Course, ended: bool = True) -> str:
    """What is to be said after the course's last epoch; each thing once in a run. '' for nothing.

    Args:
        ended: no further epoch will follow.
    """
    if (message := _in_vain(course, ended)) and not any(_in_vain(course[:n], False) for n in range(1, len(course))):
        return message
    for say in (_lost, _overfitted):
        message = say(course)
        if message and not any(say(course[:n]) for n in range(1, len(course))):
            return message
    return ""


def _in_vain(course: Course, ended: bool) -> str:
    """Nothing holds in two epochs in a row with the whole radius, or ever: after the first one, under a large ε, even a
    training that comes to hold a good part holds next to nothing. One that ends there has no other to wait for."""
    whole = [epoch for epoch in course if epoch["radius"] == 1]
    now, late = course[-1], whole[-2:]
    if not late or late[-1] is not now or (len(late) == 1 and not ended):
        return ""
    if now["clean"] <= 0.3 or max(epoch["robust"] for epoch in course) >= HELD:
        return ""
    if any(epoch["robust"] >= 0.05 * epoch["clean"] for epoch in late):
        return ""
    return (
        f"no robustness: {now['clean']:.1%} of the untouched validation images are right, and {now['robust']:.1%} "
        "under the attack that watches. Training's own attack is too weak: try a smaller step, more attack steps "
        "(objective adversarial), or a lower learning rate. If it takes many steps already, ε is more than this model "
        "can learn to hold so soon."
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
