"""Checks of the model itself: does its output say what an attack needs to know?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Goal
from stalwart.run._audit import tape
from stalwart.run._audit.case import Case, Check

LOOKED_AT = 64
"""Images that these checks pass through the model."""
SATURATED = 80.0
"""Logits so far apart that float32's softmax is exactly 1: e^-88 is its smallest number."""
RANGES = {
    "0 to 255": (0.0, 1 / 255),
    "-1 to 1": (0.5, 0.5),
    "ImageNet's mean and spread": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""What pixels a model may have been trained on: (mean, spread) of the usual normalisations."""


def look(case: Case) -> Iterator[Check]:
    """The checks, in an order that names the cause before its consequences."""
    images = case.images[:LOOKED_AT]
    index = torch.arange(len(images), device=images.device)
    seen = tape.operations(case.model, images[:2])
    random = _random(case, images, index, seen)
    yield random
    yield _batch_mates(case, images, index, random.outcome == "broken")
    yield _output(case, images)
    yield _scale(case, images, index)
    yield _range(case)
    slope, gradient = _slope(case, images, index, seen)
    yield slope
    yield _uphill(case, images, index, gradient if random.outcome == "passed" else None)


def _measure(goal: Goal, images: Tensor) -> Tensor:
    """(B, R) what the goal sees: its gaps where there are any, else its loss."""
    verdict = goal(images)
    if verdict.gaps is None:
        return verdict.loss[:, None]
    return verdict.gaps.nan_to_num(neginf=0.0)


@torch.no_grad()
def _random(case: Case, images: Tensor, index: Tensor, seen: set[str]) -> Check:
    goal = case.goal("").select(index)
    first, again = _measure(goal, images), _measure(goal, images)
    spread = float((first - again).abs().max())
    if spread <= 1e-4 * (1 + float(first.abs().max())):
        return Check("random-forward", "passed", "The same image gives the same output twice.")
    if seen & tape.DROPOUT:
        return Check("dropout-at-test", "broken", "Dropout stays on in evaluation: the same image gives other outputs.")
    return Check(
        "random-forward", "broken", "The forward pass is random: the same image gives another output each time."
    )


@torch.no_grad()
def _batch_mates(case: Case, images: Tensor, index: Tensor, random: bool) -> Check:
    name = "batch-mates"
    if random or len(images) < 2:
        return Check(name, "skipped", "Needs a forward pass that repeats itself and two images.")
    goal = case.goal("").select(index)
    together = _measure(goal, images)[:1]
    alone = _measure(goal.select(index[:1]), images[:1])
    if float((together - alone).abs().max()) <= 1e-3 * (1 + float(together.abs().max())):
        return Check(name, "passed", "An image's output does not hang on the images beside it.")
    return Check(name, "broken", "An image's output hangs on the images beside it, as with BatchNorm in training mode.")


@torch.no_grad()
def _output(case: Case, images: Tensor) -> Check:
    """Of logits (B, K), and of maps (B, K, h, w), whose places are looked at one by one."""
    name = "logits"
    out = case.model(images)
    tensors = [out] if isinstance(out, Tensor) else [value for value in _values(out) if isinstance(value, Tensor)]
    if not tensors:
        return Check(name, "skipped", "The output is neither a tensor nor a collection of tensors.")
    if not all(bool(one.isfinite().all()) for one in tensors):
        return Check("non-finite", "broken", "The output holds NaN or infinity.")
    if not isinstance(out, Tensor) or out.ndim not in (2, 4):
        return Check(name, "passed", "The output is finite; no logits are looked for in one of its kind.")
    out = out.float()
    if bool(((out == out.amax(1, keepdim=True)) | (out == out.amin(1, keepdim=True))).all()) and out.shape[1] > 2:
        return Check("argmax", "broken", "The output is the decision alone, without logits: no slope leads to another.")
    if out.shape[1] > 1 and float(out.min()) >= 0 and bool(((out.sum(1) - 1).abs() < 1e-3).all()):
        return Check(
            "probabilities",
            "broken",
            "The output is probabilities, not logits: a second softmax in the loss flattens every slope.",
        )
    return Check(name, "passed", "The output is finite, and neither probabilities nor the decision alone.")


def _values(out: Any) -> Iterable[Any]:
    if isinstance(out, Mapping):
        return out.values()
    return out if isinstance(out, list | tuple) else ()


@torch.no_grad()
def _scale(case: Case, images: Tensor, index: Tensor) -> Check:
    name = "scaled-logits"
    gaps = case.goal("").select(index)(images).gaps
    if gaps is None:
        return Check(name, "skipped", "The task gives no gaps between outcomes.")
    typical = float(gaps.amax(1).abs().median())
    if typical > SATURATED:
        return Check(
            name, "broken", f"Logits stand {typical:.4g} apart: cross-entropy saturates and its gradient vanishes."
        )
    if 0 < typical < 1e-4:
        return Check(name, "broken", f"Logits stand only {typical:.2g} apart: slopes drown in float32's rounding.")
    return Check(name, "passed", f"Logits stand {typical:.3g} apart, within what float32's softmax can tell.")


@torch.no_grad()
def _range(case: Case) -> Check:
    name = "pixel-range"
    images = case.images

    def right(pixels: Tensor) -> float:
        if case.spoiled is not None:
            return case.spoiled.figure(pixels)
        reached = case.goal("")(pixels).reached
        assert reached is not None
        return 1 - float(reached.float().mean())

    own = right(images)
    for label, (mean, spread) in RANGES.items():
        if isinstance(mean, tuple) and images.shape[1] != 3:
            continue
        shift = torch.as_tensor(mean, device=images.device, dtype=images.dtype).view(-1, 1, 1)
        width = torch.as_tensor(spread, device=images.device, dtype=images.dtype).view(-1, 1, 1)
        other = right((images - shift) / width)
        if other > own + 0.15:
            return Check(
                name,
                "broken",
                f"Untouched the model {case.well(own)} in [0, 1] and {case.well(other)} in {label}: it expects another "
                "range, so ε does not mean what it says.",
            )
    says = f"No usual normalisation would do better than pixels in [0, 1], where the model {case.well(own)}."
    return Check(name, "passed", says)


def _slope(case: Case, images: Tensor, index: Tensor, seen: set[str]) -> tuple[Check, Tensor | None]:
    """Is there a gradient, and if not, where does it end?"""
    name = "gradient"
    kinds, kind = case.kinds(), _smooth(case)
    gradient = _gradient(case.goal(kind).select(index), images)
    steps = ", ".join(sorted(seen & tape.STEPS))
    by = f" (in the forward pass: {steps})" if steps else ""
    if gradient is None:
        if _weights_have_slope(case.goal(kind).select(index), images):
            says = f"The gradient ends before the images: a preprocessing step is not differentiable{by}."
            return Check("nondifferentiable-preprocessing", "broken", says), None
        return Check("detached", "broken", f"The output is detached: no gradient comes from the model{by}."), None
    if not bool(gradient.isfinite().all()):
        return Check("non-finite-gradient", "broken", "Gradients are NaN or infinite: the attack is blind there."), None
    flat = float((gradient.abs().flatten(1).amax(1) == 0).float().mean())
    if flat > 0.1:
        return _why_flat(case, images, index, flat, by), None
    if "cross_entropy" in kinds:
        usual = _gradient(case.goal("cross_entropy").select(index), images)
        lost = 1.0 if usual is None else float((usual.abs().flatten(1).amax(1) == 0).float().mean())
        if lost > 0.1:
            says = f"Cross-entropy's gradient is exactly zero on {lost:.0%} of images where the margin's is not."
            return Check("saturated", "broken" if lost > 0.5 else "doubtful", says), gradient
    return Check(name, "passed", "Every image has a finite gradient that is not zero."), gradient


@torch.no_grad()
def _why_flat(case: Case, images: Tensor, index: Tensor, flat: float, by: str) -> Check:
    goal = case.goal("").select(index)
    generator = torch.Generator().manual_seed(case.seed)
    shake = (torch.rand(images.shape, generator=generator) * 2 - 1).to(images.device)
    here = _measure(goal, images)
    moved = (_measure(goal, (images + shake * 1e-4).clamp(0, 1)) != here).any(1).float().mean()
    share = f"The gradient is exactly zero on {flat:.0%} of images"
    if float(moved) < 0.5:
        return Check("quantised", "broken", f"{share}, and the output moves in steps: something in it is rounded{by}.")
    return Check(
        "zero-gradient",
        "broken",
        f"{share}, yet the output moves with the pixels: the backward pass hides the slope{by}.",
    )


def _uphill(case: Case, images: Tensor, index: Tensor, gradient: Tensor | None) -> Check:
    """A small step along the gradient's sign must raise the loss, or the gradient is not the model's own."""
    name = "uphill"
    if gradient is None:
        return Check(name, "skipped", "Needs a gradient and a forward pass that repeats itself.")
    goal = case.goal(_smooth(case)).select(index)
    with torch.no_grad():
        before = goal(images).loss
        best = torch.zeros_like(before, dtype=torch.bool)
        for step in (0.25 / 255, 1 / 255):
            best |= goal((images + step * gradient.sign()).clamp(0, 1)).loss > before
    share = float(best.float().mean())
    if share >= 0.9:
        return Check(name, "passed", f"A small step along the gradient raises the loss on {share:.0%} of images.")
    says = (
        f"A small step along the gradient raises the loss on {share:.0%} of images only: the slope is not the model's."
    )
    return Check("false-slope", "broken" if share < 0.7 else "doubtful", says)


def _smooth(case: Case) -> str:
    """The loss by which slopes are looked at: one without jumps, which those have that weigh less what is wrong."""
    known = case.kinds()
    return next((kind for kind in ("margin", "cross_entropy") if kind in known), "")


def _gradient(goal: Goal, images: Tensor) -> Tensor | None:
    """(B, C, H, W), or None where the loss does not hang on the images."""
    x = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = goal(x).loss
        if not loss.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
    return gradient


def _weights_have_slope(goal: Goal, images: Tensor) -> bool:
    """Whether the loss hangs on the model's weights at all; they are switched on for the look alone."""
    weights = list(goal.model.parameters())
    wants = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            return bool(goal(images).loss.requires_grad)
    finally:
        for weight, wanted in zip(weights, wants, strict=True):
            weight.requires_grad_(wanted)


def logarithm(model: nn.Module) -> nn.Module:
    """The logits of a model that gives probabilities."""
    return _Log(model)


class _Log(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.inner(images)
        return out.clamp_min(1e-30).log()
