"""Train, attack and harden vision models, and report how far each can be trusted.

The public names below are imported when they are first asked for: `import stalwart` itself is instant.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import stalwart.core.checks as check
    import stalwart.drive as drive
    from stalwart.run.attack import attack as attack
    from stalwart.run.attack import attack_run as attack_run
    from stalwart.run.audit import audit as audit
    from stalwart.run.audit import audit_run as audit_run
    from stalwart.run.certify import certify as certify
    from stalwart.run.check_data import check_data as check_data
    from stalwart.run.corruptions import corruptions as corruptions
    from stalwart.run.detect import detect as detect
    from stalwart.run.evaluate import evaluate as evaluate
    from stalwart.run.learn import Practice as Practice
    from stalwart.run.learn import learn as learn
    from stalwart.run.play import evaluate_policy as evaluate_policy
    from stalwart.run.predict import predict as predict
    from stalwart.run.report import report as report
    from stalwart.run.train import Training as Training
    from stalwart.run.train import train as train
    from stalwart.run.transfer import transfers as transfers
    from stalwart.store.checkpoint import load as load

try:
    __version__ = metadata.version("stalwart")
except metadata.PackageNotFoundError:  # used from its folder, not installed
    __version__ = "0.0.0"

# Each public name, the module it stands in, and its name there (None: the module itself).
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "Practice": ("stalwart.run.learn", "Practice"),
    "Training": ("stalwart.run.train", "Training"),
    "attack": ("stalwart.run.attack", "attack"),
    "attack_run": ("stalwart.run.attack", "attack_run"),
    "audit": ("stalwart.run.audit", "audit"),
    "audit_run": ("stalwart.run.audit", "audit_run"),
    "certify": ("stalwart.run.certify", "certify"),
    "check": ("stalwart.core.checks", None),
    "check_data": ("stalwart.run.check_data", "check_data"),
    "corruptions": ("stalwart.run.corruptions", "corruptions"),
    "detect": ("stalwart.run.detect", "detect"),
    "drive": ("stalwart.drive", None),
    "evaluate": ("stalwart.run.evaluate", "evaluate"),
    "learn": ("stalwart.run.learn", "learn"),
    "load": ("stalwart.store.checkpoint", "load"),
    "evaluate_policy": ("stalwart.run.play", "evaluate_policy"),
    "predict": ("stalwart.run.predict", "predict"),
    "report": ("stalwart.run.report", "report"),
    "train": ("stalwart.run.train", "train"),
    "transfers": ("stalwart.run.transfer", "transfers"),
}

__all__ = [
    "Practice",
    "Training",
    "__version__",
    "attack",
    "attack_run",
    "audit",
    "audit_run",
    "certify",
    "check",
    "check_data",
    "corruptions",
    "detect",
    "drive",
    "evaluate",
    "evaluate_policy",
    "learn",
    "load",
    "predict",
    "report",
    "train",
    "transfers",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'stalwart' has no attribute {name!r}")
    where, inner = _PUBLIC[name]
    module = importlib.import_module(where)
    found = module if inner is None else getattr(module, inner)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
