"""Pictures that come twice: the same pixels, or nearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stalwart.run._data.looks import Look

ALIKE = 0.995
"""The correlation of thumbnails from which on two pictures are nearly the same: another compression, a small crop, a
change of brightness, a neighbouring frame of a video."""
MOST_NEAR = 100_000
"""Images of two splits that are compared with one another for being alike, at most: it takes time by their product."""
_ROWS = 2048


def within(looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Pairs of a split's images of the same pixels: each later one with the first."""
    first: dict[bytes, int] = {}
    pairs = []
    for place, look in enumerate(looks):
        if look.digest:
            before = first.setdefault(look.digest, place)
            if before != place:
                pairs.append((before, place))
    return pairs


def across(first: Sequence[Look], second: Sequence[Look]) -> list[tuple[int, int]]:
    """Each image of the second split whose very pixels are in the first, with the one there."""
    places = {look.digest: place for place, look in reversed(list(enumerate(first))) if look.digest}
    return [(places[look.digest], place) for place, look in enumerate(second) if look.digest in places]


def nearly(first: Sequence[Look], second: Sequence[Look], same: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each image of the second split that is nearly one of the first, with the likest; those in `same` left out."""
    ours, theirs = _stacked(first), _stacked(second)
    left_out = {place for _, place in same}
    if not len(ours[1]) or not len(theirs[1]):
        return []
    pairs = []
    for begin in range(0, len(theirs[1]), _ROWS):
        rows = theirs[0][begin : begin + _ROWS]
        best = torch.full((len(rows),), -1.0)
        where = torch.zeros(len(rows), dtype=torch.int64)
        for start in range(0, len(ours[1]), _ROWS):
            value, place = (rows @ ours[0][start : start + _ROWS].T).max(1)
            better = value > best
            best, where = torch.where(better, value, best), torch.where(better, place + start, where)
        for row in (best >= ALIKE).nonzero().flatten().tolist():
            place = theirs[1][begin + row]
            if place not in left_out:
                pairs.append((ours[1][int(where[row])], place))
    return pairs


def _stacked(looks: Sequence[Look]) -> tuple[Tensor, list[int]]:
    """(n, 256) thumbnails, and the places of their images."""
    there = [(place, look.thumbnail) for place, look in enumerate(looks) if look.thumbnail is not None]
    if not there:
        return torch.zeros(0, 1), []
    return torch.stack([thumbnail for _, thumbnail in there]), [place for place, _ in there]


def balance(looks: Mapping[str, Sequence[Look]], classes: Sequence[str]) -> list[dict[str, int | str]]:
    """For each class how much of it each split has."""
    totals = {split: sum((look.counts for look in own), start=type(own[0].counts)()) for split, own in looks.items()}
    return [
        {"name": name, **{split: total[index] for split, total in totals.items()}} for index, name in enumerate(classes)
    ]
