"""What the parts of an experiment say about each other, checked before anything runs: sizes that must divide, phases
that must exist, settings that make no sense together. Each check yields problems; none raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import frozen

from cprspec.errors import Place, Problem
from cprspec.spec.by_epoch import ByEpoch
from cprspec.spec.compose import Composed
from cprspec.spec.evaluations import check_evaluations
from cprspec.spec.kinds import Component, Dataset, Evaluator, fields_of
from cprspec.spec.plan import find_cycle
from cprspec.spec.recognition import check_recognition
from cprspec.spec.schema import RANDOM, Phase
from cprspec.spec.tables import PhaseTable
from cprspec.spec.words import did_you_mean, quoted


def check_experiment(
    composed: Composed,
    tables: Mapping[str, PhaseTable | None],
    phases: Mapping[str, Phase],
    evaluate: Mapping[str, Evaluator],
    datasets: Mapping[str, Dataset],
) -> list[Problem]:
    """Every cross-check. `tables` has all phases as written (None where unreadable); the others what could be read."""
    experiment = _Experiment(composed, tables, phases)
    own = [problem for check in _CHECKS for problem in check(experiment)]
    views = {name: table.views if table else () for name, table in tables.items()}
    trained_on = {phase.dataset for phase in phases.values()}
    named = check_evaluations(composed, views, trained_on, evaluate, datasets)
    return own + named + check_recognition(composed, evaluate, phases)


@frozen
class _Experiment:
    """What the checks look at."""

    composed: Composed
    tables: Mapping[str, PhaseTable | None]
    phases: Mapping[str, Phase]

    def at(self, phase: str, *path: str) -> Place:
        """Where a phase's setting was written: in its own table, else at the top level, else the phase itself."""
        for candidate in (("phase", phase, *path), path):
            if candidate in self.composed.places:
                return self.composed.places[candidate]
        return self.composed.place("phase", phase)


def _number(component: Component | None, option: str) -> int | None:
    """A whole-number option that only some components of a kind have."""
    value = getattr(component, option, None)
    return value if isinstance(value, int) else None


def _by_epoch(component: Component | None, option: str) -> dict[tuple[str, ...], int]:
    """A whole-number option under `()`, or one that goes by epoch under the key of each epoch; empty if there is none."""
    value = getattr(component, option, None)
    if isinstance(value, ByEpoch):
        return {(key,): number for key, number in value.to_table().items()}
    return {(): value} if isinstance(value, int) else {}


def _batches(e: _Experiment) -> Iterator[Problem]:
    """The queue holds whole batches, and a batch divides into parts and groups."""
    for name, phase in e.phases.items():
        queue, groups = _number(phase.framework, "queue_size"), _number(phase.framework, "bn_groups") or 1
        if queue and queue % phase.batch_size:
            place = e.at(name, "framework", "queue_size")
            below = queue // phase.batch_size * phase.batch_size
            hint = f"for example {below or phase.batch_size}"
            yield Problem(f"queue_size {queue} is not a multiple of batch_size {phase.batch_size}", place, hint)
        parts = groups * phase.accumulate
        if phase.batch_size % parts:
            why = f"bn_groups {groups} x accumulate {phase.accumulate} = {parts}"
            yield Problem(f"batch_size {phase.batch_size} is not a multiple of {why}", e.at(name, "batch_size"))


def _views(e: _Experiment) -> Iterator[Problem]:
    """A phase has as many views as its framework contrasts, each once."""
    for name, phase in e.phases.items():
        needed = phase.framework.views_per_phase
        place = e.composed.place("phase", name, "views")
        if len(phase.views) != needed:
            plural = "" if needed == 1 else "s"
            message = f"framework {quoted(phase.framework.name)} needs {needed} view{plural} in a phase"
            yield Problem(f"{message}, phase {quoted(name)} has {len(phase.views)}", place)
        elif len(set(phase.views)) != len(phase.views):
            yield Problem(f"phase {quoted(name)} names a view twice", place)


def _clips(e: _Experiment) -> Iterator[Problem]:
    """A clip is as long and as large as the network can take; below that torch would fail in the first step."""
    for name, phase in e.phases.items():
        frames, pixels = phase.backbone.smallest
        for key, value, least, unit in (
            ("frames", phase.clip.frames, frames, "frames"),
            ("size", phase.clip.size, pixels, "pixels"),
        ):
            if value < least:
                message = f"backbone {quoted(phase.backbone.name)} takes clips of {least} {unit} or more, found {value}"
                yield Problem(message, e.at(name, "clip", key))
        yield from _frame(e, name, phase)


