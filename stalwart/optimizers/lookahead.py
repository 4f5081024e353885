"""Lookahead: slow weights that follow another optimizer's fast ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import OptimizerMaker


@component
class lookahead:
    """Every k steps of the inner optimizer, slow ← slow + α (fast − slow), and the fast weights go on from there.

    Zhang et al., "Lookahead optimizer: k steps forward, 1 step back" (NeurIPS 2019), algorithm 1.
    """

    inner: OptimizerMaker = "sgd()"  # type: ignore[assignment]
    """The optimizer of the fast weights."""
    k: Annotated[int, at_least(1)] = 5
    """Fast steps between two slow ones."""
    alpha: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    """How far the slow weights go towards the fast ones; 1 does nothing."""

    @property
    def lr(self) -> float:
        return self.inner.lr

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return _Lookahead(self.inner.build(model), self.k, self.alpha)


class _Lookahead(torch.optim.Optimizer):
    """Shares the inner optimizer's groups. The slow weights stand apart from its state, which some optimizers expect to
    be empty at their first step; `state_dict` holds both, as the weight's 'slow'."""

    def __init__(self, inner: torch.optim.Optimizer, k: int, alpha: float) -> None:
        self.inner, self.k, self.alpha = inner, k, alpha
        self.defaults = inner.defaults
        for group in inner.param_groups:
            group.setdefault("slow_age", 0)
        self.slow = [weight.detach().clone() for weight in self._weights()]

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.inner.state

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.inner.param_groups for weight in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        packed = self.inner.state_dict()
        state = {index: {**packed["state"].get(index, {}), "slow": slow} for index, slow in enumerate(self.slow)}
        return {**packed, "state": state}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = {index: dict(values) for index, values in state_dict["state"].items()}
        for index, own in enumerate(self.slow):
            own.copy_(state[index].pop("slow"))
        state = {index: values for index, values in state.items() if values}
        self.inner.load_state_dict({**state_dict, "state": state})

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise TypeError("lookahead takes no closure: call backward() before step().")
        self.inner.step()
        for group in self.param_groups:
            group["slow_age"] += 1
        if self.param_groups[0]["slow_age"] % self.k == 0:
            fast = self._weights()
            torch._foreach_lerp_(self.slow, fast, self.alpha)
            torch._foreach_copy_(fast, self.slow)
