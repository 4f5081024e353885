"""The screen, the JSON lines, TensorBoard and Ctrl-C, on made-up events."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from stalwart.cli.figures import json_line, number, seconds
from stalwart.cli.listen import play
from stalwart.cli.screen import Screen, progress_line
from stalwart.core.contracts import Event

TRAINING = [
    Event("start", {"what": "train", "data": "digits()", "model": "tiny()", "total": 2000, "unit": "images"}),
    Event("note", {"message": "a [bold]bracket[/bold] stays"}),
    Event("progress", {"done": 100, "total": 2000, "unit": "images", "rate": 1234.0, "left_s": 61.0, "loss": 1.5}),
    Event("epoch", {"epoch": 1, "epochs": 2, "train_loss": 1.25, "lr": 0.1, "seconds": 3.0, "val_top1": 0.5}),
    Event("epoch", {"epoch": 2, "epochs": 2, "train_loss": 0.75, "lr": 0.0, "seconds": 3.0, "val_top1": 0.875}),
    Event("warning", {"message": "mind the gap"}),
    Event("saved", {"path": "runs/a/best"}),
    Event("result", {"top1": 0.9, "nll": 0.25, "per_class": [{"name": "cat", "n": 10, "accuracy": 0.5}]}),
]


def shown(events: list[Event], *, terminal: bool = False, quiet: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, markup=False, highlight=False)
    screen = Screen(console, quiet=quiet)
    for event in events:
        screen.show(event)
    screen.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("terminal", [False, True])
def test_the_screen_shows_epochs_warnings_figures_and_paths(terminal: bool) -> None:
    text = shown(TRAINING, terminal=terminal)
    for part in (
        "digits()",
        "1/2",
        "1.25",
        "2/2",
        "87.50 %",
        "mind the gap",
        "90.00 %",
        "cat",
        "50.0 %",
        "runs/a/best",
    ):
        assert part in text
    assert "[bold]bracket[/bold]" in text


def test_a_column_that_comes_late_gets_a_new_head() -> None:
    late = Event("epoch", {"epoch": 3, "epochs": 3, "train_loss": 0.5, "val_top1": 0.9, "robust_top1": 0.25})
    assert shown([*TRAINING, late]).count("train_loss") == 2


def test_quiet_keeps_warnings_and_the_end() -> None:
    text = shown(TRAINING, quiet=True)
    assert "mind the gap" in text
    assert "90.00 %" in text
    assert "train_loss" not in text


def test_attacks_come_as_one_table_with_intervals() -> None:
    row = {"attack": "pgd(steps=5)", "threat": "l2(0.5)", "n": 100, "clean_accuracy": 0.9, "robust_accuracy": 0.25}
    more = {"interval": [0.175, 0.343], "forwards": 600, "backwards": 500, "seconds": 2.5}
    text = shown([Event("result", {**row, **more}), Event("result", {**row, **more, "attack": "fgsm()"})])
    assert text.count("under attack") == 1
    for part in ("pgd(steps=5)", "fgsm()", "l2(0.5)", "90.0 %", "25.0 % (17.5 to 34.3)", "11.0"):
        assert part in text


def test_rows_of_several_runs_say_whose_they_are() -> None:
    row = {"attack": "fgsm()", "threat": "l2(0.5)", "n": 10, "clean_accuracy": 1.0, "robust_accuracy": 0.5}
    text = shown([Event("result", {"run": name, **row}) for name in ("plain", "hardened")])
    assert "plain" in text
    assert "hardened" in text


def test_numbers_read_well() -> None:
    assert number("val_top1", 0.5) == "50.00 %"
    assert number("train_loss", 0.123456) == "0.1235"
    assert number("n", 12345) == "12,345"
    assert number("loss", float("nan")) == "nan"
    assert (seconds(9.21), seconds(247), seconds(3723), seconds(59.96)) == ("9.2 s", "4:07", "1:02:03", "60.0 s")
    assert progress_line(TRAINING[2].values) == "loss 1.5  1,234 images/s  1:01 left"


def test_json_lines_are_strict_json(capsys: pytest.CaptureFixture[str]) -> None:
    play(
        iter([*TRAINING, Event("epoch", {"loss": float("nan"), "path": Path("a"), "pair": (1, float("inf"))})]),
        as_json=True,
    )
    out = capsys.readouterr().out.splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    events = [json.loads(line, parse_constant=refuse) for line in out]
    assert [event["kind"] for event in events] == [*(event.kind for event in TRAINING), "epoch"]
    assert events[-1] == {"kind": "epoch", "loss": None, "path": "a", "pair": [1, None]}


def test_a_value_may_not_hide_the_events_kind() -> None:
    line = json.loads(json_line(Event("result", {"kind": "evaluate", "n": 1})))
    assert line == {"kind": "result", "what": "evaluate", "n": 1}


def test_ctrl_c_reaches_the_runner_wherever_it_strikes(capsys: pytest.CaptureFixture[str]) -> None:
    saved = []

    def runner() -> Iterator[Event]:
        try:
            for done in range(10):
                yield Event("progress", {"done": done, "total": 10})
        except KeyboardInterrupt:
            saved.append(True)
            yield Event("saved", {"path": "last"})
            raise

    def strike(event: Event) -> None:
        if event.values.get("done") == 3:
            raise KeyboardInterrupt

    from stalwart.cli import listen

    with pytest.raises(KeyboardInterrupt):
        listen._exhaust(runner(), [strike])
    assert saved == [True]


def test_tensorboard_gets_the_scalars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    play(iter(TRAINING), quiet=True, tensorboard=tmp_path)
    written = EventAccumulator(str(tmp_path)).Reload()
    assert [(s.step, s.value) for s in written.Scalars("epoch/val_top1")] == [(1, 0.5), (2, 0.875)]
    assert [(s.step, s.value) for s in written.Scalars("step/loss")] == [(100, 1.5)]
