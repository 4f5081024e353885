"""MART: adversarial training that looks hardest at the images which are wrong already."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import rendering
from stalwart.core.component import at_least, component
from stalwart.core.contracts import Attack, Batch, Rendered, Task, Threat
from stalwart.core.losses import gaps_of
from stalwart.core.recall import Recall


@component
class mart:
    """BCE(f(x′), y) + λ KL(p(x) ‖ p(x′)) · (1 − p_y(x)), at the x′ that the attack on the usual loss finds.

    Wang et al., "Improving adversarial robustness requires revisiting misclassified examples" (ICLR 2020), equation 11.
    Its boosted cross-entropy is −log p_y(x′) − log(1 − max_{k≠y} p_k(x′)) (equation 8): the label up, and the nearest
    rival down. All of it comes from the gaps that the task's goal gives; a task without gaps has no rivals.
    """

    attack: Attack = "pgd(steps=10, step=0.25)"  # type: ignore[assignment]
    """The attack that seeks the worst point; also used to watch robustness on the validation images."""
    threat: Threat | Rendered = "linf(8/255)"  # type: ignore[assignment]
    """The set around each training image."""
    beta: Annotated[float, at_least(0)] = 5.0
    """Weight λ of the divergence; the paper's 5."""

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return self.loss(model, task, batch, self.worst(model, task, batch))

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return rendering.adversary(self.attack, self.threat, model, task, batch)

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        asked = Recall(model, batch.images, worst)
        goal = task.goal(asked, batch.targets)
        clean, attacked = (_log_shares(gaps_of(goal(images), "mart")) for images in (batch.images, worst))
        boosted = -attacked[:, -1] - _log_others(attacked)
        doubt = -clean[:, -1].expm1()  # 1 − p_y
        return boosted + self.beta * task.divergence(asked, batch.images, worst) * doubt


def _log_shares(gaps: Tensor) -> Tensor:
    """(B, R + 1) log p: of each rival, −∞ in the label's own column, and of the label in the last one."""
    return F.pad(gaps, (0, 1)).log_softmax(1)


def _log_others(log_shares: Tensor) -> Tensor:
    """(B,) log(1 − max_{k≠y} p_k), as the sum of all others' shares: exact where the rival's share rounds to 1."""
    rival = log_shares[:, :-1].argmax(1, keepdim=True)
    return log_shares.scatter(1, rival, -float("inf")).logsumexp(1)
