"""The whole line as a user walks it: train, evaluate, predict, attack, report.

Training, and what is told by signals, have processes of their own; the other steps run in this one, since importing
PyTorch in each would take most of the time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stalwart.cli.main import run

HOUSE = Path(__file__).parents[2]
TRAIN = ("train", "--data", "digits()", "--model", "convnet()", "--epochs", "2", "--batch", "128", "--seed", "3")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}


def alone(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    command = [sys.executable, "-m", "stalwart.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), cwd=cwd)


def stalwart(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*map(str, words)])
    return subprocess.CompletedProcess([*map(str, words)], code, out.getvalue(), err.getvalue())


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def events(text: str) -> list[dict[str, Any]]:
    """Every line of stdout is one event."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run in it, made by the command line."""
    folder = tmp_path_factory.mktemp("line")
    said = events(good(alone(*TRAIN, "--out", "runs/a", "--json", cwd=folder)))
    kinds = [event["kind"] for event in said]
    assert kinds[0] == "start" or "start" in kinds[:3]
    assert kinds.count("epoch") == 2
    assert "result" in kinds
    return folder


def test_a_run_folder_holds_what_made_it(place: Path) -> None:
    config = json.loads((place / "runs/a/config.json").read_text())
    assert config["spelling"]["data"] == "digits()"
    assert config["settings"]["epochs"] == 2
    assert config["settings"]["seed"] == 3
    for name in ("best/model.safetensors", "best/card.json", "last/model.safetensors", "events.jsonl"):
        assert (place / "runs/a" / name).is_file(), name
    kept = [json.loads(line) for line in (place / "runs/a/events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in kept if event["kind"] == "epoch"] == [1, 2]
    assert not list((place / "runs/a").rglob("*.p*kl")), "no pickles"


def test_evaluate_prints_what_it_keeps(place: Path) -> None:
    said = events(good(stalwart("evaluate", "runs/a", "--json", cwd=place)))
    result = next(event for event in said if event["kind"] == "result")
    kept = json.loads((place / "runs/a/results/evaluate-test.json").read_text())
    assert result["figures"]["top1"] == kept["figures"]["top1"]
    assert kept["figures"]["top1"] > 0.3  # ten classes: chance is 0.1
    plain = good(stalwart("evaluate", "runs/a", cwd=place))
    assert f"{100 * kept['figures']['top1']:.1f}" in plain


def test_predict_agrees_with_the_model_in_python(place: Path) -> None:
    from sklearn.datasets import load_digits

    import stalwart as package
    from stalwart.feed.decode import decode

    pictures = place / "pictures"
    pictures.mkdir(exist_ok=True)
    for number, ink in enumerate(load_digits().images[:3]):
        Image.fromarray((ink * 255 / 16).round().astype("uint8")).save(pictures / f"{number}.png")
    rows = events(good(stalwart("predict", "runs/a", "pictures/0.png", "pictures", "--json", cwd=place)))
    assert {Path(row["file"]).name for row in rows} == {"0.png", "1.png", "2.png"}
    model = package.load(place / "runs/a/best")
    for row in rows:
        image = decode(pictures / Path(row["file"]).name, 1)
        with torch.inference_mode():
            probabilities = model(image[None].float() / 255).softmax(1)[0]
        assert row["class"] == model.card["classes"][int(probabilities.argmax())]  # type: ignore[index]
        assert row["confidence"] == pytest.approx(float(probabilities.max()), abs=2e-3)
    table = good(stalwart("predict", "runs/a", "pictures", cwd=place))
    assert "0.png" in table
    assert "class" in table


def test_predict_names_or_skips_a_file_that_is_no_image(place: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.new("L", (8, 8)).save(tmp_path / "fine.png")
    assert "broken.png" in complaint(alone("predict", "runs/a", tmp_path, "--quiet", cwd=place), 2)
    done = stalwart("predict", "runs/a", tmp_path, "--skip-bad", "--json", cwd=place)
    assert [Path(row["file"]).name for row in events(good(done))] == ["fine.png"]


def test_attack_and_report(place: Path) -> None:
    words = ("--attack", "fgsm()", "--attack", "pgd(steps=3)", "--threat", "linf(0.1)", "--threat", "l2(1)")
    said = events(good(stalwart("attack", "runs/a", *words, "--limit", "60", "--audit", "10", "--json", cwd=place)))
    ended = [event for event in said if event["kind"] == "result"]
    audits = [event for event in ended if event["what"] == "audit"]
    assert [(a["threat"], a["n"]) for a in audits] == [("linf(0.1)", 10), ("l2(1.0)", 10)]
    assert all(a["verdict"] in ("trusted", "doubtful", "broken") for a in audits)
    results = [event for event in ended if event["what"] == "attack"]
    assert {(r["attack"], r["threat"]) for r in results} == {
        (attack, threat) for attack in ("fgsm()", "pgd(steps=3)") for threat in ("linf(0.1)", "l2(1.0)")
    }
    for result in results:
        assert result["n"] == 60
        low, high = result["interval"]
        assert low <= result["robust_accuracy"] <= high
        assert result["robust_accuracy"] <= result["clean_accuracy"]
    assert any(r["robust_accuracy"] < r["clean_accuracy"] for r in results), "the attacks did nothing"
    assert len(list((place / "runs/a/results").glob("attack-*.json"))) == 4

    printed = good(stalwart("report", "runs/a", cwd=place))
    assert "report.html" in printed
    page = (place / "runs/a/report.html").read_text(encoding="utf-8")
    assert "pgd(steps=3)" in page
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", ""), "the report must not reach for the network"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("train", "--data", "digts()", "--out", "runs/x"), "digits"),
        (("train", "--data", "folder('nowhere/')", "--out", "runs/x"), "nowhere"),
        (("train", "--model", "convnett()", "--out", "runs/x"), "convnet"),
        (("train", "--optimizer", "sdg()", "--out", "runs/x"), "sgd"),
        (("train", "--epochs", "-1", "--out", "runs/x"), "epochs"),
        (("train", "--resume", "runs/nowhere"), "runs/nowhere"),
        (("evaluate", "runs/nowhere"), "runs/nowhere"),
        (("evaluate", "runs/a", "--split", "tset"), "test"),
        (("evaluate", "runs/a", "--data", "folder('nowhere/')"), "nowhere"),
        (("attack", "runs/a", "--attack", "pdg()"), "pgd"),
        (("attack", "runs/a", "--threat", "linf(-1)"), "epsilon"),
        (("attack", "runs/a", "--goal", "margn"), "margin"),
        (("predict", "runs/a", "nowhere.png"), "nowhere.png"),
        (("report", "runs/nowhere"), "runs/nowhere"),
    ],
)
def test_a_mistake_gives_one_line_and_exit_code_2(place: Path, words: tuple[str, ...], hint: str) -> None:
    assert hint in complaint(stalwart(*words, cwd=place), 2)
    assert not (place / "runs/x").exists(), "a mistake must leave no run folder"


def test_a_run_folder_that_stands_is_not_overwritten(place: Path) -> None:
    before = (place / "runs/a/config.json").read_bytes()
    assert "runs/a" in complaint(stalwart(*TRAIN, "--out", "runs/a", cwd=place), 2)
    assert (place / "runs/a/config.json").read_bytes() == before


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stalwart.cli.main", *TRAIN[:5], "--batch", "16", "--epochs", "500"]
    command += ["--precision", "fp32"]  # for so much work it would be measured first what is fastest
    process = subprocess.Popen(
        [*command, "--out", "runs/long", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["kind"] == "epoch":
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest, complaints = process.communicate(timeout=60)
    assert process.returncode == 1, complaints
    assert "stalwart train --resume runs/long" in complaints
    assert "Traceback" not in complaints
    for line in rest.splitlines():
        json.loads(line)
    assert (tmp_path / "runs/long/last/model.safetensors").is_file()

    again = subprocess.Popen(
        [sys.executable, "-m", "stalwart.cli.main", "train", "--resume", "runs/long", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert again.stdout is not None
    start = json.loads(again.stdout.readline())
    again.kill()
    again.communicate()
    assert start["kind"] == "start"
    assert start["done"] > 0, "it began anew"
    assert start["total"] > start["done"]


def test_what_may_not_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    line = complaint(stalwart(*TRAIN, "--out", "runs/a", cwd=tmp_path), 2)
    assert "runs" in line
