"""Images with index masks beside them, as CamVid and Cityscapes lay them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from stalwart.core.component import between, component
from stalwart.core.contracts import Examples, Info, Sample
from stalwart.core.errors import DataError
from stalwart.feed.decode import decode, decode_indices
from stalwart.feed.files import folders_in, images_under

VOID = 255
NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
PAIRS = ("{split}annot", "{split}_labels", "{split}_masks")
"""Where masks lie beside a folder `{split}` of images."""
TREES = (("images", "masks"), ("images", "annotations"), ("images", "labels"), ("leftImg8bit", "gtFine"))
"""Folders of images and masks with the splits within."""
SUFFIXES = ("_gtFine_labelTrainIds", "_gtFine_labelIds", "_labelIds", "_mask", "_label", "_L", "")
"""What a mask's name may have after its image's."""
LARGEST = 256
"""Classes that an 8-bit mask can name."""


@component
class masks:
    """Images and index masks of the same size: a mask's pixel is its class's index, grey or by a palette.

    Found are: `train/` and `trainannot/` (CamVid), `images/train/` and `masks/train/` (or `annotations`, `labels`),
    `leftImg8bit/train/` and `gtFine/train/` (Cityscapes). A mask has its image's name, or that with an ending such as
    `_mask` or `_gtFine_labelTrainIds` (which goes before `_gtFine_labelIds`), and is a PNG.
    """

    root: str
    """The folder."""
    classes: tuple[str, ...] = ()
    """Names in the order of their indices. Empty: `classes.txt` in the folder, a name a line, else class_0, class_1,
    ... as many as the masks of the train split hold."""
    void: Annotated[int, between(0, 255)] = 255
    """The index of pixels that count for nothing; so does every one beyond the classes."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._folders())

    def open(self, split: str) -> Examples:
        folders = self._folders()
        if split not in folders:
            raise DataError(f"masks {self.root}: split must be among {', '.join(folders)}. Got {split!r}.")
        pairs = self._pairs(*folders[split])
        names = self.classes or self._named() or self._counted(self._pairs(*folders["train"]))
        info = Info(Path(self.root).resolve().name, tuple(names), "unknown", f"the folder {self.root}", 3)
        return _Masked(info, pairs, self.void)

    def _folders(self) -> dict[str, tuple[Path, Path]]:
        """The folders of images and of masks for each split."""
        root = Path(self.root)
        below = {place.name: place for place in folders_in(root, root)}
        found: dict[str, tuple[Path, Path]] = {}
        for split, names in NAMES.items():
            for name in names:
                for images, labels in TREES:
                    if images in below and labels in below and (below[images] / name).is_dir():
                        found.setdefault(split, (below[images] / name, below[labels] / name))
                for pattern in PAIRS:
                    other = pattern.format(split=name)
                    if name in below and other in below:
                        found.setdefault(split, (below[name], below[other]))
        if not found:
            for images, labels in TREES:
                if images in below and labels in below:
                    found["train"] = (below[images], below[labels])
                    break
        if "train" not in found:
            came = ", ".join(sorted(below)) or "no folders"
            raise DataError(
                f"masks {self.root}: expected train/ and trainannot/, images/train/ and masks/train/, or images/ and "
                f"masks/. Got {came}."
            )
        return found

    def _pairs(self, images: Path, labels: Path) -> list[tuple[str, str]]:
        """Each image's file and its mask's."""
        root = Path(self.root)
        by_stem = {Path(file).stem: file for file in images_under(labels, root)}
        pairs = []
        for file in images_under(images, root):
            stem = Path(file).stem.removesuffix("_leftImg8bit")
            mask = next((by_stem[stem + ending] for ending in SUFFIXES if stem + ending in by_stem), None)
            if mask is None:
                raise DataError(f"{file}: expected its mask {stem}.png in {labels}. Got none.")
            pairs.append((file, mask))
        if not pairs:
            raise DataError(f"{images}: expected images. Got none.")
        return pairs

    def _named(self) -> tuple[str, ...]:
        path = Path(self.root) / "classes.txt"
        if not path.is_file():
            return ()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()[: LARGEST + 1]
        except (OSError, UnicodeDecodeError):
            raise DataError(f"{path}: expected a class name a line in UTF-8. Got something else.") from None
        names = tuple(line.strip() for line in lines if line.strip())
        if not 1 <= len(names) <= LARGEST - 1 or len(set(names)) < len(names):
            raise DataError(f"{path}: expected 1 to {LARGEST - 1} names, each once. Got {len(names)} lines.")
        return names

    def _counted(self, pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """As many classes as the masks hold."""
        highest = -1
        for _, mask in pairs:
            found = np.unique(decode_indices(mask).numpy())
            found = found[found != self.void]
            highest = max(highest, int(found.max()) if len(found) else -1)
        if highest < 0:
            raise DataError(f"masks {self.root}: expected masks that hold classes. Got void alone.")
        return tuple(f"class_{i}" for i in range(highest + 1))


class _Masked:
    """One split as pairs of files."""

    def __init__(self, info: Info, pairs: Sequence[tuple[str, str]], void: int) -> None:
        self._info, self._pairs, self._void = info, list(pairs), void
        self._strata: list[int] | None = None

    @property
    def info(self) -> Info:
        return self._info

    @property
    def strata(self) -> Sequence[int]:
        """One group for all: images hold many classes, and to read every mask for a division would be dear."""
        if self._strata is None:
            self._strata = [0] * len(self._pairs)
        return self._strata

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        file, mask_file = self._pairs[index]
        image, mask = decode(file, 3), self._mask(mask_file)
        if mask.shape != image.shape[1:]:
            raise DataError(
                f"{mask_file}: expected its image's size {tuple(image.shape[1:])}. Got {tuple(mask.shape)}."
            )
        return Sample(image, mask, file)

    def _mask(self, file: str) -> Tensor:
        mask = decode_indices(file)
        lost = (mask == self._void) | (mask >= len(self._info.classes))
        if bool(lost.all()) and mask.numel():
            came = Counter(mask.flatten().tolist()).most_common(1)[0][0]
            if came != self._void:
                raise DataError(
                    f"{file}: expected class indices 0..{len(self._info.classes) - 1}. Got {came} nearly everywhere."
                )
        return torch.where(lost, torch.full_like(mask, VOID), mask)

    def arrays(self) -> None:
        return None
