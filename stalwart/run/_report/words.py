"""What the figures say, in plain sentences. Every number in them comes from the run's files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from stalwart.pages.numbers import count, duration, percent, radius
from stalwart.run._report import cheapest, commands, outliers, shields, toward, transfers
from stalwart.run._report.measures import SHARE
from stalwart.run._report.record import Attacked, Evaluation, Record
from stalwart.run._report.values import items, text, whole

FEW = 200
"""Below so many images an interval is wide enough to be spoken of."""
UNSEEN_LINF = 8 / 255
"""A change in L∞ that most people do not notice on a photograph; the usual budget of the literature."""
PHOTOGRAPH = 28
"""Pixels of the shorter side below which an image has too few details to speak of noticing."""


@dataclass(frozen=True)
class Sentence:
    """One line of the summary."""

    about: str
    """A few words that say what it is about."""
    said: str
    command: str = ""
    """What to run, where the sentence advises it."""


def listed(words: Iterable[str], joint: str = "and") -> str:
    """'a, b and c'."""
    parts = list(words)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {joint} {parts[-1]}" if parts else ""


def images(n: int, split: str) -> str:
    """'1,000 test images'."""
    where = {"val": "validation ", "train": "training ", "test": "test "}.get(split, "")
    return f"{count(n)} {where}image{'' if n == 1 else 's'}"


def radius_of(attacked: Attacked) -> str:
    return radius(attacked.epsilon, attacked.in_levels)


def budget(attacked: Attacked, record: Record) -> str:
    """What the threat allows, as a clause about the attacker."""
    size = _size(record)
    if attacked.threat_name == "linf":
        seen = size is not None and min(size[1:]) >= PHOTOGRAPH and attacked.epsilon <= UNSEEN_LINF * (1 + 1e-6)
        note = ", which most people do not notice on a photograph" if seen else ""
        return f"may change each colour value by at most {radius_of(attacked)} of its range{note}"
    if attacked.threat_name == "l2":
        spread = ""
        if size is not None:
            levels = 255 * attacked.epsilon / math.sqrt(math.prod(size))
            spread = f" (spread evenly, {levels:.1f} of 255 levels for each value)"
        return f"may make changes whose Euclidean length is at most {radius_of(attacked)}{spread}"
    return f"is held to {attacked.threat}"


def _size(record: Record) -> tuple[int, int, int] | None:
    """(channels, height, width) of the model's input."""
    signature = record.card.get("signature")
    sides = items(signature, "size")
    channels = whole(signature, "channels")
    if not channels or len(sides) != 2 or not all(type(side) is int and 0 < side < 100_000 for side in sides):
        return None
    return channels, sides[0], sides[1]


def headline(record: Record) -> str:
    """The report in one line."""
    evaluation, worst = record.evaluation, record.worst
    least = min(worst, key=lambda item: item.rank, default=None)
    clean = evaluation.measure if evaluation is not None else least.untouched if least is not None else None
    if clean is None:
        return "Nothing has been measured yet."
    said = f"{_upper(clean.phrase)} {'of' if clean.kind == SHARE else 'on'} untouched images"
    if least is None:
        return f"{said}. It has not been attacked yet."
    return (
        f"{said}, and {'on' if clean.kind == SHARE else 'of'} {percent(least.held.value)} after the worst attack "
        f"tried, within {least.threat}."
    )


def _upper(said: str) -> str:
    return said[:1].upper() + said[1:]


def summary(record: Record) -> list[Sentence]:
    """What was trained, how good it is, what an attack does, how far to trust it, what to do next."""
    found = [_trained(record), _clean(record)]
    found += _attacks(record)
    if record.targeted:
        told = " ".join(toward.said(item) for item in toward.strongest(record.targeted)[:3])
        found.append(Sentence("What an attacker gets who wants one class", told))
    found += _defences(record)
    found += _trust(record)
    found += following(record)
    return found


