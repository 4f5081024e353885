"""Attacks for the smallest change, against closed forms, a bisection in float64, and peers."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import stalwart
from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.core.planes import reach
from stalwart.core.rng import Noise

WIDE = {1.0: "l1(75)", 2.0: "l2(9)", math.inf: "linf(1)"}
"""Threats that hold every image there is, of 3 × 5 × 5 pixels."""
SPELLED = {
    "cw()": (2.0, math.inf),
    "deepfool()": (1.0, 2.0, math.inf),
    "fab(steps=20)": (1.0, 2.0, math.inf),
    "ddn(steps=40)": (2.0,),
    "fmn(steps=60)": (1.0, 2.0, math.inf),
}
PAIRS = [pytest.param(attack, p, id=f"{attack}-L{p:g}") for attack, norms in SPELLED.items() for p in norms]


def least_change(images: Tensor, slope: Tensor, rise: Tensor, p: float) -> Tensor:
    """(B,) the smallest norm by which ⟨slope, x⟩ rises by `rise` >= 0 in the box; float64, one sample at a time."""
    found = []
    peak = slope.double().abs().max()
    w = slope.double().flatten() / peak
    for x, want in zip(images.double().flatten(1), (rise.double() / peak).tolist(), strict=True):
        room = torch.where(w > 0, 1 - x, x)
        if p == 1:
            total, left = 0.0, want
            for i in (
                w.abs().argsort(descending=True).tolist()
            ):  # the dearest coordinates first, as a knapsack is filled
                if not (pay := float(w[i].abs())):
                    break  # what is left is rounding, which a coordinate that pays nothing would be spent on
                step = min(left / pay, float(room[i]))
                total, left = total + step, left - step * pay
            found.append(total)
            continue
        low, high = 0.0, 1e6
        pace = w.abs() if p == 2 else torch.ones_like(w)
        for _ in range(90):
            middle = (low + high) / 2
            enough = float((w.abs() * torch.minimum(middle * pace, room)).sum()) >= want
            low, high = (low, middle) if enough else (middle, high)
        found.append(float(torch.minimum(high * pace, room).norm(p=p)))
    return torch.tensor(found)


class Linear(nn.Module):
    """Two classes, logits ±(w·x + b)/2 times a scale plus a shift."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(75, generator=torch.Generator().manual_seed(0)))
        self.b = float(-(self.w.detach() * 0.5).sum())
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1) @ self.w + self.b)[:, None]
        return torch.cat([-z, z], 1) * self.scale / 2 + self.shift


def pictures(walls: bool, n: int = 40) -> Tensor:
    """Near the middle of the box, or with two pixels of three at black or white."""
    drawn = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    return (drawn * 3 - 1).clamp(0, 1) if walls else 0.35 + 0.3 * drawn


def sizes(attack: str, threat: str, model: nn.Module, x: Tensor, **options: Any) -> Tensor:
    with torch.no_grad():
        y = model(x).argmax(1)
    result = stalwart.attack(model, x, y, attack, threat, bits=None, **options)
    assert result.reached.all()
    return result.size


@pytest.mark.parametrize("walls", [False, True], ids=["middle", "walls"])
@pytest.mark.parametrize(("attack", "p"), PAIRS)
def test_within_two_percent_of_a_linear_models_optimum(attack: str, p: float, walls: bool) -> None:
    model, x = Linear(), pictures(walls)
    with torch.no_grad():
        z = x.flatten(1) @ model.w + model.b
    best = torch.cat(
        [least_change(x[i : i + 1], -z[i].sign() * model.w.data, z[i : i + 1].abs(), p) for i in range(40)]
    )
    if not walls and p != 1:  # the closed form: |f(x)| over the dual norm of the slope
        torch.testing.assert_close(best, z.abs() / model.w.data.norm(p=1 if p == math.inf else 2), rtol=1e-4, atol=0)
    ratio = sizes(attack, WIDE[p], model, x) / best
    assert ratio.min() > 0.9999
    assert ratio.max() < 1.02


@pytest.mark.parametrize(("attack", "p"), PAIRS)
@pytest.mark.parametrize("change", [{"shift": -100.0}, {"scale": 3000.0}, {"scale": 1e-3}], ids=str)
def test_shift_and_scale_of_the_logits_change_nothing(attack: str, p: float, change: dict[str, float]) -> None:
    x = pictures(True)
    plain = sizes(attack, WIDE[p], Linear(), x)
    torch.testing.assert_close(sizes(attack, WIDE[p], Linear(**change), x), plain, rtol=0.01, atol=1e-5)


