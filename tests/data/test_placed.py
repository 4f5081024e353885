"""Sources of images with boxes, masks or maps: what they read, and how that comes into batches."""

import json
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import torch
from layouts import (
    SIZE,
    coco_held,
    make,
    make_coco,
    make_davis,
    make_instances,
    make_voc,
    make_yolo,
    picture,
    same_as_pycocotools,
    xml_object,
)
from PIL import Image

from stalwart.core import catalog
from stalwart.core.errors import DataError
from stalwart.feed.batches import Batches
from stalwart.feed.decode import decode
from stalwart.feed.split import open_splits


def test_coco_is_what_pycocotools_reads(tmp_path):
    make_coco(tmp_path)
    train = make(f"coco({str(tmp_path)!r})").open("train")
    assert train.info.classes == ("person", "cat", "zebra")
    same_as_pycocotools(train, tmp_path / "annotations" / "instances_train2017.json")
    assert len(train[1].target) == 0
    boxes_alone = make(f"coco({str(tmp_path)!r}, masks=False)").open("train")[0].target
    assert boxes_alone.masks is None
    assert torch.equal(boxes_alone.boxes, train[0].target.boxes)


def test_coco_lies_in_other_layouts_too(tmp_path):
    picture(tmp_path / "a" / "images" / "train" / "a.png", 1, SIZE)
    picture(tmp_path / "a" / "images" / "train" / "deep" / "b.png", 1, SIZE)
    (tmp_path / "a" / "annotations").mkdir()
    (tmp_path / "a" / "annotations" / "train.json").write_text(json.dumps(coco_held()))
    picture(tmp_path / "b" / "train" / "a.png", 1, SIZE)
    (tmp_path / "b" / "train" / "_annotations.coco.json").write_text(json.dumps(coco_held()))
    assert len(make(f"coco({str(tmp_path / 'a')!r})").open("train")[0].target) == 3
    half = make(f"coco({str(tmp_path / 'b')!r})").open("train")
    assert len(half[0].target) == 3
    with pytest.raises(DataError, match=r"_annotations\.coco\.json: expected its image 'deep/b\.png'.* Got none"):
        half[1]


def test_odd_labels_are_mended_or_left_out_and_told_of(tmp_path):
    held = coco_held()
    plain = {"image_id": 3, "category_id": 1, "iscrowd": 0}
    held["annotations"] = [
        plain | {"bbox": [20, 5, 20, 5], "segmentation": [[20, 5, 29, 5, 29, 9]]},
        plain | {"bbox": [4, 4, 0, 3], "segmentation": [[4, 4, 9, 4, 9, 9]]},
        plain | {"bbox": [4, 4, 5, 5], "segmentation": []},
        plain | {"bbox": [40, 4, 5, 5], "segmentation": [[4, 4, 9, 4, 9, 9]]},
        plain | {"bbox": [4, 4, 5, 5], "segmentation": [[4, 4, 9, 4, 9, 9]], "category_id": 2},
        plain | {"bbox": [4, 4, 5, float("nan")], "segmentation": [[4, 4, 9, 4, 9, 9]]},
        plain | {"bbox": [4.0, 4.0, 5.0, 5.0], "segmentation": [[4, 4, 9, 4, 9, 9]]},
    ]
    make_coco(tmp_path, held)
    train = make(f"coco({str(tmp_path)!r})").open("train")
    sample, troubles = train.inspect(1)
    assert [(t.kind, t.fatal, t.message.split(": ")[1]) for t in troubles] == [
        ("box outside", False, "annotations[0]"),
        ("box of no area", False, "annotations[1]"),
        ("empty mask", False, "annotations[2]"),
        ("box outside", False, "annotations[3]"),
        ("unknown class", True, "annotations[4]"),
        ("damaged label", True, "annotations[5]"),
    ]
    assert sample.target.boxes.tolist() == [[20, 5, 30, 10], [4, 4, 9, 9]]
    with pytest.raises(DataError, match=r"annotations\[4\]: expected one of the classes\. Got category_id 2"):
        train[1]


