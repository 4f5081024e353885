"""AutoAttack's standard version against independent implementations of its parts, and swift against AutoAttack.

    python benchmarks/autoattack.py                            # the embedded digits
    python benchmarks/autoattack.py --root DATA --n 128        # DATA holds cifar-10-batches-py
    python benchmarks/autoattack.py --quick                    # without the peers

The peers' AutoAttack is put together from adv-lib's APGD and targeted APGD, and torchattacks' FAB and Square, with the
official budgets in the official order, each on the survivors of the one before: 100 steps; 100 steps towards each of 9
rivals; FAB's 100 steps towards each of 9; 5,000 queries on the course of 10,000. `--version plus` and `rand` put
together those versions; under L1 the standard one is that of five starts and five rivals, with adv-lib's FAB and no
Square, as torchattacks has neither there. `rand` attacks the net behind random noise, and an image counts as fallen if
most of 50 passes are wrong. Robust accuracies are of float images (`bits=None`), as the peers know no rounding; an
image counts for a peer if the model fails on it within ε (1 + 1e-4).
Passes are counted by a wrapper around the model, per image of the set; seconds are CPU seconds of this process.

adv-lib: `pip install --no-deps adv-lib`. It imports visdom, which it does not need here; an empty module stands in.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _passes import Counted
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.rng import Noise
from stalwart.feed.split import open_splits

MUON = "muon(lr=0.24, bias_lr=26.5, head_lr=335, decay=0.001)"


TRIED = {
    "digits-plain": [("linf", 0.06), ("l2", 0.5)],
    "digits-hardened": [("linf", 0.15), ("l2", 0.8), ("l1", 1.5)],
    "cifar-plain": [("linf", 1 / 255), ("l2", 0.1)],
    "cifar-hardened": [("linf", 8 / 255), ("l2", 0.5)],
}
"""Threats at which a part of the images stands: where all fall, or none, any two attacks agree."""


def train(data: str, model: str, objective: str, epochs: int, folder: Path) -> nn.Module:
    if data == "digits()":
        settings = stalwart.Training(epochs=epochs, batch=64, augments=("crop(1)",))
    else:
        settings = stalwart.Training(
            epochs=epochs,
            batch=500,
            optimizer=MUON,
            schedule="triangle(peak=0)",
            augments=("crop(2)", "altflip()"),
            val=0.02,
        )
    for _ in stalwart.train(data, model, objective=objective, settings=settings, out=folder):
        pass
    return stalwart.load(folder / "last")


def pictures(data: str, n: int) -> tuple[Tensor, Tensor]:
    """`n` images, of the test split first; of digits there are too few, and some of training make up the number."""
    splits = open_splits(catalog.make(data, "data"))
    examples = [split for split in (splits.test, splits.val, splits.train) if split is not None]
    samples = [split[i] for split in examples for i in range(min(len(split), n))][:n]
    x = torch.stack([sample.image for sample in samples]).float() / 255
    return x, torch.tensor([sample.target for sample in samples])


VOTES, NOISE = 50, 0.1
"""Passes that are asked of a random net, and the deviation of the noise before it."""


class Noisy(nn.Module):
    """A net behind Gaussian noise, which every pass draws anew."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images + NOISE * torch.randn_like(images))
        return logits


@torch.no_grad()
def right(model: nn.Module, images: Tensor, labels: Tensor, votes: int) -> Tensor:
    """(B,) bool: whether most of so many passes are right."""
    return torch.stack([model(images).argmax(1) == labels for _ in range(votes)]).float().mean(0) > 0.5


Peer = Callable[[Tensor, Tensor], Tensor]


