"""What the ranks of a run said: the last lines of `logs/rankN.log`, each with its level."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import frozen

from cprspec.runs.layout import RunDir

LAST = 256 << 10
"""Bytes of a log's end that are read."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LINE = re.compile(r"(\S+Z) ([A-Z]+) (.*)")
_FILE = re.compile(r"rank(\d{1,6})\.log")


@frozen
class LogLine:
    """One line. A line that has no time and level of its own, as those of a traceback, has the level of the one before."""

    time: str
    level: str
    text: str


def log_ranks(run: RunDir) -> list[int]:
    """The ranks that wrote a log."""
    try:
        names = os.listdir(run.log(0).parent)  # noqa: PTH208
    except OSError:
        return []
    return sorted(int(found[1]) for name in names if (found := _FILE.fullmatch(name)))


def read_log(path: Path) -> list[LogLine]:
    """The last lines of a log; none where there is no such file."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - LAST)
            data = os.pread(file.fileno(), LAST, start)
    except OSError:
        return []  # it wrote none
    if start:
        data = data[data.find(b"\n") + 1 :]
    lines, level = list[LogLine](), "INFO"
    for line in data.decode("utf-8", "replace").splitlines():
        found = _LINE.fullmatch(line)
        if found and found[2] in LEVELS:
            level = found[2]
            lines.append(LogLine(found[1], level, found[3]))
        else:
            lines.append(LogLine("", level, line))
    return lines
