"""A resolved experiment, written and resolved again, is the same experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tomli

from cprspec.spec.plan import fingerprints
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved
from cprspec.spec.toml import to_toml

Read = Callable[..., Resolved]

VARIANTS = [
    (),
    ("seed=3", "miner.use=oracle", 'name="a.b-c"'),
    ("phase.rgb.clip.short_side=40", "clip.size=64"),
    ("clip.short_side=99", "phase.flow.clip.size=32"),
    ("phase.cycle.optimizer={use='sgd'}", "optimizer.lr=0.25", "schedule.milestones=[3]"),
    ("phase.rgb={views=['rgb'], epochs=2, framework.loss='mean_of_logs', miner={use='ubernce'}}",),
    ("phase.cycle.start_from={file='w.safetensors', allow_missing=['a']}",),
    ("phase.flow.batch_size=16", "phase.flow.precision=bf16"),
    ("phase.second={views=['flow'], epochs=1, mine_with='cycle', miner.use='coclr', augment={use='clean'}}",),
    ("published=[{metric='m', value=1, where='w', dataset='d'}]", "launch.workers=0", "dataset.clips.root='videos'"),
    ("view.flow={use='flow', bound=7}", "dataset.more={use='manifest'}", "train_on=clips", "augment.use=clean"),
    ("augment.use=coclr", "phase.flow.augment={use='clean', flow_aware=false}"),
]


@pytest.mark.parametrize("overrides", VARIANTS)
def test_round_trip(overrides: tuple[str, ...], good: str, read: Read, registry: Registry, tmp_path: Path) -> None:
    resolved = read(good, *overrides)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "resolved.toml").write_text(to_toml(resolved))
    again = resolve(folder / "resolved.toml", registry)
    assert again.phases == resolved.phases
    assert fingerprints(again, "d", lambda p: p.name) == fingerprints(resolved, "d", lambda p: p.name)
    for name in ("name", "seed", "train_on", "roots", "views", "evaluate", "published", "launch", "cards"):
        assert getattr(again, name) == getattr(resolved, name), name
    assert to_toml(again) == to_toml(resolved)


def test_shared_tables_stand_once(good: str, read: Read) -> None:
    table = tomli.loads(to_toml(read(good)))
    assert table["framework"]["queue_size"] == 64
    assert table["miner"] == {"use": "cpr", "stages": 3, "ratio": 0.5, "topk": 5}
    assert set(table["phase"]["cycle"]) == {"views", "epochs", "start_from", "mine_with"}


def test_what_differs_stands_whole_in_each_phase(good: str, read: Read) -> None:
    table = tomli.loads(to_toml(read(good, "phase.cycle.optimizer.lr=0.5")))
    assert "optimizer" not in table
    assert all(set(p["optimizer"]) == {"use", "lr", "weight_decay"} for p in table["phase"].values())
