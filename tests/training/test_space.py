"""What a run needs on disk at least: both numbers are said before it starts, and what is there already counts."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from small_run import SPEC

from cprspec.errors import CprspecError
from cprspec.runs.layout import RunDir
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.training.space import check_space, checkpoint_bytes, needed_bytes


@pytest.fixture
def resolved(tmp_path):
    (tmp_path / "small.toml").write_text(SPEC)
    return resolve(tmp_path / "small.toml", builtin_registry())


def test_it_is_a_lower_bound_of_what_is_written(resolved, reference):
    for phase in resolved.phases:
        (last,) = (reference / "phases" / phase.name / "checkpoints").iterdir()
        written = sum(path.stat().st_size for path in last.iterdir())
        assert 0.5 * written < checkpoint_bytes(phase) < written, phase.name


def test_finished_phases_and_old_checkpoints_count(resolved, reference, tmp_path):
    assert needed_bytes(resolved, RunDir(reference)) == 0
    copy = tmp_path / "copy"
    shutil.copytree(reference, copy)
    whole = needed_bytes(resolved, None)
    (copy / "phases" / "cycle" / "phase.json").unlink()
    needed = needed_bytes(resolved, RunDir(copy))
    assert 0 < needed < whole
    (last,) = (copy / "phases" / "cycle" / "checkpoints").iterdir()
    last.rename(last.with_name(f"damaged-{last.name}"))
    assert needed_bytes(resolved, RunDir(copy)) > needed, "a damaged one is not replaced"


def test_too_little_room_is_refused_with_both_numbers(resolved, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = needed_bytes(resolved, None)
    monkeypatch.setattr("cprspec.training.space.shutil.disk_usage", lambda _: usage(0, 0, needed - 1))
    with pytest.raises(CprspecError, match=r"needs at least .* MiB .* MiB are free") as caught:
        check_space(resolved, tmp_path / "not" / "yet", None)
    assert caught.value.exit_code == 1
    monkeypatch.setattr("cprspec.training.space.shutil.disk_usage", lambda _: usage(0, 0, needed))
    check_space(resolved, Path(tmp_path), None)
