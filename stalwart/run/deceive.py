"""Attacking a policy in the loop: what it comes to when its observations are changed at every step."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from stalwart.core import catalog
from stalwart.core.contracts import Attack, Event, Threat
from stalwart.core.errors import InputError
from stalwart.core.rng import seed_of
from stalwart.core.spelling import spell
from stalwart.drive.scores.safety import poisson_interval
from stalwart.mdp.deceived import decided
from stalwart.mdp.evaluation import Episodes, evaluate
from stalwart.mdp.open import is_id, open_worlds
from stalwart.mdp.policies import Policy
from stalwart.mdp.sarsa import Sarsa, Worth, worths_of
from stalwart.run._deceived import Change, Climbed, Deceived, Learned, Shaken, scaled
from stalwart.run._judge import doubts, works_together
from stalwart.run.play import load_policy
from stalwart.store.folder import RunFolder
from stalwart.worlds.deceiving import deceiving

RARE = ("collision", "at_fault", "off_road", "ran_red")
"""What driving worlds tell of themselves that is counted per kilometre."""
_GRADIENTS = 1500
"""By which they learn it, at most."""
_KNOWING = {"critic": 0.0, "sarsa": 1.0}
"""Attackers who have learned what actions are worth, and the weight λ of how smooth that is."""


def deceive(
    path: str | Path,
    attacks: Sequence[str | Attack] = ("pgd(steps=10)",),
    threats: Sequence[str | Threat] = ("linf(0.1)",),
    *,
    adversary: str | Path | None = None,
    env: str = "",
    checkpoint: str = "best",
    episodes: int = 20,
    sure: float = 0.0,
    worth: int = 0,
    seed: int = 0,
) -> Iterator[Event]:
    """Play a run's policy untouched, under changes of full size in random directions, and under each attack; all on
    the same seeds, which neither training nor its evaluations had. Kept in the run's `results/`.

    Args:
        path: the run folder of a policy.
        threats: `linf`, `l2` or `l1`, in units of the observations as the policy prepares them (normalised).
        adversary: the run folder of a policy that was trained on ``deceiving(run=..., epsilon=...)``: it plays, too,
            under each `linf` threat.
        env: where to play; '' for where the policy was trained.
        episodes: of each. Results carry 95 % intervals (Student's t over episodes).
        sure: change only where the policy prefers its best action to its worst by more than this.
        worth: steps from which it is learned what the policy's actions are worth; 0: not at all. With it each attack
            plays twice more, towards the action that is worth least: by SARSA ('critic') and robust SARSA ('sarsa').

    Yields:
        start, progress, note, warning, saved, and a result for each threat and attack: `clean`, `noise`, `attacked`,
        each with `mean_return`, `interval`, `episodes` and what the world says of itself; in a driving world the rates
        per kilometre with exact Poisson intervals.

    Raises:
        InputError: no such run or spelling; a threat or a policy that this cannot serve.
    """
    solvers: list[Attack] = [catalog.make(spelled, "attacks") for spelled in attacks]
    sets: list[Threat] = [catalog.make(spelled, "threats") for spelled in threats]
    if not sets or not (solvers or adversary):
        raise InputError("an attack on a policy needs a threat, and an attack or an adversary. Got none.")
    if episodes < 2:
        raise InputError(f"episodes must be at least 2, for an interval. Got {episodes}.")
    if worth < 0:
        raise InputError(f"worth must be at least 0 steps. Got {worth}.")
    if worth and not solvers:
        raise InputError("worth is for attacks that climb what an action is worth, and there is none. Name an attack.")
    if not 0 <= sure < 1:
        raise InputError(f"sure must lie in [0, 1). Got {sure!r}.")
    for threat in sets:
        scaled(threat)
    for solver in solvers:
        if works_together(solver):
            raise InputError(f"{spell(solver)} seeks one change for all images, and observations come one by one.")
    folder = RunFolder.open(Path(path))
    policy, where = load_policy(folder.path / checkpoint, env or None)
    rival, climbs = (None, 0) if adversary is None else _rival(adversary, policy)
    Deceived(policy, lambda seen, _: seen, sure)  # refuses what it cannot serve before anything is played
    stage = _Play(where, policy, episodes, seed)
    several = len(_KNOWING) if worth else 0
    plays = (
        1 + len(sets) * (1 + len(solvers) * (1 + several)) + sum(rival is not None and _linf(threat) for threat in sets)
    )
    yield Event("start", {"what": "deceive", "env": where, "total": plays * episodes, "unit": "episodes"})
    if worth:
        yield Event("note", {"message": f"learning what actions are worth, {worth:,} steps"})
    knowing = _known(policy, where, worth, seed) if worth else {}
    clean = yield from stage.play(policy, 0, plays)
    number = 1
    for threat in sets:
        noise = yield from stage.play(Deceived(policy, Shaken(threat, seed), sure), number, plays)
        number += 1
        changes: list[tuple[str, Change]] = [
            (spell(solver), Climbed(policy, solver, threat, seed)) for solver in solvers
        ]
        changes += [
            (f"{name}({spell(solver)})", Climbed(policy, solver, threat, seed, known))
            for name, known in knowing.items() for solver in solvers
        ]  # fmt: skip
        if rival is not None and _linf(threat):
            changes.append((f"learned({str(adversary)!r})", Learned(policy, rival, threat.epsilon, climbs)))
        for name, change in changes:
            deceived = Deceived(policy, change, sure)
            begun = time.perf_counter()
            attacked = yield from stage.play(deceived, number, plays)
            number += 1
            knows = worth if getattr(change, "worth", None) is not None else 0
            result = {
                "kind": "deceive", "env": where, "attack": name, "threat": spell(threat), "sure": sure, "seed": seed,
                "worth": knows, "checkpoint": checkpoint, "clean": clean, "noise": noise, "attacked": attacked,
                "changed_share": deceived.changed / max(deceived.steps, 1), "seconds": time.perf_counter() - begun,
                "forwards": getattr(change, "forwards", 0), "backwards": getattr(change, "backwards", 0),
            }  # fmt: skip
            for doubt in doubts([change]) if isinstance(change, Climbed) else ():
                yield Event("warning", {"message": f"{name} under {spell(threat)}: {doubt}"})
            yield Event("note", {"message": said(result)})
            kept = folder.write_result(
                f"deceive {name} {spell(threat)} {sure or ''} {f'worth {worth}' if knows else ''}", result
            )
            yield Event("saved", {"path": str(kept)})
            yield Event("result", result)


def _rival(run: str | Path, policy: Policy) -> tuple[Policy, int]:
    """A learned adversary, and by how many climbs it turns its decisions into changes of what `policy` sees."""
    rival, where = load_policy(run, None)
    world = None if is_id(where) else catalog.make(where, "worlds")
    if not isinstance(world, deceiving):
        raise InputError(f"{run} was trained on {where}. An adversary is trained on deceiving(run=..., epsilon=...).")
    if (rival.inputs, rival.outputs) != (policy.inputs, decided(policy, world.climbs)):
        raise InputError(
            f"{run} sees {rival.inputs} numbers and decides {rival.outputs}. Got a policy that sees {policy.inputs} "
            f"and decides {policy.outputs}."
        )
    return rival, world.climbs


def _known(policy: Policy, env: str, steps: int, seed: int) -> dict[str, Worth]:
    """In worlds of its own, which no play has."""
    worlds = open_worlds(env, 4 if is_id(env) else 64)
    how = Sarsa(steps, min(_GRADIENTS, max(1, steps // 10)))
    try:
        learned = worths_of(policy, worlds, how, tuple(_KNOWING.values()), seed_of(seed, "worth"))
        return dict(zip(_KNOWING, learned, strict=True))
    finally:
        worlds.close()


def said(result: Mapping[str, Any]) -> str:
    """One sentence: what the attack brought, and whether it is more than noise of its size brings."""
    clean, noise, attacked = (result[name] for name in ("clean", "noise", "attacked"))
    told = (
        f"{result['attack']} under {result['threat']}: return {attacked['mean_return']:.4g} "
        f"({attacked['interval'][0]:.4g} to {attacked['interval'][1]:.4g}), untouched {clean['mean_return']:.4g}, "
        f"noise of that size {noise['mean_return']:.4g}"
    )
    apart = attacked["interval"][1] < noise["interval"][0]
    return told + ("." if apart else "; no worse than noise, as far as these episodes tell.")


def _linf(threat: Threat) -> bool:
    return spell(threat).startswith("linf(")


class _Play:
    """Whole episodes, the same worlds each time."""

    def __init__(self, env: str, policy: Policy, episodes: int, seed: int) -> None:
        self.env, self.policy, self.episodes, self.seed = env, policy, episodes, seed

    def play(self, actor: nn.Module, number: int, plays: int) -> Generator[Event, None, dict[str, Any]]:
        """Yields progress; returns the figures."""
        worlds = open_worlds(self.env, min(self.episodes, 16 if is_id(self.env) else 64))
        begun, found = time.perf_counter(), Episodes()
        try:
            for found in evaluate(actor, worlds, self.episodes, seed_of(self.seed, "deceive") % 2**31):
                done = number * self.episodes + len(found.returns)
                rate = len(found.returns) / max(time.perf_counter() - begun, 1e-9)
                left = (plays * self.episodes - done) / rate if rate else float("inf")
                yield Event("progress", {
                    "done": done, "total": plays * self.episodes, "unit": "episodes", "rate": rate, "left_s": left,
                })  # fmt: skip
        finally:
            worlds.close()
        figures = found.figures()
        km = figures.get("progress_m", 0.0) / 1000
        if km > 0:
            figures["km"] = km
            figures["per_km"] = {
                name: [figures[name] / km, *poisson_interval(round(figures[name]), km)]
                for name in RARE if name in figures
            }  # fmt: skip
        return figures
