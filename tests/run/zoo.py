"""Ten defences that are broken on purpose, and the honest nets that they are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn


def digits() -> tuple[Tensor, Tensor]:
    """(1797, 1, 8, 8) float in [0, 1] on the 8-bit grid, and labels (1797,)."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    return (images * 255).round() / 255, torch.tensor(data.target)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def smooth() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(128, 10),
    )  # fmt: skip


def averaging() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": perceptron,
    "smooth": smooth,
    "linear": linear,
    "convolutional": convolutional,
    "averaging": averaging,
}


def learn(build: Callable[[], nn.Module], *, hardened: float = 0.0, steps: int = 250, seed: int = 0) -> nn.Module:
    """A net trained on the first 1,400 digits; `hardened` is the ε of a three-step L∞ adversary."""
    images, labels = (part[:1400] for part in digits())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            index = torch.randint(0, len(images), (100,))
            x, y = images[index], labels[index]
            if hardened:
                shift = torch.empty_like(x).uniform_(-hardened, hardened)
                for _ in range(3):
                    shift.requires_grad_()
                    (slope,) = torch.autograd.grad(F.cross_entropy(model((x + shift).clamp(0, 1)), y), shift)
                    shift = (shift.detach() + hardened / 2 * slope.sign()).clamp(-hardened, hardened)
                x = (x + shift).clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


class Wrapped(nn.Module):
    """A model and what is done to its images and its output."""

    def __init__(
        self,
        inner: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda z: z,
    ) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.inner(self.before(images)))


class _NoSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        return torch.zeros_like(slope)


def _through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy((x.detach().numpy() * 1.0).astype("float32")).clamp(0, 1)


def zoo(honest: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Each broken defence by name, and the check that must name it."""
    return {
        "zero gradients": (Wrapped(honest, after=_NoSlope.apply), "zero-gradient"),
        "logits times 3000": (Wrapped(honest, after=lambda z: z * 3000), "scaled-logits"),
        "argmax output": (Wrapped(honest, after=lambda z: F.one_hot(z.argmax(1), 10).float()), "argmax"),
        "quantised": (Wrapped(honest, before=lambda x: (x * 7).round() / 7), "quantised"),
        "random": (Wrapped(honest, before=lambda x: x + 0.15 * torch.randn_like(x)), "random-forward"),
        "detached": (Wrapped(honest, after=lambda z: z.detach()), "detached"),
        "softmax twice": (Wrapped(honest, after=lambda z: z.softmax(1)), "probabilities"),
        "dropout at test": (Wrapped(honest, before=lambda x: F.dropout(x, 0.2)), "dropout-at-test"),
        "wrong range": (Wrapped(honest, before=lambda x: x / 255), "pixel-range"),
        "not differentiable": (Wrapped(honest, before=_through_numpy), "nondifferentiable-preprocessing"),
    }
