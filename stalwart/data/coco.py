"""COCO's layout: images in a folder for each split, and one JSON file of objects for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed import polygons, rle
from stalwart.feed.annotated import ObjectExamples, Thing
from stalwart.feed.files import SPLITS, folders_in, images_under
from stalwart.feed.structured import class_names, field, numbers, read_json, shown

LISTED = re.compile(r"(?:instances_)?(?P<folder>(?P<split>[a-z]+)[-_]?\d{0,4})\.json", re.IGNORECASE)
"""The JSON files that are looked for in `annotations/`: instances_train2017.json, train.json."""
INSIDE = "_annotations.coco.json"
"""The JSON file that lies among a split's images, as some tools export it."""


@component
class coco:
    """COCO: boxes, masks as polygons or runs, and crowds.

    Found are `annotations/instances_NAME.json` (or `annotations/NAME.json`) with images in `NAME/` or `images/NAME/`,
    NAME being train2017, val2017, train, val, test or the like; and `train/_annotations.coco.json` among its images.
    Classes are the categories in the order of their ids, which may have gaps.
    """

    root: str
    """The folder that holds `annotations`."""
    masks: bool = True
    """False: boxes alone, which are read faster."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._found())

    def open(self, split: str) -> Examples:
        found = self._found()
        if split not in found:
            raise DataError(f"coco {self.root}: split must be among {', '.join(found)}. Got {split!r}.")
        listed, folder = found[split]
        held = read_json(listed)
        names, index = _categories(held, str(listed))
        images = _images(held, str(listed))
        own = _annotations(held, str(listed), images)
        with_masks = self.masks and any(
            isinstance(record, dict) and record.get("segmentation") for records in own.values() for _, record in records
        )
        files = {file[len(str(folder)) + 1 :]: file for file in images_under(folder, Path(self.root))}
        paths: list[str | DataError] = []
        labels = []
        for key, (name, size) in images.items():
            missing = DataError(f"{listed}: expected its image {name!r} in {folder}. Got none.")
            paths.append(files.get(str(PurePosixPath(name)), missing))
            labels.append(_Records(str(listed), name, size, index, own.get(key, []), with_masks))
        info = Info(
            Path(self.root).resolve().name, names, _licences(held), f"the folder {self.root}, annotations {listed.name}"
        )
        return ObjectExamples(info, paths, labels)

    def _found(self) -> dict[str, tuple[Path, Path]]:
        """The JSON file and the folder of images of each split."""
        root = Path(self.root)
        below = {place.name: place for place in folders_in(root, root)}
        found: dict[str, tuple[Path, Path]] = {}
        listed = sorted(below["annotations"].glob("*.json")) if "annotations" in below else []
        for split, names in SPLITS.items():
            fitting = [(file, match) for file in listed if (match := LISTED.fullmatch(file.name))]
            fitting = [(file, match) for file, match in fitting if match["split"].lower() in names]
            if len(fitting) > 1:
                came = " and ".join(file.name for file, _ in fitting)
                raise DataError(f"coco {self.root}: expected one JSON file for {split} in annotations/. Got {came}.")
            for file, match in fitting:
                places = [root / match["folder"], root / "images" / match["folder"], root / "images"]
                folder = next((place for place in places if place.is_dir()), None)
                if folder is None:
                    raise DataError(f"coco {self.root}: expected the images of {file.name} in {places[0]}. Got none.")
                found[split] = (file, folder)
            for name in names:
                if split not in found and name in below and (below[name] / INSIDE).is_file():
                    found[split] = (below[name] / INSIDE, below[name])
        if "train" not in found:
            raise DataError(
                f"coco {self.root}: expected annotations/instances_train2017.json and train2017/, or "
                f"train/{INSIDE}. Got {', '.join(sorted(below)) or 'no folders'}."
            )
        return found


@dataclass(frozen=True)
class _Records:
    """The annotations of one image."""

    file: str
    image: str
    size: tuple[int, int]
    """(height, width) as the file says."""
    index: Mapping[int, int]
    """Category ids to class indices."""
    records: list[tuple[int, Any]]
    """Positions in the file, and annotations."""
    masks: bool

    def things(self, size: tuple[int, int]) -> Iterator[Thing | DataError]:
        if self.size != size:
            raise DataError(
                f"{self.file}: expected {self.image!r} of {self.size[1]} × {self.size[0]} pixels, as it says. "
                f"Got {size[1]} × {size[0]}."
            )
        for position, record in self.records:
            try:
                yield self._thing(f"{self.file}: annotations[{position}]", record, size)
            except DataError as error:
                yield error

    def _thing(self, where: str, record: Any, size: tuple[int, int]) -> Thing:
        category = field(record, "category_id", int, "a whole number", where)
        left, top, width, height = numbers(field(record, "bbox", list, "a list", where), 4, "bbox", where)
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise DataError(f"{where}: expected 'iscrowd' as 0 or 1. Got {shown(crowd)}.")
        mask = None
        if self.masks:
            drawn = record.get("segmentation", [])
            if isinstance(drawn, dict):
                mask = rle.read(drawn, size, where)
            elif isinstance(drawn, list):
                mask = polygons.draw([numbers(one, None, "segmentation", where) for one in drawn], size, where)
            else:
                raise DataError(f"{where}: expected 'segmentation' as polygons or runs. Got {shown(drawn)}.")
        box = (left, top, left + width, top + height)
        return Thing(where, self.index.get(category), f"category_id {category}", box, mask, bool(crowd))


def _categories(held: Any, file: str) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names by ascending id, and each id's index."""
    found: dict[int, str] = {}
    for position, record in enumerate(field(held, "categories", list, "a list", file)):
        where = f"{file}: categories[{position}]"
        key = field(record, "id", int, "a whole number", where)
        if key in found:
            raise DataError(f"{where}: expected each 'id' once. Got {key} twice.")
        found[key] = field(record, "name", str, "a name", where)
    order = sorted(found)
    names = class_names((found[key] for key in order), f"{file}: categories")
    return names, {key: place for place, key in enumerate(order)}


