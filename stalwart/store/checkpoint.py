"""Checkpoints: `model.safetensors` and `card.json` in a folder. Nothing is pickled, so loading runs no strange code."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Architecture, Signature
from stalwart.core.errors import CheckpointError, InputError, SpellingError, StalwartError
from stalwart.store import atomic

WEIGHTS, CARD = "model.safetensors", "card.json"
FORMAT = 1
LARGEST_CARD = 16 * 1024**2
EXTERNAL = "external_"
"""Begins the card's model where the user trained a module of their own."""


def save(folder: str | Path, model: nn.Module | Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write a checkpoint. Both files are complete on the disk before either takes its place.

    The card holds the weights' SHA-256, so a kill between the two renames is noticed on loading.

    Raises:
        StorageError: the disk is full; the checkpoint that stood there is kept.
    """
    weights, state = Path(folder) / WEIGHTS, model.state_dict() if isinstance(model, nn.Module) else model
    digest = ""

    def fill_weights(temporary: Path) -> None:
        nonlocal digest
        write_tensors(temporary, state)
        digest = _digest(temporary)

    def fill_card(temporary: Path) -> None:
        temporary.write_text(atomic.spelled({"format": FORMAT, **card, "sha256": digest}), encoding="utf-8")

    atomic.write_together([(weights, fill_weights), (Path(folder) / CARD, fill_card)])


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Replace a file of tensors by name.

    Raises:
        StorageError: the disk is full; what stood there is kept.
    """
    atomic.write(path, lambda temporary: write_tensors(temporary, tensors, metadata))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Tensors to a new file, each with storage of its own, so tied weights and views are no trouble.

    Raises:
        OSError: the disk is full, as the system says it.
    """
    own = {name: _own(tensor) for name, tensor in tensors.items()}
    try:
        save_file(own, path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:  # it wraps what the system said
        full = "os error 28" in str(error) or "No space" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from None


def _own(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU."""
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def load_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: missing or damaged; it names the file.
    """
    try:
        return load_file(path, device=device)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing.") from None
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {(str(error).splitlines() or ['unreadable'])[0]}.") from None


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object that belongs to a checkpoint.

    Raises:
        CheckpointError: missing, too large, not JSON.
    """
    try:
        return atomic.read_json(path, most=LARGEST_CARD)
    except InputError as error:
        raise CheckpointError(str(error)) from None


def read_card(folder: Path) -> dict[str, Any]:
    """A checkpoint's card, its fields checked.

    Raises:
        CheckpointError: missing, damaged, or of a later version.
    """
    path = folder / CARD
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no checkpoint: {path} is missing.")
    card = read_record(path)
    if card.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format must be {FORMAT}. Got {_shown(card.get('format'))}.")
    for name in ("task", "model", "data"):
        if not isinstance(card.get(name), str):
            raise CheckpointError(f"{path}: {name!r} must be a spelling. Got {_shown(card.get(name))}.")
    classes = card.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(item, str) for item in classes):
        raise CheckpointError(f"{path}: 'classes' must be a list of names. Got {_shown(classes)}.")
    if signature_of(card, path).classes != len(classes):
        raise CheckpointError(
            f"{path}: 'classes' must be as many as the signature's {card['signature']['classes']}. Got {len(classes)}."
        )
    return card


def signature_of(card: Mapping[str, Any], path: Path | str = CARD) -> Signature:
    """What the card's model was built for."""
    match card.get("signature"):
        case {"classes": classes, "channels": channels, "size": [height, width]} if all(
            type(n) is int and 0 < n <= most
            for n, most in ((classes, 1_000_000), (channels, 1_024), (height, 65_536), (width, 65_536))
        ):
            task = str(card.get("task", "classification()")).partition("(")[0]
            return Signature(classes, channels, (height, width), task)
    raise CheckpointError(
        f"{path}: 'signature' must hold classes, channels and size [height, width] as positive integers. "
        f"Got {_shown(card.get('signature'))}."
    )


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


