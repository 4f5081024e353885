"""What is wrong with a data set, before a model learns from it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from stalwart.core import catalog
from stalwart.core.contracts import Event, Examples, Source
from stalwart.core.errors import DataError, InputError
from stalwart.core.rng import generator
from stalwart.core.spelling import spell
from stalwart.feed.split import Subset
from stalwart.run._data import page, twins
from stalwart.run._data.looks import Look, inspected, look, unit
from stalwart.run._progress import progress
from stalwart.store import atomic

READERS, PART = 8, 64
"""Files decoded at the same time, and images whose looks are under way, at most."""
EXAMPLES = 6
"""Examples kept of each finding."""

THEN = {
    "unreadable": "refused",
    "damaged label": "refused",
    "unknown class": "refused",
    "too many masks": "refused",
    "box of no area": "left out",
    "empty mask": "left out",
    "box outside": "cut",
    "no labels": "kept",
    "same picture": "kept",
    "two answers": "kept",
    "nearly the same": "kept",
    "empty class": "kept",
}
"""What is done about each finding in training: an image is refused, an object left out or cut, or nothing."""


@dataclass
class Finding:
    """One kind of thing that is odd about a split, or about two."""

    finding: str
    split: str
    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Messages of the first few."""
    pictures: list[tuple[tuple[str, int], ...]] = field(default_factory=list)
    """For the first few the images to be shown, each its split and its place."""

    def add(self, message: str, *pictures: tuple[str, int]) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(message)
            self.pictures.append(pictures)


