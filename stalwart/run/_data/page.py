"""The page of a data check: findings with their pictures, samples of each split, the balance of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stalwart.core.contracts import Examples, Objects, Sample
from stalwart.core.errors import DataError
from stalwart.pages.charts import bar
from stalwart.pages.html import Child, Html, clean, page, table, tag
from stalwart.pages.numbers import count
from stalwart.pages.overlays import colour, drawn
from stalwart.pages.pictures import png
from stalwart.run._data.looks import inspected

SAMPLES = 12
"""Pictures of each split."""
ALLOWANCE = 12_000_000
"""Characters that all pictures take together, at most."""

Shown = tuple[str, str, Sequence[str], Sequence[Sequence[tuple[str, int]]]]
"""A finding, its split, messages, and for each the split and place of its pictures."""

MEANS = {
    "unreadable": "Files that cannot be read, or do not fit together. Training stops at them, or passes over them with "
    "--skip-bad.",
    "damaged label": "Labels that cannot be made out. Their images are refused.",
    "unknown class": "Labels of classes that there are not. Their images are refused.",
    "box of no area": "Boxes without width or height are left out.",
    "box outside": "Boxes that stand out of their image are cut at its border. Many of them mean that boxes and images "
    "do not belong together, or another order of coordinates.",
    "empty mask": "Objects whose mask or polygon covers no pixel are left out.",
    "no labels": "A model learns from them that there is nothing. Is that so?",
    "same picture": "The same pixels. In two splits, a model is tested on what it was trained on.",
    "two answers": "The same pixels with two classes: one of them is wrong.",
    "nearly the same": "Pictures of two splits that are hardly to be told apart: copies, or frames of one video. A "
    "figure measured on them flatters.",
    "empty class": "A model cannot learn these classes there, or is not tested on them.",
}


def render(values: Mapping[str, Any], opened: Mapping[str, Examples], findings: Sequence[Shown]) -> Html:
    """The whole page.

    Args:
        values: the result of the check.
        opened: the splits, from which pictures are read again.
    """
    classes = next(iter(opened.values())).info.classes
    left = [ALLOWANCE]
    body: list[Child] = [
        tag(
            "header",
            tag("p", "Data check", class_="eyebrow"),
            tag("h1", clean(values["name"], 80)),
            tag("p", _lede(values), class_="lede"),
            tag("p", tag("code", values["data"]), f". Licence: {clean(values['licence'], 200)}.", class_="about"),
        ),
        tag("h3", "Splits"),
        table(
            ("split", "images", "unreadable", "without labels", values["unit"], "smallest", "largest"),
            [
                (
                    one["split"],
                    *(count(one[key]) for key in ("images", "unreadable", "unlabelled", "labels")),
                    _size(one["smallest"]),
                    _size(one["largest"]),
                )
                for one in values["splits"]
            ],
            caption="Splits",
            kind="many",
        ),
        tag("h3", "Findings"),
        _findings(values["findings"]),
        [_pictured(one, opened, classes, left) for one in findings],
        [_samples(split, examples, values, left) for split, examples in opened.items()],
        tag("h3", f"Classes, by {values['unit']}"),
        _balance(values),
    ]
    foot = tag("footer", "Written by Stalwart. Every image was read once, with its labels.")
    return page(f"{clean(values['name'], 80)} · Stalwart data check", tag("main", body, foot))


def _lede(values: Mapping[str, Any]) -> str:
    images = f"{count(values['n'])} images of {count(values['classes'])} classes were read"
    if not values["findings"]:
        return f"{images}. Nothing is odd."
    kinds = len({one["finding"] for one in values["findings"]})
    refused = sum(one["count"] for one in values["findings"] if one["then"] == "refused")
    tail = f" {count(refused)} files or labels must be mended before a model can be trained." if refused else ""
    return f"{images}; {kinds} kind{'s' if kinds > 1 else ''} of things {'are' if kinds > 1 else 'is'} odd.{tail}"


def _findings(rows: Sequence[Mapping[str, Any]]) -> Html:
    if not rows:
        return tag("p", "None.")
    cells = [(one["finding"], one["split"], count(one["count"]), one["then"], one["examples"][0]) for one in rows]
    return table(("finding", "split", "how many", "in training", "the first"), cells, caption="Findings", kind="many")


def _size(size: Sequence[int] | None) -> str:
    return "–" if size is None else f"{size[1]} × {size[0]}"


def _pictured(one: Shown, opened: Mapping[str, Examples], classes: Sequence[str], left: list[int]) -> Html | None:
    finding, split, messages, pictures = one
    cards = []
    for message, places in zip(messages, pictures, strict=True):
        shown = [_picture(opened[of], place, classes, left) for of, place in places]
        cards.append(tag("article", [part for part in shown if part], tag("p", clean(message, 300))))
    return tag("section", tag("h4", f"{finding}, {split}"), tag("p", MEANS.get(finding, ""), class_="about"),
               tag("div", cards, class_="drawings"))  # fmt: skip


def _samples(split: str, examples: Examples, values: Mapping[str, Any], left: list[int]) -> Html:
    n = len(examples)
    places = sorted({round(at * (n - 1) / max(SAMPLES - 1, 1)) for at in range(min(SAMPLES, n))})
    cards = []
    for place in places:
        sample = _sample(examples, place)
        if sample is None:
            continue
        shown = _picture(examples, place, examples.info.classes, left)
        said = _said(sample.target, examples.info.classes)
        cards.append(
            tag(
                "article",
                shown,
                tag("p", said, tag("span", clean(sample.name.removeprefix(values["root"]), 60), class_="where")),
            )
        )
    return tag("section", tag("h3", f"Samples of {split}"), tag("div", cards, class_="drawings"))


def _sample(examples: Examples, place: int) -> Sample | None:
    try:
        return inspected(examples, place)[0]
    except DataError:
        return None


def _picture(examples: Examples, place: int, classes: Sequence[str], left: list[int]) -> Html | None:
    sample = _sample(examples, place)
    if sample is None:
        return None
    source = png(drawn(sample.image, sample.target, classes))
    if len(source) > left[0]:
        return None
    left[0] -= len(source)
    return tag("img", src=source, alt=clean(f"{sample.name}: {_plain(sample.target, classes)}", 300))


def _plain(target: Any, classes: Sequence[str]) -> str:
    return ", ".join(f"{n:,} {name}" if n else name for n, name, _ in _parts(target, classes)) or "nothing labelled"


def _said(target: Any, classes: Sequence[str]) -> list[Child]:
    """What is labelled, each class with its colour."""
    parts: list[Child] = []
    for n, name, index in _parts(target, classes)[:8]:
        chip = tag("rect", width=10, height=10, rx=2, fill=colour(index))
        parts.append(
            tag("span", tag("svg", chip, viewBox="0 0 10 10", width=10, height=10, aria_hidden="true") if n else None,
                f" {n:,} " if n and isinstance(target, Objects) else " ", clean(name, 40), class_="chip")
        )  # fmt: skip
    return parts or ["nothing labelled "]


def _parts(target: Any, classes: Sequence[str]) -> list[tuple[int, str, int]]:
    """How many of each class, its name and its index; 0 for an image's one class."""
    if isinstance(target, int):
        return [(0, classes[target], target)] if 0 <= target < len(classes) else []
    labels = target.labels if isinstance(target, Objects) else target.flatten()
    values, counts = labels.unique(return_counts=True)
    found = [(int(n), classes[int(value)], int(value)) for value, n in zip(values, counts, strict=True)
             if int(value) < len(classes)]  # fmt: skip
    return sorted(found, reverse=True)


def _balance(values: Mapping[str, Any]) -> Html:
    splits = [one["split"] for one in values["splits"]]
    totals = {split: max(sum(row[split] for row in values["per_class"]), 1) for split in splits}
    most = max((row[split] / totals[split] for row in values["per_class"] for split in splits), default=1) or 1
    rows = []
    for row in values["per_class"]:
        cells: list[Child] = [clean(str(row["name"]), 60)]
        for tone, split in enumerate(splits):
            share = row[split] / totals[split]
            cells.append([f"{count(row[split])} ({100 * share:.1f} %)", bar(share / most, tone=tone)])
        rows.append(cells)
    return table(("class", *splits), rows, caption="Classes")
