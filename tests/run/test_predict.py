"""Prediction on files: what comes for each, folders, sizes and modes, and files that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import CheckpointError, DataError, InputError
from stalwart.run.predict import predict
from stalwart.store import checkpoint

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose model names the strongest channel."""
    folder = tmp_path_factory.mktemp("run")
    model = catalog.make("convnet(width=3, stages=1)", "models").build(Signature(3, 3, (8, 8)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                for channel in range(3):
                    module.weight[channel, channel, 1, 1] = 1.0
            elif isinstance(module, nn.Linear):
                module.weight.copy_(5 * torch.eye(3))
                module.bias.zero_()
    card = {
        "task": "classification()",
        "model": "convnet(width=3, stages=1)",
        "data": "folder('colours')",
        "objective": "clean()",
        "classes": list(COLOURS),
        "signature": {"classes": 3, "channels": 3, "size": [8, 8]},
    }
    checkpoint.save(folder / "best", model, card)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Files of several kinds, shapes and depths of folder, each named after its colour."""
    folder = tmp_path / "pictures"
    (folder / "inner" / "deeper").mkdir(parents=True)
    places = {"b_red.png": (8, 8), "a_green.jpg": (60, 40), "inner/blue.bmp": (5, 9), "inner/deeper/red.webp": (8, 30)}
    for name, (height, width) in places.items():
        colour = COLOURS[next(c for c in COLOURS if c in name)]
        pixels = np.broadcast_to(np.array(colour, np.uint8), (height, width, 3))
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name)
    Image.new("RGBA", (8, 8), (0, 0, 255, 255)).save(folder / "blue.png")
    Image.new("P", (8, 8)).save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def predictions(events: Iterator[Event]) -> dict[str, dict[str, Any]]:
    return {e.values["file"]: dict(e.values) for e in events if e.kind == "prediction"}


def test_each_file_is_named_with_its_class(run: Path, pictures: Path) -> None:
    found = predictions(predict(run, [pictures]))
    assert len(found) == 5
    assert list(found) == sorted(found)
    for file, values in found.items():
        assert values["class"] in Path(file).name
        assert values["confidence"] > 0.9
        assert values["top"][0] == [values["class"], values["confidence"]]
        json.dumps(values)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_batch_size_changes_nothing(run: Path, pictures: Path, batch: int) -> None:
    whole, split = predictions(predict(run, [pictures])), predictions(predict(run, [pictures], batch=batch))
    assert list(split) == list(whole)
    assert all(split[f]["confidence"] == pytest.approx(whole[f]["confidence"], abs=1e-5) for f in whole)


def test_events_in_their_order(run: Path, pictures: Path) -> None:
    events = list(predict(run, [pictures], batch=2))
    assert events[0].kind == "start"
    assert events[0].values["total"] == 5
    progress = [e.values["done"] for e in events if e.kind == "progress"]
    assert progress == [2, 4, 5]
    assert events[-1].kind == "result"
    assert events[-1].values["n"] == 5
    assert events[-1].values["skipped"] == 0


def test_files_folders_and_a_checkpoint_folder(run: Path, pictures: Path) -> None:
    one = pictures / "b_red.png"
    found = predictions(predict(run / "best", [str(one), pictures / "inner", one]))
    assert [Path(f).name for f in found] == ["b_red.png", "blue.bmp", "red.webp"]


def test_a_bad_file_is_named(run: Path, pictures: Path) -> None:
    (pictures / "c_broken.png").write_bytes((pictures / "b_red.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"c_broken\.png"):
        list(predict(run, [pictures]))
    events = list(predict(run, [pictures, "missing.png"], skip_bad=True))
    warnings = [e.values["message"] for e in events if e.kind == "warning"]
    assert len(warnings) == 2
    assert "c_broken.png" in warnings[0]
    assert "missing.png" in warnings[1]
    assert len([e for e in events if e.kind == "prediction"]) == 5
    assert events[-1].values["skipped"] == 2


def test_nothing_to_predict_is_an_error(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        list(predict(run, [tmp_path / "empty"]))
    with pytest.raises(DataError, match=r"gone\.png"):
        list(predict(run, ["gone.png"]))
    with pytest.raises(DataError, match="none among 1"):
        list(predict(run, ["gone.png"], skip_bad=True))
    for inputs, said in (([], "at least one"), ("picture.png", "must be a list")):
        with pytest.raises(InputError, match=said):
            list(predict(run, inputs))
    with pytest.raises(InputError, match="batch"):
        list(predict(run, ["gone.png"], batch=0))


def test_a_run_without_checkpoint_is_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(CheckpointError, match="best"):
        list(predict(tmp_path / "run", [pictures]))
