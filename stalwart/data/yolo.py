"""The layout that YOLO's tools read: a text file for each image, a line for each object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed import polygons
from stalwart.feed.annotated import ObjectExamples, Thing
from stalwart.feed.files import SPLITS, folders_in, images_under
from stalwart.feed.structured import class_names, number, read_lines, read_yaml, shown


@component
class yolo:
    """YOLO: `images/train/` and `labels/train/` (or `train/images/` and `train/labels/`), and `data.yaml`.

    A line is `class x y width height`, the box's middle and size as shares of the image's, or `class x1 y1 x2 y2 ...`,
    a polygon of three corners or more. An image without a text file has no objects. Of `data.yaml` are read `names`,
    and `train`, `val` and `test` where they name folders within this one; without it, `classes.txt` or the classes'
    numbers.
    """

    root: str
    """The folder that holds `data.yaml`."""
    classes: tuple[str, ...] = ()
    """Names in the order of their indices, where `data.yaml` does not say."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._folders(self._held()))

    def open(self, split: str) -> Examples:
        held = self._held()
        found = self._folders(held)
        if split not in found:
            raise DataError(f"yolo {self.root}: split must be among {', '.join(found)}. Got {split!r}.")
        root = Path(self.root)
        classes = self.classes or self._names(held) or self._counted(found)
        files = images_under(found[split], root)
        if not files:
            raise DataError(f"{found[split]}: expected images. Got none.")
        written = _written(_labels_of(found[split], root), root)
        labels = [_Lines(written.get(_key(file, found[split]), ""), len(classes)) for file in files]
        return ObjectExamples(
            Info(root.resolve().name, tuple(classes), "unknown", f"the folder {self.root}"), files, labels
        )

    def _held(self) -> tuple[Any, str]:
        """What `data.yaml` holds, and its path; {} without one."""
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(f"yolo {self.root}: expected a folder with data.yaml. Got none.")
        found = [root / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (root / name).is_file()]
        if not found:
            return {}, str(root / "data.yaml")
        held = read_yaml(found[0])
        if not isinstance(held, dict):
            raise DataError(f"{found[0]}: expected a mapping with 'names'. Got {shown(held)}.")
        return held, str(found[0])

    def _folders(self, held: tuple[Any, str]) -> dict[str, Path]:
        """The folder of images of each split."""
        root = Path(self.root)
        found: dict[str, Path] = {}
        for split, names in SPLITS.items():
            places = [root / part for name in names for part in (f"images/{name}", f"{name}/images")]
            places = [*_named(held, split, root), *places]
            place = next((place for place in places if place.is_dir()), None)
            if place is not None:
                found[split] = place
        if not found and (root / "images").is_dir():
            found["train"] = root / "images"
        if "train" not in found:
            came = ", ".join(place.name for place in folders_in(root, root)) or "no folders"
            raise DataError(f"yolo {self.root}: expected images/train/ or train/images/. Got {came}.")
        return found

    def _names(self, held: tuple[Any, str]) -> tuple[str, ...]:
        mapping, file = held
        names = mapping.get("names")
        if names is None:
            listed = Path(self.root) / "classes.txt"
            return class_names([line for line in read_lines(listed) if line], str(listed)) if listed.is_file() else ()
        if isinstance(names, dict):
            wanted = [str(place) for place in range(len(names))]
            if set(names) != set(wanted):
                raise DataError(f"{file}: expected 'names' numbered 0 to {len(names) - 1}. Got {shown(list(names))}.")
            names = [names[key] for key in wanted]
        if not isinstance(names, list):
            raise DataError(f"{file}: expected 'names' as a list or numbered. Got {shown(names)}.")
        found = class_names(names, f"{file}: names")
        count = mapping.get("nc")
        if count is not None and count != str(len(found)):
            raise DataError(f"{file}: expected 'nc' {len(found)}, as many as names. Got {shown(count)}.")
        return found

    def _counted(self, found: dict[str, Path]) -> tuple[str, ...]:
        """As many classes as the lines name."""
        highest = -1
        for place in found.values():
            for file in _written(_labels_of(place, Path(self.root)), Path(self.root)).values():
                try:
                    lines = read_lines(file)
                except DataError:  # it is named when its image is read
                    continue
                said = [line.split()[0] for line in lines if line]
                highest = max([highest, *(int(word) for word in said if word.isdecimal() and len(word) < 5)])
        if highest < 0:
            raise DataError(f"yolo {self.root}: expected data.yaml with 'names', or labels. Got none.")
        return tuple(f"class_{place}" for place in range(highest + 1))


def _named(held: tuple[Any, str], split: str, root: Path) -> list[Path]:
    """The folder that data.yaml names for a split, where it is one within the root: below `path`, or beside the file.

    Paths of another machine are passed over: the layout says the same. Other forms are refused.
    """
    mapping, file = held
    said = mapping.get(split)
    if said is None or said == "":
        return []
    if not isinstance(said, str) or said.endswith(".txt"):
        raise DataError(f"{file}: expected {split!r} as a folder of images. Got {shown(said)}.")
    parts = [part for part in PurePosixPath(said).parts if part not in ("..", "/", ".")]
    places = [root.joinpath(*parts[skip:]) for skip in range(len(parts))]
    return [place for place in places if place.resolve().is_relative_to(root.resolve())]


def _labels_of(images: Path, root: Path) -> Path:
    """The folder of labels beside one of images: the last `images` of its path within the root is `labels` there."""
    parts = list(images.relative_to(root).parts)
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            parts[place] = "labels"
            return root.joinpath(*parts)
    return images  # images and labels side by side


def _written(folder: Path, root: Path) -> dict[str, str]:
    """The text files under a folder by what `_key` makes of them."""
    if not folder.is_dir():
        return {}
    inside = root.resolve()
    found = {}
    for file in sorted(folder.rglob("*.txt")):
        if file.resolve().is_relative_to(inside):
            found[_key(str(file), folder)] = str(file)
    return found


def _key(file: str, folder: Path) -> str:
    return str(Path(file).relative_to(folder).with_suffix(""))


@dataclass(frozen=True)
class _Lines:
    """One image's text file; '' for none."""

    file: str
    classes: int

    def things(self, size: tuple[int, int]) -> Iterator[Thing | DataError]:
        for place, line in enumerate(read_lines(self.file) if self.file else [], 1):
            if not line:
                continue
            try:
                yield self._thing(f"{self.file}, line {place}", line.split(), size)
            except DataError as error:
                yield error

    def _thing(self, where: str, words: list[str], size: tuple[int, int]) -> Thing:
        if not words[0].isdecimal() or len(words[0]) > 9:
            raise DataError(f"{where}: expected a class's number first. Got {shown(words[0])}.")
        label = int(words[0])
        known = label if label < self.classes else None
        values = [number(word, "coordinates", where) for word in words[1:]]
        height, width = size
        if len(values) == 4:
            x, y, wide, high = values
            box = ((x - wide / 2) * width, (y - high / 2) * height, (x + wide / 2) * width, (y + high / 2) * height)
            return Thing(where, known, f"class {label}", box)
        if len(values) < 6 or len(values) % 2:
            raise DataError(f"{where}: expected x y width height, or three corners x y at least. "
                            f"Got {len(values)} numbers.")  # fmt: skip
        across, down = [value * width for value in values[::2]], [value * height for value in values[1::2]]
        corners = [value for pair in zip(across, down, strict=True) for value in pair]
        mask = polygons.draw([corners], size, where)
        return Thing(where, known, f"class {label}", (min(across), min(down), max(across), max(down)), mask)
