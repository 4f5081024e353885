"""What one batch of an evaluation came to, and the folder that keeps it until the whole is done.

A long attack that is killed goes on where it was: each finished batch lies in a file of its own, written once and
whole, under a key of everything that its figures depend on. Processes of one evaluation write to the same folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stalwart
from stalwart.core.contracts import Drawing, Stage
from stalwart.core.errors import CheckpointError
from stalwart.store import atomic
from stalwart.store.checkpoint import load_tensors, save_tensors
from stalwart.store.folder import RESULTS

UNFINISHED = "unfinished"
"""Folder in a run's `results/` that holds what a killed evaluation had done."""
_TENSOR = "tensor at"
"""The key that stands for a tensor in what is kept as JSON."""
_COUNTS = ("forwards", "backwards", "flat", "broken", "climbed")


@dataclass(frozen=True)
class Found:
    """One adversarial example, as the report shows it."""

    level: int
    """Which radius it fell at."""
    size: float
    loss: float
    index: int
    """Position in the split."""
    group: int
    """The sample's stratum, so that the pictures are not all of one class."""
    clean: Tensor
    """(C, H, W) uint8."""
    adversarial: Tensor
    """(C, H, W) uint8."""
    target: dict[str, Any]
    truth: Drawing | None = None
    """The target, where it can be drawn."""
    harm: float = 0.0
    """What the attack added to the image's harm (`Verdict.harm`); 0 where an image stands or falls."""

    @property
    def rank(self) -> tuple[int, float, float, float, int]:
        """The most harm first, then the smallest change, then the surest; no two samples share one."""
        return self.level, -self.harm, self.size, -self.loss, self.index


@dataclass(frozen=True)
class Part:
    """What an attack did to one batch."""

    positions: Tensor
    """(n,) int64: where the samples stand in the split."""
    fallen: Tensor
    """(n,) int64: the number of the radius each sample fell at (`Sweep.fallen`)."""
    size: Tensor
    """(n,) float32: the size of the change that it fell to, in the threat's units; inf where it stands."""
    found: tuple[Found, ...]
    forwards: int
    backwards: int
    flat: int
    """Gradients that were zero all over."""
    broken: int
    """Gradients that were not finite."""
    climbed: bool
    """Whether a gradient was asked for."""
    worst_size: float
    seconds: float
    stages: tuple[Stage, ...] = ()
    """What each part of an ensemble did, all radii together."""
    figures: tuple[Mapping[str, Any], ...] = ()
    """What the task's metric gathered (`Metric.state`) at each radius, the clean images first; none where an image
    stands or falls and that is all."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors."""
        kept = {
            "positions": self.positions,
            "fallen": self.fallen,
            "size": self.size,
            "counts": torch.tensor([int(getattr(self, name)) for name in _COUNTS]),
            "worst": torch.tensor([self.worst_size, self.seconds], dtype=torch.float64),
        }
        if self.stages:
            kept["stages"] = _bytes([asdict(stage) for stage in self.stages])
        truths = [item.truth and vars(item.truth) for item in self.found]
        if self.figures or any(truths):
            parts: list[Tensor] = []
            kept["figures"] = _bytes(_packed(list(self.figures), parts))
            kept["truths"] = _bytes(_packed(truths, parts))
            kept |= {f"tensors.{number}": part for number, part in enumerate(parts)}
        if self.found:
            kept |= {
                "place": torch.tensor([[item.level, item.index, item.group] for item in self.found]),
                "rank": torch.tensor([[item.size, item.loss, item.harm] for item in self.found], dtype=torch.float64),
                "clean": torch.stack([item.clean for item in self.found]),
                "adversarial": torch.stack([item.adversarial for item in self.found]),
                "targets": _bytes([atomic.plain(item.target) for item in self.found]),
            }
        return kept

    @classmethod
    def of(cls, kept: Mapping[str, Tensor]) -> Part:
        """The part that `tensors` was made of.

        Raises:
            KeyError, ValueError: it was not.
        """
        found: list[Found] = []
        if "place" in kept:
            targets = _plain(kept["targets"])
            packed = _unpacked(_plain(kept["truths"]), kept) if "truths" in kept else [None] * len(targets)
            rows = zip(kept["place"].tolist(), kept["rank"].tolist(), targets, packed, strict=True)
            for row, ((level, index, group), (size, loss, harm), target, drawn) in enumerate(rows):
                pictures = kept["clean"][row], kept["adversarial"][row]
                truth = None if drawn is None else Drawing(**drawn)
                found.append(Found(level, size, loss, index, group, *pictures, target, truth, harm))
        forwards, backwards, flat, broken, climbed = kept["counts"].tolist()
        worst, seconds = kept["worst"].tolist()
        stages = tuple(Stage(**stage) for stage in _plain(kept["stages"])) if "stages" in kept else ()
        figures = tuple(_unpacked(_plain(kept["figures"]), kept)) if "figures" in kept else ()
        return cls(
            kept["positions"], kept["fallen"], kept["size"], tuple(found), forwards, backwards, flat, broken,
            bool(climbed), worst, seconds, stages, figures,
        )  # fmt: skip


