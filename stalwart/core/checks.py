"""Public contract checks: does a component of one's own keep its contract? Each raises ContractError if not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import places, shielding
from stalwart.core.contracts import (
    Attack,
    Batch,
    Detector,
    Examples,
    Info,
    Objective,
    Placed,
    Rendered,
    Sample,
    Shield,
    Source,
    Task,
    Threat,
    Verdict,
)
from stalwart.core.errors import ContractError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise, generator

SPLITS = ("train", "val", "test")


def source(source: Source) -> None:
    """Check that a source keeps its contract: names and shapes, types, and that reading twice gives the same.

    Looks at a few samples of each split, not at all of them.

    Raises:
        ContractError: it says what was expected of whom and what came.
        DataError: the source's data are not there.
    """
    who = f"source {source!r}"
    at_hand = source.splits()
    _expect(isinstance(at_hand, tuple) and len(at_hand) > 0, f"{who}: splits() must be a tuple, not empty", at_hand)
    _expect(set(at_hand) <= set(SPLITS), f"{who}: splits() must be among {SPLITS}", at_hand)
    _expect(len(set(at_hand)) == len(at_hand), f"{who}: splits() must name each once", at_hand)
    opened = {split: source.open(split) for split in at_hand}
    classes = {split: examples.info.classes for split, examples in opened.items()}
    _expect(len(set(classes.values())) == 1, f"{who}: all splits must have the same classes", classes)
    for split, examples in opened.items():
        _examples(examples, f"{who}, split {split!r}")
        _same_twice(examples, source.open(split), f"{who}, split {split!r}")


def threat(threat: Threat | Rendered) -> None:
    """Check that a threat keeps its contract: starts and projections inside, sizes of zero, sample by sample.

    Of a rendered threat the parameters are checked so, and then what is rendered of them.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    clean = torch.rand(4, 3, 8, 6, generator=generator("check", "threat"))
    if isinstance(threat, Rendered):
        _rendered(threat)
        return
    _around(threat, clean, f"threat {threat!r}")


def _around(threat: Threat, clean: Tensor, who: str) -> None:
    noise = Noise.of_images(clean, 0)
    room = threat.epsilon * (1 + 1e-4) + 1e-6
    kept = clean.clone()
    far = clean + torch.randn(clean.shape, generator=generator("check", "far")) * (threat.epsilon + 0.1)
    slope = torch.randn(clean.shape, generator=generator("check", "slope"))
    begun, projected = threat.start(clean, noise.fork("start")), threat.project(far, clean)
    moved = threat.ascend(clean, slope, threat.epsilon / 4)
    for name, images in (("start", begun), ("project", projected), ("ascend", moved)):
        _expect(images.shape == clean.shape, f"{who}: {name} must keep the shape {tuple(clean.shape)}", images.shape)
        _expect(bool(images.isfinite().all()), f"{who}: {name} must give finite values", "NaN or infinity")
    for name, images in (("start", begun), ("project", projected)):
        low, high = float(images.min()), float(images.max())
        _expect(low >= -1e-6 and high <= 1 + 1e-6, f"{who}: {name} must stay in [0, 1]", (low, high))
        worst = float(threat.size(images, clean).max())
        _expect(worst <= room, f"{who}: {name} must stay within epsilon {threat.epsilon:.6g}", worst)
    sizes = threat.size(clean, clean)
    _expect(sizes.shape == (4,), f"{who}: size must give one number a sample, (4,)", tuple(sizes.shape))
    _expect(bool((sizes == 0).all()), f"{who}: size(clean, clean) must be 0", sizes.tolist())
    _expect(torch.equal(clean, kept), f"{who}: must not write into the images it is given", "other values")
    some = torch.tensor([2, 0])
    part = threat.project(far[some], clean[some])
    _expect(
        torch.allclose(part, projected[some], atol=1e-6), f"{who}: must work sample by sample", "batch mates matter"
    )
    part = threat.start(clean[some], noise.fork("start").select(some))
    _expect(torch.allclose(part, begun[some], atol=1e-6), f"{who}: start must draw from each sample's noise", "others'")


