"""Checkpoints: `model.safetensors` and `card.json` in a folder. Nothing is pickled, so loading runs no strange code."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Architecture, Signature
from stalwart.core.errors import CheckpointError, InputError, SpellingError
from stalwart.store import atomic

WEIGHTS, CARD = "model.safetensors", "card.json"
FORMAT = 1
LARGEST_CARD = 16 * 1024**2


def save(folder: Path, model: nn.Module | Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write a checkpoint; each of its two files is replaced whole, the weights first.

    The card holds the weights' SHA-256, so a kill between the two is noticed on loading.

    Raises:
        StorageError: the disk is full; the checkpoint that stood there is kept, or noticed to be half replaced.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    save_tensors(folder / WEIGHTS, state)
    digest = _digest(folder / WEIGHTS)
    atomic.write_json(folder / CARD, {"format": FORMAT, **card, "sha256": digest})


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, on the CPU, each with storage of its own."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    atomic.write(path, lambda temporary: save_file(own, temporary))


def load_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: missing or damaged; it names the file.
    """
    try:
        return load_file(path, device=device)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing.") from None
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged: {str(error).splitlines()[0]}.") from None


def read_card(folder: Path) -> dict[str, Any]:
    """A checkpoint's card, its fields checked.

    Raises:
        CheckpointError: missing, damaged, or of a later version.
    """
    path = folder / CARD
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no checkpoint: {path} is missing.")
    try:
        card = atomic.read_json(path, most=LARGEST_CARD)
    except CheckpointError:
        raise
    except InputError as error:
        raise CheckpointError(str(error)) from None
    if card.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format must be {FORMAT}. Got {card.get('format')!r}.")
    for name in ("task", "model", "data"):
        if not isinstance(card.get(name), str):
            raise CheckpointError(f"{path}: {name!r} must be a spelling. Got {card.get(name)!r}.")
    classes = card.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(item, str) for item in classes):
        raise CheckpointError(f"{path}: 'classes' must be a list of names. Got {str(classes)[:60]!r}.")
    signature_of(card, path)
    return card


def signature_of(card: Mapping[str, Any], path: Path | str = CARD) -> Signature:
    """What the card's model was built for."""
    raw = card.get("signature")
    try:
        assert isinstance(raw, dict)
        classes, channels, (height, width) = raw["classes"], raw["channels"], raw["size"]
        numbers = (classes, channels, height, width)
        assert all(type(n) is int and 0 < n <= 100_000 for n in numbers)
    except (AssertionError, KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path}: 'signature' must hold classes, channels and size [height, width] as positive integers. "
            f"Got {str(raw)[:80]!r}."
        ) from None
    return Signature(classes, channels, (height, width))


def locate(path: Path) -> Path:
    """The checkpoint folder that `path` means: itself, or the `best` or `last` of a run folder.

    Raises:
        CheckpointError: there is none.
    """
    for folder in (path, path / "best", path / "last"):
        if (folder / CARD).is_file():
            return folder
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; expected a run folder or a checkpoint folder.")
    raise CheckpointError(f"{path} holds no checkpoint: neither it nor its best/ or last/ has a {CARD}.")


def load(path: str | Path, device: str = "cpu") -> nn.Module:
    """The model of a checkpoint, in evaluation mode, with its card as `model.card`.

    Args:
        path: a checkpoint folder such as ``runs/a/best``, or a run folder, whose best is taken.
        device: where to put it.

    Raises:
        CheckpointError: missing, damaged, half written, or not fitting the model that its card names.
    """
    folder = locate(Path(path))
    card = read_card(folder)
    if "sha256" in card and (folder / WEIGHTS).is_file() and _digest(folder / WEIGHTS) != card["sha256"]:
        raise CheckpointError(
            f"{folder / WEIGHTS} is not the file that {CARD} describes: damaged, or writing was cut off between the "
            "two. Take the run's other checkpoint, or train on."
        )
    state = load_tensors(folder / WEIGHTS)
    try:
        architecture: Architecture = catalog.make(card["model"], "models")
    except SpellingError as error:
        raise CheckpointError(f"{folder / CARD}: 'model' cannot be read: {error}") from None
    fields = (
        {field.name for field in dataclasses.fields(architecture)} if dataclasses.is_dataclass(architecture) else ()
    )
    if "pretrained" in fields:  # the weights come from here; nothing is to be fetched
        architecture = dataclasses.replace(architecture, pretrained=False)  # type: ignore[type-var]
    with torch.random.fork_rng(devices=[]):
        model = architecture.build(signature_of(card, folder / CARD))
    fit(model, state, folder / WEIGHTS)
    model.card = card  # type: ignore[assignment]
    return model.to(device).eval()


def fit(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model, all of them and nothing else.

    Raises:
        CheckpointError: names or shapes that do not fit; it says which.
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or extra or wrong:
        said = []
        if wrong:
            name = sorted(wrong)[0]
            said.append(f"{name} must have shape {tuple(own[name].shape)}, got {tuple(state[name].shape)}")
        if missing:
            said.append(f"{len(missing)} are missing, such as {missing[0]}")
        if extra:
            said.append(f"{len(extra)} are unknown, such as {extra[0]}")
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(said)}.")
    model.load_state_dict(dict(state), strict=True)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
