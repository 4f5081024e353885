"""The runner's judge: it counts, projects, rounds and looks again; an attack never grades itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Attack, Goal, Rendered, Stage, Threat, Verdict
from stalwart.core.errors import ContractError
from stalwart.core.losses import raising
from stalwart.core.rendering import Shown, redrawn
from stalwart.core.rng import Noise
from stalwart.core.spelling import spell
from stalwart.run._worst import Standing, Worst

SLACK = 1e-6
"""How far a size may pass ε by float32's rounding, besides one part in 10,000."""


LOOK_EVERY = 4
"""Passes between two looks at what is reached, on an accelerator: to look is to wait until it has caught up."""

OUTWARD = (1.0, 1.01, 1.03, 1.06, 1.12, 1.25, 1.5)
"""How far a smallest change is lengthened where rounding to 8 bits has undone it, until it stands."""
NUDGES = (1.0, 1 + 1e-5, 1 + 1e-4, 1 + 1e-3)
"""The same where nothing is rounded but float32 itself."""


class Ledger:
    """What was found for each sample of a batch, and what it cost.

    Of a rendered threat it keeps parameters θ: `clean` is then the neutral θ, `answer` the θ found, `goal` and `threat`
    those in θ. What a user wants to see are `pixels`, `pictures()` and `sizes()`.

    Args:
        pixels: (B, C, H, W) float32 in [0, 1], the clean images.
        goal: the goal in full precision, for judging.
        bits: round to so many bits before judging, or None.
        most: judge at most so many at a time, where the batch is larger than a pass may be; None: all at once.
        graded: keep each sample's point of greatest harm and let the attack take all its steps, whatever is reached on
            the way; for goals that say the harm. Else the first point that reaches the goal is kept, and ends it.
    """

    def __init__(
        self,
        pixels: Tensor,
        goal: Goal,
        threat: Threat | Rendered,
        bits: int | None,
        most: int | None = None,
        graded: bool = False,
    ) -> None:
        self.pixels, self.most = pixels, most
        self.shown: Shown | None = None
        self.clean, self.goal, self.bits = pixels, goal, bits
        if isinstance(threat, Rendered):
            self.shown = Shown.of(goal, threat, pixels, bits)
            # θ is not rounded; the picture is, when it is rendered.
            self.clean, self.goal, self.bits = self.shown.neutral, self.shown, None
        self.threat: Threat = threat.within() if isinstance(threat, Rendered) else threat
        clean = self.clean
        self.answer = clean.clone()
        self.reached = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        self.loss = torch.full((len(clean),), -torch.inf, device=clean.device)
        self.harm = self.loss.clone()
        """(B,) at the answer; −inf where the goal says none."""
        self.climbing: Worst | None = Worst(clean) if graded else None
        """The worst that the attack's own passes have seen, not judged yet."""
        self.forwards = 0
        self.backwards = 0
        self.climbed = False
        self.flat = torch.zeros((), dtype=torch.int64, device=clean.device)
        self.broken = torch.zeros((), dtype=torch.int64, device=clean.device)
        self.every = 1 if clean.device.type == "cpu" else LOOK_EVERY
        self._noted: list[tuple[Tensor, Tensor, Tensor]] = []
        self.marks: list[tuple[str, int, int, int]] = []
        """Where each part of an ensemble began: its name, what had fallen, forwards and backwards so far."""

    @property
    def graded(self) -> bool:
        return self.climbing is not None

    @property
    def standing(self) -> Standing:
        """At the answers."""
        return Standing(self.harm, self.loss)

    def mark(self, name: str) -> None:
        """A part of an ensemble begins."""
        self.look()
        self.look_back()
        self.marks.append((name, int(self.reached.sum()), self.forwards, self.backwards))

    def look_back(self) -> None:
        """Judge the worst that the attack's own passes have seen, where it is worse than what stands."""
        if self.climbing is not None:
            worse = self.climbing.standing.over(self.standing).nonzero().squeeze(1)
            if len(worse):
                self.judge(self.climbing.images[worse], worse)

    def stages(self) -> list[Stage]:
        """What each part did, up to now."""
        ends = [*self.marks[1:], ("", int(self.reached.sum()), self.forwards, self.backwards)]
        return [
            Stage(name, len(self.reached) - fell, end[1] - fell, end[2] - forwards, end[3] - backwards)
            for (name, fell, forwards, backwards), end in zip(self.marks, ends, strict=bool(self.marks))
        ]

    @torch.no_grad()
    def pictures(self, index: Tensor | None = None) -> Tensor:
        """(b, C, H, W) the answers as they would be saved, of the samples at `index` (b,) or of all."""
        answer, shown = (self.answer, self.shown) if index is None else (self.answer[index], self.shown)
        if shown is None or not len(answer):
            return answer if shown is None else self.pixels[:0]
        shown = shown if index is None else shown.select(index)
        most = self.most or len(answer)
        places = torch.split(torch.arange(len(answer), device=answer.device), most)
        return torch.cat([shown.select(place).picture(answer[place]) for place in places])

    def sizes(self, index: Tensor | None = None) -> Tensor:
        """(b,) how far the answers are from the clean images, in the units of the threat's ε."""
        answer, clean = (self.answer, self.clean) if index is None else (self.answer[index], self.clean[index])
        return self.threat.size(answer, clean) if self.shown is None else self.shown.threat.size(answer, clean)

    def release(self) -> None:
        """Let go of the images; only the counts are wanted from here on."""
        self.pixels = self.clean = self.answer = self.clean[:0]
        self.shown = self.climbing = None

    def judge(self, images: Tensor, index: Tensor) -> Tensor:
        """(b,) bool: do these images reach the goal inside the threat, as they would be saved? Keeps what it saw."""
        most = self.most or len(index)
        if len(index) <= most:
            return self._judge(images, index)
        parts = zip(torch.split(images, most), torch.split(index, most), strict=True)
        return torch.cat([self._judge(*part) for part in parts])

    @torch.no_grad()
    def _judge(self, images: Tensor, index: Tensor) -> Tensor:
        clean = self.clean[index]
        settled = settle(images.detach().to(clean.dtype), clean, self.threat, self.bits)
        self.forwards += len(settled)
        verdict = self.goal.select(index)(settled)
        inside = self.threat.size(settled, clean) <= limit(self.threat)
        assert verdict.reached is not None
        reached = verdict.reached & inside
        new = ~self.reached[index]  # what is reached stays as first found
        place = index[new]
        self.reached[place] = reached[new]
        if self.graded:
            new = inside & Standing.of(verdict).over(self.standing[index])
            place = index[new]
        self.answer[place] = settled[new]
        self.loss[place] = verdict.loss.float()[new]
        if verdict.harm is not None:
            self.harm[place] = verdict.harm.float()[new]
        return reached

    def note(self, images: Tensor, reached: Tensor, index: Tensor) -> Tensor | None:
        """Judge where the attack's own pass says `reached` (b,), at once or, on an accelerator, a few passes later.

        Nothing is lost by waiting: every candidate is kept and judged in the order in which it came, and a sample only
        leaves the batch a few steps late. Between two looks nothing waits for the device.

        Returns:
            (b,) bool: which samples are done; None between two looks.
        """
        self._noted.append((images.detach(), reached, index))
        if len(self._noted) < self.every:
            return None
        self.look()
        return self.reached[index]

    def look(self) -> None:
        """Judge the candidates that were noted."""
        noted, self._noted = self._noted, []
        if not noted:
            return
        counts = torch.stack([reached.sum() for _, reached, _ in noted]).tolist()
        for (images, reached, index), count in zip(noted, counts, strict=True):
            if count:
                place = (reached & ~self.reached[index]).nonzero().squeeze(1)
                if len(place):
                    self.judge(images[place], index[place])

    def watch(self, gradient: Tensor) -> None:
        """Count a gradient as it passes, and those that are all zero or not finite."""
        self.backwards += len(gradient)
        peak = gradient.detach().abs().flatten(1).amax(1)
        self.flat += (peak == 0).sum()
        self.broken += (~peak.isfinite()).sum()


