"""Images in folders: train/CLASS/*, val/CLASS/* and test/CLASS/*, or CLASS/* alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError, nearest
from stalwart.feed.files import SPLITS, FileExamples, folders_in, images_under


@component
class folder:
    """A folder of images, one folder for each class, with or without splits above them.

    Classes are the folders' names in alphabetical order, and must be the same in every split. Images may lie in
    folders within a class. Hidden files, files that are no images by their ending and links that lead out of the
    folder are passed over. Without a folder `train`, all is one split 'train', to be divided.
    """

    root: str
    """The folder."""
    channels: Literal[1, 3] = 3
    """What images are decoded to: 3 for RGB, 1 for grey."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._folders())

    def open(self, split: str) -> Examples:
        folders = self._folders()
        if split not in folders:
            raise DataError(f"folder {self.root}: split must be among {', '.join(folders)}. Got {split!r}.")
        root = Path(self.root)
        by_class = {name: self._classes(place) for name, place in folders.items()}
        classes = by_class["train"]
        for name, found in by_class.items():
            odd = sorted(set(found) ^ set(classes))
            if odd:
                have, lack = (name, "train") if odd[0] in found else ("train", name)
                raise DataError(
                    f"folder {self.root}: every split must have the same classes. "
                    f"Got class {odd[0]!r} in {have} and not in {lack}. {nearest(odd[0], set(by_class[lack]))}"
                )
        files: list[str] = []
        targets: list[int] = []
        for index, name in enumerate(classes):
            found = images_under(folders[split] / name, root)
            if not found:
                raise DataError(f"{folders[split] / name}: expected images of class {name!r}. Got none.")
            files += found
            targets += [index] * len(found)
        info = Info(root.resolve().name, tuple(classes), "unknown", f"the folder {self.root}", self.channels)
        return FileExamples(info, files, targets)

    def _folders(self) -> dict[str, Path]:
        """The folder of each split."""
        root = Path(self.root)
        below = {place.name: place for place in folders_in(root, root)}
        found = {}
        for split, names in SPLITS.items():
            present = [name for name in names if name in below]
            if len(present) > 1:
                raise DataError(f"folder {self.root}: expected one folder for {split}. Got {' and '.join(present)}.")
            if present:
                found[split] = below[present[0]]
        if "train" in found:
            return found
        if found:
            others = ", ".join(place.name for place in found.values())
            raise DataError(f"folder {self.root}: expected a folder 'train' beside {others}. Got none.")
        if len(below) < 2:
            came = ", ".join(below) or "no folders"
            raise DataError(f"folder {self.root}: expected train/CLASS/ or two CLASS/ folders at least. Got {came}.")
        return {"train": root}

    def _classes(self, place: Path) -> list[str]:
        classes = [below.name for below in folders_in(place, Path(self.root))]
        if not classes:
            raise DataError(f"{place}: expected a folder for each class. Got none.")
        return classes
