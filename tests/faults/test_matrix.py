"""The whole matrix of faults; adds to docs/faults.json and writes docs/faults.md. Takes hours where cores are few."""

from __future__ import annotations

import matrix
import pytest


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("row", matrix.ROWS)
def test_row(row):
    assert matrix.main([row]) == 0
