"""Data made up in the layouts of the sources."""

import json
import pickle
from pathlib import Path

import numpy as np
import pycocotools.coco
import pycocotools.mask
from PIL import Image

from stalwart.core import catalog

SIZE = (20, 30)
"""(height, width) of the pictures of dense sources."""


def make(spelled: str):
    return catalog.make(spelled, "data")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def make_masks(root: Path) -> None:
    """CamVid's layout: images, and index masks of the same names beside them; 255 is void."""
    for split in ("train", "val"):
        (root / f"{split}annot").mkdir(parents=True)
        for number in range(3):
            picture(root / split / f"{number}.png", number, (10, 12))
            indices = np.arange(120, dtype=np.uint8).reshape(10, 12) % 3
            indices[0, 0] = 255
            Image.fromarray(indices).save(root / f"{split}annot" / f"{number}.png")


def coco_held() -> dict:
    """One file in COCO's layout: polygons, runs, a crowd, and ids with gaps."""
    crowd = np.zeros(SIZE, dtype=np.uint8)
    crowd[10:, 5:25] = 1
    runs = pycocotools.mask.encode(np.asfortranarray(crowd))["counts"].decode()
    triangle = [2.0, 2.0, 12.0, 3.5, 6.0, 14.0]
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30},
                   {"id": 3, "file_name": "deep/b.png", "height": 20, "width": 30}],
        "categories": [{"id": 90, "name": "zebra"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [2, 2, 10, 12], "iscrowd": 0,
             "segmentation": [triangle]},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [5, 10, 20, 10], "iscrowd": 1,
             "segmentation": {"size": [20, 30], "counts": runs}},
            {"id": 3, "image_id": 7, "category_id": 17, "bbox": [0, 0, 1, 2], "iscrowd": 0,
             "segmentation": {"size": [20, 30], "counts": [0, 2, 598]}},
        ],
    }  # fmt: skip


def make_coco(root: Path, held: dict | None = None) -> None:
    for split in ("train2017", "val2017"):
        picture(root / split / "a.png", 1, SIZE)
        picture(root / split / "deep" / "b.png", 2, SIZE)
        place = root / "annotations" / f"instances_{split}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(coco_held() if held is None else held))


def xml_of(objects: str, size: tuple[int, int] = SIZE) -> str:
    return (
        f"<?xml version='1.0'?><annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>"
        f"{objects}</annotation>"
    )


def xml_object(name: str, box: tuple, difficult: int = 0) -> str:
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


def make_voc(root: Path, objects: str | None = None) -> None:
    for number in range(4):
        picture(root / "JPEGImages" / f"{number}.png", number, SIZE)
        place = root / "Annotations" / f"{number}.xml"
        place.parent.mkdir(exist_ok=True)
        own = xml_object("wolf", (1, 1, 30, 20)) + xml_object("bear", (3, 4, 9, 9), number % 2)
        place.write_text(xml_of(own if objects is None else objects))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", "0\n1 -1\n"), ("val", "2\n"), ("test", "3\n")):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)


def make_yolo(root: Path, lines: str = "1 0.5 0.5 0.4 0.2\n0 0.1 0.1 0.9 0.1 0.5 0.9\n") -> None:
    for split in ("train", "val"):
        for number in range(2):
            picture(root / "images" / split / f"{number}.png", number, SIZE)
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / "0.txt").write_text(lines)
    (root / "data.yaml").write_text("path: ../datasets/x\ntrain: images/train\nval: images/val\nnc: 2\n"
                                    "names:\n  0: no\n  1: yes\n")  # fmt: skip


def make_instances(root: Path) -> None:
    values = np.zeros(SIZE, dtype=np.uint16)
    values[2:6, 3:9], values[10:, 20:] = 7, 300
    for number in range(3):
        picture(root / "PNGImages" / f"P{number}.png", number, SIZE)
        (root / "PedMasks").mkdir(exist_ok=True)
        Image.fromarray(values).save(root / "PedMasks" / f"P{number}_mask.png")


def make_davis(root: Path) -> None:
    values = np.zeros(SIZE, dtype=np.uint8)
    values[2:6, 3:9], values[10:, 20:] = 1, 2
    mask = Image.fromarray(values).convert("P")
    for sequence in ("bear", "boat"):
        for number in range(2):
            picture(root / "JPEGImages" / "480p" / sequence / f"{number:05}.jpg", number, SIZE)
            (root / "Annotations" / "480p" / sequence).mkdir(parents=True, exist_ok=True)
            mask.putdata(values.flatten().tolist())
            mask.save(root / "Annotations" / "480p" / sequence / f"{number:05}.png")
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "train.txt").write_text("bear\n")
    (root / "ImageSets" / "2017" / "val.txt").write_text("boat\n")


def make_folder(root: Path) -> None:
    for part in ("train", "test"):
        for number in range(6):
            picture(root / part / ("cat", "dog")[number % 2] / f"{number}.png", number)


def make_cifar(root: Path, n: int = 20) -> None:
    rng = np.random.default_rng(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        place = root / "cifar-10-batches-py" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        held = {
            b"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
            b"labels": [int(i) for i in rng.integers(0, 10, n)],
            b"batch_label": name.encode(),
        }
        place.write_bytes(pickle.dumps(held, 2))


def make_medmnist(path: Path, colour: bool = False, **changes) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 12), ("val", 4), ("test", 6)):
        shape = (n, 28, 28, 3) if colour else (n, 28, 28)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 2)[:, None].astype(np.uint8)
    np.savez_compressed(path, **(arrays | changes))


def make_tiny(root: Path) -> None:
    wnids = ["n02", "n01", "n03"]
    for place, wnid in enumerate(wnids):
        for number in range(3):
            picture(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", place * 3 + number, (64, 64))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("x")
        picture(root / "val" / "images" / f"val_{place}.JPEG", 50 + place, (64, 64))
    lines = [f"val_{place}.JPEG\t{wnid}\t0\t0\t62\t62" for place, wnid in enumerate(wnids)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tcrane\nn03\tcrane\nn99\twhale\n")


def same_as_pycocotools(examples, listed: Path) -> None:
    """Every mask, box and class as pycocotools has it."""
    oracle = pycocotools.coco.COCO(str(listed))
    ids = sorted(oracle.getCatIds())
    for index, key in enumerate(oracle.dataset["images"]):
        sample = examples[index]
        assert sample.name.endswith(key["file_name"])
        records = oracle.loadAnns(oracle.getAnnIds(key["id"]))
        by_place = {id(record): place for place, record in enumerate(oracle.dataset["annotations"])}
        records.sort(key=lambda record: by_place[id(record)])
        assert sample.target.labels.tolist() == [ids.index(record["category_id"]) for record in records]
        assert sample.target.crowd.tolist() == [bool(record["iscrowd"]) for record in records]
        for mask, box, record in zip(sample.target.masks, sample.target.boxes, records, strict=True):
            assert np.array_equal(mask.numpy(), oracle.annToMask(record).astype(bool))
            left, top, wide, high = record["bbox"]
            np.testing.assert_allclose(box.numpy(), [left, top, left + wide, top + high], atol=1.0)