class Judged:
    """A goal whose `reached` is the judge's word and whose passes are counted. It is what an attack gets to see.

    Args:
        least: the attack looks for the smallest change: it is told what its own images reach, and is judged in the end.
    """

    def __init__(self, goal: Goal, ledger: Ledger, index: Tensor, least: bool = False) -> None:
        self.goal, self.ledger, self.index, self.least = goal, ledger, index, least

    @property
    def model(self) -> nn.Module:
        return self.goal.model

    @property
    def images(self) -> Tensor | None:
        """See `core.rendering.images_of`."""
        return getattr(self.goal, "images", None)

    def on(self, model: nn.Module) -> Judged:
        return Judged(self.goal.on(model), self.ledger, self.index, self.least)

    def unjudged(self) -> Judged:
        """The same goal, which says what it sees and leaves the judging to the end: for looks at a random model, of
        which one alone proves nothing."""
        return Judged(self.goal, self.ledger, self.index, least=True)

    def redrawn(self, number: int) -> Judged:
        return Judged(redrawn(self.goal, number), self.ledger, self.index, self.least)

    def raising(self, kind: str) -> Judged | None:
        goal = raising(self.goal, kind)
        return None if goal is None else Judged(goal, self.ledger, self.index, self.least)

    def enter(self, name: str) -> None:
        """A part of an ensemble begins (`core/stages.py`)."""
        self.ledger.mark(name)

    def fallen(self) -> Tensor:
        """(b,) bool: what has fallen up to now; candidates that wait are judged first. Nothing, where all goes on."""
        self.ledger.look()
        return self.ledger.reached[self.index] & (not self.ledger.graded)

    def select(self, index: Tensor) -> Judged:
        return Judged(self.goal.select(index), self.ledger, self.index[index], self.least)

    def __call__(self, images: Tensor) -> Verdict:
        self.ledger.forwards += len(images)
        if images.requires_grad and images.is_leaf:
            self.ledger.climbed = True
            images.register_hook(self.ledger.watch)  # type: ignore[no-untyped-call]
        verdict = self.goal(images)
        assert verdict.reached is not None
        if self.least:
            return verdict
        if self.ledger.climbing is not None:
            self.ledger.climbing.see(images, Standing.of(verdict), self.index)
            self.ledger.note(images, verdict.reached, self.index)
            return replace(verdict, reached=None)
        reached = self.ledger.note(images, verdict.reached, self.index)
        return replace(verdict, reached=reached)


