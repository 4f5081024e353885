"""Handwritten digits that come with scikit-learn: real data at hand everywhere."""

from __future__ import annotations

import torch

from stalwart.core.component import component
from stalwart.core.contracts import Examples, Info
from stalwart.core.errors import DataError
from stalwart.feed.arrays import ArrayExamples
from stalwart.feed.split import divide

INFO = Info(
    name="digits",
    classes=tuple("0123456789"),
    licence="CC BY 4.0",
    origin="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository 1998 "
    "(its test part, as scikit-learn ships it)",
    channels=1,
    size=(8, 8),
)


@component
class digits:
    """1,797 real handwritten digits, 8×8 grey: 1,438 to train and 359 to test, divided once and for all by class.

    The files hold ink from 0 to 16; it is scaled to 0..255 and rounded.
    """

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def open(self, split: str) -> Examples:
        if split not in self.splits():
            raise DataError(f"digits: split must be 'train' or 'test'. Got {split!r}.")
        from sklearn.datasets import load_digits  # a second to import, so only where it is used

        bunch = load_digits()
        kept, held = divide(bunch.target.tolist(), 0.2, seed=0)
        chosen = kept if split == "train" else held
        ink = torch.from_numpy(bunch.images[chosen])
        images = (ink * (255 / 16)).round().to(torch.uint8)[:, None]  # (N, 1, 8, 8)
        return ArrayExamples(INFO, images, bunch.target[chosen].tolist(), f"digits {split}")
