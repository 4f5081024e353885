"""Checks by attacking what still stands with another tool: what one of them brings down, the audited attack missed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from stalwart.core import catalog
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.shielding import shielded
from stalwart.core.spelling import spell
from stalwart.pages.numbers import spoken
from stalwart.run._audit.case import Case, Check, Outcome
from stalwart.run._audit.structure import logarithm
from stalwart.run._three import adaptive

ONE_STEP = "fgsm()"
USUAL = "pgd(steps=20)"
LONG = "pgd(steps=100)"
RIVALS = "swift(steps=30, targets=3)"
LOSSES = "sea(steps=30)"
BLACK_BOX = "square(queries=500)"
MASKED = 0.05
"""By so much of the task's own figure may queries alone not do better than gradients did."""
DRAWS = 8
"""Forward passes that an attack on a random model averages over."""

FLAT = {"gradient", "zero-gradient", "quantised", "argmax", "detached", "nondifferentiable-preprocessing", "saturated"}


def again(case: Case, faults: set[str]) -> Iterator[Check]:
    """Rerun with other tools, cheapest first; `faults` are the names of what was found wrong with the model itself."""
    yield _guarded(_rounding, case)
    yield _guarded(_one_step, case)
    for kind in case.kinds():
        if kind != (case.kind or "cross_entropy"):
            yield _guarded(functools.partial(_other_loss, kind=kind), case)
    yield _guarded(_restart, case)
    yield _guarded(_longer, case)
    yield _guarded(_rivals if "margin" in case.kinds() else _ensemble, case)
    if "probabilities" in faults:
        yield _guarded(_as_logits, case)
    if shielded(case.model):
        yield _guarded(_through_shield, case)
    if faults & {"random-forward", "dropout-at-test"}:
        yield _guarded(_averaged, case)
    yield _guarded(_black_box, case)
    yield _guarded(_unlimited, case)


def _guarded(check: Callable[[Case], Check], case: Case) -> Check:
    """A check whose attack cannot serve this threat or task is skipped and says so."""
    try:
        return check(case)
    except (InputError, SpellingError) as error:
        name = getattr(check, "func", check).__name__.strip("_").replace("_", "-")
        return Check(name, "skipped", str(error))


def outcome(gained: int, n: int) -> Outcome:
    """One sample more or one in a hundred is what another random start may bring."""
    return "doubtful" if gained > max(1, 0.01 * n) else "passed"


def _compare(case: Case, name: str, attack: str, what: str, gained: int, before: float | None = None) -> Check:
    """
    Args:
        before: the task's own figure before this attack; None where nobody measures it.
    """
    says, spoiled = f"{what} brings down {gained} more of {case.n}", case.spoiled
    if spoiled is None or before is None:
        return Check(name, outcome(gained, case.n), f"{says}.", attack, gained)
    lowered, figure = before - spoiled.lowest, spoken(case.task.score)
    joined = " and" if gained else ", but"
    says += f"{joined} {figure} to {spoiled.lowest:.1%}." if lowered else f", and {figure} stays at {before:.1%}."
    fired = lowered > 0 and spoiled.doubtful
    return Check(name, "doubtful" if fired else outcome(gained, case.n), says, attack, gained, lowered)


def _tried(case: Case, name: str, attack: str, what: str, **more: Any) -> Check:
    """Attack again, and say what that brings down."""
    before = None if case.spoiled is None else case.spoiled.lowest
    gained = int(case.rerun(attack, **more).sum())
    return _compare(case, name, attack, what, gained, before)


def _rounding(case: Case) -> Check:
    name = "rounding"
    if case.bits is None:
        return Check(name, "skipped", "The images are judged unrounded.")
    gained = int(case.rerun(spell(case.attack), bits=None, keep=False).sum())
    if gained <= max(1, 0.05 * case.n):
        return Check(
            name, "passed", f"Without 8-bit rounding {gained} more of {case.n} fall.", spell(case.attack), gained
        )
    says = f"Without 8-bit rounding {gained} more of {case.n} fall: success hangs on values between two levels."
    return Check(name, "doubtful", says, spell(case.attack), gained)


