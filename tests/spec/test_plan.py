"""The order of phases, and what a fingerprint sees: everything that changes what is learned, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cprspec.spec.plan as plan_module
from cprspec.spec.plan import evaluation_fingerprint, find_cycle, fingerprints, order
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved

Read = Callable[..., Resolved]


def _fingerprints(resolved: Resolved, data: str = "data", weights: str = "weights") -> dict[str, str]:
    return fingerprints(resolved, data, lambda path: weights)


# --- order ---


def test_as_written_when_nothing_depends() -> None:
    assert order({"b": [], "a": [], "c": []}) == ("b", "a", "c")


def test_dependencies_first() -> None:
    assert order({"c": ["b", "a"], "a": [], "b": ["a"], "d": []}) == ("a", "b", "c", "d")


graphs = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6)


@given(graphs)
def test_cycles_by_brute_force(graph: dict[str, list[str]]) -> None:
    circle = find_cycle(graph)
    possible = any(
        all(b in graph[a] for a, b in itertools.pairwise([*names, names[0]]))
        for n in range(1, len(graph) + 1)
        for names in itertools.permutations(graph, n)
    )
    assert (circle is not None) == possible
    if circle:
        assert circle[0] == circle[-1]
        assert all(b in graph[a] for a, b in itertools.pairwise(circle))
        return
    names = order(graph)
    assert sorted(names) == sorted(graph)
    assert all(names.index(p) < names.index(n) for n in graph for p in graph[n] if p in graph)


def test_long_chains_need_no_recursion() -> None:
    chain = {str(i): [str(i + 1)] for i in range(5000)} | {"5000": []}
    assert order(chain)[0] == "5000"
    assert find_cycle({str(i): [str((i + 1) % 1500)] for i in range(1500)}) is not None


# --- fingerprints ---

CHANGES_ALL = [
    "seed=1", "batch_size=16", "accumulate=2", 'precision="bf16"', "clip.frames=16", "clip.size=64", "clip.short_side=99",
    "backbone.use=tiny", "backbone.gating=true", "framework.temperature=0.2", "framework.queue_size=128", "augment.use=clean",
    "augment.flip=0", "optimizer.lr=0.5", "optimizer.use=sgd", "schedule.use=cosine", "schedule.milestones=[2]",
]  # fmt: skip
CHANGES_SOME = {
    "miner.topk=3": {"cycle"},
    "miner.use=coclr": {"cycle"},
    "phase.cycle.epochs=6": {"cycle"},
    "phase.cycle.optimizer.lr=0.5": {"cycle"},
    "phase.flow.epochs=11": {"flow", "cycle"},
    "phase.rgb.epochs=11": {"rgb", "cycle"},
    "view.flow.bound=5": {"flow", "cycle"},
}
CHANGES_NOTHING = [
    'name="other"', "launch.workers=7", "launch.device=cpu", "evaluate.nn.k=[1]", 'evaluate.nn.encoders=["rgb"]',
    'published=[{metric="m", value=1, where="w"}]', "dataset.clips.root=/elsewhere", "clip.short_side=144", "batch_size=8",
    'dataset.more={use="folder"}', "phase.extra={views=['rgb'], epochs=3}", "view.unused={use='flow'}", "schedule.gamma=0.1",
]  # fmt: skip


def _changed(good: str, read: Read, *overrides: str) -> set[str]:
    before = _fingerprints(read(good))
    after = _fingerprints(read(good, "train_on=clips", *overrides))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("override", CHANGES_ALL)
def test_changes_every_phase(good: str, read: Read, override: str) -> None:
    assert _changed(good, read, override) == {"rgb", "flow", "cycle"}


@pytest.mark.parametrize("override", CHANGES_SOME)
def test_changes_a_phase_and_those_after_it(good: str, read: Read, override: str) -> None:
    assert _changed(good, read, override) == CHANGES_SOME[override]


@pytest.mark.parametrize("override", CHANGES_NOTHING)
def test_changes_nothing(good: str, read: Read, override: str) -> None:
    assert _changed(good, read, override) == set()


def test_names_do_not_matter(good: str, read: Read) -> None:
    renamed = good.replace('"rgb"\nmine', '"first"\nmine').replace("[phase.rgb]", "[phase.first]")
    renamed = renamed.replace('encoders = ["rgb"', 'encoders = ["first"').replace("clips", "footage")
    renamed = renamed.replace('views = ["flow"]', 'views = ["motion"]') + '[view.motion]\nuse = "flow"\n'
    one, other = _fingerprints(read(good)), _fingerprints(read(renamed))
    assert (one["rgb"], one["flow"], one["cycle"]) == (other["first"], other["flow"], other["cycle"])


def test_data_weights_and_recipe_matter(good: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = read(good.replace('start_from = "rgb"', 'start_from = { file = "w.safetensors" }'))
    before = _fingerprints(resolved)
    assert not set(before.values()) & set(_fingerprints(resolved, data="other").values())
    other = _fingerprints(resolved, weights="other")
    assert {n for n in before if before[n] != other[n]} == {"cycle"}
    monkeypatch.setattr(plan_module, "RECIPE", 99)
    assert not set(before.values()) & set(_fingerprints(resolved).values())


def _judging(resolved: Resolved, data: str = "data", version: str = "1", weights: str = "w") -> str:
    phases = {name: {"fingerprint": f, "weights_sha256": weights} for name, f in _fingerprints(resolved).items()}
    indices = dict.fromkeys(resolved.datasets, data)
    return evaluation_fingerprint(resolved.evaluate["nn"], resolved, phases, indices, {"torch": version})


@pytest.mark.parametrize(
    "override", ["evaluate.nn.k=[1]", 'evaluate.nn.encoders=["cycle"]', "seed=1", "miner.topk=3", "view.flow.bound=5"]
)
def test_what_changes_an_evaluation(good: str, read: Read, override: str) -> None:
    assert _judging(read(good, override)) != _judging(read(good))


@pytest.mark.parametrize("override", ['name="other"', "launch.workers=7", 'evaluate.more={use="retrieval"}'])
def test_what_does_not_change_an_evaluation(good: str, read: Read, override: str) -> None:
    assert _judging(read(good, override)) == _judging(read(good))


def test_data_weights_versions_and_judging_matter(good: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = read(good)
    seen = [
        _judging(resolved),
        _judging(resolved, "other"),
        _judging(resolved, version="2"),
        _judging(resolved, weights="v"),
    ]
    monkeypatch.setattr(plan_module, "JUDGING", 99)
    assert len({*seen, _judging(resolved)}) == 5


def test_same_view_twice_is_the_same_phase(good: str, read: Read) -> None:
    same = _fingerprints(read(good + "[phase.again]\nviews = ['rgb']\nepochs = 10\n"))
    assert same["again"] == same["rgb"]


def test_an_edited_plugin_is_another_miner(good: str) -> None:
    text = (
        "from typing import ClassVar\nfrom attrs import frozen\nfrom cprspec.spec.kinds import Miner\n"
        "@frozen(kw_only=True)\nclass Mine(Miner):\n    '''Mines.'''\n    name: ClassVar[str] = 'mine'\nCOMPONENTS = (Mine,)\n"
    )
    Path("x.toml").write_text(good.replace('use = "cpr"\nstages = 3', 'use = "mine"'))
    Path("plugin_for_plan.py").write_text(text)
    resolved = resolve(Path("x.toml"), builtin_registry(plugins=[Path("plugin_for_plan.py")]))
    before = _fingerprints(resolved)
    Path("plugin_for_plan.py").write_text(text + "# edited\n")
    after = _fingerprints(resolved)
    assert {n for n in before if before[n] != after[n]} == {"cycle"}
