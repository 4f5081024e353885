"""Training on several processes, on one machine or many, under `torchrun`.

Each process takes its part of every batch and sums its gradients; one all-reduce of all gradients in one buffer gives
every process the whole batch's gradient. `DistributedDataParallel` wraps the forward pass instead, which an objective
that attacks the model in between cannot live with: the attack's passes would each wait for gradients that never come.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Rank on this machine, which says which accelerator is ours."""

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Give each process the sum of all gradients."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        done = 0
        for gradient in gradients:
            gradient.copy_(flat[done : done + gradient.numel()].view(gradient.shape))
            done += gradient.numel()

    def same_start(self, model: nn.Module) -> nn.Module:
        """Give each process the first one's weights and buffers.

        BatchNorm then takes its statistics over all processes where there is a kernel for it, on CUDA. On a CPU each
        process has those of its own part, so there several processes equal one only without BatchNorm.
        """
        if self.size == 1:
            return model
        self.same(model.state_dict().values())
        if any(parameter.is_cuda for parameter in model.parameters()):
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return model

    def same(self, tensors: Iterable[Tensor]) -> None:
        """Give each process the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gather(self, state: T) -> list[T]:
        """Every process's `state`, in order of rank."""
        if self.size == 1:
            return [state]
        states: list[T] = [state] * self.size
        dist.all_gather_object(states, state)
        return states

    def joined(self, mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every process's rows of each named tensor in one, in order of rank. All processes must call it together."""
        if self.size == 1:
            return dict(mine)
        held = [part for part in self.gather({name: rows.cpu() for name, rows in mine.items()}) if part]
        return {name: torch.cat([part[name] for part in held]) for name in (held[0] if held else ())}

    def place(self, count: int) -> tuple[int, int]:
        """Where this process's rows begin, and how many all have, where it has `count` of them."""
        counts = self.gather(count)
        return sum(counts[: self.rank]), sum(counts)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up anywhere."""
        return flag if self.size == 1 else bool(self.sum_(torch.tensor(float(flag), device=device)) > 0)


@contextmanager
def joined() -> Iterator[World]:
    """The processes that `torchrun` started, joined from here to their end; alone without it.

    They stay joined when the block is left: to part and to join again under one launcher can hang, as the addresses of
    the first time are still there to be found.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # collectives of objects go by it
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_part)
    yield World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def _part() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
