"""The command lines that make a run again, and those that would make what it lacks."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Mapping
from typing import Any

from stalwart.run._report.record import Attacked, Evaluation, Record
from stalwart.run._report.values import text

WIDTH = 92
"""Characters in a line of a folded command."""

_FLAGS = (
    "epochs", "batch", "seed", "val", "size", "ema", "patience", "accumulate", "clip", "precision", "device", "workers",
)  # fmt: skip


def line(*words: str) -> str:
    """One command, quoted for a shell."""
    return shlex.join(["stalwart", *words])


def folded(command: str) -> str:
    """The command broken into lines before its options, none longer than need be."""
    options: list[list[str]] = [[]]
    for word in shlex.split(command):
        if word.startswith("--"):
            options.append([])
        options[-1].append(word)
    lines = [shlex.join(options[0])]
    for option in map(shlex.join, options[1:]):
        if len(lines[-1]) + len(option) < WIDTH:
            lines[-1] += f" {option}"
        else:
            lines.append(f"    {option}")
    return " \\\n".join(lines)


def train(record: Record, *, objective: str = "", out: str = "") -> str | None:
    """How the run was trained; None where its model was not made by a spelling.

    Args:
        objective: another objective in its place.
        out: another folder in its place.
    """
    data, model = record.spelled("data"), record.spelled("model")
    if not data or not model or model.startswith("external_"):
        return None
    words = ["train", "--data", data, "--model", model]
    task = record.spelled("task")
    if task and task != "classification()":
        words += ["--task", task]
    words += ["--objective", objective or record.spelled("objective") or "clean()"]
    for part in ("optimizer", "schedule"):
        if record.spelled(part):
            words += [f"--{part}", record.spelled(part)]
    for augment in _parts(text(record.config.get("spelling"), "augments")):
        words += ["--augment", augment]
    settings = record.config.get("settings")
    for flag in _FLAGS:
        value = settings.get(flag) if isinstance(settings, Mapping) else None
        if isinstance(value, int | float | str) and not isinstance(value, bool) and _matters(flag, value):
            words += [f"--{flag}", str(value)]
    return line(*words, "--out", out or str(record.path))


def _matters(flag: str, value: Any) -> bool:
    """Whether a setting says more than its absence would."""
    if flag in ("epochs", "batch", "seed", "val"):
        return True
    return value not in (0, "", "auto") and (flag, value) != ("accumulate", 1)


def _parts(spelled: str) -> list[str]:
    """The augmentations in '(crop(4), flip())', each as it is spelled alone."""
    try:
        tree = ast.parse(spelled.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [ast.unparse(item) for item in tree.elts] if isinstance(tree, ast.Tuple) else [ast.unparse(tree)]


def evaluate(record: Record, evaluation: Evaluation | None = None) -> str:
    words = ["evaluate", str(record.path)]
    if evaluation is not None:
        words += _where(record, evaluation) + (["--tta"] if evaluation.tta else [])
    return line(*words)


def attack(record: Record, attacked: Attacked | None = None, *, solver: str = "", n: int | None = None) -> str:
    """The attack again; with `solver` another one in its place, with `n` on so many images."""
    words = ["attack", str(record.path)]
    if attacked is None:
        return line(*words)
    words += ["--attack", solver or attacked.attack, "--threat", attacked.threat]
    words += ["--goal", attacked.goal] if attacked.goal else []
    words += _where(record, attacked)
    words += ["--limit", str(n or attacked.n)]
    words += ["--seed", str(attacked.seed)] if attacked.seed else []
    return line(*words)


def _where(record: Record, result: Evaluation | Attacked) -> list[str]:
    words = ["--data", result.data] if result.data and result.data != record.spelled("data") else []
    words += ["--split", result.split] if result.split not in ("test", "unknown") else []
    words += ["--checkpoint", result.checkpoint] if result.checkpoint not in ("best", "") else []
    return words


def reproduce(record: Record) -> list[str]:
    """Every command that made what the report shows, in order."""
    commands = [train(record), *(evaluate(record, item) for item in record.evaluations)]
    commands += [attack(record, item) for item in record.attacks]
    return [command for command in commands if command]