def _trained(record: Record) -> Sentence:
    model, data = record.spelled("model"), record.spelled("data")
    if not model and not data:
        return Sentence("What was trained", "The run's files do not say.")
    said = f"{model or 'A model that is not named'} on {data or 'data that are not named'}"
    n = whole(record.start, "train_images")
    classes = len(items(record.card, "classes"))
    facts = [f"{count(n)} training images" if n else "", f"{classes} classes" if classes else ""]
    if any(facts):
        said += f": {listed(filter(None, facts))}"
    objective = record.spelled("objective")
    if objective == "clean()":
        said += ". It was trained plainly, without attacks"
    elif objective.startswith(("adversarial(", "fast(")):
        said += f". It was hardened, that is trained on attacked images: {objective}"
    elif objective:
        said += f". Training minimised {objective}"
    if record.epochs:
        last = record.epochs[-1]
        said += f", for {len(record.epochs)} epoch{'s' if len(record.epochs) > 1 else ''}"
        said += f" in {duration(last['seconds'])}" if "seconds" in last else ""
        said += f", with seed {seed}" if (seed := whole(record.config.get("settings"), "seed")) is not None else ""
    return Sentence("What was trained", said + ".")


def _clean(record: Record) -> Sentence:
    found = record.evaluation
    if found is None:
        return Sentence("How good it is", "Not measured yet. This command measures it:", commands.evaluate(record))
    assert found.measure is not None
    if found.dense:
        said = f"It has {found.measure.phrase} on {images(found.n, found.split)}{found.measure.within}"
    else:
        said = f"It is {found.measure.phrase} of {images(found.n, found.split)}{found.measure.within}"
    if found.ece is not None:
        said += f"; its confidence is off by {100 * found.ece:.1f} points on average"
    said += "."
    weak = weakest(found)
    if weak:
        name, accuracy = weak
        said += f" It is weakest on “{name}”, at {percent(accuracy)}."
    elif not found.dense and sum(row.n > 0 and row.accuracy is not None for row in found.per_class) > 1:
        said += " No class is weaker than the others by more than chance explains."
    if found.split == "train":
        said += " These are images it learned from, so this says little of new ones."
    elif found.split == "val":
        said += " These images chose the checkpoint, so the figure flatters a little."
    return Sentence("How good it is", said)


def weakest(found: Evaluation) -> tuple[str, float] | None:
    """The class with the lowest accuracy, of those that are weaker than the others by more than chance explains; of
    figures that have no such test, the lowest."""
    if found.dense:
        kind = found.measure.kind if found.measure is not None else ""
        key = {name for row in found.figures for name in row.clean if name in (kind, kind.removeprefix("m"))}
        lowest = [(row.clean[name], row.name) for row in found.figures for name in key if name in row.clean]
        return (min(lowest)[1], min(lowest)[0]) if len(lowest) > 1 else None
    marked = outliers.weak([(row.accuracy, row.n) for row in found.per_class])
    known = [
        (row.accuracy, row.name)
        for row, below in zip(found.per_class, marked, strict=True)
        if below and row.accuracy is not None
    ]
    if not known:
        return None
    accuracy, name = min(known)
    return name, accuracy


def _attacks(record: Record) -> list[Sentence]:
    if not record.attacks:
        said = "Not measured yet. This command attacks it:"
        return [Sentence("What an attack does", said, commands.attack(record))]
    sentences = []
    for item in record.worst:
        left, shown = item.held, images(item.n, item.split)
        said = f"An attacker who knows the model and {budget(item, record)}, leaves it "
        if item.graded is None:
            said += (
                f"{left.phrase} of {shown}{left.within}, against {percent(item.clean)} of the same images untouched."
            )
        else:
            said += (
                f"{left.phrase} on {shown}{left.within}, against {percent(item.untouched.value)} on the same images "
                f"untouched; {percent(1 - item.robust)} of them are beyond the task's own bound, "
                f"{percent(1 - item.clean)} untouched."
            )
        said += f" Found by {item.attack}."
        sentences.append(Sentence(f"What an attack does: {item.threat}", said))
    together = " ".join(
        filter(
            None,
            (cheapest.said(item) for item in cheapest.within(record.counted)),
        )
    )
    if together:
        sentences.append(Sentence("The cheapest changes", together))
    return sentences


def _defences(record: Record) -> list[Sentence]:
    """What shields are worth, what is proven, and what passes over from other models."""
    found = []
    if record.shields:
        found.append(Sentence("What shields are worth", " ".join(shields.said(item) for item in record.shields[:3])))
    if record.certificates:
        found.append(Sentence("What is proven", " ".join(shields.proven(item) for item in record.certificates[:3])))
    if record.transfers:
        said = " ".join(transfers.said(item) for item in record.transfers[:3])
        found.append(Sentence("What passes from model to model", said))
    return found


