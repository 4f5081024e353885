"""MI, DI, TI and NI: the peer's trajectories, the peer's resize and blur, and that their images travel further."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from test_peers import accuracy, trained
from test_transfer import net
from torch import Tensor, nn

import stalwart
from stalwart.attacks.transfer import transfer
from stalwart.core import catalog, direction
from stalwart.core.ascent import Unstopped
from stalwart.core.rng import Noise

torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is an oracle of these tests: make setup")

NAMES = ("mifgsm", "difgsm", "tifgsm", "nifgsm")
PEERS: dict[str, Any] = {
    "mifgsm()": lambda m: torchattacks.MIFGSM(m, eps=0.1, alpha=0.01, steps=10, decay=1.0),
    "mifgsm(momentum=0.5, step=0.3, steps=4)": lambda m: torchattacks.MIFGSM(m, 0.1, alpha=0.03, steps=4, decay=0.5),
    "difgsm(probability=0, momentum=0.7)": lambda m: torchattacks.DIFGSM(
        m, eps=0.1, alpha=0.01, steps=10, decay=0.7, diversity_prob=0.0
    ),
    "nifgsm()": lambda m: torchattacks.NIFGSM(m, eps=0.1, alpha=0.01, steps=10, decay=1.0),
}


@pytest.mark.parametrize("spelling", PEERS)
def test_step_for_step_the_peers_trajectory(spelling: str) -> None:
    model, images, labels = trained()
    x, y = images[:100], labels[:100]
    goal = Unstopped(catalog.make("classification()", "tasks").goal(model, y))
    threat = catalog.make("linf(0.1)", "threats")
    ours = catalog.make(spelling, "attacks")(x, goal, threat, Noise.of_images(x, 0))
    theirs = PEERS[spelling](model)(x, y)
    # The sign of a slope that is zero but for rounding is anybody's.
    assert ((ours - theirs).abs() < 1e-5).float().mean() > 0.999
    assert (ours - x).abs().max() > 0.09


def colours(channels: int, height: int, width: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A net for images of any size, and images with its own labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 3)
        ).eval()
        x = torch.rand(12, channels, height, width)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def test_the_blurred_slope_is_the_peers() -> None:
    model, x, y = colours(3, 16, 16)
    goal = Unstopped(catalog.make("classification()", "tasks").goal(model, y))
    threat = catalog.make("linf(0.1)", "threats")
    ours = catalog.make("tifgsm(kernel=15)", "attacks")(x, goal, threat, Noise.of_images(x, 0))
    peer = torchattacks.TIFGSM(model, eps=0.1, alpha=0.01, steps=10, decay=1.0, diversity_prob=0.0)
    assert ((ours - peer(x, y)).abs() < 1e-5).float().mean() > 0.999


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(2, 20), st.integers(2, 20), st.integers(0, 1000))
def test_a_view_is_torchs_resize_and_pad(channels: int, height: int, width: int, seed: int) -> None:
    x = torch.rand(4, channels, height, width, generator=torch.Generator().manual_seed(seed))
    rows, columns = direction.placed(x.shape[2:], 0.5, 1.0, Noise.of_index(torch.arange(4), seed))
    seen = rows[:, None] @ x @ columns[:, None].mT
    for one, image, across, down in zip(seen, x, columns, rows, strict=True):
        tall, wide = int((down.sum(1) > 0).sum()), int((across.sum(1) > 0).sum())
        assert height / 2 - 1 < tall <= height
        assert wide / width == pytest.approx(tall / height, abs=1 / width + 1 / height)
        top, left = int((down.sum(1) > 0).int().argmax()), int((across.sum(1) > 0).int().argmax())
        small = F.interpolate(image[None], (tall, wide), mode="bilinear", align_corners=False)
        padded = F.pad(small, (left, width - wide - left, top, height - tall - top))[0]
        torch.testing.assert_close(one, padded, atol=1e-5, rtol=1e-5)


def test_views_are_drawn_for_each_sample_and_as_often_as_asked() -> None:
    noise = Noise.of_index(torch.arange(400), "views")
    rows, columns = direction.placed(torch.Size((20, 30)), 0.8, 0.7, noise)
    whole = (rows == torch.eye(20)).all(-1).all(-1) & (columns == torch.eye(30)).all(-1).all(-1)
    assert whole.float().mean() == pytest.approx(0.3, abs=0.07)
    assert len({tuple(row.flatten().tolist()) for row in rows}) > 8
    heights = (rows.sum(2) > 0).sum(1)[~whole]
    assert heights.min() == 16
    assert heights.max() == 19


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 7, 13), (3, 12, 5), (3, 9, 9)], ids=str)
def test_grey_and_oblong_images(name: str, shape: tuple[int, int, int]) -> None:
    model, x, y = colours(*shape)
    full = {"difgsm": "probability=0.8", "tifgsm": "probability=0.8", "nifgsm": "probability=0.8, kernel=3"}
    with torch.no_grad():
        clean = F.cross_entropy(model(x), y, reduction="none")
    for threat in ("linf(0.1)", "l2(1.0)"):
        result = stalwart.attack(model, x, y, f"{name}({full.get(name, '')})", threat, bits=None)
        bim = stalwart.attack(model, x, y, "bim()", threat, bits=None)
        stood = ~result.reached & ~bim.reached  # those that stopped at a success went no further than they had to
        assert (result.loss > clean).all()
        assert (result.loss - clean)[stood].sum() >= 0.5 * (bim.loss - clean)[stood].sum()


@pytest.mark.parametrize("name", NAMES)
def test_a_slope_of_next_to_nothing_still_shows_the_way(name: str) -> None:
    """Peers divide by its mean, which underflows, and give NaN."""

    class Faint(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = (x.flatten(1)[:, :4] - 0.45) * 1e-30
            return torch.stack([z.sum(1), -z.sum(1)], 1)

    x = torch.full((5, 1, 4, 4), 0.5)
    extra = "momentum=1.0, probability=0.0" if name in ("difgsm", "tifgsm") else "momentum=1.0"
    result = stalwart.attack(Faint(), x, torch.zeros(5, dtype=torch.long), f"{name}({extra})", "linf(0.1)", bits=None)
    assert result.adversarial.isfinite().all()
    assert result.reached.all()


@pytest.mark.parametrize("spelling", ["mifgsm()", "difgsm()", "tifgsm(probability=0.7)", "nifgsm(probability=0.5)"])
def test_results_do_not_depend_on_the_batch(spelling: str) -> None:
    model, images, labels = trained()
    x, y = images[:60], labels[:60]
    whole = stalwart.attack(model, x, y, spelling, "linf(0.08)")
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    split = stalwart.attack(model, x[order], y[order], spelling, "linf(0.08)", batch=7)
    assert 0.05 < whole.robust_accuracy < 0.95
    assert (split.reached == whole.reached[order]).float().mean() > 0.95
    same = (split.adversarial - whole.adversarial[order]).abs().flatten(1).amax(1) < 1e-6
    assert same.float().mean() > 0.9


@pytest.mark.parametrize(
    ("spelling", "peer"),
    [
        ("mifgsm()", lambda m: torchattacks.MIFGSM(m, eps=0.1, alpha=0.01, steps=10)),
        ("nifgsm()", lambda m: torchattacks.NIFGSM(m, eps=0.1, alpha=0.01, steps=10)),
        ("difgsm()", lambda m: torchattacks.DIFGSM(m, eps=0.1, alpha=0.01, steps=10, decay=1.0)),
        ("difgsm(momentum=0)", lambda m: torchattacks.DIFGSM(m, eps=0.1, alpha=0.01, steps=10)),
    ],
    ids=["mi", "ni", "di", "di-plain"],
)
def test_no_weaker_than_the_peer_and_never_more_passes(spelling: str, peer: Any) -> None:
    model, x, y = trained()
    ours = stalwart.attack(model, x, y, spelling, "linf(0.1)", bits=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = peer(model)(x, y)
    assert ours.robust_accuracy <= accuracy(model, theirs, y) + (0.01 if "di" in spelling else 1e-6)
    assert ours.backwards <= 10 * len(x)


unseen = cache(net)


@cache
def travelled(spelling: str) -> float:
    """The share of images that fool a net which the attack has not seen, over four pairs of nets."""
    digits = load_digits()
    x = (torch.tensor(digits.images[1400:1700] / 16.0, dtype=torch.float32)[:, None] * 255).round() / 255
    y = torch.tensor(digits.target[1400:1700])
    first, second, third = unseen(0, 120), unseen(1, 120), trained()[0]
    shares = []
    for surrogate, attacked in ((first, second), (second, first), (first, third), (third, first)):
        name = transfer.lend(surrogate, "seen")
        solver = transfer(name, attack=spelling, blind=True)  # type: ignore[arg-type]
        shares.append(1 - stalwart.attack(attacked, x, y, solver, "linf(0.2)").robust_accuracy)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("name", NAMES)
def test_they_travel_further_than_bim(name: str) -> None:
    assert travelled(f"{name}()") > travelled("bim()") + 0.01


@pytest.mark.parametrize("name", ["mifgsm", "tifgsm"])
def test_and_than_pgd(name: str) -> None:
    assert travelled(f"{name}()") > travelled("pgd(steps=10)")
