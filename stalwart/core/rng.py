"""Random numbers that belong to a sample and not to its place in a batch.

A `torch.Generator` hands out numbers in order, so what a sample gets depends on who stands before it: results
change with the batch size, the order and the number of workers. Here each sample has a 64-bit key, and its n-th
number is a hash of (key, draw, n): a counter-based generator after Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3" (SC 2011), with the splitmix64 finaliser (Steele, Lea and Flood, OOPSLA 2014) as the hash.
The same numbers come on every device.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    """A 64-bit pattern as the int64 that torch holds."""
    value &= _MASK
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _mix(z: Tensor) -> Tensor:
    """The splitmix64 finaliser on int64 bit patterns; `>>` on int64 is arithmetic, so the sign bits are masked."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _MIX_1
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _MIX_2
    return z ^ ((z >> 31) & ((1 << 33) - 1))


_BLOCK = 16384
"""Numbers hashed at a time on a CPU: 128 KiB twice, which its caches hold. Whole tensors cost three times as much."""


def _blocks(keys: Tensor, draw: int, count: int) -> Iterator[tuple[slice, slice, NDArray[np.uint64]]]:
    """The first `count` hashes of each key on a CPU, a block at a time: (rows, columns, hashes).

    NumPy and not PyTorch, which has no logical shift of whole numbers and is twice as slow at the rest. A block is
    overwritten by the next.
    """
    first = _mix(keys).numpy().view(np.uint64)[:, None]
    wide = max(min(count, _BLOCK), 1)
    tall = max(min(_BLOCK // wide, len(first)), 1)
    hashes, spare = np.empty((tall, wide), np.uint64), np.empty((tall, wide), np.uint64)
    golden, mix_1, mix_2 = (np.uint64(value & _MASK) for value in (_GOLDEN, _MIX_1, _MIX_2))
    for left in range(0, count, wide):
        columns = slice(left, min(left + wide, count))
        steps = (np.arange(columns.start, columns.stop, dtype=np.uint64) + np.uint64(draw << 32)) * golden
        for top in range(0, len(first), tall):
            rows = slice(top, min(top + tall, len(first)))
            z, w = (array[: rows.stop - top, : columns.stop - left] for array in (hashes, spare))
            np.add(first[rows], steps, out=z)
            for shift, factor in ((30, mix_1), (27, mix_2)):
                np.right_shift(z, shift, out=w)
                z ^= w
                z *= factor
            np.right_shift(z, 31, out=w)
            z ^= w
            yield rows, columns, z


def seed_of(*parts: int | str) -> int:
    """One 63-bit seed out of several numbers and words; the same on every machine and Python."""
    state = 0
    for part in parts:
        number = zlib.crc32(part.encode()) + (1 << 32) if isinstance(part, str) else part
        z = (state * 31 + number + 0x9E3779B97F4A7C15) & _MASK  # plain integers: a tensor operation takes 10 µs
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        state = z ^ (z >> 31)
    return state & (_MASK >> 1)


def generator(*parts: int | str) -> torch.Generator:
    """A fresh CPU generator for the seed that the parts make."""
    return torch.Generator().manual_seed(seed_of(*parts))


class Noise:
    """Random numbers for a batch, each sample's from its own key. Every draw moves on by itself.

    Args:
        keys: (B,) int64, one for each sample.
    """

    def __init__(self, keys: Tensor, draw: int = 0) -> None:
        self.keys = keys
        self.draw = draw

    @classmethod
    def of_images(cls, images: Tensor, seed: int) -> Noise:
        """Keys from the images' own content, so that order and batch size change nothing."""
        bits = images.detach().to(torch.float32).contiguous().view(torch.int32).flatten(1).to(torch.int64)  # (B, N)
        place = torch.arange(bits.shape[1], device=bits.device)
        weights = _mix(place * _GOLDEN + 1) | 1
        return cls(_mix((bits * weights).sum(1) + _signed(seed_of(seed, "images"))))

    @classmethod
    def of_index(cls, index: Tensor, *parts: int | str) -> Noise:
        """Keys from the samples' positions in their split and the seed that `parts` make."""
        if len(parts) == 1 and isinstance(parts[0], int) and 0 <= parts[0] < 1 << 32:
            # A position and a number alone go through the same hash, and the sum of both knows no order: position i
            # under seed j would be position j under seed i. A run's own seeds are 63 bits that no position reaches.
            parts = (*parts, "index")
        return cls(_mix(_mix(index.to(torch.int64) + _GOLDEN) + _signed(seed_of(*parts))))

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, index: Tensor) -> Noise:
        """The same stream for the samples at `index` (int64 or bool mask)."""
        return Noise(self.keys[index], self.draw)

    def fork(self, *parts: int | str) -> Noise:
        """An independent stream of the same samples."""
        return Noise(_mix(self.keys ^ _signed(seed_of(*parts))), 0)

    def to(self, device: torch.device | str) -> Noise:
        return Noise(self.keys.to(device), self.draw)

    def bits(self, shape: Sequence[int]) -> Tensor:
        """(B, *shape) int64 with all 64 bits random."""
        count, draw = math.prod(shape), self._next()
        if self.keys.device.type == "cpu":
            made = np.empty((len(self.keys), count), np.int64)
            for rows, columns, hashes in _blocks(self.keys, draw, count):
                made[rows, columns] = hashes.view(np.int64)
            return torch.from_numpy(made).view(len(self.keys), *shape)
        counter = torch.arange(count, device=self.keys.device) + (draw << 32)
        return _mix(_mix(self.keys)[:, None] + counter * _GOLDEN).view(len(self.keys), *shape)

    def pair(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Twice (B, *shape) float32: independent whole numbers, uniform in 0..2²⁴ − 1, out of one draw."""
        high, low = self._window(shape, (40, 8))
        return high, low

    def uniform(self, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32, uniform in [low, high)."""
        (unit,) = self._window(shape, (40,))
        return unit.mul_(2.0**-24 * (high - low)).add_(low)

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        """(B, *shape) float32, standard normal (Box and Muller 1958)."""
        radius, angle = self.pair(shape)
        radius = radius.add_(1.0).mul_(2.0**-24)  # in (0, 1]: its logarithm is finite
        return radius.log_().mul_(-2.0).sqrt_().mul_(angle.mul_(2.0 * math.pi * 2.0**-24).cos_())

    def _next(self) -> int:
        self.draw += 1
        return self.draw - 1

    def _window(self, shape: Sequence[int], shifts: tuple[int, ...]) -> tuple[Tensor, ...]:
        """For each shift (B, *shape) float32: 24 bits of one draw, so far from its end."""
        if self.keys.device.type != "cpu":
            bits = self.bits(shape)
            return tuple(((bits >> shift) & 0xFFFFFF).to(torch.float32) for shift in shifts)
        count, draw = math.prod(shape), self._next()
        made = [np.empty((len(self.keys), count), np.float32) for _ in shifts]
        for rows, columns, hashes in _blocks(self.keys, draw, count):
            for part, shift in zip(made, shifts, strict=True):
                part[rows, columns] = ((hashes >> np.uint64(shift)) & np.uint64(0xFFFFFF)).view(np.int64)
        return tuple(torch.from_numpy(part).view(len(self.keys), *shape) for part in made)

    def integers(self, high: int, shape: Sequence[int] = (), low: int = 0) -> Tensor:
        """(B, *shape) int64, uniform in [low, high)."""
        return (self.uniform(shape) * (high - low)).to(torch.int64).clamp_(max=high - low - 1) + low
