"""Figures as people read them."""

from __future__ import annotations

from fractions import Fraction

NBSP = "\u00a0"
"""A space that no line breaks at."""
_NAMES = {"miou": "mIoU", "pq": "PQ"}


def percent(share: float | None, digits: int = 1) -> str:
    """0.9834 → '98.3 %'; a dash where nothing was measured."""
    return "–" if share is None else f"{100 * share:.{digits}f}{NBSP}%"


def span(interval: tuple[float, float] | None) -> str:
    """An interval of shares: '97.1 to 99.0 %'."""
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}{NBSP}%"


def count(n: int | None) -> str:
    return "–" if n is None else f"{n:,}"


def figure(value: float | None, digits: int = 3) -> str:
    """A number of any size with so many significant digits."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return f"{value:.{max(digits - 1, 0)}e}"


def duration(seconds: float | None) -> str:
    """3725.0 → '1 h 2 min'."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.2g}{NBSP}s"
    if seconds < 120:
        return f"{seconds:.0f}{NBSP}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def radius(epsilon: float, in_levels: bool) -> str:
    """A threat's radius, as '8/255' where it was given in levels of 8-bit images, else as '0.5'."""
    if epsilon == 0:
        return "0"
    if in_levels:
        levels = Fraction(epsilon * 255).limit_denominator(8)
        if abs(float(levels) - epsilon * 255) < 1e-6:
            return f"{float(levels):g}/255"
    return f"{epsilon:.4g}"


def spoken(kind: str) -> str:
    """A task's figure as people write it: 'ap50' → 'AP50', 'miou' → 'mIoU', 'pixel_accuracy' → 'pixel accuracy'."""
    if kind in _NAMES:
        return _NAMES[kind]
    first, _, rest = kind.partition("_")
    if first == "box" and rest:
        return f"box {spoken(rest)}"
    known = first.rstrip("0123456789") in ("ap", "ar", "iou")
    return " ".join(filter(None, (first.upper().replace("IOU", "IoU") if known else first, rest.replace("_", " "))))
