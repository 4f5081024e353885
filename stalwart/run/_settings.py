"""How to train: the settings of a run, which the command line offers as its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from stalwart.core.component import Range, at_least, component
from stalwart.core.contracts import Augment, OptimizerMaker, Schedule, Source
from stalwart.core.errors import InputError


@component
class Training:
    """How to train: everything but the data, the model, the task and the objective."""

    epochs: Annotated[int, at_least(1)] = 10
    """Passes over the training images."""
    batch: Annotated[int, at_least(1)] = 128
    """Images in an optimizer step, over all processes."""
    optimizer: OptimizerMaker = "adamw()"  # type: ignore[assignment]
    """What turns gradients into steps."""
    schedule: Schedule = "cosine()"  # type: ignore[assignment]
    """The learning rate's course."""
    augments: tuple[Augment, ...] = ()
    """Random changes of the training images, in their order; may be given several times."""
    radius: Schedule = "constant()"  # type: ignore[assignment]
    """The course of the share of the threat's ε that an adversarial objective trains with; a curriculum begins small,
    as triangle(peak=0.5, start=0, floor=1) does. Validation always attacks with all of it."""
    extra: Source | None = None
    """More data of the same classes to train on; only its train split is used."""
    extra_share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.5
    """Share of each batch that comes from the extra data. An epoch is still one pass through the main data."""
    start: str | None = None
    """A run or checkpoint whose weights training begins with, all that fit the model by name and shape. What does not,
    such as the last layer for another number of classes, begins anew, and the run says what that is."""
    seed: int = 0
    """Of everything random: initial weights, order, augmentation, dropout, the division of train."""
    val: Annotated[float, Range(0, 1, open_high=True)] = 0.1
    """Share of train kept for validation where the data bring no validation split."""
    size: Annotated[int, at_least(1)] | tuple[int, int] | None = None
    """Bring images to this size, or (height, width), in pixels; None where all have one size."""
    ema: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    """Decay of an average of the weights, which is validated and kept in place of the last ones; 0 for none."""
    patience: Annotated[int, at_least(0)] = 0
    """Stop after so many epochs without a better validation score; 0 for never."""
    accumulate: Annotated[int, at_least(1)] = 1
    """Parts that a batch is computed in, to save memory; the gradient is the same."""
    clip: Annotated[float, at_least(0)] = 0.0
    """Largest norm of the gradient of all parameters together; 0 for no limit."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass. auto measures what is fastest here, memory layout included, and takes bf16 only
    where the hardware is made for it; fp32 and bf16 measure nothing."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    workers: Annotated[int, at_least(0)] = 0
    """Processes that decode images where the data do not fit into memory."""
    cache: str = ""
    """A folder on a fast disk for images that do not fit into memory: they are decoded once and not in every epoch, and
    gone when the run ends. Each process of several has its own."""
    skip_bad: bool = False
    """Leave out files that cannot be read, and count them."""
    save_every_s: Annotated[float, at_least(0)] = 60.0
    """Seconds between two saves in mid-epoch."""
    max_steps: Annotated[int, at_least(1)] | None = None
    """Stop after so many optimizer steps; the schedule still spans the epochs."""

    def check(self) -> None:
        """Raise InputError for settings that do not go together."""
        if self.batch % self.accumulate:
            raise InputError(
                f"batch must be a multiple of accumulate, {self.accumulate}, to be computed in equal parts. "
                f"Got {self.batch}."
            )
        part = self.batch // self.accumulate
        if self.extra is not None and not 0 < self.extra_images < part:
            raise InputError(
                f"extra_share must leave an image of both in each part of a batch, {part} images. "
                f"Got {self.extra_share:g}."
            )
        if self.cache and not Path(self.cache).is_dir():
            raise InputError(f"cache must be a folder that is there. Got {self.cache!r}.")
        if self.patience and not self.val:
            raise InputError(f"patience={self.patience} needs validation images. Got val={self.val:g}.")

    @property
    def extra_images(self) -> int:
        """Images of the extra data in each part of a batch."""
        return 0 if self.extra is None else round(self.batch // self.accumulate * self.extra_share)
