# ruff: noqa: S301  (the real unpickler is the oracle here, and reads what these tests wrote)
"""Sources of images with one class each: what they read, and what they say of files that are not as expected."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import make, make_cifar, make_folder, make_medmnist, make_tiny, picture
from PIL import Image

from stalwart.core.errors import DataError
from stalwart.feed.split import counts, divide, open_splits

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
