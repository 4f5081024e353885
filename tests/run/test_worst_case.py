"""The task's own metric under attack: of each image's worst point, against closed forms and brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import stalwart
from stalwart.cli.main import run as command
from stalwart.core import catalog
from stalwart.core.contracts import Batch, Info
from stalwart.core.rng import Noise
from stalwart.run import _sweep
from stalwart.run._judge import Ledger, judge_clean, search
from stalwart.run._parts import Part
from stalwart.run._sweep import Sweep
from stalwart.run._worst import Standing, Worst

LINF = catalog.make("linf(8/255)", "threats")


class Level(nn.Module):
    """Dark or bright, pixel by pixel: wrong as soon as a pixel is moved over the middle (127.5 of 255)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        bright = (images.mean(1, keepdim=True) - 0.5) * self.scale
        return torch.cat([-bright, bright], 1)


class Subject:
    """What a sweep needs of a run."""

    task = catalog.make("semantic()", "tasks")
    model = Level()
    device = torch.device("cpu")

    class examples:
        strata = (0,) * 8
        info = Info("made", ("dark", "bright"), "unknown", "made")

        def __class_getitem__(cls, index: int) -> Any:
            return type("Sample", (), {"name": f"image {index}"})


def grey(count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    levels = torch.randint(100, 156, (count, 1, 6, 5), generator=torch.Generator().manual_seed(seed))
    return levels / 255, (levels[:, 0] > 127).to(torch.uint8)


def swept(attack: str = "pgd(steps=10)", threat: Any = LINF, radii: tuple[float, ...] = (4 / 255, 8 / 255)) -> Sweep:
    images, targets = grey()
    sweep = Sweep(Subject(), catalog.make(attack, "attacks"), threat, radii, goal="cross_entropy", seed=0)  # type: ignore[arg-type]
    index = torch.arange(6)
    sweep.add(Batch(images, targets, index, Noise.of_index(index)))
    return sweep


@pytest.mark.parametrize("attack", ["pgd(steps=10)", "apgd(steps=20)", "mifgsm(steps=10)"])
def test_the_metric_at_each_radius_is_the_closed_form(attack: str) -> None:
    images, targets = grey()
    levels = (images * 255).round().long()[:, 0]
    result = swept(attack).result()
    assert result["score"] == "miou"
    for point, reach in zip(result["curve"], (0, 4, 8), strict=True):
        # A dark pixel turns bright where it can be brought to 128 at least, a bright one dark at 127 at most.
        said = torch.where(targets == 0, levels + reach > 127, levels - reach > 127)
        each = [
            float(((said == k) & (targets == k)).sum() / ((said == k) | (targets == k)).sum().clamp_min(1))
            for k in (0, 1)
        ]
        assert point["score"] == pytest.approx(sum(each) / 2)
        assert point["figures"]["pixel_accuracy"] == pytest.approx(float((said == targets).float().mean()))
        share = (said == targets).flatten(1).float().mean(1)
        assert point["robust_accuracy"] == pytest.approx(float((share >= 0.5).float().mean()))
        low, high = point["score_interval"]
        assert low <= point["score"] <= high
    assert result["clean_score"] == 1.0
    assert result["robust_score"] < 0.6
    rows = {row["name"]: row for row in result["classes"]}
    assert rows["dark"]["clean"]["iou"] == 1.0
    assert rows["bright"]["robust"]["iou"] == pytest.approx(each[1])


def test_all_steps_are_taken_and_an_attack_for_the_smallest_change_measures_nothing() -> None:
    (part,) = swept("pgd(steps=10)").parts
    assert part.backwards == 2 * 10 * 6  # both radii, ten steps, nobody leaves
    assert int(part.fallen.min()) == 3, "nobody falls on the way, which would be looked at at once"
    # The clean images; at each radius the steps and the last point, which is the worst: none before it is looked at.
    assert part.forwards == 6 + 2 * 6 * (10 + 1)

    class Least:
        """An attack for the smallest change."""

        least = True

        def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
            return threat.project(1 - clean, clean)

        def __repr__(self) -> str:
            return "smallest()"

    images, targets = grey()
    sweep = Sweep(Subject(), Least(), LINF, (8 / 255,), goal="cross_entropy", seed=0)  # type: ignore[arg-type]
    sweep.add(Batch(images, targets, torch.arange(6), Noise.of_index(torch.arange(6))))
    least = sweep.result()
    assert "score" not in least
    assert "score" not in least["curve"][0]


def test_a_smaller_radius_stays_where_a_larger_one_finds_nothing_worse() -> None:
    class Once:
        """An attack that goes the whole way at the first radius, and stands still at all others."""

        calls = 0

        def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
            Once.calls += 1
            if Once.calls > 1:
                return clean
            x = clean.detach().requires_grad_()
            goal(x).loss.sum().backward()
            return threat.project(x.detach() + x.grad.sign() * threat.epsilon, clean)

        def __repr__(self) -> str:
            return "once()"

    images, targets = grey()
    sweep = Sweep(Subject(), Once(), LINF, (4 / 255, 8 / 255), goal="cross_entropy", seed=0)  # type: ignore[arg-type]
    index = torch.arange(6)
    sweep.add(Batch(images, targets, index, Noise.of_index(index)))
    first, second = (sweep.parts[0].figures[level]["confusion"] for level in (1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sweep.parts[0].figures[0]["confusion"])


def test_the_worst_point_is_kept_and_not_the_last() -> None:
    """An attack that walks to the worst point and away from it again."""

    class Wanders:
        def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
            x = clean.detach().requires_grad_()
            slope = torch.autograd.grad(goal(x).loss.sum(), x)[0].sign()
            with torch.no_grad():
                worst = threat.project(clean + slope * threat.epsilon, clean)
                assert goal(worst).reached is None, "go on whatever is reached"
                goal(clean)
            return clean

    images, targets = grey()
    goal = Subject.task.goal(Subject.model, targets, "cross_entropy")
    ledger = Ledger(images, goal, LINF, 8)
    judge_clean(ledger, Wanders())
    assert ledger.graded
    search(ledger, Wanders(), 0)
    best = stalwart.attack(Subject.model, images, list(targets), "pgd(steps=10)", LINF, task="semantic()")
    assert torch.equal(ledger.harm, goal(best.adversarial).harm)
    assert torch.equal(ledger.reached, best.reached)
    assert float(ledger.sizes().max()) <= 8 / 255 + 1e-6


def test_classification_stops_at_the_first_success() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 2))
    images = torch.rand(4, 1, 6, 5)
    images = (images * 255).round() / 255
    ledger = Ledger(images, catalog.make("classification()", "tasks").goal(model, torch.zeros(4, dtype=torch.long)),
                    LINF, 8)  # fmt: skip
    judge_clean(ledger, catalog.make("pgd()", "attacks"))
    assert not ledger.graded


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, float("nan")]), st.integers(0, 3)), max_size=20)
)
@settings(max_examples=60, deadline=None)
def test_the_worst_is_the_greatest_by_harm_then_loss(shown: list[tuple[int, float, int]]) -> None:
    worst = Worst(torch.zeros(4, 1, 1, 1))
    best: dict[int, tuple[float, float, int]] = {}
    for number, (row, harm, loss) in enumerate(shown, 1):
        standing = Standing(torch.tensor([harm]), torch.tensor([float(loss)]))
        worst.see(torch.full((1, 1, 1, 1), float(number)), standing, torch.tensor([row]))
        if harm == harm and (row not in best or (harm, loss) > best[row][:2]):
            best[row] = (harm, loss, number)
    assert worst.images.flatten().tolist() == [float(best[row][2]) if row in best else 0.0 for row in range(4)]
    assert (worst.standing.harm > -torch.inf).nonzero().flatten().tolist() == sorted(best)


