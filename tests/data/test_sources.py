# ruff: noqa: S301  (the real unpickler is the oracle here, and reads what these tests wrote)
"""Every source of the catalog: on data made up in its layout, and on real data where STALWART_TEST_DATA has them."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from layouts import (
    make,
    make_cifar,
    make_coco,
    make_davis,
    make_folder,
    make_instances,
    make_masks,
    make_medmnist,
    make_tiny,
    make_voc,
    make_yolo,
    same_as_pycocotools,
)

from stalwart.core import catalog, checks
from stalwart.core.errors import DataError
from stalwart.core.spelling import spell
from stalwart.feed.split import counts


def made_up(name: str, place: Path) -> str:
    """Data in the source's layout, and how the source is spelled."""
    match name:
        case "digits":
            return "digits()"
        case "folder":
            make_folder(place)
            return f"folder({str(place)!r})"
        case "cifar10":
            make_cifar(place)
            return f"cifar10({str(place)!r})"
        case "medmnist":
            make_medmnist(place / "pneumoniamnist.npz")
            return f"medmnist({str(place / 'pneumoniamnist.npz')!r})"
        case "tinyimagenet":
            make_tiny(place)
            return f"tinyimagenet({str(place)!r})"
        case "shapes":
            return "shapes(train=6, test=4, size=32)"
        case "roads":
            return "roads(train=6, val=3, test=4, height=32, width=48, families=('crossroads',))"
        case "masks":
            make_masks(place)
            return f"masks({str(place)!r})"
        case "coco":
            make_coco(place)
            return f"coco({str(place)!r})"
        case "voc":
            make_voc(place)
            return f"voc({str(place)!r})"
        case "yolo":
            make_yolo(place)
            return f"yolo({str(place)!r})"
        case "instances":
            make_instances(place)
            return f"instances({str(place)!r})"
        case "davis":
            make_davis(place)
            return f"davis({str(place)!r})"
    pytest.fail(f"source {name!r} has no data made up for it here: add them to made_up")


@pytest.mark.parametrize("name", catalog.names("data"))
def test_every_source_keeps_the_contract(name, tmp_path):
    source = make(made_up(name, tmp_path))
    checks.source(source)
    assert make(spell(source)) == source
    with pytest.raises(DataError, match="split must be"):
        source.open("nonsense")


@pytest.mark.parametrize("name", [name for name in catalog.names("data") if name not in ("digits", "shapes", "roads")])
def test_a_source_without_its_data_says_where_they_should_be(name, tmp_path):
    spelled = f"{name}({str(tmp_path / 'absent.npz')!r})"
    for look in (lambda s: s.splits(), lambda s: s.open("train")):
        with pytest.raises(DataError, match=r"absent\.npz.*expected|expected.*absent\.npz"):
            look(make(spelled))


CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")

REAL = {
    "cifar10": ("cifar10", "cifar10({!r})", {"train": 50_000, "test": 10_000}),
    "bccd": ("bccd", "voc({!r})", {"train": 205, "val": 87, "test": 72}),
    "camvid": ("camvid", f"masks({{!r}}, classes={CAMVID})", {"train": 367, "val": 101}),
    "coco128": ("coco128", "coco({!r})", {"train": 128}),
    "davis": ("davis", "davis({!r})", {"train": 40}),
    "mednist": ("mednist", "folder({!r}, channels=1)", {"train": 6000}),
    "pneumoniamnist": ("pneumoniamnist/pneumoniamnist.npz", "medmnist({!r})", {"train": 4708, "val": 524, "test": 624}),
    "tinyimagenet": ("tinyimagenet20", "tinyimagenet({!r})", {"train": 10_000, "test": 1000}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data(name):
    folder, spelled, sizes = REAL[name]
    root = os.environ.get("STALWART_TEST_DATA")
    if not root or not (Path(root) / folder).exists():
        pytest.skip(f"STALWART_TEST_DATA holds no {folder}")
    source = make(spelled.format(str(Path(root) / folder)))
    checks.source(source)
    assert {split: len(source.open(split)) for split in source.splits()} == sizes
    if name == "bccd":
        boxes = sum(len(sample.target) for split in source.splits() for sample in source.open(split))
        assert (boxes, source.open("train").info.classes) == (4888, ("Platelets", "RBC", "WBC"))
    if name == "camvid":
        found = {int(value) for index in range(0, 101, 10) for value in source.open("val")[index].target.unique()}
        assert found == {*range(11), 255}
    if name == "coco128":
        same_as_pycocotools(source.open("train"), Path(root) / folder / "annotations" / "instances_train2017.json")
    if name == "davis":
        sample = source.open("train")[0]
        assert (len(sample.target), sample.target.masks.shape[1:]) == (1, sample.image.shape[1:])
    if name == "cifar10":
        test = source.open("test")
        assert counts(test) == [1000] * 10
        with open(Path(root) / folder / "cifar-10-batches-py" / "test_batch", "rb") as file:
            oracle = pickle.load(file, encoding="bytes")
        assert np.array_equal(test.arrays()[0].reshape(-1, 3072).numpy(), oracle[b"data"])
        assert list(test.strata) == oracle[b"labels"]
