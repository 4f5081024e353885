"""One attack on one split at several radii, smallest first: what falls at a small one is not attacked again.

An attack for the smallest change runs once, and its answers are judged at each radius.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stalwart.core.contracts import Attack, Batch, Event, Rendered, Threat
from stalwart.core.freeze import frozen
from stalwart.core.spelling import spell
from stalwart.core.statistics import wilson
from stalwart.run._judge import Ledger, conclude, doubts, judge_clean, search, seeks_least, solve
from stalwart.run._subject import Subject

SHOWN = 12
"""Adversarial examples kept for the report."""


@dataclass(frozen=True)
class Found:
    """One adversarial example, as the report shows it."""

    level: int
    """Which radius it fell at."""
    size: float
    loss: float
    index: int
    """Position in the split."""
    group: int
    """The sample's stratum, so that the pictures are not all of one class."""
    clean: Tensor
    """(C, H, W) uint8."""
    adversarial: Tensor
    """(C, H, W) uint8."""
    target: dict[str, Any]

    @property
    def rank(self) -> tuple[int, float, float]:
        """The smallest change first, then the surest."""
        return self.level, self.size, -self.loss


class Sweep:
    """What an attack finds at each of several radii.

    Args:
        radii: ascending, in the threat's units, each above 0.
        most: judge at most so many images at a time; None: a whole batch.
    """

    def __init__(
        self,
        subject: Subject,
        solver: Attack,
        threat: Threat | Rendered,
        radii: Sequence[float],
        *,
        goal: str,
        seed: int,
        most: int | None = None,
    ) -> None:
        self.subject, self.solver, self.threat, self.radii = subject, solver, threat, tuple(radii)
        self.goal, self.seed, self.most = goal, seed, most
        self.fallen = torch.empty(0, dtype=torch.int64)
        """(n,) the number of the radius each sample fell at: 0 for the clean image, 1 for `radii[0]`, ...; one more
        than there are radii for those that stand."""
        self.positions = torch.empty(0, dtype=torch.int64)
        self.found: list[Found] = []
        self.forwards = self.backwards = 0
        self.worst_size = 0.0
        self.ledgers: list[Ledger] = []

    def add(self, batch: Batch) -> None:
        """Attack one more batch."""
        device = batch.images.device
        whole = self.subject.task.goal(self.subject.model, batch.targets, self.goal)
        fallen = torch.full((len(batch.images),), len(self.radii) + 1, device=device)
        live = torch.arange(len(batch.images), device=device)
        least: Tensor | None = None  # an attack for the smallest change runs once, for all radii
        with frozen(self.subject.model):
            for level, radius in enumerate((0.0, *self.radii)):
                threat = replace(self.threat, epsilon=radius)  # type: ignore[type-var]
                ledger = Ledger(batch.images[live], whole.select(live), threat, 8, self.most)
                if level == 0:
                    judge_clean(ledger)
                else:
                    # What a smaller radius means to θ is the threat's own affair, so there an attack runs at each.
                    if not seeks_least(self.solver) or isinstance(threat, Rendered):
                        search(ledger, self.solver, self.seed)
                    else:
                        if least is None:
                            widest: Any = replace(self.threat, epsilon=self.radii[-1])  # type: ignore[type-var]
                            least = solve(ledger, self.solver, widest, self.seed)
                        conclude(ledger, least, least=True)
                    self._keep(ledger, batch, live, level)
                fallen[live[ledger.reached]] = level
                self._count(ledger)
                least = None if least is None else least[~ledger.reached]
                live = live[~ledger.reached]
                if not len(live):
                    break
        self.fallen = torch.cat([self.fallen, fallen.cpu()])
        self.positions = torch.cat([self.positions, batch.index.cpu()])

    def standing(self, level: int) -> int:
        """Samples still right after the attack at radius number `level`; 0 for the clean images."""
        return int((self.fallen > level).sum())

    def _count(self, ledger: Ledger) -> None:
        self.forwards += ledger.forwards
        self.backwards += ledger.backwards
        self.worst_size = max(self.worst_size, float(ledger.sizes().max()))
        ledger.release()
        self.ledgers.append(ledger)

    def _keep(self, ledger: Ledger, batch: Batch, live: Tensor, level: int) -> None:
        """Keep the best few of each group, then the best groups' first, second, ... in turn."""
        place = ledger.reached.nonzero().squeeze(1)
        if not len(place):
            return
        sizes = ledger.sizes(place)
        info, strata = self.subject.examples.info, self.subject.examples.strata
        groups: dict[int, list[Found]] = defaultdict(list)
        for item in self.found:
            groups[item.group].append(item)
        best = sorted(range(len(place)), key=lambda i: (float(sizes[i]), -float(ledger.loss[place[i]])))
        taken: dict[int, int] = defaultdict(int)
        for i in best:
            row = int(live[place[i]])
            index = int(batch.index[row])
            group = int(strata[index])
            if taken[group] >= SHOWN:
                continue
            taken[group] += 1
            groups[group].append(
                Found(
                    level,
                    float(sizes[i]),
                    float(ledger.loss[place[i]]),
                    index,
                    group,
                    _bytes(ledger.pixels[place[i]]),
                    _bytes(ledger.pictures(place[i : i + 1])[0]),
                    self.subject.task.describe_target(batch.targets, row, info),
                )
            )
        turns = [
            (turn, item.rank, item)
            for items in groups.values()
            for turn, item in enumerate(sorted(items, key=lambda found: found.rank))
        ]
        self.found = [item for _, _, item in sorted(turns, key=lambda entry: entry[:2])[:SHOWN]]

    def result(self, seconds: float) -> dict[str, Any]:
        """The figures, ready for the run's `results/`."""
        n = len(self.fallen)
        curve = []
        for level, radius in enumerate((0.0, *self.radii)):
            right = self.standing(level)
            curve.append({"epsilon": radius, "robust_accuracy": right / n, "interval": wilson(right, n), "n": n})
        return {
            "kind": "attack",
            "attack": spell(self.solver),
            "threat": spell(self.threat),
            "threat_name": type(self.threat).__name__,
            "epsilon": self.threat.epsilon,
            "goal": self.goal,
            "n": n,
            "seed": self.seed,
            "clean_accuracy": curve[0]["robust_accuracy"],
            "robust_accuracy": curve[-1]["robust_accuracy"],
            "interval": curve[-1]["interval"],
            "curve": curve,
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": seconds,
            "worst_size": self.worst_size,
            "bits": 8,
            "warnings": list(doubts(self.ledgers)),
            "per_class": self._per_class(),
            "examples": self._examples(),
        }

    def _per_class(self) -> list[dict[str, Any]]:
        strata = torch.tensor([self.subject.examples.strata[i] for i in self.positions.tolist()])
        rows = []
        for group, name in enumerate(self.subject.examples.info.classes):
            own = self.fallen[strata == group]
            if len(own):
                clean, robust = (own > 0).float().mean(), (own > len(self.radii)).float().mean()
                rows.append({"name": name, "n": len(own), "clean": float(clean), "robust": float(robust)})
        return rows

    @torch.inference_mode()
    def _examples(self) -> list[dict[str, Any]]:
        if not self.found:
            return []
        info, task = self.subject.examples.info, self.subject.task
        with frozen(self.subject.model):
            views = [
                task.predict(self.subject.model, pixels.to(self.subject.device).float() / 255)
                for pixels in self.pictures().values()
            ]
        return [
            {
                "index": item.index,
                "name": self.subject.examples[item.index].name,
                "target": item.target,
                "clean": task.describe(views[0], row, info),
                "adversarial": task.describe(views[1], row, info),
                "size": item.size,
            }
            for row, item in enumerate(self.found)
        ]

    def pictures(self) -> dict[str, Tensor]:
        """(k, C, H, W) uint8, clean and adversarial, in the order of the examples."""
        return {
            "clean": torch.stack([item.clean for item in self.found]),
            "adversarial": torch.stack([item.adversarial for item in self.found]),
        }


def _bytes(image: Tensor) -> Tensor:
    """Rounded, not truncated: truncation would move half the pixels by a level."""
    return (image * 255).round().to(torch.uint8).cpu().contiguous()


def swept(sweep: Sweep, batches: Any, before: int, total: int) -> Iterator[Event]:
    """Run a sweep over the batches, saying how far it is; `before` of `total` images were done by earlier sweeps."""
    begun = time.perf_counter()
    for batch in batches.epoch(0):
        sweep.add(batch)
        done = len(sweep.fallen)
        rate = done / (time.perf_counter() - begun)
        yield Event(
            "progress",
            {
                "done": before + done,
                "total": total,
                "unit": "images",
                "rate": rate,
                "left_s": (total - before - done) / rate,
                "attack": spell(sweep.solver),
                "threat": spell(sweep.threat),
                "clean_accuracy": sweep.standing(0) / done,
                "robust_accuracy": sweep.standing(len(sweep.radii)) / done,
            },
        )
