"""Damaged videos neither crash, hang nor surprise `data prepare` and training. Larger numbers: mutated_use.py as a script."""

import json

import pytest
from mutated_use import prepare_mutations, train_on_mutations

pytestmark = pytest.mark.slow


def test_prepare_leaves_damaged_videos_out_and_ends_well(tmp_path):
    used = prepare_mutations(tmp_path, 44, seed=1)
    assert used.exit_code == 0 and "Traceback" not in used.said, used.said
    found = json.loads(used.out)
    assert found["finished"] and found["videos"] + len(found["excluded"]) == found["made"] == 44
    assert found["videos"] and found["excluded"]


def test_training_replaces_damaged_videos_and_ends_well(tmp_path):
    used, counts = train_on_mutations(tmp_path, 44, seed=1)
    assert used.exit_code == 0 and "Traceback" not in used.said, used.said
    assert 0 < counts["named"] <= 44 and 0 < counts["replaced"] < counts["clips"]