def _rendered(threat: Rendered) -> None:
    who = f"threat {threat!r}"
    rough = torch.rand(4, 3, 5, 4, generator=generator("check", "rendered"))
    clean = nn.functional.interpolate(
        rough, (16, 12), mode="bilinear", align_corners=True
    )  # so that it can be resampled
    kept = clean.clone()

    def fresh() -> Noise:
        return Noise.of_images(clean, 0)

    neutral, within = threat.neutral(clean, fresh()), threat.within()
    _expect(neutral.ndim == 4 and len(neutral) == 4, f"{who}: neutral must be (4, c, h, w)", tuple(neutral.shape))
    low, high = float(neutral.min()), float(neutral.max())
    _expect(low >= 0 and high <= 1, f"{who}: the neutral θ must lie in [0, 1]", (low, high))
    _around(within, neutral, f"{who}, its θ")
    sizes = threat.size(neutral, neutral)
    good = sizes.shape == (4,) and bool((sizes == 0).all())
    _expect(good, f"{who}: size(neutral, neutral) must be 0, (4,)", sizes.tolist())
    still = threat.render(clean, neutral, fresh())
    _expect(
        still.shape == clean.shape, f"{who}: pictures must have the images' shape {tuple(clean.shape)}", still.shape
    )
    worst = float((still - clean).abs().mean())
    _expect(worst < 0.05, f"{who}: the neutral θ must give the clean image, or nearly", f"{worst:.3g} away on average")
    theta = within.start(neutral, Noise.of_images(clean, 1)).detach().requires_grad_()
    seen = threat.render(clean, theta, fresh())
    low, high = float(seen.detach().min()), float(seen.detach().max())
    _expect(low >= -1e-6 and high <= 1 + 1e-6, f"{who}: pictures must stay in [0, 1]", (low, high))
    _expect(
        torch.equal(seen, threat.render(clean, theta, fresh())), f"{who}: the same noise, the same picture", "others"
    )
    _expect(bool((seen != clean).any()), f"{who}: a θ must change the picture", "none")
    size = float(threat.size(theta.detach(), neutral).max())
    room = threat.epsilon * (1 + 1e-4) + 1e-6
    _expect(size <= room, f"{who}: what within() allows must be of size {threat.epsilon:.6g} at most", size)
    tint = torch.rand(clean.shape, generator=generator("check", "tint"))
    (slope,) = torch.autograd.grad((seen * tint).sum(), theta)
    _expect(
        bool(slope.isfinite().all() and slope.any()), f"{who}: pictures must have a slope in θ", "none, or not finite"
    )
    _expect(torch.equal(clean, kept), f"{who}: must not write into the images it is given", "other values")
    some = torch.tensor([2, 0])
    part = threat.render(clean[some], theta[some], fresh().select(some))
    _expect(torch.allclose(part, seen[some], atol=1e-6), f"{who}: must work sample by sample", "batch mates matter")


class _Slope:
    """A linear goal of four outcomes: the loss is each image's product with one fixed picture, less `bar`.

    Args:
        bar: how high the product must be for the goal to be reached; none reaches the default.
    """

    def __init__(self, shape: tuple[int, ...], bar: float = 40.0) -> None:
        self.model, self.bar = _Product(shape), bar

    def select(self, index: Tensor) -> _Slope:
        return self

    def on(self, model: nn.Module) -> _Slope:
        other = _Slope((1,), self.bar)
        other.model = model  # type: ignore[assignment]
        return other

    def __call__(self, images: Tensor) -> Verdict:
        loss = self.model(images) - self.bar
        gaps = torch.stack([torch.full_like(loss, -torch.inf), loss, loss - 1, loss - 2], 1)
        return Verdict(loss, loss > 0, gaps)


class _Product(nn.Module):
    weights: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.randn(shape, generator=generator("check", "goal")))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weights).flatten(1).sum(1)


