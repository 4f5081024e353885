"""Do a shield and a detector keep their contracts?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stalwart.core import shielding
from stalwart.core.checks._say import expect, per_sample
from stalwart.core.contracts import Detector, Shield
from stalwart.core.freeze import frozen
from stalwart.core.rng import generator


def shield(shield: Shield) -> None:
    """Check that a shield keeps its contract: outputs, the model left as it was, a twin that has slopes.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"shield {shield!r}"
    expect(isinstance(shield.masks, bool), f"{who}: masks must be True or False", shield.masks)
    images = torch.rand(3, 3, 12, 10, generator=generator("check", "shield"))
    kept = images.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(90, 4)).eval()
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    plain = inner(images).detach()
    model = shield(inner).eval()
    expect(isinstance(model, nn.Module), f"{who}: must give a module", type(model).__name__)
    expect(model is not inner and shielding.shielded(model), f"{who}: must build on Shielded", type(model).__name__)
    shielding.reseed(model, 0)
    found = model(images).detach()
    expect(found.shape == plain.shape, f"{who}: outputs must keep the shape {tuple(plain.shape)}", tuple(found.shape))
    expect(bool(found.isfinite().all()), f"{who}: outputs must be finite", "NaN or infinity")
    expect(torch.equal(images, kept), f"{who}: must not write into the images", "other values")
    same = all(torch.equal(value, before[name]) for name, value in inner.state_dict().items())
    expect(same and torch.equal(inner(images).detach(), plain), f"{who}: must leave the model as it is", "a change")
    again = model(images).detach()
    said = shielding.random(model)
    expect(torch.equal(found, again) != said, f"{who}: random must say whether two passes may differ", said)
    shielding.reseed(model, 0)
    expect(torch.equal(model(images).detach(), found), f"{who}: reseed must bring the same numbers back", "others")
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(shielding.differentiable(model)(x)[:, 0].sum(), x)
    flat = (slope.flatten(1).abs().amax(1) == 0).sum()
    expect(bool(slope.isfinite().all()) and not int(flat), f"{who}: the twin must have a slope at each image", "none")


def detector(detector: Detector) -> None:
    """Check that a detector keeps its contract: what it learns, scores of each image alone, slopes, the same model.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"detector {detector!r}"
    expect(isinstance(detector.trained, bool), f"{who}: trained must be True or False", detector.trained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
        ).eval()  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(300, 3, 12, 10, generator=generator("check", "detector"))
    clean, held, some = images[:200], images[200:260], images[260:272]
    attacked = (held[:40] + 0.2 * torch.randn(held[:40].shape, generator=generator("check", "moved"))).clamp(0, 1)
    kept = images.clone()
    with frozen(model), torch.no_grad():
        targets = model(clean).argmax(1)
        given = attacked if detector.trained else None
        fitted = detector.fit(model, clean, targets, held, given)
        expect(isinstance(fitted, Mapping), f"{who}: fit must give tensors by name", type(fitted).__name__)
        for name, value in fitted.items():
            plain = isinstance(name, str) and isinstance(value, Tensor) and not value.requires_grad
            expect(plain, f"{who}: fit must give tensors without a graph by name", (name, type(value).__name__))
            expect(bool(value.isfinite().all()), f"{who}: what is fitted must be finite", name)
        again = detector.fit(model, clean, targets, held, given)
        same = fitted.keys() == again.keys() and all(torch.equal(fitted[name], again[name]) for name in fitted)
        expect(same, f"{who}: fit must learn the same from the same images", "other values")
        learnt = {name: value.clone() for name, value in fitted.items()}
        scores = detector.score(model, some, fitted)
        per_sample(scores, len(some), f"{who}: score")
        expect(torch.equal(detector.score(model, some, fitted), scores), f"{who}: score must be repeatable", "another")
        index = torch.tensor([7, 2])
        part = detector.score(model, some[index], fitted)
        alone = torch.allclose(part, scores[index], rtol=1e-3, atol=1e-4)
        expect(alone, f"{who}: score must be of each image alone", "batch mates matter")
        x = some.clone().requires_grad_()
        with torch.enable_grad():
            found = detector.score(model, x, fitted)
            total = found.sum()
        expect(found.requires_grad, f"{who}: score must be differentiable", "a detached score")
        (slope,) = torch.autograd.grad(total, x, allow_unused=True)
        expect(slope is not None and bool(slope.isfinite().all()), f"{who}: score must have finite slopes", "others")
        flat = int((slope.flatten(1).abs().amax(1) == 0).sum())
        expect(not flat, f"{who}: score must have a slope at each image", f"{flat} of {len(some)} without")
    expect(torch.equal(images, kept), f"{who}: must not write into the images", "other values")
    held_still = all(torch.equal(fitted[name], learnt[name]) for name in learnt)
    expect(held_still, f"{who}: score must leave what was fitted", "other values")
    untouched = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    expect(untouched and not hooks, f"{who}: must leave the model as it is", "a change or a hook")
