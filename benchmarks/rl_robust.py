"""Policies that stand changed observations, in the driving world: PPO, SA-PPO and ATLA under the strongest attack.

    python benchmarks/rl_robust.py --out runs/robust [--seeds 5] [--kappas 0.3 1.0 3.0] [--shares 0.25 0.5]

Each policy is trained with as many steps of its own, and then played untouched, under noise, and under each attack, on
the same 64 episodes: the action furthest from its own, the one worth least by SARSA and robust SARSA, and a rival that
is trained anew on the finished policy. The strongest attack of a policy is the one that leaves it the lowest return. κ
of SA-PPO and the share of ATLA's rival are those with the highest mean return under such a rival on other seeds.
Run folders stay in --out, so the same command goes on where it was broken off.
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


def rows_of(given: argparse.Namespace, name: str, algo: str, times: float, seed: int, worth: int) -> dict[str, Any]:
    """What a policy's return comes to, untouched and under each attack; without `worth` under the rival alone."""
    eps, alone = given.epsilon, WORLD.format("")
    run = trained(given.out / f"{name}-{seed}", WORLD.format(", learners=8"), algo, round(times * given.steps), seed)
    rival = trained(
        given.out / f"rival-{name}-{seed}", f"deceiving(run={str(run)!r}, epsilon={eps}, climbs={given.climbs})",
        f"ppo({BASE})", given.rival_steps, seed + 1000,
    )  # fmt: skip
    kept = run / f"attacked-{worth}-{given.episodes}.json"
    if not kept.exists():
        begun = time.process_time()
        told = last(deceive(
            run, ["pgd(steps=10)"] if worth else [], [f"linf({eps})"], adversary=rival, worth=worth, env=alone,
            checkpoint="last", episodes=given.episodes, seed=seed,
        ))  # fmt: skip
        row = {key: told[0][key]["mean_return"] for key in ("clean", "noise")}
        row |= {one["attack"].split("(")[0]: one["attacked"]["mean_return"] for one in told}
        row["attack_cpu_s"] = time.process_time() - begun
        row["cpu_s"] = json.loads((run / "seconds.json").read_text())["cpu_s"]
        kept.write_text(json.dumps(row))
    found: dict[str, Any] = json.loads(kept.read_text())
    print(name, seed, json.dumps({key: round(value, 2) for key, value in found.items()}), flush=True)
    return found


def strongest(row: dict[str, Any]) -> float:
    return float(min(value for key, value in row.items() if key not in ("clean", "noise") and "cpu_s" not in key))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--tuning", type=int, nargs="*", default=[100, 101], help="seeds to choose settings on")
    words.add_argument("--kappas", type=float, nargs="+", default=[0.3, 1.0, 3.0], help="of SA-PPO")
    words.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5], help="of ATLA's rival")
    words.add_argument("--epsilon", type=float, default=0.1)
    words.add_argument("--steps", type=int, default=589_824)
    words.add_argument("--rival-steps", type=int, default=393_216)
    words.add_argument("--climbs", type=int, default=3, help="of rivals, ATLA's too; 0: they decide the changes")
    words.add_argument("--worth", type=int, default=20_000, help="steps to learn what actions are worth")
    words.add_argument("--episodes", type=int, default=64)
    given = words.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    eps, base = given.epsilon, f"ppo({BASE})"
    families: dict[str, dict[str, tuple[str, float]]] = {
        "ppo": {"ppo": (base, 1)},
        "sa-ppo": {f"sa-ppo-{k:g}": (f"ppo({BASE}, kappa={k}, epsilon={eps})", 1) for k in given.kappas},
        "atla": {  # as many steps of the policy as PPO has, and its rival's besides
            f"atla-{share:g}": (
                f"atla(learner={base}, rival={base}, epsilon={eps}, share={share}, climbs={given.climbs})",
                1 / (1 - share),
            )
            for share in given.shares
        },
    }  # fmt: skip
    chosen = {}
    for family, ways in families.items():
        means = dict.fromkeys(ways, 0.0)
        if len(ways) > 1:
            for seed in given.tuning:
                for name, (algo, times) in ways.items():
                    means[name] += strongest(rows_of(given, name, algo, times, seed, 0)) / len(given.tuning)
            print(f"{family}: {means}", flush=True)
        best = max(means, key=lambda name: means[name])
        chosen[best] = ways[best]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for seed in range(given.seeds):
        for name, (algo, times) in chosen.items():
            rows[name].append(rows_of(given, name, algo, times, seed, given.worth))
    for name, found in rows.items():
        worst = [round(strongest(row), 2) for row in found]
        medians = {key: round(float(np.median([row[key] for row in found])), 2) for key in found[0]}
        print(f"{name}: medians of {len(found)} seeds {medians}, strongest {np.median(worst):.2f} ({worst})")


if __name__ == "__main__":
    main()
