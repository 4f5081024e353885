"""Pascal VOC's layout: an XML file of boxes for each image, and lists of images for each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.annotated import ObjectExamples, Thing
from stalwart.feed.files import images_under
from stalwart.feed.structured import Node, class_names, number, read_lines, read_xml, shown

PASCAL = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The classes of the data set itself, which a part of it may not hold all."""


@component
class voc:
    """Pascal VOC: `JPEGImages/`, `Annotations/NAME.xml` and `ImageSets/Main/{train,val,test}.txt`.

    `trainval.txt` is the train split where there is no `train.txt`; without lists every image is. Boxes are read as
    VOC has them, 1-based with both ends within: (1, 1, 1, 1) is the first pixel. Objects marked 'difficult' are
    neither learned nor counted.
    """

    root: str
    """The folder that holds `JPEGImages`, such as VOCdevkit/VOC2007."""
    classes: tuple[str, ...] = ()
    """Names in the order of their indices. Empty: those in the XML files by alphabet, or VOC's own 20 where all are
    among these."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._names(self._images()))

    def open(self, split: str) -> Examples:
        images = self._images()
        names = self._names(images)
        if split not in names:
            raise DataError(f"voc {self.root}: split must be among {', '.join(names)}. Got {split!r}.")
        notes = Path(self.root) / "Annotations"
        classes = self.classes or self._classes([notes / f"{name}.xml" for own in names.values() for name in own])
        index = {name: place for place, name in enumerate(class_names(classes, f"voc {self.root}"))}
        info = Info(Path(self.root).resolve().name, tuple(index), "unknown", f"the folder {self.root}")
        labels = [_Notes(str(notes / f"{name}.xml"), index) for name in names[split]]
        return ObjectExamples(info, [images[name] for name in names[split]], labels)

    def _images(self) -> dict[str, str]:
        """The images by their names without ending."""
        root = Path(self.root)
        if not (root / "Annotations").is_dir():
            raise DataError(f"voc {self.root}: expected the folders JPEGImages and Annotations. Got no Annotations.")
        return {Path(file).stem: file for file in images_under(root / "JPEGImages", root)}

    def _names(self, images: Mapping[str, str]) -> dict[str, list[str]]:
        """The names of the images of each split."""
        lists = Path(self.root) / "ImageSets" / "Main"
        found: dict[str, list[str]] = {}
        for split, files in (("train", ("train.txt", "trainval.txt")), ("val", ("val.txt",)), ("test", ("test.txt",))):
            path = next((lists / file for file in files if (lists / file).is_file()), None)
            if path is None:
                continue
            found[split] = []
            for place, line in enumerate(read_lines(path), 1):
                if not line:
                    continue
                name = line.split()[0]  # some lists have a second column
                if name not in images:
                    raise DataError(f"{path}, line {place}: expected the name of an image in JPEGImages. "
                                    f"Got {shown(name)}.")  # fmt: skip
                found[split].append(name)
            if not found[split]:
                raise DataError(f"{path}: expected names of images. Got none.")
        if not found and images:
            found["train"] = sorted(images)
        if "train" not in found:
            came = ", ".join(found) or "no images"
            raise DataError(f"voc {self.root}: expected images in JPEGImages and ImageSets/Main/train.txt. Got {came}.")
        return found

    def _classes(self, files: list[Path]) -> tuple[str, ...]:
        names: set[str] = set()
        for file in files:
            try:
                names.update(_text(node, "name", str(file)) for node in read_xml(file).all("object"))
            except DataError:  # it is named when its image is read
                continue
        if not names:
            raise DataError(f"voc {self.root}: expected objects in Annotations/*.xml. Got none.")
        return PASCAL if names <= set(PASCAL) else tuple(sorted(names))


@dataclass(frozen=True)
class _Notes:
    """One image's XML file."""

    file: str
    index: Mapping[str, int]
    """Class names to indices."""

    def things(self, size: tuple[int, int]) -> Iterator[Thing | DataError]:
        root = read_xml(self.file)
        if root.name != "annotation":
            raise DataError(f"{self.file}: expected an element 'annotation'. Got {shown(root.name)}.")
        claimed = root.first("size")
        if claimed is not None:
            width, height = (number(_text(claimed, side, self.file), side, self.file) for side in ("width", "height"))
            if (width or height) and (height, width) != size:  # some tools write 0 × 0
                raise DataError(f"{self.file}: expected an image of {width:g} × {height:g} pixels, as it says. "
                                f"Got {size[1]} × {size[0]}.")  # fmt: skip
        for place, node in enumerate(root.all("object")):
            try:
                yield self._thing(f"{self.file}: object {place + 1}", node)
            except DataError as error:
                yield error

    def _thing(self, where: str, node: Node) -> Thing:
        name = _text(node, "name", where)
        box = node.first("bndbox")
        if box is None:
            raise DataError(f"{where}: expected 'bndbox'. Got none.")
        left, top, right, bottom = (
            number(_text(box, side, where), side, where) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        difficult = node.first("difficult")
        if difficult is not None and difficult.text not in ("0", "1", ""):
            raise DataError(f"{where}: expected 'difficult' as 0 or 1. Got {shown(difficult.text)}.")
        crowd = difficult is not None and difficult.text == "1"
        return Thing(where, self.index.get(name), shown(name), (left - 1, top - 1, right, bottom), crowd=crowd)


def _text(node: Node, name: str, where: str) -> str:
    child = node.first(name)
    if child is None or not child.text:
        raise DataError(f"{where}: expected {name!r}. Got none.")
    return child.text
