"""The demo with fewer epochs and steps: all its parts, in order, and what it refuses to overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalwart.core.errors import RunError
from stalwart.run import demo as module


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS", 1)
    monkeypatch.setattr(module, "ATTACK", "pgd(steps=2)")
    monkeypatch.setattr(module, "OBJECTIVES", {"plain": "clean()", "hardened": "fast(threat=linf(0.1))"})


@pytest.mark.usefixtures("short")
def test_the_demo_goes_the_whole_line_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        events = list(module.demo(tmp_path / "demo"))
        results = [event.values for event in events if event.kind == "result"]
        attacks = [(r["run"], r["threat"]) for r in results if r["kind"] == "attack"]
        assert attacks == [(run, threat) for run in ("plain", "hardened") for threat in module.THREATS]
        assert [event.values["path"] for event in events if event.kind == "saved"] == [
            str(tmp_path / "demo" / "report.html")
        ]
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    for text in ("plain", "hardened", "linf(0.2)", "l2(1.0)"):
        assert text in page


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="no demo made"):
        next(iter(module.demo(tmp_path)))
    assert (tmp_path / "plain" / "mine.txt").read_text() == "mine"
