"""The trainer learns, resumes to the same bits, and does what its settings say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import stalwart
from stalwart.core.contracts import Event, Signature
from stalwart.core.errors import CheckpointError, InputError, RunError, TrainingError
from stalwart.run.train import Training, train
from stalwart.store import checkpoint


def net(seed: int = 0, norm: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle: list[nn.Module] = [nn.BatchNorm2d(16)] if norm else []
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), *middle, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
        )


def run(model: Any = None, objective: str = "clean()", out: Path | None = None, **settings: Any) -> list[Event]:
    chosen = {"epochs": 2, "optimizer": "adamw(lr=0.01)", **settings}
    return list(train("digits()", model or net(), objective=objective, settings=Training(**chosen), out=out))


def of_kind(events: list[Event], kind: str) -> list[dict[str, Any]]:
    return [dict(event.values) for event in events if event.kind == kind]


def test_it_learns_digits(tmp_path: Path) -> None:
    events = run("convnet()", epochs=6, out=tmp_path / "a", augments=("crop(1)",))
    assert of_kind(events, "epoch")[-1]["val_top1"] > 0.95
    model = stalwart.load(tmp_path / "a")
    test = list(stalwart.evaluate(tmp_path / "a"))[-1].values
    assert test["figures"]["top1"] > 0.93
    assert model.card["scores"]["val_top1"] == of_kind(events, "result")[0]["val_top1"]  # type: ignore[index]


def test_adversarial_training_buys_robustness() -> None:
    """Chance cannot pass this: at equal budget the hardened net must hold far more under PGD than the plain one."""
    plain, hardened = net(1), net(1)
    run(plain, epochs=8)
    run(hardened, objective="adversarial(attack=pgd(steps=5), threat=linf(0.15))", epochs=12)
    test = stalwart.core.catalog.make("digits()", "data").open("test")  # type: ignore[attr-defined]
    images, labels = test.arrays()
    held = [
        stalwart.attack(model, images, torch.tensor(labels), "pgd(steps=20)", "linf(0.15)").robust_accuracy
        for model in (plain, hardened)
    ]
    assert held[1] > held[0] + 0.2


def test_fast_training_runs_and_is_watched() -> None:
    events = run(objective="fast(threat=linf(0.1))", epochs=2)
    assert all("robust_top1" in values for values in of_kind(events, "epoch"))


def test_same_seed_same_bits_and_global_randomness_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = net()
    run(first, augments=("crop(1)",))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second, other = net(), net()
    run(second, augments=("crop(1)",))
    run(other, augments=("crop(1)",), seed=1)
    assert same(first, second)
    assert not same(first, other)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_accumulation_is_one_large_batch() -> None:
    """The same gradient in parts, up to the order of float32 sums."""
    whole, parts = net().double().float(), net()
    run(whole, batch=96, optimizer="sgd(lr=0.05)", epochs=1)
    run(parts, batch=96, accumulate=4, optimizer="sgd(lr=0.05)", epochs=1)
    # The last batch of an epoch differs: 96-image batches drop what is left over, 24-image parts use more of it.
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0.02, rtol=0.1)


def test_accumulation_is_exact_where_batches_divide_the_set() -> None:
    events: list[list[Event]] = []
    nets = [net(), net()]
    for model, parts in zip(nets, (1, 2), strict=True):
        events.append(run(model, batch=128, accumulate=parts, optimizer="sgd(lr=0.05)", epochs=1, max_steps=4))
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_ema_is_the_closed_form(tmp_path: Path) -> None:
    """With no learning the average is the weights; with it, the recursion written out."""
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Tensor:
            if self.training and self is model:  # a copy may be measured for speed
                seen.append(self.inner[-1].weight.detach().clone())
            out: Tensor = self.inner(x)
            return out

    model = Watching()
    run(model, epochs=1, ema=0.9, optimizer="sgd(lr=0.1)", out=tmp_path / "a", val=0.0)
    steps = [*seen[1:], model.inner[-1].weight.detach()]
    average = seen[0].clone()
    for number, weight in enumerate(steps):
        decay = min(0.9, (1 + number) / (10 + number))
        average = average * decay + weight * (1 - decay)
    kept = load_file(tmp_path / "a" / "best" / "model.safetensors")[_last(model)]
    torch.testing.assert_close(kept, average, atol=1e-5, rtol=1e-4)


def _last(model: nn.Module) -> str:
    return [name for name, p in model.named_parameters() if p.ndim == 2][-1]


def test_clipping_bounds_the_step() -> None:
    free, clipped = net(), net()
    start = [p.detach().clone() for p in free.parameters()]
    plain = "sgd(lr=1, momentum=0, weight_decay=0)"
    run(free, optimizer=plain, max_steps=1, schedule="constant()")
    run(clipped, optimizer=plain, max_steps=1, schedule="constant()", clip=0.01)
    moved = [
        torch.cat([(p - q).flatten() for p, q in zip(m.parameters(), start, strict=True)]).norm()
        for m in (free, clipped)
    ]
    assert moved[0] > 0.02
    assert float(moved[1]) == pytest.approx(0.01, rel=1e-3)


def test_early_stopping_and_best(tmp_path: Path) -> None:
    events = run(epochs=30, patience=2, optimizer="adamw(lr=1e-9)", schedule="constant()", out=tmp_path / "a")
    assert len(of_kind(events, "epoch")) == 3  # the first is the best, two more bring nothing
    assert of_kind(events, "result")[0]["best_epoch"] == 1
    assert json.loads((tmp_path / "a/best/card.json").read_text())["epoch"] == 1


def test_validation_never_touches_test() -> None:
    start = of_kind(run(epochs=1), "start")[0]
    assert start["train_images"] + start["val_images"] + start["test_images"] == 1797
    assert sum(start["class_counts"].values()) == start["train_images"]


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = net(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training
            out: Tensor = self.inner(x)
            return out * float("nan") if self.calls > 5 and self.training else out

    with pytest.raises(TrainingError, match="step 6"):
        run(Breaks(), out=tmp_path / "a")
    kept = load_file(tmp_path / "a/last/model.safetensors")
    assert all(bool(value.isfinite().all()) for value in kept.values())
    assert json.loads((tmp_path / "a/last/card.json").read_text())["step"] == 5


def test_diverging_training_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lower learning rate"):
        run(optimizer="sgd(lr=1e9)", schedule="constant()", epochs=3)


def test_a_run_folder_is_not_overwritten(tmp_path: Path) -> None:
    run(epochs=1, out=tmp_path / "a")
    with pytest.raises(RunError, match="--resume"):
        run(epochs=1, out=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/thesis.txt").write_text("dear to someone")
    with pytest.raises(RunError, match="other files"):
        run(epochs=1, out=tmp_path / "b")


def test_a_run_folder_in_use_is_refused(tmp_path: Path) -> None:
    events = train("digits()", net(), settings=Training(epochs=1), out=tmp_path / "a")
    next(events)
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        list(train("digits()", net(), settings=Training(epochs=1), out=tmp_path / "a", resume=True))
    events.close()


def test_resume_refuses_other_settings_and_finished_runs(tmp_path: Path) -> None:
    run("convnet()", epochs=1, out=tmp_path / "a")
    with pytest.raises(RunError, match="has finished"):
        list(
            train(
                "digits()",
                "convnet()",
                settings=Training(epochs=1, optimizer="adamw(lr=0.01)"),
                out=tmp_path / "a",
                resume=True,
            )
        )
    with pytest.raises(RunError, match="epochs=1"):
        list(
            train(
                "digits()",
                "convnet()",
                settings=Training(epochs=2, optimizer="adamw(lr=0.01)"),
                out=tmp_path / "a",
                resume=True,
            )
        )
    with pytest.raises(InputError, match="resume"):
        list(train("digits()", net(), resume=True))


def test_a_run_that_came_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    """A mistake that shows only when the model is built must not stand in the way of the next try."""

    class Refusing:
        def build(self, signature: Signature) -> nn.Module:
            raise InputError("this model is for larger images.")

        def prepare(self, model: nn.Module, images: Tensor) -> None: ...

    with pytest.raises(InputError, match="larger images"):
        run(Refusing(), epochs=1, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    run("convnet()", epochs=1, out=tmp_path / "a")


def test_training_begins_with_another_runs_weights(tmp_path: Path) -> None:
    """A pass of next to no steps keeps what the other run knew; a layer of another shape begins anew, and is named."""
    run("convnet(width=8)", epochs=3, out=tmp_path / "a")
    still: dict[str, Any] = {"epochs": 1, "max_steps": 1, "optimizer": "sgd(lr=1e-9)"}
    before = stalwart.load(tmp_path / "a").state_dict()
    events = run("convnet(width=8)", out=tmp_path / "b", start=str(tmp_path / "a"), seed=5, **still)
    assert any("all of them" in note["message"] for note in of_kind(events, "note"))
    after = stalwart.load(tmp_path / "b").state_dict()
    weights = [name for name in before if name.endswith("weight")]
    assert weights
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in weights)
    mine = net()
    with torch.no_grad():
        mine[0].weight.zero_()
    folder, card = tmp_path / "mine", dict(stalwart.load(tmp_path / "a").card)  # type: ignore[arg-type]
    checkpoint.save(folder, {"0.weight": torch.ones(16, 1, 3, 3), "4.weight": torch.ones(3, 256)}, card)
    (message,) = (
        n["message"] for n in of_kind(run(mine, start=str(folder), **still), "note") if "began" in n["message"]
    )
    assert message.endswith("anew: 0.bias, 4.bias, 4.weight.")
    checkpoint.save(folder, {"0.weight": torch.ones(16, 1, 3, 3)}, {**card, "classes": card["classes"][::-1]})
    notes = [n["message"] for n in of_kind(run(net(), start=str(folder), **still), "note")]
    assert any("Its classes were others, such as '9' in place of '0'" in note for note in notes)
    with pytest.raises(InputError, match="cache must be a folder"):
        run("convnet()", out=tmp_path / "c", cache=str(tmp_path / "nowhere"))
    assert torch.allclose(mine[0].weight, torch.ones(16, 1, 3, 3), atol=1e-6)
    with pytest.raises(CheckpointError, match="no weights that fit"):
        run("convnet(width=4)", out=tmp_path / "c", start=str(folder), **still)
    with pytest.raises(CheckpointError, match="does not exist"):
        run("convnet()", out=tmp_path / "c", start=str(tmp_path / "nowhere"))
    assert not (tmp_path / "c").exists()


def test_frozen_batchnorm_stays_frozen() -> None:
    model = net(norm=True)
    norm = model[1]
    norm.eval()  # type: ignore[operator]
    for parameter in norm.parameters():  # type: ignore[union-attr]
        parameter.requires_grad_(False)
    before = {name: value.clone() for name, value in norm.state_dict().items()}  # type: ignore[operator]
    run(model, epochs=1, ema=0.9)
    assert not norm.training
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())  # type: ignore[operator]


def test_a_resumed_run_computes_as_it_was_started(tmp_path: Path) -> None:
    """What was measured to be fastest is kept: to measure anew might end at other bits."""
    settings = Training(epochs=2, augments=("crop(1)",))  # type: ignore[arg-type]
    for event in train("digits()", "convnet()", settings=settings, out=tmp_path / "a"):
        if event.kind == "progress":
            break
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert config["spelling"]["augments"] == ["crop(padding=1)"]
    config["choice"] |= {"layout": "channels_last", "precision": "bf16"}
    (tmp_path / "a/config.json").write_text(json.dumps(config))
    rest = list(train("digits()", "convnet()", settings=settings, out=tmp_path / "a", resume=True))
    assert "computing in bf16 (as the run was started)." in [note["message"] for note in of_kind(rest, "note")]


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    """A gradient can overflow where the loss does not."""

    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return gradient * float("inf")

    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = net(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training
            out: Tensor = self.inner(x)
            return Overflow.apply(out) if self.calls == 10 and self.training else out  # the epoch's last step

    with pytest.raises(TrainingError, match="not finite"):
        run(Bad(), epochs=1, batch=128, out=tmp_path / "a")
    for name in ("last", "best"):
        if (tmp_path / "a" / name).exists():
            kept = load_file(tmp_path / "a" / name / "model.safetensors")
            assert all(bool(value.isfinite().all()) for value in kept.values())


def test_patience_needs_validation() -> None:
    with pytest.raises(InputError, match="needs validation"):
        run(patience=2, val=0.0)


def test_batch_must_divide_into_parts() -> None:
    with pytest.raises(InputError, match="multiple of accumulate"):
        run(batch=100, accumulate=3)


SCRIPT = textwrap.dedent("""
    import sys, torch
    from stalwart.run.train import Training, train
    torch.set_num_threads(1)
    settings = Training(epochs=2, batch=64, seed=3, ema=0.99, augments=("crop(1)", "altflip()"), save_every_s=0.05,
                        optimizer="lookahead(muon(lr=0.05))", clip=1.0)
    for event in train("digits()", "convnet(width=8)", settings=settings, out=sys.argv[1], resume=len(sys.argv) > 2):
        pass
