"""Which operations a forward pass runs: what a model does, whatever its code calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

DROPOUT = {"bernoulli", "bernoulli_", "native_dropout"}
STEPS = {
    *("round", "round_", "floor", "floor_", "ceil", "ceil_", "trunc", "trunc_", "sign", "sgn", "argmax", "one_hot"),
    *("bucketize", "searchsorted", "fake_quantize_per_tensor_affine", "quantize_per_tensor"),
}
"""Operations with steps instead of slopes."""


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        call: Callable[..., Any] = func
        return call(*args, **(kwargs or {}))


@torch.no_grad()
def operations(model: nn.Module, images: Tensor) -> set[str]:
    """The names of the tensor operations of one forward pass."""
    with _Tape() as tape:
        model(images)
        seen: set[str] = tape.seen
    return seen
