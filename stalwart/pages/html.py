"""HTML that cannot be broken into: whatever is not `Html` already is escaped on its way in.

Class names and file names come from strangers, so no function here takes markup as plain text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, halves of pairs, and marks that turn the reading direction: none of them can be seen."""

_VOID = frozenset({"meta", "img", "br", "hr", "col"})


class Html(str):
    """Text that is markup already. Made by the functions of this file only."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]
Attribute = str | float | bool | None


def clean(text: str, longest: int = 400) -> str:
    """The text with everything unseen replaced by �, cut to `longest` characters."""
    text = _UNSEEN.sub("\ufffd", text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def escape(child: Child) -> Html:
    """Markup as it is, text escaped, lists joined, None left out."""
    if child is None:
        return Html("")
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return Html(html.escape(clean(child, 100_000)))
    if isinstance(child, int):
        return Html(str(child))
    return Html("".join(escape(item) for item in child))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element.

    Attributes are written as HTML has them, with `_` for `-` and at the end of Python's own words (`class_`). None and
    False leave one out, True writes it bare; numbers are rounded to two decimals, which is less than a pixel.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {key}")
            continue
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        written.append(f' {key}="{html.escape(clean(text, 2**31))}"')
    opened = f"<{name}{''.join(written)}>"
    return Html(opened if name in _VOID else f"{opened}{escape(children)}</{name}>")


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], *, caption: str, kind: str | None = None) -> Html:
    """A table in a box that scrolls sideways on a narrow screen.

    Args:
        caption: what it shows, for screen readers.
        kind: classes of the style sheet: 'even' for columns of one width, 'classes' for the table of classes, with
            'short' where their names take few characters.
    """
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in head])),
            tag(
                "tbody",
                [
                    tag("tr", tag("th", row[0], scope="row"), [tag("td", escape(cell)) for cell in row[1:]])
                    for row in rows
                ],
            ),
            class_=kind,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def folded(summary: Child, *children: Child) -> Html:
    """Content behind a line that opens it."""
    return tag("details", tag("summary", summary), *children)


def page(title: str, *body: Child) -> Html:
    """A whole document with the house's style in it. Nothing in it runs, and nothing is fetched.

    The policy allows this one style sheet, by its hash, and pictures that stand in the page itself.
    """
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        Html(f"<style>{style}</style>"),
    )
    return Html("<!doctype html>\n" + tag("html", head, "\n", tag("body", body), lang="en") + "\n")
