"""Sweeps: which runs a file stands for, what they are called, what they share, and what is wrong with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli

from cprspec.components.miners import Cascade
from cprspec.errors import CprspecError
from cprspec.spec.by_epoch import ByEpoch
from cprspec.spec.plan import fingerprints
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve, resolve_all
from cprspec.spec.schema import Resolved
from cprspec.spec.sweep import MAX_RUNS
from cprspec.spec.toml import to_toml
from cprspec.spec.verdict import new_phases, run_names, sweep_line
from cprspec.training.request import Request, read_requests

All = Callable[..., tuple[Resolved, ...]]


@pytest.fixture
def every(good: str, registry: Registry) -> All:
    """`every(sweep, *overrides)`: the runs of the good experiment with the text `sweep` at its end."""

    def runs(sweep: str, *overrides: str, **files: str) -> tuple[Resolved, ...]:
        for name, content in files.items():
            Path(f"{name}.toml").write_text(content)
        Path("x.toml").write_text(good + sweep)
        return resolve_all(Path("x.toml"), registry, overrides=overrides)

    return runs


def wrong(every: All, sweep: str, *overrides: str) -> list[str]:
    """What is wrong with the good experiment and `sweep`."""
    with pytest.raises(CprspecError) as caught:
        every(sweep, *overrides)
    return [str(p) for p in caught.value.problems]


def prints(run: Resolved) -> dict[str, str]:
    return fingerprints(run, "d", lambda p: p.name)


def test_every_combination_is_the_experiment_with_its_values_set(every: All, good: str, registry: Registry) -> None:
    runs = every("[sweep]\nminer.stages = [1, 3]\nseed = [0, 7]\nphase.cycle.epochs = [5, 6, 9]\n")
    combinations = list(itertools.product((1, 3), (0, 7), (5, 6, 9)))
    assert len(runs) == len(combinations)
    Path("x.toml").write_text(good)
    for run, (stages, seed, epochs) in zip(runs, combinations, strict=True):
        assert run.name == f"x-stages-{stages}-epochs-{epochs}"
        values = (f"miner.stages={stages}", f"seed={seed}", f"phase.cycle.epochs={epochs}")
        alone = resolve(Path("x.toml"), registry, overrides=values)
        assert (run.phases, run.seed, prints(run)) == (alone.phases, seed, prints(alone))


def test_runs_share_what_they_have_in_common(every: All) -> None:
    runs = every("[sweep]\nminer.stages = [1, 3, 5]")
    assert new_phases(runs) == [["rgb", "flow", "cycle"], ["cycle"], ["cycle"]]
    assert sweep_line(runs) == "3 runs with 9 phases, of which 5 differ"
    assert run_names(runs) == ["x-stages-1", "x-stages-3", "x-stages-5"]


def test_seeds_are_runs_of_one_name(every: All) -> None:
    runs = every("[sweep]\nseed = [3, 1]")
    assert [(run.name, run.seed) for run in runs] == [("x", 3), ("x", 1)]
    assert {phase.seed for phase in runs[0].phases} == {3}
    assert run_names(runs) == ["x (seeds 3, 1)"]


@pytest.mark.parametrize(
    ("sweep", "names"),
    [
        ("miner.ratio = [0.3, 0.5]", ["ratio-0.3", "ratio-0.5"]),
        ("miner.use = ['cpr', 'coclr']", ["cpr", "coclr"]),
        ("miner.use = ['cpr', 'coclr']\nbackbone.use = ['s3d', 'tiny']", ["cpr-s3d", "cpr-tiny", "coclr-s3d", "coclr-tiny"]),
        ("phase.rgb.epochs = [1]\nphase.flow.epochs = [2]", ["rgb.epochs-1-flow.epochs-2"]),
        ("schedule.milestones = [[], [4], [2, 3]]", ["milestones-", "milestones-4", "milestones-2-3"]),
        ("miner.topk = [1, { 0 = 1, 4 = 3 }]", ["topk-1", "topk-0-1-4-3"]),
        ("'miner.stages' = [1, 3]", ["stages-1", "stages-3"]),
        ("phase.cycle = [{ epochs = 2 }, { epochs = 3, batch_size = 4 }]", ["epochs-2", "epochs-3-batch_size-4"]),
        ("augment = [{ use = 'clean', flip = 0.0 }, { use = 'coclr' }]", ["clean-flip-0.0", "coclr"]),
        ("evaluate.nn.encoders = [['rgb', 'cycle+flow']]", ["encoders-rgb-cycle-flow"]),
        ("[[sweep.cases]]\nname = 'a'\nminer.topk = 1\n[[sweep.cases]]\nminer.topk = 2\nseed = 4", ["a", "topk-2"]),
        ("seed = [1, 2]\n[[sweep.cases]]\nname = 'a'\n'miner.topk' = 1", ["a", "a"]),
    ],
)  # fmt: skip
def test_names(sweep: str, names: list[str], every: All) -> None:
    assert [run.name for run in every(f"[sweep]\n{sweep}\n")] == [f"x-{name}" for name in names]


def test_values_are_one_layer_in_which_use_drops_what_the_file_says_only(every: All) -> None:
    stages, use = "miner.stages = [5]", "miner.use = ['coclr']"
    for text in (f"{stages}\n{use}", f"{use}\n{stages}"):
        (run,) = every(f"[sweep]\n{text}")
        assert run.phase("cycle").miner == Cascade(stages=5, topk=5)
    (run,) = every("[sweep]\nminer = [{ use = 'coclr' }]")
    assert run.phase("cycle").miner == Cascade(stages=1, topk=5)


def test_cases_set_several_keys(every: All) -> None:
    runs = every(
        "[[sweep.cases]]\nname = 'plain'\nminer = { topk = 3 }\n"
        "[[sweep.cases]]\nname = 'progressive'\nminer.topk = { 0 = 1, 2 = 3 }\nphase.cycle.epochs = 8\n"
    )
    assert [(r.name, r.phase("cycle").epochs) for r in runs] == [("x-plain", 5), ("x-progressive", 8)]
    assert runs[1].phase("cycle").miner == Cascade(stages=3, topk=ByEpoch(((0, 1), (2, 3))))
    assert prints(runs[0])["rgb"] == prints(runs[1])["rgb"]


def test_each_run_written_out_stands_alone(every: All, registry: Registry) -> None:
    for run in every("[sweep]\nseed = [0, 1]\nminer.topk = [1, { 0 = 1, 3 = 4 }]"):
        text = to_toml(run)
        assert "sweep" not in tomli.loads(text)
        Path("alone.toml").write_text(text)
        again = resolve(Path("alone.toml"), registry)
        assert (again.name, again.seed, again.phases) == (run.name, run.seed, run.phases)


def test_one_run_of_a_sweep_by_name_and_seed(every: All, registry: Registry) -> None:
    runs = every("[sweep]\nseed = [0, 1]\nminer.topk = [1, 2]")
    for run in runs:
        assert resolve(Path("x.toml"), registry, member=(run.name, run.seed)) == run
    with pytest.raises(CprspecError, match="no run 'x-topk-3' of seed 0 any more"):
        resolve(Path("x.toml"), registry, member=("x-topk-3", 0))
    with pytest.raises(CprspecError, match=r"a sweep of 4 runs, not one experiment: 'x-topk-1'.*sweep.only="):
        resolve(Path("x.toml"), registry)
    assert resolve(Path("x.toml"), registry, overrides=['sweep.only=["topk-2"]', "sweep.seed=[1]"]) == runs[3]


def test_only(every: All) -> None:
    sweep = "[sweep]\nseed = [0, 1]\nminer.topk = [1, 2, 3]\n"
    assert [r.name for r in every(sweep + "only = ['x-topk-3', 'topk-1']")] == ["x-topk-1", "x-topk-3"] * 2
    problems = wrong(every, sweep + "only = ['topk-4', 3]")
    assert problems == [
        "x.toml:27:9: no run of the sweep is called 'topk-4'; did you mean 'topk-3'?",
        "x.toml:27:19: no run of the sweep is called 3; choose from 'topk-1', 'topk-2', 'topk-3'",
    ]


def test_from_the_command_line_and_from_a_parent(every: All, good: str, registry: Registry) -> None:
    assert [r.seed for r in every("", "sweep.seed=[4, 5]")] == [4, 5]
    Path("parent.toml").write_text(good + "[sweep]\nminer.topk = [1, 2]\nseed = [1, 2]\n")
    Path("child.toml").write_text('format = 1\nextends = "parent.toml"\n[sweep]\nseed = [3]\n')
    runs = resolve_all(Path("child.toml"), registry, overrides=["framework.momentum=0.5"])
    assert [(r.name, r.seed) for r in runs] == [("child-topk-1", 3), ("child-topk-2", 3)]
    assert {r.phases[0].framework.momentum for r in runs} == {0.5}  # type: ignore[attr-defined]


def test_a_wrong_value_is_told_where_the_sweep_says_it_and_of_which_runs(every: All) -> None:
    problems = wrong(every, "[sweep]\nminer.topk = [1, 'x']\nphase.cycle.epochs = [5, 0]\nminer.stagse = [3]\n")
    assert problems == [
        "x.toml:25:18: option 'topk' of miner 'cpr' must be a whole number, found 'x' (text) "
        "(in 'x-topk-x-stagse-3-epochs-5' and 1 more of 4 runs)",
        "x.toml:26:26: option 'epochs' of phase 'cycle' must be at least 1, found 0 "
        "(in 'x-topk-1-stagse-3-epochs-0' and 1 more of 4 runs)",
        "x.toml:27:17: unknown option 'stagse' for miner 'cpr'; did you mean 'stages'?",
    ]


def test_cross_checks_name_the_runs_that_have_them(every: All) -> None:
    problems = wrong(every, "[sweep]\nframework.queue_size = [64, 32]\nminer.topk = [4, 33]\n")
    wanted = "x.toml:26:18: topk 33 is more than the queue holds, 32 (in 'x-queue_size-32-topk-33', of 4 runs)"
    assert [p for p in problems if "warning" not in p] == [wanted]


WRONG = [
    ("sweep = 3", "x.toml:24:1: 'sweep' must be a table, found 3 (whole number); write [sweep] and below it"),
    ("[sweep]", "x.toml:24:2: the sweep varies nothing"),
    ("[sweep]\nminer.topk = 3", "x.toml:25:7: 'miner.topk' of the sweep must be an array of values, found 3 (whole number)"),
    ("[sweep]\nminer.topk = []", "must be an array of values, found an empty array"),
    ("[sweep]\nminer = {}", "'miner' of the sweep must be an array of values, found a table"),
    ("[sweep]\nminer.topk = { 0 = 1 }", "'miner.topk' of the sweep must be an array of values, found a table"),
    ("[sweep]\nname = ['a', 'b']", "x.toml:25:1: a sweep cannot vary 'name'; runs are called after their values"),
    ("[sweep]\nsweep.a = [1]", "a sweep cannot vary 'sweep'"),
    ("[sweep]\nextends = ['a.toml']", "a sweep cannot vary 'extends'"),
    ("[sweep]\nminer.topk = [1, 1]", "2 runs of the sweep would be called 'x-topk-1'; give a value once"),
    ("[sweep]\nseed = [1, 1]", "2 runs of the sweep would be called 'x'"),
    ("[sweep]\n'miner.topk' = [1]\nminer.topk = [2]", "the sweep varies 'miner.topk' twice"),
    ("[sweep]\nminer.topk = [1]\n[[sweep.cases]]\nminer.topk = 2", "two parts of the sweep vary 'miner.topk'"),
    ("[sweep]\ncases = 3", "'cases' of the sweep must be an array of tables, found 3"),
    ("[sweep.cases]\na = 1", "'cases' of the sweep must be an array of tables, found a table"),
    ("[[sweep.cases]]\nname = 'a'", "the case sets nothing"),
    ("[[sweep.cases]]\nname = 3\nseed = 1", "x.toml:25:1: 'name' of a case must be text, found 3"),
    ("[[sweep.cases]]\nname = 'a/b'\nseed = 1", "'x-a/b' cannot be the name of an experiment"),
    ("[[sweep.cases]]\nname = 'a'\nformat = 1", "x.toml:26:1: a sweep cannot vary 'format'"),
    ("[sweep]\nonly = []\nseed = [1]", "'only' of the sweep must be an array of names, found an empty array"),
    ("[sweep]\nseed = [[1, 2]]", "option 'seed' of the experiment must be a whole number, found an array"),
    ("[sweep]\nminer.topk = ['" + "a" * 99 + "']", "cannot be the name of an experiment"),
]  # fmt: skip


@pytest.mark.parametrize(("sweep", "expected"), WRONG)
def test_what_is_wrong(sweep: str, expected: str, every: All) -> None:
    text = sweep if sweep.startswith("[") else ""
    overrides = [] if text else ["sweep=3"]
    problems = wrong(every, text, *overrides)
    expected = expected if text else expected.replace("x.toml:24:1", "--set")
    assert any(expected in problem for problem in problems), problems


def test_a_sweep_beside_other_files_is_asked_for_run_by_run(good: str) -> None:
    Path("x.toml").write_text(good + "[sweep]\nminer.topk = [1, 2]\nseed = [0, 1]\n")
    Path("y.toml").write_text(good)
    requests = read_requests(["y.toml", "x.toml"], Request(spec=Path(), runs=Path("runs")))
    found = [(r.resolve().name, r.resolve().seed) for r in requests]
    assert found == [("y", 0), ("x-topk-1", 0), ("x-topk-1", 1), ("x-topk-2", 0), ("x-topk-2", 1)]
    assert [r.title for r in requests[:2]] == ["y.toml", "x-topk-1, seed 0"]
    Path("x.toml").write_text(good + "[sweep]\nminer.topk = [1, 99]\n")
    with pytest.raises(CprspecError, match="topk 99 is more than the queue holds, 64"):
        read_requests(["y.toml", "x.toml"], Request(spec=Path(), runs=Path("runs")))


def test_too_many_runs_are_not_even_made(every: All) -> None:
    values = list(range(100))
    (problem,) = wrong(every, f"[sweep]\nseed = {values}\nminer.topk = {values[:11]}\n")
    assert problem == f"x.toml:24:2: the sweep has 1,100 runs, more than {MAX_RUNS:,}"


def test_setting_what_the_sweep_varies_is_an_error(every: All) -> None:
    (problem,) = wrong(every, "[sweep]\nminer.topk = [1, 2]\n", "miner.topk=3", "miner.stages=1")
    assert problem == (
        "--set: 'miner.topk' is varied by the sweep, so setting it changes nothing; "
        "to choose its values: --set 'sweep.miner.topk=[...]'"
    )
    assert [r.name for r in every("[sweep]\nminer.topk = [1, 2]\n", "sweep.miner.topk=[3]")] == ["x-topk-3"]
