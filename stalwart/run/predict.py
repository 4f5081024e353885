"""What a run's model says of image files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stalwart.core import catalog, places
from stalwart.core.contracts import Event, Info, Placed, Shield, Task
from stalwart.core.device import pick
from stalwart.core.errors import DataError, InputError
from stalwart.core.freeze import frozen
from stalwart.feed.decode import decode, fit
from stalwart.feed.files import images_under
from stalwart.pages.overlays import drawn
from stalwart.pages.pictures import png_file
from stalwart.run._progress import progress
from stalwart.store import atomic
from stalwart.store import checkpoint as checkpoints
from stalwart.store import guard as guards

Size = tuple[int, int]
"""(height, width) in pixels."""
READERS = 8
"""Files decoded at the same time, at most."""


def predict(
    path: str | Path,
    inputs: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    shield: str | Shield | None = None,
    guard: bool = False,
    batch: int = 64,
    device: str = "auto",
    skip_bad: bool = False,
    draw: str | Path | None = None,
) -> Iterator[Event]:
    """Say what is on each image.

    The model sees it at the size that it was trained on; boxes, masks and maps are told in the pixels of the file, as a
    viewer shows it (upright by its EXIF).

    Args:
        path: a run folder; or a checkpoint folder, and then `checkpoint` is not looked at.
        inputs: image files, and folders, whose images are taken with those of the folders within, by name.
        checkpoint: 'best' or 'last'.
        shield: put this shield around the model.
        guard: let the detector that `detect` fitted for this run flag each image: `suspicious`, its `score`, and the
            `threshold` above which at most 5 % of clean images lie. It goes with the model as it is, without a shield.
        batch: images at a time; one batch of images is in memory, however many files there are.
        skip_bad: warn of files that cannot be read, and go on, where otherwise the first one is an error.
        draw: a folder for a PNG of each file, at its own size, with what was found drawn on it.

    Yields:
        start, warning, prediction (file; its `size` in height and width where the task has places; what the task
        describes, masks as COCO's compressed run lengths; the `drawing`), progress, result (n, skipped, seconds).

    Raises:
        InputError: a drawing is wanted of a task whose predictions have no places.
        StorageError: a drawing that cannot be written.
        CheckpointError: no such checkpoint, or a damaged one.
        DataError: a file that cannot be read, a folder without images, or no file at all that can be read.
    """
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch}.")
    if isinstance(inputs, str | Path):
        raise InputError(f"inputs must be a list of files and folders. Got {str(inputs)!r}; write [{str(inputs)!r}].")
    files = _files(inputs)
    place, folder = pick(device), Path(path)
    if not (folder / checkpoints.CARD).is_file():
        folder = folder / checkpoint
    model = checkpoints.load(folder, device=str(place))
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    kept: guards.Kept | None = None
    if guard:
        if shield is not None:
            raise InputError("predict: a guard is fitted to the model without a shield. Got both.")
        kept = guards.load(Path(path), card.get("sha256"), str(place))
    if shield is not None:
        model = catalog.make(shield, "shields")(model)
    task: Task = catalog.make(card["task"], "tasks")
    placed = task if isinstance(task, Placed) else None
    if draw is not None and placed is None:
        raise InputError(f"predict: a drawing shows boxes, masks or maps. Got draw for the task {card['task']}.")
    signature = checkpoints.signature_of(card)
    info = Info(
        name=", ".join(str(item) for item in inputs),
        classes=tuple(card["classes"]),
        licence="unknown",
        origin="files",
        channels=signature.channels,
        size=signature.size,
    )

    def read(file: str) -> tuple[Tensor, Size] | DataError:
        """The image as in training, and the size that it has in its file."""
        try:
            image = decode(file, signature.channels)
        except DataError as error:
            return error
        own = (image.shape[1], image.shape[2])
        return fit(image, signature.size, signature.channels, whole=placed is not None).contiguous(), own

    total, drawings = len(files), _named_apart(files)
    yield Event("start", {"what": "predict", "total": total, "unit": "images", "model": card["model"]})
    begun = time.perf_counter()
    skipped = 0
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        for first in range(0, total, batch):
            part = files[first : first + batch]
            images, names = [], []
            for file, found in zip(part, pool.map(read, part), strict=True):
                if isinstance(found, DataError):
                    if not skip_bad:
                        raise found
                    skipped += 1
                    yield Event("warning", {"message": f"left out {found}"})
                    continue
                images.append(found[0])
                names.append((file, found[1]))
            if images:
                pixels = torch.stack(images).to(place).float().div_(255)  # (B, C, H, W)
                with frozen(model), torch.no_grad():  # no inference mode: a detector may ask for slopes
                    prediction = task.predict(model, pixels)
                    scores = None if kept is None else kept.guard.detector.score(model, pixels, kept.guard.fitted)
                for index, (file, own) in enumerate(names):
                    if placed is None:
                        said = task.describe(prediction, index, info)
                    else:
                        back = places.invert(places.fitted(own, signature.size, whole=True)[None])[0]
                        there = placed.restore(prediction, index, back, own)
                        said = {"size": list(own), **placed.outline(there, 0, info)}
                        if draw is not None:
                            picture = Path(draw) / drawings[file]
                            image = drawn(decode(file), there[0], info.classes, max(own))
                            atomic.write_bytes(picture, png_file(image))
                            said["drawing"] = str(picture)
                    if kept is not None and scores is not None:
                        score, threshold = float(scores[index]), kept.guard.threshold
                        said |= {"suspicious": score > threshold, "score": score, "threshold": threshold}
                    yield Event("prediction", {"file": file, **said})
            yield progress(first + len(part), total, begun)
    if skipped == total:
        raise DataError(f"{info.name}: expected images that can be read. Got none among {total} files.")
    seconds = time.perf_counter() - begun
    yield Event("result", {"kind": "predict", "n": total - skipped, "skipped": skipped, "seconds": seconds})


def _named_apart(files: Sequence[str]) -> dict[str, str]:
    """For each file the name of its drawing, its own with .png; a number tells files of one name apart."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for file in files:
        stem, number = Path(file).stem, 1
        name = stem
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names[file] = f"{name}.png"
    return names


def _files(inputs: Sequence[str | Path]) -> list[str]:
    """The files that are meant, each once, in the order given."""
    if not inputs:
        raise InputError("inputs must name at least one image file or folder. Got none.")
    files: dict[str, None] = {}
    for item in inputs:
        where = Path(item)
        if not where.is_dir():
            files[str(item)] = None
            continue
        found = images_under(where, where)
        if not found:
            raise DataError(f"{where}: expected a folder with images. Got none in it.")
        files.update(dict.fromkeys(found))
    return list(files)