def test_voc_boxes_are_one_based_with_both_ends_within(tmp_path):
    make_voc(tmp_path)
    source = make(f"voc({str(tmp_path)!r})")
    train = source.open("train")
    assert (source.splits(), train.info.classes, len(train)) == (("train", "val", "test"), ("bear", "wolf"), 2)
    target = train[1].target
    assert target.boxes.tolist() == [[0, 0, 30, 20], [2, 3, 9, 9]]
    assert (target.labels.tolist(), target.crowd.tolist(), target.masks) == ([1, 0], [False, True], None)
    with pytest.raises(DataError, match=r"0\.xml: object 2: expected one of the classes\. Got 'bear'"):
        make(f"voc({str(tmp_path)!r}, classes=('wolf', 'fox'))").open("train")[0]


def test_voc_knows_its_own_classes_and_needs_no_lists(tmp_path):
    make_voc(tmp_path, xml_object("cat", (1, 1, 5, 5)))
    for file in (tmp_path / "ImageSets" / "Main").iterdir():
        file.unlink()
    source = make(f"voc({str(tmp_path)!r})")
    assert (source.splits(), len(source.open("train"))) == (("train",), 4)
    assert source.open("train").info.classes[7] == "cat"
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("0\n../../etc/passwd\n")
    with pytest.raises(DataError, match=r"trainval\.txt, line 2: expected the name of an image"):
        source.splits()


def test_yolo_lines_are_boxes_and_polygons(tmp_path):
    make_yolo(tmp_path)
    train = make(f"yolo({str(tmp_path)!r})").open("train")
    assert train.info.classes == ("no", "yes")
    target = train[0].target
    np.testing.assert_allclose(target.boxes.numpy(), [[9, 8, 21, 12], [3, 2, 27, 18]], atol=1e-4)
    assert (target.labels.tolist(), target.masks, len(train[1].target)) == ([1, 0], None, 0)
    (tmp_path / "labels" / "train" / "0.txt").write_text("0 0.1 0.1 0.9 0.1 0.5 0.9\n")
    corners = [3.0, 2.0, 27.0, 2.0, 15.0, 18.0]
    want = pycocotools.mask.decode(pycocotools.mask.frPyObjects([corners], *SIZE))[..., 0].astype(bool)
    assert np.array_equal(train[0].target.masks[0].numpy(), want)


def test_yolo_in_its_other_layouts(tmp_path):
    make_yolo(tmp_path / "a")
    rest = "names: [a, b]\ntrain: /home/me/sets/a/images/train\nval: ../images/val\n"
    (tmp_path / "a" / "data.yaml").write_text(rest)
    assert make(f"yolo({str(tmp_path / 'a')!r})").open("val").info.classes == ("a", "b")
    for split in ("train", "valid"):
        picture(tmp_path / "b" / split / "images" / "x.png", 1, SIZE)
        (tmp_path / "b" / split / "labels").mkdir()
        (tmp_path / "b" / split / "labels" / "x.txt").write_text("2 0.5 0.5 1 1\n")
    source = make(f"yolo({str(tmp_path / 'b')!r})")
    assert (source.splits(), source.open("val").info.classes) == (("train", "val"), ("class_0", "class_1", "class_2"))
    assert source.open("val")[0].target.boxes.tolist() == [[0, 0, 30, 20]]


def test_instances_by_value_and_by_folder(tmp_path):
    make_instances(tmp_path / "a")
    target = make(f"instances({str(tmp_path / 'a')!r}, label='pedestrian')").open("train")[1].target
    assert target.boxes.tolist() == [[3, 2, 9, 6], [20, 10, 30, 20]]
    assert (target.labels.tolist(), target.masks.flatten(1).sum(1).tolist()) == ([0, 0], [24, 100])
    for kind, number in (("cat", 0), ("dog", 0), ("dog", 1)):
        picture(tmp_path / "b" / "images" / "train" / f"{number}.png", number, SIZE)
        place = tmp_path / "b" / "masks" / "train" / kind
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(place / f"{number}.png")
    train = make(f"instances({str(tmp_path / 'b')!r})").open("train")
    assert (train.info.classes, [sample.target.labels.tolist() for sample in train]) == (("cat", "dog"), [[0, 1], [1]])


