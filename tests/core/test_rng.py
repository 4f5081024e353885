"""Random numbers that belong to the sample: uniform, normal, independent, and the same wherever it stands."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stalwart.core.rng import Noise, generator, seed_of


def test_uniform_and_normal_have_the_moments_they_should() -> None:
    noise = Noise.of_index(torch.arange(2000), 1, "moments")
    u, g = noise.uniform((500,)).double(), noise.normal((500,)).double()
    n = u.numel()
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 1e-3
    assert abs(g.mean()) < 5 / n**0.5
    assert abs(g.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((g**4).mean() - 3) < 0.05
    counts = torch.histc(u, 64, 0, 1)
    chi = float(((counts - n / 64) ** 2 / (n / 64)).sum())
    assert 30 < chi < 110  # 63 degrees of freedom: 63 ± 11


@pytest.mark.parametrize("axis", ["samples", "places", "draws"])
def test_neighbours_are_uncorrelated(axis: str) -> None:
    noise = Noise.of_index(torch.arange(400), 0)
    first = noise.uniform((400,)).double() - 0.5
    if axis == "samples":
        a, b = first[:-1], first[1:]
    elif axis == "places":
        a, b = first[:, :-1], first[:, 1:]
    else:
        a, b = first, noise.uniform((400,)).double() - 0.5
    assert abs((a * b).mean() * 12) < 5 / a.numel() ** 0.5


@given(st.permutations(range(9)), st.integers(0, 2**40))
def test_order_and_selection_change_nothing(order: list[int], seed: int) -> None:
    images = torch.arange(9 * 12, dtype=torch.float32).view(9, 3, 2, 2) / 108
    index = torch.tensor(order)
    straight, shuffled = Noise.of_images(images, seed), Noise.of_images(images[index], seed)
    assert torch.equal(straight.normal((5,))[index], shuffled.normal((5,)))
    some = index[:4]
    assert torch.equal(straight.select(some).uniform((3,)), straight.uniform((3,))[some])


def test_seeds_forks_and_samples_differ() -> None:
    images = torch.rand(64, 1, 4, 4, generator=generator(0))
    one, two = Noise.of_images(images, 0), Noise.of_images(images, 1)
    assert len(set(one.keys.tolist()) | set(two.keys.tolist())) == 128
    assert not torch.equal(one.uniform((4,)), one.uniform((4,)))
    assert not torch.equal(one.fork("a").uniform((4,)), one.fork("b").uniform((4,)))
    assert torch.equal(one.fork("a").uniform((4,)), one.fork("a").uniform((4,)))


def test_bits_are_splitmix64_of_a_counter_whatever_the_blocks() -> None:
    def splitmix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    for samples, count in ((1, 40_000), (3, 20_001), (700, 31), (5, 1), (4, 0)):
        noise = Noise(torch.arange(samples) * 2**61 - 2**63, 2)
        bits = Noise(noise.keys, 2).bits((count,))
        top, low = Noise(noise.keys, 2).pair((count,))
        assert bits.shape == (samples, count)
        for sample in {0, samples // 2, samples - 1}:
            key = splitmix(int(noise.keys[sample]) % 2**64)
            for place in {0, 16_383, 16_384, count - 1} & set(range(count)):
                wanted = splitmix((key + (place + (2 << 32)) * 0x9E3779B97F4A7C15) % 2**64)
                assert int(bits[sample, place]) % 2**64 == wanted
                assert int(top[sample, place]) == wanted >> 40
                assert int(low[sample, place]) == wanted >> 8 & 0xFFFFFF


def test_a_position_under_a_seed_is_not_the_seed_under_the_position() -> None:
    index = torch.arange(40)
    keys = torch.stack([Noise.of_index(index, seed).keys for seed in range(40)])
    assert len(set(keys.flatten().tolist())) == 1600


def test_integers_cover_their_range() -> None:
    drawn = Noise.of_index(torch.arange(5000), 3).integers(7, low=2)
    assert sorted(set(drawn.tolist())) == [2, 3, 4, 5, 6]
    assert torch.bincount(drawn).float()[2:].std() < 100


def test_seed_is_the_same_on_every_machine() -> None:
    assert seed_of(0) == 7070836379803831727
    assert seed_of(1, "a") == 4867055867890743243
    assert seed_of(1, "a") != seed_of("a", 1)
