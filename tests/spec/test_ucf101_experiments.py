"""The ucf101 experiments say what the published systems do (PROTOCOL 0.2 and 4), and differ only where they mean to."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from cprspec.components.miners import Cascade, Labels
from cprspec.components.optimizers import Adam
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Phase, Resolved

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = [f for f in sorted(FOLDER.glob("ucf101_*.toml")) if not f.stem.startswith(("ucf101_iic", "ucf101_ablation"))]
"""The experiments of InfoNCE, UberNCE, CoCLR and CPR; test_experiment_files.py has what holds for all files."""

LONG = {"infonce_500": (500, (417, 467)), "infonce_800": (800, (667, 747))}


@pytest.fixture(scope="module")
def every(registry: Registry) -> dict[str, Resolved]:
    """Each experiment by the name of its file, without `ucf101_`."""
    return {file.stem.removeprefix("ucf101_"): resolve(file, registry) for file in FILES}


def milestones(phase: Phase) -> tuple[int, tuple[int, ...]]:
    """How long a phase trains, and when its learning rate drops."""
    return phase.epochs, phase.schedule.milestones  # type: ignore[attr-defined]


def test_all_are_there(every: dict[str, Resolved]) -> None:
    assert {"infonce", "ubernce", "coclr", "coclr_published", "cpr", "cpr_supplement"} <= set(every)


def test_what_all_share(every: dict[str, Resolved]) -> None:
    for name, experiment in every.items():
        flow = experiment.views["flow"]
        assert (flow.method, flow.bound) == ("tvl1", 20.0)  # type: ignore[attr-defined]
        assert experiment.train_on == "ucf101"
        for phase in experiment.phases:
            moco = phase.framework
            facts = (moco.embedding, moco.queue_size, moco.temperature, moco.momentum, moco.bn_groups)  # type: ignore[attr-defined]
            assert facts == (128, 2048, 0.07, 0.999, 2)
            assert phase.optimizer == Adam(lr=1e-3, weight_decay=1e-5)
            assert (phase.clip.frames, phase.clip.stride, phase.clip.size, phase.clip.short_side) == (32, 1, 128, 240)
            assert (phase.backbone.name, phase.augment.name) == ("s3d", "coclr")
            assert phase.batch_size == (64 if name in ("coclr_published", *LONG) else 32)
        for evaluator in experiment.evaluate.values():
            assert evaluator.datasets == ("ucf101", "hmdb51")


def test_epochs_and_drops(every: dict[str, Resolved]) -> None:
    for name, experiment in every.items():
        first = {"ubernce": (300, (240,)), "cpr_supplement": (400, (300, 350)), **LONG}.get(name, (300, (250, 280)))
        for phase in experiment.phases:
            assert milestones(phase) == (first if phase.name in ("rgb", "flow") else (100, (80,)))


def test_only_the_miner_differs_between_cpr_and_coclr(every: dict[str, Resolved]) -> None:
    cpr, coclr = every["cpr"], every["coclr"]
    assert {p.miner for p in cpr.phases} == {None, Cascade(stages=7, ratio=0.5, topk=5)}
    assert {p.miner for p in coclr.phases} == {None, Cascade(stages=1, topk=5)}
    assert [evolve(p, miner=None) for p in cpr.phases] == [evolve(p, miner=None) for p in coclr.phases]
    assert (cpr.views, cpr.evaluate) == (coclr.views, coclr.evaluate)


def test_two_cycles(every: dict[str, Resolved]) -> None:
    mined = [(p.name, p.start_from, p.mine_with) for p in every["cpr"].phases if p.mine_with]
    assert mined == [
        ("cycle1-rgb", "rgb", "flow"),
        ("cycle1-flow", "flow", "cycle1-rgb"),
        ("cycle2-rgb", "cycle1-rgb", "cycle1-flow"),
        ("cycle2-flow", "cycle1-flow", "cycle2-rgb"),
    ]


def test_infonce_goes_on_for_as_long_as_the_others_mine(every: dict[str, Resolved]) -> None:
    mining, control = every["cpr"].phases, every["infonce"].phases
    assert all(p.miner is None and p.mine_with is None for p in control)
    assert [evolve(p, miner=None, mine_with=None) for p in mining] == list(control)


def test_ubernce_takes_every_clip_of_the_label(every: dict[str, Resolved]) -> None:
    for phase in every["ubernce"].phases:
        assert (phase.miner, phase.start_from) == (Labels(topk=0), None)
        assert (phase.framework.loss, phase.framework.drop_own_key) == ("mean_of_logs", 0.0)  # type: ignore[attr-defined]


def test_fine_tuning_follows_the_public_code_but_in_the_supplement_s_file(every: dict[str, Resolved]) -> None:
    for name, experiment in every.items():
        finetune = experiment.evaluate.get("finetune")
        assert (finetune is None) == (name in LONG)
        if finetune is not None:
            recipe = (finetune.epochs, finetune.milestones, finetune.lr, finetune.weight_decay, finetune.crops)  # type: ignore[attr-defined]
            assert recipe == (500, (400, 450), 1e-3, 1e-3, "ten")
            assert finetune.batch_size == (32 if name == "cpr_supplement" else 64)  # type: ignore[attr-defined]


def test_published_numbers(every: dict[str, Resolved]) -> None:
    assert {name for name, e in every.items() if not e.published} == {"ubernce"}
    values = {(n.metric, n.dataset): n.value for n in every["cpr"].published}
    assert values == {
        ("R@1", "ucf101"): 0.567, ("R@1", "hmdb51"): 0.244, ("median_cmr", None): 0.833, ("perfect_classes", None): 8,
        ("top1", "ucf101"): 0.838, ("top1", "hmdb51"): 0.548,
    }  # fmt: skip
