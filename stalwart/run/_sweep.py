"""One attack on one split at several radii, smallest first: what falls at a small one is not attacked again.

An attack for the smallest change runs once, and its answers are judged at each radius.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Attack, Batch, Event, Rendered, Threat
from stalwart.core.freeze import frozen
from stalwart.core.rng import seed_of
from stalwart.core.shielding import reseed
from stalwart.core.spelling import spell
from stalwart.core.stages import together
from stalwart.core.statistics import wilson
from stalwart.run._judge import Ledger, conclude, doubts, judge_clean, search, seeks_least, solve
from stalwart.run._parallel import World
from stalwart.run._parts import Found, Part, Shelf, disjoint
from stalwart.run._progress import progress
from stalwart.run._subject import Subject

SHOWN = 12
"""Adversarial examples kept for the report."""


class Sweep:
    """What an attack finds at each of several radii.

    Args:
        radii: ascending, in the threat's units, each above 0.
        most: judge at most so many images at a time; None: a whole batch.
        fast: a faster form of the model for the attack to climb; None: the model itself.
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
        fast: nn.Module | None = None,
    ) -> None:
        self.subject, self.solver, self.threat, self.radii = subject, solver, threat, tuple(radii)
        self.goal, self.seed, self.most, self.fast = goal, seed, most, fast
        self.fallen = torch.empty(0, dtype=torch.int64)
        """(n,) the number of the radius each sample fell at: 0 for the clean image, 1 for `radii[0]`, ...; one more
        than there are radii for those that stand."""
        self.found: list[Found] = []
        self.parts: list[Part] = []
        self.seconds = 0.0

    def take(self, part: Part) -> None:
        """Count what one batch came to, done here, in another process or before a kill; their order does not matter."""
        self.parts.append(part)
        self.fallen = torch.cat([self.fallen, part.fallen])
        self.found = _best([*self.found, *part.found])

    def add(self, batch: Batch) -> Part:
        """Attack one more batch."""
        begun = time.perf_counter()
        device = batch.images.device
        # A random shield draws in the order of its passes: each batch begins anew, whatever was done before it here.
        reseed(self.subject.model, seed_of(self.seed, int(batch.index[0])))
        whole = self.subject.task.goal(self.subject.model, batch.targets, self.goal)
        fallen = torch.full((len(batch.images),), len(self.radii) + 1, device=device)
        size = torch.full((len(batch.images),), torch.inf, device=device)
        live = torch.arange(len(batch.images), device=device)
        least: Tensor | None = None  # an attack for the smallest change runs once, for all radii
        found: list[Found] = []
        ledgers: list[Ledger] = []
        worst = 0.0
        with frozen(self.subject.model):
            for level, radius in enumerate((0.0, *self.radii)):
                threat = replace(self.threat, epsilon=radius)  # type: ignore[type-var]
                aim = whole.select(live)
                ledger = Ledger(batch.images[live], aim, threat, 8, self.most)
                climbed = None if self.fast is None else aim.on(self.fast)
                if level == 0:
                    judge_clean(ledger)
                else:
                    # What a smaller radius means to θ is the threat's own affair, so there an attack runs at each.
                    if not seeks_least(self.solver) or isinstance(threat, Rendered):
                        search(ledger, self.solver, self.seed, climbed)
                    else:
                        if least is None:
                            widest: Any = replace(self.threat, epsilon=self.radii[-1])  # type: ignore[type-var]
                            least = solve(ledger, self.solver, widest, self.seed, climbed)
                        conclude(ledger, least, least=True)
                sizes = ledger.sizes()
                worst = max(worst, float(sizes.max()))
                if level:
                    found += self._shown(ledger, sizes, batch, live, level)
                fallen[live[ledger.reached]] = level
                size[live[ledger.reached]] = sizes[ledger.reached].float()
                ledger.release()
                ledgers.append(ledger)
                least = None if least is None else least[~ledger.reached]
                live = live[~ledger.reached]
                if not len(live):
                    break
        best = _best([*self.found, *found])
        part = Part(
            positions=batch.index.cpu(),
            fallen=fallen.cpu(),
            size=size.cpu(),
            found=tuple(item for item in best if any(item is own for own in found)),
            forwards=sum(ledger.forwards for ledger in ledgers),
            backwards=sum(ledger.backwards for ledger in ledgers),
            flat=sum(int(ledger.flat) for ledger in ledgers),
            broken=sum(int(ledger.broken) for ledger in ledgers),
            climbed=any(ledger.climbed for ledger in ledgers),
            stages=together(stage for ledger in ledgers for stage in ledger.stages()),
            worst_size=worst,
            seconds=time.perf_counter() - begun,
        )
        self.take(part)
        return part

    def standing(self, level: int) -> int:
        """Samples still right after the attack at radius number `level`; 0 for the clean images."""
        return int((self.fallen > level).sum())

    def _shown(self, ledger: Ledger, sizes: Tensor, batch: Batch, live: Tensor, level: int) -> list[Found]:
        """Of what fell, the best few of each group."""
        place = ledger.reached.nonzero().squeeze(1)
        info, strata = self.subject.examples.info, self.subject.examples.strata
        best = sorted(
            place.tolist(), key=lambda i: (float(sizes[i]), -float(ledger.loss[i]), int(batch.index[live[i]]))
        )
        taken: dict[int, int] = defaultdict(int)
        found = []
        for i in best:
            row = int(live[i])
            index = int(batch.index[row])
            group = int(strata[index])
            if taken[group] >= SHOWN:
                continue
            taken[group] += 1
            found.append(
                Found(
                    level,
                    float(sizes[i]),
                    float(ledger.loss[i]),
                    index,
                    group,
                    _bytes(ledger.pixels[i]),
                    _bytes(ledger.pictures(torch.tensor([i], device=place.device))[0]),
                    self.subject.task.describe_target(batch.targets, row, info),
                )
            )
        return found

    def result(self) -> dict[str, Any]:
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
            "forwards": sum(part.forwards for part in self.parts),
            "backwards": sum(part.backwards for part in self.parts),
            "seconds": self.seconds,
            "worst_size": max(part.worst_size for part in self.parts),
            "bits": 8,
            "warnings": list(doubts(self.parts)),
            "stages": [asdict(stage) for stage in together(stage for part in self.parts for stage in part.stages)],
            "per_class": self._per_class(),
            "examples": self._examples(),
        }

    def _per_class(self) -> list[dict[str, Any]]:
        positions = torch.cat([part.positions for part in self.parts])
        strata = torch.tensor([self.subject.examples.strata[i] for i in positions.tolist()])
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

    def outcomes(self) -> dict[str, Tensor]:
        """What became of each sample: `position` (n,) int64 in the whole split, ascending; `fell` (n,) uint8, the
        number of the radius it fell at; `size` (n,) float32 of the change, inf where it stands."""
        positions = torch.cat([part.positions for part in self.parts])
        order = positions.argsort()
        fell, size = self.fallen.to(torch.uint8), torch.cat([part.size for part in self.parts])
        return {"position": self.subject.numbers[positions[order]], "fell": fell[order], "size": size[order]}