def _images(held: Any, file: str) -> dict[int | str, tuple[str, tuple[int, int]]]:
    """File name and (height, width) by id, in the file's order."""
    found: dict[int | str, tuple[str, tuple[int, int]]] = {}
    for position, record in enumerate(field(held, "images", list, "a list", file)):
        where = f"{file}: images[{position}]"
        key = field(record, "id", (int, str), "a whole number or text", where)
        name = field(record, "file_name", str, "a file's name", where)
        path = PurePosixPath(name)
        if not path.name or path.is_absolute() or ".." in path.parts or not name.isprintable():
            raise DataError(f"{where}: expected 'file_name' within the folder of images. Got {shown(name)}.")
        size = [field(record, side, int, "a whole number >= 1", where) for side in ("height", "width")]
        if min(size) < 1:
            raise DataError(f"{where}: expected 'height' and 'width' >= 1. Got {size[0]} and {size[1]}.")
        if key in found:
            raise DataError(f"{where}: expected each 'id' once. Got {shown(key)} twice.")
        found[key] = (name, (size[0], size[1]))
    if not found:
        raise DataError(f"{file}: expected images. Got none.")
    return found


def _annotations(held: Any, file: str, images: Mapping[int | str, Any]) -> dict[int | str, list[tuple[int, Any]]]:
    """Each image's annotations with their positions in the file. What they hold is looked at with their image."""
    own: dict[int | str, list[tuple[int, Any]]] = {}
    for position, record in enumerate(field(held, "annotations", list, "a list", file)):
        where = f"{file}: annotations[{position}]"
        key = field(record, "image_id", (int, str), "a whole number or text", where)
        if key not in images:
            raise DataError(f"{where}: expected 'image_id' among the images. Got {shown(key)}.")
        own.setdefault(key, []).append((position, record))
    return own


def _licences(held: Any) -> str:
    listed = held.get("licenses")
    names = [one.get("name") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    known = [name for name in names if isinstance(name, str) and name and name.isprintable()]
    return ", ".join(known[:3])[:200] + (", ..." if len(known) > 3 else "") if known else "unknown"
