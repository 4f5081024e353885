"""The probe leaves the model alone, never takes what it measured as slower, and goes without what fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.run import probe
from stalwart.run.probe import Choice, choose

CPU = torch.device("cpu")


class Clock:
    """Stands in for `time` in the probe: only what a test says takes time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        self.now_s += 1e-6
        return self.now_s


CLOCK = Clock()


class Net(nn.Module):
    """Takes so many milliseconds by layout and precision, so that it is known which is fastest."""

    def __init__(self, **wait_ms: float) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)
        self.wait_ms = wait_ms

    def forward(self, x: Tensor) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        half = torch.is_autocast_enabled("cpu")
        name = ("channels_last" if last else "contiguous") + ("_bf16" if half else "")
        CLOCK.now_s += self.wait_ms.get(name, self.wait_ms.get(name.removesuffix("_bf16"), 1.0)) / 1e3
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def loss(model: nn.Module, images: Tensor, targets: Any) -> Tensor:
    return F.cross_entropy(model(images), targets)


def batch(n: int = 32) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 10, 10, generator=draw), torch.randint(0, 4, (n,), generator=draw)


@pytest.fixture(autouse=True)
def own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "time", CLOCK)
    monkeypatch.setattr(probe, "COMPILE_FROM_S", float("inf"))


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
@pytest.mark.parametrize("training", [True, False])
def test_everything_is_left_as_it_was(precision: Any, training: bool) -> None:
    model = Net()
    model.norm.eval()
    model.conv.bias.requires_grad_(False)  # type: ignore[union-attr]
    loss(model, *batch()).backward()
    images, targets = batch()
    before = {name: (value.clone(), value.stride()) for name, value in model.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    random, kept, grad_on = torch.get_rng_state(), images.clone(), torch.is_grad_enabled()
    choice = choose(model, loss, images, targets, CPU, precision=precision, training=training)
    assert choice.table
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name][0]), name
        assert value.stride() == before[name][1], name
    for name, parameter in model.named_parameters():
        wanted = gradients[name]
        assert (parameter.grad is None) == (wanted is None)
        assert wanted is None or (parameter.grad is not None and torch.equal(parameter.grad, wanted))
    assert [module.training for module in model.modules()] == modes
    assert not model.conv.bias.requires_grad  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(images, kept)
    assert torch.is_grad_enabled() == grad_on


def test_generators_of_gpus_that_are_not_asked_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    assert choose(Net(), loss, *batch(), CPU).table
    assert not seeded


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ({"contiguous": 20, "channels_last": 5}, "channels_last fp32"),
        ({"contiguous": 5, "channels_last": 20}, "contiguous fp32"),
        ({"contiguous": 20, "channels_last": 20, "channels_last_bf16": 5}, "channels_last bf16"),
        ({"contiguous": 5, "contiguous_bf16": 20, "channels_last": 20}, "contiguous fp32"),
    ],
)
def test_the_fastest_is_taken(waits: dict[str, float], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "made_for_bf16", lambda device: True)
    choice = choose(Net(**waits), loss, *batch(), CPU)
    assert str(choice) == expected
    assert len(choice.table) == 4
    assert choice.table[str(choice)] == min(choice.table.values())
    assert choice.table[str(choice)] <= choice.table["contiguous fp32"]


def test_a_little_faster_is_not_enough() -> None:
    table = {"contiguous fp32": 1.0, "channels_last fp32": 0.98}
    candidates = [Choice(), Choice("channels_last")]
    assert str(probe._pick(Choice(), candidates, table, ())) == "contiguous fp32"
    table["channels_last fp32"] = 0.96
    assert str(probe._pick(Choice(), candidates, table, ())) == "channels_last fp32"


def test_bf16_is_not_tried_on_hardware_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "made_for_bf16", lambda device: False)
    assert not any("bf16" in name for name in choose(Net(contiguous_bf16=1, contiguous=5), loss, *batch(), CPU).table)


def test_what_is_asked_for_is_kept_to() -> None:
    choice = choose(Net(contiguous_bf16=20, channels_last_bf16=20), loss, *batch(), CPU, precision="bf16")
    assert choice.precision == "bf16"
    with choice.autocast(CPU):
        assert torch.is_autocast_enabled("cpu")
    with Choice().autocast(CPU):
        assert not torch.is_autocast_enabled("cpu")


def test_a_candidate_whose_loss_is_off_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "made_for_bf16", lambda device: True)

    def overflows(model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        factor = float("nan") if torch.is_autocast_enabled("cpu") else 1.0
        return loss(model, images, targets) * factor

    choice = choose(Net(contiguous=10, contiguous_bf16=1, channels_last_bf16=1), overflows, *batch(), CPU)
    assert choice.precision == "fp32"
    assert any("bf16 left out" in note and "nan" in note for note in choice.notes)


def test_a_candidate_that_fails_is_left_out() -> None:
    def fails(model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        if not images.is_contiguous():
            raise RuntimeError("no kernel\nand a trace")
        return loss(model, images, targets)

    choice = choose(Net(), fails, *batch(), CPU, precision="fp32")
    assert str(choice) == "contiguous fp32"
    assert choice.notes == ("channels_last fp32 left out: no kernel",)


def test_without_a_compiler_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(model: nn.Module) -> nn.Module:
        raise RuntimeError("InvalidCxxCompiler: no C++ compiler found")

    monkeypatch.setattr(torch, "compile", no_compiler)
    choice = choose(Net(), loss, *batch(), CPU, precision="fp32", compile=True)
    assert not choice.compile
    assert any("compiler" in note for note in choice.notes)


def test_compilation_that_does_not_pay_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "COMPILE_FROM_S", 0.0)
    monkeypatch.setattr(probe, "WORTH_S", 0.0)

    def slow_to_make(model: nn.Module) -> nn.Module:
        CLOCK.now_s += 60
        assert isinstance(model, Net)
        model.wait_ms = {}  # 1 ms
        return model

    monkeypatch.setattr(torch, "compile", slow_to_make)
    few = choose(Net(contiguous=5, channels_last=5), loss, *batch(), CPU, precision="fp32", steps=10_000)
    many = choose(Net(contiguous=5, channels_last=5), loss, *batch(), CPU, precision="fp32", steps=100_000)
    assert not few.compile
    assert many.compile


def test_short_work_and_strange_models_are_not_measured() -> None:
    assert choose(Net(), loss, *batch(), CPU, steps=3).table == {}
    model = Net()
    model.register_buffer("odd", torch.ones(1, requires_grad=True) * 2)  # cannot be copied
    assert "not measured" in choose(model, loss, *batch(), CPU).reason
    shared = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert "other processes" in choose(shared, loss, *batch(), CPU).reason


def test_time_is_bounded() -> None:
    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            CLOCK.now_s += 0.002 * len(x)  # 4 s for the whole batch
            return self.head(x.mean((2, 3)))

    begun = CLOCK.now_s
    choice = choose(Slow(), loss, *batch(2000), CPU, precision="fp32")
    assert CLOCK.now_s - begun < 2 * probe.BUDGET_S
    assert choice.table["contiguous fp32"] == pytest.approx(4, rel=0.01)  # in seconds of the whole batch


def test_choice_is_applied() -> None:
    model, images = Net(), batch()[0]
    seen = Choice("channels_last").apply(model)
    assert seen is model
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    placed = Choice("channels_last").place(images)
    assert placed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(placed, images)
    assert Choice().place(images) is images
    clips = torch.rand(2, 3, 1, 4, 4)
    assert Choice("channels_last").place(clips) is clips
