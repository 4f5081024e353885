"""PGD-10 under L∞ 8/255: wall time, passes per image and success, ours and three peers in one run.

    python benchmarks/attack_speed.py --root DATA            # DATA holds cifar-10-batches-py
    python benchmarks/attack_speed.py                        # without it: the embedded digits

Two models are made first with `stalwart.train`: one plainly trained, one adversarially. Each library then attacks the
same images in the same batches, in turns (A B C D, A B C D, ...), and the median of the turns is printed. Passes are
counted by a wrapper around the model, not by the libraries. Success is judged alike for all: by the model in fp32 on
the image rounded to 8 bits and cut to the threat. Ours includes that judging in its time, the others do not.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.feed.split import open_splits
from stalwart.run._judge import settle

STEPS = 10


class Counted(nn.Module):
    """The model, counting images forwards and gradients backwards."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.inner(x)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def peers(
    model: nn.Module, epsilon: float, batch: int, shape: tuple[int, ...], classes: int
) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Each library's PGD-10 with a random start and steps of ε/4, as a function of a whole set of images."""
    import foolbox
    import torchattacks
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    around = f"linf({epsilon})"

    def ours(x: Tensor, y: Tensor) -> Tensor:
        return stalwart.attack(model, x, y, f"pgd(steps={STEPS}, step=0.25)", around, batch=batch).adversarial

    def batched(one: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, y: torch.cat([one(a, b) for a, b in zip(x.split(batch), y.split(batch), strict=True)])

    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    fool = foolbox.attacks.LinfPGD(steps=STEPS, rel_stepsize=0.25)
    torch_pgd = torchattacks.PGD(model, eps=epsilon, alpha=epsilon / 4, steps=STEPS, random_start=True)
    art_model = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    art_pgd = ProjectedGradientDescent(
        art_model, eps=epsilon, eps_step=epsilon / 4, max_iter=STEPS, num_random_init=1, batch_size=batch, verbose=False
    )
    return {
        "stalwart": ours,
        "torchattacks": batched(lambda x, y: torch_pgd(x, y)),
        "foolbox": batched(lambda x, y: fool(bounded, x, y, epsilons=epsilon)[1]),
        "art": lambda x, y: torch.from_numpy(art_pgd.generate(x.numpy(), np.eye(classes, dtype=np.float32)[y.numpy()])),
    }


def judged(model: nn.Module, clean: Tensor, adversarial: Tensor, labels: Tensor, epsilon: float) -> float:
    """Robust accuracy at the images as they would be saved."""
    threat = catalog.make(f"linf({epsilon})", "threats")
    with torch.no_grad():
        return float((model(settle(adversarial, clean, threat, 8)).argmax(1) == labels).float().mean())


def bare_loop(model: nn.Module, x: Tensor, y: Tensor, batch: int) -> float:
    """Seconds of STEPS forward and input-gradient passes with nothing around them: the floor of a full PGD."""
    begun = time.perf_counter()
    for images, labels in zip(x.split(batch), y.split(batch), strict=True):
        images = images.clone().requires_grad_()
        for _ in range(STEPS):
            torch.autograd.grad(nn.functional.cross_entropy(model(images), labels, reduction="sum"), images)
    return time.perf_counter() - begun


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with cifar-10-batches-py; without it the embedded digits are used")
    parser.add_argument("--model", default=None, help="architecture, as spelled on the command line")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of training for each of the two models")
    parser.add_argument("--runs", nargs=2, type=Path, metavar=("PLAIN", "HARDENED"), help="take these trained runs")
    parser.add_argument("--n", type=int, default=512, help="test images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the rows there")
    arguments = parser.parse_args()

    data = f"cifar10(root={arguments.root!r})" if arguments.root else "digits()"
    model_name = arguments.model or ("fastnet()" if arguments.root else "convnet()")
    epochs = arguments.epochs or (1 if arguments.root else 15)
    epsilon = 8 / 255 if arguments.root else 0.1
    test = open_splits(catalog.make(data, "data")).test
    samples = [test[i] for i in range(min(arguments.n, len(test)))]
    x = torch.stack([sample.image for sample in samples]).float() / 255
    y = torch.tensor([sample.target for sample in samples])
    classes = len(test.info.classes)
    print(f"{data}, {model_name}, n={len(x)}, batch {arguments.batch}, ε={epsilon:.4f}, {arguments.turns} turns")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, objective in (
            ("plain", "clean()"),
            ("hardened", f"fast(threat=linf({epsilon}))"),
        ):
            if arguments.runs:
                net = stalwart.load(arguments.runs[name == "hardened"] / "last")
            else:
                net = train(data, model_name, objective, epochs, Path(folder) / name)
            model = Counted(net).eval()
            runners = peers(model, epsilon, arguments.batch, tuple(x.shape[1:]), classes)
            for parameter in net.parameters():
                parameter.requires_grad_(True)
            seconds: dict[str, list[float]] = {library: [] for library in [*runners, "bare loop"]}
            passes, robust = {}, {}
            for turn in range(arguments.turns + 1):  # the first turn warms up
                for library, run in runners.items():
                    model.forwards = model.backwards = 0
                    begun = time.perf_counter()
                    adversarial = run(x, y)
                    spent = time.perf_counter() - begun
                    passes[library] = (model.forwards / len(x), model.backwards / len(x))
                    robust[library] = judged(net, x, adversarial, y, epsilon)
                    net.zero_grad(set_to_none=True)
                    if turn:
                        seconds[library].append(spent)
                spent = bare_loop(net, x, y, arguments.batch)
                if turn:
                    seconds["bare loop"].append(spent)
            with torch.no_grad():
                clean = float((net(x).argmax(1) == y).float().mean())
            fastest = min(statistics.median(v) for k, v in seconds.items() if k not in ("stalwart", "bare loop"))
            ours = statistics.median(seconds["stalwart"])
            print(f"\n{name} model, clean accuracy {clean:.3f}; fastest peer / ours = {fastest / ours:.2f}")
            print(f"{'':14}{'seconds':>9}{'(min':>8}{'max)':>8}{'forwards':>10}{'backwards':>11}{'robust acc.':>13}")
            for library, spent_each in seconds.items():
                middle = statistics.median(spent_each)
                row = {
                    "model": name,
                    "library": library,
                    "seconds": middle,
                    "min": min(spent_each),
                    "max": max(spent_each),
                }
                line = f"{library:14}{middle:9.3f}{min(spent_each):8.3f}{max(spent_each):8.3f}"
                if library in passes:
                    forwards, backwards = passes[library]
                    row |= {"forwards": forwards, "backwards": backwards, "robust": robust[library]}
                    line += f"{forwards:10.2f}{backwards:11.2f}{robust[library]:13.3f}"
                rows.append(row)
                print(line, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
