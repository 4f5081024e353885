"""Each attack beside every peer that has it: CPU time, passes for each image, and what was found, in one run.

    python benchmarks/attack_speed.py --root DATA            # DATA holds cifar-10-batches-py
    python benchmarks/attack_speed.py                        # without it: the embedded digits
    python benchmarks/attack_speed.py --only pgd fab cw      # some rows alone

Two models are made first with `stalwart.train`: one plainly trained, one adversarially. Each library then attacks the
same images in the same batches with the same number of steps, in turns (A B C D, A B C D, ...), on one thread, and the
median of the turns is printed. Passes are counted by a wrapper around the model, not by the libraries. All are judged
alike in fp32: attacks within ε by the accuracy left on their images, rounded to 8 bits and cut to the threat; attacks
for the smallest change by the median size over all images that were right, a failure counting as infinite. Ours
judges within its time; for the others the time of the clean verdict and of that judging stands beside theirs, and the
ratio is of the sums. A library that is not installed, or that fails, says so in its
row. The peers: pip install "stalwart[bench]", and without their companions pip install --no-deps torchattacks adv-lib.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import platform
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _passes import Counted
from torch import Tensor, nn

import stalwart
from stalwart.core import balls, catalog
from stalwart.feed.split import open_splits
from stalwart.run._judge import settle

Attack = Callable[[Tensor, Tensor], Tensor]
WIDE = {0: "l0(100000)", 1: "l1(100000)", 2: "l2(1000)", np.inf: "linf(1)"}


@dataclass
class Bench:
    """A model, and every library's attacks as functions of a whole set of images."""

    model: Counted
    epsilon: float
    """Of rows under L∞; rows under L2 take `radius`."""
    radius: float
    batch: int
    shape: tuple[int, ...]
    classes: int

    def stalwart(self, spelling: str, threat: str) -> Attack:
        exact = {"bits": None} if threat in WIDE.values() else {}
        return lambda x, y: stalwart.attack(self.model, x, y, spelling, threat, batch=self.batch, **exact).adversarial

    def foolbox(self, name: str, epsilon: float | None = None, **options: Any) -> Attack:
        foolbox = importlib.import_module("foolbox")
        bounded = foolbox.PyTorchModel(self.model, bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(**options)
        return self._batched(lambda x, y: attack(bounded, x, y, epsilons=epsilon)[1])

    def torchattacks(self, name: str, **options: Any) -> Attack:
        attack = getattr(importlib.import_module("torchattacks"), name)(self.model, **options)
        return self._batched(lambda x, y: attack(x, y))

    def torchattacks_searched(self, name: str, constants: tuple[float, ...], **options: Any) -> Attack:
        """The attack with each constant in turn, as one must who wants small changes; each image's smallest."""
        tries = [self.torchattacks(name, c=constant, **options) for constant in constants]

        def smallest(x: Tensor, y: Tensor) -> Tensor:
            best, size = x.clone(), torch.full((len(x),), torch.inf)
            for attack in tries:
                found = attack(x, y).detach()
                with torch.no_grad():
                    wrong = self.model(found).argmax(1) != y
                now = torch.where(wrong, balls.norm(found - x, 2), torch.inf)
                less = now < size
                best[less], size[less] = found[less], now[less]
            return best

        return self._batched(smallest)

    def advlib(self, name: str, **options: Any) -> Attack:
        if (
            "visdom" not in sys.modules and importlib.util.find_spec("visdom") is None
        ):  # it plots with it, and imports it whether it plots or not
            sys.modules["visdom"] = types.ModuleType("visdom")
            sys.modules["visdom"].Visdom = object  # type: ignore[attr-defined]
        attack = getattr(importlib.import_module("adv_lib.attacks"), name)
        return self._batched(lambda x, y: attack(self.model, x, y, **options))

    def art(self, name: str, **options: Any) -> Attack:
        evasion = importlib.import_module("art.attacks.evasion")
        classifier = importlib.import_module("art.estimators.classification").PyTorchClassifier(
            _Single(self.model),
            nn.CrossEntropyLoss(),
            self.shape,
            self.classes,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        told = {} if name == "FastGradientMethod" else {"verbose": False}
        attack = getattr(evasion, name)(classifier, batch_size=self.batch, **told, **options)
        one_hot = np.eye(self.classes, dtype=np.float32)
        return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), one_hot[y.numpy()]))

    def _batched(self, one: Attack) -> Attack:
        return lambda x, y: torch.cat(
            [one(a, b) for a, b in zip(x.split(self.batch), y.split(self.batch), strict=True)]
        )


