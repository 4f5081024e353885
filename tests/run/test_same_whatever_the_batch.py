"""What the figures do not depend on: batch size, order, company; when the runner looks; the precision of the climb.

A convolution of seven images may add in another order than one of forty, so a real model's last bits depend on the
batch. The model here passes its images one by one: whatever then differs would be the attack's or the runner's doing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cheap
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import stalwart
from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.run import _judge


class OneByOne(nn.Module):
    """A net whose every image is a pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(image[None]) for image in x]) if len(x) else self.net(x)


def data(n: int = 11) -> tuple[Tensor, Tensor, nn.Module]:
    x = torch.randint(0, 256, (n, 3, 4, 4), generator=torch.Generator().manual_seed(3)).float() / 255
    model = OneByOne()
    with torch.no_grad():
        return x, model(x).argmax(1), model


def attacked(attack: str, threat: str, order: Tensor, batch: int) -> Any:
    x, y, model = data()
    try:
        return stalwart.attack(model, x[order], y[order], attack, threat, seed=5, batch=batch)
    except InputError:
        pytest.skip("the attack does not serve this threat")


@pytest.mark.parametrize("threat", ["linf(6/255)", "l2(0.15)"])
@pytest.mark.parametrize("attack", cheap.attacks())
def test_every_attack_gives_each_image_the_same_in_any_company(attack: str, threat: str) -> None:
    if "universal" in attack:
        pytest.skip("it finds one change for all images together")
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    whole = attacked(attack, threat, torch.arange(11), 11)
    split = attacked(attack, threat, order, 3)
    assert torch.equal(split.reached, whole.reached[order])
    assert torch.equal(split.adversarial, whole.adversarial[order])
    assert (split.forwards, split.backwards) == (whole.forwards, whole.backwards)


@pytest.mark.parametrize(
    "attack", ["pgd(steps=11, restarts=2)", "apgd(steps=10)", "square(queries=30)", "fab(within=True, steps=6)"]
)
@pytest.mark.parametrize("threat", ["linf(6/255)", "l2(0.15)"])
def test_looking_less_often_changes_what_it_costs_and_nothing_else(
    attack: str, threat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator, where a look at what is reached waits for the device."""
    at_once = attacked(attack, threat, torch.arange(11), 11)
    begin = _judge.Ledger.__init__

    def late(self: Any, *args: Any, **settings: Any) -> None:
        begin(self, *args, **settings)
        self.every = 4

    monkeypatch.setattr(_judge.Ledger, "__init__", late)
    later = attacked(attack, threat, torch.arange(11), 11)
    assert at_once.reached.any()
    assert not at_once.reached.all()
    assert torch.equal(later.reached, at_once.reached)
    assert torch.equal(later.adversarial[at_once.reached], at_once.adversarial[at_once.reached])
    assert torch.equal(later.loss[at_once.reached], at_once.loss[at_once.reached])
    assert at_once.backwards <= later.backwards <= at_once.backwards + 6 * 11


class Waits(TorchDispatchMode):
    """Counts operations for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_steps_between_two_looks_do_not_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False))
    nn.init.zeros_(model[1].weight)
    model[1].weight.data[:, 0] = torch.arange(5.0) * 1e-3
    with torch.no_grad():
        y = model(x).argmax(1)

    def waits(steps: int, every: int) -> int:
        begin = _judge.Ledger.__init__

        def late(self: Any, *args: Any, **settings: Any) -> None:
            begin(self, *args, **settings)
            self.every = every

        with monkeypatch.context() as patch, Waits() as counted:
            patch.setattr(_judge.Ledger, "__init__", late)
            stalwart.attack(model, x, y, f"pgd(steps={steps})", "linf(1/255)")
        return counted.count

    each = (waits(24, 1) - waits(12, 1)) / 12
    rare = (waits(24, 4) - waits(12, 4)) / 12
    assert each >= 1
    assert rare <= each / 4 + 0.1


def test_what_is_found_in_bf16_is_a_success_in_float32() -> None:
    x, y, model = data(40)
    found = stalwart.attack(model, x, y, "pgd(steps=20)", "l2(0.15)", precision="bf16")
    exact = stalwart.attack(model, x, y, "pgd(steps=20)", "l2(0.15)")
    with torch.no_grad():
        assert torch.equal(model(found.adversarial).argmax(1) != y, found.reached)
    assert found.reached.any()
    assert not torch.equal(found.adversarial, exact.adversarial), "it climbed otherwise"
    assert abs(int(found.reached.sum()) - int(exact.reached.sum())) <= 6
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


class Lying(nn.Module):
    """A fast form that takes everything for fooled."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5] * 0 + torch.tensor([0.0, 0, 0, 0, 1])


def test_the_model_itself_judges_what_a_faster_form_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, model = data(40)
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled.append(module) or Lying())
    found = stalwart.attack(model, x, y, "pgd(steps=3)", "l2(0.15)", compile=True)
    assert compiled == [model]
    with torch.no_grad():
        assert torch.equal(model(found.adversarial).argmax(1) != y, found.reached)
    assert not found.reached.all()


def test_other_precisions_and_compiled_shields_are_refused() -> None:
    x, y, model = data()
    with pytest.raises(InputError, match="precision"):
        stalwart.attack(model, x, y, precision="fp16")
    shielded = catalog.make("bitdepth(2)", "shields")(model)
    with pytest.raises(InputError, match="shield"):
        stalwart.attack(shielded, x, y, compile=True)


def test_runs_keep_the_precision_and_measure_it(tmp_path: Path) -> None:
    settings = stalwart.Training(epochs=1, optimizer="adamw(lr=0.01)")
    for _ in stalwart.train("digits()", "convnet(width=8)", settings=settings, out=tmp_path / "a"):
        pass
    asked = {"limit": 30, "radii": ()}
    for precision in ("bf16", "auto"):
        events = list(
            stalwart.attack_run(tmp_path / "a", ["pgd(steps=3)"], ["linf(0.1)"], precision=precision, **asked)
        )
        result = events[-1].values
        assert result["precision"] == ("bf16" if precision == "bf16" else "fp32"), "little work is not measured for"
        assert 0 <= result["robust_accuracy"] < result["clean_accuracy"]
    with pytest.raises(InputError, match="shield"):
        list(stalwart.attack_run(tmp_path / "a", shield="bitdepth(2)", precision="bf16"))
