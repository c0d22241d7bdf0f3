"""A laboratory in which runs suffer; see victims.py."""

from __future__ import annotations

import pytest
from victims import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A folder and a store of the session's own."""
    folder = tmp_path_factory.mktemp("faults")
    return Lab(folder / "lab", folder / "cache").prepare()