def _frame(e: _Experiment, name: str, phase: Phase) -> Iterator[Problem]:
    """Pictures that are resized before the crop have a height and a width, and the crop fits them."""
    frame = getattr(phase.augment, "frame", ())
    if frame and len(frame) != 2:
        yield Problem(f"'frame' is a height and a width, found {len(frame)} numbers", e.at(name, "augment", "frame"))
    elif frame and min(frame) < phase.clip.size:
        message = f"a crop of {phase.clip.size} pixels does not fit pictures of {frame[0]}x{frame[1]}"
        yield Problem(message, e.at(name, "clip", "size"), "lower it, or raise the augmentation's 'frame'")


def _references(e: _Experiment) -> Iterator[Problem]:
    """`start_from` and `mine_with` name phases, in no circle; none is called as the untrained network."""
    parents: dict[str, list[str]] = {}
    for name in e.tables:
        if name == RANDOM:
            hint = "it means the untrained network in an evaluation's encoders"
            yield Problem(f"a phase cannot be called {RANDOM!r}", e.composed.place("phase", name), hint)
        parents[name] = []
        written = e.composed.data["phase"][name]
        for key in ("start_from", "mine_with"):
            other = written.get(key) if isinstance(written, dict) else None
            if not isinstance(other, str):
                continue
            parents[name].append(other)
            if other not in e.tables:
                hint = did_you_mean(other, [n for n in e.tables if n != name])
                message = f"{quoted(key)} of phase {quoted(name)} names {quoted(other)}, which is not a phase"
                yield Problem(message, e.composed.place("phase", name, key), hint)
    cycle = find_cycle(parents)
    if cycle:
        circle = " -> ".join(quoted(name) for name in cycle)
        message = f"phases wait for each other: {circle}"
        yield Problem(message, e.composed.place("phase", cycle[0]), "start_from and mine_with name earlier phases")


def _starts(e: _Experiment) -> Iterator[Problem]:
    """Weights fit the network that starts from them, and were trained on the same view."""
    for name, phase in e.phases.items():
        parent = e.phases.get(phase.start_from) if isinstance(phase.start_from, str) else None
        if parent is None or parent is phase:
            continue
        place = e.composed.place("phase", name, "start_from")
        facts = (
            ("view", ", ".join(parent.views), ", ".join(phase.views)),
            ("framework", parent.framework.name, phase.framework.name),
            ("embedding size", parent.framework.head, phase.framework.head),
        )
        for what, theirs, ours in facts:
            if theirs != ours:
                head = f"phase {quoted(name)} starts from {quoted(parent.name)}"
                yield Problem(f"{head}, whose {what} is {quoted(theirs)}, not {quoted(ours)}", place)


def _mining(e: _Experiment) -> Iterator[Problem]:
    """What is mined, and with what."""
    for name, phase in e.phases.items():
        parent = e.phases.get(phase.mine_with) if phase.mine_with else None
        if parent and parent is not phase and parent.views[:1] == phase.views[:1]:
            message = f"phase {quoted(name)} mines with {quoted(parent.name)}, which has the same view"
            place = e.composed.place("phase", name, "mine_with")
            yield Problem(message, place, "mining looks for what another view sees", warning=True)
        if parent and 1 < len(parent.views) == parent.framework.views_per_phase:
            message = f"phase {quoted(name)} mines with {quoted(parent.name)}, which has {len(parent.views)} views"
            yield Problem(message, e.composed.place("phase", name, "mine_with"), "it has to be one")
        yield from _own_banks(e, name, phase)
        if phase.miner is None:
            continue
        yield from _cascade(e, name, phase)
        yield from _ubernce(e, name, phase)


