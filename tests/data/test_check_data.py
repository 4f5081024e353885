"""`stalwart data check`: on data in which everything is odd that it knows of, and on clean data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import SIZE, coco_held, make_coco, make_masks, picture
from PIL import Image

import stalwart
from stalwart.cli.main import run
from stalwart.core.contracts import Event
from stalwart.core.errors import DataError, InputError


def result(events: Iterator[Event]) -> dict[str, Any]:
    return dict([event.values for event in events if event.kind == "result"][-1])


def found(values: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(one["finding"], one["split"]): one["count"] for one in values["findings"]}


def smooth(path: Path, seed: int, shift: int = 0, side: int = 64) -> None:
    """A picture of large forms, which another compression leaves as they are."""
    rough = np.random.default_rng(seed).integers(0, 230, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array(Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC))
    Image.fromarray((pixels.astype(int) + shift).clip(0, 255).astype(np.uint8)).save(path, quality=70)


def make_dirty(root: Path) -> str:
    held = coco_held()
    plain = {"image_id": 3, "category_id": 1, "iscrowd": 0, "segmentation": [[4, 4, 9, 4, 9, 9]]}
    held["annotations"] += [
        plain | {"bbox": [20, 5, 20, 5]},
        plain | {"bbox": [4, 4, 0, 3]},
        plain | {"bbox": [4, 4, 0, 4]},
        plain | {"bbox": [4, 4, 5, 5], "segmentation": []},
        plain | {"bbox": [4, 4, 5, 5], "category_id": 2},
        plain | {"bbox": [4, 4, 5, float("nan")]},
    ]
    for key, name in ((8, "gone.png"), (9, "torn.png"), (10, "bare.png")):
        held["images"].append({"id": key, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
    make_coco(root, held)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(coco_held()))
    (root / "train2017" / "torn.png").write_bytes((root / "train2017" / "a.png").read_bytes()[:200])
    picture(root / "train2017" / "bare.png", 9, SIZE)
    return f"coco({str(root)!r})"


def test_everything_odd_is_counted_and_shown(tmp_path: Path) -> None:
    page = tmp_path / "data.html"
    spelled = make_dirty(tmp_path / "set")
    values = result(stalwart.check_data(spelled, out=page))
    assert found(values) == {
        ("unreadable", "train"): 2,
        ("damaged label", "train"): 1,
        ("unknown class", "train"): 1,
        ("box of no area", "train"): 2,
        ("empty mask", "train"): 1,
        ("box outside", "train"): 1,
        ("no labels", "train"): 1,
        ("no labels", "val"): 1,
        ("same picture", "train, val"): 2,
    }
    assert [one["images"] for one in values["splits"]] == [5, 2]
    assert values["splits"][0]["unreadable"] == 2
    assert values["per_class"][0] == {"name": "person", "train": 2, "val": 1}
    text = page.read_text()
    for word in ("gone.png", "torn.png", "box of no area", "same picture, train, val", "category_id 2", "zebra"):
        assert word in text
    assert text.count('<img src="data:image/png;base64,') > 8
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text


def test_clean_data_have_nothing_odd() -> None:
    values = result(stalwart.check_data("shapes(train=6, test=4, size=32)"))
    assert [one for one in values["findings"] if one["finding"] != "empty class"] == []
    assert (values["unit"], values["n"], values["classes"]) == ("objects", 10, 3)


def test_copies_between_splits_and_with_another_class(tmp_path: Path) -> None:
    for number in range(5):
        smooth(tmp_path / "train" / "cat" / f"{number}.png", number)
        smooth(tmp_path / "train" / "dog" / f"{number}.png", 10 + number)
        smooth(tmp_path / "test" / "cat" / f"{number}.png", 20 + number)
        smooth(tmp_path / "test" / "dog" / f"{number}.png", 30 + number)
    smooth(tmp_path / "train" / "dog" / "x.png", 11)
    smooth(tmp_path / "test" / "dog" / "y.bmp", 2)
    smooth(tmp_path / "test" / "cat" / "z.jpg", 3, shift=20)
    values = result(stalwart.check_data(f"folder({str(tmp_path)!r})"))
    assert found(values) == {
        ("same picture", "train"): 1,
        ("same picture", "train, test"): 1,
        ("two answers", "train, test"): 1,
        ("nearly the same", "train, test"): 1,
    }
    examples = {one["finding"]: one["examples"][0] for one in values["findings"]}
    assert re.search(r"cat/2\.png is cat, and .*dog/y\.bmp, the same picture, dog", examples["two answers"])
    assert re.search(r"train/cat/3\.png and .*test/cat/z\.jpg", examples["nearly the same"])


def test_noise_and_flat_pictures_are_nobodys_twins(tmp_path: Path) -> None:
    for number in range(6):
        split = ("train", "test")[number % 2]
        picture(tmp_path / split / "a" / f"{number}.png", number, (40, 40))
        Image.new("RGB", (40, 40), (number, 9, 9)).save(tmp_path / split / "a" / f"flat{number}.png")
    assert found(result(stalwart.check_data(f"folder({str(tmp_path)!r})"))) == {}


def test_masks_are_counted_by_pixels(tmp_path: Path) -> None:
    make_masks(tmp_path)
    values = result(stalwart.check_data(f"masks({str(tmp_path)!r})"))
    assert (values["unit"], values["per_class"][1]["train"]) == ("pixels", 120)
    assert values["per_class"][0]["val"] == 117  # the first of 40 a mask is void


def test_a_split_that_cannot_be_opened_is_a_finding_unless_it_is_all(tmp_path: Path) -> None:
    make_coco(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_text("{")
    values = result(stalwart.check_data(f"coco({str(tmp_path)!r})"))
    assert found(values)["unreadable", "val"] == 1
    (tmp_path / "annotations" / "instances_train2017.json").write_text("[]")
    with pytest.raises(DataError, match=r"instances_train2017\.json: expected an object with 'categories'"):
        result(stalwart.check_data(f"coco({str(tmp_path)!r})"))


def test_a_limit_draws_the_same_part(tmp_path: Path) -> None:
    first, again = (result(stalwart.check_data("digits()", limit=20)) for _ in range(2))
    assert (first["n"], first["per_class"]) == (40, again["per_class"])
    with pytest.raises(InputError, match="limit must be at least 1"):
        result(stalwart.check_data("digits()", limit=0))
    with pytest.raises(InputError, match="Got a folder"):
        result(stalwart.check_data("digits()", out=tmp_path))


def test_the_command_fits_a_narrow_terminal_and_speaks_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    spelled = make_dirty(tmp_path)
    assert run(["data", "check", spelled, "--quiet", "--out", str(tmp_path / "x.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("saved ")) <= 80
    text = "\n".join(lines)
    for word in ("unreadable", "box of no area", "left out", "refused", "zebra", "same picture"):
        assert word in text
    assert run(["data", "check", spelled, "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (said[-1]["kind"], said[-1]["what"], said[-1]["n"]) == ("result", "data", 7)
    assert run(["data", "check", "coco('nowhere')"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_data_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["data", "--help"], ["data", "check", "--help"]):
        assert run(words) == 0
        assert "stalwart data check" in capsys.readouterr().out.split("Examples:")[1]
