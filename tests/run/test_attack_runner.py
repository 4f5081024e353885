"""The runner's promises: a fair judge, honest counts, a model left as it was, results of the sample alone."""

from __future__ import annotations

from typing import Any

import cheap
import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.run._judge import eight_bit, limit, settle


def small_net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5),
        )  # fmt: skip


def images(n: int = 40, size: tuple[int, int] = (9, 7)) -> Tensor:
    return torch.randint(0, 256, (n, 3, *size), generator=torch.Generator().manual_seed(3)).float() / 255


def labels_of(model: nn.Module, x: Tensor) -> Tensor:
    with frozen(model), torch.no_grad():
        return model(x).argmax(1)


THREATS = ["linf(4/255)", "l2(0.3)"]


@pytest.mark.parametrize(("attack", "threat"), cheap.pairs(*THREATS))
def test_result_keeps_the_contract(attack: str, threat: str) -> None:
    model, x = small_net(), images()
    y = labels_of(model, x)
    result = stalwart.attack(model, x, y, attack, threat)
    around = catalog.make(threat, "threats")
    assert result.adversarial.shape == x.shape
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    assert eight_bit(result.adversarial)
    assert (around.size(result.adversarial, x) <= limit(around)).all()
    again = labels_of(model, result.adversarial)
    assert torch.equal(again != y, result.reached)
    assert torch.equal(result.size, around.size(result.adversarial, x))
    assert result.worst_size <= limit(around)
    assert result.robust_accuracy == pytest.approx(1 - result.reached.float().mean().item())
    assert catalog.make(result.attack, "attacks") == catalog.make(attack, "attacks")


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("attack", ["pgd(steps=5)", "pgd(steps=3, restarts=3)", "bim()"])
def test_result_depends_neither_on_batch_size_nor_on_order(attack: str, threat: str) -> None:
    model, x = small_net().double(), images()
    model = model.float()
    y = labels_of(model, x)
    whole = stalwart.attack(model, x, y, attack, threat, seed=7)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    split = stalwart.attack(model, x[order], y[order], attack, threat, seed=7, batch=9)
    assert torch.equal(split.reached, whole.reached[order])
    # convolutions of other batch sizes differ in the last bits, which a sign can turn into a step for a few pixels
    assert (split.adversarial - whole.adversarial[order]).abs().gt(1e-6).float().mean() < 0.01


def test_seed_changes_the_start_and_nothing_else() -> None:
    model, x = small_net(), images()
    y = labels_of(model, x)
    first, again, other = (stalwart.attack(model, x, y, "pgd(steps=2)", "l2(0.2)", seed=s) for s in (0, 0, 1))
    assert torch.equal(first.adversarial, again.adversarial)
    assert not torch.equal(first.adversarial, other.adversarial)


