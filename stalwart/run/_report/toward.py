"""Attacks that want everything to be taken for one class, in the report."""

from __future__ import annotations

from collections.abc import Iterable

from stalwart.pages.html import Child, Html, table, tag
from stalwart.pages.numbers import count, percent, radius, span
from stalwart.run._report.record import Attacked


def strongest(attacks: Iterable[Attacked]) -> list[Attacked]:
    """For each class, threat and split the attack that won most, in the order of the results."""
    most: dict[tuple[str, str, str], Attacked] = {}
    for item in attacks:
        key = (item.toward, item.threat, item.split)
        if key not in most or item.robust < most[key].robust:
            most[key] = item
    return list(most.values())


def said(item: Attacked) -> str:
    """What one attack won, in a sentence."""
    won = item.reached
    return (
        f"Within {item.threat} {item.attack} has everything taken for “{item.toward}” on {percent(won.value)} of "
        f"{count(item.n)} {item.split} images that hold another class{won.within}; untouched, "
        f"{percent(1 - item.clean)} of them are taken so."
    )


def body(attacks: Iterable[Attacked]) -> Html:
    """The share of images won at each radius."""
    rows: list[list[Child]] = []
    for item in attacks:
        for point in item.curve:
            low, high = point.interval
            cells: list[Child] = [item.toward, tag("code", item.threat), tag("code", item.attack)]
            cells += [radius(point.epsilon, item.in_levels), percent(1 - point.share), span((1 - high, 1 - low))]
            rows.append([*cells, count(item.n)])
    about = (
        "An attacker who wants one answer has a harder task than one who wants any wrong one. Counted are the images "
        "that hold another class, and of those the ones in which everything is taken for the wanted class by the "
        "task's own bound. What is won at a small ε is won at every larger one."
    )
    head = ["class", "threat", "attack", "ε", "won", "95 % interval", "n"]
    return tag("div", tag("p", about, class_="about"), table(head, rows, caption="Images taken for a class"))
