"""A camera stack is taught, attacked and reported on, from Python and from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from stalwart.cli.main import run
from stalwart.core.errors import InputError
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.stack.keeper import CAMERA, Keeper
from stalwart.drive.stack.stixels import ACROSS, BINS, Stixels
from stalwart.run.drive_attack import drive_attack, policy_of
from stalwart.run.drive_fit import Lessons, _filmed, drive_fit
from stalwart.run.drive_report import drive_report

ONE = "stopped_vehicle(speed_kmh=(50,), distance_m=(30,), aside_m=(0,))"


@pytest.fixture(scope="module")
def sight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sight"
    events = list(drive_fit(out, Lessons(epochs=1, width=2, hardened=0.01), (ONE,), ("sun",)))
    assert [event.kind for event in events] == ["start", "progress", "epoch", "saved", "result"]
    assert events[-1].values["frames"] == 25
    return out


def test_lessons_hang_prints_in_some_worlds_and_a_covered_car_is_still_a_car() -> None:
    (scenario,) = scenarios_of("stopped_vehicle(speed_kmh=(50,), distance_m=(10,), aside_m=(0,), maps=6)")
    film = _filmed(scenario, "train", 0, 0, blank=True)
    worlds = set((film.blanks.picture % 6).tolist())
    assert 0 < len(worlds) < 6
    column = film.blanks.pixel % CAMERA.width // ACROSS
    assert (film.wanted[film.blanks.picture, column] < BINS).all()


def test_a_taught_stack_comes_back_and_is_attacked(
    sight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = policy_of(sight, trust="both", guards=("physics",), false_alarms=0.5)
    assert keeper.limits["physics"] == keeper.model.card["calm"]["physics"][0]
    with pytest.raises(InputError, match="takes 19"):
        policy_of(sight, guards=("physics",))
    assert isinstance(keeper, Keeper)
    assert keeper.kept == ("camera", "lidar")
    out = tmp_path / "found.json"
    line = ["drive", "attack", "--driver", str(sight), "--suite", ONE, "--seconds", "3", "--out", str(out), "--json"]
    assert run([*line, "--trust", "lidar", "--attack", "removal(window_deg=90)", "--attack", "fault()"]) == 0
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (last["kind"], last["what"]) == ("result", "drive_attack")
    held = json.loads(out.read_text())
    assert held["attacks"][0]["attack"] == "removal(window_deg=90.0)"
    assert list(held["attacks"][0]["controls"]) == ["random rays"]
    assert held["clean"]["collisions"] == 0
    assert held["attacks"][0]["pairs"]["clean"]["alone"] == held["attacks"][0]["collisions"]
    assert held["attacks"][1]["said"].endswith("No worse than the clean drive, as far as these drives tell.")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--attack", "postr()"), "postr"),
        (("--trust", "radar"), "stack.trust"),
        (("--guard", "luck"), "stack.guards"),
        (("--false-alarms", "1.5"), "share of the clean drives"),
        (("--suite", "nowhere()"), "nowhere"),
        (("--seconds", "0"), "seconds must lie"),
        (("--attack", "spoof()"), "needs a driver that has one"),
    ],
)
def test_mistakes_are_told_in_one_line(
    sight: Path, more: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = () if "--suite" in more else ("--suite", ONE)
    seconds = () if "--seconds" in more else ("--seconds", "0.3")
    assert run(["drive", "attack", "--driver", str(sight), *suite, *seconds, *more, "--quiet"]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_the_page_holds_all_it_shows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    out = tmp_path / "driver.html"
    policy = Keeper(Stixels(2).eval(), "lidar")
    events = list(drive_report(policy, out, ("removal(window_deg=90)",), (ONE,), seconds=4))
    result = events[-1].values
    assert result["kind"] == "drive_report"
    text = out.read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', text)
    assert {source.split(";")[0] for source in sources} == {"data:image/gif", "data:image/png"}
    assert "http://" not in text
    assert "https://" not in text
    for words in ("Beside baselines", "expert", "random rays", "By sensor", "Where drives ended", "Clips"):
        assert words in text
    assert "1 of 1 drives crash" in text
    assert result["said"][0] in text.replace("&#x27;", "'")


def test_attacks_are_asked_for() -> None:
    with pytest.raises(ValueError, match="at least one attack"):
        list(drive_attack(Keeper(Stixels(2)), ()))
