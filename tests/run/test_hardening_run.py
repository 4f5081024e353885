"""Hardening by the trainer: every objective hardens, resumes to the same bits, and is one in whatever parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cheap
import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.component import component
from stalwart.core.contracts import Batch, Event, Examples, Info, Sample, Task, Threat
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.feed.batches import Batches
from stalwart.feed.mixed import Mixed
from stalwart.feed.split import Subset
from stalwart.run._watch import remark
from stalwart.run.train import Training, train

QUICK = {
    "fgm": "fgm(threat=l2(1.5))",
    "fast": "fast(threat=linf(0.15))",
    "aligned": "fast(threat=linf(0.15), align=0.2)",
    "free": "free(threat=linf(0.15), replays=3)",
    "adversarial": "adversarial(threat=linf(0.15), attack=pgd(steps=3))",
    "trades": "trades(threat=linf(0.15), attack=pgd(steps=3))",
    "mart": "mart(threat=linf(0.15), attack=pgd(steps=3))",
    "awp": "awp(trades(threat=linf(0.15), attack=pgd(steps=3)))",
}
"""Each hardening objective, short enough for a test."""


def net(norm: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        middle: list[nn.Module] = [nn.BatchNorm2d(16)] if norm else []
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), *middle, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
        )


def run(
    model: nn.Module, objective: Any, out: Path | None = None, resume: bool = False, **settings: Any
) -> list[Event]:
    chosen = Training(**{"epochs": 1, "optimizer": "adamw(lr=0.01)", **settings})
    return list(train("digits()", model, objective=objective, settings=chosen, out=out, resume=resume))


def of_kind(events: list[Event], kind: str) -> list[dict[str, Any]]:
    return [dict(event.values) for event in events if event.kind == kind]


def test_every_hardening_objective_is_here() -> None:
    assert {name for name in cheap.objectives() if name != "clean"} == set(QUICK) - {"aligned"}


def test_every_objective_hardens() -> None:
    """At equal epochs each withstands far more than plain training; a no-op, or an attack of no use, would not."""
    test = catalog.make("digits()", "data").open("test")
    images, labels = test.arrays()

    def held(objective: str) -> float:
        model = net(norm=True)
        run(model, objective, epochs=3, batch=64)
        found = stalwart.attack(model, images, torch.tensor(labels), "pgd(steps=10)", "linf(0.15)")
        return found.robust_accuracy

    plain = held("clean()")
    shares = {name: held(objective) for name, objective in QUICK.items()}
    assert plain < 0.35
    assert min(shares.values()) > plain + 0.15, shares


class Hurried:
    """A clock on which a second passes at every look, so that the trainer speaks after each step."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.parametrize("name", ["aligned", "free", "mart", "awp"])
