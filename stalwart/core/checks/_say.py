"""What all checks say alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stalwart.core.errors import ContractError


def expect(good: bool, expected: str, came: object) -> None:
    if not good:
        raise ContractError(f"{expected}. Got {came!r}.")


def per_sample(loss: Tensor, n: int, who: str) -> None:
    expect(loss.shape == (n,), f"{who} must have shape ({n},)", tuple(loss.shape))
    expect(loss.dtype == torch.float32, f"{who} must be float32", loss.dtype)
    expect(bool(loss.isfinite().all()), f"{who} must be finite", loss.tolist())


def some_of(n: int) -> Sequence[int]:
    return sorted({0, n // 3, n // 2, n - 1})
