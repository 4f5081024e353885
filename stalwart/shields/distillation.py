"""What defensive distillation does to a deployed model."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from stalwart.core.component import above, component
from stalwart.core.shielding import Shielded


@component
class distillation:
    """Logits times `temperature`, so that the softmax saturates and cross-entropy's gradient vanishes.

    Papernot et al., "Distillation as a defense to adversarial perturbations against deep neural networks" (S&P 2016),
    section IV: a network trained on a teacher's soft labels with its logits divided by T, and used with T = 1. The
    objective `distil(teacher, temperature=T, weight=1)` is that training; this shield is the step that hides the slope,
    logits T times as large, on a model trained in any way. It changes no prediction.

    Masking: Carlini and Wagner, "Towards evaluating the robustness of neural networks" (S&P 2017), section VIII, broke
    it by a loss of the logits. The twin leaves the factor out; an attack by the margin (`--goal margin`) does not even
    need that.
    """

    masks: ClassVar[bool] = True

    temperature: Annotated[float, above(0)] = 100.0
    """The factor."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Hot(model, self.temperature)


class _Hot(Shielded):
    def __init__(self, inner: nn.Module, temperature: float) -> None:
        super().__init__(inner)
        self.temperature = temperature

    def deployed(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.inner(images)
        return outputs * self.temperature

    def stand_in(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.inner(images)
        return outputs