""")


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), *arguments], stderr=subprocess.PIPE)


def here(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a script in this process, which has imported PyTorch already."""
    threads = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["script", *arguments])
        exec(script, {"__name__": "__main__"})  # noqa: S102 (one of those above)
    torch.set_num_threads(threads)


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL at two moments in mid-epoch; model, averages and events end as if it had never happened."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    here(SCRIPT, monkeypatch, str(whole))
    kills, process = 0, start(killed)
    while process.poll() is None:
        card = killed / "last" / "state.safetensors"
        before = card.stat().st_mtime_ns if card.exists() else 0
        deadline = time.time() + 60
        while process.poll() is None and time.time() < deadline and kills < 2:
            if card.exists() and card.stat().st_mtime_ns != before:
                time.sleep(0.03 * kills)  # once right after a save, then somewhat later
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                break
            time.sleep(0.002)
        if process.poll() is not None and process.returncode == -signal.SIGKILL:
            process = start(killed, "resume")
        elif kills >= 2:
            process.wait()
    assert process.returncode == 0, process.stderr.read()  # type: ignore[union-attr]
    assert kills == 2
    for name in ("last/model.safetensors", "best/model.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    epochs = [
        {
            e["epoch"]: {k: v for k, v in e.items() if k not in ("time", "seconds")}
            for e in log(folder)
            if e["kind"] == "epoch"
        }
        for folder in (whole, killed)
    ]
    assert epochs[0] == epochs[1]


