"""Every example in README.md and docs/ is run: a page's blocks in order, in one folder and one namespace.

A block is left out by a comment on the line before it: <!-- no-test: the reason -->.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stalwart.cli.main import app, run

HOUSE = Path(__file__).parents[2]
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?P<comment><!-- no-test: (?P<reason>[^\n]+?) -->\n\s*)?^```(?P<language>[\w-]+)\n(?P<body>.*?)^```$", re.M | re.S
)
IMAGE_OR_LINK = re.compile(r"\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)")


@dataclass(frozen=True)
class Block:
    language: str
    body: str
    line: int
    reason: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["body"], text.count("\n", 0, m.start("body")) + 1, m["reason"])
        for m in FENCE.finditer(text)
    ]


def runnable(block: Block) -> bool:
    return block.language == "python" or (block.language in ("bash", "console") and bool(commands(block)))


def commands(block: Block) -> list[str]:
    """The lines of a shell block that call stalwart, continued lines joined."""
    lines = block.body.replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith("stalwart ")]


def pages_with_examples() -> list[Path]:
    return [page for page in PAGES if any(runnable(b) and b.reason is None for b in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with_examples(), ids=lambda p: str(p.relative_to(HOUSE)))
def test_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if not runnable(block) or block.reason is not None:
            continue
        if block.language == "python":
            compiled = compile("\n" * (block.line - 1) + block.body, str(page), "exec", dont_inherit=True)
            exec(compiled, namespace)  # noqa: S102 (the project's own pages)
            continue
        for command in commands(block):
            # Split as a shell does, a trailing comment left out; run here, since importing PyTorch anew takes seconds.
            code = run(shlex.split(command, comments=True)[1:])
            said = capsys.readouterr()
            assert code == 0, f"{page.name}: `{command}` gave {code}\n{said.out}{said.err}"


def test_the_pages_have_examples_at_all() -> None:
    names = {str(page.relative_to(HOUSE)) for page in pages_with_examples()}
    assert {"README.md", "docs/attacks/gradient.md", "docs/errors.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    gone = [m["target"] for m in IMAGE_OR_LINK.finditer(text) if not (page.parent / m["target"]).exists()]
    assert not gone


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_spellings_in_left_out_commands_can_be_read(page: Path) -> None:
    """Blocks that are not run must at least name commands that exist."""
    known = {part.name or part.typer_instance.info.name for part in app.registered_commands + app.registered_groups}
    for block in blocks(page):
        if block.language in ("bash", "console"):
            for command in commands(block):
                word = shlex.split(command, comments=True)[1]
                assert word in known or word.startswith("--"), command
