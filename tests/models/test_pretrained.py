"""Pretrained weights: fitted to other heads and stems, their own normalisation, and clear words without a network."""

from __future__ import annotations

import hashlib
import importlib
import urllib.error
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import torchvision
from torch import Tensor

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError

ROOM = importlib.import_module("stalwart.models.torchvision")
OTHER_ROOM = importlib.import_module("stalwart.models.timm")


def published(name: str, **more: Any) -> dict[str, Tensor]:
    """Weights as torchvision would send them, drawn at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        return dict(torchvision.models.get_model(name, weights=None, **more).state_dict())


def test_all_but_the_head_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("resnet18")
    monkeypatch.setattr(ROOM, "fetch_weights", lambda name, url: state)
    architecture = catalog.make("resnet18(pretrained=True, stem='standard')", "models")
    model = architecture.build(Signature(5, 3, (64, 64)))
    own = model.net.state_dict()
    assert own["fc.weight"].shape == (5, 512)
    assert all(torch.equal(own[name], value) for name, value in state.items() if not name.startswith("fc."))
    before = model.normalise.mean.clone()
    assert before.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    architecture.prepare(model, torch.rand(4, 3, 64, 64))
    assert torch.equal(model.normalise.mean, before)


def test_thousand_classes_keep_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("squeezenet1_1")
    monkeypatch.setattr(ROOM, "fetch_weights", lambda name, url: state)
    model = catalog.make("squeezenet1_1(pretrained=True)", "models").build(Signature(1000, 3, (64, 64)))
    assert torch.equal(model.net.state_dict()["classifier.1.weight"], state["classifier.1.weight"])


def test_small_stem_keeps_the_middle_of_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("resnet18")
    monkeypatch.setattr(ROOM, "fetch_weights", lambda name, url: state)
    model = catalog.make("resnet18(pretrained=True)", "models").build(Signature(10, 1, (32, 32)))
    assert torch.equal(model.net.state_dict()["conv1.weight"], state["conv1.weight"][:, :, 2:5, 2:5])
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)


def test_inception_families_are_fed_what_their_weights_know(monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("googlenet", init_weights=False, transform_input=True)
    monkeypatch.setattr(ROOM, "fetch_weights", lambda name, url: state)
    model = catalog.make("googlenet(pretrained=True, stem='standard')", "models").build(Signature(1000, 3, (64, 64)))
    theirs = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True)
    theirs.load_state_dict(state)
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = theirs.eval()((images - mean[:, None, None]) / std[:, None, None])
    assert torch.allclose(model.eval()(images), expected, atol=1e-4)


def test_vit_positions_are_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        small = {"patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 32}
        donor = torchvision.models.VisionTransformer(224, **small)
        monkeypatch.setattr(ROOM, "fetch_weights", lambda name, url: dict(donor.state_dict()))
        own = torchvision.models.VisionTransformer
        monkeypatch.setattr(
            torchvision.models, "get_model", lambda name, **k: own(k["image_size"], num_classes=3, **small)
        )
        model = catalog.make("vit_b_16(pretrained=True)", "models").build(Signature(3, 3, (64, 64)))
    assert model.net.encoder.pos_embedding.shape == (1, 17, 32)
    assert torch.equal(model.net.conv_proj.weight, donor.conv_proj.weight)


def cut_off(*_: Any, **__: Any) -> NoReturn:
    raise urllib.error.URLError("no network")


def test_torchvision_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", cut_off)
    with pytest.raises(InputError) as caught:
        catalog.make("resnet18(pretrained=True)", "models").build(Signature(10, 3, (32, 32)))
    message = str(caught.value)
    assert "resnet18-f37072fd.pth" in message
    assert str(tmp_path / "checkpoints") in message
    assert "pretrained=True" in message
    assert catalog.make("resnet18()", "models").build(Signature(10, 3, (32, 32))) is not None  # goes without


def test_damaged_and_swapped_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    file.write_bytes(b"no weights")
    with pytest.raises(InputError, match="damaged"):
        ROOM.fetch_weights("resnet18", f"https://example.org/{file.name}")
    torch.save({"a": torch.zeros(1)}, file)
    assert not hashlib.sha256(file.read_bytes()).hexdigest().startswith("f37072fd")
    with pytest.raises(InputError, match="SHA-256"):
        ROOM.fetch_weights("resnet18", f"https://example.org/{file.name}")


def test_timm_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OTHER_ROOM, "urlopen", cut_off)
    monkeypatch.setattr(OTHER_ROOM, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(InputError) as caught:
        catalog.make("test_resnet(pretrained=True)", "models").build(Signature(10, 3, (32, 32)))
    assert "timm/test_resnet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ROOM, "fetch_weights", cut_off)
    monkeypatch.setattr(OTHER_ROOM, "_reach", cut_off)
    for spelled in ("resnet18()", "test_resnet()"):
        catalog.make(spelled, "models").build(Signature(2, 3, (32, 32)))
