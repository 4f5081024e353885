"""What is drawn upon the pictures of a dense task, read with care, and the cards that show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stalwart.core.contracts import Drawing
from stalwart.pages.html import Child, Html, clean, tag
from stalwart.pages.overlays import colour, drawn
from stalwart.pages.pictures import png

LAYERS = ("truth", "before", "after")
"""The target, the prediction on the clean image, and that on the attacked one."""
HEADS = ("ground truth", "clean prediction", "attacked prediction")
LONGEST = 192
"""Pixels of a picture's longer side."""
MOST_OBJECTS = 100
"""Objects drawn in one picture."""
MOST_CHIPS = 24
"""Classes in a legend."""

Layers = tuple[Drawing, Drawing, Drawing]


def layers_of(tensors: Mapping[str, Tensor], count: int, size: tuple[int, int]) -> list[Layers] | None:
    """For each of `count` pictures what is drawn upon it; None where the file holds no such thing, or not whole.

    Args:
        size: (height, width) of the pictures.
    """
    every = [_layer(tensors, name, count, size) for name in LAYERS]
    if any(layer is None for layer in every):
        return None
    truth, before, after = (layer for layer in every if layer is not None)
    return list(zip(truth, before, after, strict=True))


def _layer(tensors: Mapping[str, Tensor], name: str, count: int, size: tuple[int, int]) -> list[Drawing] | None:
    names = [f"{name}.{part}" for part in ("boxes", "labels", "scores", "image")]
    if not all(key in tensors for key in names):
        return None
    boxes, labels, scores, image = (tensors[key] for key in names)
    n = len(labels) if labels.ndim == 1 else -1
    shaped = boxes.shape == (n, 4) and scores.shape == image.shape == (n,)
    typed = boxes.is_floating_point() and scores.is_floating_point() and image.dtype == labels.dtype == torch.int64
    if not (shaped and typed and bool(boxes.isfinite().all()) and bool(scores.isfinite().all())):
        return None
    if n and (int(labels.min()) < 0 or int(image.min()) < 0 or int(image.max()) >= count):
        return None
    area = tensors.get(f"{name}.area")
    if area is not None and (area.shape != (count, *size) or area.dtype != torch.uint8):
        return None
    found = []
    for row in range(count):
        own = (image == row).nonzero().squeeze(1)[:MOST_OBJECTS]
        found.append(Drawing(boxes[own].float().clamp(-1e5, 1e5), labels[own], scores[own].float().clamp(0, 1),
                             None if area is None else area[row]))  # fmt: skip
    return found


def figures(clear: Tensor, attacked: Tensor, layers: Layers, names: Sequence[str]) -> list[Html]:
    """The three pictures of a card: ground truth, prediction on the clean image, prediction on the attacked one.

    Args:
        clear, attacked: (C, H, W) uint8.
        names: of the classes.
    """
    found = []
    for head, image, layer in zip(HEADS, (clear, clear, attacked), layers, strict=True):
        said = _said(layer, names)
        found.append(
            tag(
                "figure",
                tag("img", src=png(drawn(image, layer, names, LONGEST)), alt=f"{head}: {said}"),
                tag("figcaption", tag("span", head, class_="kind"),
                    tag("span", said, class_="said attacked" if head == HEADS[2] else "said")),
            )
        )  # fmt: skip
    return found


def _said(layer: Drawing, names: Sequence[str]) -> str:
    """'2 disc, 1 square', or the share of each class's pixels, or 'nothing'."""
    if len(layer.labels):
        counts = Counter(layer.labels.tolist())
        parts = [f"{counts[index]} {_name(index, names)}" for index in sorted(counts)]
    elif layer.area is not None:
        share = torch.bincount(layer.area.flatten().long(), minlength=256)[:255] / layer.area.numel()
        order = [i for i in share.argsort(descending=True).tolist() if share[i] > 0 and _name(i, names) != "background"]
        parts = [f"{_name(i, names)} {100 * float(share[i]):.0f} %" for i in order[:4]]
    else:
        parts = []
    return ", ".join(parts) or "nothing"


def _name(index: int, names: Sequence[str]) -> str:
    return clean(names[index], 30) if index < len(names) else "?"


def legend(names: Sequence[str]) -> Html:
    """The colour of each class."""
    chips: list[Child] = []
    for index, name in enumerate(names[:MOST_CHIPS]):
        if name == "background":
            continue
        chip = tag("rect", width=10, height=10, rx=2, fill=colour(index))
        mark = tag("svg", chip, viewBox="0 0 10 10", width=10, height=10, aria_hidden="true")
        chips.append(tag("li", mark, " ", clean(name, 40)))
    return tag("ul", chips, class_="legend")
