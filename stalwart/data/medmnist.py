"""MedMNIST's two-dimensional sets with one label an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.arrays import ArrayExamples
from stalwart.feed.npz import read_npz

ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

CLASSES: dict[str, tuple[str, ...]] = {
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "breastmnist": ("malignant", "normal or benign"),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
    "pathmnist": (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "tissuemnist": (
        "collecting duct, connecting tubule",
        "distal convoluted tubule",
        "glomerular endothelial cells",
        "interstitial endothelial cells",
        "leukocytes",
        "podocytes",
        "proximal tubule segments",
        "thick ascending limb",
    ),
}
"""Class names by the publisher's file names; other files' classes are called by their numbers."""

SPLITS = ("train", "val", "test")


@component
class medmnist:
    """A MedMNIST set from its .npz file: train, val and test; grey or colour; 28, 64, 128 or 224 pixels square.

    Yang et al. 2023, "MedMNIST v2", Scientific Data 10, 41. Sets of several labels an image (chestmnist) and
    three-dimensional ones are refused. The sets are for research, not for diagnosis.

    Eight images of pneumoniamnist's val lie in its train too: its val figures are a little too good.
    """

    path: str
    """The file, such as 'pneumoniamnist.npz' or 'bloodmnist_64.npz'. Its name says which set it is."""

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if f"{split}_labels" in self._read([f"{s}_labels" for s in SPLITS]))

    def open(self, split: str) -> Examples:
        if split not in SPLITS:
            raise DataError(f"medmnist: split must be among {', '.join(SPLITS)}. Got {split!r}.")
        held = self._read([f"{split}_images", *(f"{s}_labels" for s in SPLITS)])
        labels = {s: self._labels(held[f"{s}_labels"], s) for s in SPLITS if f"{s}_labels" in held}
        if split not in labels or f"{split}_images" not in held:
            raise DataError(
                f"{self.path}: expected {split}_images and {split}_labels. Got {', '.join(held) or 'none'}."
            )
        images = self._images(held[f"{split}_images"], split)
        if len(labels[split]) != len(images):
            raise DataError(f"{self.path}: expected {len(images)} {split}_labels. Got {len(labels[split])}.")
        stem = Path(self.path).stem.lower()
        known = CLASSES.get(stem.partition("_")[0])
        highest = max(max(part, default=0) for part in labels.values())
        classes = known or tuple(str(number) for number in range(highest + 1))
        if highest >= len(classes):
            raise DataError(f"{self.path}: expected labels below {len(classes)}, as {stem} has. Got {highest}.")
        info = Info(
            name=stem,
            classes=classes,
            licence=_licence(stem) if known else "unknown",
            origin="MedMNIST (Yang et al., Scientific Data 2023)" if known else f"the file {self.path}",
            channels=images.shape[1],
            size=(images.shape[2], images.shape[3]),
        )
        return ArrayExamples(info, images, labels[split], f"{stem} {split}")

    def _read(self, wanted: list[str]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        held = read_npz(self.path, wanted)
        if not held:
            raise DataError(f"{self.path}: expected arrays such as train_images and train_labels. Got none of them.")
        return held

    def _labels(self, array: np.ndarray[Any, np.dtype[Any]], split: str) -> list[int]:
        """(n,) or (n, 1) whole numbers from 0."""
        single = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
        if not single or array.dtype.kind not in "iu" or (array.size and int(array.min()) < 0):
            raise DataError(
                f"{self.path}: expected {split}_labels as one whole number >= 0 an image, (n, 1). "
                f"Got {array.dtype} {array.shape}."
            )
        return [int(label) for label in array.reshape(-1)]

    def _images(self, array: np.ndarray[Any, np.dtype[Any]], split: str) -> Tensor:
        """(n, H, W) or (n, H, W, 3) uint8 as (n, C, H, W)."""
        flat = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
        if not flat or array.dtype != np.uint8 or array.size == 0:
            raise DataError(
                f"{self.path}: expected {split}_images as uint8 (n, H, W) or (n, H, W, 3). "
                f"Got {array.dtype} {array.shape}."
            )
        images = torch.from_numpy(np.ascontiguousarray(array))
        return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)


def _licence(stem: str) -> str:
    return "CC BY-NC 4.0" if stem.startswith("dermamnist") else "CC BY 4.0"
