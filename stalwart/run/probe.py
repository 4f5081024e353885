"""Which memory layout, precision and compilation are fastest here, by measuring a few steps of the real model.

What is fast differs between machines and models: bfloat16 doubles the speed of dense networks on one processor and
halves that of depthwise ones on the same. So nothing is assumed, and plain eager float32 is kept unless another way is
measured to be faster.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

Layout = Literal["contiguous", "channels_last"]
Precision = Literal["fp32", "bf16"]
LossStep = Callable[[nn.Module, Tensor, Any], Tensor]

MARGIN = 0.03
"""A candidate must be faster than plain eager by this share of its time."""

BUDGET_S = 4.0
"""Seconds to measure for, compilation apart. Two rounds are measured in any case, of as many images as fit."""

WORTH_S = 20.0
"""Work that plain eager does in less is not measured at all."""

COMPILE_FROM_S = 3600.0
"""Work from which compilation is tried unasked: it takes a minute or a few, and is in vain for many models."""

FEW = 16
"""Images that are enough for a first guess."""

ROUNDS = 2, 12
"""At least and at most so many measurements of each candidate, in turns, of which the fastest counts: what else the
machine does only ever adds."""


@dataclass(frozen=True)
class Choice:
    """What to train or predict with."""

    layout: Layout = "contiguous"
    precision: Precision = "fp32"
    compile: bool = False
    reason: str = "plain eager"
    """In words, for the user."""
    table: Mapping[str, float] = field(default_factory=dict)
    """Seconds of a step by candidate, as measured; 'contiguous fp32' is plain eager. Empty: nothing was measured."""
    notes: tuple[str, ...] = ()
    """Candidates that could not be measured, and why."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Bring the model's weights into the layout, in place; returns the model, or a compiled form that shares its
        weights."""
        model.to(memory_format=_FORMATS[self.layout])
        if not self.compile:
            return model
        return torch.compile(model)  # type: ignore[return-value]

    def place(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in the layout; themselves where they have it."""
        return images.contiguous(memory_format=_FORMATS[self.layout]) if images.ndim == 4 else images

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context of the forward pass; may be entered any number of times."""
        if self.precision == "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()

    def __str__(self) -> str:
        return f"{self.layout} {self.precision}{' compiled' if self.compile else ''}"


_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PLAIN = Choice()


def made_for_bf16(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16 products."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def choose(
    model: nn.Module,
    loss_step: LossStep,
    images: Tensor,
    targets: Any,
    device: torch.device,
    *,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    steps: int = 1_000_000,
    compile: bool | None = None,
    training: bool = True,
) -> Choice:
    """Measure the candidates in turns and take the fastest; plain eager unless another is faster by `MARGIN`.

    The work is done on a copy: the model's weights, buffers, gradients and modes, and torch's random numbers, are left
    as they are. Where bfloat16 is free to be taken, its loss must also be near float32's.

    Args:
        model: on `device`.
        loss_step: (model, images, targets) to a scalar, with the forward pass in it.
        images: (B, C, H, W) a real batch on `device`, all of it or as much as the time allows.
        precision: 'auto' tries bfloat16 where the hardware is made for it.
        steps: how many are planned.
        compile: try `torch.compile`; None: where so much work is planned that it can pay.
        training: take gradients too.

    Returns:
        Never raises for a candidate that fails, such as for want of a compiler: it is left out, with a note.
    """
    only: Precision | None = None if precision == "auto" else precision
    fixed = Choice(precision=only or "fp32")
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        # Each of its steps waits for the other processes, which do not measure the same number of times.
        return Choice(precision=fixed.precision, reason="not measured: BatchNorm is shared with other processes")
    try:
        trial = _Trial(copy.deepcopy(model), loss_step, images, targets, device, training)
    except Exception as error:  # a module may hold anything
        return Choice(precision=fixed.precision, reason=f"not measured: {_line(error)}")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.set_grad_enabled(training):
        try:
            expected = trial.expect(fixed)
        except Exception as error:
            return Choice(precision=fixed.precision, reason=f"not measured: {_line(error)}")
        if expected * steps < WORTH_S and not compile:
            return Choice(precision=fixed.precision, reason="plain eager: too little work to be worth measuring")
        candidates = [fixed, Choice("channels_last", fixed.precision)]
        if only is None and made_for_bf16(device):
            candidates += [Choice("contiguous", "bf16"), Choice("channels_last", "bf16")]
        trial.shrink(expected * len(candidates) * (ROUNDS[0] + 1))
        table, notes = _compare(trial, candidates)
        if str(fixed) not in table:  # what worked a moment ago does no more: out of memory
            return Choice(precision=fixed.precision, reason="not measured", notes=tuple(notes))
        planned = table[str(fixed)] * trial.share * steps
        if compile or (compile is None and planned > COMPILE_FROM_S):
            fastest = min((c for c in candidates if str(c) in table), key=lambda c: table[str(c)])
            compiled = Choice(fastest.layout, fastest.precision, compile=True)
            saved, note = _try_compiled(trial, compiled, table, steps)
            notes += note
            if saved > 0 or compile:
                candidates.append(compiled)
    table = {name: seconds * trial.share for name, seconds in table.items()}
    return _pick(fixed, [c for c in candidates if str(c) in table], table, tuple(notes))


def _pick(plain: Choice, candidates: list[Choice], table: dict[str, float], notes: tuple[str, ...]) -> Choice:
    base = table[str(plain)]
    best = min(candidates, key=lambda c: table[str(c)])
    if table[str(best)] > base * (1 - MARGIN):
        best, reason = plain, "plain eager: nothing else was faster"
    else:
        reason = f"{best}: {base / table[str(best)]:.2f} × as fast as plain eager"
    if plain.precision != "fp32":
        reason = reason.replace("plain eager", str(plain))
    return Choice(best.layout, best.precision, best.compile, reason, table, notes)


class _Trial:
    """A copy of the model to be tried out."""

    def __init__(
        self, model: nn.Module, loss_step: LossStep, images: Tensor, targets: Any, device: torch.device, training: bool
    ) -> None:
        self.model, self.loss_step, self.device, self.training = model, loss_step, device, training
        self._whole = images.detach(), targets
        self.images, self.targets = self._whole
        self.share = 1.0
        """Images of the whole batch over those that are measured."""
        self._compiled: dict[str, nn.Module] = {}

    def expect(self, choice: Choice) -> float:
        """Seconds that a step of the whole batch takes, from a few images where it takes long."""
        self._take(FEW)
        self.step(choice)  # the first step allocates
        expected = self.step(choice)[0] * self.share
        self._take(len(self._whole[0]))
        return min(expected, self.step(choice)[0]) if expected < BUDGET_S / 2 else expected

    def shrink(self, expected_s: float) -> None:
        """Go on with fewer images where the whole measurement would take longer than the budget."""
        if expected_s > BUDGET_S:
            self._take(max(int(len(self._whole[0]) * BUDGET_S / expected_s), FEW))

    def _take(self, count: int) -> None:
        images, targets = self._whole
        if isinstance(targets, Tensor) and len(targets) == len(images) and count < len(images):
            images, targets = images[:count], targets[:count]
        self.images, self.targets, self.share = images, targets, len(self._whole[0]) / len(images)

    def step(self, choice: Choice) -> tuple[float, float]:
        """Seconds of one step, and its loss."""
        model = self._placed(choice)
        images = choice.place(self.images)
        model.zero_grad(set_to_none=True)
        _seed(self.device)  # so that dropout draws the same for every candidate, and losses can be compared
        self._wait()
        begun = time.perf_counter()
        with choice.autocast(self.device):
            loss = self.loss_step(model, images, self.targets)
        if self.training:
            loss.backward()  # type: ignore[no-untyped-call]
        self._wait()
        return time.perf_counter() - begun, float(loss.detach())

    def _placed(self, choice: Choice) -> nn.Module:
        if not choice.compile:
            return choice.apply(self.model)
        if str(choice) not in self._compiled:
            self._compiled[str(choice)] = choice.apply(self.model)
        return self._compiled[str(choice)]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _seed(device: torch.device) -> None:
    """Seed what a step on `device` draws from and the fork puts back; `torch.manual_seed` would seed every GPU."""
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)


def _compare(trial: _Trial, candidates: list[Choice]) -> tuple[dict[str, float], list[str]]:
    """Seconds of a step by candidate, measured in turns, and notes on those that failed."""
    table: dict[str, float] = {}
    notes: list[str] = []
    losses: dict[str, float] = {}
    left = list(candidates)
    for choice in candidates:
        try:
            losses[str(choice)] = trial.step(choice)[1]
        except Exception as error:
            left.remove(choice)
            notes.append(f"{choice} left out: {_line(error)}")
            continue
        reference = losses.get(str(candidates[0]), losses[str(choice)])
        # Eight bits of mantissa move a loss by a percent or so; a broken one is far off, or NaN.
        if not abs(losses[str(choice)] - reference) <= 0.1 * abs(reference) + 0.1:
            left.remove(choice)
            notes.append(f"{choice} left out: its loss is {losses[str(choice)]:.4g} where {reference:.4g} is expected")
    begun = time.perf_counter()
    for number in range(ROUNDS[1]):
        for choice in left:
            table[str(choice)] = min(table.get(str(choice), float("inf")), trial.step(choice)[0])
        if number + 1 >= ROUNDS[0] and time.perf_counter() - begun > BUDGET_S:
            break
    return table, notes


def _try_compiled(trial: _Trial, choice: Choice, table: dict[str, float], steps: int) -> tuple[float, list[str]]:
    """Measure a compiled candidate into the table; the seconds it saves over all steps, and notes if it failed."""
    fastest = min(table.values())
    begun = time.perf_counter()
    try:
        trial.step(choice)
        taken = time.perf_counter() - begun
        table[str(choice)] = min(trial.step(choice)[0] for _ in range(2 * ROUNDS[0]))
    except Exception as error:
        return 0.0, [f"{choice} left out: {_line(error)}"]
    return (fastest - table[str(choice)]) * trial.share * steps - taken, []


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