@cache
def curved() -> tuple[nn.Module, Tensor, Tensor]:
    """A small net that learned which of five columns is the brightest, and images that it has right."""
    x = pictures(True, 400)
    y = x.mean((1, 2)).argmax(1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), nn.Flatten(),
            nn.Linear(8 * 25, 5),
        ).eval()  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero().squeeze(1)[:30]
    assert len(right) == 30
    return model, x[right], y[right]


@pytest.mark.parametrize(
    ("attack", "p"),
    [
        *PAIRS,
        pytest.param("cw(steps=8)", 0.0, id="cw-L0"),
        pytest.param("fmn(steps=40)", 0.0, id="fmn-L0"),
    ],
)
def test_each_sample_has_its_own_search(attack: str, p: float) -> None:
    model, x, y = curved()
    threat = WIDE.get(p, "l0(25)")
    whole = stalwart.attack(model, x, y, attack, threat, bits=None)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    split = stalwart.attack(model, x[order], y[order], attack, threat, bits=None, batch=7)
    assert whole.reached.all()
    # A step that comes out on the other side of the boundary by float32's rounding goes on otherwise.
    torch.testing.assert_close(split.size.median(), whole.size.median(), rtol=0.01, atol=1e-6)
    near = (split.size - whole.size[order]).abs() <= 0.01 * whole.size[order] + 1e-6
    assert near.float().mean() > 0.9


@pytest.mark.parametrize(("attack", "p"), PAIRS)
def test_parameters_get_no_gradient_and_the_clean_images_stay(attack: str, p: float) -> None:
    model, x, y = curved()
    kept = x.clone()
    stalwart.attack(model, x, y, attack, WIDE[p])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(x, kept)


@pytest.mark.parametrize(("attack", "p"), PAIRS)
def test_a_wanted_class_is_reached(attack: str, p: float) -> None:
    model, x, y = curved()
    wanted = (y + 1) % 5
    result = stalwart.attack(model, x, y, attack, WIDE[p], wanted=wanted, bits=None)
    free = stalwart.attack(model, x, y, attack, WIDE[p], bits=None)
    assert result.reached.float().mean() > 0.9
    with torch.no_grad():
        assert torch.equal(model(result.adversarial).argmax(1) == wanted, result.reached)
    assert result.size[result.reached].mean() > free.size.mean()


@pytest.mark.parametrize(("attack", "p"), PAIRS)
def test_rounding_to_8_bits_loses_no_success(attack: str, p: float) -> None:
    model, x, y = curved()
    x = (x * 255).round() / 255
    result = stalwart.attack(model, x, y, attack, WIDE[p])
    assert result.bits == 8
    assert result.reached.float().mean() >= (~result.clean_reached).float().mean() - 0.05


@pytest.mark.parametrize("attack", list(SPELLED))
def test_a_detached_model_is_left_alone(attack: str) -> None:
    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().flatten(1)[:, :4]

    x = pictures(False)
    result = stalwart.attack(Detached(), x, Detached()(x).argmax(1), attack, "l2(0.01)")
    assert any("no gradient" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("attack", "threat"),
    [("cw()", "l1(3)"), ("deepfool()", "l0(3)"), ("fab()", "l0(3)"), ("ddn()", "linf(0.1)")],
    ids=["cw-L1", "deepfool-L0", "fab-L0", "ddn-Linf"],
)
def test_norms_that_an_attack_does_not_serve_are_named(attack: str, threat: str) -> None:
    model, x, y = curved()
    with pytest.raises(InputError, match="needs a threat of norm"):
        stalwart.attack(model, x, y, attack, threat)