def _bytes(value: Any) -> Tensor:
    """Plain values as JSON in a tensor (n,) uint8."""
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def _plain(kept: Tensor) -> Any:
    return json.loads(bytes(kept.tolist()))


def _packed(value: Any, parts: list[Tensor]) -> Any:
    """The value with its tensors taken out into `parts`, and a number left in the place of each."""
    if isinstance(value, Tensor):
        parts.append(value.cpu().contiguous())
        return {_TENSOR: len(parts) - 1}
    if isinstance(value, Mapping):
        return {key: _packed(item, parts) for key, item in value.items()}
    return [_packed(item, parts) for item in value] if isinstance(value, list | tuple) else value


def _unpacked(value: Any, kept: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return kept[f"tensors.{value[_TENSOR]}"]
        return {key: _unpacked(item, kept) for key, item in value.items()}
    return [_unpacked(item, kept) for item in value] if isinstance(value, list) else value


class Shelf:
    """The finished batches of one attack on one model.

    Args:
        run: the run folder.
        key: everything that the figures depend on; another key is another shelf.
        fresh: leave alone what is there.
    """

    def __init__(self, run: Path, key: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.key = {**key, "versions": {"stalwart": stalwart.__version__, "torch": torch.__version__}}
        digest = hashlib.sha256(json.dumps(atomic.plain(self.key), sort_keys=True).encode()).hexdigest()
        self.path = run / RESULTS / UNFINISHED / digest[:24]
        self.fresh = fresh

    def put(self, part: Part) -> None:
        """Keep one more batch. A kill leaves the whole file or none.

        Raises:
            StorageError: the disk is full.
        """
        if not (self.path / "of.json").exists():
            atomic.write_json(self.path / "of.json", self.key)  # for people who wonder what the folder is
        save_tensors(self.path / f"{int(part.positions[0])}-{len(part.positions)}.safetensors", part.tensors())

    def load(self) -> list[Part]:
        """What is kept; a file that cannot be read is done again."""
        parts = []
        for path in [] if self.fresh else sorted(self.path.glob("*.safetensors")):
            try:
                parts.append(Part.of(load_tensors(path)))
            except (CheckpointError, KeyError, ValueError, TypeError):
                continue
        return parts

    def clear(self) -> None:
        """The whole is done."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            shutil.rmtree(self.path.parent, ignore_errors=True)


def forget(run: Path) -> None:
    """Remove everything unfinished of a run."""
    shutil.rmtree(run / RESULTS / UNFINISHED, ignore_errors=True)


def disjoint(parts: Iterable[Part], among: Tensor) -> list[Part]:
    """The parts that are of samples `among` (n,) alone, each sample in one part at most: two evaluations at a time may
    both have kept it."""
    wanted, seen = set(among.tolist()), set[int]()
    chosen = []
    for part in parts:
        own = set(part.positions.tolist())
        if own and own <= wanted and seen.isdisjoint(own):
            seen |= own
            chosen.append(part)
    return chosen