def test_model_is_left_as_it_was() -> None:
    model = small_net()
    model.train()
    model[1].eval()  # a frozen BatchNorm, which model.train() on the way out would thaw
    model[0].weight.requires_grad_(False)
    modes = [m.training for m in model.modules()]
    wants = [p.requires_grad for p in model.parameters()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    rng = torch.get_rng_state()
    x = images()
    stalwart.attack(model, x, labels_of(model, x), "pgd(steps=2)")
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == wants
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_model_is_left_as_it_was_when_the_attack_fails() -> None:
    model = small_net().train()

    def failing(clean: Tensor, goal: Any, threat: Any, noise: Any) -> Tensor:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        stalwart.attack(model, images(), labels_of(model, images()), failing)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_passes_are_counted() -> None:
    """A model that no attack can move: each step is one forward and one backward, plus clean and final verdicts."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            return torch.tensor([[1.0, 0.0]]).repeat(len(x), 1) + x.flatten(1).sum(1, keepdim=True)

    model, x = Constant(), images(10)
    result = stalwart.attack(model, x, torch.zeros(10, dtype=torch.long), "pgd(steps=6)", "linf(8/255)", batch=4)
    assert result.forwards == model.seen == 10 * (1 + 6 + 1)
    assert result.backwards == 10 * 6


def test_finished_samples_cost_nothing_more() -> None:
    model, x = small_net(), images()
    wrong = (labels_of(model, x) + 1) % 5
    result = stalwart.attack(model, x, wrong, "pgd(steps=50)")
    assert result.reached.all()
    assert result.clean_reached.all()
    assert (result.forwards, result.backwards) == (len(x), 0)
    assert torch.equal(result.adversarial, x)


def test_an_attack_cannot_grade_itself() -> None:
    """One that leaves the threat, or returns another picture altogether, is drawn back and judged there."""

    def cheat(clean: Tensor, goal: Any, threat: Any, noise: Any) -> Tensor:
        return torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) * 3 - 1

    model, x = small_net(), images()
    y = labels_of(model, x)
    result = stalwart.attack(model, x, y, cheat, "linf(2/255)")
    assert (result.adversarial - x).abs().max() <= 2 / 255 + 1e-6
    assert torch.equal(labels_of(model, result.adversarial) != y, result.reached)


def test_targeted_attack_reaches_the_wanted_class() -> None:
    model, x = small_net(), images()
    y = labels_of(model, x)
    wanted = (y + 1) % 5
    result = stalwart.attack(model, x, y, "pgd(steps=20)", "linf(60/255)", wanted=wanted, goal="margin")
    assert result.reached.any()
    assert torch.equal(labels_of(model, result.adversarial) == wanted, result.reached)


def test_flat_gradients_are_reported() -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net((x * 7).round() / 7)

    model, x = Rounded(), images()
    result = stalwart.attack(model, x, labels_of(model, x), "pgd(steps=3)")
    assert any("exactly zero" in warning for warning in result.warnings)
    honest = stalwart.attack(model.net, x, labels_of(model.net, x), "pgd(steps=3)")
    assert honest.warnings == ()


def test_detached_model_is_reported_and_does_not_crash() -> None:
    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().flatten(1)[:, :4]

    x = images()
    result = stalwart.attack(Detached(), x, Detached()(x).argmax(1), "pgd(steps=3)")
    assert any("no gradient" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"images": torch.randn(4, 3, 9, 7)}, r"\[0, 1\]"),
        ({"images": torch.full((4, 3, 9, 7), float("nan"))}, r"\[0, 1\]"),
        ({"images": torch.zeros(3, 9, 7)}, r"\(B, C, H, W\)"),
        ({"images": torch.zeros(4, 3, 9, 7, dtype=torch.int64)}, "uint8"),
        ({"labels": torch.tensor([0, 1, 2])}, "as many"),
        ({"labels": torch.tensor([0, 1, 2, 9])}, r"0\.\.4"),
        ({"labels": torch.tensor([0, 1, 2, -1])}, r"0\.\.4"),
        ({"attack": "pdg()"}, "pgd"),
        ({"threat": "linf(-1)"}, ">= 0"),
        ({"goal": "cross_entrpy"}, "cross_entropy"),
        ({"bits": 0}, "bits"),
        ({"batch": 0}, "batch"),
    ],
)
def test_bad_input_is_named(bad: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"images": images(4), "labels": torch.tensor([0, 1, 2, 3]), **bad}
    with pytest.raises(InputError, match=words):
        stalwart.attack(small_net(), **arguments)


@pytest.mark.parametrize(("classes", "goal", "targeted"), [(2, "dlr", False), (3, "dlr", True)])
def test_too_few_classes_for_the_dlr_loss(classes: int, goal: str, targeted: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 63, classes))
    y = torch.zeros(4, dtype=torch.long)
    with pytest.raises(InputError, match="classes"):
        stalwart.attack(model, images(4), y, goal=goal, wanted=y + 1 if targeted else None)


def test_uint8_and_lists_are_taken() -> None:
    model, x = small_net(), images()
    y = labels_of(model, x)
    from_bytes = stalwart.attack(model, (x * 255).round().to(torch.uint8), y.tolist(), "fgsm()")
    assert torch.equal(from_bytes.adversarial, stalwart.attack(model, x, y, "fgsm()").adversarial)


def test_images_off_the_8_bit_grid_are_judged_unrounded() -> None:
    x = images() * 0.987
    result = stalwart.attack(small_net(), x, torch.zeros(len(x), dtype=torch.long), "fgsm()", "linf(0.01)")
    assert result.bits is None


def test_no_images_give_an_empty_result() -> None:
    result = stalwart.attack(small_net(), images(4)[:0], torch.zeros(0, dtype=torch.long))
    assert len(result.adversarial) == 0
    assert result.worst_size == 0.0


@pytest.mark.parametrize("threat", ["linf(7.3/255)", "l2(0.37)", "l2(0.05)"])
def test_settling_stays_inside_and_on_the_grid(threat: str) -> None:
    around = catalog.make(threat, "threats")
    clean = images(64)
    far = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    settled = settle(far, clean, around, 8)
    assert eight_bit(settled)
    assert (around.size(settled, clean) <= limit(around)).all()
    assert around.size(settled, clean).mean() > 0.8 * around.epsilon
