"""AutoAttack: the official budgets to the pass, the official order, survivors only; what lesser ones are fooled by."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.attacks import autoattack as module
from stalwart.core import catalog, checks
from stalwart.core.ascent import Unstopped
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise

sys.path.append(str(Path(__file__).parents[1] / "run"))
from zoo import BUILDERS, digits, learn


class Steady(nn.Module):
    """A linear model whose first class is so far ahead that nothing brings it down; it counts its passes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        w = torch.randn(classes, 3 * 5 * 7, generator=torch.Generator().manual_seed(0))
        self.register_buffer("w", w)
        self.register_buffer("ahead", torch.eye(classes)[0] * 500)
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        out: Tensor = x.flatten(1) @ self.w.T + self.ahead
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def _back(self, slope: Tensor) -> None:
        self.backwards += len(slope)


def runs(count: int, steps: int = 100) -> int:
    """Passes of so many runs of APGD or FAB: one more than it has steps."""
    return count * (steps + 1)


LOOK = 1
"""After each part a look at what stands, and after each run of APGD but its last."""
STANDARD = {
    "apgd-ce": (runs(1) + LOOK, runs(1)),
    "apgd-t": (LOOK + runs(9) + 8 * LOOK + LOOK, runs(9)),  # the rivals; runs, looks between them
    "fab-t": (LOOK + runs(9) + LOOK, runs(9)),
    "square": (5000 + LOOK, 0),
}
PLUS = {
    "apgd-ce x5": (runs(5) + 4 * LOOK + LOOK, runs(5)),
    "apgd-dlr x5": (runs(5) + 4 * LOOK + LOOK, runs(5)),
    "fab x5": (runs(5) + LOOK, runs(5) + 5 * 8),  # the slopes of nine rivals at each run's first point
    "square": (5000 + LOOK, 0),
    "apgd-t": STANDARD["apgd-t"],
    "fab-t": STANDARD["fab-t"],
}
RAND = {  # 20 votes on each end; the judge looks at the last
    "apgd-ce eot": (20 * runs(1) + 20, 20 * runs(1)),
    "apgd-dlr eot": (20 * runs(1) + 20 + LOOK, 20 * runs(1)),
}


@pytest.mark.parametrize(("version", "budget"), [("standard", STANDARD), ("plus", PLUS), ("rand", RAND)])
def test_the_budgets_are_the_official_ones_to_the_pass(
    version: str, budget: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if version == "plus":  # Square is the standard version's own, which is counted there
        monkeypatch.setitem(module.PARTS, "square", "square(queries=50)")
        budget = {**budget, "square": (50 + LOOK, 0)}
    model, n = Steady(), 2
    x = torch.randint(0, 256, (n, 3, 5, 7), generator=torch.Generator().manual_seed(1)) / 255
    result = stalwart.attack(model, x, torch.zeros(n, dtype=torch.long), f"autoattack({version!r})", "linf(8/255)")
    assert [stage.name for stage in result.stages] == list(budget)
    assert [(stage.forwards, stage.backwards) for stage in result.stages] == [
        (n * forwards, n * backwards) for forwards, backwards in budget.values()
    ]
    assert all((stage.attacked, stage.fell) == (n, 0) for stage in result.stages)
    assert result.forwards == model.forwards == n * (1 + sum(forwards for forwards, _ in budget.values()))
    assert result.backwards == sum(backwards for _, backwards in budget.values()) * n
    assert result.robust_accuracy == 1


def test_the_parts_are_the_official_ones_in_the_official_order() -> None:
    """Croce and Hein's repository, autoattack.py, set_version."""
    spelled = {
        "standard": [
            "apgd(steps=100)",
            "apgd(steps=100, loss='dlr', targets=9)",
            "fab(steps=100, targets=9, within=True)",
            "square(queries=5000, course=10000)",
        ],
        "plus": [
            "apgd(steps=100, restarts=5)",
            "apgd(steps=100, restarts=5, loss='dlr')",
            "fab(steps=100, restarts=5, within=True)",
            "square(queries=5000, course=10000)",
            "apgd(steps=100, loss='dlr', targets=9)",
            "fab(steps=100, targets=9, within=True)",
        ],
        "rand": ["eot(attack=apgd(steps=100), n=20)", "eot(attack=apgd(steps=100, loss='dlr'), n=20)"],
    }
    for version, parts in spelled.items():
        own = [module.PARTS[name] for name in module.VERSIONS[version]]
        assert [catalog.make(part, "attacks") for part in own] == [catalog.make(part, "attacks") for part in parts]
    apgd = catalog.make("apgd()", "attacks")
    assert catalog.make("square()", "attacks").share == 0.8
    assert (apgd.steps, apgd.loss, apgd.targets) == (100, "ce", 0)
    fab = catalog.make("fab()", "attacks")
    assert (fab.alpha, fab.eta, fab.beta) == (0.1, 1.05, 0.9)
    assert module.autoattack()._parts(catalog.make("l1(4)", "threats")) == module.STANDARD_L1


class Told:
    """A part that brings down the samples it is told, and remembers whom it was shown."""

    def __init__(self, falls: list[int]) -> None:
        self.falls, self.seen = falls, []

    def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
        self.seen = (clean[:, 0, 0, 0] * 255).round().int().tolist()
        hit = torch.tensor([value in self.falls for value in self.seen])
        return torch.where(hit.view(-1, 1, 1, 1), torch.ones_like(clean), clean)


class Bright(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        z = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-z, z], 1)


