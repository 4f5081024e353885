"""Attacks on a driver's sensors: bounds hold, nothing comes of nothing, posters are what is rendered and what is
climbed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.drive.adversaries.aims import Poster, Seen, alarming, wanted
from stalwart.drive.adversaries.blanks import blanks_of, joined
from stalwart.drive.adversaries.changes import driver_of
from stalwart.drive.adversaries.echoes import grounded, nearest_first, phantom, told
from stalwart.drive.adversaries.pixels import Overlaid, levels, shared
from stalwart.drive.adversaries.posters import TEXTURE, Hung, film, printed
from stalwart.drive.adversaries.subject import Subject
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.scene import Class
from stalwart.drive.sensing import Sensed
from stalwart.drive.sensors.lidar import Lidar
from stalwart.drive.sensors.shade import shade
from stalwart.drive.stack import checks
from stalwart.drive.stack.keeper import Keeper
from stalwart.drive.stack.stixels import Stixels
from stalwart.run.drive_attack import Drives, paired, said

SUITE = ("stopped_vehicle(speed_kmh=(50,), distance_m=(30,), aside_m=(0,), kind='van')",)


def policy(trust: str = "camera", *guards: str) -> Keeper:
    torch.manual_seed(0)
    return Keeper(Stixels(4).eval(), trust, guards).eval()


def stage(split: str = "test") -> Any:
    (scenario,) = scenarios_of(SUITE)
    return scenario.stage(split, 0)


def drive(keeper: Keeper, change: Any, steps: int = 12) -> tuple[list[Sensed], np.ndarray]:  # type: ignore[type-arg]
    """What was sensed, and where all bodies ended."""
    here = stage()
    driver = driver_of(here.world, keeper, change)
    sensed = []
    for tick in range(steps):
        controls = driver()
        assert driver.sensed is not None
        sensed.append(driver.sensed)
        controls[:, 1:] = here.script(here.world, tick * 0.1)
        here.world.step(controls)
    return sensed, here.world.state.floats.copy()


@pytest.mark.parametrize(
    ("spelled", "trust"),
    [
        ("camera(threat=linf(0))", "camera"),
        ("camera(threat=linf(0), attack=None)", "camera"),
        ("spoof(points=0)", "lidar"),
        ("removal(window_deg=0)", "lidar"),
        ("removal(points=0, mimic=True)", "lidar"),
    ],
)
def test_an_attack_of_no_size_changes_nothing(spelled: str, trust: str) -> None:
    keeper = policy(trust)
    change = catalog.make(spelled, "tampers").against(Subject(keeper, SUITE, 0), 0)
    clean, ends = drive(keeper, None)
    seen, same = drive(keeper, change)
    assert np.array_equal(ends, same)
    for one, other in zip(clean, seen, strict=True):
        assert torch.equal(one.camera, other.camera)
        assert torch.equal(one.lidar, other.lidar)


@pytest.mark.parametrize("threat", ["linf(4/255)", "linf(0.011)", "l2(0.6)"])
def test_pictures_stay_within_the_threat_in_whole_levels(threat: str) -> None:
    random = torch.Generator().manual_seed(1)
    clean = (torch.rand(5, 3, 8, 8, generator=random) * 255).round() / 255
    bound: Any = catalog.make(threat, "threats")
    found = levels(torch.rand(5, 3, 8, 8, generator=random), clean, bound)
    assert torch.allclose(found * 255, (found * 255).round(), atol=1e-4)
    change = (found - clean).flatten(1)
    size = change.abs().amax(1) if "linf" in threat else change.norm(dim=1)
    assert (size <= bound.epsilon + 1e-6).all()
    assert (size > 0.3 * bound.epsilon).all()


def test_a_climbed_picture_makes_less_be_seen_than_noise_does() -> None:
    keeper, moved = policy(), []
    clean, _ = drive(keeper, None, 1)
    with torch.no_grad():
        before = keeper(clean[0])[0].perceived.agents
        for spelled in ("camera(attack=None, threat=linf(8/255))", "camera(threat=linf(8/255))"):
            seen, _ = drive(keeper, catalog.make(spelled, "tampers").against(Subject(keeper, SUITE, 0), 0), 1)
            assert 7 / 255 < (seen[0].camera - clean[0].camera).abs().max() <= 8 / 255 + 1e-6
            moved.append(float((before - keeper(seen[0])[0].perceived.agents)[before > 0].mean()))
    assert moved[1] > 2 * abs(moved[0])


def test_a_phantom_is_a_cars_rear_within_count_angle_and_order() -> None:
    lidar = Lidar()
    before = np.full((2, lidar.channels, lidar.azimuths), 30.0)
    before[1, :, :] = 5.0  # everything is nearer there already
    after = phantom(before, lidar, 8.0, 25, 10.0)
    new = after != before
    assert new[0].sum() == 25
    assert not new[1].any()
    points = lidar.points(after)[new]
    assert np.allclose(points[:, 0], 8.0, atol=1e-6)
    assert (np.abs(points[:, 1]) <= 0.9).all()
    assert (points[:, 2] > 0.2).all()
    assert (points[:, 2] <= 1.5 + 1e-6).all()
    assert (np.abs(np.arctan2(points[:, 1], points[:, 0] - lidar.x_m)) <= np.radians(5) + 1e-9).all()
    assert (after[new] < before[new]).all()


def test_echoes_pushed_back_lie_on_the_ground_and_others_stay() -> None:
    lidar = Lidar()
    before = np.full((1, lidar.channels, lidar.azimuths), 6.0)
    moved = np.zeros_like(before, np.bool_)
    moved[0, 5:, 100:120] = True
    after = grounded(before, lidar, moved)
    heard = moved & (after > 0)
    assert heard.any()
    assert np.allclose(lidar.points(after)[heard][:, 2], 0, atol=1e-6)
    assert np.array_equal(after[~moved], before[~moved])
    chosen = nearest_first(moved, before + np.arange(lidar.azimuths), 7)
    assert chosen.sum() == 7
    assert not (chosen & ~moved).any()
    sensed = Sensed(torch.zeros(1, 3, 48, 96), torch.rand(1, 3, lidar.channels, lidar.azimuths), torch.zeros(1, 14))
    same = told(sensed, sensed.lidar[:, 0].double().numpy() * lidar.greatest_m, lidar)
    assert torch.equal(same.lidar, sensed.lidar)


@pytest.mark.parametrize("where", ["back", "road", "board"])
def test_a_poster_is_seen_where_it_hangs(where: Any) -> None:
    keeper = policy()
    picture = torch.zeros(3, 64, 64)
    picture[0] = 1.0
    here = stage()
    driver = driver_of(here.world, keeper, Hung(picture, where, (1.7, 1.4)))
    driver()
    scene = driver.dressed.scene()
    slot = scene.boxes - 1
    assert scene.kind[0, slot] == Class.PATCH
    off = np.hypot(scene.x_m[0, slot] - scene.x_m[0, 1], scene.y_m[0, slot] - scene.y_m[0, 1])
    expected = {"back": 2.83, "road": 9.8, "board": np.hypot(2.8, 3.5)}[where]
    assert off == pytest.approx(expected, abs=0.01)
    look = Hung(picture, where, (1.7, 1.4))
    for _ in range(8):
        driver()
    filmed = film(keeper, [stage()], look, every=1, seconds=0.3)
    frames = filmed.moments[0][0]["camera"]
    red = (frames.rgb[0, 0].astype(int) - frames.rgb[0, 1]) > 60
    assert red[frames.kind[0] == Class.PATCH].any()


def test_a_fitted_poster_climbs_where_grey_and_random_do_not() -> None:
    keeper = policy()
    attack = catalog.make("pgd(steps=12, step=0.1, random_start=False)", "attacks")
    filmed = film(keeper, [stage("train")], Hung(torch.full((3, 64, 64), 0.5), "back", (1.7, 1.4)), seconds=1.5)
    found = printed(keeper, filmed, attack, "vanish", 0)
    assert torch.equal(found * 255, (found * 255).round())
    assert found.min() >= 0
    assert found.max() <= 1
    goal = Poster(keeper, TEXTURE, filmed.textures, filmed.moments, "vanish", 0)
    with torch.no_grad():
        plain = [torch.full((3, 64, 64), 0.5), torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))]
        losses = [float(goal.of(one, goal.places)[0].mean()) for one in (found, *plain)]
    assert losses[0] > max(losses[1:])


@torch.no_grad()
def test_who_knows_of_smoothing_alarms_less_and_still_hides() -> None:
    keeper = policy("camera", "input")
    keeper.limits["input"] = 2.5e-4  # an untaught net changes little
    (clean, *_), _ = drive(keeper, None, 1)
    threat, universal = catalog.make("linf(8/255)", "threats"), catalog.make("universal(steps=8)", "attacks")
    hiding = Seen(keeper, clean, None, "vanish")
    loud, hidden = [], []
    for quiet in (0.0, 1000.0):
        change = catalog.make(f"camera(linf(8/255), quiet={quiet})", "tampers").against(Subject(keeper, SUITE, 0), 0)
        (seen, *_), _ = drive(keeper, change, 1)
        overlay = shared(keeper, clean, universal, threat, "vanish", 0, quiet=quiet)
        for images in (seen.camera, (clean.camera + overlay["camera"]).clamp(0, 1)):
            assert (images - clean.camera).abs().max() <= 8 / 255 + 1e-6
            loud.append(float(alarming(keeper, images)))
            hidden.append(float(hiding(images).loss))
    assert loud[2] < 0.5 * loud[0]
    assert loud[3] < 0.5 * loud[1]
    assert min(hidden) > float(hiding(clean.camera).loss)


@torch.no_grad()
def test_what_alarms_is_counted_from_four_fifths_of_the_limit_on() -> None:
    keeper = policy("camera", "input")
    images = torch.rand(2, 3, 48, 96, generator=torch.Generator().manual_seed(0))
    read = checks.changes(keeper.model, images)
    assert torch.equal(checks.unsteady(keeper.model, images), read.amax(-1))
    keeper.limits["input"] = float(read.amax()) / 0.8
    assert torch.equal(alarming(keeper, images), torch.zeros(2))
    keeper.limits["input"] = 0.0
    assert torch.allclose(alarming(keeper, images), read.sum(-1))
    with pytest.raises(InputError, match="use quiet=0"):
        alarming(torch.nn.Identity(), images)


def test_controls_come_without_craft_and_joint_ones_jointly() -> None:
    def named(spelled: str) -> list[str]:
        return list(catalog.make(spelled, "tampers").controls())

    assert named("poster()") == ["grey poster", "random poster"]
    assert named("poster(picture='grey')") == []
    assert named("fault()") == []
    assert named("joint((poster(), removal()))") == ["the same without craft"]
    with pytest.raises(InputError, match="at least two"):
        catalog.make("joint((poster(),))", "tampers")
    subject = Subject(policy(), SUITE, 0)
    spoof, camera = (catalog.make(one, "tampers").against(subject, 0) for one in ("spoof()", "camera(aim='brake')"))
    with pytest.raises(InputError, match="has one"):
        drive(policy("camera"), spoof, 1)
    with pytest.raises(InputError, match="no gradient"):
        drive(policy(), camera, 1)


def test_faults_are_those_of_the_sensors_and_begin_anew() -> None:
    fault = catalog.make("fault(kind='blackout')", "tampers").against(Subject(policy(), SUITE, 0), 0)
    seen, _ = drive(policy(), fault, 60)
    dark = [bool((one.camera == 0).all()) for one in seen]
    assert 0 < sum(dark) < 20
    again, _ = drive(policy(), fault, 60)
    assert dark == [bool((one.camera == 0).all()) for one in again]


def test_pairs_are_judged_by_the_sign_test_and_words_follow_intervals() -> None:
    one = {"crashed": [True] * 5 + [False] * 5}
    other = {"crashed": [False] * 10}
    assert paired(one, other) == {"alone": 5, "other_alone": 0, "p": 2 / 32}
    assert paired(one, one)["p"] == 1.0
    figures = {"collisions": 5, "drives": 10, "collisions_per_km": 5.0, "collisions_per_km_95": [2.0, 11.0],
               "carla": 0.5}  # fmt: skip
    mild = {**figures, "collisions_per_km": 0.5, "collisions_per_km_95": [0.0, 1.9]}
    row = {"attack": "poster()", **figures, "controls": {"grey poster": mild}}
    assert "No worse" not in said(row, mild)
    row["controls"] = {"grey poster": mild, "random poster": low_bar(figures)}
    assert said(row, mild).endswith("No worse than random poster, as far as these drives tell.")
    assert "red light" not in said(row, mild)
    assert ", 3 red lights or stop signs passed;" in said({**row, "red_lights": 2, "stop_signs": 1}, mild)


def low_bar(figures: dict[str, Any]) -> dict[str, Any]:
    return {**figures, "collisions_per_km": 3.0, "collisions_per_km_95": [1.0, 7.0]}


def test_drives_are_the_same_for_the_same_change_and_driven_once() -> None:
    drives = Drives(policy("lidar"), SUITE, 0)
    clean = drives.of(None)
    assert clean["drives"] == 1
    assert clean["collisions"] == 0
    assert clean["completion"] > 0.9
    assert drives.of(None) is clean
    blind = drives.of(catalog.make("removal(window_deg=90)", "tampers"))
    assert blind["collisions"] == 1
    assert blind["seconds_to_collision"] < 10
    assert blind["collisions_per_km"] == pytest.approx(1 / blind["km"])


def test_lights_that_are_run_are_in_the_figures() -> None:
    """Who looks at nothing but its lane runs some; who stays where it is runs none."""
    drives = Drives(policy(), ("free(roads='crossroads', worlds=8, maps=2, seconds=15)",), 0)
    blind = drives.judged(lambda world: Baseline(world, "lane"))
    ran = blind["red_lights"] + blind["stop_signs"]
    assert ran > 0
    assert f"{ran} red light" in said({"attack": "poster()", "controls": {}, **blind}, blind)
    parked = drives.judged(lambda world: lambda: np.full((world.worlds, 1, 2), [-9.0, 0.0], np.float32))
    assert parked["red_lights"] == parked["stop_signs"] == 0


def test_blanks_show_the_print_that_was_rendered_and_any_other() -> None:
    random = torch.Generator().manual_seed(2)
    old, new = (torch.rand(3, 64, 64, generator=random) for _ in range(2))
    filmed = film(policy(), [stage()], Hung(old, "back", (1.7, 1.4)), every=4, seconds=2.0)
    frames = [frames["camera"] for frames, _ in filmed.moments]
    pictures = torch.from_numpy(np.concatenate([one.rgb for one in frames])).float() / 255
    blanks = joined([(len(one.rgb), blanks_of(one, filmed.textures, TEXTURE)) for one in frames])
    assert len(blanks.pixel) > 20
    prints = torch.stack([new, old]).requires_grad_()
    ones = torch.ones(len(pictures), dtype=torch.int64)
    torch.testing.assert_close(blanks.put(pictures, prints, ones), pictures, rtol=0, atol=1.01 / 255)
    whole = torch.cat([shade(one, filmed.textures, {TEXTURE: new}) for one in frames])
    other = blanks.put(pictures, prints, 0 * ones)
    torch.testing.assert_close(other, whole, rtol=0, atol=2 / 255)
    other.sum().backward()  # type: ignore[no-untyped-call]
    assert prints.grad is not None
    assert prints.grad[0].any()
    assert not prints.grad[1].any()
    last = torch.tensor([len(pictures) - 1])
    alone = blanks.select(last).put(pictures[last], prints, 0 * last)
    torch.testing.assert_close(alone, other[last])


@pytest.fixture(scope="module")
def two_eyed() -> Any:
    small = "driver(height=32, width=48, channels=4, azimuths=64, features=4, memory=2, lookout=True)"
    model: Any = catalog.make(small, "models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = model.build(Signature(6, 3, (32, 48), "driving")).eval()
        for layer in (net.lookout.tell[2], net.accel[2]):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return net


@pytest.mark.parametrize("on", ["camera", "lookout", "both"])
def test_attacks_change_the_cameras_that_they_are_for_and_climb_there(two_eyed: Any, on: Any) -> None:
    """The second camera alone says what rules at the line, so only there is anything to climb to run it."""

    def go(sensed: Sensed) -> float:
        with torch.no_grad():
            signal = two_eyed(sensed)[0].perceived.signal
        return float(signal[:, [0, 1, 5]].logsumexp(1) - signal[:, 2:5].logsumexp(1))

    clean = drive(two_eyed, None, 1)[0][0]
    assert clean.lookout is not None
    subject, margin = Subject(two_eyed, SUITE, 0), go(clean)
    threat, universal = catalog.make("linf(8/255)", "threats"), catalog.make("universal(steps=8, batch=1)", "attacks")
    changes = {
        "noise": catalog.make(f"camera(linf(8/255), None, on='{on}')", "tampers").against(subject, 0),
        "pgd": catalog.make(f"camera(linf(8/255), pgd(steps=4), 'run', '{on}')", "tampers").against(subject, 0),
        "fault": catalog.make(f"fault(on='{on}')", "tampers").against(subject, 0),
        "overlay": Overlaid(shared(two_eyed, clean, universal, threat, "run", 0, on), threat),
    }
    for name, change in changes.items():
        seen = drive(two_eyed, change, 1)[0][0]
        assert seen.lookout is not None
        assert torch.equal(seen.lookout, clean.lookout) == (on == "camera")
        if name in ("noise", "fault"):
            assert torch.equal(seen.camera, clean.camera) == (on == "lookout")
        if name != "fault":
            assert (seen.lookout - clean.lookout).abs().max() <= 8 / 255 + 1e-6
        if name in ("pgd", "overlay") and on != "camera":
            assert go(seen) > margin + 0.02
    with pytest.raises(InputError, match="no second camera"):
        drive(policy(), catalog.make("fault(on='both')", "tampers").against(subject, 0), 1)


def test_a_posters_slope_comes_through_the_second_camera_as_well(two_eyed: Any) -> None:
    grey = Hung(torch.full((3, 64, 64), 0.5), "board", (1.7, 1.4))
    filmed = film(two_eyed, [stage("train")], grey, every=4, seconds=0.8)
    assert list(filmed.moments[0][0]) == ["camera", "lookout"]
    goal = Poster(two_eyed, TEXTURE, filmed.textures, filmed.moments, "run", 0)
    texture = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    loss = goal(texture).loss
    (slope,) = torch.autograd.grad(loss.sum(), texture)
    assert slope.abs().max() > 0
    higher = goal.of((texture + 0.05 * slope.sign())[0].detach(), goal.places)[0].mean()
    assert higher > goal.of(texture[0].detach(), goal.places)[0].mean()


def test_aims_at_controls_and_lines_are_what_they_say(two_eyed: Any) -> None:
    sensed = drive(two_eyed, None, 1)[0][0]
    with torch.no_grad():
        clean = two_eyed(sensed)[0]
    seen = clean.perceived
    halted, free = (replace(clean, perceived=replace(seen, signal=torch.eye(6)[None, k] * 9)) for k in (3, 1))
    with torch.no_grad():
        assert wanted(clean, clean, "speed")[0] == clean.controls[:, 0]
        assert wanted(free, halted, "run")[1].item()
        assert not wanted(halted, halted, "run")[1].item()
        assert not wanted(free, free, "run")[1].item()
        assert wanted(free, halted, "run")[0] > 5 > -5 > wanted(halted, halted, "run")[0]
