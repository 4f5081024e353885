"""Annotation files of a hostile hand: each is one clear line that names the file, in bounded memory and time."""

from __future__ import annotations

import copy
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from layouts import coco_held, make_coco, make_instances, make_voc, make_yolo, xml_object, xml_of
from PIL import Image

from stalwart.core import catalog
from stalwart.core.errors import DataError

VALUES: list[Any] = [
    None, True, -1, 10**12, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\ud800", [], [[]], {}, [None],
    {"a": []}, "9" * 5000, [[[[]]]], -0.0, "../../etc/passwd",
]  # fmt: skip
LAUGHS = (
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{i + 1} '{f'&a{i};' * 10}'>" for i in range(12))
    + "]><annotation>&a12;</annotation>"
)
OUTSIDE = (
    "<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><annotation><object><name>&a;</name></object></annotation>"
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within lists and dicts."""
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def spoilt(seed: int) -> dict[str, Any]:
    """COCO's layout with one value changed to another, or taken out."""
    rng = random.Random(seed)
    held = copy.deepcopy(coco_held())
    path = rng.choice(list(places(held)))
    inside: Any = held
    for key in path[:-1]:
        inside = inside[key]
    if rng.random() < 0.25:
        del inside[path[-1]]
    else:
        inside[path[-1]] = copy.deepcopy(rng.choice(VALUES))
    return held


def read_all(spelled: str) -> str:
    """What is said when all is read; '' where it is read to the end."""
    try:
        source = catalog.make(spelled, "data")
        for split in source.splits():
            examples = source.open(split)
            for index in range(len(examples)):
                sample = examples[index]
                assert sample.target.boxes.isfinite().all()
                assert (sample.target.labels < len(examples.info.classes)).all()
    except DataError as error:
        return str(error)
    return ""


def told(message: str, file: str) -> None:
    """One line that can be printed, of a length that can be read, and it names the file."""
    assert message.isprintable(), repr(message)
    assert len(message) < 700
    assert file in message
    message.encode()


def test_two_hundred_spoilt_coco_files(tmp_path: Path) -> None:
    make_coco(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    place = tmp_path / "annotations" / "instances_train2017.json"
    refused = 0
    for seed in range(200):
        place.write_text(json.dumps(spoilt(seed)))
        message = read_all(f"coco({str(tmp_path)!r})")
        if message:
            refused += 1
            told(message, "instances_train2017.json")
    assert refused > 120  # the others changed what has no meaning, or to something as good


def damaged() -> dict[str, bytes]:
    """Files that hold no annotations, whatever they are for."""
    rng = random.Random(0)
    return {
        "empty": b"",
        "noise": rng.randbytes(2000),
        "zeros": bytes(1000),
        "deep lists": b"[" * 200_000,
        "deep objects": b'{"a":' * 100_000,
        "deep elements": b"<a>" * 100_000,
        "cut off": b'{"images": [{"id": 1, "file_na',
        "a number": b"1",
        "null": b"null",
        "latin-1": '{"images": "é"}'.encode("latin-1"),
        "utf-16 text": "<annotation/>".encode("utf-16"),
        "an unknown encoding": b"<?xml version='1.0' encoding='klingon'?><annotation/>",
        "a wrong encoding": b"<?xml version='1.0' encoding='utf-8'?><annotation>\xff\xfe</annotation>",
        "a long number": b'{"images": ' + b"9" * 100_000 + b"}",
        "laughs": LAUGHS.encode(),
        "another file": OUTSIDE.encode(),
        "another root": b"<html/>",
        "two roots": b"<annotation/><annotation/>",
        "no boxes": xml_of("<object><name>bear</name></object>").encode(),
        "no name": xml_of("<object><bndbox/></object>").encode(),
        "nan": xml_of(xml_object("bear", ("nan", 1, 2, 3))).encode(),
        "words": xml_of(xml_object("bear", (1, "two", 2, 3))).encode(),
        "long numbers": xml_of(xml_object("bear", (1, "9" * 10_000, 2, 3))).encode(),
        "infinite": xml_of(xml_object("bear", (1, 1, "1e999", 3))).encode(),
        "another size": xml_of("", (10**9, 10**9)).encode(),
        "terminal codes": xml_of(xml_object("\x9b31mbear", (1, 1, 2, 3))).encode(),
    }


@pytest.mark.parametrize("kind", damaged())
def test_files_that_are_no_annotations(tmp_path: Path, kind: str) -> None:
    data = damaged()[kind]
    make_coco(tmp_path / "coco")
    (tmp_path / "coco" / "annotations" / "instances_train2017.json").write_bytes(data)
    told(read_all(f"coco({str(tmp_path / 'coco')!r})"), "instances_train2017.json")
    make_voc(tmp_path / "voc")
    (tmp_path / "voc" / "Annotations" / "1.xml").write_bytes(data)
    message = read_all(f"voc({str(tmp_path / 'voc')!r}, classes=('bear', 'wolf'))")
    if kind != "utf-16 text":  # an annotation without objects, and well written
        told(message, "1.xml")
    make_yolo(tmp_path / "yolo")
    (tmp_path / "yolo" / "labels" / "train" / "1.txt").write_bytes(data)
    if kind != "empty":  # an image without objects
        told(read_all(f"yolo({str(tmp_path / 'yolo')!r})"), "1.txt")
    (tmp_path / "yolo" / "labels" / "train" / "1.txt").unlink()
    (tmp_path / "yolo" / "data.yaml").write_bytes(data)
    if kind not in ("empty", "null", "a long number"):  # no names, as in no file at all
        told(read_all(f"yolo({str(tmp_path / 'yolo')!r})"), "data.yaml")


@pytest.mark.parametrize(
    "line",
    ["x 0 0 1 1", "0 0 0 1", "0", "0 nan 0 1 1", "0 0 0 1 inf", "-1 0 0 1 1", "0 1e9 0 1 1 2 2", "2 0 0 1 1",
     "0 0 0 1 1 1", "99999999999 0 0 1 1", "0 0 0 9e14 9e14 5 5"],
)  # fmt: skip
def test_lines_that_are_no_objects(tmp_path: Path, line: str) -> None:
    make_yolo(tmp_path, f"1 0.5 0.5 0.1 0.1\n{line}\n")
    message = read_all(f"yolo({str(tmp_path)!r})")
    told(message, "0.txt, line 2")


@pytest.mark.parametrize(
    "text",
    ["names: [a, a]", "names: {0: a, 2: b}", "names: a", "names: []", "names: [a, b]\nnc: 3", "names: [[a], b]",
     "train: [a, b]\nnames: [a, b]", "train: list.txt\nnames: [a, b]", "names: &x [*x]", "a: &x [a]\nnames: [*x, *x]",
     "names: !!python/object/apply:os.system ['true']\nx: [", 'names: ["\\e[31m"]', "names: [a, b]\ntrain: {a: b}"],
)  # fmt: skip
def test_tables_that_say_nothing(tmp_path: Path, text: str) -> None:
    make_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    told(read_all(f"yolo({str(tmp_path)!r})"), "data.yaml")


def laughing_yaml() -> str:
    lines = ["a0: &a0 [x, x]"] + [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(12)]
    return "\n".join([*lines, "names: [*a12, b]"])


def big_claims(root: Path) -> dict[str, Callable[[], str]]:
    """Small files that claim gigabytes."""
    held = coco_held()
    held["images"][0] |= {"height": 40_000, "width": 40_000}
    huge = coco_held()
    huge["annotations"][1]["segmentation"] = {"size": [32_768, 32_768], "counts": [1 << 30]}
    far = coco_held()
    far["annotations"][0]["segmentation"] = [[0, 0, 1e6, 1e6] * 1000]
    for name, one in (("a", held), ("b", huge), ("c", far)):
        make_coco(root / name, one)
    make_yolo(root / "d")
    (root / "d" / "data.yaml").write_text(laughing_yaml())
    make_voc(root / "e", LAUGHS)
    make_instances(root / "f")
    for file in (root / "f" / "PedMasks").iterdir():
        Image.new("L", (3000, 3000)).save(file)
    spelled = {"a": "coco", "b": "coco", "c": "coco", "d": "yolo", "e": "voc", "f": "instances"}
    return {
        name: lambda name=name, kind=kind: read_all(f"{kind}({str(root / name)!r})") for name, kind in spelled.items()
    }


def test_claims_of_gigabytes_take_no_memory(tmp_path: Path) -> None:
    for name, read in big_claims(tmp_path).items():
        read()
        tracemalloc.start()
        message = read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert message, name
        assert message.isprintable()
        assert peak < 100e6, (name, peak)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    make_coco(tmp_path)
    place = tmp_path / "annotations" / "instances_train2017.json"
    with place.open("r+b") as file:
        file.truncate((1 << 30) + 1)  # sparse: it takes no space
    message = read_all(f"coco({str(tmp_path)!r})")
    told(message, "instances_train2017.json: expected at most 1,073,741,824 bytes. Got 1,073,741,825")
