"""Does a source keep its contract?"""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from stalwart.core.checks._say import expect, some_of
from stalwart.core.contracts import Examples, Info, Sample, Source
from stalwart.core.errors import ContractError

SPLITS = ("train", "val", "test")


def source(source: Source) -> None:
    """Check that a source keeps its contract: names and shapes, types, and that reading twice gives the same.

    Looks at a few samples of each split, not at all of them.

    Raises:
        ContractError: it says what was expected of whom and what came.
        DataError: the source's data are not there.
    """
    who = f"source {source!r}"
    at_hand = source.splits()
    expect(isinstance(at_hand, tuple) and len(at_hand) > 0, f"{who}: splits() must be a tuple, not empty", at_hand)
    expect(set(at_hand) <= set(SPLITS), f"{who}: splits() must be among {SPLITS}", at_hand)
    expect(len(set(at_hand)) == len(at_hand), f"{who}: splits() must name each once", at_hand)
    opened = {split: source.open(split) for split in at_hand}
    classes = {split: examples.info.classes for split, examples in opened.items()}
    expect(len(set(classes.values())) == 1, f"{who}: all splits must have the same classes", classes)
    for split, examples in opened.items():
        _examples(examples, f"{who}, split {split!r}")
        _same_twice(examples, source.open(split), f"{who}, split {split!r}")


def _examples(examples: Examples, who: str) -> None:
    _info(examples.info, who)
    n = len(examples)
    expect(n > 0, f"{who}: must have samples", n)
    strata = examples.strata
    expect(len(strata) == n, f"{who}: strata must have one entry a sample ({n})", len(strata))
    expect(all(type(s) is int and s >= 0 for s in strata), f"{who}: strata must be ints >= 0", set(map(type, strata)))
    for index in some_of(n):
        _sample(examples[index], examples.info, f"{who}, sample {index}")
    _refuses_the_end(examples, who)
    _arrays(examples, who)
    try:
        pickle.dumps(examples)
    except Exception as error:
        raise ContractError(f"{who}: must pickle, so that loading workers can have it. Got {error!r}.") from None


def _info(info: Info, who: str) -> None:
    expect(isinstance(info, Info), f"{who}: info must be an Info", info)
    expect(
        isinstance(info.classes, tuple) and all(isinstance(c, str) and c for c in info.classes),
        f"{who}: info.classes must be a tuple of names",
        info.classes,
    )
    expect(len(set(info.classes)) == len(info.classes), f"{who}: info.classes must differ", info.classes)
    expect(info.channels in (1, 3), f"{who}: info.channels must be 1 or 3", info.channels)
    for field in ("name", "licence", "origin"):
        value = getattr(info, field)
        expect(isinstance(value, str) and value != "", f"{who}: info.{field} must be a text", value)


def _sample(sample: Sample, info: Info, who: str) -> None:
    expect(isinstance(sample, Sample), f"{who}: must be a Sample", type(sample).__name__)
    image = sample.image
    expect(isinstance(image, Tensor), f"{who}: image must be a tensor", type(image).__name__)
    expect(image.dtype == torch.uint8, f"{who}: image must be uint8", image.dtype)
    good = image.ndim == 3 and image.shape[0] == info.channels and image.numel() > 0
    expect(good, f"{who}: image must have shape ({info.channels}, H, W)", tuple(image.shape))
    if info.size is not None:
        expect(tuple(image.shape[1:]) == info.size, f"{who}: image must have info.size {info.size}", image.shape[1:])
    expect(isinstance(sample.name, str) and sample.name != "", f"{who}: name must be a text", sample.name)
    if isinstance(sample.target, int):
        fits = 0 <= sample.target < len(info.classes)
        expect(fits, f"{who}: target must be a class index below {len(info.classes)}", sample.target)


def _refuses_the_end(examples: Examples, who: str) -> None:
    try:
        examples[len(examples)]
    except IndexError:
        return
    raise ContractError(f"{who}: examples[{len(examples)}] is past the end and must raise IndexError. Got a sample.")


def _arrays(examples: Examples, who: str) -> None:
    arrays = examples.arrays()
    if arrays is None:
        return
    images, targets = arrays
    n = len(examples)
    expect(images.dtype == torch.uint8, f"{who}: arrays() images must be uint8", images.dtype)
    expect(images.ndim == 4 and len(images) == n, f"{who}: arrays() images must be ({n}, C, H, W)", images.shape)
    expect(len(targets) == n, f"{who}: arrays() must have {n} targets", len(targets))
    for index in some_of(n):
        sample = examples[index]
        same = torch.equal(images[index], sample.image) and _equal(targets[index], sample.target)
        expect(same, f"{who}: arrays() must hold what examples[{index}] gives", "another image or target")


def _same_twice(one: Examples, other: Examples, who: str) -> None:
    expect(len(one) == len(other), f"{who}: opening it twice must give the same length", (len(one), len(other)))
    for index in some_of(len(one)):
        a, b, c = one[index], one[index], other[index]
        same = all(torch.equal(a.image, x.image) and _equal(a.target, x.target) and a.name == x.name for x in (b, c))
        expect(same, f"{who}: sample {index} must be the same whenever it is read", "another one")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    if is_dataclass(a) and type(a) is type(b):
        return all(_equal(getattr(a, each.name), getattr(b, each.name)) for each in fields(a))
    return bool(a == b)
