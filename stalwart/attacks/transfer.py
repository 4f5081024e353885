"""Transfer: an attack climbs other models and is judged by the attacked one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from stalwart.core.ascent import Unstopped
from stalwart.core.component import component
from stalwart.core.contracts import Attack, Goal, Threat
from stalwart.core.errors import CheckpointError, InputError, nearest
from stalwart.core.freeze import frozen
from stalwart.core.queries import quiet
from stalwart.core.rendering import images_of
from stalwart.core.rng import Noise
from stalwart.store import checkpoint

_LENT: dict[str, nn.Module] = {}
"""Modules that Python lent under a name."""


@component
class transfer:
    """Any attack, with the surrogates in place of the attacked model; what it finds is judged on the attacked model.

    Papernot, McDaniel and Goodfellow, "Transferability in machine learning" (2016). Several surrogates are one whose
    logits are their mean (Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018, equation 10). An image
    that fools the surrogates is tried on the attacked model at once, and the search for it ends when that is fooled
    too; the steps are taken from the surrogates alone. Counts of passes are the surrogates' and the judge's together.
    """

    surrogate: str | tuple[str, ...]
    """A run folder, whose best checkpoint is taken, or a checkpoint folder, or several; or '@name' of a module that
    `transfer.lend` was given."""
    attack: Attack = "pgd(steps=20)"  # type: ignore[assignment]
    """The attack that climbs the surrogates."""
    blind: bool = False
    """Show the attacked model each image's last version alone, as an attacker must who has no access to it at all."""

    @property
    def least(self) -> bool:
        """Whether the attack within looks for the smallest change."""
        return bool(getattr(self.attack, "least", False))

    @staticmethod
    def lend(model: nn.Module, name: str) -> str:
        """Name a module that is no checkpoint, for as long as this process lives: `transfer(transfer.lend(net, 'a'))`.

        A name that is taken passes to the new module. Returns its spelling, '@name'.
        """
        if not isinstance(model, nn.Module) or not name:
            raise InputError(
                f"a surrogate to lend must be an nn.Module with a name. Got {type(model).__name__}, {name!r}."
            )
        _LENT[name] = model
        return f"@{name}"

    def __call__(self, clean: Tensor, goal: Goal, threat: Threat, noise: Noise) -> Tensor:
        with ExitStack() as still:
            for model in self._models:
                still.enter_context(frozen(model.to(clean.device)))
            for model in self._models:
                _compare(model, goal.model, images_of(goal, clean))
            one = self._models[0] if len(self._models) == 1 else Mean(self._models)
            aim = (quiet(goal) if self.blind else goal).on(one)
            return self.attack(clean, Unstopped(aim) if self.blind and not self.least else aim, threat, noise)

    @functools.cached_property
    def _models(self) -> tuple[nn.Module, ...]:
        names = (self.surrogate,) if isinstance(self.surrogate, str) else self.surrogate
        if not names:
            raise InputError("transfer needs at least one surrogate. Got none.")
        return tuple(_find(name) for name in names)


def _find(name: str) -> nn.Module:
    if not name.startswith("@"):
        return checkpoint.load(Path(name))
    if name[1:] not in _LENT:
        raise InputError(f"transfer: nobody lent a module named {name[1:]!r}. {nearest(name[1:], _LENT)}")
    return _LENT[name[1:]]


def _compare(surrogate: nn.Module, attacked: nn.Module, clean: Tensor) -> None:
    """Refuse a checkpoint that was made for other images or classes than it is to stand in for."""
    card, other = getattr(surrogate, "card", None), getattr(attacked, "card", None)
    if not isinstance(card, dict):
        return
    signature = checkpoint.signature_of(card)
    made_for = (signature.channels, *signature.size)
    if made_for != tuple(clean.shape[1:]):
        raise CheckpointError(
            f"transfer: the surrogate must take images (C, H, W) {tuple(clean.shape[1:])}. It is made for {made_for}."
        )
    if isinstance(other, dict) and card["classes"] != other["classes"]:
        raise CheckpointError(
            f"transfer: the surrogate must know the attacked model's {len(other['classes'])} classes. "
            f"It knows {len(card['classes'])}: {', '.join(card['classes'][:5])}."
        )


class Mean(nn.Module):
    """The mean of several models' logits."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        outputs = [model(images) for model in self.models]
        shapes = {tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__ for out in outputs}
        if len(shapes) > 1 or not isinstance(outputs[0], Tensor):
            raise InputError(
                f"transfer: several surrogates must give logits of one shape. Got {sorted(map(str, shapes))}."
            )
        return torch.stack([out.float() for out in outputs]).mean(0)
