"""How often an attacker who knows model and detector passes both, against ε."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import catalog, features
from stalwart.core.contracts import Attack, Event, Goal, Task, Threat
from stalwart.core.joint import Evading, Guard, Matching
from stalwart.core.rng import seed_of
from stalwart.core.spelling import spell
from stalwart.core.statistics import wilson
from stalwart.run._judge import Ledger, judge_clean, search
from stalwart.run._progress import progress

WEIGHTS = (1.0, 0.3, 3.0)
"""Weights of the detector's part in the summed loss; what stands after one is attacked with the next."""
GUIDES = 2
"""Clean images that features are matched with, one after the other."""
ATTACKERS = ("unaware", "summed", "orthogonal", "matching")


class Joint:
    """Attacks on a model and one detector together, at several thresholds and radii.

    Args:
        guards: the detector at each false positive rate, the highest rate (lowest threshold) first.
        pool: clean images (P, C, H, W) that the model gets right and the detector lets pass: guides are taken from it.
        pool_labels: (P,) their labels.
        radii: ascending, each above 0.
    """

    def __init__(
        self, model: nn.Module, task: Task, guards: Mapping[float, Guard], threat: Threat, radii: Sequence[float],
        solver: Attack, pool: Tensor, pool_labels: Tensor, *, goal: str, seed: int,
    ) -> None:  # fmt: skip
        self.model, self.task, self.guards, self.threat, self.radii = model, task, dict(guards), threat, tuple(radii)
        self.solver, self.goal, self.seed = solver, goal, seed
        steps = int(getattr(solver, "steps", 50))
        self.orthogonal: Attack = catalog.make(f"orthogonal(steps={steps})", "attacks")
        self.pool_labels = pool_labels
        self.pool = features.gather(model, pool).layers if len(pool) else ()
        self.scales = tuple(2 * float(layer.var(0).sum()) + 1e-12 for layer in self.pool)
        self.alone: list[Tensor] = []  # (b,) the radius number at which the model alone is wrong
        self.fallen: dict[tuple[float, str], list[Tensor]] = {(a, k): [] for a in guards for k in ATTACKERS}
        self.forwards = self.backwards = 0

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Attack one more batch with every attacker at every threshold."""
        goal = self.task.goal(self.model, labels, self.goal)
        guides = self._guides(images, labels)
        self._unaware(images, goal)
        for name in ATTACKERS[1:]:
            known: Tensor | None = None  # what passes a lower threshold passes a higher one
            for alpha, guard in self.guards.items():
                joint = Evading(goal, guard)
                known = self._climb(images, joint, self._runs(name, joint, guides), known)
                self.fallen[alpha, name].append(known)

    def _runs(self, name: str, joint: Evading, guides: list[tuple[Tensor, ...]]) -> list[tuple[Goal, Attack]]:
        """What an attacker climbs, and with which attack."""
        if name == "summed":
            return [(Evading(joint.goal, joint.guard, weight), self.solver) for weight in WEIGHTS]
        if name == "orthogonal":
            return [(joint, self.orthogonal)]
        return [(Matching(joint, guide, self.scales), self.solver) for guide in guides]

    def _unaware(self, images: Tensor, goal: Goal) -> None:
        """Attack the model alone, and see what the detector makes of what comes."""
        never = torch.full((len(images),), len(self.radii) + 1, device=images.device)
        alone, passed = never.clone(), {alpha: never.clone() for alpha in self.guards}
        live = torch.arange(len(images), device=images.device)
        for level, radius in enumerate((0.0, *self.radii)):
            ledger = self._ledger(images[live], goal.select(live), radius)
            if level == 0:
                judge_clean(ledger)
            else:
                search(ledger, self.solver, self.seed)
            self._count(ledger)
            alone[live[ledger.reached]] = alone[live[ledger.reached]].clamp_max(level)
            with torch.no_grad():
                for alpha, guard in self.guards.items():
                    silent = live[ledger.reached & (guard.slack(self.model, ledger.answer) >= 0)]
                    passed[alpha][silent] = passed[alpha][silent].clamp_max(level)
            live = torch.stack([*passed.values(), alone]).amax(0).gt(level).nonzero().squeeze(1)
            if not len(live):
                break
        self.alone.append(alone)
        for alpha, numbers in passed.items():
            self.fallen[alpha, "unaware"].append(numbers)

    def _ledger(self, images: Tensor, goal: Goal, radius: float) -> Ledger:
        return Ledger(images, goal, replace(self.threat, epsilon=radius), 8)  # type: ignore[type-var]

    def _count(self, ledger: Ledger) -> None:
        self.forwards += ledger.forwards
        self.backwards += ledger.backwards

    def _climb(
        self, images: Tensor, joint: Evading, runs: Sequence[tuple[Goal, Attack]], known: Tensor | None
    ) -> Tensor:
        """(b,) the number of the radius at which each image passes: 0 untouched, 1 the first, ...; one more than there
        are radii for those that never do. `known` holds such numbers already."""
        count = len(self.radii)
        fallen = torch.full((len(images),), count + 1, device=images.device) if known is None else known.clone()
        for level, radius in enumerate((0.0, *self.radii)):
            live = (fallen > level).nonzero().squeeze(1)
            if not len(live):
                break
            ledger = self._ledger(images[live], joint.select(live), radius)
            judge_clean(ledger)
            for number, (goal, solver) in enumerate(runs if level else ()):
                # The first run has the seed that a plain attack has, so that the two can be compared.
                seed = seed_of(self.seed, number) if number else self.seed
                search(ledger, solver, seed, goal.select(live))
            fallen[live[ledger.reached]] = level
            self._count(ledger)
        return fallen

    @torch.no_grad()
    def _guides(self, images: Tensor, labels: Tensor) -> list[tuple[Tensor, ...]]:
        """For each of `GUIDES` turns, the features of each image's nearest pool images of other classes."""
        others = self.pool_labels[None] != labels[:, None]  # (b, P)
        if not self.pool or not bool(others.any(1).all()):
            return []
        last = features.gather(self.model, images).last
        apart = torch.cdist(last, self.pool[-1]).masked_fill(~others, torch.inf)
        count = min(GUIDES, int(others.sum(1).min()))
        order = apart.topk(count, largest=False).indices  # (b, GUIDES)
        return [tuple(layer[order[:, turn]] for layer in self.pool) for turn in range(count)]

    def result(self, seconds: float) -> dict[str, Any]:
        """The figures, ready for the run's `results/`."""
        alone = torch.cat(self.alone)
        n = len(alone)
        levels = []
        for alpha in self.guards:
            numbers = {name: torch.cat(self.fallen[alpha, name]) for name in ATTACKERS}
            least = torch.stack(list(numbers.values())).amin(0)
            curve = []
            for level, radius in enumerate((0.0, *self.radii)):
                passed = int((least <= level).sum())
                point: dict[str, Any] = {"epsilon": radius, "evasion": passed / n, "interval": wilson(passed, n)}
                point["undefended"] = int((torch.minimum(alone, least) <= level).sum()) / n
                curve.append(point | {name: int((found <= level).sum()) / n for name, found in numbers.items()})
            levels.append({"at": alpha, "curve": curve})
        return {
            "n": n,
            "attack": spell(self.solver),
            "levels": levels,
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": seconds,
        }


def evasions(joint: Joint, images: Tensor, labels: Tensor, batch: int, before: int, total: int) -> Iterator[Event]:
    """Attack all images, saying how far it is; the last event is the result."""
    begun = time.perf_counter()
    for first in range(0, len(images), batch):
        part = slice(first, first + batch)
        joint.add(images[part], labels[part])
        yield progress(min(first + batch, len(images)), total, begun, before=before)
    yield Event("result", joint.result(time.perf_counter() - begun))
