"""One attack on one split at several radii, smallest first: what falls at a small one is not attacked again.

An attack for the smallest change runs once, and its answers are judged at each radius. Of a task whose images can be
spoiled more or less (`Verdict.harm`), every image is attacked at every radius with all steps, and the task's own metric
is taken of each one's worst so far.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Attack, Batch, Event, Goal, Rendered, Threat
from stalwart.core.freeze import frozen
from stalwart.core.rng import seed_of
from stalwart.core.shielding import reseed
from stalwart.core.spelling import spell
from stalwart.core.stages import together
from stalwart.core.statistics import wilson
from stalwart.run import _shown as shown
from stalwart.run._judge import Ledger, conclude, doubts, judge_clean, search, seeks_least, solve
from stalwart.run._parallel import World
from stalwart.run._parts import Found, Part, Shelf, disjoint
from stalwart.run._progress import progress
from stalwart.run._shown import best_of
from stalwart.run._subject import Subject
from stalwart.run._worst import Worst, compared, measured


@dataclass
class _Course:
    """What became of one batch."""

    fallen: Tensor
    """(B,) as in `Sweep`."""
    size: Tensor
    """(B,) of the change it fell to."""
    ledgers: list[Ledger]
    largest: float
    """The largest change of all."""
    found: list[Found] = field(default_factory=list)
    figures: list[Mapping[str, Any]] = field(default_factory=list)
    """The metric's state at each radius, the clean images first; none where nobody asks for it."""

    @classmethod
    def of(cls, untouched: Ledger, levels: int) -> _Course:
        fallen = torch.full_like(untouched.reached, levels + 1, dtype=torch.int64)
        size = torch.full(fallen.shape, torch.inf, device=fallen.device)
        came = cls(fallen, size, [], 0.0)
        came.count(untouched, torch.arange(len(fallen), device=fallen.device), 0)
        return came

    def count(self, ledger: Ledger, live: Tensor, level: int) -> None:
        """Take down what fell at a radius, and let the images go."""
        sizes = ledger.sizes()
        self.largest = max(self.largest, float(sizes.max()))
        new = ledger.reached & (self.size[live] == torch.inf)
        self.fallen[live[new]] = level
        self.size[live[new]] = sizes[new].float()
        ledger.release()
        self.ledgers.append(ledger)


