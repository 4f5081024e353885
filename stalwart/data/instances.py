"""Images with masks of single objects, as Penn-Fudan lays them out: each value of a mask is an object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.annotated import ObjectExamples, Thing, numbered
from stalwart.feed.files import folders_in
from stalwart.feed.pairs import folders, masks_of, refuse_without
from stalwart.feed.structured import class_names


@component
class instances:
    """Images and masks of objects: 0 is the background, every other value of 8 or 16 bits is one object.

    Found are `PNGImages/` and `PedMasks/` (Penn-Fudan), `images/train/` and `masks/train/` (or `annotations`,
    `labels`), `train/` and `train_masks/`. A mask has its image's name, or that with `_mask` at its end. Where masks
    lie in folders within (`masks/train/cat/1.png`, `masks/train/dog/1.png`), these are the classes, and an image may
    have a mask in each.
    """

    root: str
    """The folder."""
    label: str = "object"
    """The name of the class where there are no folders of classes."""

    def splits(self) -> tuple[str, ...]:
        return tuple(folders(Path(self.root), "instances"))

    def open(self, split: str) -> Examples:
        root = Path(self.root)
        found = folders(root, "instances")
        if split not in found:
            raise DataError(f"instances {self.root}: split must be among {', '.join(found)}. Got {split!r}.")
        names = self._classes(found["train"][1])
        images, labels = found[split]
        own: dict[str, list[tuple[int, str]]] = {}
        if names:
            for index, name in enumerate(names):
                if (labels / name).is_dir():
                    for file, mask in masks_of(images, labels / name, root):
                        own.setdefault(file, []).extend([(index, mask)] if mask is not None else [])
            odd = sorted({place.name for place in folders_in(labels, root)} - set(names))
            if odd:
                raise DataError(f"{labels / odd[0]}: expected a class of train ({', '.join(names[:8])}).")
        else:
            own = {file: [(0, mask)] for file, mask in refuse_without(masks_of(images, labels, root), labels)}
        if not own:
            raise DataError(f"{labels}: expected masks. Got none.")
        info = Info(root.resolve().name, names or class_names((self.label,), "instances(label=...)"), "unknown",
                    f"the folder {self.root}")  # fmt: skip
        return ObjectExamples(info, list(own), [_Masks(tuple(masks)) for masks in own.values()])

    def _classes(self, labels: Path) -> tuple[str, ...]:
        names = [place.name for place in folders_in(labels, Path(self.root))]
        return class_names(names, str(labels)) if names else ()


@dataclass(frozen=True)
class _Masks:
    """An image's masks, each of one class."""

    masks: tuple[tuple[int, str], ...]
    """Class index and file."""

    def things(self, size: tuple[int, int]) -> Iterator[Thing | DataError]:
        for index, file in self.masks:
            yield from numbered(file, index, size)
