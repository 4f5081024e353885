"""CIFAR-10 in its publisher's Python files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.arrays import ArrayExamples
from stalwart.feed.fetch import fetch_tar
from stalwart.feed.pickles import read_pickle

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
URL_MD5 = "c58f30108f718f92721af3d95e74349a"
URL_BYTES = 170_498_071
INSIDE = "cifar-10-batches-py"

MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""The publisher's files."""

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MAX_BYTES = 128 * 1024**2


@component
class cifar10:
    """CIFAR-10: 50,000 colour images of 32×32 pixels to train and 10,000 to test, ten classes of equal size.

    Krizhevsky 2009, "Learning multiple layers of features from tiny images". The pickle files are read without
    Python's unpickler: they can hold arrays and plain values and nothing that runs.
    """

    root: str = ""
    """The folder with data_batch_1 ... test_batch, or one that holds 'cifar-10-batches-py'; '' for $STALWART_DATA,
    or else ./data."""
    download: bool = False
    """Fetch the files (170 MB) from their publisher where they are not there."""

    def splits(self) -> tuple[str, ...]:
        self._place()
        return ("train", "test")

    def open(self, split: str) -> Examples:
        names = [name for name in MD5 if name.startswith("data" if split == "train" else "test")]
        if split not in ("train", "test"):
            raise DataError(f"cifar10: split must be 'train' or 'test'. Got {split!r}.")
        place = self._place()
        parts = [_read(place / name) for name in names]
        images = torch.from_numpy(np.concatenate([images for images, _ in parts]))
        targets = [target for _, part in parts for target in part]
        original = all(_md5(place / name) == MD5[name] for name in names)
        info = Info(
            name="CIFAR-10" if original else "CIFAR-10 (not the publisher's files)",
            classes=CLASSES,
            licence="unknown (none was stated by the publisher)",
            origin="A. Krizhevsky, Learning multiple layers of features from tiny images, 2009"
            + ("" if original else "; the files' checksums differ from the publisher's: a changed or re-encoded copy"),
            channels=3,
            size=(32, 32),
        )
        return ArrayExamples(info, images, targets, f"cifar10 {split}")

    def _place(self) -> Path:
        """The folder that holds the files."""
        root = Path(self.root or os.environ.get("STALWART_DATA") or "data")
        candidates = [root, root / INSIDE, root / "cifar10" / INSIDE]
        found = next((place for place in candidates if (place / "test_batch").is_file()), None)
        if found is None and self.download:
            fetch_tar(URL, URL_MD5, URL_BYTES, root, INSIDE, (*MD5, "batches.meta"), MAX_BYTES)
            found = root / INSIDE
        if found is None:
            raise DataError(
                f"cifar10: expected data_batch_1 ... data_batch_5 and test_batch in {root / INSIDE}. "
                f"Got no test_batch. Unpack {URL} there, or write cifar10(download=True) where there is a network."
            )
        missing = [name for name in MD5 if not (found / name).is_file()]
        if missing:
            raise DataError(f"cifar10: expected {missing[0]} in {found}. Got no such file.")
        return found


def _read(path: Path) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]:
    """Images (n, 3, 32, 32) and n labels of one file."""
    held = read_pickle(path, MAX_BYTES)
    data, labels = held.get("data"), held.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        came = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: expected 'data' as uint8 (n, 3072). Got {came}.")
    if not isinstance(labels, list) or len(labels) != len(data):
        came = f"{len(labels)} of them" if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{path}: expected 'labels' as a list of {len(data)} numbers. Got {came}.")
    odd = next((label for label in labels if type(label) is not int or not 0 <= label <= 9), None)
    if odd is not None:
        raise DataError(f"{path}: expected labels in 0..9. Got {odd!r}.")
    return data.reshape(-1, 3, 32, 32), labels


def _md5(path: Path) -> str:
    """Says whose files these are; it is no protection, and needs to be none."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
