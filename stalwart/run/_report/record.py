"""What a run folder holds, read with care: the folder may be a stranger's, cut short, or edited by hand.

A figure that is missing or not of its type is None and is left out of the report. A file that cannot be read is named
there. Only a folder without a readable config.json is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stalwart.core.errors import InputError, RunError
from stalwart.run._report.audits import Audited, audited
from stalwart.run._report.cheapest import Outcomes, outcomes
from stalwart.run._report.corrupted import Corrupted, corrupted
from stalwart.run._report.detections import Detected, detected
from stalwart.run._report.drawings import Layers, layers_of
from stalwart.run._report.measures import SHARE, ClassFigures, Graded, Measure, class_figures, graded, measured_interval
from stalwart.run._report.recall import Curves, recalled
from stalwart.run._report.shields import Certified, Shielded, certified, shielded
from stalwart.run._report.transfers import Transfers, transferred
from stalwart.run._report.values import Interval, interval_of, items, real, share, text, whole
from stalwart.store import atomic
from stalwart.store.checkpoint import load_tensors
from stalwart.store.folder import RESULTS, RunFolder

MOST_CLASSES = 2000
MOST_RESULTS = 100
MOST_EVENTS = 1_000_000
MOST_PICTURE_BYTES = 256 * 1024**2
"""More is a mistake or malice: reading it would fill the memory."""


@dataclass(frozen=True)
class ClassRow:
    """How one class fares. Shares lie in [0, 1]."""

    name: str
    n: int
    accuracy: float | None = None
    precision: float | None = None
    robust: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The figures of one split."""

    split: str
    checkpoint: str
    data: str
    n: int
    skipped: int
    tta: bool
    top1: float | None
    interval: Interval | None
    top5: float | None
    nll: float | None
    ece: float | None
    per_class: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    seconds: float | None
    measure: Measure | None = None
    """The figure that speaks for the task."""
    figures: tuple[ClassFigures, ...] = ()
    """Of each class, where the task has other figures than the share of right answers."""
    precision: Curves = ()
    """Of each class of objects, against recall."""

    @property
    def dense(self) -> bool:
        """Whether the task has another figure than the share of right answers."""
        return self.measure is not None and self.measure.kind != SHARE


@dataclass(frozen=True)
class Point:
    """Robust accuracy at one radius."""

    epsilon: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class Flip:
    """One adversarial example, with its pictures (C, H, W) uint8."""

    index: int | None
    name: str
    truth: str
    before: str
    before_confidence: float | None
    after: str
    after_confidence: float | None
    size: float | None
    clean: Tensor
    adversarial: Tensor
    layers: Layers | None = None
    """What is drawn upon the pictures; None where the task draws nothing."""


@dataclass(frozen=True)
class Attacked:
    """What one attack did under one threat."""

    attack: str
    threat: str
    threat_name: str
    epsilon: float
    goal: str
    split: str
    checkpoint: str
    data: str
    n: int
    seed: int | None
    clean: float
    clean_interval: Interval
    robust: float
    interval: Interval
    curve: tuple[Point, ...]
    forwards: int | None
    backwards: int | None
    seconds: float | None
    worst_size: float | None
    bits: int | None
    warnings: tuple[str, ...]
    per_class: tuple[ClassRow, ...]
    flips: tuple[Flip, ...]
    outcomes: Outcomes | None
    """What became of each image; None where the result does not say."""
    graded: Graded | None = None
    """What the task's own metric says; None where the share of right answers is all."""
    toward: str = ""
    """The class that the attacker wanted everything to be taken for: `robust` is then the share of images in which that
    was not reached; '' for an untargeted attack."""

    @property
    def reached(self) -> Measure:
        """Of a targeted attack, the share of images that it won."""
        low, high = self.interval
        return Measure(SHARE, 1 - self.robust, (1 - high, 1 - low))

    @property
    def held(self) -> Measure:
        """The figure that the attack left."""
        return Measure(SHARE, self.robust, self.interval) if self.graded is None else self.graded.robust

    @property
    def untouched(self) -> Measure:
        """The same of the same images before the attack."""
        return Measure(SHARE, self.clean, self.clean_interval) if self.graded is None else self.graded.clean

    @property
    def rank(self) -> tuple[bool, float]:
        """The least left first; last the attacks that the task's metric says nothing of, where it does of others."""
        return self.graded is None, self.held.value

    @property
    def in_levels(self) -> bool:
        """Whether the radius was given in levels of 8-bit images, as in linf(8/255)."""
        return "/255" in self.threat


