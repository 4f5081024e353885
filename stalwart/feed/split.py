"""Dividing examples: stratified, deterministic, and never at the test split's expense."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stalwart.core.contracts import Examples, Info, Inspected, Sample, Source, Trouble
from stalwart.core.errors import DataError, InputError
from stalwart.core.rng import generator

TEST_FRACTION = 0.2
"""The share kept for testing where a source has one split only."""

TEST_SEED = 0
"""A test split never depends on a run's seed: else one run would be tested on what another was trained on."""


def divide(strata: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions kept and positions held out, each stratum in proportion. Both lists ascend.

    A stratum of n samples gives floor or ceil of n·fraction, so that all together come as near to the fraction of
    the whole as they can (largest remainders), and always keeps one sample at least.

    Args:
        strata: the stratum of each sample.
        fraction: the share to hold out, in [0, 1).

    Raises:
        InputError: a fraction out of its range.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"a split's fraction must be >= 0 and < 1. Got {fraction!r}.")
    members: dict[int, list[int]] = defaultdict(list)
    for position in torch.randperm(len(strata), generator=generator(seed, "divide")).tolist():
        members[strata[position]].append(position)
    quota = {stratum: int(len(group) * fraction) for stratum, group in members.items()}
    spare = round(len(strata) * fraction) - sum(quota.values())
    by_remainder = sorted(members, key=lambda s: (quota[s] - len(members[s]) * fraction, s))
    for stratum in by_remainder:
        if spare <= 0:
            break
        size = len(members[stratum])
        if quota[stratum] < size * fraction and quota[stratum] + 1 < size:
            quota[stratum] += 1
            spare -= 1
    held = sorted(position for stratum, group in members.items() for position in group[: quota[stratum]])
    kept = sorted(position for stratum, group in members.items() for position in group[quota[stratum] :])
    return kept, held


class Subset:
    """The examples at some positions, in that order."""

    def __init__(self, examples: Examples, index: Sequence[int]) -> None:
        self.examples = examples
        self.index = list(index)
        strata = examples.strata
        self._strata = [strata[i] for i in self.index]

    @property
    def info(self) -> Info:
        return self.examples.info

    @property
    def strata(self) -> Sequence[int]:
        return self._strata

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Sample:
        return self.examples[self.index[index]]

    def inspect(self, index: int) -> tuple[Sample, Sequence[Trouble]]:
        """As `Inspected` has it; of examples that do not tell, nothing is odd."""
        place = self.index[index]
        whole = self.examples
        return whole.inspect(place) if isinstance(whole, Inspected) else (whole[place], ())

    def arrays(self) -> tuple[Tensor, Sequence[Any]] | None:
        whole = self.examples.arrays()
        if whole is None:
            return None
        images, targets = whole
        return images[torch.tensor(self.index, dtype=torch.int64)], [targets[i] for i in self.index]


@dataclass(frozen=True)
class Splits:
    """What a training run needs of a source."""

    train: Examples
    val: Examples
    """Chooses the best epoch; without samples where `val=0` was asked for."""
    test: Examples
    """Looked at in the end only."""
    notes: tuple[str, ...] = ()
    """How the splits came about, where the source does not bring all three itself."""


def open_splits(source: Source, val: float = 0.1, seed: int = 0) -> Splits:
    """Train, val and test of a source.

    has                 gives
    train, val, test    these
    train, test         val: the share `val` of train, by `seed`
    train, val          test: its val. val: the share `val` of train, by `seed`
    train               test: a fifth of train, the same for every seed. val: the share `val` of the rest, by `seed`

    Raises:
        DataError: the data are not there, have no train split, or other classes in another split.
        InputError: `val` is out of [0, 1).
    """
    splits = _open_splits(source, val, seed)
    for name, examples in (("val", splits.val), ("test", splits.test)):
        odd = sorted(set(examples.info.classes) ^ set(splits.train.info.classes))
        if odd or examples.info.classes != splits.train.info.classes:
            came = f"{odd[0]!r} in one of the two alone" if odd else "another order"
            raise DataError(f"{source!r}: expected the same classes in train and {name}. Got {came}.")
    return splits


def _open_splits(source: Source, val: float, seed: int) -> Splits:
    at_hand = source.splits()
    if "train" not in at_hand:
        raise DataError(f"{source!r}: expected a split 'train'. Got {', '.join(at_hand) or 'no splits'}.")
    train: Examples = source.open("train")
    notes = []
    if "test" in at_hand:
        test = source.open("test")
        if "val" in at_hand:
            return Splits(train, source.open("val"), test)
    elif "val" in at_hand:
        test = source.open("val")
        notes.append(f"There is no test split: the val split ({len(test)} images) serves as test.")
    else:
        kept, held = divide(train.strata, TEST_FRACTION, TEST_SEED)
        train, test = Subset(train, kept), Subset(train, held)
        notes.append(f"There is one split only: a fifth of it ({len(held)} images) is kept for testing.")
    kept, held = divide(train.strata, val, seed)
    notes.append(f"val is {len(held)} images of train, by seed {seed}.")
    return Splits(Subset(train, kept), Subset(train, held), test, tuple(notes))


def counts(examples: Examples) -> list[int]:
    """How many samples each class of the info has."""
    result = [0] * len(examples.info.classes)
    for stratum in examples.strata:
        result[stratum] += 1
    return result
