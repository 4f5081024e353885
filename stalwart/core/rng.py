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
from collections.abc import Sequence

import torch
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
        count = math.prod(shape)
        counter = torch.arange(count, device=self.keys.device) + (self.draw << 32)
        self.draw += 1
        return _mix(_mix(self.keys)[:, None] + counter * _GOLDEN).view(len(self.keys), *shape)

    def uniform(self, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32, uniform in [low, high)."""
        unit = ((self.bits(shape) >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24
        return unit * (high - low) + low

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        """(B, *shape) float32, standard normal (Box and Muller 1958)."""
        bits = self.bits(shape)
        radius = (((bits >> 40) & 0xFFFFFF).to(torch.float32) + 1.0) * 2.0**-24  # in (0, 1]: its logarithm is finite
        angle = ((bits >> 8) & 0xFFFFFF).to(torch.float32) * (2.0 * math.pi * 2.0**-24)
        return (-2.0 * radius.log()).sqrt() * angle.cos()

    def integers(self, high: int, shape: Sequence[int] = (), low: int = 0) -> Tensor:
        """(B, *shape) int64, uniform in [low, high)."""
        return (self.uniform(shape) * (high - low)).to(torch.int64).clamp_(max=high - low - 1) + low
