"""Images with a mask each: which folders hold them, and which mask is whose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stalwart.core.errors import DataError
from stalwart.feed.files import SPLITS, folders_in, images_under

BESIDE = ("{split}annot", "{split}_labels", "{split}_masks")
"""Where masks lie beside a folder `{split}` of images."""
TREES = (("images", "masks"), ("images", "annotations"), ("images", "labels"), ("leftImg8bit", "gtFine"),
         ("PNGImages", "PedMasks"))  # fmt: skip
"""Folders of images and of masks, with the splits within or all in one."""
ENDINGS = ("_gtFine_labelTrainIds", "_gtFine_labelIds", "_labelIds", "_mask", "_label", "_L", "")
"""What a mask's name may have after its image's."""


def folders(root: Path, who: str) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks for each split, 'train' among them.

    Args:
        who: the source's name, for the message.

    Raises:
        DataError: none of the layouts.
    """
    below = {place.name: place for place in folders_in(root, root)}
    found: dict[str, tuple[Path, Path]] = {}
    trees = [(below[images], below[labels]) for images, labels in TREES if images in below and labels in below]
    for split, names in SPLITS.items():
        for name in names:
            for images, labels in trees:
                if (images / name).is_dir():
                    found.setdefault(split, (images / name, labels / name))
            for pattern in BESIDE:
                other = pattern.format(split=name)
                if name in below and other in below:
                    found.setdefault(split, (below[name], below[other]))
    if not found and trees:
        found["train"] = trees[0]
    if "train" not in found:
        came = ", ".join(sorted(below)) or "no folders"
        raise DataError(
            f"{who} {root}: expected train/ and trainannot/, images/train/ and masks/train/, or images/ and "
            f"masks/. Got {came}."
        )
    return found


def masks_of(images: Path, labels: Path, root: Path) -> list[tuple[str, str | None]]:
    """Each image's file and its mask's, None where there is none.

    Raises:
        DataError: no images, or folders that cannot be read.
    """
    by_stem = {Path(file).stem: file for file in images_under(labels, root)}
    found = [(file, _own(file, by_stem)) for file in images_under(images, root)]
    if not found:
        raise DataError(f"{images}: expected images. Got none.")
    return found


def refuse_without(pairs: Sequence[tuple[str, str | None]], labels: Path) -> list[tuple[str, str]]:
    """The pairs, each of which must be whole.

    Raises:
        DataError: an image has no mask.
    """
    whole = []
    for file, mask in pairs:
        if mask is None:
            raise DataError(f"{file}: expected its mask {_stem(file)}.png in {labels}. Got none.")
        whole.append((file, mask))
    return whole


def _own(file: str, by_stem: dict[str, str]) -> str | None:
    return next((by_stem[_stem(file) + ending] for ending in ENDINGS if _stem(file) + ending in by_stem), None)


def _stem(file: str) -> str:
    return Path(file).stem.removesuffix("_leftImg8bit")