def peers(model: nn.Module, norm: str, epsilon: float, seed: int, version: str) -> dict[str, Peer]:
    """The parts, each a function of images that still stand and their labels."""
    stand_in = types.ModuleType("visdom")
    stand_in.Visdom = object  # type: ignore[attr-defined]
    sys.modules.setdefault("visdom", stand_in)
    import torchattacks
    from adv_lib.attacks import apgd, apgd_targeted
    from adv_lib.attacks import fab as smallest

    p = {"linf": math.inf, "l2": 2.0, "l1": 1.0}[norm]
    whole = {"eps": epsilon, "norm": p, "n_iter": 100, "use_large_reps": norm == "l1"}

    def climb(loss: str, restarts: int = 1, passes: int = 1) -> Peer:
        return lambda x, y: apgd(model, x, y, n_restarts=restarts, loss_function=loss, eot_iter=passes, **whole)

    if version == "rand":
        return {"apgd-ce eot": climb("ce", passes=20), "apgd-dlr eot": climb("dlr", passes=20)}
    named = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    fab = {"norm": named, "eps": epsilon, "steps": 100, "n_classes": 10, "seed": seed}
    rivals = 5 if norm == "l1" else 9

    def towards(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = apgd_targeted(model, x, y, loss_function="dlr", num_targets=rivals, **whole)
        return found

    if norm == "l1":  # torchattacks' FAB takes it and then fails

        def near(x: Tensor, y: Tensor) -> Tensor:
            found: Tensor = smallest(model, x, y, norm=p, n_iter=100, restarts=9, targeted_restarts=True)
            return found

        return {"apgd-ce x5": climb("ce", 5), "apgd-t of 5": towards, "fab-t": near}
    targeted = torchattacks.FAB(model, multi_targeted=True, **fab)
    square = torchattacks.Square(model, norm=named, eps=epsilon, n_queries=5000, resc_schedule=False, seed=seed)
    if version == "standard":
        return {"apgd-ce": climb("ce"), "apgd-t": towards, "fab-t": targeted, "square": square}
    return {
        "apgd-ce x5": climb("ce", 5),
        "apgd-dlr x5": climb("dlr", 5),
        "fab x5": torchattacks.FAB(model, n_restarts=5, **fab),
        "square": square,
        "apgd-t": towards,
        "fab-t": targeted,
    }


def of_peers(
    model: Counted, x: Tensor, y: Tensor, norm: str, epsilon: float, seed: int, version: str, votes: int
) -> dict[str, Any]:
    model.forwards = model.backwards = 0
    begun = time.process_time()
    stands = right(model, x, y, votes)
    stages = []
    size = catalog.make(f"{norm}({epsilon})", "threats").size
    for name, attack in peers(model, norm, epsilon, seed, version).items():
        live = stands.nonzero().squeeze(1)
        if not len(live):
            break
        before = model.forwards, model.backwards
        torch.manual_seed(seed)
        found = attack(x[live], y[live]).detach()
        wrong = ~right(model, found, y[live], votes)
        inside = (size(found, x[live]) <= epsilon * (1 + 1e-4) + 1e-6) & (found >= 0).flatten(1).all(1)
        stands[live[wrong & inside & (found <= 1).flatten(1).all(1)]] = False
        stages.append([name, len(live), len(live) - int(stands.sum()), model.forwards - before[0]])
        model.zero_grad(set_to_none=True)
    return row("peers", stands, model, time.process_time() - begun, stages)


def of_ours(
    attack: str, model: Counted, x: Tensor, y: Tensor, norm: str, epsilon: float, seed: int, votes: int
) -> dict[str, Any]:
    model.forwards = model.backwards = 0
    begun = time.process_time()
    stages: list[list[Any]] = []
    if votes == 1:
        result = stalwart.attack(model, x, y, attack, f"{norm}({epsilon})", bits=None, batch=500, seed=seed)
        stages = [[stage.name, stage.attacked, stage.fell, stage.forwards] for stage in result.stages]
        stands = ~result.reached
    else:  # the runner believes one pass; of a random net the votes alone judge here, as they judge the peers
        torch.manual_seed(seed)
        stands = right(model, x, y, votes)
        live = stands.nonzero().squeeze(1)
        goal = catalog.make("classification()", "tasks").goal(model, y[live])
        solver, threat = catalog.make(attack, "attacks"), catalog.make(f"{norm}({epsilon})", "threats")
        found = threat.project(solver(x[live], goal, threat, Noise.of_images(x[live], seed)), x[live])
        stands[live] = right(model, found, y[live], votes)
    return row(attack, stands, model, time.process_time() - begun, stages)


def row(name: str, stands: Tensor, model: Counted, seconds: float, stages: list[list[Any]]) -> dict[str, Any]:
    n = len(stands)
    return {
        "attack": name,
        "n": n,
        "robust": int(stands.sum()),
        "forwards": model.forwards / n,
        "backwards": model.backwards / n,
        "seconds": seconds,
        "stages": stages,
        "stands": stands.nonzero().squeeze(1).tolist(),
    }


def compare(runs: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    """A line for each attack: what stands, what differs from the whole ensemble, and the passes."""
    for run in runs:
        more = len(set(run["stands"]) - set(whole["stands"]))
        fewer = len(set(whole["stands"]) - set(run["stands"]))
        print(
            f"{run['attack']:34} {run['robust'] / run['n']:7.2%} stand; against {whole['attack']} +{more} −{fewer}; "
            f"{run['forwards']:8.1f} forwards ({run['forwards'] / whole['forwards']:.3f}), "
            f"{run['backwards']:7.1f} backwards ({run['backwards'] / whole['backwards']:.3f}), "
            f"{run['seconds']:.1f} CPU s; {run['stages']}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with cifar-10-batches-py; without it the embedded digits are used")
    parser.add_argument("--n", type=int, default=250, help="images")
    parser.add_argument("--nets", nargs="+", choices=("plain", "hardened"), default=["hardened", "plain"])
    parser.add_argument("--norms", nargs="+", choices=("linf", "l2", "l1"), default=["linf", "l2"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the attacks, all of them for each net")
    parser.add_argument("--model", help="architecture, as spelled on the command line")
    parser.add_argument("--run", type=Path, help="attack this run's last checkpoint, as the hardened net")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of training")
    parser.add_argument("--quick", action="store_true", help="without the peers")
    parser.add_argument("--version", choices=("standard", "plus", "rand"), default="standard", help="of AutoAttack")
    parser.add_argument("--swift", nargs="*", default=["swift()"], help="spellings to set beside autoattack()")
    parser.add_argument("--keep", type=Path, help="folder for the trained nets; taken from there if they exist")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    arguments = parser.parse_args()
    cifar = arguments.root is not None
    data, name = (
        (f"cifar10(root={arguments.root!r})", "fastnet(widths=(32, 64, 128))") if cifar else ("digits()", "convnet()")
    )
    name = arguments.model or name
    epochs = arguments.epochs or (1 if cifar else 12)
    hard = "adversarial(pgd(steps=3, step=0.5), linf(8/255))" if cifar else "adversarial(pgd(steps=7), linf(0.2))"
    nets = {kind: hard if kind == "hardened" else "clean()" for kind in arguments.nets}
    exact = "autoattack()" if arguments.version == "standard" else f"autoattack({arguments.version!r})"
    votes = VOTES if arguments.version == "rand" else 1
    x, y = pictures(data, arguments.n)
    print(f"{data}, n = {len(x)}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, objective in nets.items():
            place = arguments.run or (arguments.keep or Path(folder)) / f"{'cifar' if cifar else 'digits'}-{kind}"
            made = (place / "last").exists()
            net = stalwart.load(place / "last") if made else train(data, name, objective, epochs, place)
            model = Counted(Noisy(net) if arguments.version == "rand" else net).eval()
            print(f"\n{kind}: {net.card['model']}, {net.card['objective']}, epoch {net.card['epoch']}")
            for norm, epsilon in TRIED[f"{'cifar' if cifar else 'digits'}-{kind}"]:
                if norm not in arguments.norms:
                    continue
                for seed in arguments.seeds:
                    print(f"\n{kind}, {norm} {epsilon:.4g}, seed {seed}")
                    attacks = (*arguments.swift, exact)
                    runs = [of_ours(each, model, x, y, norm, epsilon, seed, votes) for each in attacks]
                    if not arguments.quick:
                        runs.append(of_peers(model, x, y, norm, epsilon, seed, arguments.version, votes))
                    compare(runs, runs[len(arguments.swift)])
                    rows += [{"net": kind, "norm": norm, "epsilon": epsilon, "seed": seed, **run} for run in runs]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
