"""Every contract of the house, and the frozen records that pass between its rooms.

Images are float tensors (B, C, H, W) in [0, 1] everywhere but on disk and in a source, where they are uint8.
Normalisation is a layer of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stalwart.core.rng import Noise

# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Info:
    """What a source tells of itself."""

    name: str
    """Short name of the data set, as reports print it."""
    classes: tuple[str, ...]
    """Class names in the order of their indices."""
    licence: str
    """The data's licence, or 'unknown'."""
    origin: str
    """Where the data come from: a paper, a publisher or a folder."""
    channels: int = 3
    """1 for grey, 3 for RGB."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels where all images share it, else None."""


@dataclass(frozen=True)
class Sample:
    """One example as it lies on disk: uint8 image (C, H, W), its target, and a name to call it by."""

    image: Tensor
    target: Any
    name: str


@dataclass(frozen=True)
class Objects:
    """The objects in one image. Places are continuous pixels: (0, 0) is the image's upper left corner."""

    boxes: Tensor
    """(n, 4) float32: left, top, right, bottom."""
    labels: Tensor
    """(n,) int64 class indices."""
    masks: Tensor | None = None
    """(n, H, W) bool, each object's visible pixels; None where the data have boxes alone."""
    crowd: Tensor | None = None
    """(n,) bool: a region of many objects, which is neither learned nor counted against a prediction; None: none is."""
    semantic: Tensor | None = None
    """(H, W) uint8: the class of each pixel of the image, whatever it belongs to, 255 where it counts for nothing; None
    where the data have none."""

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class Examples(Protocol):
    """One split of a source: a sequence of samples, decoded when asked for."""

    @property
    def info(self) -> Info: ...

    @property
    def strata(self) -> Sequence[int]:
        """For each sample the group to keep in proportion when the split is divided (its class), without decoding."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError, which names the file, when the sample cannot be read."""
        ...

    def arrays(self) -> tuple[Tensor, Sequence[Any]] | None:
        """All images (N, C, H, W) uint8 and targets where the split lives in memory at one size, else None."""
        ...


@dataclass(frozen=True)
class Trouble:
    """What is odd about a label."""

    kind: str
    """In two or three words, the same for all of a kind: 'box outside', 'empty mask'."""
    message: str
    """One line that names the file and the place in it."""
    fatal: bool
    """Whether the sample is refused for it; else it is read without it or with it mended."""


@runtime_checkable
class Inspected(Examples, Protocol):
    """Examples that tell what is odd about labels rather than refusing the first."""

    def inspect(self, index: int) -> tuple[Sample, Sequence[Trouble]]:
        """The sample with all labels that could be made out, and what is odd about the others.

        Raises:
            DataError: there is nothing to be made out, as where the image cannot be read.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """A data set as the user names it: ``cifar10(root='data')``."""

    def splits(self) -> tuple[str, ...]:
        """The splits at hand, among 'train', 'val' and 'test'. Raises DataError when the data are not there."""
        ...

    def open(self, split: str) -> Examples: ...


@dataclass(frozen=True)
class Batch:
    """What a training step sees."""

    images: Tensor
    """(B, C, H, W) float in [0, 1], augmented, on the training device."""
    targets: Any
    """The task's collated targets; (B,) int64 for classification."""
    index: Tensor
    """(B,) int64 positions in the split."""
    noise: Noise
    """Random numbers of these samples in this epoch, whatever the batch's make-up."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What an objective that `carries` left at these places of the batch in the step before, and may replace: tensors
    with one row for each sample. The trainer saves it, so that a resumed run finds it again."""


@runtime_checkable
class Augment(Protocol):
    """A random change of training images, drawn for each sample from its own noise."""

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        """(B, C, H, W) float in [0, 1] to the same range, layout and (unless its purpose is another) size.

        `images` itself is not written to.

        Args:
            noise: the samples' own numbers, the same in every epoch: `noise.fork(NAME, epoch)` gives an epoch's.
            epoch: counted from 0.
        """
        ...


@runtime_checkable
class Moving(Augment, Protocol):
    """An augmentation that moves pixels: targets that have a place in the image move along.

    Places are continuous: x to the right and y downwards in pixels, an image spans [0, width] × [0, height], and the
    first pixel's centre is (0.5, 0.5).
    """

    def placement(self, noise: Noise, epoch: int, size: tuple[int, int]) -> Tensor:
        """(B, 2, 3) float32: the affine map from a place (x, y, 1) in the output to what it shows of the input.

        Args:
            noise, epoch: what the call with the images gets.
            size: (height, width) of the input.
        """
        ...


