"""All that a training run needs to go on as if nothing had happened, in one file that is replaced whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stalwart.core.errors import CheckpointError
from stalwart.store.checkpoint import fit, load_tensors, save_tensors

STATE = "state.safetensors"


@dataclass
class Progress:
    """Where training stands, always at the boundary of a step."""

    epoch: int = 0
    """The epoch under way, counted from 0."""
    position: int = 0
    """Batches of it that are done."""
    replay: int = 0
    """Steps already made on the next of them, where an objective makes several on each."""
    step: int = 0
    """Optimizer steps in all."""
    loss: float = 0.0
    """Sum of the epoch's losses so far."""
    count: int = 0
    """Images in that sum."""
    best: float | None = None
    """The best validation score."""
    best_epoch: int = 0
    """The epoch of the best score, counted from 1; 0 for none."""
    best_scores: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    """The last epoch's validation figures."""
    course: list[dict[str, float]] = field(default_factory=list)
    """What was seen of robustness in each epoch (`_watch.Epoch`)."""
    seconds: float = 0.0
    """Time spent training, over all the run's processes, validation left out."""
    finished: bool = False


def save(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Any,
    memories: Sequence[Mapping[str, Tensor]],
) -> None:
    """Write the state file of a run's `last/`.

    Args:
        memories: what the objective carries from step to step, for each part of a batch.
    """
    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in model.state_dict().items()}
    for part, memory in enumerate(memories):
        tensors |= {f"memory/{part}/{name}": value for name, value in memory.items()}
    if ema is not None:
        tensors |= {f"ema/{name}": value for name, value in ema.items()}
    state = optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    words = {
        "progress": asdict(progress),
        "scalars": scalars,
        "groups": [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]],
    }
    save_tensors(folder / STATE, tensors, {"state": json.dumps(words)})


def load(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Any,
    memories: Sequence[dict[str, Tensor]],
) -> Progress:
    """Put a state file's content back.

    Raises:
        CheckpointError: damaged, or of another model or optimizer.
    """
    path = folder / STATE
    try:
        with safe_open(path, framework="pt") as file:
            words = json.loads((file.metadata() or {})["state"])
        known = {name.name for name in fields(Progress)}
        progress = Progress(**{name: value for name, value in words["progress"].items() if name in known})
        groups, scalars = words["groups"], words["scalars"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {str(error).splitlines()[0]}.") from None
    tensors = load_tensors(path)
    fit(model, _under(tensors, "model/"), path)
    if ema is not None:
        for name, value in _under(tensors, "ema/").items():
            ema[name].copy_(value)
    for name, value in _under(tensors, "memory/").items():
        part, _, key = name.partition("/")
        memories[int(part)][key] = value
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in scalars.items()}
    for name, value in _under(tensors, "optimizer/").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    packed = optimizer.state_dict()
    if len(groups) != len(packed["param_groups"]):
        raise CheckpointError(f"{path} is of another optimizer: it has {len(groups)} parameter groups.")
    merged = [{**group, **own} for group, own in zip(packed["param_groups"], groups, strict=True)]
    for group in merged:  # JSON has no tuples
        group.update({k: tuple(v) for k, v in group.items() if isinstance(v, list) and k != "params"})
    optimizer.load_state_dict({"state": state, "param_groups": merged})
    _same_layout(optimizer)
    return progress


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _same_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer's tensors their weights' memory layout again: sums in another order differ in last bits."""
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                values[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
