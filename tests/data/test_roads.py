"""The driving world as a source of data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stalwart.core import catalog
from stalwart.core.errors import InputError

SMALL = "train=34, val=4, test=4, height=48, width=72, families=('crossroads',)"


def split(target: str, name: str = "train"):
    return catalog.make(f"roads(target={target!r}, {SMALL})", "data").open(name)


def test_targets_agree_with_each_other() -> None:
    objects, semantic, panoptic = (split(target) for target in ("objects", "semantic", "panoptic"))
    names = semantic.info.classes
    for index in (0, 5, 33):
        image, found = objects[index].image, objects[index].target
        classes, both = semantic[index].target, panoptic[index].target
        assert torch.equal(image, semantic[index].image)
        assert classes.max() < len(names)
        assert torch.equal(both.boxes, found.boxes)
        assert torch.equal(both.labels, found.labels + 10)
        counted = both.semantic != 255
        assert torch.equal(both.semantic[counted], classes[counted])
        for box, label, mask in zip(found.boxes, found.labels, found.masks, strict=True):
            assert (classes[mask] == names.index(objects.info.classes[label])).all()
            rows, columns = np.nonzero(mask.numpy())
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert mask.sum() >= 16
    assert sum(len(objects[k].target) for k in range(34)) > 30


def test_splits_differ_and_seeds_differ() -> None:
    train, test = split("weather"), split("weather", "test")
    assert not torch.equal(train[0].image, test[0].image)
    other = catalog.make(f"roads(target='weather', seed=1, {SMALL})", "data").open("train")
    assert not torch.equal(train[0].image, other[0].image)
    assert sorted(set(train.strata)) == list(range(7))
    assert train.strata == [train[k].target for k in range(34)]


def test_signals_are_classes() -> None:
    signals = split("signal")
    assert signals.info.classes == ("none", "red", "yellow", "green")
    assert {0, 1} <= set(signals.strata)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("roads(train=10000000)", "at most 2,147,483,648 bytes"),
        ("roads(weather=('hail',))", "Got 'hail'"),
        ("roads(families=('twon()',))", "Did you mean 'town'"),
        ("roads(height=8)", "height"),
    ],
)
def test_bad_fields_are_refused_in_one_line(spelled: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        catalog.make(spelled, "data").open("train")[0]
    assert "\n" not in str(error.value)
