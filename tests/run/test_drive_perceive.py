"""Figures of perception against hand-made moments and counting by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.drive.birdseye import SIGNALS
from stalwart.drive.lessons import Answers
from stalwart.drive.sensing import OWN, Acted, Perceived, Sensed
from stalwart.run.drive_perceive import Tally, drive_perceive
from stalwart.store import checkpoint

MODEL = "driver(height=32, width=48, channels=4, azimuths=64, features=8, memory=2)"


def moment(seed: int, noise: float) -> tuple[Sensed, Acted, Answers]:
    """Two worlds of random truth, and perception of it with noise."""
    g = torch.Generator().manual_seed(seed)

    def maps(share: float) -> tuple[torch.Tensor, torch.Tensor]:
        true = (torch.rand(2, 12, 8, generator=g) < share).float()
        return true, 8 * true - 4 + noise * torch.randn(true.shape, generator=g)

    (drivable, a), (agents, b), (route, c) = maps(0.5), maps(0.1), maps(0.2)
    velocity = torch.randn(2, 2, 12, 8, generator=g)
    points = torch.randn(2, 5, 2, generator=g)
    right = Answers(
        drivable, agents, route, velocity, torch.tensor([0, 3]), torch.tensor([40.0, 12.0]), points, torch.zeros(2, 2)
    )
    signal = torch.nn.functional.one_hot(right.signal, len(SIGNALS)).float()
    off = torch.tensor([0.3, 0.4])[None, :, None, None] * (noise > 0)
    seen = Perceived(a, b, velocity + off, c, signal, right.line_m + 2 * noise)
    own = torch.zeros(2, OWN)
    own[:, 4:] = points.reshape(2, -1) + 1.0
    return Sensed(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 4, 16), own), Acted(torch.zeros(2, 2), points, seen), right


def test_perfect_perception_has_perfect_figures() -> None:
    tally = Tally()
    tally.note(*moment(0, 0.0))
    found = tally.figures()
    for name in ("drivable_iou", "route_iou", "agents_iou", "agents_ap", "signal_accuracy", "no_signal_accuracy"):
        assert found[name] == 1.0, name
    for name in ("velocity_error_mps", "line_error_m", "aside_error_m"):
        assert found[name] == 0.0, name
    assert found["map_aside_error_m"] == pytest.approx(1.0)


def test_figures_are_those_counted_by_hand() -> None:
    tally = Tally()
    given = [moment(seed, 4.0) for seed in range(3)]
    for one in given:
        tally.note(*one)
    found = tally.figures()
    true = np.concatenate([right.agents.numpy().ravel() > 0 for _, _, right in given])
    score = np.concatenate([acted.perceived.agents.numpy().ravel() for _, acted, _ in given])
    guess = score > 0
    assert found["agents_iou"] == pytest.approx((true & guess).sum() / (true | guess).sum())
    order = np.argsort(-score)
    hits = np.cumsum(true[order])
    precision = hits / np.arange(1, len(order) + 1)
    assert found["agents_ap"] == pytest.approx(precision[true[order]].mean(), abs=0.01)  # logits in bins of a tenth
    assert found["velocity_error_mps"] == pytest.approx(0.5, abs=1e-5)
    assert found["line_error_m"] == pytest.approx(8.0)
    assert found["moments"] == 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("perceive")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = catalog.make(MODEL, "models").build(Signature(6, 3, (32, 48), "driving"))
    card = {"task": "driving", "model": MODEL, "data": "lessons", "classes": list(SIGNALS),
            "signature": {"classes": 6, "channels": 3, "size": [32, 48]}}  # fmt: skip
    checkpoint.save(out, net, card)
    return out


def test_a_run_is_measured_in_each_weather(run: Path) -> None:
    given: dict[str, Any] = {"styles": ("sun", "fog"), "worlds": 1, "steps": 10, "families": ("rural",)}
    values = list(drive_perceive(run, **given))[-1].values
    assert set(values["styles"]) == {"sun", "fog"}
    for found in values["styles"].values():
        assert found["moments"] == 2
        assert found["agents_ap"] < 0.5  # it has learned nothing
        assert found["map_aside_error_m"] > 0
    again = list(drive_perceive(run, **given))[-1].values
    assert again["styles"] == values["styles"]


def test_what_is_no_driver_is_refused(run: Path) -> None:
    with pytest.raises(InputError, match="sensors"):
        next(drive_perceive(run, sensors="radar"))  # type: ignore[call-overload]
