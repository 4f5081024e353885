"""HopSkipJump, Boundary and SPSA: queries alone, within the budget they state, near what is known to be the optimum."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.attacks.hopskipjump import _normal
from stalwart.attacks.spsa import spsa
from stalwart.core import catalog
from stalwart.core.ascent import Unstopped
from stalwart.core.errors import InputError
from stalwart.core.queries import Asker, begin, pull
from stalwart.core.rng import Noise


class Plane(nn.Module):
    """Two classes, logits ±(w·x + b)/2 times a scale plus a shift, over images of 3 × 6 × 5; it counts its images."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("w", torch.randn(90, generator=torch.Generator().manual_seed(0)))
        self.b = float(-(self.w * 0.5).sum())
        self.scale, self.shift, self.seen = scale, shift, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        z = _Blind.apply(x.flatten(1)) @ self.w + self.b
        return torch.stack([-z, z], 1) * self.scale / 2 + self.shift

    def distance(self, x: Tensor, p: float) -> Tensor:
        dual = self.w.abs().sum() if p == math.inf else self.w.norm()
        return (x.flatten(1) @ self.w + self.b).abs() / dual


class _Blind(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        raise AssertionError("an attack by queries must not ask for a gradient")


def greys(n: int = 30) -> Tensor:
    return 0.35 + 0.3 * torch.rand(n, 3, 6, 5, generator=torch.Generator().manual_seed(1))


WALKS = [("hopskipjump", "l2(9)", 2.0), ("hopskipjump", "linf(1)", math.inf), ("boundary", "l2(9)", 2.0)]


@pytest.mark.parametrize(("name", "threat", "p"), WALKS)
def test_walks_come_near_a_linear_models_optimum(name: str, threat: str, p: float) -> None:
    model, x = Plane(), greys(10)
    y = model(x).argmax(1)
    few, many = (stalwart.attack(model, x, y, f"{name}(queries={n})", threat, bits=None) for n in (400, 4000))
    assert many.reached.all()
    # Not on the boundary to the last bit, where the next pass might say something else.
    beyond = model(many.adversarial).diff(dim=1).abs() / model(x).diff(dim=1).abs()
    assert beyond.min() > 0.5e-4
    ratio = many.size / model.distance(x, p)
    assert ratio.min() > 0.9999
    # The sign of each of 90 slopes must be right under L∞, and the smallest of them drown in the noise of decisions.
    assert ratio.median() < (1.03 if p == 2 else 1.1)
    assert ratio.median() < (few.size / model.distance(x, p)).median() - 0.05


@pytest.mark.parametrize(("name", "threat", "p"), WALKS)
@pytest.mark.parametrize("queries", [1, 20, 250, 1000])
def test_walks_keep_within_their_queries_and_spend_them(name: str, threat: str, p: float, queries: int) -> None:
    model, x = Plane(), greys()
    y = model(x).argmax(1)
    model.seen = 0
    result = stalwart.attack(model, x, y, f"{name}(queries={queries}, tries=5)", threat, bits=None)
    judged = 1 + 4  # the clean image, the answer, and three lengthenings at most
    assert result.forwards == model.seen <= (queries + judged) * len(x)
    assert result.backwards == 0
    if queries == 1000:
        assert result.forwards > 0.8 * queries * len(x)


@pytest.mark.parametrize("estimate", ["signs", "normal"])
def test_spsa_spends_what_it_says(estimate: str) -> None:
    model, x = Plane(), greys()
    y = model(x).argmax(1)
    model.seen = 0
    spelled = f"spsa(steps=7, pairs=21, directions={estimate!r})"
    result = stalwart.attack(model, x, y, spelled, "linf(1e-6)", bits=None)  # too small a threat for any to fall
    assert result.forwards == model.seen == len(x) * (1 + 7 * (2 * 21 + 1) + 1)
    assert result.backwards == 0
    assert not result.reached.any()


@pytest.mark.parametrize("estimate", ["signs", "normal"])
@pytest.mark.parametrize(("norm", "p"), [("linf", math.inf), ("l2", 2.0)])
def test_spsa_reaches_what_is_within_reach_of_a_linear_model(estimate: str, norm: str, p: float) -> None:
    model, x = Plane(), greys(60)
    y = model(x).argmax(1)
    distance = model.distance(x, p)
    epsilon = float(distance.median())
    spelled = f"spsa(steps=60, pairs=32, directions={estimate!r})"
    result = stalwart.attack(model, x, y, spelled, f"{norm}({epsilon})", bits=None)
    assert not result.reached[distance > 1.001 * epsilon].any()
    assert result.reached[distance < (0.95 if p == 2 else 0.85) * epsilon].all()


@pytest.mark.parametrize("estimate", ["signs", "normal"])
def test_spsas_estimate_is_the_slope_on_average(estimate: str) -> None:
    model, x = Plane(), greys(4)
    x[:, 0] = 0.0  # at a wall: half of each direction is left there, and half of the slope
    goal = catalog.make("classification()", "tasks").goal(model, model(x).argmax(1))
    attack = spsa(pairs=8_000, directions=estimate)
    slope = attack._slope(x, Asker(goal, 4, "spsa"), torch.arange(4), Noise.of_images(x, 0))
    # The margin is ∓z, and z rises by w.
    sign = 1 - 2 * model(x).argmax(1)
    free = (slope * sign.view(-1, 1, 1, 1))[:, 1:]
    error = (free - model.w.view(3, 6, 5)[1:]).abs().max() / model.w.abs().mean()
    assert error < 0.8
    cosine = torch.cosine_similarity(free.flatten(1), model.w[30:][None])
    assert cosine.min() > 0.99


@pytest.mark.parametrize("p", [2.0, math.inf])
def test_hopskipjumps_probes_find_the_normal(p: float) -> None:
    model, x = Plane(), greys(6)
    y = model(x).argmax(1)
    goal = catalog.make("classification()", "tasks").goal(model, y)
    z = x.flatten(1) @ model.w + model.b
    on = x - (z / model.w.square().sum())[:, None].mul(model.w).view_as(x)  # the nearest points of the boundary
    normal = _normal(on, torch.full((6,), 0.05), 4000, Asker(goal, 6, "x"), torch.arange(6), Noise.of_images(x, 0), p)
    inwards = torch.cosine_similarity(normal.flatten(1), model.w[None]) * -z.sign()
    assert inwards.min() > 0.95


@pytest.mark.parametrize("change", [{"shift": -100.0}, {"scale": 3000.0}, {"scale": 1e-3}], ids=str)
@pytest.mark.parametrize("attack", ["hopskipjump(queries=600)", "boundary(queries=600)", "spsa(steps=20, pairs=16)"])
def test_shift_and_scale_of_the_logits_change_nothing(attack: str, change: dict[str, float]) -> None:
    x = greys()
    epsilon = float(Plane().distance(x, 2).median()) * 1.3
    y = Plane()(x).argmax(1)
    plain, other = (stalwart.attack(m, x, y, attack, f"l2({epsilon})") for m in (Plane(), Plane(**change)))
    assert 0 < plain.reached.float().mean() < 1
    assert int((plain.reached != other.reached).sum()) <= 1  # a score of 1e2 has fewer digits left


@cache
def curved() -> tuple[nn.Module, Tensor, Tensor]:
    """A small net that learned which of five columns is the brightest, and images that it has right."""
    x = (torch.rand(400, 3, 6, 5, generator=torch.Generator().manual_seed(1)) * 3 - 1).clamp(0, 1)
    y = x.mean((1, 2)).argmax(1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), nn.Flatten(),
            nn.Linear(8 * 30, 5),
        ).eval()  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero().squeeze(1)[:20]
    return model, x[right], y[right]