def load(path: str | Path, device: str = "cpu", *, classes: Sequence[str] | None = None) -> nn.Module:
    """The model of a checkpoint, in evaluation mode, with its card as `model.card`.

    No network is needed: pretrained weights that training began with are not fetched again.

    Args:
        path: a checkpoint folder such as ``runs/a/best``, or a run folder, whose best is taken.
        device: where to put it.
        classes: the class names that are wanted, in their order; None: whatever it was trained on.

    Raises:
        CheckpointError: missing, damaged, half written, of other classes, or not fitting the model its card names.
    """
    folder = locate(Path(path))
    card = read_card(folder)
    if classes is not None and list(classes) != card["classes"]:
        raise CheckpointError(
            f"{folder} was trained on {len(card['classes'])} classes ({_listed(card['classes'])}). "
            f"Got {len(classes)} ({_listed(classes)})."
        )
    if card["model"].startswith(EXTERNAL):
        raise CheckpointError(
            f"{folder} holds the weights of a {card['model'].removeprefix(EXTERNAL)} of your own, which only you can "
            f"build. Build it, then: model.load_state_dict(safetensors.torch.load_file({str(folder / WEIGHTS)!r}))."
        )
    state = load_weights(folder)
    model = _build(card, state, folder)
    fit(model, state, folder / WEIGHTS)
    model.card = card  # type: ignore[assignment]
    return model.to(device).eval()


def load_weights(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's weights, checked against the card's SHA-256 and for NaN.

    Raises:
        CheckpointError: missing, damaged, or not the file that the card describes.
    """
    path = folder / WEIGHTS
    expected = read_card(folder).get("sha256")
    if not path.is_file():
        raise CheckpointError(f"{path} is missing.")
    if expected is not None and _digest(path) != expected:
        raise CheckpointError(f"{path} is not the file that {CARD} describes: damaged, changed, or half copied.")
    state = load_tensors(path)
    for name, tensor in state.items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise CheckpointError(f"{path}: {name} holds values that are no numbers (NaN).")
    return state


def _build(card: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path) -> nn.Module:
    """The card's model with weights of no account."""
    try:
        architecture: Architecture = catalog.make(card["model"], "models")
    except SpellingError as error:
        raise CheckpointError(f"{folder / CARD}: 'model' cannot be read: {error}") from None
    signature = signature_of(card, folder / CARD)
    if dataclasses.is_dataclass(architecture) and any(f.name == "pretrained" for f in dataclasses.fields(architecture)):
        architecture = dataclasses.replace(architecture, pretrained=False)
    with torch.random.fork_rng(devices=[]):
        # A card may name a model of any size; first its outline, which takes no memory, is held against the weights.
        outline: nn.Module | None = None
        with contextlib.suppress(RuntimeError, NotImplementedError, TypeError, ValueError), torch.device("meta"):
            outline = architecture.build(signature)  # not every model can be built without its values
        if outline is not None:
            _compare(outline.state_dict(), state, folder / WEIGHTS)
        try:
            return architecture.build(signature)
        except StalwartError:
            raise
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{folder / CARD}: {card['model']} cannot be built: {reason}.") from None


def fit(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model, all of them and nothing else.

    Raises:
        CheckpointError: names or shapes that do not fit; it says which.
    """
    _compare(model.state_dict(), state, path)
    model.load_state_dict(dict(state), strict=True)


def begin_with(model: nn.Module, path: str | Path) -> list[str]:
    """Put into a model whatever of a checkpoint's weights fits it by name and shape; the other weights stay.

    Args:
        path: a run or a checkpoint folder, of whatever model.

    Returns:
        Names of the model's tensors that stay as they were.

    Raises:
        CheckpointError: missing or damaged; or no parameter fits.
    """
    folder = locate(Path(path))
    state, own = load_weights(folder), model.state_dict()
    fits = {name: state[name] for name in own.keys() & state.keys() if own[name].shape == state[name].shape}
    if not any(name in fits for name, _ in model.named_parameters()):
        raise CheckpointError(f"{folder / WEIGHTS} has no weights that fit the model by name and shape.")
    model.load_state_dict(fits, strict=False)
    return sorted(own.keys() - fits.keys())


def _compare(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    said = []
    if wrong:
        said.append(f"{wrong[0]} must have shape {tuple(own[wrong[0]].shape)}, got {tuple(state[wrong[0]].shape)}")
    if missing:
        said.append(f"{len(missing)} tensors are missing, such as {missing[0]}")
    if extra:
        said.append(f"{len(extra)} are unknown, such as {extra[0]}")
    if said:
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(said)}.")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
