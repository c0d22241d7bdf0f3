"""A recording through its file, and files that are damaged or contradict themselves."""

from __future__ import annotations

import json

import attrs
import pytest
import torch
from recorded import recording
from safetensors.torch import save

from cprspec.errors import CprspecError
from cprspec.mining.banks import bank_of
from cprspec.mining.recording import read_recording


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "replay.safetensors"
    found = recording(filled=4)
    path.write_bytes(found.to_bytes())
    again = read_recording(path)
    assert (again.epoch, again.classes, again.names) == (found.epoch, found.classes, found.names)
    for group in ("bank", "clips"):
        ours, theirs = getattr(again, group), getattr(found, group)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.to_bytes() == path.read_bytes()


def test_a_ucf101_epoch_is_about_15_mb():
    found = recording()
    clips, rows, features = 298 * 32, 2048, 128
    wide = {f"{name}_MD": torch.zeros(clips, features) for name in ("query", "key", "mining")}
    bank = {"key_KD": torch.zeros(rows, features), "mining_KD": torch.zeros(rows, features)}
    names = tuple(f"HandstandWalking/v_HandstandWalking_g{i % 25:02d}_c{i:05d}.avi" for i in range(13320))
    found = attrs.evolve(found, clips=wide | {"video_M": torch.zeros(clips, dtype=torch.int64)}, bank=bank, names=names)
    assert len(found.to_bytes()) < 18e6


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 64, save({"a": torch.zeros(2)})])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "replay.safetensors"
    path.write_bytes(content)
    with pytest.raises(CprspecError, match="not a recording of mining"):
        read_recording(path)


def test_any_cut_is_refused(tmp_path):
    path = tmp_path / "replay.safetensors"
    whole = recording(filled=12).to_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(CprspecError, match="not a recording of mining"):
            read_recording(path)


def test_a_missing_file_is_an_error_of_ours(tmp_path):
    with pytest.raises(CprspecError, match="No such file"):
        read_recording(tmp_path / "replay.safetensors")


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "replay.safetensors"
    path.write_bytes(save({"a": torch.zeros(2)}, {"cprspec": json.dumps({"kind": "replay", "schema": 2})}))
    with pytest.raises(CprspecError, match="schema 2"):
        read_recording(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clips": {"video_M": torch.full((24,), 99)}}, "names videos"),
        ({"clips": {"query_MD": torch.zeros(23, 6)}}, "expected 24 rows"),
        ({"usable_U": torch.tensor([40])}, "usable_U names videos"),
        ({"source_V": torch.zeros(3, dtype=torch.int64)}, "36 labels and 3 sources"),
        ({"epoch": {"batch_size": 5}}, "no whole batches"),
        ({"epoch": {"world_size": 3}}, "does not divide into 3 parts"),
    ],
)
def test_contradictions_are_named(tmp_path, change, words):
    path = tmp_path / "replay.safetensors"
    path.write_bytes(changed(recording(filled=12), change).to_bytes())
    with pytest.raises(CprspecError, match=words):
        read_recording(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bank": {"video_K": torch.full((12,), 77)}}, "video_K names videos"),
        ({"bank": {"video_K": torch.full((11,), 1)}}, "as many rows"),
        ({"clips": {"query_MD": torch.zeros(24, 5)}}, "query_MD and key_KD do not belong together"),
        ({"epoch": {"replay": {"framework": "other"}}}, "no framework is called 'other'"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        bank_of(changed(recording(filled=12), change))


def changed(found, change):
    """`found` with some fields, or some entries of one, replaced."""
    fields = {}
    for name, value in change.items():
        old = getattr(found, name)
        if name == "epoch":
            fields[name] = attrs.evolve(old, **value)
        else:
            fields[name] = {**old, **value} if isinstance(value, dict) else value
    return attrs.evolve(found, **fields)
