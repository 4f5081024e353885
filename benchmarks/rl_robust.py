"""Policies that stand changed observations, in the driving world: PPO, SA-PPO and ATLA under the strongest attack.

    python benchmarks/rl_robust.py --out runs/robust [--seeds 3] [--kappas 0.3 1.0 3.0] [--rival-steps 600000]

Each policy is trained with as many steps of its own, and then played untouched, under noise, and under each attack, on
the same 64 episodes: the action furthest from its own, and the one worth least by SARSA and robust SARSA; with
--rival-steps also a rival that is trained anew on the finished policy. The strongest attack of a policy is the one that
leaves it the lowest return. Run folders stay in --out, so the same command goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from stalwart.core.contracts import Event
from stalwart.run.deceive import deceive
from stalwart.run.learn import Practice, learn

WORLD = "driving(roads=crossroads(seed=1), agents=8, walkers=0, seconds=20.0{})"
BASE = (
    "horizon=16, batch=2048, epochs=2, lr=0.0015, entropy=0.001, discount=0.98, activation='relu', shared=True, "
    "scale_rewards=True"
)


def last(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The results among what a runner says."""
    return [dict(event.values) for event in events if event.kind == "result"]


def trained(out: Path, env: str, algo: str, steps: int, seed: int) -> Path:
    """A run folder, from before or made now; its training's processor seconds are kept beside it."""
    if not (out / "seconds.json").exists():
        begun = time.process_time()
        how = Practice(steps=steps, worlds=1024, chapters=1, episodes=0, seed=seed)
        last(learn(env, algo, settings=how, out=out, resume=out.exists()))
        (out / "seconds.json").write_text(json.dumps({"cpu_s": time.process_time() - begun}))
    return out


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--first", type=int, default=0, help="the first seed")
    words.add_argument("--kappas", type=float, nargs="*", default=[1.0], help="of SA-PPO")
    words.add_argument("--epsilon", type=float, default=0.1)
    words.add_argument("--steps", type=int, default=589_824)
    words.add_argument("--rival-steps", type=int, default=0)
    words.add_argument("--worth", type=int, default=6000, help="steps to learn what actions are worth")
    words.add_argument("--episodes", type=int, default=64)
    words.add_argument("--only-train", action="store_true")
    given = words.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    eps, crowd = given.epsilon, WORLD.format(", learners=8")
    ways = {"ppo": (f"ppo({BASE})", 1)}
    for kappa in given.kappas:
        ways[f"sa-ppo-{kappa:g}"] = (f"ppo({BASE}, kappa={kappa}, epsilon={eps})", 1)
    ways["atla"] = (f"atla(learner=ppo({BASE}), rival=ppo({BASE}), epsilon={eps})", 2)  # its steps are those of both
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for seed in range(given.first, given.first + given.seeds):
        for name, (algo, times) in ways.items():
            run = trained(given.out / f"{name}-{seed}", crowd, algo, times * given.steps, seed)
            print(name, seed, (run / "seconds.json").read_text(), flush=True)
            if given.only_train:
                continue
            rival = None
            if given.rival_steps:
                rival = trained(
                    given.out / f"rival-{eps:g}-{name}-{seed}", f"deceiving(run={str(run)!r}, epsilon={eps})",
                    f"ppo({BASE})", given.rival_steps, seed + 1000,
                )  # fmt: skip
            kept = run / f"attacked-{eps:g}-{given.worth}-{given.episodes}-{given.rival_steps}.json"
            if not kept.exists():
                told = last(deceive(
                    run, ["pgd(steps=10)"], [f"linf({eps})"], adversary=rival, worth=given.worth, env=WORLD.format(""),
                    checkpoint="last", episodes=given.episodes, seed=seed,
                ))  # fmt: skip
                row = {key: told[0][key]["mean_return"] for key in ("clean", "noise")}
                row |= {one["attack"].split("(")[0]: one["attacked"]["mean_return"] for one in told}
                kept.write_text(json.dumps(row))
            rows[name].append(json.loads(kept.read_text()))
            print(name, seed, json.dumps(rows[name][-1]), flush=True)
    for name, found in rows.items():
        if found:
            worst = [min(value for key, value in row.items() if key not in ("clean", "noise")) for row in found]
            medians = {key: float(np.median([row[key] for row in found])) for key in found[0]}
            print(f"{name}: medians of {len(found)} seeds {medians}, strongest {np.median(worst):.2f} ({worst})")


if __name__ == "__main__":
    main()
