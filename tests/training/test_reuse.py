"""A finished phase is copied whole and lasting, or it is said why not; one that went away is trained instead."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import RunDir
from cprspec.training import checkpoint
from cprspec.training.reuse import FINISHED, copy_evaluation, copy_phase, finished_phase, write_evaluation


@pytest.fixture
def finished(tmp_path):
    """A finished phase of another run."""
    folder = tmp_path / "runs" / "small" / "then" / "phases" / "rgb"
    last = checkpoint.save(folder / "checkpoints", 8, {"a": torch.ones(3)}, {"b": torch.ones(3)}, {})
    (folder / "mining" / "strips").mkdir(parents=True)
    (folder / "mining" / "epoch-0000.json").write_text("{}")
    (folder / "mining" / "strips" / "000001.jpg").write_bytes(b"jpg")
    atomic_write_json(folder / FINISHED, {"fingerprint": "f", "checkpoint": last.name})
    found = finished_phase(folder, "f")
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path):
    """Where the copy shall lie."""
    return tmp_path / "runs" / "small" / "now" / "phases" / "rgb"


def files(below):
    return {str(path.relative_to(below)) for path in below.rglob("*") if path.is_file()}


@pytest.mark.parametrize("strips", [True, False])
def test_a_copy_has_the_last_checkpoint_and_what_was_mined(finished, folder, strips):
    copied = copy_phase(finished, folder, "rgb", strips)
    assert copied.facts["reused_from"] == "small/then"
    assert finished_phase(folder, "f").facts == copied.facts
    left_out = set() if strips else {"mining/strips/000001.jpg"}
    assert files(folder) == files(finished.folder) - left_out
    assert [path.name for path in folder.parent.iterdir()] == ["rgb"]


def test_a_copy_is_on_disk_before_it_is_called_finished(finished, folder, monkeypatch):
    synced, lasting = [], os.fsync

    def fsync(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        lasting(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    copy_phase(finished, folder, "rgb")
    names = [str(path) for path in synced]
    working = folder.parent / ".rgb.copy"
    at = next(n for n, name in enumerate(names) if FINISHED in name)
    for path in finished.folder.rglob("*"):
        if path.name != FINISHED:
            assert str(working / path.relative_to(finished.folder)) in names[:at], path
    for made in (folder.parent.parent.parent, folder.parent.parent):
        assert str(made) in names, "the names of folders that were made for it"
    assert names[-1] == str(folder.parent)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_a_copy_that_cannot_be_written_is_said(finished, folder, monkeypatch, number, call):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    if call == "open":
        really = Path.open
        monkeypatch.setattr(
            Path, "open", lambda self, mode="r", *a, **k: fail() if "w" in mode else really(self, mode, *a, **k)
        )
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(CprspecError) as caught:
        copy_phase(finished, folder, "rgb")
    text = str(caught.value)
    assert text.startswith(f"finished phase 'rgb' cannot be copied from {finished.folder}: {folder.parent}")
    assert os.strerror(number) in text
    assert "bytes are free there" in text
    assert caught.value.exit_code == 1
    assert not (folder / FINISHED).exists()


def test_one_that_went_away_is_no_error(finished, folder):
    shutil.rmtree(finished.folder)
    assert copy_phase(finished, folder, "rgb") is None
    assert not list(folder.parent.glob("*"))


def evaluated(runs, name, tensors=b"tensors", fingerprint="f", **facts):
    run = RunDir(runs / "small" / name)
    write_evaluation(run.evaluation("nn"), {"fingerprint": fingerprint, "records": [name], **facts}, tensors)
    return run


def test_an_evaluation_is_copied_from_the_newest_run_that_has_it(tmp_path):
    for name, fingerprint in (("1", "f"), ("2", "f"), ("3", "other")):
        evaluated(tmp_path, name, fingerprint=fingerprint)
    now = RunDir(tmp_path / "small" / "4")
    facts = copy_evaluation(tmp_path, "nn", "f", now)
    assert (facts["records"], facts["reused_from"]) == (["2"], "small/2")
    assert json.loads(now.evaluation("nn").read_text()) == facts
    assert now.evaluation("nn").with_suffix(".safetensors").read_bytes() == b"tensors"
    # A copy of a copy says where it was made.
    assert copy_evaluation(tmp_path, "nn", "f", RunDir(tmp_path / "small" / "5"))["reused_from"] == "small/2"
    assert copy_evaluation(tmp_path, "linear", "f", RunDir(tmp_path / "small" / "5")) is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_text("{"),
        lambda file: file.write_text("[]"),
        lambda file: file.write_text('{"fingerprint": "f", "tensors_sha256": null}'),
        lambda file: file.with_suffix(".safetensors").write_bytes(b"tensorS"),
        lambda file: file.with_suffix(".safetensors").unlink(),
    ],
)
def test_a_damaged_evaluation_is_made_again(tmp_path, harm):
    harm(evaluated(tmp_path, "1").evaluation("nn"))
    now = RunDir(tmp_path / "small" / "2")
    assert copy_evaluation(tmp_path, "nn", "f", now) is None
    assert not now.path.exists()