def test_resumed_in_mid_epoch_it_ends_at_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left after four steps: `free` is then in the midst of its second batch, with its perturbation under way."""
    monkeypatch.setattr("stalwart.run.train.time", Hurried())
    how = Training(batch=256, epochs=1, accumulate=2, ema=0.9, optimizer="adamw(lr=0.01)")

    def begin(folder: str, resume: bool = False) -> Iterator[Event]:
        out = tmp_path / folder
        return train("digits()", net(norm=True), objective=QUICK[name], settings=how, out=out, resume=resume)

    list(begin("whole"))
    for event in begin("parts"):
        if event.kind == "progress" and event.values["done"] == 4:
            break
    rest = list(begin("parts", resume=True))
    assert of_kind(rest, "start")[0]["done"] == 4
    for checkpoint in ("last", "best"):
        one, two = (tmp_path / folder / checkpoint / "model.safetensors" for folder in ("whole", "parts"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", list(QUICK))
def test_in_two_parts_it_is_one_batch(name: str) -> None:
    nets = [net(), net()]
    for model, parts in zip(nets, (1, 2), strict=True):
        run(model, QUICK[name], batch=128, accumulate=parts, optimizer="sgd(lr=0.05)", max_steps=4, val=0.02)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_free_steps_on_each_batch_as_often_as_it_says() -> None:
    events = run(net(), "free(threat=linf(0.1), replays=3)", batch=128, val=0.1)
    start, end = of_kind(events, "start")[0], of_kind(events, "result")[0]
    assert end["steps"] == start["total"] == 3 * (start["train_images"] // 128)


# ---------------------------------------------------------------- a course of the radius


@component
class noted:
    """Notes the radius of each batch."""

    threat: Threat = "linf(0.2)"  # type: ignore[assignment]

    def __call__(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        RADII.append(self.threat.epsilon)
        return task.loss(model, batch.images, batch.targets)


RADII: list[float] = []


def test_the_radius_takes_its_course() -> None:
    RADII.clear()
    events = run(net(), noted(), batch=64, epochs=2, radius="triangle(peak=0.5, start=0, floor=1)")
    steps = of_kind(events, "result")[0]["steps"]
    course = RADII[-steps:]
    expected = [0.2 * min(1.0, 2 * step / steps) for step in range(steps)]
    assert course == pytest.approx(expected)


def test_a_course_without_a_threat_is_refused() -> None:
    with pytest.raises(InputError, match="radius needs an objective with a threat"):
        run(net(), "clean()", radius="triangle()")


# ---------------------------------------------------------------- extra data


class Blank:
    """A source of white digits, all of class 3."""

    def __init__(self, count: int, classes: tuple[str, ...] = tuple("0123456789")) -> None:
        self.count = count
        self.info = Info("blank", classes, "none", "this test", 1, (8, 8))

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def open(self, split: str) -> Examples:
        return self

    @property
    def strata(self) -> Sequence[int]:
        return [3] * self.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index >= self.count:
            raise IndexError(index)
        return Sample(torch.full((1, 8, 8), 255, dtype=torch.uint8), 3, f"blank {index}")

    def arrays(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"Blank({self.count})"


def mixed(extra: int = 10) -> Mixed:
    task, digits = catalog.make("classification()", "tasks"), catalog.make("digits()", "data").open("train")
    main = Batches(Subset(digits, range(50)), task, batch=12, shuffle=True, drop_last=True, seed=seed_of("main"))
    more = Batches(Blank(extra), task, batch=4, shuffle=True, drop_last=True, seed=seed_of("extra"))
    return Mixed(main, more)


def test_each_batch_has_its_share_of_extra_images() -> None:
    batches = mixed()
    assert len(batches) == 4
    for batch in batches.epoch(0):
        white = (batch.images == 1).flatten(1).all(1)
        assert white.tolist() == [False] * 12 + [True] * 4
        assert bool((batch.targets[12:] == 3).all())
        assert int(batch.index[:12].max()) < 50 <= int(batch.index[12:].min())
        assert len({*batch.noise.keys.tolist()}) == 16


def test_extra_images_go_round_at_their_own_pace() -> None:
    """Ten images in twos of four: their third epoch begins in the middle of the main data's first."""
    batches = mixed()
    seen = [sorted(batch.index[12:].tolist()) for epoch in range(2) for batch in batches.epoch(epoch)]
    rounds = [seen[i] + seen[i + 1] for i in range(0, 8, 2)]
    assert all(len({*indices}) == 8 for indices in rounds)
    assert len({tuple(indices) for indices in rounds}) > 1  # another order each time


def test_mixed_batches_begin_anywhere() -> None:
    whole = [batch for epoch in range(2) for batch in mixed().epoch(epoch)]
    for batch, later in zip(whole[6:], mixed().epoch(1, 2), strict=True):
        assert torch.equal(batch.images, later.images)
        assert torch.equal(batch.noise.keys, later.noise.keys)


def test_a_net_learns_from_extra_data() -> None:
    model, white = net(), torch.ones(1, 1, 8, 8)
    events = run(model, "clean()", extra=Blank(40), extra_share=0.25, batch=64)
    start = of_kind(events, "start")[0]
    assert start["train_images"] == len(range(48, 1293 + 1, 48)) * 16 + _main_images(start)
    assert int(model.eval()(white).argmax()) == 3
    assert of_kind(events, "epoch")[0]["val_top1"] > 0.5


def _main_images(start: dict[str, Any]) -> int:
    return sum(start["class_counts"].values())


def test_extra_data_of_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="must have the classes of the main data, 0, 1, 2 and 7 more"):
        run(net(), "clean()", extra=Blank(40, ("cat", "dog")))
    with pytest.raises(InputError, match="32 images at least"):
        run(net(), "clean()", extra=Blank(20), batch=64)
    with pytest.raises(InputError, match="extra_share must leave"):
        run(net(), "clean()", extra=Blank(20), batch=4, extra_share=0.01)


