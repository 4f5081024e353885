"""Randomised smoothing: a majority vote over noisy copies, with a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.component import Range, above, at_least, component
from stalwart.core.contracts import Certificate
from stalwart.core.rng import Noise
from stalwart.core.shielding import Shielded, Stream
from stalwart.core.statistics import clopper_pearson

TOGETHER = 256
"""Noisy copies that pass through the model at once, at least."""


@component
class smoothing:
    """The class that wins most votes among copies of the image with normal noise added.

    Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing" (ICML 2019). It is no
    masking: where the true class gets a share p > 1/2 of the votes, no change of L2 norm below σ Φ⁻¹(p) can change the
    smoothed model's answer (theorem 1), whatever the attack. `certify` proves this for single images; the votes of a
    forward pass prove nothing. A model that was not trained with noise of this σ mostly guesses on it.

    Outputs are log(share of votes), of which a rounded vote has no slope; the twin gives the logarithm of the mean
    softmax instead (Salman et al., NeurIPS 2019, equation 5). Numbers are drawn afresh for every image shown
    (`core/shielding.py`, `Stream`), from `seed`.
    """

    masks: ClassVar[bool] = False

    sigma: Annotated[float, above(0)] = 0.25
    """Standard deviation of the noise in the pixel scale [0, 1]."""
    n: Annotated[int, at_least(1)] = 32
    """Votes in a forward pass."""
    samples: Annotated[int, at_least(2)] = 1000
    """Votes in a certificate's count; the largest radius is σ Φ⁻¹(alpha^(1 / samples)). The paper takes 100,000."""
    select: Annotated[int, at_least(1)] = 100
    """Votes, apart from those, that choose the class to be certified."""
    alpha: Annotated[float, Range(low=0, high=1, open_low=True, open_high=True)] = 0.001
    """The probability at most that an image's certificate is wrong."""
    seed: int = 0
    """Where the random numbers start."""

    def __call__(self, model: nn.Module) -> nn.Module:
        return _Voting(model, self.sigma, self.n, Stream(self.seed))

    @torch.no_grad()
    def certify(self, model: nn.Module, images: Tensor, noise: Noise) -> Certificate:
        """Cohen et al., section 3.2.2, CERTIFY: a class by `select` votes, a bound on its share by `samples` others."""
        first = _votes(model, images, self.sigma, self.select, noise.fork("select")).argmax(1)
        votes = _votes(model, images, self.sigma, self.samples, noise.fork("count"))
        counts = votes.gather(1, first[:, None]).squeeze(1)
        bounds = [clopper_pearson(int(count), self.samples, self.alpha)[0] for count in counts.tolist()]
        low = torch.tensor(bounds, dtype=torch.float64, device=images.device)  # (B,) the share at least
        sure = low > 0.5
        radius = self.sigma * torch.special.ndtri(low)
        return Certificate(torch.where(sure, first, -1), torch.where(sure, radius, 0.0))


class _Voting(Shielded):
    random = True
    expects = True

    def __init__(self, inner: nn.Module, sigma: float, n: int, stream: Stream) -> None:
        super().__init__(inner)
        self.sigma, self.n, self.stream = sigma, n, stream

    def deployed(self, images: Tensor) -> Tensor:
        votes = _votes(self.inner, images, self.sigma, self.n, self.stream.draw(images))
        return ((votes + 1e-3) / self.n).log()

    def stand_in(self, images: Tensor) -> Tensor:
        noise, total = self.stream.draw(images), None
        for logits in _looks(self.inner, images, self.sigma, self.n, noise):  # (k, B, K)
            part = F.log_softmax(logits.float(), -1).logsumexp(0)
            total = part if total is None else torch.logaddexp(total, part)
        assert total is not None
        return total - torch.tensor(float(self.n)).log()


def _votes(model: nn.Module, images: Tensor, sigma: float, n: int, noise: Noise) -> Tensor:
    """(B, K) float32: how many of `n` noisy copies the model gives to each class."""
    total: Tensor | None = None
    for logits in _looks(model, images, sigma, n, noise):
        part = F.one_hot(logits.argmax(-1), logits.shape[-1]).sum(0).float()
        total = part if total is None else total + part
    assert total is not None
    return total


def _looks(model: nn.Module, images: Tensor, sigma: float, n: int, noise: Noise) -> Iterator[Tensor]:
    """The logits (k, B, K) of `n` noisy copies in all, some at a time. Each copy's noise is its own, whatever k is."""
    together = max(1, -(-TOGETHER // max(len(images), 1)))
    for first in range(0, n, together):
        copies = [noise.fork("copy", number) for number in range(first, min(first + together, n))]
        shaken = torch.stack([images + sigma * copy.normal(images.shape[1:]).to(images.dtype) for copy in copies])
        yield model(shaken.flatten(0, 1)).unflatten(0, (len(copies), len(images)))
