"""How tests over the whole catalog spell attacks that are long by default."""

from __future__ import annotations

from stalwart.core import catalog

SPELLED = {
    "square": "square(queries=50)",
    "apgd": "apgd(steps=20)",
    "swift": "swift(steps=10)",
    "eot": "eot(n=2)",
    "fab": "fab(steps=20)",
    "ddn": "ddn(steps=30)",
    "fmn": "fmn(steps=30)",
    "orthogonal": "orthogonal(steps=20)",
    "boundary": "boundary(queries=100)",
    "hopskipjump": "hopskipjump(queries=300)",
    "spsa": "spsa(steps=8, pairs=16)",
    "universal": "universal(steps=30)",
}
FEW_QUERIES = ("square", "boundary", "hopskipjump", "spsa", "universal")
"""Those that are then too short to find what is there, or that no length brings to every image."""


NOT_ALONE = (
    "autoattack",
    "transfer",
)
"""Those that need more than a spelling: their own tests check them."""
ONLY = {"boundary": ("l2",), "ddn": ("l2",)}
"""The threats of those that do not serve both L∞ and L2."""


def attacks() -> list[str]:
    """Every attack of the catalog, short enough to be run many times."""
    return [SPELLED.get(name, f"{name}()") for name in catalog.names("attacks") if name not in NOT_ALONE]


def pairs(*threats: str) -> list[tuple[str, str]]:
    """Every attack with each of these threats (names or spellings) that it serves."""
    served = {attack: ONLY.get(attack.partition("(")[0]) for attack in attacks()}
    return [
        (attack, threat)
        for threat in threats
        for attack, only in served.items()
        if only is None or threat.partition("(")[0] in only
    ]


def objectives() -> list[str]:
    """Every objective of the catalog that needs no more than its name; `distil` needs a teacher, and has its tests."""
    return [name for name in catalog.names("objectives") if name != "distil"]
