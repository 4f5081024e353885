"""A policy as the learners of control make it."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature
from stalwart.mdp.policies import Policy


@component
class policy:
    """Fully connected layers from observations to actions, with a memory (GRU) if wished; before them convolutions
    where pictures are seen. Learners spell it themselves.

    Not a classifier of images: it takes (N, inputs) numbers, or (N,) numbers of states.
    """

    inputs: Annotated[int, at_least(1)]
    """Numbers seen, or states."""
    outputs: Annotated[int, at_least(1)]
    """Discrete actions, or numbers of an action."""
    kind: Literal["values", "logits", "gaussian", "squashed"]
    """What the outputs are."""
    widths: tuple[Annotated[int, at_least(1)], ...] = (64, 64)
    """Of the hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Behind each hidden layer."""
    states: bool = False
    """An observation is the number of a state."""
    normalise: bool = False
    """Observations are normalised by what was seen in training."""
    gru: Annotated[int, at_least(0)] = 0
    """Numbers of memory; 0: none."""
    duelling: bool = False
    """Values are a state's value and the actions' advantages."""
    pixels: tuple[Annotated[int, at_least(1)], ...] = ()
    """Shape of a picture of bytes, which convolutions see before the hidden layers; empty: numbers are seen."""
    low: tuple[float, ...] = ()
    """Least of each number of an action."""
    high: tuple[float, ...] = ()
    """Greatest of each number of an action."""

    def build(self, signature: Signature) -> nn.Module:
        return Policy(
            self.inputs, self.outputs, self.kind, self.widths, activation=self.activation, states=self.states,
            normalise=self.normalise, gru=self.gru, duelling=self.duelling, pixels=self.pixels,
            low=self.low, high=self.high,
        )  # fmt: skip

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        pass