def attack(attack: Attack, threat: Threat) -> None:
    """Check that an attack keeps its contract: shapes, the same for the same noise, sample by sample, and it climbs.

    Args:
        threat: one that the attack is made for.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"attack {attack!r}"
    clean = torch.rand(4, 3, 8, 6, generator=generator("check", "attack")) * 0.5 + 0.25
    kept, goal, noise = clean.clone(), _Slope((3, 8, 6)), Noise.of_images(clean, 0)
    if getattr(attack, "least", False):  # attacks by decisions alone begin at a success: let there be some
        goal = _Slope((3, 8, 6), bar=float(goal.model(clean).max()) + 2.0)
    found = attack(clean, goal, threat, noise.fork("a"))
    _expect(isinstance(found, Tensor), f"{who}: must give a tensor", type(found).__name__)
    _expect(found.shape == clean.shape, f"{who}: must keep the shape {tuple(clean.shape)}", tuple(found.shape))
    _expect(bool(found.isfinite().all()), f"{who}: must give finite values", "NaN or infinity")
    _expect(not found.requires_grad, f"{who}: must give images without a graph", "requires_grad")
    _expect(torch.equal(clean, kept), f"{who}: must not write into the clean images", "other values")
    again = attack(clean, goal, threat, noise.fork("a"))
    _expect(torch.equal(found, again), f"{who}: must give the same for the same noise", "other images")
    order = torch.tensor([3, 1]) if not getattr(attack, "together", False) else torch.tensor([3, 1, 0, 2])
    part = attack(clean[order], goal.select(order), threat, noise.fork("a").select(order))
    _expect(torch.allclose(part, found[order], atol=1e-5), f"{who}: must work sample by sample", "batch mates matter")
    with torch.no_grad():
        before, after = goal(clean).loss, goal(threat.project(found, clean)).loss
    _expect(bool((after > before).all()), f"{who}: must raise a linear goal's loss", (after - before).tolist())


def task(task: Task, model: nn.Module, examples: Examples) -> None:
    """Check that a task keeps its contract on a model and a few examples of one size.

    Loss: one finite float32 a sample, deterministic, of the sample alone (in evaluation mode), with a gradient to the
    images, and nothing of the model changed. Goal: the same, and `select` is the part of the whole. Metric: figures
    that JSON can hold, the same when gathered in two halves and merged.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"task {task!r}"
    samples = [examples[index] for index in _some(len(examples))]
    n = len(samples)
    images = torch.stack([sample.image for sample in samples]).float() / 255
    targets = task.collate([sample.target for sample in samples])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with frozen(model):
        seen = images.clone().requires_grad_()
        loss = task.loss(model, seen, targets)
        _per_sample(loss, n, f"{who}: loss")
        (slope,) = torch.autograd.grad(loss.sum(), seen)
        _expect(bool(slope.isfinite().all()), f"{who}: loss must have a finite gradient", "NaN or infinity")
        _expect(bool((slope != 0).any()), f"{who}: loss must have a gradient to the images", "all zero")
        _expect(torch.equal(task.loss(model, images, targets), loss), f"{who}: loss must be deterministic", "another")
        for i, sample in enumerate(samples):
            alone = task.loss(model, images[i : i + 1], task.collate([sample.target]))
            _expect(
                torch.allclose(alone[0], loss[i], atol=1e-4), f"{who}: loss must be each sample's own", float(alone)
            )
        goal = task.goal(model, targets)
        verdict = goal(images)
        _per_sample(verdict.loss, n, f"{who}: goal loss")
        reached = verdict.reached
        good = reached is not None and reached.shape == (n,) and reached.dtype == torch.bool
        _expect(good, f"{who}: goal must say reached as ({n},) bool", reached)
        some = torch.tensor([n - 1, 0])
        part = goal.select(some)(images[some])
        same = torch.allclose(part.loss, verdict.loss[some], atol=1e-4)
        _expect(same, f"{who}: goal.select must be the part of the whole", part.loss.tolist())
        prediction = task.predict(model, images)
        _divergence(task, model, images, who)
    _expect([m.training for m in model.modules()] == modes, f"{who}: must leave the model's modes", "others")
    state = model.state_dict()
    kept = all(torch.equal(state[name], value) for name, value in before.items())
    _expect(kept, f"{who}: must leave the model's weights and buffers", "others")
    whole, half = task.metric(examples.info), task.metric(examples.info)
    whole.update(prediction, targets)
    half.update(prediction, targets)
    figures = whole.compute()
    _expect(task.score in figures, f"{who}: metric must give the score {task.score!r}", sorted(figures))
    empty = task.metric(examples.info)
    empty.merge([half.state()])
    try:
        same = json.dumps(empty.compute()) == json.dumps(figures)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{who}: metric figures must fit into JSON. Got {error}.") from None
    _expect(same, f"{who}: metric merged must be the metric gathered", "other figures")
    for said in (task.describe(prediction, 0, examples.info), task.describe_target(targets, 0, examples.info)):
        _expect(isinstance(said, dict), f"{who}: describe must give a dict of plain values", said)
    if isinstance(task, Placed):
        _restored(task, prediction, examples.info, (images.shape[2], images.shape[3]), who)


