"""The report: one HTML file that says how far each run can be trusted, from what the run folders hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stalwart.core.errors import RunError
from stalwart.pages.html import Child, Html, page, tag
from stalwart.run._report import audits, comparison, corrupted, detections, sections, shields, toward, transfers, words
from stalwart.run._report.classes import classes
from stalwart.run._report.gallery import Allowance, gallery
from stalwart.run._report.record import Record, read_all
from stalwart.run._report.sections import Section
from stalwart.store import atomic


def report(paths: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of one run, or of several side by side.

    The same folders give the same file, byte for byte. Parts that a run lacks are left out, with the command that
    would make them.

    Args:
        paths: run folders.
        out: the file to write; None: report.html in the first run folder.

    Returns:
        Where the report was written.

    Raises:
        RunError: no run folder, one given twice, or one without a readable config.json; `out` is a folder.
        StorageError: the file cannot be written.
    """
    folders = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    records = read_all(folders)
    target = folders[0] / "report.html" if out is None else Path(out)
    if target.is_dir():
        raise RunError(f"{target} must be the file to write the report to. Got a folder.")
    atomic.write_text(target, render(records))
    return target


def render(records: Sequence[Record]) -> Html:
    """The whole page."""
    allowance = Allowance()
    title = words.listed(record.label for record in records)
    body = [_single(records[0], allowance)] if len(records) == 1 else _several(records, allowance)
    foot = tag(
        "footer",
        "Written by Stalwart from the files of the run. It measures; it does not certify. Hold the pointer over a "
        "chart to read its figures.",
    )
    return page(f"{title} · Stalwart report", tag("main", body, foot))


def _single(record: Record, allowance: Allowance) -> Html:
    return tag(
        "div",
        tag(
            "header",
            tag("p", "Stalwart report", class_="eyebrow"),
            tag("h1", record.label),
            tag("p", words.headline(record), class_="lede"),
            tag("p", words.named(record), class_="about"),
        ),
        sections.summary(words.summary(record)),
        tag("h2", "In figures"),
        _run(record, allowance),
    )


def _several(records: Sequence[Record], allowance: Allowance) -> list[Html]:
    contents = [tag("li", tag("a", record.label, href=f"#run-{place}")) for place, record in enumerate(records, 1)]
    parts = [
        tag(
            "header",
            tag("p", "Stalwart report", class_="eyebrow"),
            tag("h1", words.listed(record.label for record in records)),
            tag("p", comparison.headline(records), class_="lede"),
            tag("nav", tag("ul", contents), aria_label="Runs"),
        ),
        sections.summary(comparison.sentences(records)),
        tag("section", tag("h2", "Side by side"), comparison.comparison(records)),
    ]
    for place, record in enumerate(records, 1):
        parts.append(
            tag(
                "section",
                tag("h2", record.label, id=f"run-{place}", class_="run"),
                tag("p", words.headline(record), class_="lede"),
                tag("p", words.named(record), class_="about"),
                sections.summary(words.summary(record)),
                _run(record, allowance),
            )
        )
    return parts


def _run(record: Record, allowance: Allowance) -> Html:
    """All sections of one run."""
    pictures = gallery(record, allowance)
    found = [
        sections.training(record),
        classes(record),
        sections.calibration(record),
        sections.robustness(record),
        Section("Towards a class", toward.body(record.targeted)) if record.targeted else None,
        Section("Audit", audits.body(record.audits)) if record.audits else None,
        sections.smallest(record),
        Section("Shields", shields.body(record.shields)) if record.shields else None,
        Section("Certified accuracy", shields.curves(record.certificates)) if record.certificates else None,
        Section("Transfer between models", transfers.body(record.transfers)) if record.transfers else None,
        Section("Common corruptions", corrupted.body(record.corruptions)) if record.corruptions else None,
        Section("Detectors", detections.body(record.detections)) if record.detections else None,
        Section("Strongest examples", pictures) if pictures is not None else None,
        sections.cost(record),
        sections.provenance(record),
    ]
    missing: list[Child] = [tag("p", line, class_="about") for line in sections.missing(record)]
    shown = [tag("section", tag("h3", item.title), item.body) for item in found if item is not None]
    return tag("div", sections.tiles(record), missing, shown)
