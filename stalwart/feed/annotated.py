"""Images with objects on them: every label is looked at, mended where that is safe, refused where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from stalwart.core.contracts import Info, Objects, Sample, Trouble
from stalwart.core.errors import DataError
from stalwart.feed.decode import decode, decode_numbers

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Box = tuple[float, float, float, float]

MAX_MASK_BYTES = 2 * 1024**3
"""What the masks of one image may take."""
SLACK = 1.0
"""By how many pixels a box may stand out of its image before it counts as odd: labellers round."""


@dataclass(frozen=True)
class Thing:
    """One labelled object as its file has it."""

    where: str
    """The file, and the place in it."""
    label: int | None
    """The class's index; None: the file names one that there is not."""
    name: str
    """The class as the file has it."""
    box: Box | None = None
    """Left, top, right, bottom in pixels, maybe beyond the image; None: that of the mask."""
    mask: Mask | None = None
    """(H, W)"""
    crowd: bool = False


class Label(Protocol):
    """One image's labels, read from their file or record when asked for."""

    def things(self, size: tuple[int, int]) -> Iterator[Thing | DataError]:
        """Each object; in place of one that cannot be made out, why.

        Args:
            size: the image's (height, width).

        Raises:
            DataError: nothing can be made out.
        """
        ...


class ObjectExamples:
    """One split as image files and their labels.

    Args:
        info: what the source tells of itself; its `channels` is what files are decoded to.
        files: paths of images; in place of one that is not there, what is to be said of it.
        labels: one for each.
    """

    def __init__(self, info: Info, files: Sequence[str | DataError], labels: Sequence[Label]) -> None:
        self._info, self._files, self._labels = info, list(files), list(labels)

    @property
    def info(self) -> Info:
        return self._info

    @property
    def strata(self) -> Sequence[int]:
        """One group for all: an image holds objects of many classes."""
        return [0] * len(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        sample, troubles = self.inspect(index)
        for trouble in troubles:
            if trouble.fatal:
                raise DataError(trouble.message)
        return sample

    def inspect(self, index: int) -> tuple[Sample, Sequence[Trouble]]:
        """The sample with every object that can be made out, and what is odd.

        A box is cut at the image's border. Boxes of which nothing is left, and objects whose mask is empty, are left
        out.
        """
        file = self._files[index]
        if isinstance(file, DataError):
            raise DataError(str(file))
        image = decode(file, self._info.channels)
        objects, troubles = gather(self._labels[index], (image.shape[1], image.shape[2]))
        return Sample(image, objects, file), troubles

    def arrays(self) -> None:
        return None


def gather(label: Label, size: tuple[int, int]) -> tuple[Objects, list[Trouble]]:
    """The objects of one image that can be made out, and what is odd about them."""
    height, width = size
    boxes: list[Box] = []
    labels: list[int] = []
    crowds: list[bool] = []
    masks: list[Mask | None] = []
    troubles: list[Trouble] = []
    for thing in label.things(size):
        if isinstance(thing, DataError):
            troubles.append(Trouble("damaged label", str(thing), True))
            continue
        if thing.label is None:
            text = f"{thing.where}: expected one of the classes. Got {thing.name}."
            troubles.append(Trouble("unknown class", text, True))
            continue
        if thing.mask is not None and not thing.mask.any():
            text = f"{thing.where}: expected a mask or polygon that covers pixels. Got an empty one."
            troubles.append(Trouble("empty mask", text, False))
            continue
        box = thing.box if thing.box is not None else _around(thing.mask)
        left, top, right, bottom = box
        cut = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
        shown = f"({left:g}, {top:g}, {right:g}, {bottom:g})"
        if right <= left or bottom <= top:
            text = f"{thing.where}: expected a box with an area. Got {shown}."
            troubles.append(Trouble("box of no area", text, False))
            continue
        if min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK:
            text = f"{thing.where}: expected a box within {width} × {height} pixels. Got {shown}."
            troubles.append(Trouble("box outside", text, False))
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            continue
        if (len(masks) + 1) * height * width > MAX_MASK_BYTES and thing.mask is not None:
            text = f"{thing.where}: expected masks of at most {MAX_MASK_BYTES:,} bytes in an image. Got more."
            troubles.append(Trouble("too many masks", text, True))
            break
        boxes.append(cut)
        labels.append(thing.label)
        crowds.append(thing.crowd)
        masks.append(thing.mask)
    there = [mask for mask in masks if mask is not None]
    together: torch.Tensor | None = None
    if len(there) == len(masks):
        together = torch.from_numpy(np.stack(there)) if there else torch.zeros(0, height, width, dtype=torch.bool)
    objects = Objects(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        together,
        torch.tensor(crowds, dtype=torch.bool),
    )
    return objects, troubles


def _around(mask: Mask | None) -> Box:
    assert mask is not None
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1


def numbered(file: str, label: int, size: tuple[int, int]) -> Iterator[Thing]:
    """The objects of a mask file, all of one class: every value but 0 is one.

    Raises:
        DataError: no mask, or of another size than its image.
    """
    values = decode_numbers(file).numpy()
    if values.shape != size:
        came = f"{values.shape[1]} × {values.shape[0]}"
        raise DataError(f"{file}: expected its image's {size[1]} × {size[0]} pixels. Got {came}.")
    for value in np.unique(values):
        if value:
            yield Thing(f"{file}: value {value}", label, str(value), mask=values == value)
