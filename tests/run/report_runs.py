"""Run folders as the runners write them, with real digits and plausible figures, for the tests of the report.

Run as a script it writes some to look at: `python tests/run/report_runs.py FOLDER`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from stalwart.core.statistics import wilson
from stalwart.store.checkpoint import save_tensors

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a' onmouseover='alert(1)",
    "</style></title><b>&amp;",
    "\u202egnp.exe\x00\ud800",
    "a name that goes on and on and on without any end in sight " * 3,
)


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def empty(path: Path) -> Path:
    """A run of which nothing but the configuration was written."""
    put(path / "config.json", {"format": 1})
    return path


def pictures(k: int, size: int = 8, channels: int = 1, reach: int = 8) -> dict[str, Tensor]:
    """k real digits (k, C, size, size) uint8, clean and with every pixel moved by up to `reach` levels."""
    digits = torch.from_numpy(load_digits().images[:k] * (255 / 16)).round().to(torch.uint8)[:, None]
    clean = torch.nn.functional.interpolate(digits.float(), (size, size), mode="bilinear").round().to(torch.uint8)
    clean = clean.expand(k, channels, size, size).contiguous()
    moves = torch.randint(-reach, reach + 1, clean.shape, generator=torch.Generator().manual_seed(1))
    return {"clean": clean, "adversarial": (clean.int() + moves).clamp(0, 255).to(torch.uint8)}


def evaluation(names: Sequence[str], *, n_each: int = 36, split: str = "test") -> dict[str, Any]:
    """Figures of a classifier that takes each class for its neighbour now and then, the later ones more often."""
    k = len(names)
    confusion = [[0] * k for _ in names]
    for i in range(k):
        wrong = min(n_each, i // 3)
        confusion[i][i] = n_each - wrong
        confusion[i][(i + 1) % k] += wrong
    right, n = sum(confusion[i][i] for i in range(k)), k * n_each
    columns = [max(1, sum(row[j] for row in confusion)) for j in range(k)]
    rows = [
        {"name": name, "n": n_each, "accuracy": confusion[i][i] / n_each, "precision": confusion[i][i] / columns[i]}
        for i, name in enumerate(names)
    ]
    return {
        "kind": "evaluate", "split": split, "checkpoint": "best", "data": "digits()", "n": n, "skipped": 2,
        "tta": False, "seconds": 0.412, "intervals": {"top1": wilson(right, n)},
        "figures": {
            "n": n, "top1": right / n, "top5": 0.9972, "nll": 0.1234, "ece": 0.0317, "per_class": rows,
            "confusion": confusion,
        },
    }  # fmt: skip


def attacked(
    names: Sequence[str],
    *,
    attack: str = "pgd(steps=20)",
    threat: str = "linf(8/255)",
    epsilon: float = 8 / 255,
    ends: float = 0.12,
    n: int = 300,
    shown: int = 12,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """An attack's result; accuracy falls evenly from 96 % to `ends`."""
    curve = []
    for step in range(5):
        right = round(n * (0.96 + (ends - 0.96) * step / 4))
        at = epsilon * step / 4
        curve.append({"epsilon": at, "robust_accuracy": right / n, "interval": wilson(right, n), "n": n})
    examples = [
        {
            "index": 40 + place,
            "name": f"{names[place % len(names)]}/{place}.png",
            "target": {"class": names[place % len(names)]},
            "clean": {"class": names[place % len(names)], "confidence": 0.913 - place / 100, "top": []},
            "adversarial": {"class": names[(place + 1) % len(names)], "confidence": 0.672 + place / 100, "top": []},
            "size": epsilon / 4 * (1 + place // 4),
        }
        for place in range(shown)
    ]
    return {
        "kind": "attack", "attack": attack, "threat": threat, "threat_name": threat.partition("(")[0],
        "epsilon": epsilon, "goal": "", "split": "test", "checkpoint": "best", "data": "digits()", "n": n, "seed": 0,
        "clean_accuracy": curve[0]["robust_accuracy"], "robust_accuracy": curve[-1]["robust_accuracy"],
        "interval": curve[-1]["interval"], "curve": curve, "forwards": 12 * n + 7, "backwards": 11 * n,
        "seconds": 3.75, "worst_size": epsilon, "bits": 8, "warnings": list(warnings),
        "per_class": [
            {"name": name, "n": n // len(names), "clean": 0.96, "robust": max(0.0, ends - 0.01 * i)}
            for i, name in enumerate(names)
        ],
        "examples": examples,
    }  # fmt: skip


def shielded(shield: str = "bitdepth(2)", *, masks: bool = True, n: int = 200) -> dict[str, Any]:
    """A shield's result: it seems to give 60 points and gives 4, or (where it does not mask) 20."""
    shares = (
        {"without": 0.04, "naive": 0.64, "adaptive": 0.08}
        if masks
        else {"without": 0.04, "naive": 0.3, "adaptive": 0.24}
    )
    numbers = {
        name: {
            "attack": "bpda(attack=pgd(steps=20))" if name == "adaptive" else "pgd(steps=20)",
            "robust_accuracy": value, "interval": wilson(round(value * n), n),
        }
        for name, value in shares.items()
    }  # fmt: skip
    return {
        "kind": "shield", "shield": shield, "masks": masks, "certifies": not masks, "attack": "pgd(steps=20)",
        "threat": "linf(8/255)", "split": "test", "n": n, "clean_accuracy": 0.93, **numbers,
    }  # fmt: skip


def certificate(n: int = 100) -> dict[str, Any]:
    held = [round(n * (0.9 - 0.04 * step)) for step in range(21)]
    curve = [
        {"epsilon": 0.05 * step, "certified_accuracy": right / n, "interval": wilson(right, n)}
        for step, right in enumerate(held)
    ]
    return {
        "kind": "certify", "shield": "smoothing(sigma=0.25)", "split": "test", "n": n, "alpha": 0.001, "without": 0.96,
        "certified_accuracy": 0.9, "abstained": 0.03, "mean_radius": 0.47, "curve": curve,
    }  # fmt: skip


def transferred(runs: Sequence[str] = ("runs/plain", "runs/hardened"), n: int = 300) -> dict[str, Any]:
    k = len(runs)
    accuracy = [[0.1 if i == j else 0.45 + 0.3 * j / k for j in range(k)] for i in range(k)]
    return {
        "kind": "transfer", "attack": "pgd(steps=20)", "threat": "linf(8/255)", "runs": list(runs), "split": "test",
        "n": n, "untouched": [0.96] * k, "accuracy": accuracy,
        "intervals": [[wilson(round(share * n), n) for share in row] for row in accuracy],
    }  # fmt: skip


def sizes(result: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Outcomes that give an attack's curve: sizes spread evenly between the radii at which images fell."""
    n, found = result["n"], []
    radii = [point["epsilon"] for point in result["curve"]]
    standing = [round(point["robust_accuracy"] * n) for point in result["curve"]]
    found += [0.0] * (n - standing[0])
    for low, high, before, after in zip(radii, radii[1:], standing, standing[1:], strict=False):
        found += [low + (high - low) * (i + 1) / (before - after) for i in range(before - after)]
    found += [float("inf")] * (n - len(found))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return {"position": torch.arange(n), "size": torch.tensor(found, dtype=torch.float32)[order]}


def config(objective: str = "clean()", **settings: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "stalwart": "0.1.0",
        "spelling": {
            "data": "digits()", "model": "fastnet(width=16)", "task": "classification()", "objective": objective,
            "optimizer": "adamw(lr=0.002)", "schedule": "cosine()", "augments": "(crop(1), flip())",
        },
        "settings": {"epochs": 6, "batch": 128, "seed": 3, "val": 0.1, "size": None, "ema": 0.0, **settings},
        "environment": {"python": "3.12.4", "torch": "2.15.0", "platform": "Linux", "threads": 2, "device": "cpu"},
        "started": "2026-11-17T18:20:05+00:00",
    }  # fmt: skip


def complete(
    path: Path,
    *,
    names: Sequence[str] = tuple("0123456789"),
    objective: str = "clean()",
    strength: float = 0.0,
    size: int = 8,
    channels: int = 1,
    attacks: Sequence[Mapping[str, Any]] | None = None,
    shown: int = 12,
    more: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """A run that was trained, evaluated, and attacked under two threats.

    Args:
        strength: added to each robust accuracy.
        size: pixels of a picture's side.
        more: other results.
    """
    put(path / "config.json", config(objective))
    start = {"what": "train", "total": 66, "unit": "steps", "train_images": 1294, "val_images": 144, "test_images": 359}
    events: list[dict[str, Any]] = [{"kind": "start", **start, "parameters": 290_000}]
    for epoch in range(1, 7):
        figures = {"epoch": epoch, "epochs": 6, "train_loss": 2.0 / epoch, "lr": 0.002 * (1 - epoch / 6)}
        figures |= {"val_loss": 2.1 / epoch + 0.1, "val_top1": 1 - 0.3 / epoch, "val_ece": 0.04, "seconds": 2.5 * epoch}
        figures |= {"robust_top1": strength + 0.1 + 0.02 * epoch} if strength else {}
        events += [{"kind": "progress", "done": epoch, "total": 6}, {"kind": "epoch", **figures}]
    events.append({"kind": "warning", "message": "the loss was <high> once"})
    lines = [json.dumps({"time": 1.5, **event}) for event in events]
    (path / "events.jsonl").write_text("\n".join(lines) + '\n{"kind": "epo', encoding="utf-8")
    card = {
        "format": 1, "task": "classification()", "model": "fastnet(width=16)", "data": "digits()",
        "objective": objective, "classes": list(names), "licence": "CC BY 4.0", "epoch": 6, "step": 66, "seed": 3,
        "signature": {"classes": len(names), "channels": channels, "size": [size, size]}, "scores": {"val_top1": 0.95},
    }  # fmt: skip
    put(path / "best" / "card.json", card)
    put(path / "results" / "evaluate-test.json", evaluation(names))
    if attacks is None:
        attacks = [
            attacked(names, ends=0.04 + strength, shown=shown),
            attacked(names, attack="fgsm()", ends=0.31 + strength, shown=shown),
            attacked(
                names, threat="l2(0.5)", epsilon=0.5, ends=0.22 + strength, shown=shown, warnings=["flat <slope>"]
            ),
        ]
    for place, result in enumerate(attacks):
        put(path / "results" / f"attack-{place}.json", result)
        k = len(result["examples"])
        if k:
            kept = pictures(k, size, channels) | sizes(result, place)
            save_tensors(path / "results" / f"attack-{place}.safetensors", kept)
    for place, result in enumerate(more):
        put(path / "results" / f"{result['kind']}-{place}.json", result)
    return path


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    more = [shielded(), shielded("smoothing(sigma=0.25)", masks=False), certificate(), transferred()]
    complete(folder / "plain", more=more)
    complete(folder / "hardened", objective="adversarial(threat=linf(8/255))", strength=0.4, more=[transferred()])
    complete(folder / "fast", objective="fast(threat=linf(8/255))", strength=0.3)
    complete(folder / "hostile", names=HOSTILE, size=32, channels=3)
    complete(folder / "large", names=[f"species {i}" for i in range(200)], size=224, channels=3)
    complete(folder / "thirty", names=[f"breed number {i}" for i in range(28)], size=48, channels=3)
    empty(folder / "empty")
