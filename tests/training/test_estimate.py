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


def test_kept_values_are_those_of_a_real_pass(resolved: Resolved) -> None:
    phase = resolved.phases[0]
    encoder = build_encoder(phase)
    x, total = torch.rand(2, 3, 8, 32, 32), 0
    for stage in encoder[0].modules():  # every layer once, by its own output
        if not list(stage.children()):
            stage.register_forward_hook(lambda m, i, out: sizes.append(out.numel()))
    sizes: list[int] = []
    features = encoder[0](x)
    total = sum(sizes) + features[:, :, 0, 0, 0].numel() * 3 + 2 * phase.framework.embedding  # pool, layer, ReLU; layer
    with torch.device("meta"):
        meta = build_encoder(phase)
    assert kept_values(meta, phase) == total // 2


def test_mining_needs_more_memory_and_steps_fill_the_queue(resolved: Resolved) -> None:
    facts = {"name": "clips", "train_videos": 21}
    plan = plan_record(resolved, [facts])
    rgb, _, cycle = plan["phases"]
    assert cycle["memory_gib"] > rgb["memory_gib"] > 0
    assert (rgb["clips_per_epoch"], rgb["queue_fill_steps"]) == (16, 8)
    assert (cycle["miner"], cycle["mine_with"], cycle["start_from"]) == ("coclr", "flow", "rgb")
    assert plan["data"] == [facts]
