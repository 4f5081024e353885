"""Semantic segmentation: one class for each pixel, a model that gives logits (B, K, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stalwart.core import places
from stalwart.core.coco import encoded
from stalwart.core.component import Range, component
from stalwart.core.contracts import Drawing, Goal, Info, Metric, Verdict
from stalwart.core.errors import InputError, nearest
from stalwart.core.maps import divergence, entropy, logits_of, mean
from stalwart.core.overlap import MapMetric
from stalwart.core.places import VOID

Kind = Literal["cross_entropy", "masked", "balanced", "spherical", "divergence", "segpgd"]
KINDS: tuple[Kind, ...] = ("cross_entropy", "masked", "balanced", "spherical", "divergence", "segpgd")


@component
class semantic:
    """One class for each pixel. Targets are index masks (B, H, W) uint8, 255 where a pixel counts for nothing;
    predictions are class indices (B, H, W)."""

    floor: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """An attack has reached its goal at an image where less than this share of pixels is right still; a targeted one
    where a share of 1 − floor at least has the wanted class."""

    score: ClassVar[str] = "miou"
    """The figure that says which model is best."""

    def collate(self, targets: Sequence[Tensor]) -> Tensor:
        return torch.stack([torch.as_tensor(target, dtype=torch.uint8) for target in targets])

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """(B,) the mean of the cross-entropy over the pixels that count; 0 for an image without any."""
        logits = logits_of(model, images)
        return mean(entropy(logits, targets, smoothing), targets != VOID)

    def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
        """(B,) the mean over all pixels of KL(p(images) ‖ p(others))."""
        return divergence(logits_of(model, images), logits_of(model, others))

    @torch.no_grad()
    def predict(self, model: nn.Module, images: Tensor) -> Tensor:
        """(B, H, W) uint8."""
        return logits_of(model, images).argmax(1).to(torch.uint8)

    def goal(self, model: nn.Module, targets: Tensor, kind: str = "", wanted: Tensor | None = None) -> Goal:
        """To have as many pixels wrong as can be or, with `wanted` (B, H, W), of that class.

        kind            loss to be raised: the mean over the pixels that count of
        cross_entropy   −log softmax(z)_y
        masked          the same of the pixels that are right still, the others 0: no effort on what is won
        balanced        the same, each pixel weighted by how rare its class is in its image
        spherical       1 − z_y / ‖z‖₂ of the pixels that are right still: bounded, so that no pixel takes all effort
        divergence      Jensen and Shannon's, of the softmax from the truth: flat where a pixel is surely wrong
        segpgd          cross-entropy, pixels that are right weighted by 1 − λ and the others by λ, λ half the share
                        that is wrong (the usual one)

        `masked`, `balanced`, `spherical` and `divergence` are the losses of Croce, Singh and Hein, "Towards reliable
        evaluation and fast training of robust semantic segmentation models" (ECCV 2024, SEA); `segpgd` is of Gu et al.,
        "SegPGD" (ECCV 2022), whose λ grows from 0 to 1/2 with the steps; here it grows with what is achieved.

        Raises:
            InputError: an unknown kind; targets that are no index masks.
        """
        kind = kind or "segpgd"
        if kind not in KINDS:
            raise InputError(f"semantic has no goal {kind!r}. {nearest(kind, KINDS)}")
        for masks, name in ((targets, "targets"), (wanted, "wanted")):
            if masks is not None and (not isinstance(masks, Tensor) or masks.ndim != 3 or masks.is_floating_point()):
                came = f"{tuple(masks.shape)} {masks.dtype}" if isinstance(masks, Tensor) else type(masks).__name__
                raise InputError(f"{name} must be index masks, an integer tensor of shape (B, H, W). Got {came}.")
        if wanted is not None and wanted.shape != targets.shape:
            raise InputError(f"wanted must have the shape of the targets {tuple(targets.shape)}. "
                             f"Got {tuple(wanted.shape)}.")  # fmt: skip
        return _Goal(model, targets, kind, wanted, self.floor)

    def toward(self, targets: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """That class for every pixel but void ones; images that hold nothing else are not counted."""
        void = targets == VOID
        return torch.full_like(targets, label).masked_fill(void, VOID), (~void & (targets != label)).flatten(1).any(1)

    def metric(self, info: Info) -> Metric:
        return MapMetric(info.classes)

    def move(self, targets: Tensor, placement: Tensor, size: tuple[int, int]) -> Tensor:
        return places.move_masks(targets, placement.to(targets.device), size, VOID)

    def place(self, target: Tensor, placement: Tensor, size: tuple[int, int]) -> Tensor:
        return places.move_masks(target[None], placement[None], size, VOID)[0]

    def compose(self, targets: Tensor, windows: Tensor) -> Tensor:
        return places.compose_masks(targets, windows.to(targets.device), VOID)

    def restore(self, prediction: Tensor, index: int, placement: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, *size), 255 beyond the image's border."""
        return self.place(prediction[index], placement.to(prediction.device), size)[None]

    def describe(self, prediction: Tensor, index: int, info: Info) -> dict[str, Any]:
        """The classes by the share of the image that they take, largest first."""
        return _shares(prediction[index], info)

    def outline(self, prediction: Tensor, index: int, info: Info) -> dict[str, Any]:
        """As `describe`, and under 'masks' the pixels of each class that there is."""
        said = self.describe(prediction, index, info)
        own = torch.stack([prediction[index] == info.classes.index(name) for name in said["shares"]])
        return {**said, "masks": dict(zip(said["shares"], encoded(own), strict=True))}

    def describe_target(self, targets: Tensor, index: int, info: Info) -> dict[str, Any]:
        return _shares(targets[index], info)

    def draw(self, prediction: Tensor, index: int) -> Drawing:
        return Drawing(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), prediction[index])

    def draw_target(self, targets: Tensor, index: int) -> Drawing:
        return self.draw(targets, index)


