# ruff: noqa: S301  (the real unpickler is the oracle here, and reads what these tests wrote)
"""Every source of the catalog: on data made up in its layout, and on real data where STALWART_TEST_DATA has them."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pycocotools.coco
import pycocotools.mask
import pytest
import torch
from layouts import (
    SIZE,
    coco_held,
    make_coco,
    make_davis,
    make_instances,
    make_masks,
    make_voc,
    make_yolo,
    picture,
    xml_object,
)
from PIL import Image

from stalwart.core import catalog, checks
from stalwart.core.errors import DataError
from stalwart.core.spelling import spell
from stalwart.feed.batches import Batches
from stalwart.feed.decode import decode
from stalwart.feed.split import counts, divide, open_splits


def make(spelled: str):
    return catalog.make(spelled, "data")


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


# ---------------------------------------------------------------- digits


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    source = make("digits()")
    train, test = source.open("train"), source.open("test")
    assert (len(train), len(test)) == (1438, 359)
    kept, held = divide(bunch.target.tolist(), 0.2, 0)
    for split, index in ((train, kept), (test, held)):
        images, targets = split.arrays()
        assert np.array_equal(np.rint(images[:, 0].numpy() * (16 / 255)), bunch.images[index])
        assert targets == bunch.target[index].tolist()
    assert int(train.arrays()[0].max()) == 255
    assert max(abs(n - 359 / 1797 * m) for n, m in zip(counts(test), np.bincount(bunch.target), strict=True)) <= 1


# ---------------------------------------------------------------- cifar10


def rewrite(path: Path, **changes) -> None:
    held = pickle.loads(path.read_bytes(), encoding="bytes")
    path.write_bytes(pickle.dumps(held | {key.encode(): value for key, value in changes.items()}, 2))


def test_cifar10_reads_its_files_in_order(tmp_path):
    make_cifar(tmp_path)
    held = [
        pickle.loads((tmp_path / "cifar-10-batches-py" / f"data_batch_{i}").read_bytes(), encoding="bytes")
        for i in range(1, 6)
    ]
    images, targets = make(f"cifar10({str(tmp_path)!r})").open("train").arrays()
    assert images.shape == (100, 3, 32, 32)
    assert np.array_equal(images.reshape(-1, 3072).numpy(), np.concatenate([h[b"data"] for h in held]))
    assert targets == [label for h in held for label in h[b"labels"]]


def test_cifar10_says_when_files_are_not_the_publishers(tmp_path):
    make_cifar(tmp_path)
    info = make(f"cifar10({str(tmp_path)!r})").open("test").info
    assert "checksums differ from the publisher's" in info.origin


def test_cifar10_finds_its_files_by_environment_and_in_the_folder_itself(tmp_path, monkeypatch):
    make_cifar(tmp_path / "cifar10")
    monkeypatch.setenv("STALWART_DATA", str(tmp_path))
    assert make("cifar10()").splits() == ("train", "test")
    assert make(f"cifar10({str(tmp_path / 'cifar10' / 'cifar-10-batches-py')!r})").splits() == ("train", "test")
    monkeypatch.delenv("STALWART_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"expected data_batch_1 .* in data/cifar-10-batches-py.*download=True"):
        make("cifar10()").splits()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [10] + [0] * 19}, r"expected labels in 0\.\.9\. Got 10"),
        ({"labels": [0] * 19}, "list of 20 numbers. Got 19"),
        ({"labels": ["cat"] * 20}, "expected labels in"),
        ({"labels": None}, "Got NoneType"),
        ({"data": np.zeros((20, 3071), np.uint8)}, r"expected 'data' as uint8 \(n, 3072\). Got uint8 \(20, 3071\)"),
        ({"data": np.zeros((20, 3072), np.float32)}, "Got float32"),
        ({"data": [1, 2]}, "Got list"),
    ],
)
def test_cifar10_checks_what_it_reads(tmp_path, changes, message):
    make_cifar(tmp_path)
    rewrite(tmp_path / "cifar-10-batches-py" / "test_batch", **changes)
    with pytest.raises(DataError, match=f"test_batch: .*{message}"):
        make(f"cifar10({str(tmp_path)!r})").open("test")


def test_cifar10_does_not_run_what_a_file_says(tmp_path):
    make_cifar(tmp_path)
    marker = tmp_path / "marker"
    program = b"\x80\x02cbuiltins\nexec\nX" + len(code := f"open({str(marker)!r},'w')".encode()).to_bytes(4, "little")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(program + code + b"\x85R.")
    with pytest.raises(DataError, match=r"test_batch: .*Got a request for 'builtins\.exec'"):
        make(f"cifar10({str(tmp_path)!r})").open("test")
    assert not marker.exists()


def test_cifar10_names_a_missing_file(tmp_path):
    make_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="expected data_batch_3"):
        make(f"cifar10({str(tmp_path)!r})").open("test")


# ---------------------------------------------------------------- folder


def test_folder_with_splits(tmp_path):
    make_folder(tmp_path)
    source = make(f"folder({str(tmp_path)!r})")
    assert source.splits() == ("train", "test")
    train = source.open("train")
    assert train.info.classes == ("cat", "dog")
    assert list(train.strata) == [0, 0, 0, 1, 1, 1]
    assert [Path(train[i].name).name for i in range(6)] == ["0.png", "2.png", "4.png", "1.png", "3.png", "5.png"]
    with Image.open(tmp_path / "train" / "dog" / "3.png") as picture:
        assert np.array_equal(train[4].image.permute(1, 2, 0).numpy(), np.array(picture))
    assert train[4].target == 1


def test_folder_of_classes_is_one_split_to_be_divided(tmp_path):
    for number in range(20):
        picture(tmp_path / ("a", "b")[number % 2] / "deep" / f"{number}.png", number)
    source = make(f"folder({str(tmp_path)!r}, channels=1)")
    assert source.splits() == ("train",)
    splits = open_splits(source, val=0.25)
    assert [counts(s) for s in (splits.train, splits.val, splits.test)] == [[6, 6], [2, 2], [2, 2]]
    assert splits.train[0].image.shape == (1, 9, 7)


def test_folder_passes_over_what_is_no_image(tmp_path):
    make_folder(tmp_path)
    for extra in ("train/cat/.hidden.png", "train/cat/notes.txt", "train/.git/x.png", "__MACOSX/x.png"):
        (tmp_path / extra).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / extra).write_text("no image")
    (tmp_path / "train" / "README.png").write_text("a file among the classes")
    assert len(make(f"folder({str(tmp_path)!r})").open("train")) == 6


def test_folder_does_not_follow_links_out_of_it(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    make_folder(root)
    picture(outside / "secret.png")
    (root / "train" / "cat" / "link.png").symlink_to(outside / "secret.png")
    (root / "train" / "cat" / "linked").symlink_to(outside)
    (root / "train" / "bird").symlink_to(outside)
    (root / "train" / "cat" / "within.png").symlink_to(root / "train" / "cat" / "0.png")
    (root / "train" / "cat" / "circle").symlink_to(root / "train" / "cat")
    (root / "train" / "cat" / "broken.png").symlink_to(root / "nowhere.png")
    names = [Path(f).name for f in make(f"folder({str(root)!r})").open("train")._files]
    assert names == ["0.png", "2.png", "4.png", "within.png", "1.png", "3.png", "5.png"]


def test_folder_names_a_class_that_is_not_in_every_split(tmp_path):
    make_folder(tmp_path)
    picture(tmp_path / "test" / "dogs" / "x.png")
    with pytest.raises(DataError, match=r"Got class 'dogs' in test and not in train\. Did you mean 'dog'\?"):
        make(f"folder({str(tmp_path)!r})").open("train")


def test_folder_names_an_empty_class(tmp_path):
    make_folder(tmp_path)
    for part in ("train", "test"):
        (tmp_path / part / "bird").mkdir()
    with pytest.raises(DataError, match=r"expected images of class 'bird'\. Got none"):
        make(f"folder({str(tmp_path)!r})").open("train")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "expected train/CLASS/ or two CLASS/ folders at least. Got no folders"),
        (["cats"], "Got cats"),
        (["val/a", "test/a"], "expected a folder 'train' beside val, test"),
        (["train/a", "valid/a", "val/a"], "expected one folder for val. Got val and valid"),
        (["train", "test"], "expected a folder for each class. Got none"),
    ],
)
def test_folder_says_what_layout_it_expects(tmp_path, folders, message):
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataError, match=message):
        make(f"folder({str(tmp_path)!r})").open("train")


def test_folder_takes_other_names_of_val(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "valid")
    assert make(f"folder({str(tmp_path)!r})").splits() == ("train", "val")


# ---------------------------------------------------------------- medmnist


def test_medmnist_is_what_the_file_holds(tmp_path):
    for name, colour, classes in (("pneumoniamnist", False, ("normal", "pneumonia")), ("made_up", True, ("0", "1"))):
        path = tmp_path / f"{name}.npz"
        make_medmnist(path, colour)
        source = make(f"medmnist({str(path)!r})")
        assert source.splits() == ("train", "val", "test")
        val = source.open("val")
        assert val.info.classes == classes
        assert val.info.channels == (3 if colour else 1)
        held = np.load(path)
        images, targets = val.arrays()
        images = images.permute(0, 2, 3, 1).numpy()
        assert np.array_equal(images if colour else images[..., 0], held["val_images"])
        assert targets == held["val_labels"][:, 0].tolist()


def test_medmnist_names_classes_of_other_sizes_of_a_known_set(tmp_path):
    path = tmp_path / "bloodmnist_64.npz"
    make_medmnist(path, colour=True)
    assert make(f"medmnist({str(path)!r})").open("train").info.classes[7] == "platelet"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.zeros((12, 14), np.uint8)}, "expected train_labels as one whole number"),
        ({"train_labels": np.full((12, 1), 2, np.uint8)}, "expected labels below 2, as pneumoniamnist has. Got 2"),
        ({"test_labels": np.full((6, 1), -1, np.int64)}, "expected test_labels as one whole number >= 0"),
        ({"train_labels": np.zeros((11, 1), np.uint8)}, "expected 12 train_labels. Got 11"),
        ({"train_images": np.zeros((12, 28, 28, 28), np.uint8)}, r"or \(n, H, W, 3\). Got uint8 \(12, 28, 28, 28\)"),
        ({"train_images": np.zeros((12, 28, 28), np.float32)}, "Got float32"),
        ({"train_images": np.array([{}], dtype=object)}, "expected numbers. Got object"),
    ],
)
def test_medmnist_checks_what_it_reads(tmp_path, changes, message):
    path = tmp_path / "pneumoniamnist.npz"
    make_medmnist(path, **changes)
    with pytest.raises(DataError, match=f"pneumoniamnist.npz.*{message}"):
        make(f"medmnist({str(path)!r})").open("train")


# ---------------------------------------------------------------- tinyimagenet


def test_tinyimagenet_keeps_its_own_order_and_names(tmp_path):
    make_tiny(tmp_path)
    source = make(f"tinyimagenet({str(tmp_path)!r})")
    train, test = source.open("train"), source.open("test")
    assert train.info.classes == ("crane (n02)", "goldfish", "crane (n03)")
    assert list(train.strata) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(test.strata) == [0, 1, 2]
    assert [Path(test[i].name).name for i in range(3)] == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]
    assert "public val" in test.info.origin


def test_tinyimagenet_rearranged(tmp_path):
    make_tiny(tmp_path)
    val = tmp_path / "val"
    (val / "val_annotations.txt").unlink()
    for place, wnid in enumerate(("n02", "n01", "n03")):
        (val / wnid).mkdir()
        (val / "images" / f"val_{place}.JPEG").rename(val / wnid / f"val_{place}.JPEG")
    test = make(f"tinyimagenet({str(tmp_path)!r})").open("test")
    assert list(test.strata) == [0, 1, 2]


def test_tinyimagenet_names_a_label_without_its_image(tmp_path):
    make_tiny(tmp_path)
    listed = tmp_path / "val" / "val_annotations.txt"
    listed.write_text(listed.read_text() + "../../../etc/passwd\tn01\t0\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt, line 4: expected an image in val/images"):
        make(f"tinyimagenet({str(tmp_path)!r})").open("test")


def test_tinyimagenet_names_a_class_that_is_listed_and_not_there(tmp_path):
    make_tiny(tmp_path)
    with open(tmp_path / "wnids.txt", "a") as file:
        file.write("n77\n")
    with pytest.raises(DataError, match=r"wnids\.txt: expected each class in train.* Got 'n77'"):
        make(f"tinyimagenet({str(tmp_path)!r})").open("train")


def test_samples_are_their_own_memory():
    digits = make("digits()").open("test")
    image = digits[0].image
    before = image.clone()
    image.zero_()
    assert torch.equal(digits[0].image, before)


# ---------------------------------------------------------------- objects


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