def _restored(task: Placed, prediction: Any, info: Info, size: tuple[int, int], who: str) -> None:
    """A prediction put back where it is stays what it is, and its masks fit into JSON."""
    there = task.restore(prediction, 0, places.affine(1, "cpu")[0], size)
    before, after = task.outline(prediction, 0, info), task.outline(there, 0, info)
    try:
        same = json.dumps(before) == json.dumps(after)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{who}: outline must fit into JSON. Got {error}.") from None
    _expect(same, f"{who}: restore to the same picture must change nothing", after)
    _expect(set(task.describe(there, 0, info)) <= set(after), f"{who}: outline must say what describe says", after)


def _divergence(task: Task, model: nn.Module, images: Tensor, who: str) -> None:
    """0 between the same images, never less, each sample's own, and with a slope."""
    others = (1 - images).requires_grad_()
    apart = task.divergence(model, images, others)
    _per_sample(apart, len(images), f"{who}: divergence")
    _expect(bool((apart > -1e-5).all()), f"{who}: divergence must not be below 0", apart.tolist())
    _expect(apart.requires_grad, f"{who}: divergence must have a gradient to the images", "none")
    (slope,) = torch.autograd.grad(apart.sum(), others)
    _expect(bool(slope.isfinite().all() and (slope != 0).any()), f"{who}: divergence must have a gradient", "none")
    same = task.divergence(model, images, images)
    none = torch.allclose(same, torch.zeros_like(same), atol=1e-5)
    _expect(none, f"{who}: divergence of images from themselves must be 0", same.tolist())
    alone = task.divergence(model, images[:1], others[:1].detach())
    good = torch.allclose(alone, apart[:1], atol=1e-4)
    _expect(good, f"{who}: divergence must be each sample's own", alone.tolist())