def judge_clean(ledger: Ledger, solver: Attack | None = None) -> Tensor:
    """(b,) bool: what is wrong from the start.

    Args:
        solver: the attack that comes next, for whose samples the worst point is sought from here on if the goal says
            the harm; None, or an attack for the smallest change: the first point that reaches the goal.
    """
    everything = torch.arange(len(ledger.clean), device=ledger.clean.device)
    wrong = ledger.judge(ledger.clean, everything)
    if solver is not None and not seeks_least(solver) and bool((ledger.harm > -torch.inf).any()):
        ledger.climbing = Worst(ledger.clean)
    return wrong


def search(ledger: Ledger, solver: Attack, seed: int, goal: Goal | None = None) -> None:
    """Attack what is not wrong already and judge what came."""
    conclude(ledger, solve(ledger, solver, ledger.threat, seed, goal), seeks_least(solver))


def solve(ledger: Ledger, solver: Attack, threat: Threat, seed: int, goal: Goal | None = None) -> Tensor:
    """(b, C, H, W) what the attack gives within `threat`, or the clean image of a sample that is wrong already.

    Under a rendered threat it is θ that is given.

    Args:
        goal: what the attack climbs, where that is another than what the ledger judges by.
    """
    last = ledger.clean.clone()
    live = _live(ledger)
    if not len(live) or threat.epsilon <= 0:
        return last
    clean = ledger.clean[live]
    aim: Goal = ledger.goal
    if goal is not None:
        aim = goal if ledger.shown is None else replace(ledger.shown, goal=goal)
    judged = Judged(aim.select(live), ledger, live, seeks_least(solver))
    given = solver(clean, judged, threat, Noise.of_images(ledger.pixels[live], seed))
    if given.shape != clean.shape:
        raise ContractError(
            f"{spell(solver)} must give images of shape {tuple(clean.shape)}. Got {tuple(given.shape)}."
        )
    last[live] = given.to(last.dtype)
    return last


