"""How evaluations call encoders: a network of the experiment and the view it sees.

`rgb` is a phase of one view. A phase of several views, whose network sees each of them, has `iic/rgb`, `iic/residual`, and
plain `iic` for all its views joined. `random/rgb` is the untrained network, `random` that of every view joined, and `a+b`
joins any two. A *single* encoder is one network on one view; it has one name here, however an experiment wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cprspec.spec.schema import RANDOM, Phase, Resolved

PhaseViews = Mapping[str, Sequence[str]]
"""The views of each phase, by its name."""


def phase_views(resolved: Resolved) -> PhaseViews:
    """The views of each phase of an experiment."""
    return {phase.name: phase.views for phase in resolved.phases}


def views_seen(phase: str, views: PhaseViews) -> tuple[str, ...]:
    """The views that the network of `phase` sees; for `random` those of every phase. KeyError for an unknown phase."""
    if phase == RANDOM:
        return tuple(dict.fromkeys(view for some in views.values() for view in some))
    return tuple(dict.fromkeys(views[phase]))


def singles_of(encoder: str, views: PhaseViews) -> tuple[str, ...]:
    """The single encoders that `encoder` joins, in order. KeyError where it names a phase that is not in `views`."""
    return tuple(single for part in encoder.split("+") for single in _singles(part, views))


def phase_and_view(single: str, resolved: Resolved) -> tuple[Phase, str]:
    """The phase that a single encoder belongs to and the view it sees; for `random/VIEW` the first phase of the view."""
    name, slash, view = single.partition("/")
    if name == RANDOM:
        return next(phase for phase in resolved.phases if view in phase.views), view
    phase = resolved.phase(name)
    return phase, view if slash else phase.views[0]


def phases_of(encoder: str) -> frozenset[str]:
    """The names of the phases that `encoder` was trained in, `random` among them where it stands."""
    return frozenset(part.partition("/")[0] for part in encoder.split("+"))


def encoder_names(views: PhaseViews) -> tuple[str, ...]:
    """Names for suggestions: every phase, each view of a phase that has several, and `random`."""
    singles = [single for phase in views for single in singles_of(phase, views)]
    return tuple(dict.fromkeys([*views, *singles, RANDOM]))


def default_encoders(resolved: Resolved) -> tuple[str, ...]:
    """The untrained network of each view, every phase, and the first and the last encoders of two views joined."""
    views = phase_views(resolved)
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    trained: list[str] = []
    for phase in resolved.phases:
        for view in views_seen(phase.name, views):
            last[view] = _single(phase.name, view, views)
            first.setdefault(view, last[view])
        trained += [*singles_of(phase.name, views), phase.name]
    untrained = singles_of(RANDOM, views)
    joined = [names for names in (untrained, first.values(), last.values()) if len(last) == 2]
    already = {singles_of(name, views) for name in trained}
    return tuple(dict.fromkeys([*untrained, *trained, *("+".join(j) for j in joined if tuple(j) not in already)]))


def _singles(part: str, views: PhaseViews) -> list[str]:
    phase, slash, view = part.partition("/")
    return [_single(phase, each, views) for each in ([view] if slash else views_seen(phase, views))]


def _single(phase: str, view: str, views: PhaseViews) -> str:
    """The one name of a single encoder: short where the phase has one view."""
    return phase if phase != RANDOM and len(views_seen(phase, views)) == 1 else f"{phase}/{view}"