def check_data(
    data: str | Source, *, out: str | Path | None = None, limit: int | None = None, seed: int = 0
) -> Iterator[Event]:
    """Read every image of a data set with its labels, and say what is odd.

    Reported are: files that cannot be read, labels that cannot be made out, unknown classes, boxes outside their image
    or of no area, empty masks and polygons, images without labels, classes without any, the same picture twice in a
    split or in two, with another class, pictures of two splits that are nearly the same, and how much of each class
    every split has.

    Args:
        data: a source, or its spelling.
        out: a page with pictures to write; None for none.
        limit: so many images of each split at most, drawn by `seed`; pictures that come twice may then be missed.

    Yields:
        start, note, progress, saved, result (kind 'data'; splits, findings, per_class, seconds).

    Raises:
        DataError: the data are not there, or no split can be opened.
        InputError: `limit` below 1, or `out` is a folder.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 image. Got {limit}.")
    if out is not None and Path(out).is_dir():
        raise InputError(f"{out} must be the file to write the page to. Got a folder.")
    source = catalog.make(data, "data") if isinstance(data, str) else data
    found: dict[tuple[str, str], Finding] = {}
    opened = _opened(source, limit, seed, found)
    total = sum(len(examples) for examples in opened.values())
    yield Event("start", {"what": "check data", "data": spell(source), "total": total, "unit": "images"})
    begun = time.perf_counter()
    looks: dict[str, list[Look]] = {}
    done = 0
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        for split, examples in opened.items():
            looks[split] = []
            for first in range(0, len(examples), PART):
                places = range(first, min(first + PART, len(examples)))
                looks[split] += pool.map(lambda place, of=examples: look(of, place), places)
                done += len(places)
                yield progress(done, total, begun)
    for split, own in looks.items():
        _troubles(split, own, found)
        _same_within(split, own, found)
    for first_split, second_split in combinations(looks, 2):
        near = len(looks[first_split]) + len(looks[second_split]) <= twins.MOST_NEAR
        _same_across(first_split, second_split, looks, near, found)
        if not near:
            message = f"{first_split} and {second_split} are too large to look for pictures that are nearly the same."
            yield Event("note", {"message": message})
    if len(looks) == 1:
        message = f"there is one split, {next(iter(looks))}: training divides it, and a copy may come to lie in two."
        yield Event("note", {"message": message})
    info = next(iter(opened.values())).info
    per_class = twins.balance(looks, info.classes)
    for row in per_class:
        for split in looks:
            if not row[split]:
                _at(found, "empty class", split).add(f"{split} has nothing of class {row['name']}.")
    findings = sorted(found.values(), key=lambda one: list(THEN).index(one.finding) if one.finding in THEN else 0)
    root = f"{Path(source.root)}/" if hasattr(source, "root") else ""
    for one in findings:  # names within the data are enough, and fit a screen
        one.examples = [message.replace(root, "") if root else message for message in one.examples]
    values = {
        "kind": "data",
        "data": spell(source),
        "root": root,
        "name": info.name,
        "licence": info.licence,
        "origin": info.origin,
        "n": total,
        "classes": len(info.classes),
        "unit": _unit(opened, looks),
        "splits": [_summary(split, own) for split, own in looks.items()],
        "findings": [
            {"finding": one.finding, "split": one.split, "count": one.count, "then": THEN.get(one.finding, "refused"),
             "examples": one.examples}
            for one in findings
        ],
        "per_class": per_class,
        "seconds": time.perf_counter() - begun,
    }  # fmt: skip
    if out is not None:
        shown = [(one.finding, one.split, one.examples, one.pictures) for one in findings]
        atomic.write_text(Path(out), page.render(values, opened, shown))
        yield Event("saved", {"path": str(out)})
    yield Event("result", values)


def _opened(source: Source, limit: int | None, seed: int, found: dict[tuple[str, str], Finding]) -> dict[str, Examples]:
    """Every split that can be opened; of another, why not, unless it is all of them."""
    opened: dict[str, Examples] = {}
    refused: DataError | None = None
    for split in source.splits():
        try:
            examples = source.open(split)
        except DataError as error:
            refused = refused or error
            _at(found, "unreadable", split).add(str(error))
            continue
        if limit is not None and limit < len(examples):
            chosen = torch.randperm(len(examples), generator=generator(seed, "limit", split))[:limit].sort().values
            examples = Subset(examples, chosen.tolist())
        if len(examples):
            opened[split] = examples
    if not opened:
        raise refused or DataError(f"{source!r}: expected images. Got none.")
    classes = {split: examples.info.classes for split, examples in opened.items()}
    first = next(iter(classes))
    for split, names in classes.items():
        if names != classes[first]:
            odd = sorted(set(names) ^ set(classes[first]))
            came = f"{odd[0]!r} in one of the two alone" if odd else "another order"
            raise DataError(f"{source!r}: expected the same classes in {first} and {split}. Got {came}.")
    return opened


def _at(found: dict[tuple[str, str], Finding], finding: str, split: str) -> Finding:
    return found.setdefault((finding, split), Finding(finding, split))


def _troubles(split: str, looks: Sequence[Look], found: dict[tuple[str, str], Finding]) -> None:
    for place, one in enumerate(looks):
        for trouble in one.troubles:
            _at(found, trouble.kind, split).add(trouble.message, *([(split, place)] if one.size else []))


def _same_within(split: str, looks: Sequence[Look], found: dict[tuple[str, str], Finding]) -> None:
    for first, second in twins.within(looks):
        _pair("same picture", (split, first), (split, second), {split: looks}, found)


def _same_across(first: str, second: str, looks: dict[str, list[Look]], near: bool,
                 found: dict[tuple[str, str], Finding]) -> None:  # fmt: skip
    same = twins.across(looks[first], looks[second])
    for one, other in same:
        _pair("same picture", (first, one), (second, other), looks, found)
    for one, other in twins.nearly(looks[first], looks[second], same) if near else ():
        _pair("nearly the same", (first, one), (second, other), looks, found)


def _pair(kind: str, one: tuple[str, int], other: tuple[str, int], looks: dict[str, Sequence[Look]] | Any,
          found: dict[tuple[str, str], Finding]) -> None:  # fmt: skip
    first, second = looks[one[0]][one[1]], looks[other[0]][other[1]]
    where = one[0] if one[0] == other[0] else f"{one[0]}, {other[0]}"
    _at(found, kind, where).add(f"{first.name} and {second.name}", one, other)
    if kind == "same picture" and first.answer != second.answer:
        text = f"{first.name} is {first.answer}, and {second.name}, the same picture, {second.answer}."
        _at(found, "two answers", where).add(text, one, other)


def _unit(opened: dict[str, Examples], looks: dict[str, list[Look]]) -> str:
    for split, own in looks.items():
        for place, one in enumerate(own):
            if one.size is not None:
                return unit(inspected(opened[split], place)[0].target)
    return "images"


def _summary(split: str, looks: Sequence[Look]) -> dict[str, Any]:
    sizes = Counter(one.size for one in looks if one.size is not None)
    pixels = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return {
        "split": split,
        "images": len(looks),
        "unreadable": sum(one.size is None for one in looks),
        "unlabelled": sum(one.size is not None and not one.counts for one in looks),
        "labels": sum(sum(one.counts.values()) for one in looks),
        "smallest": list(pixels[0]) if pixels else None,
        "largest": list(pixels[-1]) if pixels else None,
    }
