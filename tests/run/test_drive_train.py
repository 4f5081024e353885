"""A driver is taught, kept, resumed to the same bits, and drives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError, RunError
from stalwart.drive.lessons import Lessons
from stalwart.drive.planners.named import driver_of
from stalwart.drive.sensing import Rig, SensorDriver
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.simulation import make
from stalwart.run._album import Album
from stalwart.run._imitation import losses
from stalwart.run.drive_train import Teaching, drive_train

SMALL = Teaching(steps=48, worlds=2, chapters=2, families=("rural", "crossroads"))
MODEL = "driver(height=32, width=48, channels=4, azimuths=64, features=8, memory=2)"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drive") / "run"
    events = list(drive_train(MODEL, settings=SMALL, out=out))
    assert [event.kind for event in events if event.kind in ("start", "epoch", "result")] == [
        "start", "epoch", "epoch", "result",
    ]  # fmt: skip
    last = [event.values for event in events if event.kind == "progress"][-1]
    assert last["done"] == last["total"] == 48
    return out


def test_what_was_taught_is_an_ordinary_checkpoint_that_drives(run: Path) -> None:
    policy = stalwart.load(run)
    world = make("rural(seed=1, length_m=400)", worlds=2, agents=4, walkers=0)
    driver = SensorDriver(world, policy)  # type: ignore[arg-type]
    for _ in range(3):
        world.step(driver())
    assert driver.memory is not None
    assert driver.memory.abs().sum() > 0


def test_a_run_folder_is_a_drivers_name(run: Path) -> None:
    world = make("rural(seed=1, length_m=400)", worlds=2, agents=4, walkers=0)
    named = driver_of(str(run), world)
    assert isinstance(named, SensorDriver)
    policy = stalwart.load(run)
    np.testing.assert_array_equal(named(), SensorDriver(world, policy)())  # type: ignore[arg-type]


def test_a_run_that_was_killed_ends_at_the_same_weights(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    events = drive_train(MODEL, settings=SMALL, out=out)
    for event in events:
        if event.kind == "progress" and event.values["done"] > 24:
            break  # in the second chapter
    events.close()  # type: ignore[attr-defined]
    list(drive_train(MODEL, settings=SMALL, out=out, resume=True))
    one, other = stalwart.load(run).state_dict(), stalwart.load(out).state_dict()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


def test_a_run_is_not_resumed_otherwise(run: Path) -> None:
    with pytest.raises(RunError, match="was begun with settings"):
        list(drive_train(MODEL, settings=replace(SMALL, seed=1), out=run, resume=True))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"families": ("moon",)}, "families"),
        ({"families": ()}, "families"),
        ({"lr": 2.0}, "lr"),
        ({"only": ("wheels",)}, "only"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        next(iter(drive_train(MODEL, settings=replace(SMALL, **wrong))))  # type: ignore[arg-type]


@pytest.mark.parametrize("only", [("lookout", "line"), ("lookout",)])
def test_a_second_camera_is_learned_on_top_of_a_run_whose_other_parts_stay(
    run: Path, tmp_path: Path, only: tuple[str, ...]
) -> None:
    """Also from an older run without one; and resumed to the same bits, its pictures drawn anew."""
    model = MODEL.replace(")", ", lookout=True)")
    how = replace(
        SMALL, steps=12, start=str(run), only=only, expert=0.0, blind=0.5, families=("rural",)
    )  # fmt: skip
    events = list(drive_train(model, settings=how, out=tmp_path / "a"))
    assert any("lookout" in event.values["message"] for event in events if event.kind == "note")
    old, new = stalwart.load(run).state_dict(), stalwart.load(tmp_path / "a").state_dict()
    changed = {name.partition(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {*only} - {"lookout"}
    assert new["lookout.tell.2.weight"].any()
    for event in (begun := drive_train(model, settings=how, out=tmp_path / "b")):
        if event.kind == "saved":
            break
    begun.close()  # type: ignore[attr-defined]
    list(drive_train(model, settings=how, out=tmp_path / "b", resume=True))
    again = stalwart.load(tmp_path / "b").state_dict()
    assert all(torch.equal(new[name], again[name]) for name in new)


def test_an_album_looks_at_rare_signals_as_often_as_at_others() -> None:
    """A lens that reads the signal out of the picture's corner has no loss; its batches hold few free roads."""
    lessons = Lessons(Rig(Camera(8, 8), Lidar(4, 16), lookout=Camera(8, 16)), 3, 1, families=("crossroads",))
    sensed, right = lessons.sense()
    assert sensed.lookout is not None
    signal = torch.tensor([0, 0, 3])
    pictures = (signal.float() / 8)[:, None, None, None].expand_as(sensed.lookout)
    album, batches = Album(), []

    class Reader(torch.nn.Module):
        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            which = (seen[:, 0, 0, 0] * 8).round().long()
            batches.append(which)
            way = torch.logit(torch.full((len(which), 1), 10.0 / 40))
            return torch.cat([40.0 * torch.nn.functional.one_hot(which, 6), way], 1)

    told = replace(right, signal=signal, line_m=torch.full((3,), 10.0))
    for _ in range(4):
        album.keep(replace(sensed, own=0 * sensed.own, lookout=pictures), told)
    assert len(album) == 3  # alike, within a second
    album.keep(replace(sensed, own=0 * sensed.own + 20.0, lookout=pictures), told)
    assert len(album) == 6
    again = Album()
    again.restore(album.tensors())
    assert len(again) == 6
    loss, same = album.loss(Reader(), torch.device("cpu")), again.loss(Reader(), torch.device("cpu"))
    assert float(loss) == float(same) == pytest.approx(0.0, abs=1e-5)
    assert 10 < int((batches[0] == 3).sum()) < 30


