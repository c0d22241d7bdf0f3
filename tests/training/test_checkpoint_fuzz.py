"""Whatever lies in a checkpoint's folder, reading it gives the checkpoint that was written, or a CprspecError."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprspec.errors import CprspecError, clean
from cprspec.training import checkpoint

FILES = (checkpoint.WEIGHTS, checkpoint.STATE, checkpoint.META, checkpoint.MANIFEST)
QUIET = settings(deadline=None, max_examples=120)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint, and its files as they were."""
    folder = checkpoint.save(
        tmp_path_factory.mktemp("fuzz"), 1, {"a": torch.ones(3)}, {"b": torch.arange(4)}, {"tally": {}}
    )
    return folder, {name: (folder / name).read_bytes() for name in FILES}


def _try(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        return checkpoint.load(folder)
    except CprspecError as error:
        assert all(str(folder) in str(p) and clean(str(p)).isprintable() for p in error.problems)
        return None


@QUIET
@given(st.sampled_from(FILES), st.binary(max_size=300))
def test_any_bytes_in_any_file(saved, name, content):
    folder, good = saved
    found = _try(folder, {**good, name: content})
    assert found is None or content == good[name]


@QUIET
@given(st.data())
def test_spliced_files(saved, data):
    folder, good = saved
    name = data.draw(st.sampled_from(FILES))
    at = data.draw(st.integers(0, len(good[name])))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(st.binary(max_size=40))
    content = good[name][:at] + put + good[name][at + cut :]
    found = _try(folder, {**good, name: content})
    if found is not None:  # only a manifest may say the same with other bytes
        assert content == good[name] or name == checkpoint.MANIFEST
        assert found.weights["a"].equal(torch.ones(3))


@QUIET
@given(st.sampled_from((checkpoint.WEIGHTS, checkpoint.STATE, checkpoint.META)), st.data())
def test_a_manifest_that_vouches_for_anything(saved, name, data):
    folder, good = saved
    at = data.draw(st.integers(0, len(good[name]) - 1))
    content = good[name][:at] + data.draw(st.binary(max_size=20)) + good[name][at + data.draw(st.integers(0, 20)) :]
    manifest = json.loads(good[checkpoint.MANIFEST])
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    found = _try(folder, {**good, name: content, checkpoint.MANIFEST: json.dumps(manifest).encode()})
    assert found is None or isinstance(found.meta, dict)
