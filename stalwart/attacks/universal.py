"""Universal perturbation: one change that fools the model on most images."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from stalwart.core import balls
from stalwart.core.component import above, at_least, between, component
from stalwart.core.contracts import Goal, Threat
from stalwart.core.least import exponent
from stalwart.core.queries import quiet
from stalwart.core.rendering import redrawn
from stalwart.core.rng import Noise


@component
class universal:
    """One change for all images, by gradient steps on small batches of them.

    Moosavi-Dezfooli et al., "Universal adversarial perturbations" (CVPR 2017), sought as in Shafahi et al., "Universal
    adversarial training" (AAAI 2020), algorithm 1 and equation 3: maximise Σ min(loss, cap) over δ, ‖δ‖ ≤ ε. The cap
    keeps images that are fooled already from taking all the steps. Under `patch` it is the adversarial patch of Brown
    et al. (2017): one patch for all images, and each step draws its place, turn, size and brightness anew.

    What any patch costs, whatever is on it, is what `steps=0` tells: one grey patch for all or, with `start="random"`,
    one of noise, laid as the one that is sought would be. Take it for a control.

    By its nature a sample's result depends on the others, though not on their order or on the runner's batches. The
    figure says how many of the very images that it was sought on one change brings down.
    """

    together: ClassVar[bool] = True

    steps: Annotated[int, at_least(0)] = 300
    """Gradient steps, each on one small batch; 0: what it begins with."""
    batch: Annotated[int, at_least(1)] = 64
    """Images of each step."""
    step: Annotated[float, above(0)] = 0.1
    """Length of the first step as a share of ε; it falls to a tenth of that."""
    momentum: Annotated[float, between(0, 1)] = 0.9
    """What each step keeps of the direction before it (Dong et al., CVPR 2018)."""
    cap: Annotated[float, above(0)] = 9.0
    """Loss from which on an image has no say; the paper's 9 for cross-entropy."""
    start: Literal["plain", "random"] = "plain"
    """What the first step begins with: no change (a grey patch), or anywhere within the threat, the same for all."""

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        p = exponent(threat, "universal", (2.0, math.inf))
        # Where every image is allowed, a change that is cut at black and white would leave the clean image's shades in
        # it, so there the image itself is the same for all: a patch.
        whole = p == math.inf and threat.epsilon >= 1
        look_at, own = quiet(goal), noise.fork("universal")
        shared = torch.full_like(clean[:1], 0.5) if whole else torch.zeros_like(clean[:1])
        if self.start == "random":
            shared = self._anywhere(shared, own, threat.epsilon, p, whole)
        drift = torch.zeros_like(shared)
        order, passed = torch.empty(0, dtype=torch.int64, device=clean.device), 0
        for step in range(self.steps):
            if not len(order):
                order = own.fork(passed).uniform().argsort()  # by the images' own keys: their place plays no part
                passed += 1
            index, order = order[: self.batch], order[self.batch :]
            origin = clean[index]
            x = shared.expand_as(origin) if whole else threat.project(origin + shared, origin)
            slope = self._slope(x, redrawn(look_at.select(index), step + 1))
            drift = self.momentum * drift + slope / slope.abs().sum().clamp_min(balls.TINY)
            length = self.step * (1 - 0.9 * step / self.steps) * threat.epsilon
            shared = shared + length * balls.steepest(drift, p)
            shared = shared.clamp(0, 1) if whole else balls.project(shared, threat.epsilon, p)
        return shared.expand_as(clean).clone() if whole else threat.project(clean + shared, clean)

    def _anywhere(self, shared: Tensor, own: Noise, epsilon: float, p: float, whole: bool) -> Tensor:
        """(1, C, H, W) by the image whose number is the least, so that their order plays no part."""
        first = own.fork("first")
        one = first.select(first.uniform().argmin()[None])
        drawn = one.fork("start").uniform(tuple(shared.shape[1:])).to(shared.dtype)
        return drawn if whole else balls.project(epsilon * (2 * drawn - 1), epsilon, p)

    def _slope(self, images: Tensor, goal: Goal) -> Tensor:
        """(1, C, H, W) the slope of the capped losses' sum with respect to what all images share."""
        x = images.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = goal(x).loss.clamp_max(self.cap).sum()
            if not loss.requires_grad:  # a model that detaches, which the runner reports
                return torch.zeros_like(x[:1])
            (slope,) = torch.autograd.grad(loss, x, allow_unused=True)
        return torch.zeros_like(x[:1]) if slope is None else slope.nan_to_num(0.0, 0.0, 0.0).sum(0, keepdim=True)