def test_a_model_that_does_not_drive_is_refused() -> None:
    with pytest.raises(InputError, match="needs a model that drives"):
        next(iter(drive_train("convnet()", settings=SMALL)))


def test_the_loss_falls_on_lessons_that_repeat() -> None:
    """A few moments learned by heart: the parts that a picture or a scan must be read for get smaller."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = catalog.make(MODEL, "models").build(Signature(6, 3, (32, 48), "driving"))
    lessons = Lessons(net.rig, 6, 3, families=("crossroads",))
    lesson = [lessons.sense()]
    for _ in range(20):
        lessons.step(lesson[0][1].controls.numpy())
    lesson.append(lessons.sense())
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    passes: list[dict[str, float]] = []
    for _ in range(60):
        told: dict[str, float] = {}
        for sensed, right in lesson:
            acted, _ = net(sensed)
            parts = losses(acted, right)
            told = {name: told.get(name, 0.0) + float(part.detach()) for name, part in parts.items()}
            optimizer.zero_grad()
            torch.stack(list(parts.values())).sum().backward()
            optimizer.step()
        passes.append(told)
    first, now = passes[0], passes[-1]
    assert now["drivable"] < 0.9 * first["drivable"]
    assert now["route"] < 0.7 * first["route"]
    assert now["signal"] < 0.5 * first["signal"]
    assert now["aside"] < 0.6 * first["aside"]


def test_lessons_begin_anew_after_a_crash_or_long_off_the_road() -> None:
    lessons = Lessons(Rig(), 2, 1, families=("rural",), maps=1)
    full = np.tile(np.array([[3.0, 0.4]], np.float32), (2, 1))
    over = np.zeros(2, bool)
    for _ in range(150):
        over |= lessons.step(full)
    assert over.all()


def test_agents_logits_are_log_odds_although_agents_count_more() -> None:
    """Where one of ten equal cells holds somebody, the loss is least at log(0.1 / 0.9)."""
    net = catalog.make(MODEL, "models").build(Signature(6, 3, (32, 48), "driving"))
    lessons = Lessons(net.rig, 1, 3, families=("rural",))
    sensed, right = lessons.sense()
    acted, _ = net.eval()(sensed)
    share = torch.zeros_like(right.agents)
    share.flatten()[::10] = 1.0
    chance = float(share.mean())
    tried = torch.linspace(-6, 2, 161)
    found = []
    for logit in tried:
        seen = replace(acted.perceived, agents=torch.full_like(share, float(logit)))
        found.append(float(losses(replace(acted, perceived=seen), replace(right, agents=share))["agents"]))
    assert float(tried[int(np.argmin(found))]) == pytest.approx(np.log(chance / (1 - chance)), abs=0.06)
