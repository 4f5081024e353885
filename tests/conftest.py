"""Puts this folder on the path, so that tests of all rooms can share `cheap.py`, and says which tests run together.

In several processes the tests of a file run in one of them, but those that compile the driving world's kernels in two,
one for traffic and one for sensors, so that no kernel is compiled twice. (Marks of `xdist_group` would say the same,
but pytest-xdist 3.8 does not see them under pytest 9.2.)
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

# The same examples each time, so that a change is not blamed for an example that nobody has met before. To look for
# new ones: make test ARGS="-m hypothesis --hypothesis-profile=default".
settings.register_profile("house", derandomize=True)
settings.load_profile("house")

TRAFFIC = (
    "tests/drive/test_traffic.py", "tests/drive/test_simulation.py", "tests/drive/test_world.py",
    "tests/drive/test_opendrive.py", "tests/drive/test_scenarios.py", "tests/drive/test_score.py",
    "tests/drive/test_footage.py", "tests/drive/test_exports.py", "tests/drive/test_topdown.py",
    "tests/drive/test_rival.py",
    "tests/data/test_roads.py", "tests/data/test_sources.py", "tests/cli/test_drive.py",
    "tests/docs/test_docs.py::test_examples_of_a_page_run[README.md]",
    "tests/docs/test_docs.py::test_examples_of_a_page_run[docs/driving.md]",
)  # fmt: skip
SENSORS = (
    "tests/drive/test_camera.py", "tests/drive/test_lidar.py", "tests/drive/test_shade.py",
    "tests/drive/test_instruments.py",
    "tests/docs/test_docs.py::test_examples_of_a_page_run[docs/driving-sensors.md]",
)  # fmt: skip


def group(nodeid: str) -> str:
    """The name of the tests that run in one process with this one."""
    if nodeid.startswith(TRAFFIC):
        return "traffic"
    return "sensors" if nodeid.startswith(SENSORS) else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Grouped(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Grouped(config, log)
