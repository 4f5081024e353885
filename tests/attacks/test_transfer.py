"""Transfer: the surrogates are climbed, the attacked model judges."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stalwart
from stalwart.attacks.transfer import transfer
from stalwart.core import catalog, checks
from stalwart.core.checks.attacks import _Product
from stalwart.core.contracts import Signature
from stalwart.core.errors import CheckpointError, InputError
from stalwart.store import checkpoint

sys.path.append(str(Path(__file__).parents[1] / "run"))
from zoo import digits

CARD: dict[str, Any] = {
    "task": "classification()",
    "model": "convnet(width=8)",
    "data": "digits()",
    "classes": [str(i) for i in range(10)],
    "signature": {"classes": 10, "channels": 1, "size": [8, 8]},
}


def net(seed: int, steps: int = 0) -> nn.Module:
    images, labels = (part[:1400] for part in digits())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = catalog.make(CARD["model"], "models").build(Signature(10, 1, (8, 8)))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            index = torch.randint(0, len(images), (100,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
            optimizer.step()
    return model.eval()


@cache
def nets() -> tuple[nn.Module, nn.Module, nn.Module]:
    return net(0, 40), net(1, 40), net(2, 40)


@cache
def shown() -> tuple[Tensor, Tensor]:
    images, labels = digits()
    return images[1400:1500], labels[1400:1500]


def test_with_the_model_as_its_own_surrogate_it_is_the_attack_itself(tmp_path: Path) -> None:
    model, _, _ = nets()
    x, y = shown()
    checkpoint.save(tmp_path / "best", model, CARD)
    plain = stalwart.attack(model, x, y, "pgd(steps=5)", "linf(0.08)")
    for path in (tmp_path, tmp_path / "best"):
        moved = stalwart.attack(model, x, y, f"transfer({str(path)!r}, attack=pgd(steps=5))", "linf(0.08)")
        assert torch.equal(plain.adversarial, moved.adversarial)
        assert torch.equal(plain.reached, moved.reached)
        assert (plain.forwards, plain.backwards) == (moved.forwards, moved.backwards)
    assert 0 < plain.robust_accuracy < 1


@pytest.mark.parametrize("blind", [False, True])
def test_what_is_found_fools_the_attacked_model(blind: bool) -> None:
    model, other, third = nets()
    x, y = shown()
    names = (transfer.lend(other, "other"), transfer.lend(third, "third"))
    solver = transfer(names, attack="pgd(steps=10)", blind=blind)  # type: ignore[arg-type]
    found = stalwart.attack(model, x, y, solver, "linf(0.15)")
    noise = stalwart.attack(model, x, y, "pgd(steps=1, step=0.001)", "linf(0.15)")  # a random start alone
    white = stalwart.attack(model, x, y, "pgd(steps=10)", "linf(0.15)")
    with torch.no_grad():
        assert torch.equal(model(found.adversarial).argmax(1) != y, found.reached)
    assert white.robust_accuracy < found.robust_accuracy < noise.robust_accuracy - 0.1
    assert catalog.make(found.attack, "attacks") == solver


def test_a_blind_attacker_asks_the_attacked_model_for_the_last_image_alone() -> None:
    model, other, _ = nets()
    x, y = shown()
    asked = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal asked
        asked += len(inputs[0])

    handle = model.register_forward_pre_hook(count)
    try:
        name = transfer.lend(other, "other")
        blind = stalwart.attack(model, x, y, f"transfer({name!r}, attack=pgd(steps=7), blind=True)", "linf(0.1)")
        clean_wrong = int(blind.clean_reached.sum())
        assert asked == len(x) + len(x) - clean_wrong
        assert blind.forwards == asked + 7 * (len(x) - clean_wrong)
    finally:
        handle.remove()


def test_several_surrogates_are_the_mean_of_their_logits() -> None:
    """Twice the same surrogate is that surrogate; and one that always answers the same adds nothing."""
    model, other, _ = nets()
    x, y = shown()

    class Mute(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 10)

    one = transfer.lend(other, "other")
    mute = transfer.lend(Mute(), "mute")
    results = [
        stalwart.attack(model, x, y, f"transfer({names!r}, attack=pgd(steps=5))", "linf(0.1)", goal="margin")
        for names in (one, (one, one), (one, mute))
    ]
    assert torch.equal(results[0].adversarial, results[1].adversarial)
    assert torch.equal(results[0].reached, results[2].reached)


def test_the_surrogate_is_left_as_it_was() -> None:
    model, _, _ = nets()
    x, y = shown()
    other = net(3).train()
    name = transfer.lend(other, "training")
    before = {key: value.clone() for key, value in other.state_dict().items()}
    stalwart.attack(model, x, y, f"transfer({name!r}, attack=pgd(steps=2))", "linf(0.1)")
    assert other.training
    assert all(p.requires_grad and p.grad is None for p in other.parameters())
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_mistakes_are_told_in_one_line(tmp_path: Path) -> None:
    model, other, _ = nets()
    x, y = shown()
    name = transfer.lend(other, "other")
    with pytest.raises(InputError, match=r"nobody lent a module named 'othr'. Did you mean 'other'"):
        stalwart.attack(model, x, y, "transfer('@othr')", "linf(0.1)")
    with pytest.raises(CheckpointError, match="does not exist"):
        stalwart.attack(model, x, y, f"transfer({str(tmp_path / 'no')!r})", "linf(0.1)")
    with pytest.raises(InputError, match="at least one surrogate"):
        stalwart.attack(model, x, y, "transfer(())", "linf(0.1)")
    with pytest.raises(InputError, match=r"nn.Module with a name"):
        transfer.lend(other, "")
    transfer.lend(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "seven")
    with pytest.raises(InputError, match="logits of one shape"):
        stalwart.attack(model, x, y, f"transfer({(name, '@seven')!r})", "linf(0.1)")
    checkpoint.save(tmp_path / "best", model, CARD)
    wide = nn.Sequential(nn.AdaptiveAvgPool2d(8), model)
    large = torch.rand(2, 1, 16, 16)
    with pytest.raises(CheckpointError, match=r"\(1, 16, 16\). It is made for \(1, 8, 8\)"):
        stalwart.attack(wide, large, wide(large).argmax(1), f"transfer({str(tmp_path)!r})")
    renamed = net(0)
    renamed.card = {**CARD, "classes": list("abcdefghij")}  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="attacked model's 10 classes"):
        stalwart.attack(renamed, x, y, f"transfer({str(tmp_path)!r})", "linf(0.1)")


def test_it_keeps_the_contract() -> None:
    name = transfer.lend(_Product((3, 8, 6)), "product")
    for threat in ("linf(8/255)", "l2(0.5)"):
        checks.attack(transfer(name), catalog.make(threat, "threats"))


def test_a_rendered_threat_passes_over_too(tmp_path: Path) -> None:
    """θ of a turn has another shape than the images that the surrogate is made for, which is what it is compared by."""
    model, other, _ = nets()
    x, y = shown()
    checkpoint.save(tmp_path / "best", other, CARD)
    spelled = f"transfer({str(tmp_path)!r}, attack=pgd(steps=5))"
    found = stalwart.attack(model, x, y, spelled, "spatial(rotation=40)", seed=0)
    before = model(x).argmax(1) == y
    fell = found.reached & before
    assert fell.sum() > before.sum() // 10
    assert (model(found.adversarial[fell]).argmax(1) != y[fell]).all()
    wide = nn.Sequential(nn.AdaptiveAvgPool2d(8), model)
    large = torch.rand(2, 1, 16, 16)
    with pytest.raises(CheckpointError, match=r"\(1, 16, 16\). It is made for \(1, 8, 8\)"):
        stalwart.attack(wide, large, wide(large).argmax(1), spelled, "spatial(rotation=40)")
