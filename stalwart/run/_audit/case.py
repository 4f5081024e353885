"""What an audit looks at: a model, some images, what an attack left standing; and what a check says of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Attack, Goal, Rendered, Task, Threat
from stalwart.core.errors import InputError
from stalwart.pages.numbers import spoken
from stalwart.run._audit.spoiled import Spoiled
from stalwart.run._judge import Ledger, search

Outcome = Literal["passed", "doubtful", "broken", "skipped"]


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    """What was looked for, in a word or two: 'scaled-logits'."""
    outcome: Outcome
    says: str
    """One plain sentence."""
    attack: str = ""
    """The attack that the check ran, as spelled."""
    gained: int = 0
    """Samples that stood in the audited attack and fell in this one."""
    lowered: float = 0.0
    """By how much the task's own figure, in [0, 1], is lower for it than for all before it, where images can be spoiled
    more or less."""


@dataclass
class Case:
    """The model and the images of an audit. `standing` shrinks as checks bring samples down."""

    model: nn.Module
    images: Tensor
    """(B, C, H, W) float32 in [0, 1]."""
    targets: Any
    task: Task
    threat: Threat | Rendered
    attack: Attack
    kind: str
    """The goal's loss that the audited attack raised; '' for the task's usual."""
    seed: int
    bits: int | None
    reached: Tensor
    """(B,) bool: what the audited attack had brought down."""
    spoiled: Spoiled | None = None
    """Each image's worst, where images can be spoiled more or less and the task's metric is known."""
    fallen: Tensor = field(init=False)
    """(B,) bool: what anything has brought down."""
    forwards: int = 0
    """Images passed forwards by attacks so far, the audited one's own included."""
    backwards: int = 0

    def __post_init__(self) -> None:
        self.fallen = self.reached.clone()

    @property
    def n(self) -> int:
        return len(self.images)

    def well(self, figure: float) -> str:
        """How well the model does, for sentences."""
        return (
            f"is right on {figure:.0%}" if self.spoiled is None else f"comes to {figure:.0%} {spoken(self.task.score)}"
        )

    def goal(self, kind: str, model: nn.Module | None = None) -> Goal:
        return self.task.goal(model or self.model, self.targets, kind)

    def kinds(self) -> tuple[str, ...]:
        """The losses of the logits that the task knows and the model has classes enough for, the usual one first."""
        known = []
        for kind in ("cross_entropy", "margin", "dlr"):
            try:
                with torch.no_grad():
                    self.goal(kind).select(torch.zeros(1, dtype=torch.int64, device=self.images.device))(
                        self.images[:1]
                    )
            except InputError:
                continue
            known.append(kind)
        return tuple(known)

    def rerun(
        self,
        attack: str,
        kind: str | None = None,
        *,
        threat: Threat | Rendered | None = None,
        seed: int | None = None,
        bits: int | None = -1,
        model: nn.Module | None = None,
        among: Tensor | None = None,
        keep: bool = True,
    ) -> Tensor:
        """(B,) bool: which of the samples `among` (all that the audited attack left standing) fall to `attack`.

        Where images can be spoiled more or less, and nothing is said of `among`, what fell already is attacked as well,
        and each image's worst is kept.

        Args:
            model: what the attack climbs; the audited model judges.
            keep: count what falls as fallen: the attack stayed within the audited threat and rounding.
        """
        solver: Attack = catalog.make(attack, "attacks")
        spoiled = self.spoiled if keep and among is None else None
        among = (~self.reached if spoiled is None else torch.ones_like(self.reached)) if among is None else among
        index = among.nonzero().squeeze(1)
        found = torch.zeros(self.n, dtype=torch.bool, device=self.images.device)
        if not len(index):
            return found
        whole = self.goal(self.kind if kind is None else kind).select(index)
        bits = self.bits if bits == -1 else bits
        ledger = Ledger(self.images[index], whole, threat or self.threat, bits, graded=spoiled is not None)
        if model is not None:
            solver = _Elsewhere(solver, model)
        search(ledger, solver, self.seed if seed is None else seed)
        self.forwards += ledger.forwards
        self.backwards += ledger.backwards
        found[index] = ledger.reached
        if spoiled is not None:
            spoiled.see(ledger, index)
            found &= ~self.reached
        if keep:
            self.fallen |= found
        return found

    def attainable(self) -> Tensor:
        """(B,) bool: the samples in which the goal can be reached at all; a goal without `possible` can in each."""
        way = getattr(self.goal(self.kind), "possible", None)
        found: Tensor = torch.ones_like(self.reached) if way is None else way()
        return found

    def everything(self) -> Threat | None:
        """The audited threat so large that it covers every image; None for a threat that has no such size."""
        p = getattr(self.threat, "p", None)
        if p is None or not is_dataclass(self.threat) or "epsilon" not in {f.name for f in fields(self.threat)}:
            return None
        _, channels, height, width = self.images.shape
        entries = channels * height * width
        size = {float("inf"): 1.0, 2.0: entries**0.5, 1.0: float(entries), 0.0: float(height * width)}[float(p)]
        return replace(self.threat, epsilon=size)


class _Elsewhere:
    """An attack that climbs another model than the one that judges it."""

    def __init__(self, attack: Attack, model: nn.Module) -> None:
        self.attack, self.model = attack, model

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Any) -> Tensor:
        return self.attack(clean, goal.on(self.model), threat, noise)
