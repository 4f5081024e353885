"""What reports say of shields, certificates, the cheapest examples and transfer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from report_runs import HOSTILE, attacked, certificate, complete, put, shielded, transferred
from safetensors.torch import load_file
from test_report import read

from stalwart.pages import charts
from stalwart.run._report import cheapest
from stalwart.run._report import record as records
from stalwart.run.report import report
from stalwart.store.checkpoint import save_tensors


def test_three_numbers_stand_side_by_side_with_their_labels(tmp_path: Path) -> None:
    run = complete(tmp_path / "a", more=[shielded(), shielded("smoothing(sigma=0.25)", masks=False)])
    page = read(report(run))
    assert "without the shield naive attack adaptive attack" in page.text
    assert "bitdepth(2) masks pgd(steps=20) within linf(8/255) 93.0 % untouched, n = 200" in page.text
    assert "smoothing(sigma=0.25) certified" in page.text
    assert "64.0 % under an attack that does not know it, 8.0 % under one that does" in page.text
    assert "against an attacker who knows it it adds 4.0 points" in page.text
    strong = [place for place, (name, _) in enumerate(page.elements) if name == "strong"]
    assert strong
    assert "<strong>8.0\u00a0%</strong>" in (run / "report.html").read_text(encoding="utf-8"), "the figure that counts"


def test_a_certificate_is_called_proven(tmp_path: Path) -> None:
    page = read(report(complete(tmp_path / "a", more=[certificate()])))
    assert "90.0 % of 100 images are answered rightly" in page.text
    assert "This is proven, not tried" in page.text
    assert "Certified accuracy" in page.text
    for point in certificate()["curve"]:
        assert f"{100 * point['certified_accuracy']:.1f} %" in page.text


def test_all_attacks_together_leave_what_stands_each(tmp_path: Path) -> None:
    """By hand: an image stands at ε where no attack found a change of at most ε."""
    run = complete(tmp_path / "a")
    record = records.read(run, "a")
    [linf, _] = cheapest.within(record.attacks)
    assert linf.attacks == ("pgd(steps=20)", "fgsm()")
    kept = [load_file(run / f"results/attack-{place}.safetensors")["size"] for place in (0, 1)]
    for epsilon in (0.0, 3 / 255, 8 / 255):
        stands = [all(float(own[i]) > epsilon + 1e-6 for own in kept) for i in range(300)]
        assert cheapest.standing(linf.least, epsilon) == pytest.approx(sum(stands) / 300)
    assert linf.robust < min(item.robust for item in record.attacks if item.threat == linf.threat)
    page = read(report(run))
    assert "Together, 2 attacks within linf(8/255) leave" in page.text
    assert f"leave {100 * linf.robust:.1f} % of 300 images right" in page.text
    assert "all together" in page.text


def test_only_images_that_all_attacks_saw_are_counted(tmp_path: Path) -> None:
    run = complete(tmp_path / "a")
    file = run / "results/attack-1.safetensors"
    kept = load_file(file)
    save_tensors(file, {**kept, "position": kept["position"][100:] + 50, "size": kept["size"][100:]})
    [linf, _] = cheapest.within(records.read(run, "a").attacks)
    assert linf.n == 150
    assert torch.equal(linf.sizes[0], load_file(run / "results/attack-0.safetensors")["size"][150:].double())
    assert torch.equal(linf.sizes[1], kept["size"][100:250].double())


@pytest.mark.parametrize(
    "broken",
    [
        {"position": torch.tensor([0, 0]), "size": torch.rand(2)},
        {"position": torch.tensor([0, 1]), "size": torch.tensor([0.1, float("nan")])},
        {"position": torch.tensor([0, 1]), "size": torch.tensor([0.1, -1])},
        {"position": torch.tensor([0, 1]), "size": torch.rand(3)},
        {"position": torch.rand(2), "size": torch.rand(2)},
    ],
)
def test_outcomes_that_make_no_sense_are_left_out(tmp_path: Path, broken: dict[str, torch.Tensor]) -> None:
    run = complete(tmp_path / "a", attacks=[attacked("0123456789")])
    file = run / "results/attack-0.safetensors"
    save_tensors(file, {**load_file(file), **broken})
    assert "Cheapest examples" not in read(report(run)).text


def test_the_transfer_matrix_names_who_was_asked(tmp_path: Path) -> None:
    plain = complete(tmp_path / "plain", more=[transferred()])
    hard = complete(tmp_path / "hardened", strength=0.4, more=[transferred()])
    text = read(report([plain, hard], out=tmp_path / "both.html")).text
    assert "Images made against plain by pgd(steps=20) within linf(8/255) bring hardened" not in text
    assert (
        "Images made against hardened by pgd(steps=20) within linf(8/255) bring plain, which their maker never saw, "
        in text
    )
    assert "from 96.0 % to 45.0 % right" in text
    assert "plain, hardened asked: 60.0 % right" in text
    assert "all 2 attacks together" in text


def test_heat_of_shares_is_darker_where_less_is_left() -> None:
    source = charts.shares("t", ["x", "y"], ["a", "b"], [[1.0, 0.5], [0.0, 0.75]])
    shades = [float(part.split('"')[0]) for part in source.split('fill-opacity="')[1:]]
    assert shades[2] > shades[1] > shades[3] > shades[0]
    assert "y, a asked: 0.0\u00a0% right" in source


def test_strangers_results_break_nothing(tmp_path: Path) -> None:
    names = list(HOSTILE[:3])
    good = [shielded(HOSTILE[0]), {**certificate(), "shield": HOSTILE[1]}, transferred(names)]
    page = report(complete(tmp_path / "a", more=good)).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page.replace("&gt;", "")
    bad = [
        {**shielded(), "naive": 3}, {**shielded(), "n": 0},
        {**certificate(), "alpha": "x"}, {**certificate(), "curve": [1]},
        {**transferred(), "accuracy": [[0.1]]}, {**transferred(), "untouched": None}, {**transferred(), "intervals": 4},
    ]  # fmt: skip
    run = complete(tmp_path / "b", more=bad)
    assert "lacks its main figures" in read(report(run)).text
    put(run / "results" / "shield-9.json", json.loads('{"kind": "shield"}'))
    report(run)
