"""Each objective against its paper's formula written out, and what it must leave alone."""

from __future__ import annotations

import copy
import math
from typing import Any

import cheap
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stalwart.core import catalog
from stalwart.core.ascent import Unstopped
from stalwart.core.contracts import Attack, Batch, Goal, Hardening, Joint, Objective, Threat
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rng import Noise
from stalwart.run._radius import at_radius

TASK: Any = catalog.make("classification()", "tasks")


def make(spelled: str) -> Any:
    return catalog.make(spelled, "objectives")


def net(norm: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle: list[nn.Module] = [nn.BatchNorm2d(6)] if norm else []
        return nn.Sequential(nn.Conv2d(2, 6, 3), *middle, nn.GELU(), nn.Flatten(), nn.Linear(6 * 16, 5)).train()


def batch(seed: int = 0, n: int = 8) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    index = torch.arange(n)
    images = torch.rand(n, 2, 6, 6, generator=draw) * 0.6 + 0.2  # steps of 0.1 stay within [0, 1]
    return Batch(images, torch.randint(0, 5, (n,), generator=draw), index, Noise.of_index(index, seed))


def slope(model: nn.Module, images: Tensor, targets: Tensor, *, training: bool = False) -> Tensor:
    twin = copy.deepcopy(model).train(training)
    x = images.clone().requires_grad_()
    F.cross_entropy(twin(x), targets, reduction="sum").backward()
    assert x.grad is not None
    return x.grad


def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """In training mode, on a copy, so that the model's statistics stay."""
    return copy.deepcopy(model)(images).double().softmax(1)


def gradients(model: nn.Module, losses: Tensor) -> list[Tensor]:
    return [g for g in torch.autograd.grad(losses.mean(), list(model.parameters()), allow_unused=True) if g is not None]


# ---------------------------------------------------------------- formulas


def test_fgm_is_the_loss_here_and_a_normed_gradient_away() -> None:
    model, some = net(), batch()
    g = slope(model, some.images, some.targets)
    away = some.images + 0.7 * g / g.flatten(1).norm(dim=1)[:, None, None, None]
    expected = F.cross_entropy(copy.deepcopy(model)(some.images), some.targets, reduction="none")
    expected = expected + 0.5 * F.cross_entropy(copy.deepcopy(model)(away), some.targets, reduction="none")
    torch.testing.assert_close(make("fgm(threat=l2(0.7), weight=0.5)")(model, TASK, some), expected)


def test_fast_is_one_step_of_the_sign_from_a_random_start() -> None:
    model, some, threat = net(), batch(), catalog.make("linf(0.1)", "threats")
    begun = threat.start(some.images, some.noise.fork("adversary").fork("start", 0))
    assert float((begun - some.images).abs().mean()) > 0.03
    away = begun + 0.125 * slope(model, begun, some.targets).sign()
    away = torch.minimum(torch.maximum(away, some.images - 0.1), some.images + 0.1).clamp(0, 1)
    expected = F.cross_entropy(copy.deepcopy(model)(away), some.targets, reduction="none")
    torch.testing.assert_close(make("fast(threat=linf(0.1))")(model, TASK, some), expected)


def test_gradalign_is_the_angle_between_two_input_gradients() -> None:
    model, some, threat = net(), batch(), catalog.make("linf(0.1)", "threats")
    near = threat.start(some.images, some.noise.fork("align"))
    seen = copy.deepcopy(model)
    plain = make("fast(threat=linf(0.1))")(seen, TASK, some)  # BatchNorm has seen the step's images by then
    angles = []
    for i in range(len(some.images)):  # each sample alone: a gradient that is its own affair
        pair = [slope(seen, x[i : i + 1], some.targets[i : i + 1]).flatten().double() for x in (some.images, near)]
        angles.append(float(pair[0] @ pair[1] / pair[0].norm() / pair[1].norm()))
    aligned = make("fast(threat=linf(0.1), align=3.0)")(model, TASK, some)
    torch.testing.assert_close(aligned - plain, 3 * (1 - torch.tensor(angles)), atol=1e-4, rtol=1e-3)
    turned = (aligned - plain.detach()).sum()
    assert any(float(g.abs().max()) > 1e-4 for g in gradients(model, turned[None]))


def test_gradalign_survives_a_flat_loss() -> None:
    model, some = net(), batch()
    with torch.no_grad():
        model[-1].weight.zero_()  # type: ignore[union-attr, operator]
    losses = make("fast(align=1.0)")(model, TASK, some)
    assert all(bool(g.isfinite().all()) for g in gradients(model, losses))


def test_free_carries_its_perturbation_over() -> None:
    """Algorithm 1 of Shafahi et al. 2019 for three batches in a row, gradients of the training mode and all."""
    model, delta, memory = net(), torch.zeros(8, 2, 6, 6), {}
    objective = make("free(threat=linf(0.1), step=0.7)")
    for seed in range(3):
        some = batch(seed)
        some.memory.update(memory)
        here = (some.images + delta).clamp(0, 1)
        expected = F.cross_entropy(copy.deepcopy(model)(here), some.targets, reduction="none")
        g = slope(model, here, some.targets, training=True)
        losses = objective(model, TASK, some)
        torch.testing.assert_close(losses, expected)
        losses.mean().backward()  # the scale of the loss is the trainer's
        delta = (delta + 0.07 * g.sign()).clamp(-0.1, 0.1)
        memory = some.memory
        torch.testing.assert_close(memory["perturbation"], delta, atol=1e-6, rtol=0)


def test_free_with_one_step_from_nothing_is_fgsm() -> None:
    model, some = net(norm=False), batch()
    objective = make("free(threat=linf(0.1), replays=1)")
    objective(model, TASK, some).mean().backward()
    with frozen(model):
        fgsm: Attack = catalog.make("fgsm()", "attacks")
        away = fgsm(some.images, Unstopped(TASK.goal(model, some.targets)), objective.threat, some.noise)
    torch.testing.assert_close(some.images + some.memory["perturbation"], away, atol=1e-6, rtol=0)


def at_worst(objective: Any, model: nn.Module, some: Batch) -> Tensor:
    worst: Tensor = objective.worst(model, TASK, some)
    moved = (worst - some.images).abs()
    assert 0.03 < float(moved.mean()) <= float(moved.max()) < 0.1 + 1e-6
    return worst


def test_trades_is_equation_five() -> None:
    model, some = net(), batch()
    objective = make("trades(threat=linf(0.1), beta=4.0)")
    worst = at_worst(objective, model, some)
    here, there = probabilities(model, some.images), probabilities(model, worst)
    apart = (here * (here.log() - there.log())).sum(1)
    expected = -here.gather(1, some.targets[:, None])[:, 0].log() + 4 * apart
    torch.testing.assert_close(objective(model, TASK, some).double(), expected, atol=1e-5, rtol=1e-5)


def test_trades_climbs_the_divergence_and_needs_no_label() -> None:
    model, some = net(), batch()
    objective = make("trades(threat=linf(0.1))")
    worst = at_worst(objective, model, some)
    wrong = Batch(some.images, (some.targets + 1) % 5, some.index, some.noise)
    assert torch.equal(objective.worst(model, TASK, wrong), worst)
    model.eval()
    anywhere = objective.threat.start(some.images, some.noise.fork("other"))
    found, chance = (TASK.divergence(model, some.images, x) for x in (worst, anywhere))
    assert bool((found > 3 * chance).all())


def test_mart_is_equation_eleven_as_its_authors_wrote_it() -> None:
    model, some = net(), batch()
    objective = make("mart(threat=linf(0.1), beta=4.0)")
    worst = at_worst(objective, model, some)
    here, there = probabilities(model, some.images), probabilities(model, worst)
    own = F.one_hot(some.targets, 5).bool()
    rival = there.masked_fill(own, -1).amax(1)
    boosted = -there[own].log() - (1.0001 - rival + 1e-12).log()
    expected = boosted + 4 * (here * (here / there).log()).sum(1) * (1.0000001 - here[own])
    torch.testing.assert_close(objective(model, TASK, some).double(), expected, atol=5e-4, rtol=1e-4)


def test_mart_stays_finite_where_a_rival_has_it_all() -> None:
    model, some = net(), batch()
    with torch.no_grad():
        model[-1].weight.mul_(1000)  # type: ignore[union-attr, operator]
    losses = make("mart(threat=linf(0.1))")(model, TASK, some)
    assert bool(losses.isfinite().all())
    assert float(losses.detach().max()) > 50
    assert all(bool(g.isfinite().all()) for g in gradients(model, losses))


def test_mart_needs_gaps() -> None:
    class Plain:
        def __getattr__(self, name: str) -> Any:
            return getattr(TASK, name)

        def goal(self, model: nn.Module, targets: Any, kind: str = "", wanted: Any = None) -> Goal:
            return Unstopped(_Gapless(TASK.goal(model, targets)))  # type: ignore[arg-type]

    with pytest.raises(InputError, match="mart needs a task whose goals give gaps"):
        make("mart()")(net(), Plain(), batch())


class _Gapless:
    def __init__(self, goal: Goal) -> None:
        self.goal = goal

    def __call__(self, images: Tensor) -> Any:
        verdict = self.goal(images)
        return type(verdict)(verdict.loss, verdict.reached)


# ---------------------------------------------------------------- weight perturbation

WRAPPED = [
    "clean()",
    "adversarial(threat=linf(0.1), attack=pgd(steps=2))",
    "trades(threat=linf(0.1), attack=pgd(steps=2))",
    "mart(threat=linf(0.1), attack=pgd(steps=2))",
    "fast(threat=linf(0.1), align=0.5)",
    "fgm()",
    "free(threat=linf(0.1))",
]


@pytest.mark.parametrize("inner", WRAPPED)
def test_awp_of_nothing_is_what_it_wraps_bit_for_bit(inner: str) -> None:
    plain, wrapped = net(), net()
    some, same = batch(), batch()
    one, other = make(inner)(plain, TASK, some), make(f"awp({inner}, gamma=0.0)")(wrapped, TASK, same)
    assert torch.equal(one, other)
    one.mean().backward()
    other.mean().backward()
    for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True):
        assert a.grad is not None
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]
    for (name, a), b in zip(plain.state_dict().items(), wrapped.state_dict().values(), strict=True):
        assert torch.equal(a, b), name  # BatchNorm's statistics too: as often updated as without
    assert some.memory.keys() == same.memory.keys()
    assert all(torch.equal(value, same.memory[name]) for name, value in some.memory.items())


