"""Comparing a collection with its index: what changed, went missing, is new, or was damaged in silence.

Damage that no time of change betrays is found by the digest. An index without digests is compared by decoding: frames,
their times and sizes, and how many the decoder had to mend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import frozen

from cprspec.data.index import Entry
from cprspec.data.index_file import IndexFile
from cprspec.data.records import Record, VideoFacts
from cprspec.video.indexing import look_at_all
from cprspec.video.inspect import Job

Progress = Callable[[int, int], None]

DAMAGED, CHANGED, MISSING, NEW = "damaged", "changed", "missing", "new"
STATES = (DAMAGED, CHANGED, MISSING, NEW)


@frozen
class Finding:
    """A file that is not as the index has it: its name, one of `STATES`, and how that shows."""

    name: str
    state: str
    reason: str


@frozen(kw_only=True)
class Checked:
    """What a comparison found. `bad` files were bad when they were indexed, and are as they were."""

    files: int
    sound: int
    bad: int
    findings: tuple[Finding, ...]
    damaged_lines: tuple[int, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each state."""
        found = Counter(f.state for f in self.findings)
        return {state: found[state] for state in STATES}

    @property
    def harmed(self) -> bool:
        """Whether something is lost, or is not what was indexed; new files are no harm."""
        return bool(self.damaged_lines) or any(f.state != NEW for f in self.findings)


def check_collection(
    entries: Iterable[Entry] | None,
    root: Path,
    index: IndexFile,
    *,
    content: bool = True,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Compare the files under `root` with their records; `entries` are what the data set names now (None: not known).

    Without `content` only sizes and times of change are compared. `progress` hears (files read, files to read).
    """
    findings: list[Finding] = []
    jobs: list[Job] = []
    bad = 0
    for record in index.records():
        found = _at_first_sight(record, root / record.name)
        if record.flaw is not None:
            findings += [found] if found else []
            bad += found is None
        elif found is not None and (found.state == MISSING or not content):
            findings.append(found)
        elif content:
            jobs.append(_job(root, record))
    for done, now in enumerate(look_at_all(jobs, processes), start=1):
        then = index.record(now.name)
        assert then is not None
        findings += [found] if (found := _compare(then, now)) else []
        if progress:
            progress(done, len(jobs))
    findings += [Finding(e.name, NEW, "not in the index") for e in entries or () if e.name not in index]
    known = sum(f.state != NEW for f in findings)
    return Checked(
        files=len(index),
        sound=len(index) - bad - known,
        bad=bad,
        findings=tuple(sorted(findings, key=lambda f: (STATES.index(f.state), f.name))),
        damaged_lines=index.damaged,
    )


def _job(root: Path, record: Record) -> Job:
    return Job(root / record.name, record.name, digest=record.sha256 is not None, decode=record.sha256 is None)


def _at_first_sight(record: Record, path: Path) -> Finding | None:
    """What size and time of change tell, without opening the file; None where they are as they were."""
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:
        if record.size is None:
            return None  # it was not there before
        return Finding(record.name, MISSING, getattr(error, "strerror", None) or "no such file")
    if facts.st_size != record.size:
        return Finding(record.name, CHANGED, f"{record.size} bytes then, {facts.st_size} now")
    if facts.st_mtime_ns != record.mtime_ns:
        return Finding(record.name, CHANGED, "changed since, with the same size")
    return None


def _compare(then: Record, now: Record) -> Finding | None:
    """What reading the file tells; None where its content is the same, whenever it was touched."""
    touched = (then.size, then.mtime_ns) != (now.size, now.mtime_ns)
    if then.sha256 is not None and now.flaw is None:
        if now.sha256 == then.sha256:
            return None
        reason = "other content" if touched else "other content, though size and time of change are the same"
        return Finding(then.name, CHANGED if touched else DAMAGED, reason)
    if now.flaw is not None:
        state = MISSING if now.size is None else CHANGED if touched else DAMAGED
        return Finding(then.name, state, f"{now.flaw.defect.value}: {now.flaw.reason}")
    assert then.video is not None and now.video is not None
    if (difference := _difference(then.video, now.video)) is None:
        return None
    return Finding(then.name, CHANGED if touched else DAMAGED, difference)


def _difference(then: VideoFacts, now: VideoFacts) -> str | None:
    """What decoding gives now and did not then, in words."""
    if then == now:
        return None
    for what in ("frames", "corrupt", "width", "height", "rotation", "codec", "container"):
        before, after = getattr(then, what), getattr(now, what)
        if before != after:
            label = f"{what} frames" if what == "corrupt" else what
            return f"{label}: {before} then, {after} now"
    return "frames at other times, or of other kinds"
