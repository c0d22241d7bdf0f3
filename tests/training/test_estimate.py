"""The plan's figures against networks that really exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from attrs import evolve

from cprspec.components.backbones import S3D
from cprspec.components.frameworks import IIC
from cprspec.models.encoders import build_encoder
from cprspec.models.tiny import Tiny
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Clip, Resolved
from cprspec.training.estimate import Memory, bank_bytes, memory_of, plan_record
from cprspec.training.rehearsal import Counting

TEXT = """format = 1
batch_size = 8
[dataset.clips]
use = "folder"
[clip]
frames = 8
size = 32
[backbone]
use = "tiny"
[framework]
queue_size = 60
[miner]
use = "coclr"
[phase.rgb]
views = ["rgb"]
epochs = 1
[phase.flow]
views = ["flow"]
epochs = 1
[phase.cycle]
views = ["rgb"]
epochs = 1
start_from = "rgb"
mine_with = "flow"
"""


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolved:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "x.toml").write_text(TEXT)
    return resolve(tmp_path / "x.toml", builtin_registry(), overrides=["framework.queue_size=64"])


def test_parameters_are_those_of_the_network(resolved: Resolved) -> None:
    real = sum(p.numel() for p in build_encoder(resolved.phases[0]).parameters())
    assert [p["parameters"] for p in plan_record(resolved, [])["phases"]] == [real] * 3


def memory(resolved: Resolved, phase: str = "rgb", ranks: int = 1, **launch: object) -> Memory:
    found = memory_of(evolve(resolved, launch=evolve(resolved.launch, **launch)), resolved.phase(phase), 21, ranks)
    assert found is not None
    return found


def changed(resolved: Resolved, **fields: object) -> Resolved:
    return evolve(resolved, phases=tuple(evolve(phase, **fields) for phase in resolved.phases))


def test_what_is_made_counts_until_nobody_holds_it() -> None:
    with Counting() as counting, torch.device("meta"):
        first = torch.empty(1000)
        view = first.view(10, 100)
        assert (counting.now, counting.peak) == (4000, 4000)
        second = first + 1
        assert counting.now == 8000
        del first, second
        assert counting.now == 4000, "the view holds it"
        del view
    assert (counting.now, counting.peak, counting.largest) == (0, 8000, 4000)


def test_a_step_takes_what_back_propagation_keeps(resolved: Resolved) -> None:
    """The first layer's maps alone, as convolution, norm and ReLU give them: the last is written over none of these."""
    phase = resolved.phases[0]
    channels, clips = 16, phase.batch_size
    a_map = 4 * clips * channels * phase.clip.frames * (phase.clip.size // 2) ** 2
    assert memory(resolved).step > 3 * a_map
    assert 1.5 * memory(resolved).step < memory(changed(resolved, batch_size=16)).step < 2 * memory(resolved).step


def test_what_takes_less_memory(resolved: Resolved) -> None:
    usual = memory(resolved)
    deep = changed(resolved, backbone=S3D(), clip=Clip(frames=16, size=112))
    assert memory(deep, checkpoint_activations=True).step < 0.65 * memory(deep).step
    assert memory(changed(deep, precision="bf16")).step < 0.65 * memory(deep).step
    assert usual.step / 2 < memory(changed(resolved, accumulate=2)).step < 0.75 * usual.step, "all but the gradients"
    assert memory(resolved, ranks=2).step == memory(changed(resolved, accumulate=2)).step
    assert memory(resolved, workers=0).clips < usual.clips


def test_banks(resolved: Resolved) -> None:
    assert memory(resolved).bank == 64 * 128 * 4
    assert memory(resolved, "cycle").bank == 2 * memory(resolved).bank, "the mining view's beside it"
    phase = resolved.phases[0]
    half = evolve(phase, framework=evolve(phase.framework, bank_precision="bf16"))
    assert bank_bytes(half) == bank_bytes(phase) / 2
    iic = evolve(phase, framework=IIC(bank_precision="bf16"))
    assert bank_bytes(iic, 21) == 3 * 21 * 128 * 2


def test_the_total_is_the_sum_and_begins_with_the_process(resolved: Resolved) -> None:
    found = memory(resolved)
    assert found.process > 100 * 2**20, "Python and torch"
    record = plan_record(resolved, [])["phases"][0]
    assert sum(record["memory"].values()) == pytest.approx(record["memory_gib"])
    assert record["memory_gib"] == pytest.approx(found.total / 2**30, rel=0.2)


def test_a_network_that_looks_at_numbers_has_no_figure(resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiny, "forward", lambda self, x: x[: int(x.sum())])
    assert memory_of(resolved, evolve(resolved.phases[0], batch_size=24), None) is None


def test_mining_needs_more_memory_and_steps_fill_the_queue(resolved: Resolved) -> None:
    facts = {"name": "clips", "train_videos": 21}
    plan = plan_record(resolved, [facts])
    rgb, _, cycle = plan["phases"]
    assert cycle["memory_gib"] > rgb["memory_gib"] > 0
    assert (rgb["clips_per_epoch"], rgb["queue_fill_steps"]) == (16, 8)
    assert (cycle["miner"], cycle["mine_with"], cycle["start_from"]) == ("coclr", "flow", "rgb")
    assert plan["data"] == [facts]


def test_ranks_are_as_many_as_there_are_groups_and_hand_over_what_the_formulas_say(resolved: Resolved) -> None:
    rgb, _, cycle = plan_record(resolved, [])["phases"]
    assert rgb["exchange"]["ranks"] == 2
    assert rgb["exchange"]["of_which"]["gradients"] == 4 * rgb["parameters"]
    assert rgb["exchange"]["of_which"]["key clips"] == 4 * 3 * 8 * 32 * 32
    assert cycle["exchange"]["bytes_per_step"] == sum(cycle["exchange"]["of_which"].values())
    assert plan_record(resolved, [], 4)["phases"][0]["exchange"]["ranks"] == 4
    assert set(cycle["exchange"]["of_which"]) - set(rgb["exchange"]["of_which"]) == {"ledger", "recording"}
