"""How tests over the whole catalog spell attacks that are long by default."""

from __future__ import annotations

from stalwart.core import catalog

SPELLED = {
    "square": "square(queries=50)",
    "apgd": "apgd(steps=20)",
    "swift": "swift(steps=10)",
    "eot": "eot(n=2)",
    "fab": "fab(steps=20)",
    "orthogonal": "orthogonal(steps=20)",
}
FEW_QUERIES = ("square",)
"""Those that are then too short to find what is there."""


NOT_ALONE = ("transfer",)
"""Those that need more than a spelling: their own tests check them."""


def attacks() -> list[str]:
    """Every attack of the catalog, short enough to be run many times."""
    return [SPELLED.get(name, f"{name}()") for name in catalog.names("attacks") if name not in NOT_ALONE]
