"""A policy and the values beside it, forwards and backwards by hand, in one thread or several.

PyTorch's own threads share out every product, and wait for each other after every one: of products that take some
hundred microseconds two cores make little. Here each of Python's threads takes its part of the rows through all layers
(PyTorch lets go of Python's lock meanwhile), and the parts' slopes are added in their order. So the bits follow from
the number of threads and not from who is first; another number gives the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from stalwart.mdp.flat import Flat
from stalwart.mdp.layers import Layers
from stalwart.mdp.policies import Policy
from stalwart.mdp.surrogate import Found

LEAST = 256
"""Rows for which a thread is woken."""
_T = TypeVar("_T")

LossOf = Callable[[Tensor, Tensor, Tensor], Found]
"""(B, outputs) of the policy, (B,) values and (B,) which rows they are, to their part of the loss and its slopes."""


def threads_for(rows: int, device: torch.device) -> int:
    """As many as PyTorch has, if each gets rows enough."""
    return max(1, min(torch.get_num_threads(), rows // LEAST)) if device.type == "cpu" else 1


@contextmanager
def single(threads: int) -> Iterator[None]:
    """While `threads` of Python's own are at work, PyTorch's products have one each."""
    was = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads > 1:
            torch.set_num_threads(was)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "pair")


class Pair:
    """A policy and the values beside it, or on its last hidden layer. Call it where no gradients are recorded."""

    def __init__(self, policy: Policy, critic: Policy, shared: bool, rows: int, flat: Flat, threads: int = 1) -> None:
        """Args:
        shared: `critic` is one layer on the policy's last hidden one.
        rows: the most that is passed at once.
        flat: the weights of both, to whose `gradient` slopes are added.
        threads: in which rows are gone through; see `single`.
        """
        self._flat, self._rows, self._threads = flat, rows, threads
        each = -(-rows // threads)
        self._others = [flat.beside() for _ in range(threads - 1)]
        self._hands = [
            _Hand(policy, critic, shared, each, slopes) for slopes in (None, *(views for _, views in self._others))
        ]

    def act(self, prepared: Tensor) -> Tensor:
        """(B, inputs) → (B, outputs) of the policy alone; in one thread a buffer that the next call writes over."""
        found = self._shared_out(prepared, lambda hand, part: hand.actor.forward(part)[0])
        return found[0] if len(found) == 1 else torch.cat(found)

    def values(self, prepared: Tensor) -> Tensor:
        """(M, inputs) → (M,) of any number."""
        found: list[Tensor] = []
        for part in torch.split(prepared, self._rows):
            found += self._shared_out(part, lambda hand, rows: hand.values(rows)[:, 0].clone())
        return torch.cat(found)

    def slopes(self, prepared: Tensor, index: Tensor, loss_of: LossOf) -> Tensor:
        """The loss of some rows, whose slopes are added to the weights'.

        Args:
            prepared: (M, inputs).
            index: (B,) which rows, at most as many as was said.
        """
        losses = self._shared_out(index, lambda hand, rows: hand.slopes(prepared, rows, loss_of))
        for vector, _ in self._others[: len(losses) - 1]:
            self._flat.gradient.add_(vector)
            vector.zero_()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _shared_out(self, rows: Tensor, work: Callable[[_Hand, Tensor], _T]) -> list[_T]:
        """What each hand makes of its part of the rows, in their order."""
        if self._threads == 1 or len(rows) < LEAST:
            return [work(self._hands[0], rows)]
        first, *others = torch.tensor_split(rows, self._threads)
        pool = _pool(self._threads)
        waiting = [pool.submit(_quietly, work, hand, part) for hand, part in zip(self._hands[1:], others, strict=True)]
        return [work(self._hands[0], first), *(one.result() for one in waiting)]


def _quietly(work: Callable[[_Hand, Tensor], _T], hand: _Hand, part: Tensor) -> _T:
    """In another thread, where gradients are recorded unless that is said anew."""
    with torch.inference_mode():
        return work(hand, part)


class _Hand:
    """The layers with one thread's buffers."""

    def __init__(
        self, policy: Policy, critic: Policy, shared: bool, rows: int, slopes: Mapping[Tensor, Tensor] | None
    ) -> None:  # fmt: skip
        if shared:
            self.nets = [Layers(policy.body, [policy.head, critic.head], rows, slopes)]
        else:
            self.nets = [Layers(net.body, [net.head], rows, slopes) for net in (policy, critic)]
        self.actor = Layers(policy.body, [policy.head], rows)
        self.drawn = torch.empty(rows, policy.inputs, device=policy.head.weight.device)
        self.log_std = policy.log_std
        self.into = slopes

    def forward(self, prepared: Tensor) -> list[Tensor]:
        return [out for net in self.nets for out in net.forward(prepared)]

    def values(self, prepared: Tensor) -> Tensor:
        """(B, 1)."""
        return self.nets[-1].forward(prepared)[-1]

    def slopes(self, prepared: Tensor, index: Tensor, loss_of: LossOf) -> Tensor:
        seen = torch.index_select(prepared, 0, index, out=self.drawn[: len(index)])
        out, value = self.forward(seen)
        found = loss_of(out, value[:, 0], index)
        slopes = [found.out, found.value[:, None]]
        if len(self.nets) == 1:
            self.nets[0].backward(seen, slopes)
        else:
            for net, slope in zip(self.nets, slopes, strict=True):
                net.backward(seen, [slope])
        if self.log_std is not None and found.log_std is not None:
            into = self.log_std.grad if self.into is None else self.into[self.log_std]
            assert into is not None
            into.add_(found.log_std)
        return found.loss
