"""A run folder keeps its own, keeps others out, and survives a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stalwart.core.contracts import Event
from stalwart.core.errors import CheckpointError, RunError
from stalwart.store.folder import RunFolder


def test_create_and_open(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", {"seed": 3}) as folder:
        assert folder.config == {"format": 1, "seed": 3}
    assert RunFolder.open(tmp_path / "a").config == {"format": 1, "seed": 3}
    with pytest.raises(RunError, match=r"holds a run already.*--resume"):
        RunFolder.create(tmp_path / "a", {})


def test_create_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear to someone")
    with pytest.raises(RunError, match="other files"):
        RunFolder.create(tmp_path, {})
    with pytest.raises(RunError, match="Got a file"):
        RunFolder.create(tmp_path / "thesis.txt", {})
    (tmp_path / "b" / "tensorboard").mkdir(parents=True)  # the command line may have begun to write there
    RunFolder.create(tmp_path / "b", {}).close()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "\x00"])
def test_open_refuses_a_damaged_configuration(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunError, match="no config"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json"):
        RunFolder.open(tmp_path)


def test_the_lock_keeps_another_process_out_and_dies_with_its_holder(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "a", {}).close()
    script = (
        "import sys, pathlib, time\nfrom stalwart.store.folder import RunFolder\n"
        "RunFolder.open(pathlib.Path(sys.argv[1])).lock()\n"
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script + "\n", str(tmp_path / "a")]
    # The folder object must outlive the sleep: a nameless one would be collected, and its lock with it.
    command[2] = script.replace("RunFolder.open(", "held = RunFolder.open(", 1)
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use by process {other.pid}"):
            RunFolder.open(tmp_path / "a").lock()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()  # type: ignore[union-attr]
    with RunFolder.open(tmp_path / "a").lock() as folder:
        assert folder.lock() is folder  # asking again is harmless
        with pytest.raises(RunError, match=f"process {os.getpid()}"):
            RunFolder.open(tmp_path / "a").lock()


def test_progress_is_thinned_and_a_torn_line_mended(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", {}) as folder:
        for done in range(50):
            folder.append(Event("progress", {"done": done}))
        folder.append(Event("epoch", {"epoch": 1, "loss": float("nan")}))
    log = tmp_path / "a" / "events.jsonl"
    with open(log, "a") as file:
        file.write('{"time": 1, "kind": "epo')  # a kill in mid-line
    with RunFolder.open(tmp_path / "a") as folder:
        folder.append(Event("epoch", {"epoch": 2}))
        kinds = [event["kind"] for event in folder.events()]
    assert kinds == ["progress", "epoch", "epoch"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]  # every line is whole
    assert lines[1]["loss"] is None
    assert lines[2]["epoch"] == 2


def test_a_resumed_run_forgets_what_it_goes_through_again(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", {}) as folder:
        folder.append(Event("start", {"what": "train"}))
        for epoch in (1, 2, 3):
            folder.append(Event("epoch", {"epoch": epoch}))
    with RunFolder.open(tmp_path / "a") as folder:
        folder.forget(2)
        folder.append(Event("epoch", {"epoch": 3, "again": True}))
        epochs = [event for event in folder.events() if event["kind"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2, 3]
    assert epochs[2]["again"]


def test_results_round_trip(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", {}) as folder:
        pictures = {"clean": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)}
        path = folder.write_result("attack-pgd-linf-0.03", {"robust_accuracy": 0.5}, pictures)
        assert path.with_name("attack-pgd-linf-0.03.safetensors").is_file()
        assert folder.read_results() == {"attack-pgd-linf-0.03": {"robust_accuracy": 0.5}}
        folder.write_result("attack-pgd-linf-0.03", {"robust_accuracy": 0.4})
        assert not path.with_name("attack-pgd-linf-0.03.safetensors").exists()  # pictures of an older result
        path.write_text("{")
        with pytest.raises(CheckpointError, match=r"attack-pgd-linf-0\.03\.json"):
            folder.read_results()


def test_results_are_named_in_any_words_however_many(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", {}) as folder:
        assert (
            folder.write_result("attack pgd(steps=20) linf(8/255) ", {}).name == "attack-pgd-steps-20-linf-8-255.json"
        )
        long = [f"attack {'eot(attack=' * 40}pgd(){')' * 40} linf({radius})" for radius in (0.1, 0.2)]
        names = {folder.write_result(name, {"name": name}).name for name in long}
        assert len(names) == 2
        assert {result.get("name") for result in folder.read_results().values()} == {None, *long}
