"""The demo with fewer epochs and steps: all its parts, in order, and what it refuses to overwrite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stalwart.core.errors import InputError, RunError
from stalwart.run import demo as module


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, plan in module.PLANS.items():
        data = plan.data.replace("train=320, test=40, size=48", "train=16, test=4, size=32")
        quick = replace(
            plan, data=data, model=plan.model.replace("convnet()", "convnet(width=8)"), epochs=1, attack="pgd(steps=2)",
            hardening="fast(threat=linf(0.1))", audited=min(plan.audited, 8),
        )  # fmt: skip
        monkeypatch.setitem(module.PLANS, name, quick)


@pytest.mark.usefixtures("short")
def test_the_demo_goes_the_whole_line_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        events = list(module.demo(tmp_path / "demo"))
        results = [event.values for event in events if event.kind == "result"]
        attacks = [(r["run"], r["threat"]) for r in results if r["kind"] == "attack"]
        assert attacks == [(run, threat) for run in ("plain", "hardened") for threat in ("linf(0.2)", "l2(1.0)")]
        assert [event.values["path"] for event in events if event.kind == "saved"] == [
            str(tmp_path / "demo" / "report.html")
        ]
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    for text in ("plain", "hardened", "linf(0.2)", "l2(1.0)"):
        assert text in page


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("task", ["detection", "semantic", "instance"])
def test_dense_tasks_have_one_too(tmp_path: Path, task: str) -> None:
    events = list(module.demo(tmp_path / "demo", task=task))
    results = [event.values for event in events if event.kind == "result" and event.values["kind"] == "attack"]
    assert [found["run"] for found in results] == ["plain", "hardened"]
    assert all(0 <= found["robust_score"] <= 1 and len(found["curve"]) == 4 for found in results)
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    name = "mIoU" if task == "semantic" else "AP50"
    for text in (f"{name}, untouched", f"{name} under ", "plain", "hardened"):
        assert text in page
    assert ("attacked prediction" in page) == any(found["examples"] for found in results)


def test_a_demo_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no demo of the task 'detecton'.*detection"):
        next(iter(module.demo(tmp_path / "a", task="detecton")))
    assert not (tmp_path / "a").exists()


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="no demo made"):
        next(iter(module.demo(tmp_path)))
    assert (tmp_path / "plain" / "mine.txt").read_text() == "mine"
