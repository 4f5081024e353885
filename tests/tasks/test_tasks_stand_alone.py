"""A task is one file: with any one of them deleted, or all but the first, nothing else notices."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stalwart

HOUSE = Path(stalwart.__file__).parent
TASKS = ("detection", "instance", "panoptic", "semantic")
WORLD = ("stalwart.drive", "stalwart.roads")
"""Takes long to import: of it the text alone is looked at."""
WITHOUT = """
import contextlib, importlib, io, json, pathlib, pkgutil, sys

folder, world, *tasks = sys.argv[1:]
sys.path.insert(0, folder)
told = []
for gone in (tasks, *([task] for task in tasks)):
    for name in [name for name in sys.modules if name.partition(".")[0] == "stalwart"]:
        del sys.modules[name]
    files = [pathlib.Path(folder, "stalwart", "tasks", task + ".py") for task in gone]
    texts = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    importlib.invalidate_caches()
    import stalwart
    assert stalwart.__file__.startswith(folder), stalwart.__file__
    names, failed = [], []
    for module in pkgutil.walk_packages(stalwart.__path__, "stalwart.", failed.append) if len(gone) > 1 else ():
        if not module.name.startswith(tuple(world.split())) and not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
                names.append(module.name)
            except ImportError as error:
                failed.append(f"{module.name}: {error}")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        rc = importlib.import_module("stalwart.cli.main").run(["list", "tasks"])
    told.append({"gone": gone, "names": names, "failed": failed, "rc": rc, "said": said.getvalue()})
    for file, text in zip(files, texts):
        file.write_bytes(text)
print(json.dumps(told))
"""


def test_no_module_imports_a_task() -> None:
    found = []
    for file in HOUSE.rglob("*.py"):
        package = ["stalwart", *file.relative_to(HOUSE).parent.parts]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found += [f"{file.name}: {name}" for name in imported(node, package) if name.startswith("stalwart.tasks.")]
    assert not found


def imported(node: ast.AST, package: list[str]) -> list[str]:
    """Every module that a statement may import, relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*above, *filter(None, [node.module])])
        return [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return []


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("import stalwart.tasks.detection", ["stalwart"]),
        ("from stalwart.tasks.detection import detection", ["stalwart"]),
        ("from stalwart.tasks import detection", ["stalwart"]),
        ("from . import detection", ["stalwart", "tasks"]),
        ("from .tasks.detection import detection", ["stalwart"]),
        ("from ..tasks import detection", ["stalwart", "run"]),
    ],
)
def test_an_import_of_a_task_is_seen(line: str, package: list[str]) -> None:
    assert "stalwart.tasks.detection" in imported(ast.parse(line).body[0], package)


def test_without_the_dense_tasks_the_rest_imports_and_is_listed(tmp_path: Path) -> None:
    """What imports without all of them does so without any one."""
    shutil.copytree(HOUSE, tmp_path / "stalwart", ignore=shutil.ignore_patterns("__pycache__"))
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path), " ".join(WORLD), *TASKS],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    known = {
        ".".join(("stalwart", *file.relative_to(tmp_path / "stalwart").with_suffix("").parts)).removesuffix(".__init__")
        for file in (tmp_path / "stalwart").rglob("*.py")
    }
    known = {name for name in known if not name.startswith(WORLD)} - {"stalwart", "stalwart.__main__"}
    assert len(known) > 200
    together, *_ = told
    assert together["failed"] == []
    assert set(together["names"]) == known - {f"stalwart.tasks.{name}" for name in TASKS}
    for one in told:
        assert one["rc"] == 0
        listed = {line.split()[0] for line in one["said"].splitlines() if line.strip()}
        assert {"classification", *TASKS} & listed == {"classification", *TASKS} - {*one["gone"]}