@dataclass(frozen=True)
class Record:
    """One run, ready to be reported."""

    path: Path
    label: str
    config: Mapping[str, Any]
    card: Mapping[str, Any]
    start: Mapping[str, Any]
    epochs: tuple[Mapping[str, float], ...]
    """One mapping of finite numbers for each epoch, ascending."""
    warnings: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    """The test split first."""
    attacks: tuple[Attacked, ...]
    """By threat, the lowest robust accuracy first; untargeted ones."""
    targeted: tuple[Attacked, ...]
    """Those towards one class, by class and threat, the most images won first."""
    audits: tuple[Audited, ...]
    """In the order of the attacks' threats."""
    corruptions: tuple[Corrupted, ...]
    shields: tuple[Shielded, ...]
    certificates: tuple[Certified, ...]
    transfers: tuple[Transfers, ...]
    detections: tuple[Detected, ...]
    damaged: tuple[str, ...]

    def spelled(self, part: str) -> str:
        """The spelling of 'data', 'model', ...; '' where the configuration lacks it."""
        return text(self.config.get("spelling"), part) or text(self.card, part)

    @property
    def evaluation(self) -> Evaluation | None:
        """The one that speaks for the run."""
        return next((item for item in self.evaluations if item.measure is not None), None)

    @property
    def counted(self) -> tuple[Attacked, ...]:
        """The attacks under which an image stands or falls, and no more."""
        return tuple(item for item in self.attacks if item.graded is None)

    @property
    def worst(self) -> tuple[Attacked, ...]:
        """For each threat and split the attack that left least, in the order of the results."""
        least: dict[tuple[str, str], Attacked] = {}
        for item in self.attacks:
            key = (item.threat, item.split)
            if key not in least or item.rank < least[key].rank:
                least[key] = item
        return tuple(least.values())


def read(path: Path, label: str) -> Record:
    """Read a run folder.

    Raises:
        RunError: no run there, or its config.json cannot be read.
    """
    folder = RunFolder.open(path)
    damaged: list[str] = []
    start: Mapping[str, Any] = {}
    epochs: dict[int, dict[str, float]] = {}
    warnings: list[str] = []
    for event in _events(folder, damaged):
        kind = event.get("kind")
        if kind == "start" and event.get("what") == "train":
            start = event
        elif kind == "epoch" and (number := whole(event, "epoch")) is not None:
            epochs[number] = {key: value for key in event if (value := real(event, key)) is not None}
        elif kind == "warning" and (message := text(event, "message")) and message not in warnings:
            warnings.append(message)
    card: Mapping[str, Any] = {}
    for name in ("best", "last"):
        if (path / name / "card.json").is_file():
            card = _json(path / name / "card.json", damaged)
            break
    shown: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for file in sorted((path / RESULTS).glob("*.json"))[:MOST_RESULTS]:
        result = _json(file, damaged)
        kind = result.get("kind")
        if kind not in KINDS:
            continue
        if kind == "attack":
            found: Any = _attacked(result, file.with_suffix(".safetensors"), damaged)
        else:
            found = READERS[kind](result)
        if found is None:
            damaged.append(f"{file.name} lacks its main figures.")
        else:
            shown[kind].append(found)
    evaluations: list[Evaluation] = shown["evaluate"]
    attacks: list[Attacked] = [item for item in shown["attack"] if not item.toward]
    targeted: list[Attacked] = [item for item in shown["attack"] if item.toward]
    targeted.sort(key=lambda item: (item.toward, item.threat, item.robust, item.attack))
    audits: list[Audited] = shown["audit"]
    evaluations.sort(key=lambda item: (item.split != "test", item.tta, item.split))
    order: dict[str, int] = {}
    for item in sorted(attacks, key=lambda item: (item.threat_name != "linf", item.threat_name, item.epsilon)):
        order.setdefault(item.threat, len(order))
    attacks.sort(key=lambda item: (order[item.threat], item.rank, item.attack))
    audits.sort(key=lambda item: (order.get(item.threat, len(order)), item.lowest, item.attack))
    told = {warning for item in attacks for warning in item.warnings}
    return Record(
        path,
        label,
        folder.config,
        card,
        start,
        tuple(epochs[number] for number in sorted(epochs)),
        tuple(w for w in warnings if not any(w.endswith(said) for said in told))[:20],
        tuple(evaluations),
        tuple(attacks),
        tuple(targeted),
        tuple(audits),
        tuple(shown["corruptions"]),
        tuple(shown["shield"]),
        tuple(shown["certify"]),
        tuple(shown["transfer"]),
        tuple(shown["detect"]),
        tuple(damaged),
    )


