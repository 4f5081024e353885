"""Policies as networks: what is seen goes in as it is, and normalisation is a layer of the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stalwart.core.errors import InputError
from stalwart.mdp.spaces import Kind
from stalwart.mdp.squashing import LEAST_STD, MOST_STD

_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d)
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Normaliser(nn.Module):
    """(x − mean) / deviation of what was seen so far, cut at ±10. Learners call `learn`; else it stands still."""

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("square", torch.ones(inputs))  # the variance
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, observations: Tensor) -> Tensor:
        return ((observations - self.mean) * (self.square + 1e-8).rsqrt()).clamp(-10.0, 10.0)

    def into(self, observations: Tensor, out: Tensor) -> Tensor:
        """The same, written to `out`, where no gradients are recorded."""
        return torch.sub(observations, self.mean, out=out).mul_((self.square + 1e-8).rsqrt()).clamp_(-10.0, 10.0)

    def learn(self, observations: Tensor) -> None:
        """Take in (N, inputs): the moments of two sets together (Chan, Golub and LeVeque 1979)."""
        count, old = len(observations), float(self.count)
        variance, mean = torch.var_mean(observations, 0, correction=0)
        total = old + count
        gap = mean - self.mean
        if old == 0:
            self.square.copy_(variance)
        else:
            self.square.mul_(old / total).add_(variance * (count / total) + gap**2 * (old * count / total**2))
        self.mean.add_(gap * (count / total))
        self.count.fill_(total)


class Policy(nn.Module):
    """From observations (N, inputs), or states (N,), to `outputs` numbers for each, and from those to actions.

    What the numbers are, `kind` says: 'values' of actions, 'logits' of actions, 'gaussian': the mean of a vector with
    deviations of its own; 'squashed': mean and logarithm of the deviation of a vector before tanh.
    """

    middle: Tensor
    reach: Tensor

    def __init__(
        self, inputs: int, outputs: int, kind: Kind, widths: Sequence[int], *, activation: str = "tanh",
        states: bool = False, normalise: bool = False, gru: int = 0, duelling: bool = False,
        pixels: Sequence[int] = (), low: Sequence[float] = (), high: Sequence[float] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.inputs, self.outputs, self.kind, self.states, self.gru = inputs, outputs, kind, states, gru
        if kind == "squashed" and not low:
            raise InputError("a squashed policy needs the actions' bounds: low and high.")
        self.norm = Normaliser(inputs) if normalise else None
        self.pixels = tuple(pixels)
        layers, width = _seeing(self.pixels) if pixels else ([], inputs)
        for wide in widths:
            layers += [_orthogonal(nn.Linear(width, wide), math.sqrt(2.0)), _ACTIVATIONS[activation]()]
            width = wide
        self.body = nn.Sequential(*layers)
        self.cell = nn.GRUCell(width, gru) if gru else None
        width = gru or width
        gain = 1.0 if kind == "values" else 0.01
        self.head = _orthogonal(nn.Linear(width, outputs * (2 if kind == "squashed" else 1)), gain)
        self.state_value = _orthogonal(nn.Linear(width, 1), 1.0) if duelling else None
        self.log_std = nn.Parameter(torch.zeros(outputs)) if kind == "gaussian" else None
        bounded = len(low) > 0
        self.register_buffer("middle", (torch.tensor(high) + torch.tensor(low)) / 2 if bounded else torch.zeros(()))
        self.register_buffer("reach", (torch.tensor(high) - torch.tensor(low)) / 2 if bounded else torch.ones(()))
        self.bounded = bounded

    def prepare(self, observations: Tensor) -> Tensor:
        """Numbers for the first layer: states one-hot, vectors normalised, bytes of pictures from 0 to 1."""
        if self.states:
            return F.one_hot(observations.long(), self.inputs).to(torch.float32)
        observations = observations.to(torch.float32)
        if self.pixels:
            return observations / 255
        return observations if self.norm is None else self.norm(observations)

    def outputs_of(self, prepared: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The head's numbers and the memory (N, gru) after it; None where the policy has none."""
        features = self.body(prepared)
        if self.cell is not None:
            if memory is None:
                memory = torch.zeros(len(features), self.gru, device=features.device)
            features = memory = self.cell(features, memory)
        out = self.head(features)
        if self.state_value is not None:  # Q = V + A − mean A: Wang et al., "Dueling network architectures" (ICML 2016)
            out = self.state_value(features) + out - out.mean(-1, keepdim=True)
        return out, memory

    def forward(self, observations: Tensor) -> Tensor:
        """(N, outputs) without memory of what was before."""
        out: Tensor = self.outputs_of(self.prepare(observations))[0]
        return out

    def act(
        self, observations: Tensor, memory: Tensor | None = None, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Actions as the world takes them: (N,) int64 or (N, dims) float32, and the memory.

        Args:
            rng: draw by it; None: the action thought best.
        """
        out, memory = self.outputs_of(self.prepare(observations), memory)
        if rng is None or self.kind == "values":
            return self.best(out), memory
        if self.kind == "logits":
            return (out + gumbel(out.shape, rng, out.device)).argmax(-1), memory
        if self.kind == "gaussian":
            return self.bound(out + torch.randn(out.shape, generator=rng).to(out.device) * self.deviation()), memory
        mean, log_std = out.chunk(2, -1)
        log_std = log_std.clamp(LEAST_STD, MOST_STD)
        mean = mean + torch.randn(mean.shape, generator=rng).to(out.device) * log_std.exp()
        return self.bound(mean.tanh()), memory

    def best(self, out: Tensor) -> Tensor:
        """The action thought best, from the head's numbers."""
        return out.argmax(-1) if self.kind in ("logits", "values") else self.bound(self.mean_action(out))

    def mean_action(self, out: Tensor) -> Tensor:
        """(N, dims) of a vector policy, before its bounds; differentiable."""
        return out if self.kind == "gaussian" else out.chunk(2, -1)[0].tanh()

    def state(self) -> dict[str, Tensor]:
        """As a learner's state holds it."""
        return {f"policy/{name}": value for name, value in self.state_dict().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take what `state` gave."""
        for name, value in self.state_dict().items():
            value.copy_(state[f"policy/{name}"])

    def deviation(self) -> Tensor:
        """(dims,) of a gaussian policy."""
        assert self.log_std is not None
        return self.log_std.exp()

    def bound(self, raw: Tensor) -> Tensor:
        """From −1 to 1 into the actions' range; unbounded actions are passed on."""
        return self.middle + self.reach * raw.clamp(-1.0, 1.0) if self.bounded else raw


def gumbel(shape: Sequence[int], rng: torch.Generator | None, device: torch.device | str = "cpu") -> Tensor:
    """−log(−log U): the argmax of logits plus these is a draw from their softmax (Gumbel 1954)."""
    uniform = torch.rand(tuple(shape), generator=rng).clamp_(1e-10, 1 - 1e-7)
    return -torch.log(-torch.log(uniform)).to(device)


class _Picture(nn.Module):
    """(N, channels, height, width) of rows; the shortest side holds the channels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.last = shape, shape[2] < shape[0]

    def forward(self, rows: Tensor) -> Tensor:
        shown = rows.reshape(len(rows), *self.shape)
        return shown.movedim(-1, -3) if self.last else shown


def _seeing(shape: tuple[int, ...]) -> tuple[list[nn.Module], int]:
    """The convolutions of Mnih et al. (Nature 2015), Methods, and how many numbers they make of a picture.

    Raises:
        InputError: a picture that is too small for them.
    """
    if len(shape) != 3 or sorted(shape)[1] < 36:
        raise InputError(f"pictures must have three sides, two of them of at least 36 pixels. Got {shape}.")
    sides, channels = sorted(shape)[1:], min(shape)
    layers: list[nn.Module] = [_Picture(shape)]
    for wide, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        layers += [_orthogonal(nn.Conv2d(channels, wide, size, stride), math.sqrt(2.0)), nn.ReLU()]
        sides, channels = [(side - size) // stride + 1 for side in sides], wide
    return [*layers, nn.Flatten()], channels * sides[0] * sides[1]


def _orthogonal(layer: _Layer, gain: float) -> _Layer:
    """Orthogonal weights (Saxe et al. 2014) and biases of 0, as PPO's results were found to want them."""
    if layer.weight.device.type != "meta":
        nn.init.orthogonal_(layer.weight, gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layer
