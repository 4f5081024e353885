"""A run's fitted detector: `guard/fitted.safetensors` and `guard/card.json`. Nothing is pickled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stalwart.core import catalog
from stalwart.core.contracts import Detector
from stalwart.core.errors import CheckpointError, SpellingError
from stalwart.core.joint import Guard
from stalwart.store import atomic, checkpoint

FOLDER, FITTED, CARD = "guard", "fitted.safetensors", "card.json"
FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """What `load` gives."""

    guard: Guard
    alpha: float
    """The share of clean images that the threshold flags at most."""
    card: dict[str, Any]


def save(run: Path, fitted: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Keep what a detector has learnt; an older one goes. Both files are complete before either takes its place.

    Raises:
        StorageError: the disk is full; what stood there is kept.
    """
    folder = run / FOLDER
    digest = ""

    def fill_fitted(temporary: Path) -> None:
        nonlocal digest
        checkpoint.write_tensors(temporary, fitted)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()

    def fill_card(temporary: Path) -> None:
        temporary.write_text(atomic.spelled({"format": FORMAT, **card, "sha256": digest}), encoding="utf-8")

    atomic.write_together([(folder / FITTED, fill_fitted), (folder / CARD, fill_card)])
    return folder


def load(run: Path, weights: str | None, device: str = "cpu") -> Kept:
    """The run's detector, ready to score.

    Args:
        weights: the SHA-256 of the model that is to be guarded, as its card has it; None where it has none.

    Raises:
        CheckpointError: none was fitted, it is damaged, or it was fitted to another model.
    """
    folder = run / FOLDER
    if not (folder / CARD).is_file():
        raise CheckpointError(f"{run} has no fitted detector. Fit one: stalwart detect {run}")
    card = checkpoint.read_record(folder / CARD)
    if card.get("format") != FORMAT:
        raise CheckpointError(f"{folder / CARD}: format must be {FORMAT}. Got {card.get('format')!r}.")
    threshold, alpha, spelled = card.get("threshold"), card.get("alpha"), card.get("detector")
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in (threshold, alpha))
    if not numbers or not isinstance(spelled, str):
        raise CheckpointError(
            f"{folder / CARD}: 'detector', 'threshold' and 'alpha' must be a spelling and two numbers."
        )
    if card.get("model_sha256") != weights:
        raise CheckpointError(
            f"{folder} was fitted to other weights than the model has now. Fit it again: stalwart detect {run}"
        )
    try:
        detector: Detector = catalog.make(spelled, "detectors")
    except SpellingError as error:
        raise CheckpointError(f"{folder / CARD}: 'detector' cannot be read: {error}") from None
    path = folder / FITTED
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != card.get("sha256"):
        raise CheckpointError(f"{path} is not the file that {CARD} describes: damaged, changed, or half copied.")
    fitted = checkpoint.load_tensors(path, device)
    if not all(bool(value.isfinite().all()) for value in fitted.values()) or not math.isfinite(float(threshold or 0)):
        raise CheckpointError(f"{path}: holds values that are no finite numbers.")
    return Kept(Guard(detector, fitted, float(threshold or 0)), float(alpha or 0), card)