def objective(objective: Objective, task: Task, model: nn.Module, examples: Examples) -> None:
    """Check that an objective keeps its contract on a model in training mode and a few examples of one size.

    One finite loss a sample, with gradients to the parameters; the same for the same noise; and nothing of the model
    changed but its buffers: no weight, no mode, no `requires_grad`, no gradient before the caller goes backwards.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"objective {objective!r}"
    index = torch.tensor(_some(len(examples)))
    samples = [examples[i] for i in index.tolist()]
    images = torch.stack([sample.image for sample in samples]).float() / 255
    targets = task.collate([sample.target for sample in samples])
    kept, n = images.clone(), len(images)
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    wants = [weight.requires_grad for weight in model.parameters()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.zero_grad(set_to_none=True)
    losses = objective(model, task, Batch(images, targets, index, Noise.of_index(index, 0)))
    _per_sample(losses, n, f"{who}: loss")
    same = all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())
    _expect(same, f"{who}: must leave the weights", "others")
    _expect([m.training for m in model.modules()] == modes, f"{who}: must leave the model's modes", "others")
    now = [weight.requires_grad for weight in model.parameters()]
    _expect(now == wants, f"{who}: must leave every requires_grad", "others")
    untouched = all(weight.grad is None for weight in model.parameters())
    _expect(untouched, f"{who}: must leave gradients to the caller", "gradients")
    _expect(torch.equal(images, kept), f"{who}: must not write into the images", "other values")
    losses.sum().backward()  # type: ignore[no-untyped-call]
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    good = bool(found) and all(bool(gradient.isfinite().all()) for gradient in found)
    _expect(good, f"{who}: must give the parameters finite gradients", "none" if not found else "NaN or infinity")
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    again = objective(model, task, Batch(images, targets, index, Noise.of_index(index, 0)))
    _expect(torch.equal(again, losses), f"{who}: must give the same for the same noise", "other losses")
    model.zero_grad(set_to_none=True)


def _per_sample(loss: Tensor, n: int, who: str) -> None:
    _expect(loss.shape == (n,), f"{who} must have shape ({n},)", tuple(loss.shape))
    _expect(loss.dtype == torch.float32, f"{who} must be float32", loss.dtype)
    _expect(bool(loss.isfinite().all()), f"{who} must be finite", loss.tolist())


def _examples(examples: Examples, who: str) -> None:
    _info(examples.info, who)
    n = len(examples)
    _expect(n > 0, f"{who}: must have samples", n)
    strata = examples.strata
    _expect(len(strata) == n, f"{who}: strata must have one entry a sample ({n})", len(strata))
    _expect(all(type(s) is int and s >= 0 for s in strata), f"{who}: strata must be ints >= 0", set(map(type, strata)))
    for index in _some(n):
        _sample(examples[index], examples.info, f"{who}, sample {index}")
    _refuses_the_end(examples, who)
    _arrays(examples, who)
    try:
        pickle.dumps(examples)
    except Exception as error:
        raise ContractError(f"{who}: must pickle, so that loading workers can have it. Got {error!r}.") from None


def _info(info: Info, who: str) -> None:
    _expect(isinstance(info, Info), f"{who}: info must be an Info", info)
    _expect(
        isinstance(info.classes, tuple) and all(isinstance(c, str) and c for c in info.classes),
        f"{who}: info.classes must be a tuple of names",
        info.classes,
    )
    _expect(len(set(info.classes)) == len(info.classes), f"{who}: info.classes must differ", info.classes)
    _expect(info.channels in (1, 3), f"{who}: info.channels must be 1 or 3", info.channels)
    for field in ("name", "licence", "origin"):
        value = getattr(info, field)
        _expect(isinstance(value, str) and value != "", f"{who}: info.{field} must be a text", value)


def _sample(sample: Sample, info: Info, who: str) -> None:
    _expect(isinstance(sample, Sample), f"{who}: must be a Sample", type(sample).__name__)
    image = sample.image
    _expect(isinstance(image, Tensor), f"{who}: image must be a tensor", type(image).__name__)
    _expect(image.dtype == torch.uint8, f"{who}: image must be uint8", image.dtype)
    good = image.ndim == 3 and image.shape[0] == info.channels and image.numel() > 0
    _expect(good, f"{who}: image must have shape ({info.channels}, H, W)", tuple(image.shape))
    if info.size is not None:
        _expect(tuple(image.shape[1:]) == info.size, f"{who}: image must have info.size {info.size}", image.shape[1:])
    _expect(isinstance(sample.name, str) and sample.name != "", f"{who}: name must be a text", sample.name)
    if isinstance(sample.target, int):
        fits = 0 <= sample.target < len(info.classes)
        _expect(fits, f"{who}: target must be a class index below {len(info.classes)}", sample.target)


def _refuses_the_end(examples: Examples, who: str) -> None:
    try:
        examples[len(examples)]
    except IndexError:
        return
    raise ContractError(f"{who}: examples[{len(examples)}] is past the end and must raise IndexError. Got a sample.")


def _arrays(examples: Examples, who: str) -> None:
    arrays = examples.arrays()
    if arrays is None:
        return
    images, targets = arrays
    n = len(examples)
    _expect(images.dtype == torch.uint8, f"{who}: arrays() images must be uint8", images.dtype)
    _expect(images.ndim == 4 and len(images) == n, f"{who}: arrays() images must be ({n}, C, H, W)", images.shape)
    _expect(len(targets) == n, f"{who}: arrays() must have {n} targets", len(targets))
    for index in _some(n):
        sample = examples[index]
        same = torch.equal(images[index], sample.image) and _equal(targets[index], sample.target)
        _expect(same, f"{who}: arrays() must hold what examples[{index}] gives", "another image or target")


def _same_twice(one: Examples, other: Examples, who: str) -> None:
    _expect(len(one) == len(other), f"{who}: opening it twice must give the same length", (len(one), len(other)))
    for index in _some(len(one)):
        a, b, c = one[index], one[index], other[index]
        same = all(torch.equal(a.image, x.image) and _equal(a.target, x.target) and a.name == x.name for x in (b, c))
        _expect(same, f"{who}: sample {index} must be the same whenever it is read", "another one")


def _some(n: int) -> Sequence[int]:
    return sorted({0, n // 3, n // 2, n - 1})


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    if is_dataclass(a) and type(a) is type(b):
        return all(_equal(getattr(a, each.name), getattr(b, each.name)) for each in fields(a))
    return bool(a == b)


def _expect(good: bool, expected: str, came: object) -> None:
    if not good:
        raise ContractError(f"{expected}. Got {came!r}.")


def shield(shield: Shield) -> None:
    """Check that a shield keeps its contract: outputs, the model left as it was, a twin that has slopes.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"shield {shield!r}"
    _expect(isinstance(shield.masks, bool), f"{who}: masks must be True or False", shield.masks)
    images = torch.rand(3, 3, 12, 10, generator=generator("check", "shield"))
    kept = images.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(90, 4)).eval()
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    plain = inner(images).detach()
    model = shield(inner).eval()
    _expect(isinstance(model, nn.Module), f"{who}: must give a module", type(model).__name__)
    _expect(model is not inner and shielding.shielded(model), f"{who}: must build on Shielded", type(model).__name__)
    shielding.reseed(model, 0)
    found = model(images).detach()
    _expect(found.shape == plain.shape, f"{who}: outputs must keep the shape {tuple(plain.shape)}", tuple(found.shape))
    _expect(bool(found.isfinite().all()), f"{who}: outputs must be finite", "NaN or infinity")
    _expect(torch.equal(images, kept), f"{who}: must not write into the images", "other values")
    same = all(torch.equal(value, before[name]) for name, value in inner.state_dict().items())
    _expect(same and torch.equal(inner(images).detach(), plain), f"{who}: must leave the model as it is", "a change")
    again = model(images).detach()
    said = shielding.random(model)
    _expect(torch.equal(found, again) != said, f"{who}: random must say whether two passes may differ", said)
    shielding.reseed(model, 0)
    _expect(torch.equal(model(images).detach(), found), f"{who}: reseed must bring the same numbers back", "others")
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(shielding.differentiable(model)(x)[:, 0].sum(), x)
    flat = (slope.flatten(1).abs().amax(1) == 0).sum()
    _expect(bool(slope.isfinite().all()) and not int(flat), f"{who}: the twin must have a slope at each image", "none")