def log(folder: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines())


def test_ctrl_c_saves_at_the_boundary_of_a_step(tmp_path: Path) -> None:
    settings = Training(epochs=3, optimizer="adamw(lr=0.01)")
    events = train("digits()", "convnet()", settings=settings, out=tmp_path / "a")

    def interrupted() -> None:
        for event in events:
            if event.kind == "progress" and event.values["done"] >= 4:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    rest = list(train("digits()", "convnet()", settings=settings, out=tmp_path / "a", resume=True))
    whole = list(train("digits()", "convnet()", settings=settings))
    assert of_kind(rest, "epoch")[-1]["val_loss"] == of_kind(whole, "epoch")[-1]["val_loss"]


def test_leaving_the_loop_saves_too(tmp_path: Path) -> None:
    settings = Training(epochs=2)
    for event in train("digits()", "convnet()", settings=settings, out=tmp_path / "a"):
        if event.kind == "progress":
            break
    rest = list(train("digits()", "convnet()", settings=settings, out=tmp_path / "a", resume=True))
    assert of_kind(rest, "result")
    assert of_kind(rest, "start")[0]["done"] > 0


PARALLEL = textwrap.dedent("""
    import sys, torch
    from torch import nn
    from stalwart.run.train import Training, train
    torch.set_num_threads(1)
    for number, objective in enumerate(sys.argv[2:]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))
        epochs = 2 if number == 0 else 1
        settings = Training(epochs=epochs, batch=65, augments=("crop(1)",), optimizer="sgd(lr=0.05)", clip=5.0)
        for event in train("digits()", model, objective=objective, settings=settings, out=f"{sys.argv[1]}/{number}"):
            pass
""")

OBJECTIVES = [
    "clean()",
    "adversarial(attack=pgd(steps=2), threat=linf(0.1))",
    "free(threat=l2(0.5), replays=2)",  # no signs: one that flips is carried on
    "awp(trades(attack=pgd(steps=2), threat=linf(0.1)))",
]


def test_two_processes_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command under torchrun: the same weights up to the order of float32 sums, attacks' starts included."""
    script = tmp_path / "job.py"
    script.write_text(PARALLEL)
    house = str(Path(stalwart.__file__).parents[1])  # a script elsewhere sees the package only if it is installed
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": house}
    here(PARALLEL, monkeypatch, str(tmp_path / "one"), *OBJECTIVES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*torchrun, script, tmp_path / "two", *OBJECTIVES], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for number in range(len(OBJECTIVES)):
        runs = [tmp_path / name / str(number) for name in ("one", "two")]
        one, two = (load_file(run / "last/model.safetensors") for run in runs)
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3)
        scores = [[e for e in log(run) if e["kind"] == "epoch"][-1]["val_loss"] for run in runs]
        assert scores[0] == pytest.approx(scores[1], rel=1e-3)