def conclude(ledger: Ledger, last: Tensor, least: bool) -> None:
    """Judge an attack's answers (b, C, H, W); smallest changes, once more and once more where rounding undid them."""
    ledger.look()
    live = _live(ledger)
    if not len(live) or ledger.threat.epsilon <= 0:
        return
    ledger.judge(last[live], live)  # first, as it is mostly the worst, and then there is no more to look at
    ledger.look_back()
    if not least:
        return
    room = ledger.threat.size(last, ledger.clean) <= limit(ledger.threat)  # beyond ε no lengthening is of use
    for factor in (NUDGES if ledger.bits is None else OUTWARD)[1:]:
        left = (~ledger.reached & room).nonzero().squeeze(1)
        if not len(left):
            break
        ledger.judge(ledger.clean[left] + (last[left] - ledger.clean[left]) * factor, left)


def _live(ledger: Ledger) -> Tensor:
    """(b,) the samples to attack: those that stand or, where the worst point is sought, all."""
    return (~ledger.reached | ledger.graded).nonzero().squeeze(1)


def seeks_least(solver: Attack) -> bool:
    """Whether the attack looks for the smallest change rather than for any within ε."""
    return bool(getattr(solver, "least", False))


def works_together(solver: Attack) -> bool:
    """Whether the attack finds one change for all images, and so must be given all of them at once."""
    return bool(getattr(solver, "together", False))


class Counted(Protocol):
    """What the gradients of some passes came to."""

    @property
    def backwards(self) -> int: ...
    @property
    def climbed(self) -> bool: ...
    @property
    def flat(self) -> Tensor | int: ...
    @property
    def broken(self) -> Tensor | int: ...


def doubts(ledgers: Sequence[Counted]) -> tuple[str, ...]:
    """What the gradients said that makes the figure doubtful."""
    backwards = sum(ledger.backwards for ledger in ledgers)
    flat, broken = sum(int(ledger.flat) for ledger in ledgers), sum(int(ledger.broken) for ledger in ledgers)
    found = []
    if not backwards and any(ledger.climbed for ledger in ledgers):
        found.append("no gradient came from the model (detached, or not differentiable): this attack was blind.")
    if broken:
        found.append(f"{broken:,} of {backwards:,} gradients were not finite: the attack is blind there.")
    if flat > 0.1 * backwards:
        found.append(
            f"{flat:,} of {backwards:,} gradients were exactly zero: the model hides its slope (saturated, rounded or "
            "detached), so this figure says little of its robustness. Try goal='margin' or a black-box attack."
        )
    return tuple(found)


def limit(threat: Threat) -> float:
    return threat.epsilon * (1 + 1e-4) + SLACK


def eight_bit(images: Tensor) -> bool:
    """Whether every value is k/255, as an image read from a file has it."""
    scaled = images * 255
    return bool((scaled - scaled.round()).abs().max() < 1e-3) if images.numel() else True


def settle(images: Tensor, clean: Tensor, threat: Threat, bits: int | None) -> Tensor:
    """The images as they would be saved: projected, rounded to `bits`, and still inside the threat.

    Rounding can push an image out of a ball; its change is then drawn in a little and rounded again, and in the
    last resort each value is rounded towards the clean one, which shrinks the change in every norm.
    """
    images = threat.project(images, clean)
    if bits is None:
        return images
    levels = 2**bits - 1
    rounded: Tensor = (images * levels).round_().div_(levels)
    if threat.epsilon == 0:
        return clean.clone()
    room = limit(threat)
    for factor in (0.99, 0.98, 0.96, 0.93, 0.89, 0.84, 0.78, 0.7):
        over = threat.size(rounded, clean) > room
        if not bool(over.any()):
            return rounded
        drawn = clean[over] + (images[over] - clean[over]) * factor
        rounded[over] = (drawn * levels).round_().div_(levels)
    over = threat.size(rounded, clean) > room
    if bool(over.any()):
        shift = (images[over] - clean[over]) * levels
        whole = (shift + shift.sign() * 1e-3).trunc_()
        rounded[over] = (clean[over] * levels).round_().add_(whole).div_(levels)
    return rounded
