"""Pictures with what is labelled on them: boxes with names, coloured masks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stalwart.core.contracts import Drawing, Objects
from stalwart.core.finding import Detections
from stalwart.core.panoptic import Scene
from stalwart.pages.html import clean

LONGEST = 288
"""Pixels of a drawn picture's longer side."""
MOST_NAMES = 12
"""Objects whose names are written beside their boxes at most; more would hide the picture."""
_FIRST = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#eab308", "#ec4899", "#06b6d4", "#84cc16")

_Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def colour(index: int) -> str:
    """A class's colour as #rrggbb, the same everywhere."""
    if index < len(_FIRST):
        return _FIRST[index]
    red, green, blue = colorsys.hls_to_rgb(index * 0.61803398875 % 1, 0.55 if index % 2 else 0.45, 0.75)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def drawn(image: Tensor, target: Any, names: Sequence[str], longest: int = LONGEST) -> Tensor:
    """uint8 (3, h, w): the picture with its objects or its index mask on it.

    Args:
        image: (C, H, W) uint8.
        target: a drawing, objects, detections, a scene, an index mask (H, W), or anything else, of which nothing is
            drawn.
        names: of the classes.
        longest: pixels of the drawn picture's longer side.
    """
    height, width = image.shape[1:]
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    way = Image.Resampling.NEAREST if scale > 3 else Image.Resampling.BILINEAR
    picture = Image.fromarray(pixels).resize(size, way)
    if isinstance(target, Drawing):
        if target.area is not None:
            picture = _area(picture, target.area, names)
        known = bool((target.scores == 1).all())
        boxes, labels = target.boxes, target.labels
        target = Objects(boxes, labels) if known else Detections(boxes, labels, target.scores)
    if isinstance(target, Scene):
        picture = _indices(picture, _classes_of(target), len(names))
        target = _boxes_of(target)
    if isinstance(target, Objects | Detections):
        _objects(picture, target, names, (size[0] / width, size[1] / height))
    elif isinstance(target, Tensor) and target.ndim == 2:
        picture = _indices(picture, target, len(names))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _objects(
    picture: Image.Image, objects: Objects | Detections, names: Sequence[str], scale: tuple[float, float]
) -> None:
    draw = ImageDraw.Draw(picture)
    scores = objects.scores.tolist() if isinstance(objects, Detections) else None
    crowds = objects.crowd.tolist() if isinstance(objects, Objects) and objects.crowd is not None else None
    for place, label in enumerate(objects.labels.tolist()):
        if objects.masks is not None:
            area = Image.fromarray(objects.masks[place].cpu().numpy()).resize(picture.size, Image.Resampling.NEAREST)
            faint = area.convert("L").point(lambda level: 115 if level else 0)
            picture.paste(colour(label), (0, 0), faint)
    letters = max(11, max(picture.size) // 80)  # as large as the picture asks for
    font, line = ImageFont.load_default(letters), letters // 5
    for place, (box, label) in enumerate(zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True)):
        left, top, right, bottom = (value * scale[axis % 2] for axis, value in enumerate(box))
        crowd = crowds is not None and crowds[place]
        draw.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=colour(label),
                       width=max(1, line // 2) if crowd else line)  # fmt: skip
        if len(objects.labels) <= MOST_NAMES:
            text = clean(names[label] if label < len(names) else "?", 24) + (" (crowd)" if crowd else "")
            text += f" {scores[place]:.0%}" if scores is not None else ""
            right = picture.width - draw.textlength(text, font=font) - 3  # no name is cut off at the border
            at = (max(min(left + 2, right), 2), max(top - letters - 2, 0))
            around = draw.textbbox(at, text, font=font)
            draw.rectangle((around[0] - 2, around[1] - 1, around[2] + 2, around[3] + 1), fill=colour(label))
            draw.text(at, text, fill="white", font=font)


def _classes_of(scene: Scene) -> Tensor:
    """(H, W) the class of each pixel, 255 where it is nobody's."""
    return torch.cat([torch.tensor([255]), scene.labels])[scene.ids.cpu()]


def _boxes_of(scene: Scene) -> Objects:
    """The box around each segment that can be seen."""
    boxes, labels = [], []
    for number, label in enumerate(scene.labels.tolist(), 1):
        own = scene.ids == number
        rows, columns = own.any(1).nonzero()[:, 0].tolist(), own.any(0).nonzero()[:, 0].tolist()
        if rows:
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            labels.append(label)
    return Objects(torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(labels, dtype=torch.int64))


def _indices(picture: Image.Image, mask: Tensor, classes: int) -> Image.Image:
    """Colours of the classes half over the picture; pixels that count for nothing are dark."""
    coloured: _Pixels = _colours(classes)[mask.clamp(0, 255).to("cpu", torch.uint8).numpy()]
    return Image.blend(picture, Image.fromarray(coloured).resize(picture.size, Image.Resampling.NEAREST), 0.55)


def _area(picture: Image.Image, area: Tensor, names: Sequence[str]) -> Image.Image:
    """Colours of the classes half over the picture; what is nobody's, or called background, is left as it is."""
    index = area.to("cpu", torch.uint8).numpy()
    bare = np.isin(index, [255, *(place for place, name in enumerate(names[:255]) if name == "background")])
    cover = Image.fromarray(np.where(bare, 0, 140).astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    coloured = Image.fromarray(_colours(len(names))[index]).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(coloured, picture, cover)


def _colours(classes: int) -> _Pixels:
    """(256, 3) the colour of each class."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for index in range(min(classes, 256)):
        table[index] = [int(colour(index)[at : at + 2], 16) for at in (1, 3, 5)]
    return table