# ---------------------------------------------------------------- what the course of robustness says


def course(robust: Sequence[float], loss: Sequence[float] | None = None, radius: float = 1.0) -> list[dict[str, float]]:
    losses = loss or [1.0] * len(robust)
    return [
        {
            "epoch": i + 1,
            "first": 10 * i + 1,
            "last": 10 * i + 10,
            "radius": radius,
            "robust": held,
            "clean": 0.8,
            "loss": lost,
            "images": 512,
        }
        for i, (held, lost) in enumerate(zip(robust, losses, strict=True))
    ]


def test_it_says_when_catastrophic_overfitting_begins_and_once() -> None:
    held = course([0.3, 0.4, 0.02, 0.01])
    assert "fell from 40.0% to 2.0% in epoch 3 (steps 21 to 30)" in remark(held[:3])
    assert [remark(held[:n]) == "" for n in (1, 2, 4)] == [True] * 3


def test_a_curriculum_is_not_called_vain_before_its_end() -> None:
    assert remark(course([0.01], radius=0.3)) == ""
    assert "no robustness" in remark(course([0.01]))


def test_one_epoch_of_many_is_too_early_to_call_vain() -> None:
    """After one epoch of PGD under a large ε next to nothing holds yet; a training that ends there has said it all."""
    slow, vain = course([0.02, 0.06, 0.3]), course([0.02, 0.03, 0.03])
    assert [remark(slow[:n], n == 3) for n in (1, 2, 3)] == [""] * 3
    assert ["no robustness" in remark(vain[:n], n == 3) for n in (1, 2, 3)] == [False, True, False]
    assert "no robustness" in remark(vain[:2])
    assert "no robustness" in remark(vain[:1])


def test_it_says_when_robust_overfitting_began() -> None:
    held = course([0.40, 0.50, 0.46, 0.46, 0.45, 0.44], loss=[1.5, 1.2, 1.0, 0.9, 0.8, 0.7])
    said = [remark(held[:n]) for n in range(1, 7)]
    assert [bool(message) for message in said] == [False] * 4 + [True, False]
    assert "robust overfitting since epoch 2: there robust accuracy was 50.0%" in said[4]


@pytest.mark.parametrize(
    ("robust", "loss"),
    [
        ([0.4, 0.5, 0.49, 0.49, 0.49], [1.5, 1.2, 1.0, 0.9, 0.8]),  # within a standard error
        ([0.4, 0.5, 0.46, 0.46, 0.46], [1.5, 1.2, 1.3, 1.3, 1.3]),  # training has lost too
        ([0.4, 0.5, 0.46, 0.51, 0.46], [1.5, 1.2, 1.0, 0.9, 0.8]),  # not in a row
    ],
)
def test_it_does_not_cry_robust_overfitting(robust: list[float], loss: list[float]) -> None:
    assert all(remark(course(robust, loss)[:n]) == "" for n in range(1, 6))


def test_patience_goes_by_robustness_and_best_is_the_most_robust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([0.3, 0.5, 0.4, 0.4, 0.4])
    monkeypatch.setattr("stalwart.run.train.robust", lambda *_: next(left))
    how = Training(epochs=5, patience=2, batch=256)
    objective = "fast(threat=linf(0.1))"
    events = list(train("digits()", "convnet(width=4)", objective=objective, settings=how, out=tmp_path / "a"))
    assert len(of_kind(events, "epoch")) == 4
    assert of_kind(events, "result")[0]["best_epoch"] == 2
    assert any("no better robust score for 2 epochs" in note["message"] for note in of_kind(events, "note"))
    assert stalwart.load(tmp_path / "a").card["scores"]["robust_top1"] == 0.5  # type: ignore[index]


def test_a_rendered_threat_is_trained_against() -> None:
    """A patch is no change of single pixels; what attacks climb by, objectives do too."""
    events = run(net(), "adversarial(threat=patch(0.1), attack=pgd(steps=2))", batch=256, max_steps=2)
    assert 0 < of_kind(events, "epoch")[0]["robust_top1"] < 1