def _events(folder: RunFolder, damaged: list[str]) -> Iterator[dict[str, Any]]:
    try:
        yield from itertools.islice(folder.events(), MOST_EVENTS)
    except (OSError, RecursionError, ValueError):
        damaged.append("events.jsonl cannot be read to its end.")


def _json(path: Path, damaged: list[str]) -> dict[str, Any]:
    try:
        return atomic.read_json(path)
    except (InputError, ValueError):
        damaged.append(f"{path.parent.name}/{path.name} cannot be read.")
        return {}


def _rows(raw: list[Any]) -> tuple[ClassRow, ...]:
    rows = []
    for place, item in enumerate(raw[:MOST_CLASSES]):
        clean = share(item, "accuracy")
        rows.append(
            ClassRow(
                text(item, "name") or f"class {place}",
                whole(item, "n") or 0,
                share(item, "clean") if clean is None else clean,
                share(item, "precision"),
                share(item, "robust"),
            )
        )
    return tuple(rows)


def _evaluation(raw: Mapping[str, Any]) -> Evaluation | None:
    figures = raw.get("figures")
    n, top1 = whole(raw, "n"), share(figures, "top1")
    if not n or not isinstance(figures, Mapping):
        return None
    intervals = raw.get("intervals")
    given = intervals.get(SHARE) if isinstance(intervals, Mapping) else None
    rows = _rows(items(figures, "per_class"))
    kind = text(raw, "score") or SHARE
    value = share(figures, kind)
    between = measured_interval(intervals, kind)
    if kind == SHARE and value is not None:
        between = interval_of(given, value, n)
    return Evaluation(
        text(raw, "split") or "unknown",
        text(raw, "checkpoint"),
        text(raw, "data"),
        n,
        whole(raw, "skipped") or 0,
        raw.get("tta") is True,
        top1,
        None if top1 is None else interval_of(given, top1, n),
        share(figures, "top5"),
        real(figures, "nll"),
        share(figures, "ece"),
        rows,
        _square(items(figures, "confusion"), len(rows)),
        real(raw, "seconds"),
        None if value is None else Measure(kind, value, between),
        () if kind == SHARE else class_figures(items(figures, "per_class")),
        recalled(items(figures, "precision"), len(rows)),
    )


def _square(raw: list[Any], k: int) -> tuple[tuple[int, ...], ...]:
    """A (K, K) table of counts, or nothing where it is not one."""
    if len(raw) != k or not all(isinstance(row, list) and len(row) == k for row in raw):
        return ()
    if not all(type(n) is int and 0 <= n < 10**12 for row in raw for n in row):
        return ()
    return tuple(tuple(row) for row in raw)


