"""Long evaluations: killed and gone on with, shared by processes, the same figures in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import stalwart
from stalwart.run import _sweep
from stalwart.run._parts import UNFINISHED, Found, Part, disjoint

ATTACKS = "pgd(steps=10)", "deepfool()"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    settings = stalwart.Training(epochs=3, optimizer="adamw(lr=0.01)")
    for _ in stalwart.train("digits()", "convnet(width=8)", settings=settings, out=folder):
        pass
    return folder


@pytest.fixture
def run(trained: Path) -> Iterator[Path]:
    for path in (trained / "results").glob("*"):
        path.unlink() if path.is_file() else [kept.unlink() for kept in path.rglob("*") if kept.is_file()]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the subprocesses: sums may be split otherwise
    yield trained
    torch.set_num_threads(threads)


def evaluated(run: Path, **settings: Any) -> dict[str, Any]:
    """The figures of an undisturbed evaluation, and what it kept beside them."""
    list(stalwart.attack_run(run, ATTACKS, ["l2(1.0)"], **{"limit": 100, "batch": 16, **settings}))
    return results(run)


def results(run: Path) -> dict[str, Any]:
    """All results of a run, times left out, and their tensors."""
    found: dict[str, Any] = {}
    for path in sorted((run / "results").iterdir()):
        if path.suffix == ".json":
            found[path.name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}
        elif path.suffix == ".safetensors":
            found[path.name] = {name: tensor.tolist() for name, tensor in load_file(path).items()}
    return found


JOB = textwrap.dedent("""
    import sys, time
    import torch
    import stalwart
    from stalwart.run import _parts, _sweep
    torch.set_num_threads(1)
    run, log, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
    add, put = _sweep.Sweep.add, _parts.Shelf.put
    def noted(self, batch):
        with open(log, "a") as file:
            for position in batch.index.tolist():
                file.write(f"{type(self.solver).__name__} {position}\\n")
        return add(self, batch)
    def slow(self, part):
        put(self, part)
        time.sleep(pause)
    _sweep.Sweep.add, _parts.Shelf.put = noted, slow
    for event in stalwart.attack_run(run, ("pgd(steps=10)", "deepfool()"), ["l2(1.0)"], limit=100, batch=16):
        if event.kind == "note":
            print(event.values["message"])
""")


def job(folder: Path, run: Path, log: Path, pause: float, launcher: tuple[str, ...] = ()) -> list[str]:
    script = folder / "job.py"
    script.write_text(JOB)
    return [sys.executable, *launcher, str(script), str(run), str(log), str(pause)]


def environment() -> dict[str, str]:
    here = str(Path(stalwart.__file__).parents[1])  # a script elsewhere sees the package only if it is installed
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": here}


def test_a_killed_evaluation_goes_on_without_repeating_or_losing_a_sample(run: Path, tmp_path: Path) -> None:
    whole = evaluated(run)
    for path in (run / "results").glob("*.*"):
        path.unlink()
    unfinished = run / "results" / UNFINISHED
    first = subprocess.Popen(job(tmp_path, run, tmp_path / "first.txt", 0.25), env=environment())
    deadline = time.monotonic() + 120
    while len(list(unfinished.rglob("*.safetensors"))) < 9:  # all 7 batches of one attack, and some of the other
        assert first.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = [load_file(path) for path in unfinished.rglob("*.safetensors")]
    assert 100 < sum(len(part["positions"]) for part in kept) < 200
    again = subprocess.run(job(tmp_path, run, tmp_path / "again.txt", 0), env=environment(), capture_output=True)
    assert again.returncode == 0, again.stderr.decode()
    assert b"deepfool() under l2(1.0) goes on: " in again.stdout
    done_again = (tmp_path / "again.txt").read_text().split("\n")[:-1]
    assert len(done_again) == 200 - sum(len(part["positions"]) for part in kept)
    assert len(set(done_again)) == len(done_again)
    assert not any(line.startswith("pgd") for line in done_again), "the finished attack is not run again"
    assert results(run) == whole
    assert not unfinished.exists()


CASES = (100, 16), (17, 16), (5, 8)
"""(images, images in a batch): an even share of batches, an uneven one, and fewer batches than processes."""

SHARED = textwrap.dedent("""
    import sys
    import torch
    from stalwart.cli.main import run
    torch.set_num_threads(1)
    for case in sys.argv[2:]:
        limit, batch = case.split("/")
        asked = ["--attack", "pgd(steps=8)", "--limit", limit, "--batch", batch, "--audit", "0", "--json"]
        code = run(["attack", sys.argv[1], "--threat", "l2(1.0)", "--threat", f"linf(0.{limit})", *asked])
        assert code == 0
