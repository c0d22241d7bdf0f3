"""The plan's figures against networks that really exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cprspec.models.encoders import build_encoder
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved
from cprspec.training.estimate import kept_values, plan_record

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


def test_kept_values_are_what_each_layer_needs_back(resolved: Resolved) -> None:
    phase = resolved.phases[0]
    with torch.device("meta"):
        layers = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1, bias=False), torch.nn.BatchNorm3d(4), torch.nn.ReLU())
    map_of_one_clip = 4 * 8 * 32 * 32  # batch norm keeps what it gets, ReLU what it gives
    statistics_of_both = 2 * 4
    assert kept_values(layers, phase) == 2 * map_of_one_clip + statistics_of_both // 2


def test_convolutions_computed_as_one_are_counted(resolved: Resolved) -> None:
    phase = resolved.phases[0]
    with torch.device("meta"):
        branches = [torch.nn.Conv3d(3, 4, 1) for _ in range(3)]
        together = AsOne(branches)
    assert kept_values(together, phase) >= 3 * 4 * 8 * 32 * 32


class AsOne(torch.nn.Module):
    """Convolutions of which no module's own forward runs, as in S3D's inception blocks."""

    def __init__(self, branches: list[torch.nn.Conv3d]) -> None:
        super().__init__()
        self.branches = torch.nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.cat([branch.weight for branch in self.branches])
        return torch.nn.functional.conv3d(x, weight).sigmoid()


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
    assert set(cycle["exchange"]["of_which"]) - set(rgb["exchange"]["of_which"]) == {"ledger", "recording"}