def test_awp_takes_the_gradient_at_shifted_weights() -> None:
    """Equations 7 and 10 of Wu et al. 2020 on copies whose weights are really moved."""
    model, some = net(), batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inner = make("trades(threat=linf(0.1), attack=pgd(steps=3))")
    worst = inner.worst(model, TASK, some)
    moved = copy.deepcopy(model)
    losses = inner.loss(moved, TASK, some, worst)
    losses.sum().backward()
    with torch.no_grad():
        for weight in moved.parameters():
            assert weight.grad is not None
            if weight.ndim > 1:
                weight += 0.05 * weight.norm() * weight.grad / weight.grad.norm()
    for name, value in moved.named_buffers():
        value.copy_(before[name])
    moved.zero_grad()
    expected = inner.loss(moved, TASK, some, worst)
    found = make("awp(trades(threat=linf(0.1), attack=pgd(steps=3)), gamma=0.05)")(model, TASK, some)
    torch.testing.assert_close(found, expected)
    assert float((found - losses).detach().mean()) > 0.1  # the loss rises along the shift
    for a, b in zip(gradients(model, found), gradients(moved, expected), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert int(model.state_dict()["1.num_batches_tracked"]) == int(moved.state_dict()["1.num_batches_tracked"]) == 2


def test_awp_shifts_for_the_whole_batch_in_whatever_parts() -> None:
    model, whole = net(norm=False), batch(n=8)
    objective = make("awp(adversarial(threat=linf(0.1), attack=pgd(steps=2)), gamma=0.05)")
    expected = objective(model, TASK, whole)
    cuts = (slice(0, 3), slice(3, 8))
    parts = [
        Batch(whole.images[cut], whole.targets[cut], whole.index[cut], whole.noise.select(whole.index[cut]))
        for cut in cuts
    ]
    found = []
    for losses in objective.parts(model, TASK, parts, lambda tensor: tensor):
        losses.sum().backward()  # before the next part is asked for
        found.append(losses.detach())
    torch.testing.assert_close(torch.cat(found), expected.detach())
    for weight, gradient in zip(model.parameters(), gradients(model, expected * 8), strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-4)


def test_awp_leaves_frozen_parameters_alone() -> None:
    model, some = net(), batch()
    model[0].weight.requires_grad_(False)  # type: ignore[union-attr, operator]
    make("awp(clean(), gamma=0.05)")(model, TASK, some).mean().backward()
    assert model[0].weight.grad is None  # type: ignore[union-attr]
    assert model[-1].weight.grad is not None  # type: ignore[union-attr]


def test_the_halves_are_contracts() -> None:
    hardening = {name for name in cheap.objectives() if isinstance(make(f"{name}()"), Hardening)}
    assert hardening == {"adversarial", "fast", "fgm", "free", "mart", "trades"}
    assert [name for name in cheap.objectives() if isinstance(make(f"{name}()"), Joint)] == ["awp"]


# ---------------------------------------------------------------- a course of the radius


def test_a_radius_draws_in_the_threat_wherever_it_is() -> None:
    assert make("fast(threat=linf(0.1))") == at_radius(make("fast(threat=linf(0.2))"), 0.5)
    assert make("awp(trades(threat=l2(1.0)))") == at_radius(make("awp(trades(threat=l2(4.0)))"), 0.25)
    whole: Objective = make("mart()")
    assert at_radius(whole, 1.0) is whole
    for without in ("clean()", "awp(clean())"):
        with pytest.raises(InputError, match="radius needs an objective with a threat"):
            at_radius(make(without), 0.5)


def test_a_users_threat_without_the_field_is_refused() -> None:
    class Fixed:
        epsilon = 0.1

        def __getattr__(self, name: str) -> Any:
            return getattr(catalog.make("linf(0.1)", "threats"), name)

    fixed = Fixed()
    assert isinstance(fixed, Threat)
    with pytest.raises(InputError, match="epsilon"):
        at_radius(catalog.load("objectives.fast")(threat=fixed), 0.5)


def test_functional_calls_do_what_awp_relies_on() -> None:
    """BatchNorm updates the buffers that it is given, and its own where only weights are."""
    model, some = net(), batch()
    lent = {name: value.clone() for name, value in model.named_buffers()}
    own = {name: value.clone() for name, value in model.named_buffers()}
    functional_call(model, lent, (some.images,))
    assert all(torch.equal(value, own[name]) for name, value in model.named_buffers())
    assert not torch.equal(lent["1.running_mean"], own["1.running_mean"])
    assert math.isclose(float(lent["1.num_batches_tracked"]), 1)