def _own_banks(e: _Experiment, name: str, phase: Phase) -> Iterator[Problem]:
    """A framework with banks of its own (IIC) mines there and nowhere else, and can make what it contrasts with."""
    framework, who = phase.framework, f"framework {quoted(phase.framework.name)}"
    if not framework.brings_banks:
        return
    if phase.mine_with:
        message = f"{who} mines in banks of its own, so phase {quoted(name)} cannot mine with another"
        hint = "leave mine_with out, and name a miner in the phase"
        yield Problem(message, e.composed.place("phase", name, "mine_with"), hint)
    if getattr(framework, "intra_negative", None) == "shuffle" and phase.clip.frames % 4:
        message = f"intra-negatives by 'shuffle' exchange quarters of a clip, and {phase.clip.frames} frames have none"
        yield Problem(message, e.at(name, "clip", "frames"), "a multiple of 4, or intra_negative = 'repeat'")
    if phase.miner is None:
        return
    if getattr(framework, "loss", None) == "constant_z":
        message = "loss 'constant_z' is defined for one positive, and a miner adds more"
        yield Problem(message, e.at(name, "framework", "loss"), "loss = 'softmax', or no miner")
    start = _number(framework, "start_epoch") or 0
    if start >= phase.epochs:
        message = f"mining would begin in epoch {start}, and phase {quoted(name)} has {phase.epochs}"
        yield Problem(message, e.at(name, "framework", "start_epoch"), "epochs count from 0", warning=True)


def _cascade(e: _Experiment, name: str, phase: Phase) -> Iterator[Problem]:
    queue = _number(phase.framework, "queue_size")
    topks, stages = _by_epoch(phase.miner, "topk"), _number(phase.miner, "stages")
    topk = max(topks.values(), default=0)
    for key, number in topks.items():
        if queue and number > queue:
            place = e.at(name, "miner", "topk", *key)
            yield Problem(f"topk {number} is more than the queue holds, {queue}", place)
    if not topk or not stages:
        return
    if stages % 2 == 0:
        hint = "the last stage always scores the mining view; an odd number says what is meant"
        message = f"an even number of stages: {stages} stages equal {stages - 1}"
        yield Problem(message, e.at(name, "miner", "stages"), hint, warning=True)
    ratio = getattr(phase.miner, "ratio", None)
    kept = int(queue * ratio ** (stages - 1)) if queue and ratio else None
    if kept is not None and stages > 1 and kept < topk:
        message = f"stage {stages - 1} of {stages} would keep {kept} of {queue} rows, so it keeps topk {topk}"
        yield Problem(message, e.at(name, "miner", "stages"), "fewer stages or a larger ratio", warning=True)


def _ubernce(e: _Experiment, name: str, phase: Phase) -> Iterator[Problem]:
    """All rows of a label as positives, from scratch: UberNCE averages logs and keeps its own key."""
    if phase.miner is None or not phase.miner.by_labels or _number(phase.miner, "topk") != 0:
        return
    loss = getattr(phase.framework, "loss", None)
    if loss == "log_of_sum":
        place = e.at(name, "framework", "loss")
        hint = 'framework = { loss = "mean_of_logs", drop_own_key = 0.0 } in the phase'
        yield Problem("UberNCE is defined with loss 'mean_of_logs'", place, hint, warning=True)


def _milestones(e: _Experiment) -> Iterator[Problem]:
    """A learning rate that would fall after the end never falls."""
    for name, phase in e.phases.items():
        milestones = getattr(phase.schedule, "milestones", ())
        late = [m for m in milestones if m >= phase.epochs]
        if late:
            message = f"milestone {late[0]} is never reached in the {phase.epochs} epochs of phase {quoted(name)}"
            yield Problem(message, e.at(name, "schedule", "milestones"), warning=True)


def _late_changes(e: _Experiment) -> Iterator[Problem]:
    """An option of the miner that would change after the end never changes."""
    for name, phase in e.phases.items():
        for option in fields_of(type(phase.miner)) if phase.miner else ():
            value = getattr(phase.miner, option.name)
            late = [epoch for epoch in value.epochs if epoch >= phase.epochs] if isinstance(value, ByEpoch) else []
            if late:
                message = f"epoch {late[0]} is never reached in the {phase.epochs} epochs of phase {quoted(name)}"
                yield Problem(message, e.at(name, "miner", option.name, str(late[0])), warning=True)


_CHECKS: tuple[Callable[[_Experiment], Iterator[Problem]], ...] = (
    _batches, _views, _clips, _references, _starts, _mining, _milestones, _late_changes,
)  # fmt: skip
