"""`stalwart drive`, whole command lines."""

from __future__ import annotations

import http.client
import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stalwart import drive
from stalwart.cli.live import Live
from stalwart.cli.main import run
from stalwart.core.errors import InputError
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.simulation import make

SMALL = ["--roads", "crossroads(seed=1)", "--agents", "8", "--walkers", "1"]


def last_line(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_run_counts_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["drive", "run", *SMALL, "--worlds", "8", "--seconds", "8", "--seed", "3", "--driver", "lane", "--json"]
    assert run(line) == 0
    found = last_line(capsys)
    world = make("crossroads(seed=1)", 8, agents=8, walkers=1, seed=3)
    driver = Baseline(world, "lane")
    driven, hits, red = 0.0, 0, 0
    for _ in range(80):
        out = world.step(driver())
        driven, hits, red = (
            driven + float(out.progress_m.sum()),
            hits + int(out.hit.sum()),
            red + int(out.ran_red.sum()),
        )
        over = (out.hit | out.off_road | out.arrived)[:, 0]
        world.reset(over)
        driver.reset(over)
    assert found["what"] == "drive"
    assert found["km"] == pytest.approx(driven / 1000)
    assert (found["collisions"], found["ran_red"]) == (hits, red)
    low, high = found["collisions_per_1000_km_interval"]
    assert low <= found["collisions_per_1000_km"] < high
    assert found["world_steps_per_s"] > 0


def test_score_says_what_the_suite_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = "free(roads='crossroads', worlds=2, seconds=4)"
    out = tmp_path / "a.json"
    asked = ["drive", "score", "--suite", suite, "--driver", "lane", "--beside", "brake", "--out", str(out), "--quiet"]
    assert run(asked) == 0
    said = capsys.readouterr().out
    *_, last = drive.score("lane", suite)
    held = json.loads(out.read_text())
    assert held["all"] == json.loads(json.dumps(last.values["all"]))
    assert f"{held['all']['mean_carla']:.3f}" in said
    assert "lane, free(" in said
    low, high = held["beside"][0]["above"]["carla"]["difference_95"]
    assert f"({low:.3f} to" in said
    assert f"{high:.3f})" in said
    assert "…" not in said


def test_record_films_and_logs_and_a_log_becomes_a_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gif, log, other = tmp_path / "a.gif", tmp_path / "a.npz", tmp_path / "b.gif"
    common = [*SMALL, "--seconds", "2", "--height", "64", "--every", "5", "--quiet"]
    assert run(["drive", "record", str(gif), *common]) == 0
    with Image.open(gif) as film:
        assert (film.size, film.n_frames, film.info["duration"]) == ((164, 64), 4, 500)
        frames = []
        for k in range(4):
            film.seek(k)
            frames.append(np.asarray(film.convert("RGB")))
    assert not np.array_equal(frames[0], frames[3])
    assert run(["drive", "record", str(log), *common]) == 0
    capsys.readouterr()
    replayed = ["drive", "record", str(other), "--from", str(log), "--height", "64", "--every", "5", "--json"]
    assert run(replayed) == 0
    assert last_line(capsys)["same"] is True
    assert other.read_bytes() == gif.read_bytes()
    assert run(["drive", "record", "--from", str(log), "--json"]) == 0
    assert last_line(capsys)["steps"] == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.npz", "b.gif"]


def test_an_mp4_is_a_film_where_pyav_is(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    out = tmp_path / "a.mp4"
    assert run(["drive", "record", str(out), *SMALL, "--seconds", "1", "--height", "64", "--quiet"]) == 0
    with av.open(str(out)) as film:
        assert len(list(film.decode(video=0))) == 5


def test_export_writes_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["drive", "export", "--to", "camvid", "--out", str(tmp_path / "set"), "--frames", "2", "--size", "48x64"]
    assert run([*line, "--family", "crossroads", "--style", "fog", "--json"]) == 0
    assert last_line(capsys)["train"] == 1
    assert Image.open(tmp_path / "set/val/000000.png").size == (64, 48)
    assert run([*line, "--family", "crossroads"]) == 2
    assert "must be a new or empty folder" in capsys.readouterr().err


def test_bench_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drive", "bench", "--roads", "crossroads()", "--worlds", "2", "--seconds", "0.02", "--json"]) == 0
    found = last_line(capsys)
    assert min(found[name] for name in ("agent_steps_per_s", "frames_per_s", "scans_per_s")) > 0
    assert (found["worlds"], found["boxes"]) == (2, 48)


def test_a_live_picture_is_served_on_this_machine_alone() -> None:
    picture = np.zeros((16, 24, 3), np.uint8)
    with Live() as live:
        port = int(live.url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(InputError, match=f"port {port} cannot be used"):
            Live(port)

        def get(path: str, host: str) -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path, headers={"Host": host})
            return connection.getresponse()

        page = get("/", f"localhost:{port}")
        assert page.status == 200
        assert b"live.mjpg" in page.read()
        assert get("/", "elsewhere.example:80").status == 403
        assert get("/etc/passwd", f"127.0.0.1:{port}").status == 404
        stream = get("/live.mjpg", f"127.0.0.1:{port}")
        for value in (40, 200):
            picture[:] = value
            threading.Timer(0.05, live.show, (picture.copy(),)).start()
            assert stream.readline() == b"--picture\r\n"
            assert stream.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(stream.readline().split(b":")[1])
            assert stream.readline() == b"\r\n"
            shown = np.asarray(Image.open(io.BytesIO(stream.read(length))))
            assert shown.shape == (16, 24, 3)
            assert abs(int(shown.mean()) - value) <= 2
            stream.readline()
    with pytest.raises(OSError):  # noqa: PT011  (whichever the system says of a port where nobody listens)
        get("/", f"localhost:{port}")


def test_watch_shows_and_stops(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []
    monkeypatch.setattr(Live, "show", lambda self, picture: shown.append(picture))
    assert run(["drive", "watch", *SMALL, "--seconds", "0.5", "--speed", "50", "--height", "64"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("http://127.0.0.1:")
    assert said.endswith("stopped\n")
    assert len(shown) == 5
    assert not np.array_equal(shown[0], shown[4])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--roads", "twon()"], "Did you mean 'town'"),
        (["run", "--driver", "exprt"], "Did you mean 'expert'"),
        (["run", "--seconds", "nan"], "seconds must be"),
        (["run", "--traffic", "mad"], "traffic must be"),
        (["score", "--suite", "fre"], "there is no suite or scenario 'fre'"),
        (["score", "--split", "tset"], "split"),
        (["score", "--driver", "exprt"], "Did you mean 'expert'"),
        (["record"], "needs the file to write"),
        (["record", "a.avi"], "must end in .gif, .mp4, .npz"),
        (["record", "a.gif", "--style", "hail"], "Got 'hail'"),
        (["record", "a.gif", "--height", "4"], "height must be 48"),
        (["record", "a.gif", "--show", "3"], "world from 0 to 0"),
        (["record", "--from", "none.npz"], "none.npz"),
        (["export", "--to", "voc", "--out", "x"], "coco, camvid, kitti"),
        (["export", "--to", "coco", "--out", "x", "--size", "9"], "HEIGHTxWIDTH"),
        (["export", "--to", "coco", "--out", "x", "--frames", "1"], "frames must be 2"),
        (["bench", "--seconds", "-1"], "seconds must be"),
        (["watch", "--seconds", "-1"], "seconds must be"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"run": [*SMALL], "record": [*SMALL]}.get(words[0], [])
    assert run(["drive", words[0], *small, *words[1:]]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
