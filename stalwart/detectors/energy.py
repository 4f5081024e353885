"""What the logits themselves say: the baseline that a detector must beat."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from stalwart.core.component import above, component


@component
class energy:
    """Flags inputs of which the model is unsure: high free energy, high entropy, or low confidence.

    Nothing is learnt. It is the baseline for all others, and many a published detector is no better than it on attacks
    that stop at the first success. An attack that goes on makes the model surer than it is of clean images, so the
    score can even be worse than a coin.
    """

    trained: ClassVar[bool] = False

    kind: Literal["energy", "entropy", "confidence"] = "energy"
    """energy: −T log Σ e^{z/T} (Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020, equation 4).
    entropy: −Σ p log p in nats. confidence: 1 − max p (Hendrycks and Gimpel, ICLR 2017)."""
    temperature: Annotated[float, above(0)] = 1.0
    """T, by which the logits are divided first."""

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> dict[str, Tensor]:
        return {}

    def score(self, model: nn.Module, images: Tensor, fitted: object) -> Tensor:
        logits: Tensor = model(images).float() / self.temperature
        if self.kind == "energy":
            return -self.temperature * logits.logsumexp(1)
        if self.kind == "entropy":
            logs = logits.log_softmax(1)
            return -(logs.exp() * logs).sum(1)
        # 1 − max p as the others' sum: near 1 the difference would round to 0 and have no slope.
        logs = logits.log_softmax(1)
        top = logits.argmax(1, keepdim=True)
        return logs.scatter(1, top, -torch.inf).logsumexp(1).exp()
