"""Pictures of the strongest adversarial examples: clean, the change magnified, adversarial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stalwart.pages.html import Child, Html, clean, tag
from stalwart.pages.numbers import figure, percent, radius
from stalwart.pages.pictures import LONGEST, difference, factor, png, reduced
from stalwart.run._report.drawings import figures, legend
from stalwart.run._report.record import Attacked, Flip, Record
from stalwart.run._report.values import items

MOST = 6
"""Examples shown of one attack."""
SMALL = 64
"""Pixels of the longer side up to which a picture is enlarged with hard edges."""


@dataclass
class Allowance:
    """Characters that all pictures of a page may take together."""

    left: int = 2_000_000

    def take(self, wanted: int) -> bool:
        if wanted > self.left:
            return False
        self.left -= wanted
        return True


def gallery(record: Record, allowance: Allowance) -> Html | None:
    """For each threat the strongest examples of its strongest attack that has pictures; None where there are none."""
    chosen: dict[str, Attacked] = {}
    for item in record.attacks:  # the lowest robust accuracy first
        if item.flips:
            chosen.setdefault(item.threat, item)
    if not chosen:
        return None
    groups = list(chosen.values())
    names = [name for name in items(record.card, "classes") if isinstance(name, str)]
    cards: list[list[Html]] = [[] for _ in groups]
    times = [max(1, min(factor(f.clean, f.adversarial) for f in item.flips[:MOST])) for item in groups]
    for place, flip in _in_turn(groups):
        made = _card(flip, groups[place], times[place], names)
        if not allowance.take(len(made)):
            break
        cards[place].append(made)
    parts: list[Child] = []
    for item, own, magnified in zip(groups, cards, times, strict=True):
        large = max(item.flips[0].clean.shape[-2:]) > LONGEST
        note = (
            f"Found by {item.attack}; the smallest change first. The middle picture is the change, {magnified}× as "
            "large, on grey: grey is no change."
        )
        drawn = any(flip.layers for flip in item.flips)
        if drawn:
            note = (
                f"Found by {item.attack}; those that lost most first. Left the ground truth, in the middle what the "
                "model says of the clean image, right what it says of the attacked one."
            )
        if large and not drawn:
            note += f" Pictures are reduced to {LONGEST} pixels."
        if not own:
            note += " The pictures are left out to keep this page small."
        parts.append(
            tag(
                "section",
                tag("h4", "Within ", tag("code", item.threat)),
                tag("p", note, class_="about"),
                legend(names) if drawn and own else None,
                tag("div", own, class_="gallery drawn" if drawn else "gallery"),
            )
        )
    return tag("div", parts)


def _in_turn(groups: Sequence[Attacked]) -> Iterator[tuple[int, Flip]]:
    """The first example of each group, then the second of each, ..."""
    for number in range(MOST):
        for place, item in enumerate(groups):
            if number < len(item.flips):
                yield place, item.flips[number]


def _card(flip: Flip, item: Attacked, times: int, names: Sequence[str]) -> Html:
    where = tag("span", _where(flip, item), class_="where")
    if flip.layers is not None:
        return tag(
            "article",
            tag("p", where),
            tag("div", figures(flip.clean, flip.adversarial, flip.layers, names), class_="triple"),
        )
    change = difference(flip.clean, flip.adversarial, times)
    pictures = (
        ("clean", reduced(flip.clean, sharp=False), _answer(flip.before, flip.before_confidence)),
        ("change", reduced(change, sharp=True), f"× {times}"),
        ("attacked", reduced(flip.adversarial, sharp=False), _answer(flip.after, flip.after_confidence)),
    )
    hard = max(flip.clean.shape[-2:]) <= SMALL
    shown = [
        tag(
            "figure",
            tag("img", src=png(image), alt=f"{kind}: {said}", class_="hard" if hard else None),
            tag("figcaption", tag("span", kind, class_="kind"), tag("span", said, class_=f"said {kind}")),
        )
        for kind, image, said in pictures
    ]
    return tag(
        "article",
        tag("p", "truth ", tag("strong", clean(flip.truth, 40) or "–"), where),
        tag("div", shown, class_="triple"),
    )


def _where(flip: Flip, item: Attacked) -> str:
    """Which image it is, and the size of its change."""
    size = (
        ""
        if flip.size is None
        else f", size {radius(flip.size, item.in_levels) if item.in_levels else figure(flip.size)}"
    )
    number = "" if flip.index is None else f"no. {flip.index}"
    name = clean(flip.name, 60)
    where = f"{name} ({number})" if name and number and str(flip.index) not in name else name or number
    return f"{where}{size}"


def _answer(label: str, confidence: float | None) -> str:
    label = clean(label, 40) or "–"
    return label if confidence is None else f"{label} · {percent(confidence, 0 if confidence < 0.995 else 1)}"
