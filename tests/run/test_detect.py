"""Detectors fitted to a run's model: figures, evasion, the guard, the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import stalwart
from stalwart.cli.main import run as command
from stalwart.core import catalog
from stalwart.core.errors import CheckpointError, InputError
from stalwart.core.freeze import frozen
from stalwart.core.joint import Guard
from stalwart.run._evasion import Joint
from stalwart.run._negatives import noisy, shuffled
from stalwart.run.detect import _divide
from stalwart.store import guard as guards

SHORT: dict[str, Any] = {"joint": "pgd(steps=6)", "evade": 16, "radii": (1.0,), "limit": None}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    settings = stalwart.Training(epochs=3, optimizer="adamw(lr=0.01)")
    for _ in stalwart.train("digits()", "convnet(width=8)", settings=settings, out=folder):
        pass
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    events = list(stalwart.detect(run, "mahalanobis()", ["pgd(steps=10)", "fgsm()"], "linf(0.15)", **SHORT))
    progress = [event.values for event in events if event.kind == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"]
    assert [event.kind for event in events][-1] == "result"
    return dict(events[-1].values)


def test_figures_of_a_detector_and_the_baseline(run: Path, found: dict[str, Any]) -> None:
    assert [entry["detector"] for entry in found["scorers"]] == ["mahalanobis()", "energy()"]
    assert found["counts"]["fit"] + found["counts"]["calibration"] + found["counts"]["test"] == 359
    for entry in found["scorers"]:
        assert [row["seen"] for row in entry["attacks"]] == [False, entry["detector"] == "mahalanobis()"]
        for row in entry["attacks"]:
            assert 0 < row["n"] <= row["tried"] <= found["n"]
            assert row["auroc"]["clean"]["value"] > 0.7
            assert row["auroc"]["clean"]["interval"][0] < row["auroc"]["clean"]["value"]
            assert row["alarms"][0]["share"] >= row["alarms"][1]["share"]
            assert row["roc"][0] == (0.0, 0.0)
        assert [side["name"] for side in entry["negatives"]] == ["clean", "noisy", "inverted", "shuffled"]
        clean = entry["negatives"][0]["alarms"][0]
        assert clean["interval"][0] <= 0.05  # what was promised is not ruled out
    kept = json.loads((run / "results" / "detect-mahalanobis-linf-0.15.json").read_text())
    assert kept["scorers"][0]["attacks"][0]["n"] == found["scorers"][0]["attacks"][0]["n"]


def test_evasion_is_between_nothing_and_the_undefended_model(found: dict[str, Any]) -> None:
    for entry in found["scorers"]:
        levels = {level["at"]: level["curve"] for level in entry["evasion"]["levels"]}
        assert set(levels) == ({0.05, 0.01} if entry["detector"] == "mahalanobis()" else {0.05})
        for curve in levels.values():
            assert [point["epsilon"] for point in curve] == [0.0, 0.15]
            for point in curve:
                each = [point[name] for name in ("unaware", "summed", "orthogonal", "matching")]
                assert max(each) <= point["evasion"] <= point["undefended"]
            assert curve[1]["evasion"] >= curve[0]["evasion"]
            assert curve[1]["summed"] > curve[1]["unaware"]  # who knows the detector passes it more often
        if 0.01 in levels:
            assert all(a["evasion"] <= b["evasion"] for a, b in zip(levels[0.05], levels[0.01], strict=True))
    assert "bypassed" in found["says"]


class Constant:
    """A detector that says the same of every image."""

    trained = False

    def fit(self, *given: Any) -> dict[str, Tensor]:
        return {}

    def score(self, model: nn.Module, images: Tensor, fitted: Any) -> Tensor:
        return images.flatten(1).sum(1) * 0 + 1


def test_a_constant_detector_is_a_coin_and_stops_nobody(run: Path) -> None:
    settings = {**SHORT, "evade": 60, "radii": (0.5, 1.0), "limit": 240}
    result = dict(list(stalwart.detect(run, Constant(), ["pgd(steps=6)"], "linf(0.1)", **settings))[-1].values)
    entry = result["scorers"][0]
    row = entry["attacks"][0]
    assert {area["value"] for area in row["auroc"].values()} == {0.5}
    assert [alarm["share"] for alarm in row["alarms"]] == [0.0, 0.0]
    for point in entry["evasion"]["levels"][0]["curve"]:
        assert point["evasion"] == point["undefended"]
    plain = attack_rates(run, entry["evasion"]["n"])
    assert [point["unaware"] for point in entry["evasion"]["levels"][0]["curve"]] == plain


def attack_rates(run: Path, n: int) -> list[float]:
    """What the plain attack reaches on the images of the joint evasion, at each radius, alone."""
    model = stalwart.load(run / "best")
    from stalwart.run._subject import open_subject

    subject = open_subject(run, limit=240)
    batch = next(iter(subject.batches(240).epoch(0)))
    test = _divide(240, 0)[2][:n]
    reached = torch.zeros(n, dtype=torch.bool)
    rates = []
    for radius in (0.0, 0.05, 0.1):
        result = stalwart.attack(model, batch.images[test], batch.targets[test], "pgd(steps=6)", f"linf({radius})")
        reached |= result.reached
        rates.append(float(reached.double().mean()))
    return rates


def test_joint_results_do_not_depend_on_the_batch(run: Path) -> None:
    model, task = stalwart.load(run / "best"), catalog.make("classification()", "tasks")
    images, labels = catalog.make("digits()", "data").open("test").arrays()
    pixels, targets = images[:18].float() / 255, torch.tensor(labels[:18])
    curves = []
    for size in (18, 5):
        with frozen(model):
            guard = Guard(catalog.make("energy()", "detectors"), {}, -4.0, 1.0)
            joint = Joint(
                model, task, {0.05: guard}, catalog.make("linf(0.15)", "threats"), [0.15],
                catalog.make("pgd(steps=5)", "attacks"), pixels, targets, goal="", seed=0,
            )  # fmt: skip
            for first in range(0, 18, size):
                joint.add(pixels[first : first + size], targets[first : first + size])
        curves.append(joint.result(0.0)["levels"])
    assert curves[0] == curves[1]


def test_too_few_images_for_a_threshold_are_said(run: Path) -> None:
    events = list(stalwart.detect(run, "energy()", ["fgsm()"], "linf(0.15)", evade=0, limit=120))
    warned = [event.values["message"] for event in events if event.kind == "warning"]
    assert any("45 calibration images are too few" in line and "takes 99" in line for line in warned)
    [entry] = events[-1].values["scorers"]  # the baseline alone: no second one beside it
    assert [level["enough"] for level in entry["thresholds"]] == [True, False]
    assert entry["attacks"][0]["alarms"][1]["share"] == 0.0
    assert entry["evasion"] is None


def test_the_guard_flags_images(run: Path, found: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    for _ in stalwart.detect(run, "density()", ["fgsm()"], "linf(0.15)", evade=0, limit=200):
        pass
    images, _ = catalog.make("digits()", "data").open("test").arrays()
    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "a.png")
    Image.fromarray(255 - images[1, 0].numpy()).save(tmp_path / "b.png")
    rows = [e.values for e in stalwart.predict(run, [tmp_path], guard=True) if e.kind == "prediction"]
    assert [row["suspicious"] for row in rows] == [False, True]
    assert all(row["suspicious"] == (row["score"] > row["threshold"]) for row in rows)
    assert command(["predict", str(run), str(tmp_path), "--guard", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1]["suspicious"] is True
    assert lines[1]["score"] == rows[1]["score"]
    with pytest.raises(InputError, match="without a shield"):
        list(stalwart.predict(run, [tmp_path], guard=True, shield="bitdepth(2)"))


def test_a_guard_of_another_model_or_damaged_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="stalwart detect"):
        guards.load(tmp_path, None)
    card = {"detector": "energy()", "alpha": 0.05, "threshold": 1.5, "model_sha256": "a"}
    guards.save(tmp_path, {"x": torch.ones(2)}, card)
    assert guards.load(tmp_path, "a").guard.threshold == 1.5
    with pytest.raises(CheckpointError, match="other weights"):
        guards.load(tmp_path, "b")
    for change, says in (({"threshold": None}, "two numbers"), ({"detector": "nothing()"}, "cannot be read")):
        guards.save(tmp_path, {"x": torch.ones(2)}, card | change)
        with pytest.raises(CheckpointError, match=says):
            guards.load(tmp_path, "a")
    guards.save(tmp_path, {"x": torch.tensor([math.nan])}, card)
    with pytest.raises(CheckpointError, match="finite"):
        guards.load(tmp_path, "a")
    (tmp_path / "guard" / "fitted.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="not the file"):
        guards.load(tmp_path, "a")


def test_wrong_requests_are_refused_in_one_line(run: Path) -> None:
    for arguments, says in (
        ({"detector": "mahalanobi()"}, "Did you mean"),
        ({"threat": "linf(0.0)"}, "ε > 0"),
        ({"threat": "patch(0.3)"}, "changes pixels"),
        ({"joint": "cw()"}, "climbs a loss"),
        ({"radii": (2.0,)}, "shares of ε"),
        ({"limit": 5}, "at least 8"),
        ({"threat": "linf(0.0001)"}, "succeeded on"),
        ({"attacks": ()}, "at least one attack"),
    ):
        with pytest.raises(InputError, match=says):
            list(stalwart.detect(run, **{"threat": "linf(0.1)", "evade": 0, **arguments}))


def test_negatives() -> None:
    images = (torch.rand(5, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    mixed = shuffled(images)
    assert not torch.equal(mixed, images)
    assert torch.equal(mixed.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
    assert torch.equal(shuffled(images[:2]), mixed[:2])
    threat = catalog.make("linf(8/255)", "threats")
    moved = noisy(images, threat, 0)
    size = threat.size(moved, images)
    assert bool((size <= 8 / 255 + 1e-6).all())
    assert bool((size > 7 / 255).all())
    assert torch.equal(noisy(images[3:], threat, 0), moved[3:])


def test_out_of_distribution_images_come_from_the_data_named(run: Path) -> None:
    events = list(stalwart.detect(run, "energy()", ["fgsm()"], "linf(0.15)", evade=0, ood="digits()", limit=200))
    names = [side["name"] for side in events[-1].values["scorers"][0]["negatives"]]
    assert names == ["clean", "noisy", "ood"]


def test_command_table_and_report(run: Path, found: dict[str, Any], capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["detect", str(run), "--detector", "squeezing(bits=1)", "--attack", "fgsm()", "--threat", "linf(0.15)"]
    assert command([*words, "--evade", "12", "--joint", "pgd(steps=2)"]) == 0
    out = capsys.readouterr().out
    assert "wrong and not flagged" in out
    assert "energy() (baseline)" in out
    tables = out[out.index("Detectors:") :]
    assert max(len(line) for line in tables.splitlines() if not line.startswith("saved")) <= 80
    page = stalwart.report(run).read_text()
    assert "Evasion by attackers who know both" in page
    assert "the detector is bypassed" in page
    assert "mahalanobis()" in page
    assert "squeezing(bits=1)" in page
    (run / "results" / "detect-broken.json").write_text('{"kind": "detect", "scorers": [3, {"detector": "<b>"}]}')
    page = stalwart.report(run).read_text()
    assert "detect-broken.json lacks its main figures" in page
    (run / "results" / "detect-broken.json").write_text(
        '{"kind": "detect", "n": 3, "detector": "<b>", "threat": "l", "scorers": [{"detector": "<b>", "attacks": [7, '
        '{"attack": "<i>", "auroc": 4, "roc": [[1], "x", [0.1, 0.2]]}], "evasion": [1], "negatives": {"a": 1}}]}'
    )
    page = stalwart.report(run).read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page.replace("<body>", "")
    (run / "results" / "detect-broken.json").unlink()
