"""Distillation: the loss by hand, a student that learns from its teacher alone, and large logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Batch
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    settings = stalwart.Training(epochs=4, optimizer="adamw(lr=0.01)", precision="fp32")
    list(stalwart.train("digits()", "convnet(width=8)", settings=settings, out=out))
    return out


def batch(n: int = 6) -> Batch:
    images, labels = catalog.make("digits()", "data").open("test").arrays()
    index = torch.arange(n)
    return Batch(images[:n].float() / 255, torch.tensor(labels[:n]), index, Noise.of_index(index, 0))


def test_the_loss_is_the_papers(teacher: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    some, task = batch(), catalog.make("classification()", "tasks")
    objective = catalog.make(f"distil({str(teacher / 'best')!r}, temperature=3.0, weight=0.7)", "objectives")
    loss = objective(model, task, some)
    with torch.no_grad():
        q = (stalwart.load(teacher)(some.images) / 3).softmax(1).double()
        p = (model(some.images) / 3).softmax(1).double()
    divergence = (q * (q / p).log()).sum(1)
    expected = 0.7 * 9 * divergence + 0.3 * task.loss(model, some.images, some.targets).double()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_distilled_into_itself_is_at_rest(teacher: Path) -> None:
    model = stalwart.load(teacher).eval()
    objective = catalog.make(f"distil({str(teacher)!r}, weight=1.0)", "objectives")
    loss = objective(model, catalog.make("classification()", "tasks"), batch())
    assert float(loss.detach().abs().max()) < 1e-4


def test_defensive_distillation_makes_logits_large_and_removes_no_weakness(teacher: Path, tmp_path: Path) -> None:
    settings = stalwart.Training(epochs=4, optimizer="adamw(lr=0.02)", precision="fp32")
    objective = f"distil({str(teacher)!r}, temperature=30.0, weight=1.0)"
    *_, last = stalwart.train(
        "digits()", "convnet(width=8)", objective=objective, settings=settings, out=tmp_path / "s"
    )
    assert last.values["val_top1"] > 0.8
    student, some = stalwart.load(tmp_path / "s"), batch(100)
    with torch.no_grad():
        spreads = [float(model(some.images).std()) for model in (stalwart.load(teacher), student)]
    assert spreads[1] > 0.5 * spreads[0]
    found = stalwart.attack(student, some.images, some.targets, "apgd(steps=20, loss='margin')", "linf(0.2)")
    assert found.robust_accuracy < 0.3


def test_a_teacher_of_other_outputs_is_refused(teacher: Path) -> None:
    objective = catalog.make(f"distil({str(teacher)!r})", "objectives")
    with pytest.raises(InputError, match="like the model"):
        objective(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), catalog.make("classification()", "tasks"), batch())
