"""Do a task and an objective keep their contracts?"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from stalwart.core import places
from stalwart.core.checks._say import expect, per_sample, some_of
from stalwart.core.contracts import Batch, Examples, Info, Objective, Placed, Task
from stalwart.core.errors import ContractError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise


def task(task: Task, model: nn.Module, examples: Examples) -> None:
    """Check that a task keeps its contract on a model and a few examples of one size.

    Loss: one finite float32 a sample, deterministic, of the sample alone (in evaluation mode), with a gradient to the
    images, and nothing of the model changed. Goal: the same, and `select` is the part of the whole. Metric: figures
    that JSON can hold, the same when gathered in two halves and merged.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"task {task!r}"
    samples = [examples[index] for index in some_of(len(examples))]
    n = len(samples)
    images = torch.stack([sample.image for sample in samples]).float() / 255
    targets = task.collate([sample.target for sample in samples])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with frozen(model):
        seen = images.clone().requires_grad_()
        loss = task.loss(model, seen, targets)
        per_sample(loss, n, f"{who}: loss")
        (slope,) = torch.autograd.grad(loss.sum(), seen)
        expect(bool(slope.isfinite().all()), f"{who}: loss must have a finite gradient", "NaN or infinity")
        expect(bool((slope != 0).any()), f"{who}: loss must have a gradient to the images", "all zero")
        expect(torch.equal(task.loss(model, images, targets), loss), f"{who}: loss must be deterministic", "another")
        for i, sample in enumerate(samples):
            alone = task.loss(model, images[i : i + 1], task.collate([sample.target]))
            expect(torch.allclose(alone[0], loss[i], atol=1e-4), f"{who}: loss must be each sample's own", float(alone))
        goal = task.goal(model, targets)
        verdict = goal(images)
        per_sample(verdict.loss, n, f"{who}: goal loss")
        reached = verdict.reached
        good = reached is not None and reached.shape == (n,) and reached.dtype == torch.bool
        expect(good, f"{who}: goal must say reached as ({n},) bool", reached)
        some = torch.tensor([n - 1, 0])
        part = goal.select(some)(images[some])
        same = torch.allclose(part.loss, verdict.loss[some], atol=1e-4)
        expect(same, f"{who}: goal.select must be the part of the whole", part.loss.tolist())
        prediction = task.predict(model, images)
        _divergence(task, model, images, who)
    expect([m.training for m in model.modules()] == modes, f"{who}: must leave the model's modes", "others")
    state = model.state_dict()
    kept = all(torch.equal(state[name], value) for name, value in before.items())
    expect(kept, f"{who}: must leave the model's weights and buffers", "others")
    whole, half = task.metric(examples.info), task.metric(examples.info)
    whole.update(prediction, targets)
    half.update(prediction, targets)
    figures = whole.compute()
    expect(task.score in figures, f"{who}: metric must give the score {task.score!r}", sorted(figures))
    empty = task.metric(examples.info)
    empty.merge([half.state()])
    try:
        same = json.dumps(empty.compute()) == json.dumps(figures)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{who}: metric figures must fit into JSON. Got {error}.") from None
    expect(same, f"{who}: metric merged must be the metric gathered", "other figures")
    for said in (task.describe(prediction, 0, examples.info), task.describe_target(targets, 0, examples.info)):
        expect(isinstance(said, dict), f"{who}: describe must give a dict of plain values", said)
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
    expect(same, f"{who}: restore to the same picture must change nothing", after)
    expect(set(task.describe(there, 0, info)) <= set(after), f"{who}: outline must say what describe says", after)


def _divergence(task: Task, model: nn.Module, images: Tensor, who: str) -> None:
    """0 between the same images, never less, each sample's own, and with a slope."""
    others = (1 - images).requires_grad_()
    apart = task.divergence(model, images, others)
    per_sample(apart, len(images), f"{who}: divergence")
    expect(bool((apart > -1e-5).all()), f"{who}: divergence must not be below 0", apart.tolist())
    expect(apart.requires_grad, f"{who}: divergence must have a gradient to the images", "none")
    (slope,) = torch.autograd.grad(apart.sum(), others)
    expect(bool(slope.isfinite().all() and (slope != 0).any()), f"{who}: divergence must have a gradient", "none")
    same = task.divergence(model, images, images)
    none = torch.allclose(same, torch.zeros_like(same), atol=1e-5)
    expect(none, f"{who}: divergence of images from themselves must be 0", same.tolist())
    alone = task.divergence(model, images[:1], others[:1].detach())
    good = torch.allclose(alone, apart[:1], atol=1e-4)
    expect(good, f"{who}: divergence must be each sample's own", alone.tolist())


def objective(objective: Objective, task: Task, model: nn.Module, examples: Examples) -> None:
    """Check that an objective keeps its contract on a model in training mode and a few examples of one size.

    One finite loss a sample, with gradients to the parameters; the same for the same noise; and nothing of the model
    changed but its buffers: no weight, no mode, no `requires_grad`, no gradient before the caller goes backwards.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    who = f"objective {objective!r}"
    index = torch.tensor(some_of(len(examples)))
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
    per_sample(losses, n, f"{who}: loss")
    same = all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())
    expect(same, f"{who}: must leave the weights", "others")
    expect([m.training for m in model.modules()] == modes, f"{who}: must leave the model's modes", "others")
    now = [weight.requires_grad for weight in model.parameters()]
    expect(now == wants, f"{who}: must leave every requires_grad", "others")
    untouched = all(weight.grad is None for weight in model.parameters())
    expect(untouched, f"{who}: must leave gradients to the caller", "gradients")
    expect(torch.equal(images, kept), f"{who}: must not write into the images", "other values")
    losses.sum().backward()  # type: ignore[no-untyped-call]
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    good = bool(found) and all(bool(gradient.isfinite().all()) for gradient in found)
    expect(good, f"{who}: must give the parameters finite gradients", "none" if not found else "NaN or infinity")
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    again = objective(model, task, Batch(images, targets, index, Noise.of_index(index, 0)))
    expect(torch.equal(again, losses), f"{who}: must give the same for the same noise", "other losses")
    model.zero_grad(set_to_none=True)
