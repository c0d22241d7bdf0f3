"""Checkpoints are whole or absent: every damage is detected, and loading shares no memory with the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.training import checkpoint

FILES = (checkpoint.WEIGHTS, checkpoint.STATE, checkpoint.META)


@pytest.fixture
def saved(tmp_path):
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6.0).reshape(2, 3).T}
    state = {"bank": torch.ones(4, dtype=torch.int64)}
    return checkpoint.save(tmp_path, 7, checkpoint.own(weights), state, {"tally": {"epoch": 1}})


def test_round_trip(saved):
    found = checkpoint.load(saved)
    assert saved.name == "step-000007"
    assert torch.equal(found.weights["b"], torch.arange(6.0).reshape(2, 3).T)
    assert torch.equal(found.state["bank"], torch.ones(4, dtype=torch.int64))
    assert found.meta["tally"] == {"epoch": 1}


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_detected(saved, name):
    path = saved / name
    content = path.read_bytes()
    for at in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(CprspecError, match="sha256"):
            checkpoint.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_detected(saved, name):
    path = saved / name
    content = path.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        with pytest.raises(CprspecError):
            checkpoint.load(saved)


def test_newest_good_one_is_chosen_and_the_bad_one_named(saved):
    newer = checkpoint.save(saved.parent, 9, {"a": torch.zeros(1)}, {}, {})
    (newer / checkpoint.WEIGHTS).write_bytes(b"")
    found, bad = checkpoint.newest(saved.parent)
    assert found is not None
    assert found.folder == saved
    assert len(bad) == 1
    assert "step-000009" in str(bad[0])


def test_files_overwritten_after_loading_change_nothing(saved):
    found = checkpoint.load(saved)
    (saved / checkpoint.WEIGHTS).write_bytes(b"\0" * 8)
    assert float(found.weights["a"].sum()) == 15.0


def test_unfinished_folder_is_no_checkpoint(tmp_path):
    (tmp_path / ".step-000003.99").mkdir()
    found, bad = checkpoint.newest(tmp_path)
    assert found is None
    assert bad == []


def test_keep_last_removes_older_and_half_done(saved):
    checkpoint.save(saved.parent, 8, {}, {}, {})
    (saved.parent / ".step-000010.1").mkdir()
    checkpoint.Keep(last=1).apply(saved.parent)
    assert [p.name for p in saved.parent.iterdir()] == ["step-000008"]


def test_order_is_by_number(tmp_path):
    for step in (999_999, 1_000_000, 5):
        checkpoint.save(tmp_path, step, {"a": torch.tensor([step])}, {}, {})
    checkpoint.Keep(last=2).apply(tmp_path)
    found, _ = checkpoint.newest(tmp_path)
    assert found is not None
    assert int(found.weights["a"]) == 1_000_000
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("by", "kept"), [("loss", [3, 5, 6]), ("precision", [1, 5, 6])])
def test_the_best_stay_beside_the_newest(tmp_path, by, kept):
    losses = {1: 4.0, 2: 3.0, 3: 1.0, 4: None, 5: 2.0, 6: None}
    for step, loss in losses.items():
        figures = {"loss": loss, "precision": loss and loss / 10}
        checkpoint.save(tmp_path, step, {}, {}, {"figures": figures} if loss else {})
    (tmp_path / "step-000002" / checkpoint.META).write_bytes(b"[")
    checkpoint.Keep(last=2, best=1, by=by).apply(tmp_path)
    assert sorted(int(p.name[5:]) for p in tmp_path.iterdir()) == kept


@pytest.mark.parametrize("figures", [[1], None, "low", {"loss": "low"}, {"loss": True}, {"loss": [0]}])
def test_figures_that_are_none_are_not_the_best(tmp_path, figures):
    for step, own in enumerate((figures, {"loss": 1.0}, figures, {})):
        checkpoint.save(tmp_path, step, {}, {}, {"figures": own})
    checkpoint.Keep(last=1, best=1).apply(tmp_path)
    assert sorted(int(p.name[5:]) for p in tmp_path.iterdir()) == [1, 3]


@pytest.mark.parametrize("found_at", [5, None])
def test_damaged_ones_are_set_aside_and_do_not_push_out_later_ones(tmp_path, found_at):
    for step in (20, 30) if found_at is None else (found_at, 20, 30):
        checkpoint.save(tmp_path, step, {}, {}, {})
    for step in (20, 30):
        (tmp_path / f"step-{step:06d}" / checkpoint.STATE).write_bytes(b"")
    (tmp_path / "damaged-step-000030").mkdir()  # an earlier one: the disk is not to fill with them
    found, bad = checkpoint.newest(tmp_path)
    assert len(bad) == 2
    checkpoint.set_aside(tmp_path, found)
    assert (tmp_path / "damaged-step-000030" / checkpoint.META).exists()
    for step in (6, 7, 8):
        made = checkpoint.save(tmp_path, step, {}, {}, {})
        checkpoint.Keep(last=2).apply(tmp_path)
        found, bad = checkpoint.newest(tmp_path)
        assert (found.folder, bad) == (made, [])
    left = {"step-000007", "step-000008", "damaged-step-000020", "damaged-step-000030"}
    assert {p.name for p in tmp_path.iterdir()} == left


def test_folders_made_for_it_are_on_disk_too(tmp_path, monkeypatch):
    synced, lasting = [], os.fsync

    def fsync(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        lasting(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoint.save(tmp_path / "phases" / "rgb" / "checkpoints", 1, {}, {}, {})
    for folder in (tmp_path, tmp_path / "phases", tmp_path / "phases" / "rgb"):
        assert folder in synced
