"""What `cprspec data index` and `data check` say: as records for JSON, and as lines for a reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cprspec.data.records import Record
from cprspec.errors import MAX_ECHO, clean
from cprspec.video.checking import CHANGED, DAMAGED, MISSING, Checked
from cprspec.video.indexing import Made

MAX_SHOWN = 20
"""Files that are named to a reader; --json names more."""


def made_record(name: str, made: Made) -> dict[str, Any]:
    """What `data index --json` says of one collection (kind `data-index`)."""
    return {
        "schema": 1, "kind": "data-index", "dataset": name, "index": str(made.index), "files": made.files,
        "usable": made.usable, "looked_at": made.looked_at, "frames": made.frames, "mended": made.mended,
        "bad": made.flaws, "bad_files": [_bad(record) for record in made.bad],
    }  # fmt: skip


def made_lines(name: str, made: Made) -> Iterator[str]:
    """The same for a reader; safe for a terminal."""
    yield clean(f"{name}: {made.usable} of {made.files} usable, {made.frames} frames; looked at {made.looked_at} now")
    if made.mended:
        yield f"  {made.mended} usable videos have frames that the decoder had to mend"
    if made.flaws:
        yield "  bad: " + ", ".join(f"{defect} {n}" for defect, n in made.flaws.items())
    yield from _shown(
        [_line(f"{r['class']}  ", r["name"], r["reason"]) for r in map(_bad, made.bad)], made.files - made.usable
    )
    yield clean(f"  index: {made.index}")


def checked_record(name: str, file: Path, checked: Checked) -> dict[str, Any]:
    """What `data check --json` says of one collection (kind `data-check`)."""
    return {
        "schema": 1, "kind": "data-check", "dataset": name, "index": str(file), "files": checked.files,
        "sound": checked.sound, "bad": checked.bad, **checked.counts, "damaged_lines": list(checked.damaged_lines),
        "findings": [{"name": f.name, "state": f.state, "reason": f.reason} for f in checked.findings],
    }  # fmt: skip


def checked_lines(name: str, file: Path, checked: Checked) -> Iterator[str]:
    """The same for a reader; safe for a terminal."""
    yield clean(f"{name}: {checked.sound} of {checked.files} files as they were indexed in {file}")
    if checked.bad:
        yield f"  bad then as now: {checked.bad}"
    if checked.damaged_lines:
        yield f"  the index itself is damaged in line {', '.join(map(str, checked.damaged_lines[:MAX_SHOWN]))}"
    if checked.findings:
        yield "  " + ", ".join(f"{state} {n}" for state, n in checked.counts.items() if n)
    yield from _shown([_line(f"{f.state}  ", f.name, f.reason) for f in checked.findings], len(checked.findings))
    if checked.counts[DAMAGED]:
        yield "  restore what is damaged from a copy: nothing but its content tells"
    if checked.counts[CHANGED] or checked.counts[MISSING]:
        yield "  put right what changed or is missing, or let `cprspec data index` take it as it is"


def _bad(record: Record) -> dict[str, Any]:
    assert record.flaw is not None
    flaw = record.flaw
    return {"name": record.name, "class": flaw.defect.value, "reason": flaw.reason, "frame": flaw.frame}


def _line(head: str, name: str, reason: str) -> str:
    return f"  {head}{clean(name, MAX_ECHO)}: {clean(reason, MAX_ECHO)}"


def _shown(lines: list[str], total: int) -> Iterator[str]:
    yield from lines[:MAX_SHOWN]
    if total > MAX_SHOWN:
        yield f"  and {total - MAX_SHOWN} more; --json names them"