def _one_step(case: Case) -> Check:
    return _tried(case, "one-step", ONE_STEP, "A single step")


def _other_loss(case: Case, kind: str) -> Check:
    return _tried(case, f"loss-{kind.replace('_', '-')}", USUAL, f"Raising {kind.replace('_', ' ')} instead", kind=kind)


def _restart(case: Case) -> Check:
    return _tried(case, "restarts", USUAL, "Another random start", seed=case.seed + 1)


def _longer(case: Case) -> Check:
    return _tried(case, "longer", LONG, "A hundred steps", kind="margin" if "margin" in case.kinds() else None)


def _rivals(case: Case) -> Check:
    return _tried(case, "rivals", RIVALS, "Climbing towards one rival after the other")


def _ensemble(case: Case) -> Check:
    """Of a task without rivals to climb towards: Auto-PGD, on several losses where it has them."""
    return _tried(case, "ensemble", LOSSES, "Climbing each of the task's losses by Auto-PGD")


def _as_logits(case: Case) -> Check:
    return _tried(case, "as-logits", USUAL, "Climbing the logarithm of the probabilities", model=logarithm(case.model))


def _through_shield(case: Case) -> Check:
    """A shield must stand against one who knows it: gradients through its twin, averaged where it draws at random."""
    attack = spell(adaptive(catalog.make(USUAL, "attacks"), case.model))
    before = None if case.spoiled is None else case.spoiled.lowest
    gained = int(case.rerun(attack).sum())
    if gained > max(2, 0.05 * case.n):
        says = f"An attack that knows the shield brings down {gained} more of {case.n}: it hid the slope."
        return Check("through-shield", "broken", says, attack, gained)
    return _compare(case, "through-shield", attack, "An attack that knows the shield", gained, before)


def _averaged(case: Case) -> Check:
    attack = f"eot(attack={USUAL}, n={DRAWS})"
    return _tried(case, "averaged", attack, f"Averaging {DRAWS} forward passes a step")


def _black_box(case: Case) -> Check:
    """Queries alone must not do better than gradients do; where they do, the gradients lead nowhere."""
    white, before = case.fallen.clone(), None if case.spoiled is None else case.spoiled.lowest
    found = case.rerun(BLACK_BOX, among=~white if before is None else None)
    gained = int((found & ~white).sum())
    compared = _compare(case, "black-box", BLACK_BOX, "An attack without gradients", gained, before)
    if gained / case.n > 0.05 and gained > 2:
        says = (
            f"An attack without gradients brings down {gained} of {case.n} that gradients could not: they are masked."
        )
        return replace(compared, outcome="broken", says=says)
    if compared.lowered > MASKED:
        return replace(compared, outcome="broken", says=f"{compared.says} Gradients are masked.")
    return compared


def _unlimited(case: Case) -> Check:
    """With every image allowed, every sample must fall; an attack that fails here fails for a reason of its own."""
    name = "unlimited"
    threat = case.everything()
    if threat is None:
        return Check(name, "skipped", "The threat has no size that would cover every image.")
    among = ~case.reached & case.attainable()
    total = int(among.sum())
    if not total:
        return Check(name, "passed", "Nothing stands already that could fall.")
    kind = "margin" if "margin" in case.kinds() else None
    found = torch.zeros_like(among)
    for attack in (USUAL, LONG, "pgd(steps=100, restarts=3)"):
        found |= case.rerun(attack, kind, threat=threat, among=among & ~found, keep=False)
        if bool(found[among].all()):
            break
    share = int(found.sum()) / total
    if share >= 0.95:
        return Check(name, "passed", f"With unlimited changes {share:.0%} of what stood falls.", attack)
    says = f"Even with unlimited changes only {share:.0%} of what stood falls: the attack does not work on this model."
    return Check(name, "broken" if share < 0.8 else "doubtful", says, attack)