class _Single(nn.Module):
    """The model, which takes float64 too: some of ART's attacks hand that over."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x.float())
        return logits


@dataclass(frozen=True)
class Row:
    """One attack and its peers."""

    ours: str
    """As spelled."""
    peers: dict[str, Callable[[Bench], Attack]] = field(default_factory=dict)
    p: float = np.inf
    """The norm."""
    least: bool = False
    """It looks for the smallest change."""


ROWS = {
    "fgsm": Row("fgsm()", {
        "torchattacks": lambda b: b.torchattacks("FGSM", eps=b.epsilon),
        "foolbox": lambda b: b.foolbox("LinfFastGradientAttack", b.epsilon),
        "art": lambda b: b.art("FastGradientMethod", eps=b.epsilon),
    }),
    "fgm": Row("fgm()", {
        "foolbox": lambda b: b.foolbox("L2FastGradientAttack", b.radius),
        "art": lambda b: b.art("FastGradientMethod", eps=b.radius, norm=2),
    }, p=2),
    "bim": Row("bim(steps=10)", {
        "torchattacks": lambda b: b.torchattacks("BIM", eps=b.epsilon, alpha=b.epsilon / 10, steps=10),
        "foolbox": lambda b: b.foolbox("LinfBasicIterativeAttack", b.epsilon, rel_stepsize=0.1, steps=10),
        "art": lambda b: b.art("BasicIterativeMethod", eps=b.epsilon, eps_step=b.epsilon / 10, max_iter=10),
    }),
    "pgd": Row("pgd(steps=10, step=0.25)", {
        "torchattacks": lambda b: b.torchattacks("PGD", eps=b.epsilon, alpha=b.epsilon / 4, steps=10),
        "foolbox": lambda b: b.foolbox("LinfPGD", b.epsilon, rel_stepsize=0.25, steps=10),
        "art": lambda b: b.art(
            "ProjectedGradientDescent", eps=b.epsilon, eps_step=b.epsilon / 4, max_iter=10, num_random_init=1
        ),
        "adv-lib": lambda b: b.advlib("pgd_linf", ε=b.epsilon, steps=10, relative_step_size=0.25),
    }),
    "pgd_l2": Row("pgd(steps=10, step=0.25)", {
        "torchattacks": lambda b: b.torchattacks("PGDL2", eps=b.radius, alpha=b.radius / 4, steps=10),
        "foolbox": lambda b: b.foolbox("L2PGD", b.radius, rel_stepsize=0.25, steps=10),
        "art": lambda b: b.art(
            "ProjectedGradientDescent", norm=2, eps=b.radius, eps_step=b.radius / 4, max_iter=10, num_random_init=1
        ),
    }, p=2),
    "mifgsm": Row("mifgsm(steps=10)", {
        "torchattacks": lambda b: b.torchattacks("MIFGSM", eps=b.epsilon, alpha=b.epsilon / 10, steps=10),
        "art": lambda b: b.art("MomentumIterativeMethod", eps=b.epsilon, eps_step=b.epsilon / 10, max_iter=10),
    }),
    "difgsm": Row("difgsm(steps=10)", {
        "torchattacks": lambda b: b.torchattacks("DIFGSM", eps=b.epsilon, alpha=b.epsilon / 10, steps=10, decay=1.0),
    }),
    "tifgsm": Row("tifgsm(steps=10, kernel=3)", {
        "torchattacks": lambda b: b.torchattacks(
            "TIFGSM", eps=b.epsilon, alpha=b.epsilon / 10, steps=10, decay=1.0, len_kernel=3, diversity_prob=0.0
        ),
    }),
    "nifgsm": Row("nifgsm(steps=10)", {
        "torchattacks": lambda b: b.torchattacks("NIFGSM", eps=b.epsilon, alpha=b.epsilon / 10, steps=10),
    }),
    "apgd": Row("apgd(steps=20)", {
        "torchattacks": lambda b: b.torchattacks("APGD", eps=b.epsilon, steps=20),
        "art": lambda b: b.art(
            "AutoProjectedGradientDescent", eps=b.epsilon, eps_step=2 * b.epsilon, max_iter=20, nb_random_init=1,
            loss_type="cross_entropy",
        ),
        "adv-lib": lambda b: b.advlib("apgd", eps=b.epsilon, norm=np.inf, n_iter=20, loss_function="ce"),
    }),
    "apgd_l2": Row("apgd(steps=20)", {
        "torchattacks": lambda b: b.torchattacks("APGD", norm="L2", eps=b.radius, steps=20),
        "adv-lib": lambda b: b.advlib("apgd", eps=b.radius, norm=2, n_iter=20, loss_function="ce"),
    }, p=2),
    "apgd_targeted": Row("apgd(steps=20, loss='dlr', targets=9)", {
        "torchattacks": lambda b: b.torchattacks("APGDT", eps=b.epsilon, steps=20, n_classes=b.classes),
        "adv-lib": lambda b: b.advlib("apgd_targeted", eps=b.epsilon, norm=np.inf, n_iter=20),
    }),
    "spsa": Row("spsa(steps=10, pairs=32)", {
        "torchattacks": lambda b: b.torchattacks("SPSA", eps=b.epsilon, lr=b.epsilon / 10, nb_iter=10, nb_sample=32),
    }),
    "universal": Row("universal(steps=60)", {
        "art": lambda b: b.art("UniversalPerturbation", eps=b.epsilon, max_iter=1, attacker_params={"max_iter": 10}),
    }),
    "square_l2": Row("square(queries=100)", {
        "torchattacks": lambda b: b.torchattacks("Square", norm="L2", eps=b.radius, n_queries=100),
        "art": lambda b: b.art("SquareAttack", norm=2, eps=b.radius, max_iter=100),
    }, p=2),
    "square": Row("square(queries=100)", {
        "torchattacks": lambda b: b.torchattacks("Square", eps=b.epsilon, n_queries=100),
        "art": lambda b: b.art("SquareAttack", eps=b.epsilon, max_iter=100),
    }),
    "cw": Row("cw()", {  # 9 searches of 20 steps, as all here
        "torchattacks": lambda b: b.torchattacks("CW", steps=180),
        "foolbox": lambda b: b.foolbox("L2CarliniWagnerAttack", binary_search_steps=9, steps=20),
        "art": lambda b: b.art("CarliniL2Method", binary_search_steps=9, max_iter=20),
        "adv-lib": lambda b: b.advlib("carlini_wagner_l2", binary_search_steps=9, max_iterations=20),
    }, p=2, least=True),
    "cw_short": Row("cw(searches=1, steps=8, rivals=3)", {  # beside the peer that stops early
        "torchattacks": lambda b: b.torchattacks("CW", steps=180),
    }, p=2, least=True),
    "cw_equal": Row("cw(searches=3, steps=5, rivals=3)", {  # until that peer's changes are as small
        "torchattacks": lambda b: b.torchattacks_searched("CW", (0.01, 0.03, 0.1, 0.3, 1.0), steps=180),
    }, p=2, least=True),
    "cw_linf": Row("cw()", {
        "adv-lib": lambda b: b.advlib("carlini_wagner_linf", max_iterations=20),
        "art": lambda b: b.art("CarliniLInfMethod", max_iter=20),
    }, least=True),
    "cw_l0": Row("cw()", {
        "art": lambda b: b.art("CarliniL0Method", binary_search_steps=3, max_iter=10),
    }, p=0, least=True),
    "deepfool": Row("deepfool(steps=50)", {
        "torchattacks": lambda b: b.torchattacks("DeepFool", steps=50),
        "foolbox": lambda b: b.foolbox("L2DeepFoolAttack", steps=50),
        "art": lambda b: b.art("DeepFool", max_iter=50, epsilon=0.02),
        "adv-lib": lambda b: b.advlib("df", steps=50),
    }, p=2, least=True),
    "fab": Row("fab(steps=20)", {
        "torchattacks": lambda b: b.torchattacks("FAB", norm="Linf", eps=1.0, steps=20, n_classes=b.classes),
        "adv-lib": lambda b: b.advlib("fab", norm=np.inf, n_iter=20),
    }, least=True),
    "fab_l2": Row("fab(steps=20)", {
        "torchattacks": lambda b: b.torchattacks("FAB", norm="L2", eps=1e3, steps=20, n_classes=b.classes),
        "adv-lib": lambda b: b.advlib("fab", norm=2, n_iter=20),
    }, p=2, least=True),
    "ddn": Row("ddn(steps=50)", {
        "foolbox": lambda b: b.foolbox("DDNAttack", steps=50),
        "adv-lib": lambda b: b.advlib("ddn", steps=50, levels=None),
    }, p=2, least=True),
    "fmn_l0": Row("fmn(steps=50)", {
        "foolbox": lambda b: b.foolbox("L0FMNAttack", steps=50),
        "adv-lib": lambda b: b.advlib("fmn", norm=0, steps=50),
    }, p=0, least=True),
    "fmn_l1": Row("fmn(steps=50)", {
        "foolbox": lambda b: b.foolbox("L1FMNAttack", steps=50),
        "adv-lib": lambda b: b.advlib("fmn", norm=1, steps=50),
    }, p=1, least=True),
    "fmn_l2": Row("fmn(steps=50)", {
        "foolbox": lambda b: b.foolbox("L2FMNAttack", steps=50),
        "adv-lib": lambda b: b.advlib("fmn", norm=2, steps=50),
    }, p=2, least=True),
    "fmn": Row("fmn(steps=50)", {
        "foolbox": lambda b: b.foolbox("LInfFMNAttack", steps=50),
        "adv-lib": lambda b: b.advlib("fmn", norm=np.inf, steps=50),
    }, least=True),
    "boundary": Row("boundary(queries=1000)", {  # each library's own way to count: passes say what it came to
        "foolbox": lambda b: b.foolbox("BoundaryAttack", steps=800),
        "art": lambda b: b.art("BoundaryAttack", targeted=False, max_iter=20, num_trial=10),
    }, p=2, least=True),
    "hopskipjump": Row("hopskipjump(queries=1000)", {
        "foolbox": lambda b: b.foolbox("HopSkipJumpAttack", steps=5),
        "art": lambda b: b.art("HopSkipJump", max_iter=5),
    }, p=2, least=True),
    "hopskipjump_linf": Row("hopskipjump(queries=1000)", {
        "foolbox": lambda b: b.foolbox("HopSkipJumpAttack", steps=5, constraint="linf"),
        "art": lambda b: b.art("HopSkipJump", norm=np.inf, max_iter=5),
    }, least=True),
}  # fmt: skip


@dataclass
class Measured:
    """One library at one row."""

    seconds: list[float] = field(default_factory=list)
    judging: list[float] = field(default_factory=list)
    """The same for the verdicts on the clean images and on those found, which ours gives by itself."""
    forwards: float = 0.0
    backwards: float = 0.0
    found: float = 0.0
    """Robust accuracy, or the median size."""
    succeeded: float = 0.0
    failed: str = ""


def judged(net: nn.Module, row: Row, bench: Bench, x: Tensor, adversarial: Tensor, y: Tensor) -> tuple[float, float]:
    """(robust accuracy or median size, share of the images that were right and are not any more)."""
    with torch.no_grad():
        right = net(x).argmax(1) == y
        if row.least:
            wrong = net(adversarial).argmax(1) != y
            size = balls.norm(adversarial - x, row.p)
            size[~wrong] = torch.inf
            return float(size[right].median()), float(wrong[right].float().mean())
        threat = catalog.make(f"l2({bench.radius})" if row.p == 2 else f"linf({bench.epsilon})", "threats")
        stands = net(settle(adversarial, x, threat, 8)).argmax(1) == y
        return float(stands.float().mean()), float((~stands)[right].float().mean())


def measure(net: nn.Module, row: Row, bench: Bench, x: Tensor, y: Tensor, turns: int) -> dict[str, Measured]:
    around = WIDE[row.p] if row.least else f"l2({bench.radius})" if row.p == 2 else f"linf({bench.epsilon})"
    makers: dict[str, Callable[[Bench], Attack]] = {"stalwart": lambda b: b.stalwart(row.ours, around), **row.peers}
    results, attacks = {library: Measured() for library in makers}, {}
    for library, maker in makers.items():
        try:
            attacks[library] = maker(bench)
            _quietly(attacks[library], x[:4], y[:4])  # warms up
        except ImportError as error:
            results[library].failed = f"not installed ({error.name or error})"
        except Exception as error:
            results[library].failed = f"fails: {type(error).__name__}: {str(error)[:60]}"
    for _ in range(turns):
        for library, attack in attacks.items():
            result = results[library]
            if result.failed:
                continue
            bench.model.forwards = bench.model.backwards = 0
            begun = time.process_time()
            try:
                adversarial = _quietly(attack, x, y)
            except Exception as error:
                result.failed = f"fails: {type(error).__name__}: {str(error)[:60]}"
                continue
            result.seconds.append(time.process_time() - begun)
            result.forwards, result.backwards = bench.model.forwards / len(x), bench.model.backwards / len(x)
            begun = time.process_time()
            result.found, result.succeeded = judged(net, row, bench, x, adversarial.detach().float(), y)
            result.judging.append(0.0 if library == "stalwart" else time.process_time() - begun)
            net.zero_grad(set_to_none=True)
    return results


def _quietly(attack: Attack, x: Tensor, y: Tensor) -> Tensor:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attack(x.clone(), y.clone())


def bare_loop(model: nn.Module, x: Tensor, y: Tensor, batch: int) -> float:
    """Seconds of ten forward and input-gradient passes with nothing around them: the floor of a full PGD."""
    begun = time.process_time()
    for images, labels in zip(x.split(batch), y.split(batch), strict=True):
        images = images.clone().requires_grad_()
        for _ in range(10):
            torch.autograd.grad(nn.functional.cross_entropy(model(images), labels, reduction="sum"), images)
    return time.process_time() - begun


MUON = "muon(lr=0.24, bias_lr=26.5, head_lr=335, decay=0.001)"


def train(data: str, model: str, objective: str, epochs: int, folder: Path) -> nn.Module:
    settings = stalwart.Training(
        epochs=epochs,
        batch=500,
        optimizer=MUON,
        schedule="triangle(peak=0)",
        augments=("crop(2)", "altflip()"),
        val=0.02,
    )
    if data == "digits()":
        settings = stalwart.Training(epochs=epochs, batch=64, augments=("crop(1)",))
    for event in stalwart.train(data, model, objective=objective, settings=settings, out=folder):
        if event.kind == "epoch":
            print(
                f"  {objective}: epoch {event.values['epoch']} of {epochs}, val {event.values['val_top1']:.3f}",
                flush=True,
            )
    return stalwart.load(folder / "last")


def show(name: str, row: Row, results: dict[str, Measured]) -> list[dict[str, Any]]:
    """Print a row's lines, and give them as records."""
    ours = statistics.median(results["stalwart"].seconds)
    what = "median size" if row.least else "robust acc."
    print(f"\n{name}: {row.ours}, L{row.p:g}")
    print(f"{'':14}{'CPU s':>9}{'judging':>9}{'ratio':>8}{'forwards':>10}{'backwards':>11}{what:>13}{'success':>10}")
    records = []
    for library, result in results.items():
        record: dict[str, Any] = {"row": name, "library": library}
        if result.failed:
            print(f"{library:14} {result.failed}")
            records.append(record | {"failed": result.failed})
            continue
        seconds, judging = statistics.median(result.seconds), statistics.median(result.judging)
        print(
            f"{library:14}{seconds:9.3f}{judging:9.3f}{(seconds + judging) / ours:8.2f}"
            f"{result.forwards:10.2f}{result.backwards:11.2f}{result.found:13.4f}{result.succeeded:10.3f}",
            flush=True,
        )
        records.append(
            record
            | {"seconds": seconds, "judging": judging, "forwards": result.forwards, "backwards": result.backwards}
            | {"found": result.found, "success": result.succeeded}
        )
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with cifar-10-batches-py; without it the embedded digits are used")
    parser.add_argument("--model", default=None, help="architecture, as spelled on the command line")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of training for each of the two models")
    parser.add_argument("--runs", nargs=2, type=Path, metavar=("PLAIN", "HARDENED"), help="take these trained runs")
    parser.add_argument("--on", nargs="+", choices=("plain", "hardened"), default=("plain", "hardened"))
    parser.add_argument("--only", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), metavar="ROW", help="these rows")
    parser.add_argument("--n", type=int, default=128, help="test images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the rows there")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    data = f"cifar10(root={arguments.root!r})" if arguments.root else "digits()"
    model_name = arguments.model or ("fastnet()" if arguments.root else "convnet()")
    epochs = arguments.epochs or (1 if arguments.root else 15)
    epsilon, radius = (8 / 255, 0.5) if arguments.root else (0.1, 0.7)
    test = open_splits(catalog.make(data, "data")).test
    samples = [test[i] for i in range(min(arguments.n, len(test)))]
    x = torch.stack([sample.image for sample in samples]).float() / 255
    y = torch.tensor([sample.target for sample in samples])
    print(f"{data}, n={len(x)}, batch {arguments.batch}, ε={epsilon:.4f} (L2 {radius}), {arguments.turns} turns")
    print(f"torch {torch.__version__}, one thread, {platform.processor() or platform.machine()}")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, objective in (("plain", "clean()"), ("hardened", f"fast(threat=linf({epsilon}))")):
            if name not in arguments.on:
                continue
            if arguments.runs:
                net = stalwart.load(arguments.runs[name == "hardened"] / "last")
            else:
                net = train(data, model_name, objective, epochs, Path(folder) / name)
            bench = Bench(
                Counted(net).eval(), epsilon, radius, arguments.batch, tuple(x.shape[1:]), len(test.info.classes)
            )
            for parameter in net.parameters():
                parameter.requires_grad_(True)
            with torch.no_grad():
                clean = float((net(x).argmax(1) == y).float().mean())
            floor = bare_loop(net, x, y, arguments.batch)
            print(f"\n{name} model, clean accuracy {clean:.3f}; ten bare forward and backward passes: {floor:.3f} s")
            for key in arguments.only:
                results = measure(net, ROWS[key], bench, x, y, arguments.turns)
                rows += [{"model": name, **record} for record in show(key, ROWS[key], results)]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