# ---------------------------------------------------------------- the plane within the box


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([1.0, 2.0, math.inf]), st.integers(0, 10_000), st.floats(-3, 1.2), st.sampled_from([1e-8, 1.0, 1e6])
)
def test_the_nearest_point_of_a_plane_in_the_box(p: float, seed: int, effort: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(6, 2, 3, 3, generator=generator) * 1.6 - 0.3).clamp(0, 1)
    w = torch.randn(2, 3, 3, generator=generator) * torch.rand(2, 3, 3, generator=generator).round()
    w = w * scale
    toward = torch.where(w > 0, 1 - x, x)
    most = (toward * w.abs()).flatten(1).sum(1)
    rise = most * min(10**effort, 2.0)
    change = reach(x, w.expand_as(x), rise, p)
    back = reach(x, -w.expand_as(x), -rise, p)
    torch.testing.assert_close(back, change)
    assert ((x + change) >= -1e-6).all()
    assert ((x + change) <= 1 + 1e-6).all()
    got = (change * w).flatten(1).sum(1)
    torch.testing.assert_close(got, torch.minimum(rise, most), rtol=1e-4, atol=1e-6 * scale)
    possible = (rise < most * 0.999) & (most > 0)
    if possible.any():
        best = least_change(x[possible], w, rise[possible], p)
        mine = change.flatten(1)[possible].norm(p=p, dim=1)
        torch.testing.assert_close(mine, best, rtol=1e-3, atol=1e-5, check_dtype=False)


def test_no_slope_is_no_change() -> None:
    x = torch.rand(2, 1, 3, 3)
    for p in (1.0, 2.0, math.inf):
        assert torch.equal(reach(x, torch.zeros_like(x), torch.ones(2), p), torch.zeros_like(x))


# ---------------------------------------------------------------- the runner


class Told:
    """An attack for the smallest change that is told it: an offset for each sample, and how often it was asked."""

    least = True

    def __init__(self, shift: float) -> None:
        self.shift, self.asked = shift, 0

    def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
        self.asked += 1
        return clean + self.shift


class Bright(nn.Module):
    """Class 1 from a mean of 0.5 on."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-z, z], 1)


def test_a_change_that_rounding_undoes_is_lengthened() -> None:
    x = torch.full((3, 1, 4, 4), 120 / 255)
    shift = 0.5 - 120 / 255 + 1e-4  # 127.53 of 255: rounds to 128, above a half
    result = stalwart.attack(Bright(), x, torch.zeros(3, dtype=torch.long), Told(shift), "linf(0.1)")
    assert result.reached.all()
    torch.testing.assert_close(result.size, torch.full((3,), 8 / 255))
    x = torch.full((3, 1, 4, 4), 0.0)
    result = stalwart.attack(Bright(), x, torch.zeros(3, dtype=torch.long), Told(0.4999), "linf(1)")
    assert result.reached.all()
    torch.testing.assert_close(result.size, torch.full((3,), 129 / 255))  # 1.01 times 127.5 is the first that stands


def test_a_success_is_not_lengthened() -> None:
    x = torch.full((3, 1, 4, 4), 0.25)
    exact = stalwart.attack(Bright(), x, torch.zeros(3, dtype=torch.long), Told(0.26), "l2(9)", bits=None)
    torch.testing.assert_close(exact.size, torch.full((3,), 1.04))
    beyond = stalwart.attack(Bright(), x, torch.zeros(3, dtype=torch.long), Told(0.26), "l2(1)", bits=None)
    assert not beyond.reached.any()
    assert beyond.forwards == 3 * 2  # the clean verdict and one look: no lengthening beyond the threat


def test_one_run_serves_every_radius() -> None:
    from stalwart.core.contracts import Batch
    from stalwart.run._sweep import Sweep

    class Subject:
        task = catalog.make("classification()", "tasks")
        model = Bright()
        device = torch.device("cpu")

        class examples:
            strata = (0,) * 6

            class info:
                classes = ("dark", "bright")

    levels = torch.tensor([60, 90, 100, 110, 120, 140])
    x = (levels / 255).view(6, 1, 1, 1).expand(6, 1, 4, 4).clone()
    solver = Told(0.0)
    deepfool = catalog.make("deepfool()", "attacks")

    class Both(Told):
        def __call__(self, clean: Tensor, goal: Any, threat: Any, noise: Noise) -> Tensor:
            self.asked += 1
            assert threat.epsilon == pytest.approx(0.2)
            return deepfool(clean, goal, threat, noise)

    solver = Both(0.0)
    sweep = Sweep(Subject(), solver, catalog.make("linf(0.2)", "threats"), (0.05, 0.1, 0.2), goal="", seed=0)  # type: ignore[arg-type]
    sweep.add(Batch(x, torch.zeros(6, dtype=torch.long), torch.arange(6), Noise.of_index(torch.arange(6))))
    assert solver.asked == 1
    # Changes needed, in 255ths: 68, 38, 28, 18, 8 and none; the radii are 12.75, 25.5 and 51.
    assert sweep.fallen.tolist() == [4, 3, 3, 2, 1, 0]
