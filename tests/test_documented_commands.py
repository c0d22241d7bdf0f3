"""The commands in README and docs are ones that cprspec takes: their options, their experiments, their numbers of ranks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from cprspec.cli import app
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve_all
from cprspec.spec.roots import parse_roots
from cprspec.training.division import check_ranks

PROJECT = Path(__file__).parent.parent
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")))
RANK_OPTIONS = ("nproc", "nnodes", "nodes", "gpus")


def _commands(page: str) -> Iterator[str]:
    """Every indented line `cprspec ...` of a page, put together where it goes on below; comments follow two spaces."""
    text = re.sub(r"\\\n\s*", "", (PROJECT / page).read_text())
    for line in re.findall(r"^ {4,}(?:\$ )?(cprspec .*)$", text, re.MULTILINE):
        for command in re.split(r" && |\s{2,}", line):
            if command.startswith("cprspec "):
                yield re.sub(r" #.*", "", command).replace("$seed", "1")


def _options(command: str) -> dict[str, Any]:
    """What the command line parser reads from a command. SystemExit or an exception of the parser where it takes it not."""
    group, words = get_command(app), shlex.split(command)[1:]
    while isinstance(group, TyperGroup):
        _, group, words = group.resolve_command(Context(group), words)  # type: ignore[assignment]
    return dict(group.make_context(command, words, resilient_parsing=False).params)


ALL = [(page, command) for page in PAGES for command in _commands(page)]


def test_there_are_commands_to_check() -> None:
    assert len(ALL) > 60
    assert any("--nodes" in command for _, command in ALL)


@pytest.mark.parametrize(("page", "command"), ALL)
def test_a_documented_command_is_taken(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    options = _options(command)
    ranks = 1
    for option in RANK_OPTIONS:
        ranks *= options.get(option) or 1
    for text in re.findall(r"experiments/\w+\.toml", command):
        roots = parse_roots([root for root in options.get("roots") or [] if "=" in root])
        for resolved in resolve_all(
            Path(text), builtin_registry(), overrides=options.get("overrides") or (), roots=roots
        ):
            check_ranks(resolved, ranks)
