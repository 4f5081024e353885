"""Expectation over transformation: attack the mean of several random forward passes."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Attack, Goal, Threat, Verdict
from stalwart.core.losses import raising
from stalwart.core.queries import quiet
from stalwart.core.rng import Noise
from stalwart.core.stages import enter


@component
class eot:
    """Any attack, where each look at the model is the mean over `n` of its random forward passes.

    Athalye, Engstrom, Ilyas and Kwok, "Synthesizing robust adversarial examples" (ICML 2018), section 2.1; against
    randomised defences Athalye, Carlini and Wagner (ICML 2018), section 4.2. On a model that is not random it is the
    attack itself at n times its price. A sample counts as reached for the search only when every one of the n passes
    is.
    """

    attack: Attack = "pgd(steps=20)"  # type: ignore[assignment]
    """The attack that climbs the mean."""
    n: Annotated[int, at_least(1)] = 10
    """Forward passes of each look."""

    @property
    def least(self) -> bool:
        """Whether the attack within looks for the smallest change."""
        return bool(getattr(self.attack, "least", False))

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        return self.attack(clean, _Mean(goal, self.n, silent=self.least), threat, noise)


class _Mean:
    """A goal's mean over several passes. `silent`: nothing is handed to the judge."""

    def __init__(self, goal: Goal, n: int, silent: bool = False) -> None:
        self.goal, self.n, self.silent = goal, n, silent

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    def on(self, model: nn.Module) -> _Mean:
        return _Mean(self.goal.on(model), self.n, self.silent)

    def raising(self, kind: str) -> _Mean | None:
        goal = raising(self.goal, kind)
        return None if goal is None else _Mean(goal, self.n, self.silent)

    def unjudged(self) -> _Mean:
        return _Mean(quiet(self.goal), self.n, silent=True)

    def enter(self, name: str) -> None:
        enter(self.goal, name)

    def select(self, index: Tensor) -> _Mean:
        return _Mean(self.goal.select(index), self.n, self.silent)

    def __call__(self, images: Tensor) -> Verdict:
        # One look alone proves nothing of a random model: the runner judges where all n agree, and only there.
        look_at = quiet(self.goal)
        looks = [look_at(images) for _ in range(self.n)]
        loss = torch.stack([look.loss for look in looks]).mean(0)
        reached: Tensor | None = None
        if all(look.reached is not None for look in looks):
            reached = torch.stack([look.reached for look in looks if look.reached is not None]).all(0)
            agreed = reached.nonzero().squeeze(1)
            if not self.silent and look_at is not self.goal and len(agreed):
                with torch.no_grad():
                    judged = self.goal.select(agreed)(images[agreed].detach()).reached
                if judged is None:  # the runner will say it a few passes later
                    reached = None
                else:
                    reached[agreed] = judged
        gaps: Tensor | None = None
        if all(look.gaps is not None for look in looks):
            gaps = torch.stack([look.gaps for look in looks if look.gaps is not None]).mean(0)
        harm: Tensor | None = None
        if all(look.harm is not None for look in looks):
            harm = torch.stack([look.harm for look in looks if look.harm is not None]).mean(0)
        return Verdict(loss, reached, gaps, harm=harm)