def detector(detector: Detector) -> None:
    """Check that a detector keeps its contract: what it learns, scores of each image alone, slopes, the same model.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"detector {detector!r}"
    _expect(isinstance(detector.trained, bool), f"{who}: trained must be True or False", detector.trained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
        ).eval()  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(300, 3, 12, 10, generator=generator("check", "detector"))
    clean, held, some = images[:200], images[200:260], images[260:272]
    attacked = (held[:40] + 0.2 * torch.randn(held[:40].shape, generator=generator("check", "moved"))).clamp(0, 1)
    kept = images.clone()
    with frozen(model), torch.no_grad():
        targets = model(clean).argmax(1)
        given = attacked if detector.trained else None
        fitted = detector.fit(model, clean, targets, held, given)
        _expect(isinstance(fitted, Mapping), f"{who}: fit must give tensors by name", type(fitted).__name__)
        for name, value in fitted.items():
            plain = isinstance(name, str) and isinstance(value, Tensor) and not value.requires_grad
            _expect(plain, f"{who}: fit must give tensors without a graph by name", (name, type(value).__name__))
            _expect(bool(value.isfinite().all()), f"{who}: what is fitted must be finite", name)
        again = detector.fit(model, clean, targets, held, given)
        same = fitted.keys() == again.keys() and all(torch.equal(fitted[name], again[name]) for name in fitted)
        _expect(same, f"{who}: fit must learn the same from the same images", "other values")
        learnt = {name: value.clone() for name, value in fitted.items()}
        scores = detector.score(model, some, fitted)
        _per_sample(scores, len(some), f"{who}: score")
        _expect(torch.equal(detector.score(model, some, fitted), scores), f"{who}: score must be repeatable", "another")
        index = torch.tensor([7, 2])
        part = detector.score(model, some[index], fitted)
        alone = torch.allclose(part, scores[index], rtol=1e-3, atol=1e-4)
        _expect(alone, f"{who}: score must be of each image alone", "batch mates matter")
        x = some.clone().requires_grad_()
        with torch.enable_grad():
            found = detector.score(model, x, fitted)
            total = found.sum()
        _expect(found.requires_grad, f"{who}: score must be differentiable", "a detached score")
        (slope,) = torch.autograd.grad(total, x, allow_unused=True)
        _expect(slope is not None and bool(slope.isfinite().all()), f"{who}: score must have finite slopes", "others")
        flat = int((slope.flatten(1).abs().amax(1) == 0).sum())
        _expect(not flat, f"{who}: score must have a slope at each image", f"{flat} of {len(some)} without")
    _expect(torch.equal(images, kept), f"{who}: must not write into the images", "other values")
    held_still = all(torch.equal(fitted[name], learnt[name]) for name in learnt)
    _expect(held_still, f"{who}: score must leave what was fitted", "other values")
    untouched = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    _expect(untouched and not hooks, f"{who}: must leave the model as it is", "a change or a hook")