def test_each_part_is_shown_what_the_ones_before_left(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"a": Told([1, 2]), "b": Told([]), "c": Told([3, 5]), "d": Told([4])}
    monkeypatch.setattr(module, "PARTS", parts)
    monkeypatch.setattr(module, "VERSIONS", {"standard": ("a", "b", "c", "d")})
    x = (torch.arange(1, 8) / 255).view(7, 1, 1, 1).expand(7, 1, 4, 4).clone()
    for batch in (7, 2):
        result = stalwart.attack(Bright(), x, torch.zeros(7, dtype=torch.long), "autoattack()", "linf(1)", batch=batch)
        assert [(stage.name, stage.attacked, stage.fell) for stage in result.stages] == [
            ("a", 7, 2),
            ("b", 5, 0),
            ("c", 5, 2),
            ("d", 3, 1),
        ]
        assert result.reached.tolist() == [True] * 5 + [False] * 2
    whole = stalwart.attack(Bright(), x, torch.zeros(7, dtype=torch.long), "autoattack()", "linf(1)")
    assert sum(stage.fell for stage in whole.stages) == int(whole.reached.sum())
    assert parts["d"].seen == [4, 6, 7]


class Fickle(nn.Module):
    """Wrong in a share of its passes that is the image's brightness, each pass drawn anew."""

    def forward(self, x: Tensor) -> Tensor:
        wrong = (torch.rand(len(x)) < x.mean((1, 2, 3))).float() * 2 - 1
        return torch.stack([-wrong, wrong], 1)


class Brightness:
    """A part that makes every image as bright as that, and remembers how many it was shown."""

    def __init__(self, value: float) -> None:
        self.value, self.shown = value, 0

    def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
        self.shown += len(clean)
        return torch.full_like(clean, self.value)