class Sweep:
    """What an attack finds at each of several radii.

    Args:
        radii: ascending, in the threat's units, each above 0.
        most: judge at most so many images at a time; None: a whole batch.
        fast: a faster form of the model for the attack to climb; None: the model itself.
        toward: the class that everything is to be taken for, of a task that is `Directed`; None: untargeted.
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
        toward: int | None = None,
    ) -> None:
        self.subject, self.solver, self.threat, self.radii = subject, solver, threat, tuple(radii)
        self.goal, self.seed, self.most, self.fast, self.toward = goal, seed, most, fast, toward
        self.fallen = torch.empty(0, dtype=torch.int64)
        """(n,) the number of the radius each sample fell at: 0 for the clean image, 1 for `radii[0]`, ...; one more
        than there are radii for those that stand."""
        self.found: list[Found] = []
        self.parts: list[Part] = []
        self.seconds = 0.0
        self._told: tuple[list[dict[str, Any]], dict[str, Tensor]] | None = None

    def take(self, part: Part) -> None:
        """Count what one batch came to, done here, in another process or before a kill; their order does not matter."""
        self.parts.append(part)
        self.fallen = torch.cat([self.fallen, part.fallen])
        self.found = best_of([*self.found, *part.found])
        self._told = None

    def add(self, batch: Batch) -> Part:
        """Attack one more batch."""
        begun = time.perf_counter()
        # A random shield draws in the order of its passes: each batch begins anew, whatever was done before it here.
        reseed(self.subject.model, seed_of(self.seed, int(batch.index[0])))
        goal = self.subject.task.goal(self.subject.model, batch.targets, self.goal, self._wanted(batch.targets))
        with frozen(self.subject.model):
            untouched = Ledger(batch.images, goal, self._at(0.0), 8, self.most)
            judge_clean(untouched, self.solver)
            course = self._worst if untouched.graded else self._first
            came = course(batch, goal, untouched)
        best = best_of([*self.found, *came.found])
        ledgers = came.ledgers
        part = Part(
            positions=batch.index.cpu(),
            fallen=came.fallen.cpu(),
            size=came.size.cpu(),
            found=tuple(item for item in best if any(item is own for own in came.found)),
            forwards=sum(ledger.forwards for ledger in ledgers),
            backwards=sum(ledger.backwards for ledger in ledgers),
            flat=sum(int(ledger.flat) for ledger in ledgers),
            broken=sum(int(ledger.broken) for ledger in ledgers),
            climbed=any(ledger.climbed for ledger in ledgers),
            stages=together(stage for ledger in ledgers for stage in ledger.stages()),
            worst_size=came.largest,
            seconds=time.perf_counter() - begun,
            figures=tuple(came.figures),
        )
        self.take(part)
        return part

    def _wanted(self, targets: Any) -> Any:
        task: Any = self.subject.task
        return None if self.toward is None else task.toward(targets, self.toward)[0]

    def _at(self, radius: float) -> Any:
        return replace(self.threat, epsilon=radius)  # type: ignore[type-var]

    def _first(self, batch: Batch, whole: Goal, ledger: Ledger) -> _Course:
        """What falls leaves: the smallest radius at which an image falls is all that is asked.

        Args:
            ledger: of the clean images, judged.
        """
        came = _Course.of(ledger, len(self.radii))
        live = (~ledger.reached).nonzero().squeeze(1)
        least: Tensor | None = None  # an attack for the smallest change runs once, for all radii
        for level, radius in enumerate(self.radii, 1):
            if not len(live):
                break
            threat, aim = self._at(radius), whole.select(live)
            ledger = Ledger(batch.images[live], aim, threat, 8, self.most)
            climbed = None if self.fast is None else aim.on(self.fast)
            # What a smaller radius means to θ is the threat's own affair, so there an attack runs at each.
            if not seeks_least(self.solver) or isinstance(threat, Rendered):
                search(ledger, self.solver, self.seed, climbed)
            else:
                if least is None:
                    least = solve(ledger, self.solver, self._at(self.radii[-1]), self.seed, climbed)
                conclude(ledger, least, least=True)
            came.found += shown.fallen(self.subject, ledger, batch, live, level)
            came.count(ledger, live, level)
            least = None if least is None else least[~ledger.reached]
            live = live[~ledger.reached]
        return came

    def _worst(self, batch: Batch, whole: Goal, ledger: Ledger) -> _Course:
        """Nothing leaves, and what was worst at a smaller radius stays where a larger one has nothing worse.

        Args:
            ledger: of the clean images, judged.
        """
        worst = Worst(batch.images)
        everything = torch.arange(len(batch.images), device=batch.images.device)
        worst.see(batch.images, ledger.standing, everything)
        untouched = worst.standing[everything]
        came = _Course.of(ledger, len(self.radii))
        came.figures.append(self._figures(worst.images, batch))
        sizes = torch.zeros(len(everything), device=everything.device)
        climbed = None if self.fast is None else whole.on(self.fast)
        for level, radius in enumerate(self.radii, 1):
            ledger = Ledger(batch.images, whole, self._at(radius), 8, self.most, graded=True)
            search(ledger, self.solver, self.seed, climbed)
            worse = worst.see(ledger.pictures(), ledger.standing, everything)
            sizes[worse] = ledger.sizes()[worse].float()
            came.figures.append(self._figures(worst.images, batch))
            came.count(ledger, everything, level)
        came.found += shown.spoiled(self.subject, worst, sizes, untouched, batch, len(self.radii))
        return came

    def _figures(self, images: Tensor, batch: Batch) -> dict[str, Any]:
        """What the task's metric gathers of the model at these images."""
        metric = self.subject.task.metric(self.subject.examples.info)
        metric.update(self.subject.task.predict(self.subject.model, images), batch.targets)
        return metric.state()

    def standing(self, level: int) -> int:
        """Samples still right after the attack at radius number `level`; 0 for the clean images."""
        return int((self.fallen > level).sum())

    def result(self) -> dict[str, Any]:
        """The figures, ready for the run's `results/`."""
        n = len(self.fallen)
        curve: list[dict[str, Any]] = []
        for level, radius in enumerate((0.0, *self.radii)):
            right = self.standing(level)
            curve.append({"epsilon": radius, "robust_accuracy": right / n, "interval": wilson(right, n), "n": n})
        measures, at = self._measures()
        for point, more in zip(curve, at, strict=False):
            point |= more
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
            "per_class": [] if measures else self._per_class(),
            **measures,
            **self._reached(curve[-1]),
            "examples": self._examples()[0],
        }

    def _reached(self, last: Mapping[str, Any]) -> dict[str, Any]:
        """Of a targeted attack, the share of images that it won, which is what the other figures leave of the whole."""
        if self.toward is None:
            return {}
        low, high = last["interval"]
        name = self.subject.examples.info.classes[self.toward]
        return {"toward": name, "reached": 1 - last["robust_accuracy"], "reached_interval": (1 - high, 1 - low)}

    def _measures(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The task's own metric, of the whole and at each radius; nothing where an image stands or falls, no more."""
        parts = sorted(self.parts, key=lambda part: int(part.positions[0]))  # whoever did them, in one order
        if not all(len(part.figures) == len(self.radii) + 1 for part in parts):
            return {}, []
        task, info = self.subject.task, self.subject.examples.info
        levels = range(len(self.radii) + 1)
        return compared(task.score, [measured(task, info, [part.figures[n] for part in parts]) for n in levels])

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

    def pictures(self) -> dict[str, Tensor]:
        """What was kept to be shown, in the order of the examples."""
        return self._examples()[1]

    def _examples(self) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        if self._told is None:
            self._told = shown.examples(self.subject, self.found)
        return self._told

    def outcomes(self) -> dict[str, Tensor]:
        """What became of each sample: `position` (n,) int64 in the whole split, ascending; `fell` (n,) uint8, the
        number of the radius it fell at; `size` (n,) float32 of the change, inf where it stands."""
        positions = torch.cat([part.positions for part in self.parts])
        order = positions.argsort()
        fell, size = self.fallen.to(torch.uint8), torch.cat([part.size for part in self.parts])
        return {"position": self.subject.numbers[positions[order]], "fell": fell[order], "size": size[order]}


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