def test_a_part_with_figures_comes_back_whole() -> None:
    (part,) = swept().parts
    again = Part.of(part.tensors())
    assert len(again.figures) == 3
    for one, other in zip(part.figures, again.figures, strict=True):
        assert torch.equal(one["confusion"], other["confusion"])
        assert one["edges"] == other["edges"]
        assert all(torch.equal(a, b) for a, b in zip(one["shared"], other["shared"], strict=True))
    assert [item.rank for item in again.found] == [item.rank for item in part.found]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "boxes"
    options = stalwart.Training(epochs=4, batch=8, optimizer="adamw(lr=0.01)", precision="fp32")
    data, model = "shapes(train=32, test=10, size=32, most=2)", "dense(width=8, neck=16, depth=1)"
    for _ in stalwart.train(data, model, task="detection(threshold=0.1)", settings=options, out=out):
        pass
    return out


def attacked(run: Path, **options: Any) -> dict[str, Any]:
    events = stalwart.attack_run(run, ["pgd(steps=4)"], ["linf(8/255)"], radii=(0.5,), **options)
    (found,) = [dict(event.values) for event in events if event.kind == "result"]
    return found


def test_a_detector_s_average_precision_falls_and_goes_on_after_a_kill(
    boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attacked(boxes, batch=4)
    clean = next(e for e in stalwart.evaluate(boxes) if e.kind == "result").values
    assert clean["score"] == "ap50"
    assert whole["clean_score"] == pytest.approx(clean["figures"]["ap50"])
    assert whole["curve"][0]["figures"]["ap75"] == pytest.approx(clean["figures"]["ap75"])
    assert whole["robust_score"] < whole["clean_score"]
    done = 0
    events = stalwart.attack_run(boxes, ["pgd(steps=4)"], ["linf(8/255)"], radii=(0.5,), batch=4)
    for event in events:
        done += event.kind == "progress"
        if done == 2:
            break
    events.close()  # type: ignore[attr-defined]
    seen: list[int] = []
    add = _sweep.Sweep.add

    def noted(self: Any, batch: Any) -> Any:
        seen.extend(batch.index.tolist())
        return add(self, batch)

    monkeypatch.setattr(_sweep.Sweep, "add", noted)
    again = attacked(boxes, batch=4)
    assert len(seen) == 2
    for key in ("curve", "clean_score", "robust_score", "classes", "examples"):
        assert again[key] == whole[key]


def test_the_command_prints_the_metric_against_the_radius(boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["attack", str(boxes), "--attack", "pgd(steps=2)", "--limit", "6", "--audit", "0", "--quiet"]
    assert command(arguments) == 0
    said = capsys.readouterr().out
    assert "AP50" in said
    assert "8/255" in said
    assert "broken" in said
