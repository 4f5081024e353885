"""Attacking a model: any module with images in memory, or a run folder with its test split."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Attack, AttackResult, Task, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.run._judge import Judged, Ledger, eight_bit


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Any,
    attack: str | Attack = "pgd(steps=20)",
    threat: str | Threat = "linf(8/255)",
    *,
    task: str | Task = "classification()",
    goal: str = "",
    wanted: Any = None,
    seed: int = 0,
    batch: int = 256,
    bits: int | None = 8,
) -> AttackResult:
    """Attack `model` at `images` and judge what came of it.

    The model is used in evaluation mode and left as it was: the mode of each module, each `requires_grad`.
    Samples that are wrong from the start are counted as reached and not attacked. The verdict is taken in float32
    at the image as it would be saved: inside the threat and [0, 1], rounded to `bits`. Results do not depend on the
    batch size or the order of the images, up to float32's rounding in the model itself.

    Args:
        model: any module that takes (B, C, H, W) in [0, 1]; for classification it gives logits (B, K).
        images: (B, C, H, W) float in [0, 1], or uint8.
        labels: the task's targets; class indices (B,) for classification.
        goal: the loss to raise, by the task's name for it ('cross_entropy', 'margin', 'dlr'); '' for the usual one.
        wanted: targets that the attacker wants, (B,) for classification; None for an untargeted attack.
        batch: images at a time.
        bits: round to so many bits before judging. Images that are not multiples of 1/255 are judged unrounded.

    Raises:
        InputError: images or labels out of their range, an unknown spelling.
    """
    solver: Attack = catalog.make(attack, "attacks")
    around: Threat = catalog.make(threat, "threats")
    adapter: Task = catalog.make(task, "tasks")
    device = _device_of(model)
    pixels = _check_images(images).to(device)
    targets = _to(adapter.collate(labels), device)
    aims = None if wanted is None else _to(adapter.collate(wanted), device)
    if len(targets) != len(pixels):
        raise InputError(f"labels must be as many as the images, {len(pixels)}. Got {len(targets)}.")
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    if bits is not None and (not 1 <= bits <= 16 or not eight_bit(pixels)):
        if not 1 <= bits <= 16:
            raise InputError(f"bits must lie in 1..16 or be None. Got {bits}.")
        bits = None
    begun = time.perf_counter()
    with frozen(model):
        whole = adapter.goal(model, targets, goal, aims)
        ledgers, wrong = [], []
        for first in range(0, len(pixels), batch):
            index = torch.arange(first, min(first + batch, len(pixels)), device=device)
            ledger = Ledger(pixels[index], whole.select(index), around, bits)
            wrong.append(_one_batch(ledger, solver, seed))
            ledgers.append(ledger)
    seconds = time.perf_counter() - begun
    adversarial = _join([ledger.answer for ledger in ledgers], pixels)
    forwards, backwards = sum(item.forwards for item in ledgers), sum(item.backwards for item in ledgers)
    flat, broken = sum(int(item.flat) for item in ledgers), sum(int(item.broken) for item in ledgers)
    return AttackResult(
        adversarial=adversarial,
        reached=_join([ledger.reached for ledger in ledgers], torch.zeros(0, dtype=torch.bool)),
        clean_reached=_join(wrong, torch.zeros(0, dtype=torch.bool)),
        size=around.size(adversarial, pixels) if len(pixels) else torch.zeros(0),
        loss=_join([ledger.loss for ledger in ledgers], torch.zeros(0)),
        forwards=forwards,
        backwards=backwards,
        seconds=seconds,
        seed=seed,
        attack=spell(solver),
        threat=spell(around),
        bits=bits,
        warnings=_doubts(flat, broken, backwards, climbed=any(ledger.climbed for ledger in ledgers)),
    )


def _one_batch(ledger: Ledger, solver: Attack, seed: int) -> Tensor:
    """Attack what is not wrong already, judge what came; (b,) bool says what was wrong from the start."""
    everything = torch.arange(len(ledger.clean), device=ledger.clean.device)
    wrong = ledger.judge(ledger.clean, everything)
    live = (~wrong).nonzero().squeeze(1)
    if len(live) and ledger.threat.epsilon > 0:
        clean = ledger.clean[live]
        noise = Noise.of_images(clean, seed)
        judged = Judged(ledger.goal.select(live), ledger, live)
        last = solver(clean, judged, ledger.threat, noise)
        if last.shape != clean.shape:
            raise InputError(
                f"{spell(solver)} must give images of shape {tuple(clean.shape)}. Got {tuple(last.shape)}."
            )
        open_ = (~ledger.reached[live]).nonzero().squeeze(1)
        if len(open_):
            ledger.judge(last[open_], live[open_])
    return wrong


def _doubts(flat: int, broken: int, backwards: int, climbed: bool) -> tuple[str, ...]:
    found = []
    if not backwards and climbed:
        found.append("no gradient came from the model (detached, or not differentiable): this attack was blind.")
    if broken:
        found.append(f"{broken:,} of {backwards:,} gradients were not finite: the attack is blind there.")
    if flat > 0.1 * backwards:
        found.append(
            f"{flat:,} of {backwards:,} gradients were exactly zero: the model hides its slope (saturated, rounded or "
            "detached), so this figure says little of its robustness. Try goal='margin' or a black-box attack."
        )
    return tuple(found)


def _check_images(images: Any) -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != 4:
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images must be a tensor (B, C, H, W). Got {came}.")
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise InputError(f"images must be float in [0, 1] or uint8. Got {images.dtype}.")
    pixels = images.detach().float()
    if pixels.numel():
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -SLOP and high <= 1 + SLOP):  # also false for NaN
            raise InputError(
                f"images must lie in [0, 1]; normalisation belongs into the model. Got values in {low:.4g}..{high:.4g}."
            )
    return pixels.clamp(0, 1)


SLOP = 1e-5
"""Values so little outside [0, 1] come from float arithmetic and are cut."""


def _device_of(model: nn.Module) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value


def _join(parts: Sequence[Tensor], empty: Tensor) -> Tensor:
    return torch.cat(list(parts)) if parts else empty
