"""The corruption benchmark of a run: the table, the means, the baseline, the command and the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import stalwart
from stalwart.cli.main import run as command
from stalwart.core.corruptions import BENCHMARK, corrupt
from stalwart.core.errors import InputError
from stalwart.core.rng import Noise
from stalwart.run._subject import open_subject
from stalwart.run.corruptions import CLEAN, summary


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    settings = stalwart.Training(epochs=2, optimizer="adamw(lr=0.01)", precision="fp32")
    for _ in stalwart.train("digits()", "convnet(width=4)", settings=settings, out=folder):
        pass
    return folder


def measured(path: Path, *args: Any, **options: Any) -> dict[str, Any]:
    return dict(list(stalwart.corruptions(path, *args, **options))[-1].values)


def test_the_table_is_what_corrupting_and_asking_by_hand_gives(run: Path) -> None:
    events = list(stalwart.corruptions(run, ["gaussian_noise", "contrast"], [2, 5], limit=90, batch=40))
    found = dict(events[-1].values)
    progress = [event.values for event in events if event.kind == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == events[0].values["total"] == 90 * 5
    subject = open_subject(run, limit=90)
    item = next(iter(subject.batches(90).epoch(0)))
    noise = Noise.of_index(item.index, 0, "corruptions")
    for row in found["kinds"]:
        for level, error in zip((2, 5), row["errors"], strict=True):
            pictures = (corrupt(item.images, row["name"], level, noise) * 255).round() / 255
            with torch.no_grad():
                wrong = subject.model.eval()(pictures).argmax(1) != item.targets
            assert error == pytest.approx(wrong.float().mean().item(), abs=1.01 / 90)  # a tie may fall either way
    errors = [error for row in found["kinds"] for error in row["errors"]]
    assert found["mean_error"] == pytest.approx(sum(errors) / 4)
    assert found["mce"] is None
    assert found["mean_error"] > found["clean_error"]


def test_neither_batch_size_nor_order_changes_it(run: Path) -> None:
    one, other = (measured(run, ["snow", "glass_blur"], [3], limit=60, batch=b) for b in (60, 7))
    for a, b in zip(one["kinds"], other["kinds"], strict=True):
        assert a["errors"] == pytest.approx(b["errors"], abs=1.01 / 60)


def test_means_follow_their_definition() -> None:
    kinds, levels = ("fog", "snow"), (1, 2)
    own = {CLEAN: 0.1, ("fog", 1): 0.2, ("fog", 2): 0.4, ("snow", 1): 0.3, ("snow", 2): 0.5}
    base = {CLEAN: 0.2, ("fog", 1): 0.4, ("fog", 2): 0.8, ("snow", 1): 0.5, ("snow", 2): 0.5}
    found = summary(own, base, kinds, levels)
    assert found["mean_error"] == pytest.approx(0.35)
    assert found["mce"] == pytest.approx((0.6 / 1.2 + 0.8 / 1.0) / 2)
    assert found["relative_mce"] == pytest.approx((0.4 / 0.8 + 0.6 / 0.6) / 2)
    alone = summary(own, None, kinds, levels)
    assert alone["mean_error"] == pytest.approx(0.35)
    assert (alone["mce"], alone["relative_mce"]) == (None, None)
    perfect = dict.fromkeys(base, 0.0)
    assert summary(own, perfect, kinds, levels)["mce"] is None


def test_a_run_is_as_good_as_itself(run: Path) -> None:
    found = measured(run, ["fog", "pixelate"], [5], baseline=run, limit=80)
    assert found["mce"] == 1.0
    assert found["relative_mce"] in (None, 1.0)
    assert found["baseline_clean_error"] == found["clean_error"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ["fogg"]}, "'fog'"),
        ({"severities": [0]}, "1 to 5"),
        ({"severities": []}, "1 to 5"),
        ({"batch": 0}, "batch"),
    ],
)
def test_mistakes_are_named(run: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(stalwart.corruptions(run, **options))


def test_a_baseline_for_other_images_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_subject(run, limit=10)
    other = replace(opened, card={**opened.card, "signature": {**opened.card["signature"], "size": [12, 12]}})
    found = iter([opened, other])
    monkeypatch.setattr("stalwart.run.corruptions.open_subject", lambda *args, **options: next(found))
    with pytest.raises(InputError, match="baseline must take images"):
        list(stalwart.corruptions(run, ["fog"], [1], baseline="other"))


def test_command_and_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run)
    assert command(["corruptions", folder, "--baseline", folder, "--limit", "20"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80 or any(folder in line for line in lines if len(line) > 80)
    for word in (*BENCHMARK, "mCE", "relative mCE", "mean error"):
        assert word in said
    assert not any(len(line) > 80 for line in lines if any(kind in line for kind in BENCHMARK))
    assert command(["corruptions", folder, "--kind", "fog", "--severity", "4", "--limit", "20", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["what"] == "corruptions"
    assert [row["name"] for row in events[-1]["kinds"]] == ["fog"]
    results = sorted(path.name for path in (run / "results").glob("corruptions*.json"))
    assert "corruptions-test.json" in results
    page = stalwart.report(run).read_text(encoding="utf-8")
    assert "Common corruptions" in page
    assert "elastic transform" in page
    assert "mCE" in page
    assert command(["corruptions", folder, "--kind", "smog"]) == 2


def test_a_damaged_result_is_left_out_of_the_report(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("results"))
    (folder / "results").mkdir()
    for name, value in (
        ("corruptions-test.json", {"kind": "corruptions", "n": 5}),
        ("corruptions-val.json", {"kind": "corruptions", "n": 5, "clean_error": 0.1, "mean_error": 7, "kinds": [3]}),
    ):
        (folder / "results" / name).write_text(json.dumps(value), encoding="utf-8")
    page = stalwart.report(folder).read_text(encoding="utf-8")
    assert "corruptions-test.json lacks its main figures" in page
    assert "Common corruptions" not in page


def test_of_a_dense_task_the_figure_itself_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = stalwart.Training(epochs=1, batch=8, optimizer="adamw(lr=0.01)", precision="fp32")
    data, model = "shapes('semantic', train=16, test=4, size=32)", "dense(width=8, neck=16, depth=1)"
    for _ in stalwart.train(data, model, task="semantic()", settings=options, out=tmp_path / "a"):
        pass
    found = measured(tmp_path / "a", ["contrast"], [1, 5])
    clean = next(e.values for e in stalwart.evaluate(tmp_path / "a") if e.kind == "result")["figures"]["miou"]
    assert found["score"] == "miou"
    assert found["clean_error"] == pytest.approx(1 - clean)
    page = stalwart.report(tmp_path / "a").read_text(encoding="utf-8")
    assert "mIoU by corruption and severity" in page
    assert f"mIoU is {100 * clean:.1f}" in page
    assert command(["corruptions", str(tmp_path / "a"), "--kind", "contrast", "--severity", "5", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "mIoU under corruption" in said
    assert f"{100 * clean:.1f}" in said