@pytest.mark.parametrize(
    ("attack", "threat"),
    [
        ("hopskipjump(queries=200)", "l2(9)"),
        ("hopskipjump(queries=200)", "linf(1)"),
        ("boundary(queries=120)", "l2(9)"),
        ("spsa(steps=5, pairs=20)", "linf(0.1)"),
        ("spsa(steps=5, pairs=20, directions='normal')", "l2(0.8)"),
    ],
)
def test_each_image_has_its_own_search(attack: str, threat: str) -> None:
    model, x, y = curved()
    whole = stalwart.attack(model, x, y, attack, threat, bits=None)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    split = stalwart.attack(model, x[order], y[order], attack, threat, bits=None, batch=9)
    assert whole.reached.any()
    # One decision that float32's last bit turns sends a walk elsewhere.
    same = (split.adversarial - whole.adversarial[order]).abs().flatten(1).amax(1) < 1e-4
    assert same.float().mean() > 0.85


class Counted(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        out: Tensor = self.inner(x)
        return out


@pytest.mark.parametrize(("name", "threat", "p"), WALKS)
def test_walks_are_as_short_as_a_peers_at_equal_queries(name: str, threat: str, p: float) -> None:
    foolbox = pytest.importorskip("foolbox")
    model, x, y = (part[:15] if isinstance(part, Tensor) else part for part in curved())
    counted = Counted(model).eval()
    norm = "l2" if p == 2 else "linf"
    peer = (
        foolbox.attacks.BoundaryAttack(steps=500)
        if name == "boundary"
        else foolbox.attacks.HopSkipJumpAttack(steps=4, constraint=norm)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = peer.run(foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu"), x, y)
    spent = counted.seen / len(x)
    ours = stalwart.attack(model, x, y, f"{name}(queries={int(spent)})", threat, bits=None)
    assert ours.forwards / len(x) < spent + 5
    assert ours.reached.all()
    ratio = ours.size / (theirs - x).flatten(1).norm(p=p, dim=1)
    assert ratio.log().mean() < math.log(1.05)


def test_spsa_is_as_strong_as_a_peer_at_equal_queries() -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = curved()
    counted = Counted(model).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = torchattacks.SPSA(counted, eps=0.08, nb_iter=10, nb_sample=32, max_batch_size=32)(x, y)
    spent = counted.seen / len(x)
    ours = stalwart.attack(model, x, y, "spsa(steps=10, pairs=32)", "linf(0.08)", bits=None)
    assert ours.forwards / len(x) <= spent + 12  # a look at each step, by which finished samples leave
    with torch.no_grad():
        left = float((model(peer).argmax(1) == y).float().mean())
    assert left < 1
    assert ours.robust_accuracy <= left


def test_a_quantised_model_hides_nothing_from_spsa() -> None:
    """Its gradient is zero everywhere, so nothing falls to PGD; probes of δ = 0.05 look over the stairs."""
    model, x, y = curved()

    class Stairs(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = model((images * 16).round() / 16)
            return out

    keep = Stairs()(x).argmax(1) == y
    blind = stalwart.attack(Stairs(), x[keep], y[keep], "pgd(steps=10)", "linf(0.2)", goal="margin")
    seen = stalwart.attack(Stairs(), x[keep], y[keep], "spsa(steps=20, pairs=32, delta=0.05)", "linf(0.2)")
    assert seen.robust_accuracy < blind.robust_accuracy - 0.3


def test_a_sample_without_a_beginning_is_left_alone() -> None:
    """No random image is of the wanted class, so nothing is found, and nothing beyond the beginning is asked."""

    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1).sum(1)
            return torch.stack([z, z - 1, z - 1000], 1)

    x = greys(5)
    for attack in ("hopskipjump(tries=21)", "boundary(tries=21)"):
        result = stalwart.attack(Never(), x, torch.zeros(5, dtype=torch.long), attack, "l2(9)", bits=None)
        assert not result.reached.any()
        assert torch.equal(result.adversarial, x)
        assert result.forwards == 5 * (1 + 21 + 4)


def test_an_asker_keeps_its_passes_small_and_serves_an_empty_batch() -> None:
    sizes: list[int] = []

    class Watched(Plane):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().forward(x)

    model, x = Watched(), greys(5)
    goal = catalog.make("classification()", "tasks").goal(model, model(x).argmax(1))
    asker = Asker(goal, 5, "x")
    sizes.clear()
    reached = asker.reached(x[:, None].expand(-1, 50, -1, -1, -1), torch.arange(5))
    assert reached.shape == (5, 50)
    assert not reached.any()
    assert sizes == [64, 64, 64, 58]
    nothing = torch.arange(0)
    assert asker.reached(x[nothing][:, None], nothing).shape == (0, 1)
    assert asker.score(x[nothing][:, None], nothing).shape == (0, 1)
    assert pull(x[nothing], x[nothing], asker, nothing, 2.0, 3).shape == (0, 3, 6, 5)


def test_a_beginning_reaches_the_goal_and_a_pull_goes_back_to_where_it_begins() -> None:
    model, x = Plane(), greys()
    y = model(x).argmax(1)
    asker = Asker(catalog.make("classification()", "tasks").goal(model, y), len(x), "x")
    images, found, spent = begin(x, asker, Noise.of_images(x, 0), 101)
    everything = torch.arange(len(x))
    assert found.all()
    assert torch.equal(asker.reached(images[:, None], everything)[:, 0], found)
    assert spent.min() == 1
    for p in (2.0, math.inf):
        near = pull(images, x, asker, everything, p, 14)
        assert asker.reached(near[:, None], everything).all()
        gap = (model(near)[:, 1] - model(near)[:, 0]).abs() / (model(images)[:, 1] - model(images)[:, 0]).abs()
        assert gap.median() < 0.01


@pytest.mark.parametrize("attack", ["hopskipjump()", "boundary()"])
def test_decisions_need_a_goal_that_decides(attack: str) -> None:
    model, x = Plane(), greys(2)
    goal = Unstopped(catalog.make("classification()", "tasks").goal(model, model(x).argmax(1)))
    with pytest.raises(InputError, match="what is reached"):
        catalog.make(attack, "attacks")(x, goal, catalog.make("l2(1)", "threats"), Noise.of_images(x, 0))


@pytest.mark.parametrize(
    ("attack", "threat"), [("hopskipjump()", "l1(3)"), ("boundary()", "linf(0.1)"), ("spsa()", "l1(3)")]
)
def test_norms_that_an_attack_does_not_serve_are_named(attack: str, threat: str) -> None:
    model, x, y = curved()
    with pytest.raises(InputError, match="needs a threat of norm"):
        stalwart.attack(model, x, y, attack, threat)
