"""`stalwart list`, `stalwart show`, exit codes and one-line complaints, in a process of their own."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stalwart.cli import shelf, training
from stalwart.cli.main import app, run
from stalwart.core import catalog

HOUSE = Path(__file__).parents[2]
COMMANDS = [*(str(command.name) for command in app.registered_commands), "data", "rl"]


def stalwart(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "stalwart.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=cwd,
    )


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on stderr; nothing else may have been printed."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_the_shelf_agrees_with_the_catalog() -> None:
    assert set(shelf.rooms()) == {room for room in catalog.rooms() if catalog.names(room)}
    for room, summaries in shelf.rooms().items():
        assert tuple(summaries) == catalog.names(room)
        for name, summary in summaries.items():
            assert summary, f"{room}.{name} has no docstring"


def test_list_names_every_component() -> None:
    done = stalwart("list")
    assert done.returncode == 0, done.stderr
    for room, summaries in shelf.rooms().items():
        assert room in done.stdout
        for name in summaries:
            assert name in done.stdout


def test_list_does_not_import_torch() -> None:
    lines = (
        "import sys",
        "from stalwart.cli.main import run",
        "run(['list'])",
        "run(['train', '--help'])",
        "print('torch' in sys.modules)",
    )
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, timeout=120)
    assert done.stdout.splitlines()[-1] == "False"


def test_list_as_json_is_json_alone() -> None:
    done = stalwart("list", "attacks", "--json")
    assert set(json.loads(done.stdout)["attacks"]) == set(catalog.names("attacks"))


@pytest.mark.parametrize("name", ["attacks.pgd", "pgd"])
def test_show_tells_fields_ranges_and_defaults(name: str) -> None:
    done = stalwart("show", name)
    assert done.returncode == 0, done.stderr
    for text in ("attacks.pgd", "Madry", "steps", "int, >= 1", "20", "restarts"):
        assert text in done.stdout


def test_show_as_json_matches_the_class() -> None:
    shown = json.loads(stalwart("show", "threats.linf", "--json").stdout)
    assert shown["path"] == "threats.linf"
    assert [field["name"] for field in shown["fields"]] == ["epsilon"]
    assert shown["fields"][0]["default"] is None
    assert "∞" in shown["doc"] or "max" in shown["doc"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("show", "attacks.pdg"), "pgd"),
        (("show", "pdg"), "pgd"),
        (("show", "atacks.pgd"), "attacks"),
        (("list", "attack"), "attacks"),
        (("lits",), "list"),
        (("list", "--jsn"), "--json"),
        (("show",), "path"),
        (("train", "--epochs", "many"), "--epochs"),
        (("evaluate",), "run"),
    ],
)
def test_a_mistake_in_the_words_gives_one_line_and_exit_code_2(
    words: tuple[str, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(list(words))
    said = capsys.readouterr()
    done = subprocess.CompletedProcess(list(words), code, said.out, said.err)
    assert hint in complaint(done, 2).lower()


def test_the_process_leaves_with_that_code() -> None:
    assert "pgd" in complaint(stalwart("show", "attacks.pdg"), 2)


def test_debug_shows_the_traceback_too() -> None:
    done = stalwart("show", "pdg", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_version_and_bare_command() -> None:
    assert stalwart("--version").stdout.startswith("stalwart ")
    bare = stalwart()
    assert bare.returncode == 0
    for command in COMMANDS:
        assert command in bare.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"stalwart {command}" in capsys.readouterr().out.split("Examples:")[1]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m stalwart.cli.main list --json | true"],
        capture_output=True,
        text=True,
        cwd=HOUSE,
        timeout=120,
    )
    assert done.stderr == ""


def test_every_setting_of_training_is_an_option() -> None:
    options = set(inspect.signature(training.train).parameters)
    assert set(shelf.settings("Training")) <= options
