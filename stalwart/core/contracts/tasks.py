"""What makes a task: its loss, its goals for an attacker, its figures, and the places and pictures of its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from stalwart.core.contracts.data import Info


@dataclass(frozen=True)
class Verdict:
    """What a goal says of a batch of images: how near (`loss`, to be raised) and whether it is reached."""

    loss: Tensor
    """(B,) float32, differentiable with respect to the images."""
    reached: Tensor | None
    """(B,) bool; an attack may leave such a sample alone. None: go on with every sample, whatever is reached."""
    gaps: Tensor | None = None
    """(B, R) float32, differentiable: how far each rival outcome is ahead of the one to be spoiled, which has a column
    of its own, −inf. The goal is reached where one is above 0. For classification column j holds z_j − z_y, so that
    every loss of the logits can be had from it (`core/losses.py`). None where a task has no such numbers."""
    parts: Tensor | None = None
    """(B, 2) float32, differentiable, of a goal that asks for two things at once: how far each is above its bar. It is
    reached where both are above 0. None where the goal is one thing."""
    harm: Tensor | None = None
    """(B,) float32, where an image can be spoiled more or less: how much of it is, in numbers that fall and rise as the
    task's own figure does the other way round, such as the share of wrong pixels. A runner that measures that figure
    goes on after `reached` and keeps each image's point of greatest harm. None where `reached` is all there is."""


@runtime_checkable
class Goal(Protocol):
    """All that an attack may know of a task: one forward pass, and a verdict for each sample."""

    def __call__(self, images: Tensor) -> Verdict: ...

    def select(self, index: Tensor) -> Goal:
        """The same goal for the samples at `index` (int64) alone."""
        ...

    @property
    def model(self) -> nn.Module:
        """The model that the goal asks."""
        ...

    def on(self, model: nn.Module) -> Goal:
        """The same goal asked of another model: a surrogate, or the same one made differentiable."""
        ...


@runtime_checkable
class Metric(Protocol):
    """Gathers predictions and gives named figures at the end."""

    def update(self, prediction: Any, targets: Any) -> None: ...

    def merge(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take in what other processes' metrics gathered (their `state`)."""
        ...

    def state(self) -> dict[str, Any]:
        """What was gathered so far, as tensors and plain values."""
        ...

    def compute(self) -> dict[str, Any]:
        """Named figures: numbers, or nested lists for tables; 'intervals' maps names to 95 % intervals (low, high)."""
        ...


@runtime_checkable
class Task(Protocol):
    """What makes a task a task: its loss, its predictions, its goals for an attacker, its figures."""

    @property
    def score(self) -> str:
        """The metric's figure that says which model is best, such as 'top1'; higher is better."""
        ...

    def collate(self, targets: Sequence[Any]) -> Any:
        """Targets of samples, as a source gives them, to the batch's targets."""
        ...

    def loss(self, model: nn.Module, images: Tensor, targets: Any, *, smoothing: float = 0.0) -> Tensor:
        """(B,) float32: each sample's own loss. Deterministic, one forward pass."""
        ...

    def divergence(self, model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
        """(B,) float32, 0 or more: how far the predictions at `others` are from those at `images`, whatever the truth.

        Differentiable in both and in the weights, deterministic, one forward pass `model(...)` of each. Of classes it
        is KL(p(images) ‖ p(others)).
        """
        ...

    def predict(self, model: nn.Module, images: Tensor) -> Any:
        """Class probabilities (B, K) for classification. No gradient."""
        ...

    def goal(self, model: nn.Module, targets: Any, kind: str = "", wanted: Any = None) -> Goal:
        """An attacker's goal. `kind` names the loss ('' for the task's usual one); `wanted` makes it targeted."""
        ...

    def metric(self, info: Info) -> Metric: ...

    def describe(self, prediction: Any, index: int, info: Info) -> dict[str, Any]:
        """One sample's prediction in plain values, for `predict --json` and captions."""
        ...

    def describe_target(self, targets: Any, index: int, info: Info) -> dict[str, Any]:
        """One sample's target in plain values, under the same names as `describe` uses."""
        ...


@runtime_checkable
class Placed(Task, Protocol):
    """A task whose targets have places in the image: masks, boxes."""

    def move(self, targets: Any, placement: Tensor, size: tuple[int, int]) -> Any:
        """The collated targets of images that were moved.

        Args:
            placement: (B, 2, 3) as `Moving.placement` gives it.
            size: (height, width) of the moved images.
        """
        ...

    def place(self, target: Any, placement: Tensor, size: tuple[int, int]) -> Any:
        """The same of one sample's target as the source gives it, with one map (2, 3)."""
        ...

    def compose(self, targets: Any, windows: Tensor) -> Any:
        """Targets of B · m frames of one size, laid together to those of B: of each is left what lies in its window.

        Args:
            windows: (B, m, 4) int64: left, top, right, bottom.
        """
        ...

    def restore(self, prediction: Any, index: int, placement: Tensor, size: tuple[int, int]) -> Any:
        """One sample's prediction as that of a picture of its own: a batch of one. What is not sure enough to be shown
        may be left out.

        Args:
            placement: (2, 3) from a place in the other picture to what it shows of the image predicted on.
            size: (height, width) of the other picture.
        """
        ...

    def outline(self, prediction: Any, index: int, info: Info) -> dict[str, Any]:
        """What `describe` says, and every mask in it as COCO's compressed run lengths."""
        ...


@dataclass(frozen=True)
class Drawing:
    """What is drawn upon one image: objects with their places, a colour for each pixel, or both."""

    boxes: Tensor
    """(n, 4) float32: left, top, right, bottom in pixels."""
    labels: Tensor
    """(n,) int64 class indices."""
    scores: Tensor
    """(n,) float32 in [0, 1]; 1 where it is the truth."""
    area: Tensor | None = None
    """(H, W) uint8 class indices, 255 where nothing is."""


@runtime_checkable
class Drawn(Task, Protocol):
    """A task whose targets and predictions can be drawn upon the image."""

    def draw(self, prediction: Any, index: int) -> Drawing:
        """One sample's prediction."""
        ...

    def draw_target(self, targets: Any, index: int) -> Drawing:
        """One sample's collated target."""
        ...


@runtime_checkable
class Directed(Task, Protocol):
    """A task of which an attacker can want that everything be taken for one class."""

    def toward(self, targets: Any, label: int) -> tuple[Any, Tensor]:
        """What is wanted of images whose collated targets these are: the `wanted` of `goal`, and (B,) bool in which of
        them there is anything to be won. The others are left out of the count: all in them is of that class already.

        Args:
            label: the class's index.
        """
        ...
