"""DAVIS: frames of videos with a mask of the objects in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.annotated import ObjectExamples, Thing, numbered
from stalwart.feed.files import folders_in, images_under
from stalwart.feed.structured import read_lines, shown

YEARS = ("2017", "2016", "480p")
"""Folders within `ImageSets` that list the sequences, the first that is there."""


@component
class davis:
    """DAVIS: `JPEGImages/480p/SEQUENCE/*.jpg` with `Annotations/480p/SEQUENCE/*.png`, each value of which is an object.

    Splits are lists of sequences, `ImageSets/2017/train.txt` and `val.txt` (or 2016's). Without them all is 'train':
    dividing that by frames would test on what was trained on, for frames of one video are nearly the same. Frames
    without a mask are passed over.
    """

    root: str
    """The folder that holds `JPEGImages` and `Annotations`."""
    resolution: str = "480p"
    """The folder within those two."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._sequences())

    def open(self, split: str) -> Examples:
        sequences = self._sequences()
        if split not in sequences:
            raise DataError(f"davis {self.root}: split must be among {', '.join(sequences)}. Got {split!r}.")
        root = Path(self.root)
        files, labels = [], []
        for sequence in sequences[split]:
            folder, masks = (root / part / self.resolution / sequence for part in ("JPEGImages", "Annotations"))
            by_stem = {Path(file).stem: file for file in images_under(masks, root)} if masks.is_dir() else {}
            for file in images_under(folder, root):
                if (mask := by_stem.get(Path(file).stem)) is not None:
                    files.append(file)
                    labels.append(_Mask(mask))
        if not files:
            raise DataError(f"davis {self.root}: expected frames with masks in {split}. Got none.")
        info = Info(
            name="DAVIS",
            classes=("object",),
            licence="CC BY-NC 4.0",
            origin='Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation"',
        )
        return ObjectExamples(info, files, labels)

    def _sequences(self) -> dict[str, list[str]]:
        """The sequences of each split."""
        root = Path(self.root)
        images, masks = (root / part / self.resolution for part in ("JPEGImages", "Annotations"))
        for place in (images, masks):
            if not place.is_dir():
                raise DataError(f"davis: expected the folder {place}. Got none.")
        there = [place.name for place in folders_in(images, root)]
        listed = next((root / "ImageSets" / year for year in YEARS if (root / "ImageSets" / year).is_dir()), None)
        if listed is None or not (listed / "train.txt").is_file():
            if not there:
                raise DataError(f"{images}: expected a folder for each sequence. Got none.")
            return {"train": there}
        found = {}
        for split, name in (("train", "train.txt"), ("val", "val.txt")):
            if (listed / name).is_file():
                found[split] = _listed(listed / name, there)
        return found


def _listed(path: Path, there: list[str]) -> list[str]:
    """The sequences of a list: a name a line, or (2016) a frame's path and its mask's."""
    names: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        first = line.split()[0]
        name = first.split("/")[-2] if "/" in first else first
        if name not in there:
            raise DataError(f"{path}, line {number}: expected a sequence in JPEGImages. Got {shown(line)}.")
        names[name] = None
    return list(names)


@dataclass(frozen=True)
class _Mask:
    """One frame's mask."""

    file: str

    def things(self, size: tuple[int, int]) -> Iterator[Thing | DataError]:
        yield from numbered(self.file, 0, size)
