"""Boxes, masks and maps of `predict` lie in the pixels of the file that the user gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stalwart.core import catalog, places
from stalwart.core.contracts import Objects, Signature
from stalwart.core.errors import InputError
from stalwart.core.finding import Detections
from stalwart.core.objects import iou
from stalwart.feed import rle
from stalwart.feed.decode import fit
from stalwart.run.predict import predict
from stalwart.store import checkpoint

SIZE = (32, 48)
sides = st.integers(20, 150)


def back_to(own: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    return places.invert(places.fitted(own, size, whole=True)[None])[0]


@given(own=st.tuples(sides, sides), size=st.tuples(sides, sides), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_there_and_back(own: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    """What lies in a file, brought to the model's size and found there exactly, comes back to where it lies."""
    task: Any = catalog.make("instance()", "tasks")
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, [[own[1] - 9, own[0] - 9]] * 3)  # (3, 2) left and top
    sides = rng.integers(9, 60, (3, 2))
    boxes = torch.from_numpy(np.concatenate([corners, np.minimum(corners + sides, [own[1], own[0]])], 1)).float()
    masks = torch.zeros(3, *own, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    seen = task.place(Objects(boxes, torch.tensor([0, 1, 2]), masks), places.fitted(own, size, whole=True), size)
    kept = torch.zeros(3, dtype=torch.bool)
    kept[seen.labels] = True  # what has become smaller than a pixel is gone
    found = Detections(seen.boxes, seen.labels, torch.full((len(seen),), 0.9), seen.masks)
    (there,) = task.restore([found], 0, back_to(own, size), own)
    torch.testing.assert_close(there.boxes, boxes[kept], rtol=0, atol=2e-3)
    assert there.masks.shape == (int(kept.sum()), *own)
    pixel = max(1.0, max(own[0] / size[0], own[1] / size[1]))  # of the model, in the file's pixels
    for mask, box in zip(there.masks, there.boxes, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert float((around - box).abs().max()) <= pixel + 1


@given(own=st.tuples(sides, sides), size=st.tuples(sides, sides))
@settings(max_examples=30, deadline=None)
def test_a_map_comes_back_whole(own: tuple[int, int], size: tuple[int, int]) -> None:
    """No border of the model's image is seen in the file's, and each pixel has the class that was there."""
    task: Any = catalog.make("semantic()", "tasks")
    rows, columns = torch.meshgrid(
        torch.arange(own[0]) * 4 // own[0], torch.arange(own[1]) * 4 // own[1], indexing="ij"
    )
    mask = (rows * 4 + columns).to(torch.uint8)  # 16 fields
    seen = task.place(mask, places.fitted(own, size, whole=True), size)
    there = task.restore(seen[None], 0, back_to(own, size), own)[0]
    assert there.shape == own
    assert int(there.max()) < 16
    pixel = max(1.0, max(own[0] / size[0], own[1] / size[1]))
    wrong = there != mask
    near = torch.zeros_like(wrong)  # a model's pixel away from the edges of the fields
    for line in range(1, 4):
        near |= ((torch.arange(own[0]) + 0.5 - line * own[0] / 4).abs() <= pixel + 1)[:, None]
        near |= ((torch.arange(own[1]) + 0.5 - line * own[1] / 4).abs() <= pixel + 1)[None]
    assert not bool((wrong & ~near).any())


def saved(folder: Path, task: str, spelled: str) -> Path:
    """A checkpoint of a model with drawn weights, sure enough of its scores that no two of them nearly tie."""
    torch.manual_seed(3)
    model = catalog.make("dense(width=4, neck=8, depth=1)", "models").build(Signature(3, 3, SIZE, task))
    if task == "instance":
        with torch.no_grad():
            model.get_parameter("head.centres.out.weight")[:3] *= 3000
    card = {
        "task": spelled,
        "model": "dense(width=4, neck=8, depth=1)",
        "data": "shapes()",
        "objective": "clean()",
        "classes": ["disc", "square", "triangle"],
        "signature": {"classes": 3, "channels": 3, "size": list(SIZE), "task": task},
    }
    checkpoint.save(folder / "best", model, card)
    return folder


@pytest.fixture
def street(tmp_path: Path) -> dict[str, Path]:
    """A wide, a high and a turned picture; two of one name."""
    rng = np.random.default_rng(0)
    files = {}
    for name, (height, width) in {"wide.png": (40, 120), "high.png": (130, 50), "inner/wide.png": (33, 47)}.items():
        files[name] = tmp_path / "street" / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(files[name])
    turned = Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    files["turned.jpg"] = tmp_path / "street" / "turned.jpg"
    turned.save(files["turned.jpg"], exif=exif)
    return files


def test_boxes_and_masks_of_a_run(tmp_path: Path, street: dict[str, Path]) -> None:
    run, folder = saved(tmp_path / "run", "instance", "instance(threshold=0.0, most=5)"), tmp_path / "drawn"
    events = list(predict(run, list(street.values()), draw=folder, batch=3))
    found = {e.values["file"]: json.loads(json.dumps(dict(e.values))) for e in events if e.kind == "prediction"}
    task: Any = catalog.make("instance(threshold=0.0, most=5)", "tasks")
    model = checkpoint.load(run / "best")
    for name, file in street.items():
        with Image.open(file) as opened:
            width, height = opened.size
        if name == "turned.jpg":
            width, height = height, width
        said = found[str(file)]
        assert said["size"] == [height, width]
        # By hand: what the model says at its own size, scaled by the longer side and moved by half the border.
        scale = max(height / SIZE[0], width / SIZE[1])
        new_h, new_w = round(height / scale), round(width / scale)
        above, beside = (SIZE[0] - new_h) // 2, (SIZE[1] - new_w) // 2
        with Image.open(file) as opened:
            upright = opened.transpose(Image.Transpose.ROTATE_270) if name == "turned.jpg" else opened
            pixels = torch.from_numpy(np.array(upright)).permute(2, 0, 1)
        (own,) = task.predict(model.eval(), fit(pixels, SIZE, 3, whole=True)[None].float() / 255)
        expected = []
        for left, top, right, bottom in own.boxes.tolist():
            box = [(left - beside) * width / new_w, (top - above) * height / new_h,
                   (right - beside) * width / new_w, (bottom - above) * height / new_h]  # fmt: skip
            cut = [min(max(v, 0), (width, height)[i % 2]) for i, v in enumerate(box)]
            if cut[2] > cut[0] and cut[3] > cut[1]:
                expected.append(cut)
        assert expected
        boxes = torch.tensor([row["box"] for row in said["objects"]])
        torch.testing.assert_close(boxes, torch.tensor(expected), rtol=0, atol=0.06)
        for row in said["objects"]:
            mask = rle.read(row["mask"], (height, width), "here")
            assert int(mask.sum()) == row["pixels"]
        with Image.open(said["drawing"]) as picture:
            assert picture.size == (width, height)
            assert (np.array(picture) != pixels.permute(1, 2, 0).numpy()).any()
    assert sorted(path.name for path in folder.iterdir()) == ["high.png", "turned.png", "wide-2.png", "wide.png"]


def test_a_map_of_a_run(tmp_path: Path, street: dict[str, Path]) -> None:
    run = saved(tmp_path / "run", "semantic", "semantic()")
    (event,) = [e for e in predict(run, [street["wide.png"]]) if e.kind == "prediction"]
    masks = {name: rle.read(mask, (40, 120), name) for name, mask in event.values["masks"].items()}
    assert np.array_equal(sum(mask.astype(int) for mask in masks.values()), np.ones((40, 120)))
    for name, mask in masks.items():
        assert event.values["shares"][name] == pytest.approx(mask.mean(), abs=1e-6)


def test_detections_are_drawn_where_they_are(tmp_path: Path) -> None:
    from stalwart.pages.overlays import drawn

    image = torch.full((3, 300, 400), 128, dtype=torch.uint8)
    found = Detections(torch.tensor([[100.0, 120, 200, 240]]), torch.tensor([1]), torch.tensor([0.87]))
    changed = (drawn(image, found, ("a", "b"), 400) != image).any(0)
    assert changed.shape == (300, 400)
    inside = changed.clone()
    inside[100:241, 99:201] = False  # the box and the name above it
    assert not bool(inside.any())
    assert bool(changed[180, 100])
    assert bool(changed[239, 150])
    assert not bool(changed[180, 150])
    assert float(iou(found.boxes[None], torch.tensor([[[100.0, 120, 200, 240]]]))) == 1


def test_a_class_has_no_place_to_draw(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = catalog.make("convnet(width=3, stages=1)", "models").build(Signature(3, 3, (8, 8)))
    card = {
        "task": "classification()", "model": "convnet(width=3, stages=1)", "data": "digits()", "objective": "clean()",
        "classes": ["a", "b", "c"], "signature": {"classes": 3, "channels": 3, "size": [8, 8]},
    }  # fmt: skip
    checkpoint.save(tmp_path / "best", model, card)
    with pytest.raises(InputError, match="draw"):
        list(predict(tmp_path, ["a.png"], draw=tmp_path / "drawn"))
    assert not (tmp_path / "drawn").exists()
