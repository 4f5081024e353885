"""Image classification: one label for each image, a model that gives logits (B, K)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import losses
from stalwart.core.component import component
from stalwart.core.contracts import Goal, Info, Metric, Verdict
from stalwart.core.errors import ContractError, InputError, nearest
from stalwart.core.statistics import wilson

GoalKind = Literal["cross_entropy", "margin", "dlr"]
KINDS: tuple[GoalKind, ...] = ("cross_entropy", "margin", "dlr")
BINS = 15
"""Bins of the calibration error, as in Guo et al., "On calibration of modern neural networks" (ICML 2017)."""


@component
class classification:
    """One class for each image. Targets are class indices (B,) int64; predictions are probabilities (B, K)."""

    score: ClassVar[str] = "top1"
    """The figure that says which model is best."""

    def collate(self, targets: Sequence[Any]) -> Tensor:
        return torch.as_tensor(targets, dtype=torch.int64)

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """(B,) cross-entropy in float32, with label smoothing after Szegedy et al. 2016, equation 4."""
        logits = logits_of(model, images)
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)

    def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
        """(B,) KL(p(images) ‖ p(others)) of the softmax, in nats and float32."""
        here, there = logits_of(model, images).log_softmax(1), logits_of(model, others).log_softmax(1)
        return F.kl_div(there, here, reduction="none", log_target=True).sum(1)

    @torch.no_grad()
    def predict(self, model: nn.Module, images: Tensor) -> Tensor:
        return logits_of(model, images).softmax(1)

    def goal(self, model: nn.Module, targets: Tensor, kind: str = "", wanted: Tensor | None = None) -> Goal:
        """To have the label wrong or, with `wanted` (B,) int64, to have it be that class.

        kind            loss to be raised, with z the logits, y the label, t the wanted class
        cross_entropy   −log softmax(z)_y, or log softmax(z)_t; the usual one
        margin          max_{j≠y} z_j − z_y, or z_t − max_{j≠t} z_j (Carlini and Wagner 2017, f₆ without the floor)
        dlr             difference of logits ratio (Croce and Hein 2020, equations 6 and 7); blind to shift and scale

        Raises:
            InputError: an unknown kind; labels that are no class indices.
        """
        kind = kind or "cross_entropy"
        if kind not in KINDS:
            raise InputError(f"classification has no goal {kind!r}. {nearest(kind, KINDS)}")
        _check_labels(targets, "labels")
        if wanted is not None:
            _check_labels(wanted, "wanted")
            if wanted.shape != targets.shape:
                raise InputError(
                    f"wanted must have the shape of labels {tuple(targets.shape)}. Got {tuple(wanted.shape)}."
                )
        return _Goal(model, targets, kind, wanted)

    def toward(self, targets: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """That class as the label of each image; images of that class are not counted."""
        return torch.full_like(targets, label), targets != label

    def metric(self, info: Info) -> Metric:
        return ClassificationMetric(info.classes)

    def describe(self, prediction: Tensor, index: int, info: Info) -> dict[str, Any]:
        """The likeliest class, its probability, and the five likeliest with theirs."""
        row = prediction[index].detach().float().cpu()
        confidence, order = row.topk(min(5, len(row)))
        names = [info.classes[i] for i in order.tolist()]
        top = [[name, round(p, 6)] for name, p in zip(names, confidence.tolist(), strict=True)]
        return {"class": names[0], "confidence": top[0][1], "top": top}

    def describe_target(self, targets: Tensor, index: int, info: Info) -> dict[str, Any]:
        return {"class": info.classes[int(targets[index])]}


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """The model's logits (B, K) in float32: sums over a batch and margins of close logits need its precision."""
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ContractError(f"a classifier must give logits of shape ({len(images)}, classes). Got {came}.")
    return logits.float()


def _check_labels(labels: Any, name: str) -> None:
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        came = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise InputError(f"{name} must be class indices, an integer tensor of shape (B,). Got {came}.")


class _Goal:
    """Verdicts from one forward pass. `checked` says that the labels are known to fit the model's classes."""

    def __init__(
        self, model: nn.Module, targets: Tensor, kind: str, wanted: Tensor | None, checked: bool = False
    ) -> None:
        self.model, self.targets, self.kind, self.wanted, self.checked = model, targets.long(), kind, wanted, checked

    def on(self, model: nn.Module) -> _Goal:
        return _Goal(model, self.targets, self.kind, self.wanted)

    def select(self, index: Tensor) -> _Goal:
        wanted = None if self.wanted is None else self.wanted[index]
        return _Goal(self.model, self.targets[index], self.kind, wanted, self.checked)

    def __call__(self, images: Tensor) -> Verdict:
        logits = logits_of(self.model, images)
        if not self.checked:
            self._check(logits)
        predicted = logits.detach().argmax(1)
        if self.wanted is None:
            gaps = (logits - _at(logits, self.targets)[:, None]).scatter(1, self.targets[:, None], -torch.inf)
            return Verdict(_untargeted(logits, gaps, self.targets, self.kind), predicted != self.targets, gaps)
        margin = _at(logits, self.wanted) - _best_other(logits, self.wanted)
        gaps = F.pad(margin[:, None], (0, 1), value=-torch.inf)
        return Verdict(_targeted(logits, margin, self.targets, self.wanted, self.kind), predicted == self.wanted, gaps)

    def _check(self, logits: Tensor) -> None:
        classes = logits.shape[1]
        needed = {"cross_entropy": 2, "margin": 2, "dlr": 3 if self.wanted is None else 4}[self.kind]
        if classes < needed:
            raise InputError(f"goal {self.kind!r} needs a model of at least {needed} classes. Got {classes}.")
        for labels, name in ((self.targets, "labels"), (self.wanted, "wanted")):
            if labels is not None and labels.numel():
                low, high = int(labels.min()), int(labels.max())
                if low < 0 or high >= classes:
                    raise InputError(f"{name} must lie in 0..{classes - 1}, the model's classes. Got {low}..{high}.")
        self.checked = True


