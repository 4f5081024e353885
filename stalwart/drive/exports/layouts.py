"""Folders of labelled frames: COCO, CamVid's index masks, and KITTI. Whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stalwart.core.coco import run_lengths
from stalwart.core.errors import InputError
from stalwart.drive.exports import kitti
from stalwart.drive.footage import PER_CLIP, WORLDS, Footage, Shot
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.labels import SEMANTIC, THING_INDEX, THING_NAMES, class_map
from stalwart.store import atomic

Layout = Literal["coco", "camvid", "kitti"]
LAYOUTS = ("coco", "camvid", "kitti")
SIZES = {"coco": (480, 640), "camvid": (360, 480), "kitti": (kitti.CAMERA.height, kitti.CAMERA.width)}
"""Height and width of pictures where nothing else is said."""
COLOURS = np.array(
    [(70, 130, 180), (110, 150, 70), (100, 90, 105), (235, 235, 225), (200, 150, 190), (90, 90, 100), (153, 153, 153),
     (190, 140, 90), (190, 153, 153), (50, 110, 50), (30, 60, 200), (60, 100, 220), (20, 20, 110), (0, 80, 130),
     (20, 0, 230), (140, 20, 40), (220, 30, 70), (250, 170, 30), (220, 220, 0)], np.uint8,
)  # fmt: skip
"""A colour for each class of `labels.SEMANTIC`, near Cityscapes' where that has the class."""
_VAL = 5
"""One frame in so many goes to the validation split, at least one."""
MOST_FRAMES = 1_000_000


def split_counts(frames: int) -> dict[str, int]:
    """How many of all frames each split gets.

    Raises:
        InputError: fewer than 2 frames, or more than a million.
    """
    if not 2 <= frames <= MOST_FRAMES:
        raise InputError(f"frames must be 2 to {MOST_FRAMES:,}, one of them for validation. Got {frames!r}.")
    val = max(1, frames // _VAL)
    return {"train": frames - val, "val": val}


def export(layout: Layout, out: Path, frames: int, footage: Footage) -> Iterator[int]:
    """Write `frames` labelled frames, four fifths for training and the rest, of other maps, for validation.

    They are written to a folder beside `out`, which takes its name when all is there: a kill leaves no half of it.

    Yields:
        how many frames are written.

    Raises:
        InputError: an unknown layout, a number of frames out of range, a camera that does not suit the layout, or `out`
            holds something.
        StorageError: the disk is full, or the folder cannot be written to.
    """
    expect_choice("layout", layout, LAYOUTS)
    counts = split_counts(frames)
    if layout == "kitti" and (footage.lidar is None or footage.camera.yaw_deg or footage.lidar.yaw_deg):
        raise InputError("export: KITTI's layout needs a LiDAR, and it and the camera must look straight ahead.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} must be a new or empty folder. Got one that holds something, or a file.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise atomic.StorageError(f"{out} cannot be written: {error.strerror}.") from None
    try:
        yield from _WRITERS[layout](building, counts, footage)
        os.chmod(building, 0o755)
        if out.exists():
            out.rmdir()
        os.replace(building, out)
    except OSError as error:
        raise atomic.StorageError(f"{out} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _frames(footage: Footage, split: str, count: int) -> Iterator[tuple[int, Shot, int]]:
    """Number, shot and world of each frame of a split."""
    for clip in range(-(-count // PER_CLIP)):
        shots = footage.clip(split, clip)
        for k in range(min(PER_CLIP, count - clip * PER_CLIP)):
            yield clip * PER_CLIP + k, shots[k // WORLDS], k % WORLDS


def _picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")


# ---------------------------------------------------------------- COCO


def _coco(root: Path, counts: dict[str, int], footage: Footage) -> Iterator[int]:
    """What does not count (too small or hidden) is marked as a crowd, so that it is neither learned nor counted."""
    done = 0
    for split, count in counts.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, shot, world in _frames(footage, split, count):
            name = f"{number:06}.png"
            _picture(root / split / name, shot.frames.rgb[world].transpose(1, 2, 0))
            height, width = shot.frames.kind.shape[1:]
            images.append({"id": number + 1, "file_name": name, "height": height, "width": width})
            for thing in shot.things(world, footage.camera):
                left, top, right, bottom = thing.box_px
                mask = shot.frames.instance[world] == thing.instance
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number + 1,
                    "category_id": int(THING_INDEX[thing.kind]) + 1, "bbox": [left, top, right - left, bottom - top],
                    "area": thing.visible_px, "iscrowd": int(not thing.counts),
                    "segmentation": {"size": [height, width], "counts": run_lengths(mask[None])[0]},
                    "occlusion": round(thing.occlusion, 4), "truncation": round(thing.truncation, 4),
                    "distance_m": round(thing.distance_m, 2),
                })  # fmt: skip
            done += 1
            yield done
        held = {
            "info": {"description": "Frames of Stalwart's driving world"},
            "licenses": [{"id": 1, "name": "CC0"}],
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(THING_NAMES)],
            "images": images,
            "annotations": annotations,
        }
        atomic.write_json(root / "annotations" / f"instances_{split}.json", held)


# ---------------------------------------------------------------- CamVid


def _camvid(root: Path, counts: dict[str, int], footage: Footage) -> Iterator[int]:
    done = 0
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(COLOURS)] = COLOURS
    for split, count in counts.items():
        for number, shot, world in _frames(footage, split, count):
            _picture(root / split / f"{number:06}.png", shot.frames.rgb[world].transpose(1, 2, 0))
            masks = root / f"{split}annot"
            masks.mkdir(exist_ok=True)
            indices = Image.fromarray(class_map(shot.frames.kind[world])).convert("P")
            indices.putpalette(palette.tobytes())
            indices.save(masks / f"{number:06}.png", "PNG")
            done += 1
            yield done
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in SEMANTIC), encoding="utf-8")


# ---------------------------------------------------------------- KITTI


def _kitti(root: Path, counts: dict[str, int], footage: Footage) -> Iterator[int]:
    camera, lidar = footage.camera, footage.lidar
    assert lidar is not None
    training = root / "training"
    for name in ("image_2", "velodyne", "calib", "label_2", "instance_2"):
        (training / name).mkdir(parents=True)
    (root / "ImageSets").mkdir()
    text = kitti.calibration_text(camera, lidar)
    done = 0
    for split, count in counts.items():
        first = done
        for _, shot, world in _frames(footage, split, count):
            assert shot.scan is not None
            name = f"{done:06}"
            _picture(training / "image_2" / f"{name}.png", shot.frames.rgb[world].transpose(1, 2, 0))
            Image.fromarray(shot.frames.instance[world]).save(training / "instance_2" / f"{name}.png", "PNG")
            kitti.points(lidar, shot.scan, world)[0].astype("<f4").tofile(training / "velodyne" / f"{name}.bin")
            (training / "calib" / f"{name}.txt").write_text(text)
            (training / "label_2" / f"{name}.txt").write_text(kitti.label_text(shot.things(world, camera), camera))
            done += 1
            yield done
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{k:06}\n" for k in range(first, done)))


_WRITERS = {"coco": _coco, "camvid": _camvid, "kitti": _kitti}
