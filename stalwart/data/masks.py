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
from stalwart.core.places import VOID
from stalwart.feed.decode import decode, decode_indices
from stalwart.feed.pairs import folders, masks_of, refuse_without

LARGEST = 256
"""Classes that an 8-bit mask can name."""
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The classes of evaluation, Cordts et al., "The Cityscapes dataset for semantic urban scene understanding" (2016)."""
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Their ids in files `_labelIds`; all others are void."""


@component
class masks:
    """Images and index masks of the same size: a mask's pixel is its class's index, grey or by a palette.

    Found are: `train/` and `trainannot/` (CamVid), `images/train/` and `masks/train/` (or `annotations`, `labels`),
    `leftImg8bit/train/` and `gtFine/train/` (Cityscapes). A mask has its image's name, or that with an ending such as
    `_mask` or `_gtFine_labelTrainIds` (which goes before `_gtFine_labelIds`), and is a PNG. In Cityscapes' layout the
    classes are its 19 of evaluation, and its own ids (`labelIds`) are brought to them.
    """

    root: str
    """The folder."""
    classes: tuple[str, ...] = ()
    """Names in the order of their indices. Empty: `classes.txt` in the folder, a name a line, else class_0, class_1,
    ... as many as the masks of the train split hold."""
    void: Annotated[int, between(0, 255)] = 255
    """The index of pixels that count for nothing; so does every one beyond the classes."""

    def splits(self) -> tuple[str, ...]:
        return tuple(folders(Path(self.root), "masks"))

    def open(self, split: str) -> Examples:
        found = folders(Path(self.root), "masks")
        if split not in found:
            raise DataError(f"masks {self.root}: split must be among {', '.join(found)}. Got {split!r}.")
        pairs = self._pairs(found[split])
        cityscapes = found[split][1].parent.name == "gtFine" and not self.classes
        names = (
            CITYSCAPES if cityscapes else self.classes or self._named() or self._counted(self._pairs(found["train"]))
        )
        info = Info(Path(self.root).resolve().name, tuple(names), "unknown", f"the folder {self.root}", 3)
        return _Masked(info, pairs, self.void, cityscapes)

    def _pairs(self, folders: tuple[Path, Path]) -> list[tuple[str, str]]:
        return refuse_without(masks_of(*folders, Path(self.root)), folders[1])

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

    def __init__(self, info: Info, pairs: Sequence[tuple[str, str]], void: int, cityscapes: bool) -> None:
        self._info, self._pairs, self._void = info, list(pairs), void
        self._table = torch.full((LARGEST,), VOID, dtype=torch.uint8)
        self._table[torch.tensor(CITYSCAPES_IDS)] = torch.arange(len(CITYSCAPES), dtype=torch.uint8)
        self._cityscapes = cityscapes
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
        if self._cityscapes and Path(file).stem.endswith("_labelIds"):
            return self._table[mask.long()]
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