def _attacked(raw: Mapping[str, Any], pictures: Path, damaged: list[str]) -> Attacked | None:
    n, clean, robust = whole(raw, "n"), share(raw, "clean_accuracy"), share(raw, "robust_accuracy")
    epsilon = real(raw, "epsilon")
    attack, threat = text(raw, "attack"), text(raw, "threat")
    if not n or clean is None or robust is None or epsilon is None or epsilon < 0 or not attack or not threat:
        return None
    curve = []
    for item in items(raw, "curve")[:1000]:
        at, held = real(item, "epsilon"), share(item, "robust_accuracy")
        if at is not None and at >= 0 and held is not None:
            curve.append(Point(at, held, interval_of(item.get("interval"), held, whole(item, "n") or n)))
    curve.sort(key=lambda point: point.epsilon)
    at_zero = next((p.interval for p in curve if p.epsilon == 0 and p.share == clean), None)
    return Attacked(
        attack,
        threat,
        text(raw, "threat_name") or threat.partition("(")[0],
        epsilon,
        text(raw, "goal"),
        text(raw, "split") or "unknown",
        text(raw, "checkpoint"),
        text(raw, "data"),
        n,
        whole(raw, "seed"),
        clean,
        at_zero or interval_of(None, clean, n),
        robust,
        interval_of(raw.get("interval"), robust, n),
        tuple(curve),
        whole(raw, "forwards"),
        whole(raw, "backwards"),
        real(raw, "seconds"),
        real(raw, "worst_size"),
        whole(raw, "bits"),
        tuple(item for item in items(raw, "warnings")[:20] if isinstance(item, str)),
        _rows(items(raw, "per_class")),
        _flips(items(raw, "examples"), pictures, damaged),
        outcomes(pictures),
        graded(raw),
        text(raw, "toward"),
    )


def _flips(raw: list[Any], path: Path, damaged: list[str]) -> tuple[Flip, ...]:
    """The examples with their pictures, the smallest change first, then the surest answer."""
    if not raw or not path.is_file():
        return ()
    try:
        if path.stat().st_size > MOST_PICTURE_BYTES:
            raise ValueError("too large")
        tensors = load_tensors(path)
        clean, adversarial = tensors["clean"], tensors["adversarial"]
        fits = clean.shape == adversarial.shape and clean.ndim == 4 and clean.shape[1] in (1, 3) and clean.numel()
        if not fits or clean.dtype != torch.uint8 or adversarial.dtype != torch.uint8:
            raise ValueError("not pictures")
    except (InputError, OSError, KeyError, ValueError):
        damaged.append(f"{path.parent.name}/{path.name} holds no pictures that can be read.")
        return ()
    flips = []
    layers: list[Layers | None] = [None] * len(clean)
    layers = [*(layers_of(tensors, len(clean), (clean.shape[2], clean.shape[3])) or layers)]
    for example, before, after, drawn in zip(raw, clean, adversarial, layers, strict=False):
        if not isinstance(example, Mapping):
            continue
        clear, fooled = example.get("clean"), example.get("adversarial")
        flips.append(
            Flip(
                whole(example, "index"),
                text(example, "name"),
                text(example.get("target"), "class"),
                text(clear, "class"),
                share(clear, "confidence"),
                text(fooled, "class"),
                share(fooled, "confidence"),
                real(example, "size"),
                before,
                after,
                drawn,
            )
        )
    if any(layers):
        return tuple(flips)  # by what they lost, as the attack put them
    flips.sort(key=lambda flip: (math.inf if flip.size is None else round(flip.size, 6), -(flip.after_confidence or 0)))
    return tuple(flips)


READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "evaluate": _evaluation,
    "audit": audited,
    "corruptions": corrupted,
    "shield": shielded,
    "certify": certified,
    "transfer": transferred,
    "detect": detected,
}
"""What reads each kind of result; None where its main figures are missing."""
KINDS = ("attack", *READERS)
"""Results that a report shows; those of attacks have pictures beside them."""


def read_all(paths: list[Path]) -> list[Record]:
    """Read several runs, each under its folder's name, or its whole path where names are shared.

    Raises:
        RunError: none given, one given twice, or one that is no run.
    """
    if not paths:
        raise RunError("a report needs at least one run folder. Got none.")
    names = [path.name if path.name not in ("", "..") else path.resolve().name for path in paths]
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise RunError(f"{path} is given more than once; a report sets different runs side by side.")
    labels = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    return [read(path, label) for path, label in zip(paths, labels, strict=True)]
