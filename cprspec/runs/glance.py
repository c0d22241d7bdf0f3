"""A run at a glance, for a list of a thousand: state, place, speed, and the last figures.

Of the event log only its beginning, its end, and the last lines of a few kinds are read, whatever its length. What a
listing has seen is kept until the files change.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, frozen

from cprspec.runs import events
from cprspec.runs.doing import Doing, doing
from cprspec.runs.layout import RunDir, list_runs
from cprspec.runs.reading import parse_json, read_text
from cprspec.runs.records import read_record
from cprspec.runs.summary import Status, read_status
from cprspec.runs.tail import whole_lines
from cprspec.runs.telling import seconds_left

_HEAD = 16 << 10
_SEARCHED = 4 << 20
"""Bytes from the end of a log in which the last event of a kind is looked for."""

_RECENT_STEPS = 24

UNREAD = "unread"
"""The state of a run that a listing knows of and has not looked at yet."""

E = TypeVar("E", bound=events.Event)


@frozen(kw_only=True)
class Glance:
    """One run in a list. None: not known, or not come to that. Shares between 0 and 1."""

    run: RunDir
    status: Status
    phases: tuple[str, ...] = ()
    phase: events.PhaseStarted | None = None
    """The phase that began last."""
    phase_over: bool = False
    """Whether that phase has its weights."""
    step: events.Step | None = None
    """The last step that was logged."""
    losses: tuple[float, ...] = ()
    """Of the last steps logged, oldest first."""
    left_s: float | None = None
    """Until the phase ends."""
    precision: float | None = None
    median_cmr: float | None = None
    """Over sources, of the last epoch that mined."""
    recall_1: float | None = None
    """R@1 of the last encoder that retrieval measured alone."""
    evaluation: events.EvaluationStarted | events.Evaluating | None = None
    """The last news of the evaluation that is made."""
    doing: Doing | None = None
    """What it does beside training."""
    problems: tuple[str, ...] = ()

    @property
    def evaluating(self) -> events.Evaluating | None:
        """How far the evaluation is, if it trains a classifier."""
        return self.evaluation if isinstance(self.evaluation, events.Evaluating) else None

    @property
    def epochs_done(self) -> int | None:
        """Of the phase; None before the first step."""
        return self.phase.epochs if self.phase and self.phase_over else self.status.epoch

    @property
    def why(self) -> str | None:
        """Why it ended, or why it cannot be read."""
        return self.status.why or (self.problems[0] if self.problems else None)

    @property
    def place(self) -> int | None:
        """Which phase it is in, from 0; None before the first."""
        if self.phase is None:
            return self.phases.index(self.status.phase) if self.status.phase in self.phases else None
        return self.phase.position


def glance(run: RunDir) -> Glance:
    """Look at `run`. Never fails: what cannot be read is in `problems`."""
    problems: list[str] = []
    status = read_status(run, problems)
    log = _read_log(run.events, problems)
    started = log.last(events.RunStarted)
    phase = log.last(events.PhaseStarted)
    steps = log.recent_steps()
    if phase and steps and steps[-1].phase != phase.phase and steps[-1].t_s > phase.t_s:
        phase = None  # the log is so long that the beginning of this phase was not looked at
    name = phase.phase if phase else steps[-1].phase if steps else None
    steps = _last_attempt([step for step in steps if step.phase == name])
    mined = log.last(events.Epoch, b'"cmr_source_median": ', b'"cmr_source_median": null')
    evaluation = log.evaluation() if status.state in {"running", "stale"} else None
    finished = log.last(events.PhaseFinished)
    since_s = max([event.t_s for event in (phase, *steps[-1:]) if event is not None], default=0.0)
    over = phase is not None and (
        phase.reused_from is not None
        or (finished is not None and finished.phase == phase.phase and finished.t_s >= since_s)
    )
    if status.state != "starting" and not os.path.lexists(run.status) and not os.path.lexists(run.events):
        problems.append("nothing in it yet")
    return Glance(
        run=run,
        status=status,
        phases=started.phases if started else (),
        phase=phase,
        phase_over=over,
        step=steps[-1] if steps else None,
        losses=tuple(step.loss for step in steps if step.loss is not None),
        left_s=seconds_left(phase, steps[0], steps[-1]) if steps and status.state == "running" and not over else None,
        precision=mined.precision if mined else None,
        median_cmr=mined.cmr_source_median if mined else None,
        recall_1=_recall_1(run, started.phases if started else (), problems),
        evaluation=evaluation,
        doing=doing(run, status, evaluation),
        problems=tuple(problems),
    )


class Listing:
    """The runs below a folder, each looked at again only when its files have changed."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._seen: dict[RunDir, tuple[object, Glance]] = {}

    def look(self, budget_s: float = math.inf) -> list[Glance]:
        """Every run, newest first; after `budget_s` seconds the rest is given as last seen, or with the state `UNREAD`."""
        began = time.monotonic()
        # Runs are called by the time they began, so that names order them over all experiments.
        found = sorted(list_runs(self.runs), key=lambda run: run.path.name, reverse=True)
        seen: dict[RunDir, tuple[object, Glance]] = {}
        for run in found:
            if time.monotonic() - began < budget_s:
                seen[run] = self._one(run)
            else:
                seen[run] = self._seen.get(run, (None, Glance(run=run, status=Status(state=UNREAD))))
        self._seen = seen
        return [glance for _, glance in seen.values()]

    def _one(self, run: RunDir) -> tuple[object, Glance]:
        now = tuple(_stamp(path) for path in (run.status, run.events, run.evaluations, run.writer))
        before = self._seen.get(run)
        if before is None or before[0] != now:
            return now, glance(run)
        if before[1].status.state in {"running", "stale", "starting"}:  # it may fall silent, or die, without any change
            status = read_status(run, [])
            left_s = before[1].left_s if status.state == "running" else None
            now_doing = doing(run, status, before[1].evaluation)
            return now, evolve(before[1], status=status, left_s=left_s, doing=now_doing)
        return before


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class _Log:
    """The beginning and the end of a log, and the last lines of a kind in them."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._head, self._tail = head, tail

    def last(self, kind: type[E], having: bytes = b"", but_not: bytes | None = None) -> E | None:
        """The last event of `kind`, of those whose line holds `having` and not `but_not`."""
        # The writer's own form, `json.dumps` with its separators; a log in another form shows less here, and nothing wrong.
        word = f'"kind": "{kind.kind}"'.encode()
        for text in (self._tail, self._head):
            end = len(text)
            while (found := text.rfind(word, 0, end)) >= 0:
                line = text[text.rfind(b"\n", 0, found) + 1 : text.find(b"\n", found)]
                if having in line and (but_not is None or but_not not in line):
                    read = [event for event in whole_lines(line) if isinstance(event, kind)]
                    if read:
                        return read[-1]
                end = found
        return None

    def recent_steps(self) -> list[events.Step]:
        """The last steps, oldest first."""
        end, word = len(self._tail), f'"kind": "{events.Step.kind}"'.encode()
        lines: list[bytes] = []
        while len(lines) < _RECENT_STEPS and (found := self._tail.rfind(word, 0, end)) >= 0:
            end = self._tail.rfind(b"\n", 0, found) + 1
            lines.append(self._tail[end : self._tail.find(b"\n", found)])
        return [event for event in whole_lines(b"\n".join(reversed(lines))) if isinstance(event, events.Step)]

    def evaluation(self) -> events.EvaluationStarted | events.Evaluating | None:
        """The last news of an evaluation, unless something has happened since."""
        for event in reversed(whole_lines(self._tail[-_HEAD:].partition(b"\n")[2])):
            if isinstance(event, events.EvaluationStarted | events.Evaluating):
                return event
            if not isinstance(event, events.Warned):
                return None
        return None


def _read_log(path: Path, problems: list[str]) -> _Log:
    """Whole lines from both ends of the log."""
    try:
        if not path.is_file():
            if os.path.lexists(path):
                problems.append(f"{path}: not a file")
            return _Log(b"", b"")
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = os.pread(file.fileno(), _HEAD, 0)
            start = max(0, size - _SEARCHED)
            tail = os.pread(file.fileno(), size - start, start)
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
        return _Log(b"", b"")
    if start:
        tail = tail[tail.find(b"\n") + 1 :]
    head, tail = head[: head.rfind(b"\n") + 1], tail[: tail.rfind(b"\n") + 1]
    if size and not any(whole_lines(line) for line in (*head.split(b"\n")[1:3], *tail.split(b"\n")[-3:])):
        problems.append(f"{path}: holds no event")
    return _Log(head, tail)


def _last_attempt(steps: Sequence[events.Step]) -> list[events.Step]:
    """The steps since the last time that training went back."""
    began = max((i for i in range(1, len(steps)) if steps[i].step <= steps[i - 1].step), default=0)
    return list(steps[began:])


def _recall_1(run: RunDir, phases: Sequence[str], problems: list[str]) -> float | None:
    found: dict[str, float] = {}
    try:
        names = sorted(name for name in os.listdir(run.evaluations) if name.endswith(".json"))  # noqa: PTH208
    except OSError:
        return None  # nothing evaluated yet
    for name in names:
        text = read_text(run.evaluations / name, problems)
        if text is None or '"R@1"' not in text:
            continue  # no retrieval; such files may be large
        data: Any = parse_json(text, run.evaluations / name, problems, "evaluation")
        records = data.get("records") if data else None
        for item in records if isinstance(records, list) else ():
            if not isinstance(item, dict) or item.get("metric") != "R@1":
                continue
            record = read_record(item)
            if record and record.encoder and record.value is not None:
                found.setdefault(record.encoder.partition("/")[0], record.value)
    return next((found[phase] for phase in reversed(phases) if phase in found), None)