@pytest.mark.parametrize(("values", "kept", "shown"), [((0.3, 0.1), 0.3, 40), ((0.1, 0.3), 0.3, 40), ((1, 0.1), 1, 0)])
def test_of_a_random_model_the_end_that_most_passes_are_wrong_at_is_kept(
    values: tuple[float, float], kept: float, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one pass alone a third of the ends at 0.3 would have fallen, and the other two thirds be those at 0.1."""
    parts = dict(zip(("a", "b"), map(Brightness, values), strict=True))
    monkeypatch.setattr(module, "PARTS", parts)
    monkeypatch.setattr(module, "VERSIONS", {"rand": ("a", "b")})
    torch.manual_seed(0)
    x = torch.zeros(40, 1, 2, 2)
    result = stalwart.attack(Fickle(), x, torch.zeros(40, dtype=torch.long), "autoattack('rand')", "linf(1)", bits=None)
    ends = result.adversarial.flatten(1)[:, 0]
    assert int((ends - kept).abs().lt(1e-3).sum()) >= 36  # 20 votes may tell 0.3 from 0.1 wrongly now and then
    assert parts["b"].shown <= 40
    assert (parts["b"].shown >= 36) == bool(shown)


def test_an_attack_of_one_part_has_no_stages() -> None:
    x = torch.rand(2, 1, 4, 4)
    assert stalwart.attack(Bright(), x, Bright()(x).argmax(1), "pgd(steps=2)").stages == ()


def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same parts in the same order, a tenth as long: for what does not depend on the length."""
    for old, new in (("steps=100", "steps=10"), ("queries=5000, course=10000", "queries=50"), ("n=20", "n=4")):
        monkeypatch.setattr(module, "PARTS", {name: part.replace(old, new) for name, part in module.PARTS.items()})


@cache
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    images, labels = digits()
    return learn(BUILDERS["convolutional"], hardened=0.15), images[1400:1460], labels[1400:1460]


class Scaled(nn.Module):
    """Logits so far apart that the softmax rounds to one and its cross-entropy has no slope left."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * 3000
        return out


def test_logits_3000_times_as_large_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch)
    model, x, y = problem()
    x, y = x[:40], y[:40]
    plain = stalwart.attack(model, x, y, "autoattack()", "l2(0.8)")
    scaled = stalwart.attack(Scaled(model), x, y, "autoattack()", "l2(0.8)")
    fooled = stalwart.attack(Scaled(model), x, y, "pgd(steps=40)", "l2(0.8)")  # on torch's own cross-entropy
    assert fooled.robust_accuracy > plain.robust_accuracy + 0.1
    assert int((plain.reached != scaled.reached).sum()) <= 1


@pytest.mark.parametrize(("version", "threat"), [("standard", "l2(0.8)"), ("plus", "linf(0.1)"), ("rand", "l2(0.8)")])
def test_each_image_has_its_own_result(version: str, threat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch)
    model, x, y = problem()
    x, y = x[:20], y[:20]
    spelled = f"autoattack({version!r})"
    whole = stalwart.attack(model, x, y, spelled, threat)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    split = stalwart.attack(model, x[order], y[order], spelled, threat, batch=12)
    assert 0 < int(whole.reached.sum()) < len(x)
    assert int((split.reached != whole.reached[order]).sum()) <= 1  # the last bit of a convolution may turn a sign


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_and_images_that_are_not_square(
    classes: int, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linear model of closed form: all within its distance fall, and none beyond."""
    shorter(monkeypatch)
    w = torch.randn(classes, 3 * 5 * 7, generator=torch.Generator().manual_seed(classes))
    model = nn.Sequential(nn.Flatten(), nn.Linear(105, classes))
    with torch.no_grad():
        model[1].weight.copy_(w)
        model[1].bias.copy_(-(w * 0.5).sum(1))
    x = 0.35 + 0.3 * torch.rand(40, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(1)
    gaps = logits.gather(1, y[:, None]) - logits
    reach = (w[y][:, None] - w[None]).abs().sum(2)
    distance = (gaps / reach).scatter(1, y[:, None], torch.inf).amin(1)
    epsilon = float(distance.median())
    result = stalwart.attack(model, x, y, f"autoattack({version!r})", f"linf({epsilon})", bits=None)
    assert result.reached[distance < 0.98 * epsilon].all()
    assert not result.reached[distance > 1.001 * epsilon].any()


@pytest.mark.parametrize("threat", ["linf(8/255)", "l2(0.5)"])
def test_it_keeps_the_contract(threat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch)
    for version in module.VERSIONS:
        checks.attack(module.autoattack(version), catalog.make(threat, "threats"))


def test_a_wanted_class_is_one_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch)
    model, x, y = problem()
    wanted = (y + 1) % 10
    result = stalwart.attack(model, x[:20], y[:20], "autoattack()", "linf(0.3)", wanted=wanted[:20])
    with torch.no_grad():
        assert torch.equal(model(result.adversarial).argmax(1) == wanted[:20], result.reached)
    assert result.reached.any()


def test_swift_confirms_with_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch)
    model, x, y = problem()
    # One run towards one rival misses some, which AutoAttack then finds.
    quick = stalwart.attack(model, x, y, "swift(steps=1, targets=1)", "l2(0.8)")
    sure = stalwart.attack(model, x, y, "swift(steps=1, targets=1, confirm=True)", "l2(0.8)")
    whole = stalwart.attack(model, x, y, "autoattack()", "l2(0.8)")
    assert [stage.name for stage in sure.stages] == ["swift", *module.VERSIONS["standard"]]
    assert sure.stages[0].fell == int((quick.reached & ~quick.clean_reached).sum())
    assert sure.stages[1].attacked == int((~quick.reached).sum())
    assert sure.robust_accuracy <= min(quick.robust_accuracy, whole.robust_accuracy + 1e-6)
    assert sum(stage.forwards for stage in sure.stages) == sure.forwards - len(x)