def _at(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None]).squeeze(1)


def _best_other(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest logit but the label's own; masking by −inf holds for logits of any shift and scale."""
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def _untargeted(logits: Tensor, gaps: Tensor, labels: Tensor, kind: str) -> Tensor:
    if kind == "cross_entropy":
        return F.cross_entropy(logits, labels, reduction="none")
    return losses.margin(gaps) if kind == "margin" else losses.dlr(gaps)


def _targeted(logits: Tensor, margin: Tensor, labels: Tensor, wanted: Tensor, kind: str) -> Tensor:
    if kind == "cross_entropy":
        return -F.cross_entropy(logits, wanted, reduction="none")
    if kind == "margin":
        return margin
    order = logits.sort(1, descending=True).values
    spread = order[:, 0] - (order[:, 2] + order[:, 3]) / 2
    return (_at(logits, wanted) - _at(logits, labels)) / spread.clamp_min(1e-12)


class ClassificationMetric:
    """Top-1 and top-5 accuracy, negative log-likelihood (nats), calibration error, per-class table and confusion."""

    def __init__(self, classes: Sequence[str]) -> None:
        k = len(classes)
        self.classes = tuple(classes)
        self.sums: dict[str, Tensor] = {
            "confusion": torch.zeros(k, k, dtype=torch.int64),  # rows: the truth, columns: the prediction
            "top5": torch.zeros((), dtype=torch.int64),
            "nll": torch.zeros((), dtype=torch.float64),
            "bin_count": torch.zeros(BINS, dtype=torch.int64),
            "bin_confidence": torch.zeros(BINS, dtype=torch.float64),
            "bin_correct": torch.zeros(BINS, dtype=torch.int64),
        }

    def update(self, prediction: Tensor, targets: Tensor) -> None:
        """`prediction` (B, K) probabilities, `targets` (B,) class indices."""
        p, y = prediction.detach().double().cpu(), targets.detach().long().cpu()
        k = len(self.classes)
        if p.ndim != 2 or p.shape[1] != k:
            raise ContractError(f"predictions must have shape (B, {k}), one column a class. Got {tuple(p.shape)}.")
        confidence, top = p.max(1)
        self.sums["confusion"] += torch.bincount(y * k + top, minlength=k * k).view(k, k)
        own = _at(p, y)
        rank = (p > own[:, None]).sum(1)
        self.sums["top5"] += (rank < 5).sum()
        self.sums["nll"] += -own.clamp_min(1e-300).log().sum()
        bins = (confidence * BINS).long().clamp_(0, BINS - 1)
        self.sums["bin_count"] += torch.bincount(bins, minlength=BINS)
        self.sums["bin_confidence"] += torch.bincount(bins, weights=confidence, minlength=BINS)
        self.sums["bin_correct"] += torch.bincount(bins[top == y], minlength=BINS)

    def state(self) -> dict[str, Any]:
        return dict(self.sums)

    def merge(self, states: Sequence[Mapping[str, Any]]) -> None:
        for state in states:
            for name in self.sums:
                self.sums[name] = self.sums[name] + state[name]

    def compute(self) -> dict[str, Any]:
        confusion = self.sums["confusion"]
        n = int(confusion.sum())
        if n == 0:
            raise InputError("there are no samples to score. Got 0 images.")
        correct, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        gaps = (self.sums["bin_confidence"] - self.sums["bin_correct"]).abs().sum()
        per_class = [
            {
                "name": name,
                "n": int(rows[i]),
                "accuracy": float(correct[i] / rows[i]) if rows[i] else None,
                "precision": float(correct[i] / columns[i]) if columns[i] else None,
            }
            for i, name in enumerate(self.classes)
        ]
        return {
            "n": n,
            "top1": int(correct.sum()) / n,
            "top5": int(self.sums["top5"]) / n,
            "nll": float(self.sums["nll"]) / n,
            "ece": float(gaps) / n,
            "per_class": per_class,
            "confusion": confusion.tolist(),
            "intervals": {"top1": wilson(int(correct.sum()), n), "top5": wilson(int(self.sums["top5"]), n)},
        }
