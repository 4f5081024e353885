"""Exports, read back by readers that know nothing of ours."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pycocotools.coco
import pytest
import torch
from PIL import Image

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.drive.exports import kitti
from stalwart.drive.exports.layouts import COLOURS, export, split_counts
from stalwart.drive.footage import WORLDS, Footage, Shot
from stalwart.drive.labels import SEMANTIC, THING_NAMES, class_map
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar

CAMERA = Camera(height=94, width=312, fov_deg=81.4, x_m=0.6, z_m=1.65)
LIDAR = Lidar(channels=32, azimuths=720, lowest_deg=-20, highest_deg=2, z_m=1.73)
FOOTAGE = Footage(CAMERA, LIDAR, families=("crossroads",), styles=("sun", "rain"))
FRAMES = 10


@cache
def clips() -> dict[str, list[Shot]]:
    return {split: FOOTAGE.clip(split, 0) for split in ("train", "val")}


@pytest.fixture(autouse=True)
def _filmed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = clips()
    monkeypatch.setattr(Footage, "clip", lambda self, split, number: found[split])


def test_kitti_boxes_and_points_agree_with_an_independent_reader(tmp_path: Path) -> None:
    out = tmp_path / "kitti"
    assert list(export("kitti", out, FRAMES, FOOTAGE)) == list(range(1, FRAMES + 1))
    lists = {split: (out / "ImageSets" / f"{split}.txt").read_text().split() for split in ("train", "val")}
    assert [len(names) for names in lists.values()] == [8, 2]
    boxes, whole, hits, points, missed = 0, 0, 0, 0, 0
    for split, names in lists.items():
        for number, name in enumerate(names):
            calib = {}
            for line in (out / "training/calib" / f"{name}.txt").read_text().splitlines():
                key, _, rest = line.partition(":")
                calib[key] = np.array(rest.split(), float)
            p2, r0, tr = calib["P2"].reshape(3, 4), np.eye(4), np.eye(4)
            r0[:3, :3] = calib["R0_rect"].reshape(3, 3)
            tr[:3] = calib["Tr_velo_to_cam"].reshape(3, 4)
            picture = np.asarray(Image.open(out / "training/image_2" / f"{name}.png"))
            assert picture.shape == (94, 312, 3)
            instance = np.asarray(Image.open(out / "training/instance_2" / f"{name}.png"))
            for line in (out / "training/label_2" / f"{name}.txt").read_text().splitlines():
                kind, *rest = line.split()
                values = [float(value) for value in rest]
                assert len(values) == 14
                if kind == "DontCare":
                    continue
                height, width, length = values[7:10]
                turn, place = values[13], np.array(values[10:13])
                # The development kit's computeBox3D.
                rotate = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
                x = np.array([1, 1, -1, -1, 1, 1, -1, -1]) * length / 2
                y = np.array([0, 0, 0, 0, -1, -1, -1, -1]) * height
                z = np.array([1, -1, -1, 1, 1, -1, -1, 1]) * width / 2
                corners = rotate @ np.stack([x, y, z]) + place[:, None]
                if corners[2].min() < 0.3:
                    continue
                # Points along all twelve edges that lie in the picture: of a box that is cut off its border too.
                pairs = [(i, j) for i in range(8) for j in range(i)]
                edges = [(i, j) for i, j in pairs if sum(a[i] != a[j] for a in (x, y, z)) == 1]
                assert len(edges) == 12
                share = np.linspace(0, 1, 800)
                dense = np.concatenate(
                    [corners[:, [i]] * share + corners[:, [j]] * (1 - share) for i, j in edges], axis=1
                )
                seen = p2 @ r0 @ np.concatenate([dense, np.ones((1, dense.shape[1]))])
                seen = seen[:2] / seen[2]
                within = (np.abs(seen[0] - 155.5) <= 156.001) & (np.abs(seen[1] - 46.5) <= 47.001)
                seen, cut = seen[:, within], not within.all()
                atol = 0.7 if cut else 0.06
                np.testing.assert_allclose(values[3:7], [*seen.min(1), *seen.max(1)], atol=atol)
                assert values[2] == pytest.approx(
                    (turn - np.arctan2(place[0], place[2]) + np.pi) % (2 * np.pi) - np.pi, abs=1e-3
                )
                boxes, whole = boxes + 1, whole + (not cut)
            cloud = np.fromfile(out / "training/velodyne" / f"{name}.bin", np.float32).reshape(-1, 4)
            assert cloud[:, 3].min() >= 0
            assert cloud[:, 3].max() <= 1
            shot, world = clips()[split][number // WORLDS], number % WORLDS
            mine, whose = kitti.points(LIDAR, shot.scan, world)
            np.testing.assert_array_equal(cloud, mine)
            seen = p2 @ r0 @ tr @ np.concatenate([cloud[:, :3].T, np.ones((1, len(cloud)))])
            with np.errstate(divide="ignore", invalid="ignore"):
                column, row = np.round(seen[:2] / seen[2])
            inside = (seen[2] > 0.5) & (column >= 2) & (column < 310) & (row >= 2) & (row < 92)
            c, r = column[inside].astype(int), row[inside].astype(int)
            around = np.stack([instance[r + dr, c + dc] for dr in range(-2, 3) for dc in range(-2, 3)])
            clear = (around == around[0]).all(0) & ((around[12] > 0) | (whose[inside] > 0))
            same = around[12] == whose[inside]
            # The LiDAR is mounted 0.6 m behind and 8 cm above the camera, and hears some that is hidden from that.
            hidden = seen[2, inside] > shot.frames.depth_m[world][r, c] + 0.5
            hits, points = hits + int((same & ~hidden)[clear].sum()), points + int((~hidden)[clear].sum())
            missed += int((hidden & clear).sum())
    assert boxes > 15
    assert whole > 10
    assert points > 1000
    assert hits / points >= 0.99
    assert missed / points < 0.02


def test_coco_is_read_by_our_source_and_by_pycocotools(tmp_path: Path) -> None:
    out = tmp_path / "coco"
    list(export("coco", out, FRAMES, FOOTAGE))
    ours = catalog.make(f"coco({str(out)!r})", "data").open("train")
    theirs = pycocotools.coco.COCO(str(out / "annotations/instances_train.json"))
    assert ours.info.classes == THING_NAMES
    assert len(ours) == len(theirs.getImgIds()) == 8
    counted = 0
    for number in range(8):
        image, target = ours[number].image, ours[number].target
        shot, world = clips()["train"][number // WORLDS], number % WORLDS
        assert torch.equal(image, torch.from_numpy(shot.frames.rgb[world]))
        things = shot.things(world, CAMERA)
        records = theirs.loadAnns(theirs.getAnnIds([number + 1]))
        assert len(target) == len(records) == len(things)
        for k, (thing, record) in enumerate(zip(things, records, strict=True)):
            mask = shot.frames.instance[world] == thing.instance
            np.testing.assert_array_equal(target.masks[k].numpy(), mask)
            np.testing.assert_array_equal(theirs.annToMask(record).astype(bool), mask)
            assert tuple(target.boxes[k].tolist()) == thing.box_px
            assert bool(target.crowd[k]) != thing.counts
            counted += thing.counts
    assert counted > 15


def test_camvid_is_read_by_our_source(tmp_path: Path) -> None:
    out = tmp_path / "camvid"
    list(export("camvid", out, FRAMES, FOOTAGE))
    for split, count in (("train", 8), ("val", 2)):
        examples = catalog.make(f"masks({str(out)!r})", "data").open(split)
        assert examples.info.classes == SEMANTIC
        assert len(examples) == count
        for number in range(count):
            shot, world = clips()[split][number // WORLDS], number % WORLDS
            np.testing.assert_array_equal(examples[number].target.numpy(), class_map(shot.frames.kind[world]))
    mask = Image.open(out / "trainannot" / "000000.png")
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), COLOURS[np.asarray(mask)])
    assert len({tuple(colour) for colour in COLOURS.tolist()}) == len(COLOURS) == len(SEMANTIC)


def test_an_export_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "half"
    writing = export("coco", out, FRAMES, FOOTAGE)
    next(writing)
    assert len(list(tmp_path.iterdir())) == 1
    writing.close()
    assert not list(tmp_path.iterdir())
    out.mkdir()
    (out / "mine.txt").write_text("x")
    for layout, frames, message in (
        ("coco", FRAMES, "must be a new or empty folder"),
        ("voc", FRAMES, "layout must be one of coco, camvid, kitti"),
        ("coco", 1, "frames must be 2 to"),
    ):
        with pytest.raises(InputError, match=message):
            list(export(layout, out, frames, FOOTAGE))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a LiDAR"):
        list(export("kitti", tmp_path / "k", FRAMES, Footage(CAMERA)))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert split_counts(2) == {"train": 1, "val": 1}