def test_in_training_it_cannot_be_used() -> None:
    model, x, y = problem()
    goal = Unstopped(catalog.make("classification()", "tasks").goal(model, y[:2]))
    with pytest.raises(InputError, match="what is reached"):
        catalog.make("autoattack()", "attacks")(
            x[:2], goal, catalog.make("linf(1e-4)", "threats"), Noise.of_images(x[:2], 0)
        )


@pytest.mark.parametrize(("attack", "threat"), [("autoattack()", "l0(3)"), ("autoattack('rand')", "l0(3)")])
def test_threats_that_its_parts_do_not_serve_are_named(attack: str, threat: str) -> None:
    model, x, y = problem()
    with pytest.raises(InputError, match="threat"):
        stalwart.attack(model, x[:2], y[:2], attack, threat)


def test_a_runs_result_says_what_each_part_brought_down(monkeypatch: pytest.MonkeyPatch) -> None:
    from stalwart.core.contracts import Batch, Stage
    from stalwart.run._parts import Part
    from stalwart.run._sweep import Sweep

    class Subject:
        task = catalog.make("classification()", "tasks")
        model = Bright()
        device = torch.device("cpu")

        class examples:
            strata = (0,) * 6

            class info:
                classes = ("dark", "bright")

    shorter(monkeypatch)
    x = torch.tensor([60, 90, 100, 110, 120, 140]).div(255).view(6, 1, 1, 1).expand(6, 1, 4, 4).clone()
    threat = catalog.make("linf(0.1)", "threats")
    sweep = Sweep(Subject(), module.autoattack(), threat, (0.05, 0.1), goal="", seed=0)  # type: ignore[arg-type]
    index = torch.arange(6)
    part = sweep.add(Batch(x, torch.zeros(6, dtype=torch.long), index, Noise.of_index(index)))
    # 8 of 255 at the radius of 12.75, 18 at 25.5; at the first the rest goes through all four parts.
    assert [(stage.name, stage.attacked, stage.fell) for stage in part.stages] == [
        ("apgd-ce", 5 + 4, 1 + 1),
        ("apgd-t", 4 + 3, 0),
        ("fab-t", 4 + 3, 0),
        ("square", 4 + 3, 0),
    ]
    assert Part.of(part.tensors()).stages == part.stages
    assert all(isinstance(stage, Stage) for stage in part.stages)
