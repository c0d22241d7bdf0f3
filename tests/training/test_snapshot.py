"""Going on from a checkpoint that another version wrote, or that was changed by hand: refused, with file and key."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import asdict

from cprspec.errors import CprspecError
from cprspec.training import checkpoint
from cprspec.training.environment import versions
from cprspec.training.job import Tally
from cprspec.training.snapshot import check_same_setting, read_tally

TALLY = Tally(epoch=1, step=2, loss=0.5, told=[3])


def found(**meta):
    return checkpoint.Checkpoint(Path("run/step-000007"), {}, {}, {"schema": 1, "tally": asdict(TALLY), **meta})


def test_a_tally_is_read_as_it_was_written():
    assert read_tally(found()) == TALLY
    assert read_tally(found(tally={"epoch": 1, "step": 0, "loss": 1})) == Tally(epoch=1, loss=1)


@pytest.mark.parametrize(
    ("meta", "key"),
    [
        ({"schema": 2}, "schema is 2 where 1"),
        ({"schema": None}, "schema"),
        ({"tally": None}, "tally is None"),
        ({"tally": [1, 2]}, "tally"),
        ({"tally": {"epoch": 1}}, "tally.step is None"),
        ({"tally": {"epoch": "1", "step": 0}}, "tally.epoch is '1'"),
        ({"tally": {"epoch": True, "step": 0}}, "tally.epoch"),
        ({"tally": {"epoch": 1, "step": -1}}, "tally.step is -1"),
        ({"tally": {"epoch": 1, "step": 0, "loss": "low"}}, "tally.loss"),
        ({"tally": {"epoch": 1, "step": 0, "told": [0.5]}}, "tally.told"),
        ({"tally": {"epoch": 1, "step": 0, "clips": 9}}, "tally.clips is 9 where no such key"),
        ({"tally": {"epoch": "x" * 1000 + "\x1b[2J", "step": 0}}, "tally.epoch"),
    ],
)
def test_a_tally_that_is_none_is_refused_with_its_key(meta, key):
    with pytest.raises(CprspecError) as caught:
        read_tally(found(**meta))
    text = str(caught.value)
    assert f"run/step-000007/meta.json: key {key}" in text
    assert "another version" in text
    assert len(text) < 400
    assert text.isprintable()


@pytest.mark.parametrize(
    ("meta", "key"),
    [
        ({"versions": "1.0"}, "versions is '1.0'"),
        ({}, "versions is None"),
        ({"versions": {}, "world_size": "2"}, "world_size is '2'"),
        ({"versions": {}}, "world_size is None"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_its_key(meta, key):
    job = SimpleNamespace(ranks=SimpleNamespace(world=1))
    with pytest.raises(CprspecError, match=rf"meta\.json: key {key}"):
        check_same_setting(job, found(**meta))


def test_versions_that_are_no_words_are_told_as_they_are():
    told = []
    job = SimpleNamespace(ranks=SimpleNamespace(world=1), phase=SimpleNamespace(name="rgb"), report=told.append)
    check_same_setting(job, found(versions={**versions(), "torch": [1]}, world_size=1))
    assert "torch [1] then" in told[0].message


def _edit(folder, name, content):
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))


def test_a_run_is_not_gone_on_with_from_a_state_of_something_else(reference, cprspec, tmp_path):
    run = tmp_path / "runs" / "small" / reference.name
    shutil.copytree(reference, run)
    (run / "phases" / "cycle" / "phase.json").unlink()
    (folder,) = (run / "phases" / "cycle" / "checkpoints").iterdir()
    state, meta = (folder / checkpoint.STATE).read_bytes(), json.loads((folder / checkpoint.META).read_text())
    _edit(folder, checkpoint.STATE, state.replace(b"bank.key_KD", b"bank.key_XX"))
    done = cprspec("run", run, check=False)
    assert done.returncode == 2, done.stderr
    assert f"{checkpoint.STATE}: state does not fit phase 'cycle': bank.key_KD: missing" in done.stderr
    assert "mistake in cprspec" not in done.stderr
    _edit(folder, checkpoint.STATE, state)
    _edit(folder, checkpoint.META, json.dumps(meta | {"schema": 2}).encode())
    done = cprspec("run", run, check=False)
    assert done.returncode == 2, done.stderr
    assert f"{checkpoint.META}: key schema is 2" in done.stderr
    _edit(folder, checkpoint.META, json.dumps(meta).encode())
    cprspec("run", run)