def _best(found: Sequence[Found]) -> list[Found]:
    """The best of each group, then the second best of each, ... as many as are shown."""
    groups: dict[int, list[Found]] = defaultdict(list)
    for item in found:
        groups[item.group].append(item)
    turns = [
        (turn, item.rank, item)
        for items in groups.values()
        for turn, item in enumerate(sorted(items, key=lambda found: found.rank))
    ]
    return [item for _, _, item in sorted(turns, key=lambda entry: entry[:2])[:SHOWN]]


def _bytes(image: Tensor) -> Tensor:
    """Rounded, not truncated: truncation would move half the pixels by a level."""
    return (image * 255).round().to(torch.uint8).cpu().contiguous()


def swept(sweep: Sweep, batches: Any, before: int, total: int, *, shelf: Shelf, world: World) -> Iterator[Event]:
    """Run a sweep over the batches, saying how far it is; `before` of `total` images were done by earlier sweeps.

    Each process takes one batch of every so many, whole: its pictures then pass the model in the company that they
    would have in one process, and the figures are the same to the last bit. Batches that `shelf` has kept are not done
    again.

    Leaves the seconds it took in `sweep.seconds`, those of an earlier run that was killed counted in.
    """
    begun = time.perf_counter()
    kept = disjoint((part for own in world.gather(shelf.load()) for part in own), batches.positions)
    for part in kept:
        sweep.take(part)
    if kept:
        spelled = f"{spell(sweep.solver)} under {spell(sweep.threat)}"
        message = f"{spelled} goes on: {len(sweep.fallen):,} of {batches.count:,} images were done before."
        yield Event("note", {"message": message})
    there = set[int]().union(*(part.positions.tolist() for part in kept))
    rows = [row for row, position in enumerate(batches.positions.tolist()) if position not in there]
    left = [torch.tensor(rows[first : first + batches.batch]) for first in range(0, len(rows), batches.batch)]
    mine = left[world.rank :: world.size]
    own, wanted, done_before = 0, sum(map(len, mine)), len(sweep.fallen)
    parts = []
    for batch in batches.of(mine):
        part = sweep.add(batch)
        shelf.put(part)
        parts.append(part)
        own += len(batch.images)
        done = own * len(rows) // wanted  # the other processes are about as far
        yield progress(
            done,
            total,
            begun,
            before=before + done_before,
            attack=spell(sweep.solver),
            threat=spell(sweep.threat),
            clean_accuracy=sweep.standing(0) / len(sweep.fallen),
            robust_accuracy=sweep.standing(len(sweep.radii)) / len(sweep.fallen),
        )
    for rank, others in enumerate(world.gather(parts)):
        if rank != world.rank:
            for part in others:
                sweep.take(part)
    sweep.seconds = time.perf_counter() - begun + sum(part.seconds for part in kept)
