"""Checkpoints come back as they went, and hostile or damaged ones are refused in one line."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import CheckpointError, TrainingError
from stalwart.store import atomic, checkpoint

SIGNATURE = Signature(classes=10, channels=1, size=(8, 8))
CARD: dict[str, Any] = {
    "task": "classification()",
    "model": "convnet(width=8)",
    "data": "digits()",
    "classes": [str(i) for i in range(10)],
    "signature": {"classes": 10, "channels": 1, "size": [8, 8]},
}


def model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built: nn.Module = catalog.make(CARD["model"], "models").build(SIGNATURE)
    return built


def test_round_trip_with_channels_last_and_buffers(tmp_path: Path) -> None:
    trained = model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(16, 1, 8, 8)
    for _ in range(3):
        trained(images)  # moves BatchNorm's buffers
    checkpoint.save(tmp_path / "best", trained, CARD)
    before = torch.get_rng_state()
    loaded = checkpoint.load(tmp_path)  # the run folder means its best
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in loaded.modules())
    assert loaded.card["data"] == "digits()"  # type: ignore[index]
    for (name, value), (other, came) in zip(trained.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value, came)


def test_tied_weights_and_views(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    whole = torch.arange(12.0).view(3, 4)
    checkpoint.save_tensors(tmp_path / "a.safetensors", {**tied.state_dict(), "row": whole[1], "column": whole[:, 1]})
    came = load_file(tmp_path / "a.safetensors")
    assert torch.equal(came["0.weight"], came["1.weight"])
    assert came["column"].tolist() == [1.0, 5.0, 9.0]
    assert came["row"].tolist() == [4.0, 5.0, 6.0, 7.0]


@dataclass(frozen=True)
class Fetching:
    """An architecture whose pretrained weights come over the network."""

    pretrained: bool = True

    def build(self, signature: Signature) -> nn.Module:
        assert not self.pretrained, "loading must not fetch what it then overwrites"
        return nn.Sequential(nn.Flatten(), nn.Linear(64, signature.classes))


def test_loading_needs_no_pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Fetching(pretrained=False).build(SIGNATURE)
    checkpoint.save(tmp_path / "best", trained, CARD)
    monkeypatch.setattr(catalog, "make", lambda spelled, room: Fetching())
    loaded = checkpoint.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), loaded.parameters(), strict=True))


def test_other_classes_than_wanted(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, model(), CARD)
    with pytest.raises(CheckpointError, match=r"trained on 10 classes .*Got 2"):
        checkpoint.load(tmp_path, classes=["cat", "dog"])
    checkpoint.load(tmp_path, classes=CARD["classes"])


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"format": 99}, "format must be 1"),
    ({"model": 5}, "'model' must be a spelling"),
    ({"model": "no_such_net()"}, "'model' cannot be read"),
    ({"model": "__import__('os').system('true')"}, "'model' cannot be read"),
    ({"model": "external_Mine"}, "a Mine of your own"),
    ({"classes": "0123456789"}, "'classes' must be a list"),
    ({"classes": ["a", "b"]}, "as many as the signature's 10"),
    ({"classes": []}, "'classes' must be a list"),
    ({"signature": None}, "'signature' must hold"),
    ({"signature": {"classes": 10, "channels": True, "size": [8, 8]}}, "'signature' must hold"),
    ({"signature": {"classes": 10, "channels": 1, "size": [8, 10**12]}}, "'signature' must hold"),
    ({"signature": {"classes": 10, "channels": 1, "size": 8}}, "'signature' must hold"),
    ({"signature": {"classes": 10, "channels": -1, "size": [8, 8]}}, "'signature' must hold"),
    ({"model": "convnet(width=16)"}, "must have shape"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_hostile_cards(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    checkpoint.save(tmp_path, model(), CARD)
    card = json.loads((tmp_path / "card.json").read_text()) | change
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_card_cannot_ask_for_more_memory_than_its_weights_take(tmp_path: Path) -> None:
    """A net of terabytes is refused from its outline; building it would kill the process."""
    checkpoint.save(tmp_path, model(), CARD | {"model": "convnet(width=200000)"})
    with pytest.raises(CheckpointError, match=r"does not fit|cannot be built|cannot be read"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{", "\x00\xff", '{"format": NaN}', "[" * 100_000, '"' + "a" * 20_000_000 + '"']
)
def test_cards_that_are_no_cards(tmp_path: Path, text: str) -> None:
    checkpoint.save(tmp_path, model(), CARD)
    (tmp_path / "card.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"card\.json"):
        checkpoint.load(tmp_path)


def test_weights_that_are_not_the_cards(tmp_path: Path) -> None:
    """What a kill between the two renames would leave."""
    checkpoint.save(tmp_path / "a", model(0), CARD)
    checkpoint.save(tmp_path / "b", model(1), CARD)
    os.replace(tmp_path / "b/model.safetensors", tmp_path / "a/model.safetensors")
    with pytest.raises(CheckpointError, match=r"not the file that card\.json describes"):
        checkpoint.load(tmp_path / "a")


def unsigned(folder: Path) -> None:
    """A stranger's checkpoint, whose card holds no digest."""
    card = json.loads((folder / "card.json").read_text())
    del card["sha256"]
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "text"])
def test_damaged_weights(tmp_path: Path, damage: str) -> None:
    checkpoint.save(tmp_path, model(), CARD)
    unsigned(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    other = {"cut": whole[:-9], "empty": b"", "header": b"\xff" * 8 + whole[8:], "text": b"not weights at all"}
    weights.write_bytes(other[damage])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        checkpoint.load(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        checkpoint.load(tmp_path)


def test_weights_that_are_no_numbers_or_do_not_fit(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, model(), CARD)
    unsigned(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    first = next(name for name, value in state.items() if value.ndim == 4)
    save_file({**state, first: state[first] * float("nan")}, weights)
    with pytest.raises(CheckpointError, match="NaN"):
        checkpoint.load(tmp_path)
    save_file({name: value for name, value in state.items() if name != first}, weights)
    with pytest.raises(CheckpointError, match=f"missing, such as {first}"):
        checkpoint.load(tmp_path)
    save_file({**state, "extra": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="unknown, such as extra"):
        checkpoint.load(tmp_path)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, model(), CARD)
    unsigned(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("when", ["while writing", "in safetensors", "on renaming"])
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    checkpoint.save(tmp_path, model(0), CARD)
    names = sorted(item.name for item in tmp_path.iterdir())

    def full(*_: object, **__: object) -> None:
        if when == "in safetensors":  # what it says on a full tmpfs
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        if when == "on renaming":
            patched.setattr(os, "replace", full)
        else:
            patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(TrainingError, match=f"{tmp_path}.*the disk is full.*kept"):
            checkpoint.save(tmp_path, model(1), CARD)
    assert sorted(item.name for item in tmp_path.iterdir()) == names  # no temporary file is left
    kept = checkpoint.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), model(0).parameters(), strict=True))


def test_json_round_trip_and_what_json_lacks(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    atomic.write_json(path, {"a": (1, 2), "b": float("nan"), "c": Path("x"), "d": "é"})
    assert atomic.read_json(path) == {"a": [1, 2], "b": None, "c": "x", "d": "é"}
    assert path.stat().st_mode & 0o777 == 0o644
