"""How tests over the whole catalog spell attacks that are long by default."""

from __future__ import annotations

from stalwart.core import catalog

SPELLED = {"square": "square(queries=50)"}


def attacks() -> list[str]:
    """Every attack of the catalog, short enough to be run many times."""
    return [SPELLED.get(name, f"{name}()") for name in catalog.names("attacks")]
