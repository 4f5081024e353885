"""Memory of an attack beside that of one forward and backward pass at the same batch.

    python benchmarks/attack_memory.py [--batch 64] [--size 32]

The claim: the peak stays within 1.3 times. On a CPU the profiler's record of every allocation is added up, which takes
no notice of other programs; on a GPU the allocator's own peak is read. Weights and the clean batch were there before
and count in neither.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import stalwart
from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.freeze import frozen

ATTACKS = (
    ("pgd(steps=10)", "linf(8/255)"),
    ("apgd(steps=10)", "linf(8/255)"),
    ("cw(searches=2, steps=5)", "l2(0.5)"),
    ("deepfool(steps=5)", "l2(0.5)"),
    ("square(queries=20)", "linf(8/255)"),
)


def peak(work: Callable[[], object], device: torch.device) -> int:
    """Bytes at the most that `work` holds at a time, beyond what was held before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    held = most = 0
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def once(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """One forward pass and the gradient of the images."""
    with frozen(model):
        x = images.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(x), labels, reduction="sum")
        torch.autograd.grad(loss, x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(given.device)
    architecture = catalog.make("fastnet()", "models")
    model = architecture.build(Signature(10, 3, (given.size, given.size))).to(device).eval()
    images = torch.randint(0, 256, (given.batch, 3, given.size, given.size)).float().div(255).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        labels = model(images).argmax(1)  # all are right, so that all are attacked
    # Logits so far apart that nothing falls: the batch stays full to the end, which is the worst case.
    base = peak(lambda: once(model, images, labels), device)
    print(f"{type(architecture).__name__}, {given.batch} images of {given.size} px on {device}; seed 0")
    print(f"one forward and backward pass: {base / 2**20:.1f} MiB")
    for attack, threat in ATTACKS:
        tiny = threat.replace("8/255", "1e-4").replace("0.5", "1e-3")
        held = peak(
            lambda attack=attack, tiny=tiny: stalwart.attack(model, images, labels, attack, tiny, batch=given.batch),
            device,
        )
        print(f"{attack:28} {held / 2**20:8.1f} MiB  {held / base:.2f} times")


if __name__ == "__main__":
    main()