class _Goal:
    """Verdicts from one forward pass."""

    def __init__(self, model: nn.Module, targets: Tensor, kind: str, wanted: Tensor | None, floor: float) -> None:
        self.model, self.targets, self.kind, self.wanted, self.floor = model, targets, kind, wanted, floor

    def on(self, model: nn.Module) -> _Goal:
        return _Goal(model, self.targets, self.kind, self.wanted, self.floor)

    def raising(self, kind: str) -> _Goal:
        """The same goal by another of `KINDS`; a targeted one has one loss, whatever is asked for."""
        if kind not in KINDS:
            raise InputError(f"semantic has no goal {kind!r}. {nearest(kind, KINDS)}")
        return _Goal(self.model, self.targets, kind, self.wanted, self.floor)

    def select(self, index: Tensor) -> _Goal:
        wanted = None if self.wanted is None else self.wanted[index]
        return _Goal(self.model, self.targets[index], self.kind, wanted, self.floor)

    def __call__(self, images: Tensor) -> Verdict:
        logits = logits_of(self.model, images)
        if self.targets.shape[1:] != images.shape[2:]:
            raise InputError(
                f"targets must have the images' size {tuple(images.shape[2:])}. Got {tuple(self.targets.shape[1:])}."
            )
        counts = self.targets != VOID
        predicted = logits.detach().argmax(1)
        if self.wanted is not None:
            counts = counts & (self.wanted != VOID)
            won = predicted == self.wanted
            share = mean(won.float(), counts)
            return Verdict(-mean(entropy(logits, self.wanted), counts & ~won), share >= 1 - self.floor, harm=share)
        right = (predicted == self.targets) & counts
        loss = _raised(logits, self.targets, right, counts, self.kind)
        share = mean(right.float(), counts)
        return Verdict(loss, share < self.floor, harm=1 - share)


def _raised(logits: Tensor, targets: Tensor, right: Tensor, counts: Tensor, kind: str) -> Tensor:
    """(B,) the loss `kind`; a mean over all pixels that count, whatever the weights, so that images compare."""
    if kind == "spherical":
        own = logits.gather(1, (targets.long() * counts)[:, None]).squeeze(1)
        value = 1 - own / logits.norm(dim=1).clamp_min(1e-12)
    elif kind == "divergence":
        value = _divergence(logits, targets.long() * counts)
    else:
        value = entropy(logits, targets)
    weight = counts.float()
    if kind in ("masked", "spherical"):
        weight = right.float()
    elif kind == "balanced":
        weight = right.float() * _rarity(targets, counts, logits.shape[1])
    elif kind == "segpgd":
        wrong = 1 - mean(right.float(), counts)
        share = (wrong / 2)[:, None, None]
        weight = torch.where(right, 1 - share, share) * counts
    raised: Tensor = (value * weight).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp_min(1)
    return raised


def _divergence(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, H, W) Jensen and Shannon's divergence of softmax(z) from the one-hot label, in nats."""
    p = logits.softmax(1)
    own = p.gather(1, labels[:, None]).squeeze(1)
    # With m = (p + e_y) / 2: KL(e_y‖m) = log 2 − log(1 + p_y), KL(p‖m) = (1 − p_y) log 2 + p_y log(2 p_y / (1 + p_y)).
    first = 0.6931471805599453 - torch.log1p(own)
    second = (1 - own) * 0.6931471805599453 + own * (2 * own / (1 + own)).clamp_min(1e-12).log()
    return (first + second) / 2


def _rarity(targets: Tensor, counts: Tensor, classes: int) -> Tensor:
    """(B, H, W) how rare each pixel's class is in its image: the mean over its classes' pixels is 1 in each class."""
    labels = targets.long() * counts
    hot = torch.zeros(len(targets), classes, device=targets.device)
    hot.scatter_add_(1, labels.flatten(1), counts.flatten(1).float())
    present = (hot > 0).sum(1, keepdim=True).clamp_min(1)
    each = hot.sum(1, keepdim=True) / (hot.clamp_min(1) * present)
    found: Tensor = each.gather(1, labels.flatten(1)).view(targets.shape)
    return found


def _shares(mask: Tensor, info: Info) -> dict[str, Any]:
    counts = torch.bincount(mask.flatten().long().cpu(), minlength=VOID + 1)[: len(info.classes)]
    total = max(int(counts.sum()), 1)
    order = counts.argsort(descending=True)
    found = {info.classes[i]: float(counts[i]) / total for i in order.tolist() if counts[i]}
    named = ", ".join(f"{name} {share:.0%}" for name, share in list(found.items())[:3])
    return {"classes": named, "shares": found}
