"""One page that tells how far a driver through sensors can be trusted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Tamper
from stalwart.core.errors import InputError
from stalwart.core.spelling import spell
from stalwart.drive.planners.named import maker_of
from stalwart.drive.scenarios.suites import SUITES, scenarios_of
from stalwart.drive.stack.apart import Alone, Apart
from stalwart.drive.stack.keeper import Keeper
from stalwart.drive.stack.wary import Wary
from stalwart.pages.html import Child, Html, page, table, tag
from stalwart.pages.html import clean as tidy
from stalwart.pages.numbers import percent
from stalwart.run._filmed import Watched, mapped, moving
from stalwart.run.drive_attack import SUITE, Drives, paired, policy_of, said
from stalwart.store import atomic

BASELINES = ("lane", "brake", "expert")
_CLIPS, _MAPS = 2, 3
Rows = list[tuple[str, Mapping[str, Any]]]


def drive_report(
    driver: str | Path | nn.Module, out: str | Path, attacks: Sequence[str | Tamper] = ("poster()",),
    suite: str | Sequence[str] = SUITE, *, guards: Sequence[str] = (), seconds: float = 30.0, seed: int = 0,
) -> Iterator[Event]:  # fmt: skip
    """Drive a suite clean, with other sensors, under attacks and their controls, and with baselines; write one HTML
    page.

    Args:
        driver: a run folder, or a `sensing.SensorPolicy`. Its sensors are taken in turn.
        out: the page; it holds all its pictures and fetches nothing.
        attacks: of the room `tampers`.
        guards: of a run; see `drive_attack.policy_of`.
        seconds: of each drive at most.

    Yields:
        start, progress (unit 'suites'), note, saved, result (kind 'drive_report').

    Raises:
        InputError: no such run, attack or suite, or `out` is a folder.
    """
    place = Path(out)
    if place.is_dir():
        raise InputError(f"{place} must be the page to write, such as driver.html. Got a folder.")
    tampers: list[Tamper] = [catalog.make(spelled, "tampers") for spelled in attacks]
    policy = driver if isinstance(driver, nn.Module) else policy_of(driver, guards=guards)
    name = type(driver).__name__ if isinstance(driver, nn.Module) else str(driver)
    spelled = SUITES.get(suite, (suite,)) if isinstance(suite, str) else tuple(suite)
    scenarios_of(spelled)
    return _reported(name, Drives(policy, spelled, seed, seconds), tampers, place)


def _reported(name: str, drives: Drives, tampers: Sequence[Tamper], out: Path) -> Iterator[Event]:
    others = _others(drives.policy)
    total = 1 + len(BASELINES) + len(others) + sum(1 + len(t.controls()) for t in tampers)
    yield Event("start", {"what": "drive_report", "driver": name, "total": total, "unit": "suites"})
    begun, done = time.perf_counter(), 0

    def told(what: str, figures: Mapping[str, Any]) -> Iterator[Event]:
        nonlocal done
        done += 1
        rate = done / max(time.perf_counter() - begun, 1e-9)
        yield Event("progress", {"done": done, "total": total, "unit": "suites", "rate": rate,
                                 "left_s": max(total - done, 0) / rate})  # fmt: skip
        yield Event("note", {"message": f"{what}: {figures['collisions']} of {figures['drives']} drives crash"})

    watched = {"clean": Watched()}
    clean = drives.driven(None, watched["clean"])
    yield from told("clean", clean)
    scores: Rows = [("this driver", clean)]
    for baseline in BASELINES:
        scores.append((baseline, drives.judged(maker_of(baseline))))
        yield from told(*scores[-1])
    ablation: Rows = [(getattr(drives.policy, "trust", "all its sensors"), clean)]
    for trust, policy in others.items():
        ablation.append((trust, Drives(policy, drives.suite, drives.seed, drives.seconds).driven(None)))
        yield from told(*ablation[-1])
    rows: Rows = [("clean", clean)]
    verdicts = []
    for tamper in tampers:
        beside = {}
        for control, one in tamper.controls().items():
            beside[control] = drives.of(one)
            rows.append((f"{control} of {spell(one)}" if len(tampers) > 1 else control, beside[control]))
            yield from told(control, beside[control])
        watched[spell(tamper)] = Watched()
        found = drives.driven(drives.made(tamper), watched[spell(tamper)])
        rows.append((spell(tamper), found))
        yield from told(spell(tamper), found)
        p = paired(found, clean)["p"]
        verdicts.append(
            said({"attack": spell(tamper), **found, "controls": beside}, clean) + f" Against clean: p = {p:.2g}."
        )
    per_step_ms = 1000 * clean["cpu_s"] / max(clean["steps"], 1)
    body = _body(name, drives, scores, ablation, rows, verdicts, watched, per_step_ms)
    text = page(f"{tidy(name, 80)}: a driver's report", *body)

    def fill(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic.write(out, fill)
    yield Event("saved", {"path": str(out)})
    yield Event("result", {"kind": "drive_report", "path": str(out), "driver": name, "said": verdicts,
                           "seconds": time.perf_counter() - begun})  # fmt: skip


def _others(policy: Any) -> dict[str, nn.Module]:
    """The same policy with its other sensors; a learned driver without its guards."""
    if not isinstance(policy, Keeper):
        while isinstance(policy, Apart | Wary):
            policy = policy.policy
        if policy.rig.without is not None:
            return {}
        return {"camera alone": Alone(policy, "lidar").eval(), "LiDAR alone": Alone(policy, "camera").eval()}
    trusts = [trust for trust in ("camera", "lidar", "both") if trust != policy.trust]
    return {trust: Keeper(policy.model, trust, policy.guards, policy.limits) for trust in trusts}


def _body(
    name: str, drives: Drives, scores: Rows, ablation: Rows, rows: Rows, verdicts: Sequence[str],
    watched: Mapping[str, Watched], per_step_ms: float,
) -> list[Child]:  # fmt: skip
    figures = scores[0][1]
    guards = ", ".join(getattr(drives.policy, "guards", ())) or "none"
    about = (
        f"Guards: {guards}. Suite: {', '.join(drives.suite)}; maps of the test split, seed {drives.seed}, at most "
        f"{drives.seconds:g} s a drive. A step of a tenth of a second takes {per_step_ms:.2f} ms of CPU, the world's "
        "and the loading of kernels included."
    )
    parts: list[Child] = [
        tag(
            "header",
            tag("p", "A driver's report", class_="eyebrow"),
            tag("h1", tidy(name, 80)),
            tag("p", _summary(figures, verdicts), class_="lede"),
            tag("p", about, class_="about"),
        ),
        tag("h3", "Beside baselines"),
        tag("p", "Baselines see the truth, without sensors: what is lost against them is lost by perception.",
            class_="about"),
        _table("Scores beside baselines", scores),
        tag("h3", "Attacks and their controls"),
        _table("Attacks and their controls", rows),
        tag("ul", [tag("li", verdict) for verdict in verdicts]),
    ]  # fmt: skip
    if len(ablation) > 1:
        parts += [tag("h3", "By sensor"), _table("With one sensor or the other", ablation)]
    parts += [tag("h3", "Where drives ended"), _where(drives, watched), tag("h3", "Clips"), _clips(watched)]
    return parts


def _summary(figures: Mapping[str, Any], verdicts: Sequence[str]) -> str:
    low, high = figures["collisions_per_km_95"]
    bad = sum("No worse" not in verdict for verdict in verdicts)
    told = (
        f"Untouched it crashes in {figures['collisions']} of {figures['drives']} drives "
        f"({figures['collisions_per_km']:.2f} per km, 95 % interval {low:.2f} to {high:.2f}) "
        f"and completes {percent(figures['completion'])} of its way. "
    )
    if not verdicts:
        return told
    return told + f"{bad} of {len(verdicts)} attacks do more than their controls do."


def _table(caption: str, rows: Rows) -> Html:
    head = ["", "drives", "crashes", "per km (95 %)", "s to crash", "completed", "driving score (95 %)"]
    guarded = any(one.get("doubted") for _, one in rows)

    def cells(one: Mapping[str, Any]) -> list[Child]:
        (low, high), (bad, good) = one["collisions_per_km_95"], one["carla_95"]
        late = one["seconds_to_collision"]
        return [
            one["drives"], one["collisions"], f"{one['collisions_per_km']:.2f} ({low:.2f} to {high:.2f})",
            "–" if late is None else f"{late:.1f}", percent(one["completion"]),
            f"{one['carla']:.3f} ({max(bad, 0):.3f} to {min(good, 1):.3f})",
            *([", ".join(f"{guard} {percent(share)}" for guard, share in one["doubted"].items()) or "–"] * guarded),
        ]  # fmt: skip

    return table(
        head + ["guards in doubt"] * guarded,
        [[tag("code", tidy(name, 200)), *cells(one)] for name, one in rows],
        caption=caption,
    )


def _where(drives: Drives, watched: Mapping[str, Watched]) -> Html:
    """The maps with most crashes, a dot for each drive under the last attack (or clean)."""
    name, last = list(watched.items())[-1]
    stage = scenarios_of(drives.suite)[-1].stage("test", drives.seed)
    ground = stage.world.ground
    numbers = sorted({spot[0] for spot in last.spots}, key=lambda m: -sum(s[3] for s in last.spots if s[0] == m))
    shown: list[Child] = []
    for m in numbers[:_MAPS]:
        spots = [(x, y, crashed) for at, x, y, crashed in last.spots if at == m]
        source = mapped(ground.raster[m], np.asarray(ground.origin_m[m]), ground.metres_per_pixel, spots)
        words = f"{stage.world.maps[m].name}: {sum(s[2] for s in spots)} of {len(spots)} drives crash"
        shown.append(tag("figure", tag("img", src=source, alt=words), tag("figcaption", words), class_="plot"))
    kind = tag(
        "p", "Under ", tag("code", name), ". Red: a crash. Blue: where a drive without one was last.", class_="about"
    )
    return tag("div", kind, tag("div", shown, class_="plots three"))


def _clips(watched: Mapping[str, Watched]) -> Html:
    """The same worlds clean and attacked, those that crash under attack first."""
    names = list(watched)
    worlds = sorted(watched[names[0]].clips, key=lambda w: (-sum(one.spots[w][3] for one in watched.values()), w))
    shown: list[Child] = []
    for w in worlds[:_CLIPS]:
        for name in names:
            words = f"world {w}, {name}" + (": a crash" if watched[name].spots[w][3] else "")
            picture = tag("img", src=moving(watched[name].clips[w]), alt=words)
            shown.append(tag("figure", picture, tag("figcaption", words), class_="plot"))
    told = tag("p", "What the cameras give the driver, and the world from above; at the true speed.", class_="about")
    return tag("div", told, tag("div", shown, class_="plots two"))
