"""A shield's three numbers: accuracy under attack without it, under an attack that does not know it, and under one
that does. Only the last says what the shield is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from stalwart.core import catalog
from stalwart.core.contracts import Attack, Certifying, Event, Rendered, Shield, Threat
from stalwart.core.shielding import expects, random
from stalwart.core.spelling import spell
from stalwart.run._parallel import World
from stalwart.run._parts import Shelf
from stalwart.run._subject import Subject
from stalwart.run._sweep import Sweep, swept

LOOKS = 10
"""Forward passes that an attack on a random shield averages over."""
KEPT = (
    "attack", "n", "clean_accuracy", "robust_accuracy", "interval", "curve", "forwards", "backwards", "seconds",
    "worst_size", "warnings",
)  # fmt: skip


def naive(solver: Attack) -> Attack:
    """The attack within the wrappers that know of shields."""
    while type(solver).__name__ in ("bpda", "eot") and hasattr(solver, "attack"):
        solver = solver.attack
    return solver


def adaptive(solver: Attack, model: nn.Module) -> Attack:
    """The attack as one who knows the shield runs it: gradients through the twin, averaged where passes differ.

    One that is spelled with `bpda` or `eot` already is taken as it is. A shield that averages over its own draws in
    each pass (smoothing) is not averaged once more.
    """
    if naive(solver) is not solver:
        return solver
    through = f"bpda(attack={spell(solver)})"
    averaged = random(model) and not expects(model)
    known: Attack = catalog.make(f"eot(attack={through}, n={LOOKS})" if averaged else through, "attacks")
    return known


def three(
    subject: Subject,
    shield: Shield,
    solver: Attack,
    threat: Threat | Rendered,
    radii: Sequence[float],
    batches: Any,
    *,
    goal: str,
    seed: int,
    before: int,
    total: int,
    shelf: Callable[..., Shelf],
    world: World,
) -> Iterator[Event]:
    """Attack the subject without its shield, with it naively, with it adaptively.

    Args:
        before: images that earlier sweeps have done, of `total`.
        shelf: makes the shelf of one round: its attack, its threat, and what more its figures depend on.

    Yields:
        progress, then one result.
    """
    guarded = replace(subject, model=shield(subject.model))
    plain = naive(solver)
    rounds = (
        ("without", subject, plain),
        ("naive", guarded, plain),
        ("adaptive", guarded, adaptive(solver, guarded.model)),
    )
    found: dict[str, dict[str, Any]] = {}
    for place, (name, target, attack) in enumerate(rounds):
        sweep = Sweep(target, attack, threat, radii, goal=goal, seed=seed)
        behind = "" if target is subject else spell(shield)
        events = swept(
            sweep, batches, before + place * batches.count, total,
            shelf=shelf(attack, threat, shield=behind), world=world,
        )  # fmt: skip
        yield from (Event(event.kind, {**event.values, "against": name}) for event in events)
        found[name] = sweep.result()
    least = min(("naive", "adaptive"), key=lambda name: float(found[name]["robust_accuracy"]))
    shared = ("threat", "threat_name", "epsilon", "goal", "seed", "bits", "n")
    yield Event(
        "result",
        {
            "kind": "shield",
            "shield": spell(shield),
            "masks": shield.masks,
            "certifies": isinstance(shield, Certifying),
            "attack": spell(plain),
            **{name: found["adaptive"][name] for name in shared},
            "clean_accuracy": found["adaptive"]["clean_accuracy"],
            "robust_accuracy": found[least]["robust_accuracy"],
            "interval": found[least]["interval"],
            **{name: sum(figures[name] for figures in found.values()) for name in ("forwards", "backwards", "seconds")},
            "worst_size": max(figures["worst_size"] for figures in found.values()),
            **{name: {key: figures[key] for key in KEPT} for name, figures in found.items()},
            "says": said(spell(shield), shield.masks, found),
        },
    )


def said(shield: str, masks: bool, found: dict[str, dict[str, Any]]) -> str:
    """The three numbers in one sentence."""
    bare, naively, known = (found[name]["robust_accuracy"] for name in ("without", "naive", "adaptive"))
    text = (
        f"without {shield} {bare:.1%} of images stand, with it {naively:.1%} under an attack that does not know it and "
        f"{known:.1%} under one that does"
    )
    low, high = found["adaptive"]["interval"]
    if naively > high and masks:
        text += ": most of what it seems to give is a hidden slope" if known - bare < (naively - bare) / 2 else ""
    elif naively < low:
        text += ": the attack that knows it found less, so take the lower figure and try a stronger one"
    return text + "."
