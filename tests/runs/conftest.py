"""Fixtures of this folder: small run directories."""

from __future__ import annotations

import pytest
from sample_runs import write_run


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run below `tmp_path / "runs"` and gives its RunDir; see `sample_runs.write_run`."""
    return lambda *args, **kwargs: write_run(tmp_path / "runs", *args, **kwargs)