""")


def test_two_processes_come_to_the_figures_of_one(run: Path, tmp_path: Path) -> None:
    """The same JSON and tensors, bit for bit, and one process speaks for all."""
    whole = {}
    for limit, batch in CASES:
        list(stalwart.attack_run(run, ["pgd(steps=8)"], ["l2(1.0)", f"linf(0.{limit})"], limit=limit, batch=batch))
        whole |= results(run)
    for path in (run / "results").glob("*.*"):
        path.unlink()
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    cases = [f"{limit}/{batch}" for limit, batch in CASES]
    done = subprocess.run([*launcher, str(run), *cases], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert len(whole) == 8
    assert results(run) == whole
    assert not (run / "results" / UNFINISHED).exists()
    events = [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]
    assert [event["kind"] for event in events].count("result") == 6
    progress = [event["done"] / event["total"] for event in events if event["kind"] == "progress"]
    assert progress.count(1.0) == len(CASES)
    assert sum("processes busy" in event.get("message", "") for event in events) == 1


def test_the_package_is_a_command_too() -> None:
    said = subprocess.run([sys.executable, "-m", "stalwart", "--version"], env=environment(), capture_output=True)
    assert said.stdout.decode().startswith("stalwart ")


def broken_off(run: Path, parts: int, **settings: Any) -> list[Any]:
    """An evaluation that is left after so many batches, and its events."""
    events = stalwart.attack_run(run, ATTACKS, ["l2(1.0)"], **{"limit": 100, "batch": 16, **settings})
    seen = []
    for event in events:
        seen.append(event)
        if sum(one.kind == "progress" for one in seen) == parts:
            events.close()
            break
    return seen


def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Samples that sweeps are given from here on."""
    seen: list[int] = []
    add = _sweep.Sweep.add

    def noted(self: Any, batch: Any) -> Any:
        seen.extend(batch.index.tolist())
        return add(self, batch)

    monkeypatch.setattr(_sweep.Sweep, "add", noted)
    return seen


def test_batches_of_another_size_go_on_too(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does after running out of memory."""
    whole = evaluated(run)
    broken_off(run, 3)
    seen = worked_on(monkeypatch)
    fewer = evaluated(run, batch=7)
    assert len(seen) == 200 - 48
    for name, figures in whole.items():
        if name.endswith(".json"):
            assert fewer[name]["robust_accuracy"] == pytest.approx(figures["robust_accuracy"], abs=1 / 100)
            assert fewer[name]["n"] == figures["n"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"radii": (0.5,)}, {"limit": 90}, {"goal": "margin"}])
def test_other_settings_are_another_evaluation(
    run: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    broken_off(run, 3)
    seen = worked_on(monkeypatch)
    evaluated(run, **change)
    assert len(seen) == 2 * change.get("limit", 100)


def test_fresh_forgets_and_a_torn_file_is_done_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluated(run)
    broken_off(run, 3)
    seen = worked_on(monkeypatch)
    assert evaluated(run, fresh=True) == whole
    assert len(seen) == 200
    broken_off(run, 3)
    torn, foreign, _ = sorted((run / "results" / UNFINISHED).rglob("*.safetensors"))
    torn.write_bytes(torn.read_bytes()[:200])
    save_file({"positions": torch.zeros(3)}, foreign)
    seen.clear()
    assert evaluated(run) == whole
    assert len(seen) == 200 - 16


def test_a_random_shield_goes_on_where_it_was(run: Path) -> None:
    def shielded(leave_after: int = 0) -> dict[str, Any]:
        events = stalwart.attack_run(
            run, ["pgd(steps=3)"], ["linf(0.1)"], shield="resizepad()", limit=40, batch=10
        )  # fmt: skip
        for event in events:
            leave_after -= event.kind == "progress"
            if event.kind == "progress" and leave_after == 0:
                events.close()
                return {}
        found = results(run)["shield-resizepad-pgd-steps-3-linf-0.1.json"]
        for name in ("without", "naive", "adaptive"):
            found[name].pop("seconds")
        return dict(found)

    whole = shielded()
    assert whole["forwards"] == sum(whole[name]["forwards"] for name in ("without", "naive", "adaptive"))
    shielded(leave_after=10)
    assert shielded() == whole


def test_outcomes_say_what_became_of_each_image(run: Path) -> None:
    kept = evaluated(run)
    for name, figures in kept.items():
        if not name.endswith(".json"):
            continue
        tensors = load_file(run / "results" / name.replace(".json", ".safetensors"))
        fell, size, position = (tensors[key] for key in ("fell", "size", "position"))
        assert position.tolist() == sorted(set(position.tolist()))
        assert int(position.max()) > 100, "numbers in the whole split, not in the part that was drawn"
        for level, point in enumerate(figures["curve"]):
            assert (fell > level).float().mean().item() == pytest.approx(point["robust_accuracy"])
            assert (size[fell <= level] <= point["epsilon"] * 1.0001 + 1e-6).all()
        assert size[fell == 0].eq(0).all()
        assert size[fell == len(figures["curve"])].isinf().all()


def part(*positions: int, found: tuple[Found, ...] = ()) -> Part:
    n = len(positions)
    return Part(
        torch.tensor(positions), torch.ones(n, dtype=torch.int64), torch.rand(n), found, 7, 5, 1, 0, True, 0.3, 1.5
    )


def test_a_part_comes_back_as_it_was_kept() -> None:
    picture = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    kept = part(4, 2, found=(Found(1, 0.1, -2.5, 4, 0, picture, picture + 1, {"class": "café"}),))
    again = Part.of(kept.tensors())
    assert (again.found[0].target, again.found[0].rank) == (kept.found[0].target, kept.found[0].rank)
    assert torch.equal(again.found[0].adversarial, picture + 1)
    assert torch.equal(again.size, kept.size)
    assert (again.forwards, again.climbed, again.worst_size, again.seconds) == (7, True, 0.3, 1.5)
    chosen = disjoint([part(0, 1), part(1, 2), part(2, 3), part(9)], torch.arange(5))
    assert [item.positions.tolist() for item in chosen] == [[0, 1], [2, 3]]