def _trust(record: Record) -> list[Sentence]:
    worst = record.worst
    if not worst:
        if record.evaluation is None:
            return []
        return [
            Sentence(
                "How far to trust it",
                "On images like those it was measured on, as far as the figure above says. What happens to images "
                "that somebody changed on purpose is unknown until it is attacked.",
            )
        ]
    kept = min(_kept(item) for item in worst)
    if kept < 0.1:
        verdict = (
            "Not at all where somebody may touch its input: small deliberate changes turn nearly every right answer "
            "into a wrong one."
        )
    elif kept < 0.5:
        verdict = "Little where somebody may touch its input: most of its right answers fall to the attacks tried here."
    elif kept < 0.8:
        verdict = "With care: it withstands part of what was tried, and a good part of its right answers falls."
    else:
        verdict = "It withstands most of what was tried here. That is evidence, and no proof."
    tried = listed(dict.fromkeys(item.attack for item in record.attacks))
    caveat = (
        f" Each figure under attack is an upper bound: a stronger attack than those tried here ({tried}) may leave "
        "less. The intervals cover the choice of images, and neither another training seed nor other kinds of attack."
    )
    sentences = [Sentence("How far to trust it", verdict + caveat), *_audits(record)]
    cautions = doubts(record)
    if cautions:
        sentences.append(Sentence("Warnings", " ".join(cautions)))
    return sentences


def _kept(item: Attacked) -> float:
    """The share of the untouched figure that an attack left."""
    return item.held.value / item.untouched.value if item.untouched.value else 0.0


def _audits(record: Record) -> list[Sentence]:
    """Whether the figures under attack themselves are to be believed."""
    if not record.audits:
        return []
    said = []
    for item in record.audits:
        because = f" because {item.because}" if item.because else ""
        said.append(f"{item.attack} under {item.threat}: {item.verdict}{because}{item.lower}.")
    return [Sentence("Whether to believe the figures", " ".join(said))]


def doubts(record: Record) -> list[str]:
    """Why the figures may say less than they seem to."""
    found = [f"{item.attack} under {item.threat}: {warning}" for item in record.attacks for warning in item.warnings]
    found += [f"In training: {warning}" for warning in record.warnings]
    least = min((item.n for item in record.attacks), default=FEW)
    if least < FEW:
        found.append(f"Only {count(least)} images were attacked, so the intervals are wide.")
    for item in record.evaluations:
        if item.skipped:
            found.append(f"{count(item.skipped)} files of the {item.split} split could not be read and were left out.")
    found += [
        f"{one.attack} left less than {many.attack} under {one.threat}. One step beating many is a sign that the "
        "gradients mislead (gradient masking), so the true figure may be lower."
        for one in record.attacks
        if one.attack.startswith(("fgsm(", "fgm("))
        for many in record.attacks
        if many.attack.startswith(("pgd(", "bim("))
        and (many.threat, many.n, many.split, many.goal) == (one.threat, one.n, one.split, one.goal)
        and one.interval[1] < many.robust
    ]
    return [text if text.endswith((".", "!", "?")) else text + "." for text in found]


def following(record: Record) -> list[Sentence]:
    """The next step that would tell or mend most."""
    if not record.attacks:
        return []
    weak = min(record.attacks, key=lambda item: item.rank)
    if weak.n < FEW:
        said = "Attack more images, so that the intervals say something."
        return [Sentence("What next", said, commands.attack(record, weak, n=1000))]
    plain = record.spelled("objective") in ("clean()", "")
    if plain and weak.untouched.value and _kept(weak) < 0.8:
        objective = f"adversarial(attack=pgd(steps=7), threat={weak.threat})"
        command = commands.train(record, objective=objective, out=f"{record.path}-hardened")
        return [Sentence("What next", "Train it again on attacked images, and compare the two:", command or "")]
    stronger = "pgd(steps=100, restarts=5)"
    if any(item.attack == stronger for item in record.attacks):
        said = "Try attacks of other kinds, and images of other origin, before relying on it."
        return [Sentence("What next", said)]
    said = "Try to break it harder; the figure counts only as far as the strongest attack went:"
    return [Sentence("What next", said, commands.attack(record, weak, solver=stronger))]


def named(record: Record) -> str:
    """What the run is, in a line under its title."""
    started = text(record.config, "started")
    model, data = record.spelled("model"), record.spelled("data")
    parts = [f"{model} on {data}" if model and data else model or data]
    parts += [f"started {started[:16].replace('T', ' ')} UTC" if started.endswith("+00:00") else started]
    parts += [f"Stalwart {version}" if (version := text(record.config, "stalwart")) else ""]
    return " · ".join(filter(None, parts))
