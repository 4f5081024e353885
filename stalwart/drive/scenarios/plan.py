"""What a driver beside may plan: numbers with ranges, for a search to choose among."""

from __future__ import annotations

PLAN = (
    ("lane", 0.0, 3.0), ("start_m", -25.0, 45.0), ("faster_mps", -10.0, 10.0), ("over_at_s", 0.5, 6.0),
    ("over_s", 1.5, 5.0), ("over_share", 0.0, 1.0), ("change_at_s", 0.5, 8.0), ("change_mps", -20.0, 8.0),
)  # fmt: skip
"""What a plan holds, with the range of each: lane (0 left of one's own, 1 the same, 2 right of it), where it starts
against oneself, how much faster; when, for how long and how far it moves over to one's own lane; when and by how much
it changes its speed. A body keeps its own limits, whatever the plan says."""
MOST = 4096
"""Plans of one stage."""
