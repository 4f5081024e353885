from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from stalwart.core.contracts import Info
from stalwart.core.errors import DataError, InputError
from stalwart.feed.arrays import ArrayExamples
from stalwart.feed.split import Subset, counts, divide, open_splits

STRATA = st.lists(st.integers(0, 6), max_size=200)
FRACTIONS = st.floats(0, 0.99)


@given(STRATA, FRACTIONS, st.integers(0, 2**31))
@example([0, 0, 0, 1, 2], 1 / 3, 0)  # class 0 has its third; what is left over is for the classes that keep their one
def test_divide_is_complete_disjoint_and_stratified(strata, fraction, seed):
    kept, held = divide(strata, fraction, seed)
    assert sorted(kept + held) == list(range(len(strata)))
    assert kept == sorted(kept)
    assert held == sorted(held)
    whole, part = Counter(strata), Counter(strata[i] for i in held)
    for stratum, n in whole.items():
        assert abs(part[stratum] - n * fraction) < 1
        assert part[stratum] < n  # something is left to learn from
    assert (kept, held) == divide(strata, fraction, seed)


@given(st.integers(1, 40), st.floats(0, 0.9))
def test_divide_holds_the_share_of_the_whole(per_class, fraction):
    strata = [i % 5 for i in range(5 * per_class)]
    _, held = divide(strata, fraction, 0)
    assert abs(len(held) - len(strata) * fraction) <= max(0.5, 5 * (per_class * fraction - (per_class - 1))) + 1e-9


def test_divide_depends_on_the_seed_and_mixes():
    strata = [0] * 100
    assert divide(strata, 0.3, 0) != divide(strata, 0.3, 1)
    _, held = divide(strata, 0.3, 0)
    assert held != list(range(30))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_divide_refuses_fractions_out_of_range(fraction):
    with pytest.raises(InputError, match="fraction must be"):
        divide([0, 1], fraction, 0)


def examples(n: int, mark: int = 0) -> ArrayExamples:
    info = Info("toy", ("a", "b"), "none", "made up", channels=1, size=(1, 1))
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1) + mark
    return ArrayExamples(info, images, [i % 2 for i in range(n)], f"toy {mark}")


@dataclass
class Toy:
    sizes: dict[str, int]

    def splits(self):
        return tuple(self.sizes)

    def open(self, split):
        return examples(self.sizes[split], {"train": 0, "val": 100, "test": 200}[split])


def values(split) -> set[int]:
    return {int(split[i].image) for i in range(len(split))}


def test_subset_keeps_the_contract():
    part = Subset(examples(10), [7, 2, 3])
    assert [int(part[i].image) for i in range(3)] == [7, 2, 3]
    assert list(part.strata) == [1, 0, 1]
    images, targets = part.arrays()
    assert images.flatten().tolist() == [7, 2, 3]
    assert targets == [1, 0, 1]
    assert counts(part) == [1, 2]
    with pytest.raises(IndexError):
        part[3]


def test_a_sources_own_splits_are_taken_as_they_are():
    splits = open_splits(Toy({"train": 20, "val": 6, "test": 8}), val=0.5)
    assert [len(splits.train), len(splits.val), len(splits.test)] == [20, 6, 8]
    assert splits.notes == ()


def test_val_is_divided_from_train_and_test_is_not_touched():
    splits = open_splits(Toy({"train": 20, "test": 8}), val=0.25, seed=3)
    assert [len(splits.train), len(splits.val), len(splits.test)] == [15, 5, 8]
    assert values(splits.train) | values(splits.val) == set(range(20))
    assert values(splits.test) == set(range(200, 208))


def test_without_test_the_val_split_is_the_test():
    splits = open_splits(Toy({"train": 20, "val": 6}), val=0.1)
    assert values(splits.test) == set(range(100, 106))
    assert len(splits.val) == 2
    assert "serves as test" in splits.notes[0]


def test_one_split_is_divided_in_three_and_test_is_the_same_for_every_seed():
    one, other = (open_splits(Toy({"train": 50}), val=0.1, seed=seed) for seed in (0, 1))
    assert [len(one.train), len(one.val), len(one.test)] == [36, 4, 10]
    assert values(one.train) | values(one.val) | values(one.test) == set(range(50))
    assert values(one.test) == values(other.test)
    assert values(one.val) != values(other.val)


def test_no_val_where_none_is_asked_for():
    splits = open_splits(Toy({"train": 20, "test": 8}), val=0)
    assert [len(splits.train), len(splits.val)] == [20, 0]


def test_a_source_without_train_is_an_error():
    with pytest.raises(DataError, match="expected a split 'train'"):
        open_splits(Toy({"test": 3}))