def test_davis_splits_are_lists_of_sequences(tmp_path):
    make_davis(tmp_path)
    source = make(f"davis({str(tmp_path)!r})")
    assert source.splits() == ("train", "val")
    val = source.open("val")
    assert [Path(sample.name).parent.name for sample in val] == ["boat", "boat"]
    assert val[0].target.boxes.tolist() == [[3, 2, 9, 6], [20, 10, 30, 20]]
    lines = [f"/JPEGImages/480p/boat/{n}.jpg /Annotations/480p/boat/{n}.png" for n in ("00000", "00001")]
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text("\n".join(lines))
    assert "boat" in source.open("train")[0].name


def test_cityscapes_ids_are_brought_to_its_classes(tmp_path):
    picture(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_1_leftImg8bit.png", 1, SIZE)
    place = tmp_path / "gtFine" / "train" / "ulm"
    place.mkdir(parents=True)
    values = np.arange(600, dtype=np.uint8).reshape(SIZE) % 35
    Image.fromarray(values).save(place / "ulm_1_gtFine_labelIds.png")
    train = make(f"masks({str(tmp_path)!r})").open("train")
    target = train[0].target.numpy()
    for identity, name in ((7, "road"), (24, "person"), (33, "bicycle")):
        assert {train.info.classes[value] for value in target[values == identity]} == {name}
    assert (target[(values < 7) | (values == 34) | (values == 9)] == 255).all()
    values[:] = 3
    Image.fromarray(values).save(place / "ulm_1_gtFine_labelTrainIds.png")
    assert (train.info.classes[3], int(make(f"masks({str(tmp_path)!r})").open("train")[0].target.max())) == ("wall", 3)


def test_splits_of_other_classes_are_refused(tmp_path):
    make_coco(tmp_path)
    held = coco_held()
    held["categories"][2]["name"] = "lynx"
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(held))
    with pytest.raises(DataError, match=r"expected the same classes in train and test\. Got 'cat' in one"):
        open_splits(make(f"coco({str(tmp_path)!r})"))


def test_folders_that_are_links_out_of_the_data_are_refused(tmp_path):
    make_voc(tmp_path / "data")
    (tmp_path / "data" / "JPEGImages").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "JPEGImages").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"JPEGImages: expected a folder within .*\. Got a link that leads out of it"):
        make(f"voc({str(tmp_path / 'data')!r})").splits()


def test_batches_hold_whole_images_and_their_objects_where_they_lie(tmp_path):
    """30 × 20 pixels in 24 × 24: 24 × 16 with 4 rows of grey above and below."""
    make_coco(tmp_path)
    train = make(f"coco({str(tmp_path)!r})").open("train")
    batches = Batches(
        train, catalog.make("detection()", "tasks"), batch=2, size=(24, 24), layout=torch.contiguous_format
    )
    (batch,) = batches.epoch(0)
    grey = (batch.images * 255).round() == 114
    assert grey[:, :, :4].all()
    assert grey[:, :, 20:].all()
    assert not grey[:, :, 4:20].all(2).any()
    want = train[0].target.boxes * 0.8 + torch.tensor([0.0, 4.0, 0.0, 4.0])
    torch.testing.assert_close(batch.targets.of(0).boxes[:2], want[:2])
    assert len(batch.targets.of(1)) == 0
    small = decode(train[0].name, 3, (24, 24), whole=True)
    assert torch.equal((batch.images[0] * 255).round().to(torch.uint8), small)


def test_classes_by_images_are_brought_to_size_as_before(tmp_path):
    picture(tmp_path / "a.png", 1, SIZE)
    with Image.open(tmp_path / "a.png") as held:
        want = np.asarray(held.resize((10, 10), Image.Resampling.BILINEAR, box=(5, 0, 25, 20)))
    assert np.array_equal(decode(tmp_path / "a.png", 3, (10, 10)).permute(1, 2, 0).numpy(), want)