@runtime_checkable
class Composing(Protocol):
    """An augmentation that makes one image of several. The others are drawn from the whole split by the sample's own
    noise, so that what a sample becomes does not hang on its batch; for tasks whose targets have a place."""

    def others(self, noise: Noise, epoch: int, count: int) -> Tensor:
        """(B, m − 1) int64 in 0..count − 1: the rows of the split that each sample takes in, after its own."""
        ...

    def frames(self, noise: Noise, epoch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(B, m, 2, 3) float32 placements (`Moving.placement`), and (B, m, 4) int64 windows: of each image the left,
        top, right and bottom of the part of the output that shows it. Windows do not overlap."""
        ...

    def __call__(self, images: Tensor, noise: Noise, epoch: int) -> Tensor:
        """Images (B, m, C, H, W) in [0, 1], each sample's own first, to (B, C, H, W)."""
        ...


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class Signature:
    """What a model is to be built for."""

    classes: int
    """Number of classes."""
    channels: int
    """Channels of the input."""
    size: tuple[int, int]
    """(height, width) of the input in pixels."""
    task: str = "classification"
    """What its outputs are for: the task's name."""


@runtime_checkable
class Architecture(Protocol):
    """A model as the user names it: ``resnet18(pretrained=True)``."""

    def build(self, signature: Signature) -> nn.Module:
        """A module that takes (B, C, H, W) in [0, 1] and gives raw outputs (logits for classification).

        Initial weights come from torch's default generator, which the caller seeds.
        """
        ...

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        """Set what depends on the data (normalisation, whitening) from training images in [0, 1], in place."""
        ...


# ---------------------------------------------------------------- tasks


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


# ---------------------------------------------------------------- attacks


@runtime_checkable
class Threat(Protocol):
    """A set around the clean input and nothing else. All methods work sample by sample."""

    @property
    def epsilon(self) -> float:
        """The radius, in the units of `size`."""
        ...

    def start(self, clean: Tensor, noise: Noise) -> Tensor:
        """A random point of the set (B, C, H, W)."""
        ...

    def ascend(self, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        """`images` moved by `step` (in units of `size`) in the direction of steepest ascent. Not yet projected."""
        ...

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The nearest point of the set within [0, 1]."""
        ...

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """(B,) how far each image is from its clean one."""
        ...


@runtime_checkable
class Ball(Threat, Protocol):
    """A threat that is a norm ball: attacks that work with the norm itself ask for one (`core/balls.py`)."""

    @property
    def p(self) -> float:
        """The norm's exponent: 0, 1, 2 or inf."""
        ...


@runtime_checkable
class Rendered(Protocol):
    """A threat that is no change of single pixels: a picture is rendered from the clean one and parameters θ.

    The attacker sets θ, (B, c, h, w) in [0, 1], of any shape. To an attack θ is the image, `within` the threat around
    it, and the goal the task's goal of what is rendered (`core/rendering.py`), so every attack works on it and none
    knows of it. The runner judges the picture, in 8 bits, and keeps it as the answer.
    """

    @property
    def epsilon(self) -> float:
        """The radius, in the units of `size`; 0 leaves the clean image."""
        ...

    def neutral(self, clean: Tensor, noise: Noise) -> Tensor:
        """(B, c, h, w) in [0, 1]: the θ at which the picture is the clean image (B, C, H, W), or as near as it gets."""
        ...

    def within(self) -> Threat:
        """The set around the neutral θ that the attacker may choose from; of radius 0 where epsilon is 0."""
        ...

    def render(self, clean: Tensor, theta: Tensor, noise: Noise) -> Tensor:
        """The pictures (B, C, H, W) in [0, 1], differentiable in θ.

        Args:
            noise: for what the attacker does not choose, such as where a patch comes to lie. The judge's is always the
                same for an image; an attack that averages over it draws others (`core/rendering.py`, `redrawn`).
        """
        ...

    def size(self, theta: Tensor, neutral: Tensor) -> Tensor:
        """(B,) how far each θ is from its neutral one."""
        ...


@runtime_checkable
class Attack(Protocol):
    """Climbs a goal's loss within a threat. It never grades itself: the runner judges what it returns.

    A class that says `least: ClassVar[bool] = True` looks for the smallest change instead: it sees what its own images
    reach, unrounded, goes on after the first success, and returns the smallest success that it found for each sample
    (or anything where it found none). The runner then keeps the smallest, and one run serves every ε.

    A class that says `together: ClassVar[bool] = True` finds one change for all images (a universal perturbation), so
    a sample's result depends on the others. The runner gives it all images of an evaluation at once, and it divides
    them itself.
    """

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        """Images (B, C, H, W) within the threat, as bad as could be found."""
        ...


# ---------------------------------------------------------------- defences


@runtime_checkable
class Shield(Protocol):
    """A wrapper around a trained model that is to withstand attacks."""

    @property
    def masks(self) -> bool:
        """Whether it hides the slope (gradient masking) rather than removing the weakness; reports say so."""
        ...

    def __call__(self, model: nn.Module) -> nn.Module:
        """A module of the same inputs and outputs. `model` itself is not changed. Built on `core/shielding.py`, so that
        an attacker who knows the shield can go through or around it."""
        ...


@dataclass(frozen=True)
class Certificate:
    """What is proven of a batch of images."""

    prediction: Tensor
    """(B,) int64: the class that the shielded model gives; −1 where it abstains."""
    radius: Tensor
    """(B,) float64: no change smaller than this, in the L2 norm over all pixels and channels, changes it; 0 where it
    abstains."""


@runtime_checkable
class Certifying(Shield, Protocol):
    """A shield that can prove what it withstands."""

    @property
    def alpha(self) -> float:
        """The probability at most that one image's certificate is wrong."""
        ...

    def certify(self, model: nn.Module, images: Tensor, noise: Noise) -> Certificate:
        """Certificates of the shielded `model` at images (B, C, H, W). `model` itself comes without the shield."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Tells whether an input was tampered with, as the user names it: ``mahalanobis()``.

    It asks the model as it is and adopts nothing of it: features of its layers come by hooks (`core/features.py`).
    """

    @property
    def trained(self) -> bool:
        """Whether it learns from images of an attack; then `fit` is given some."""
        ...

    def fit(
        self, model: nn.Module, clean: Tensor, targets: Tensor, held: Tensor, attacked: Tensor | None
    ) -> Mapping[str, Tensor]:
        """What it learns, as named tensors that a file can hold. The same images give the same.

        Args:
            model: in evaluation mode; it is left as it was.
            clean: (N, C, H, W) in [0, 1]: images that the model was trained on.
            targets: (N,) their labels.
            held: (M, C, H, W): other clean images, to choose and weigh by.
            attacked: (A, C, H, W): successes of one attack on some of `held`; None where `trained` is False.
        """
        ...

    def score(self, model: nn.Module, images: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """(B,) float32: the higher, the more suspicious; of each image alone, whoever else is in the batch.

        Differentiable with respect to the images: straight through what has no slope, so that attackers who know the
        detector are kept out by nothing but the detector.
        """
        ...


# ---------------------------------------------------------------- training


@runtime_checkable
class Objective(Protocol):
    """What training minimises.

    Where it has both an `attack` and a `threat`, the trainer watches robustness on validation images with them. Where
    it says `replays: int`, each batch is stepped on so many times in a row; where it says `carries = True`, what it
    puts into `batch.memory` comes back in the next step.
    """

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        """(B,) float32, the loss of each sample, with gradients to the model's parameters."""
        ...


@runtime_checkable
class Hardening(Objective, Protocol):
    """An objective in two halves, of which a wrapper can have the second alone: it is the first, then the second."""

    @property
    def attack(self) -> Attack:
        """What the trainer watches robustness with."""
        ...

    @property
    def threat(self) -> Threat | Rendered: ...

    def worst(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        """Images (B, C, H, W) of the threat around the batch's, to train on; the model is left as it was."""
        ...

    def loss(self, model: nn.Module, task: Task, batch: Batch, worst: Tensor) -> Tensor:
        """(B,) float32, the loss of each sample at its worst image."""
        ...


@runtime_checkable
class Joint(Objective, Protocol):
    """An objective that must see the whole batch before it can say the loss of any part of it."""

    def parts(
        self, model: nn.Module, task: Task, batches: Sequence[Batch], total: Callable[[Tensor], Tensor]
    ) -> Iterator[Tensor]:
        """The losses (b,) of the batch's parts, one part after another; the caller goes backwards in between.

        Args:
            batches: the parts that this process computes, none of them empty; perhaps none at all.
            total: the sum of a tensor over all processes; each must call it as often as the others.
        """
        ...


@runtime_checkable
class OptimizerMaker(Protocol):
    """An optimizer as the user names it: ``sgd(lr=0.1)``."""

    @property
    def lr(self) -> float:
        """The peak learning rate; the schedule scales it."""
        ...

    def build(self, model: nn.Module) -> torch.optim.Optimizer: ...


@runtime_checkable
class Schedule(Protocol):
    """The learning rate's course."""

    def __call__(self, progress: float) -> float:
        """The factor on the peak rate at `progress` in [0, 1] of the training."""
        ...


# ---------------------------------------------------------------- driving


@runtime_checkable
class Roads(Protocol):
    """A family of roads: its fields, a seed among them, say which."""

    def build(self) -> Any:
        """The `drive.geometry.lanes.RoadMap`; the same fields give the same map."""
        ...


@runtime_checkable
class Scenario(Protocol):
    """A situation on the road, or drives among traffic, whose fields say what is swept."""

    def stage(self, split: str, seed: int) -> Any:
        """The `drive.scenarios.stage.Stage`: worlds with everyone in place; the same arguments give the same stage.

        Args:
            split: 'train' or 'test', whose maps differ.
        """
        ...


@runtime_checkable
class Tamper(Protocol):
    """Somebody who changes what a driver's sensors see: an attack whose goal is a drive that fails."""

    def against(self, subject: Any, seed: int) -> Any:
        """The `drive.adversaries.changes.Change`, fitted on the train split's maps.

        Args:
            subject: `drive.adversaries.subject.Subject`: the policy under attack, and where to practise.
        """
        ...

    def controls(self) -> Mapping[str, Any]:
        """The same change without craft, by name: what an attack must beat to be one (tampers of this room)."""
        ...


# ---------------------------------------------------------------- control


@runtime_checkable
class Worlds(Protocol):
    """A decision problem of our own: its fields say which."""

    def build(self, count: int) -> Any:
        """`count` worlds side by side: a `gymnasium.vector.VectorEnv` with `AutoresetMode.NEXT_STEP`."""
        ...


class Student(Protocol):
    """A learner at work: its networks and all that it remembers."""

    policy: nn.Module
    architecture: str
    """The policy as the room `models` spells it."""

    def chapter(self, worlds: Any, steps: int, seed: int, begun: float, ended: float) -> Iterator[Event]:
        """Learn from about `steps` steps of worlds that begin anew with `seed`.

        Everything random follows from `seed`, so that a run goes on between two chapters as if it had not stopped.

        Args:
            steps: over all worlds together.
            begun, ended: which part of the whole training this is, 0 to 1.

        Yields:
            progress, with `done`: steps of this chapter so far, and running figures.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All that `restore` needs to go on, the policy with it."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class Learner(Protocol):
    """An algorithm of reinforcement or imitation learning: its fields are its whole configuration."""

    def begin(self, spaces: Any, worlds: int, seed: int, device: torch.device) -> Student:
        """A student with fresh weights for `mdp.spaces.Spaces` and so many worlds side by side.

        Raises:
            InputError: spaces that the algorithm cannot serve.
        """
        ...


# ---------------------------------------------------------------- events and results


@dataclass(frozen=True)
class Event:
    """What a runner says while it works.

    kind       values
    start      what begins: total, unit, and the spelled configuration
    progress   done, total, unit, rate (units/s), left_s, and running figures
    epoch      epoch, epochs, and the epoch's figures
    note       message: something the user should know
    warning    message: something the user should act on
    saved      path
    result     the figures at the end
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """What one part of an ensemble of attacks did."""

    name: str
    attacked: int
    """Samples that stood when it began."""
    fell: int
    """Those of them that it brought down."""
    forwards: int
    backwards: int


@dataclass(frozen=True)
class AttackResult:
    """What an attack reached, as the runner judged it."""

    adversarial: Tensor
    """(B, C, H, W) float32 in [0, 1]: the judged image where the goal is reached, else the last one tried. Where an
    image can be spoiled more or less (`Verdict.harm`), the worst one that was found."""
    reached: Tensor
    """(B,) bool: the goal is reached at `adversarial`, or on the way to the worst image, in fp32, inside the threat,
    after 8-bit rounding."""
    clean_reached: Tensor
    """(B,) bool: it was reached without any attack (a wrong prediction on the clean image)."""
    size: Tensor
    """(B,) float32: how far `adversarial` is from the clean image in the threat's units."""
    loss: Tensor
    """(B,) float32: the goal's loss at `adversarial`."""
    forwards: int
    """Images passed through the model, the judge's and the clean ones counted in."""
    backwards: int
    """Images whose gradient was taken."""
    seconds: float
    seed: int
    attack: str
    """The attack as spelled."""
    threat: str
    """The threat as spelled."""
    bits: int | None
    """The rounding that the verdict stood: 8, or None where the clean images are not 8-bit."""
    warnings: tuple[str, ...] = ()
    """What makes the figure doubtful, such as gradients that are all zero."""
    stages: tuple[Stage, ...] = ()
    """What each part of an ensemble brought down, in its order; empty for an attack of one part."""

    @property
    def worst_size(self) -> float:
        """The largest size of all."""
        return float(self.size.max()) if self.size.numel() else 0.0

    @property
    def robust_accuracy(self) -> float:
        """The share of samples at which the goal was not reached."""
        return 1.0 - float(self.reached.float().mean()) if self.reached.numel() else float("nan")


Events = Iterable[Event]
