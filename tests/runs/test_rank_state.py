"""What ranks say of themselves: it comes back as it was, and damage is nobody's problem."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import STEP, WAIT, RankState, read_rank, read_ranks

STATE = RankState(
    rank=1, pid=12, host="h", phase="rgb", epoch=0, step=37, stage=WAIT, file="a/b.mp4", rss_gib=1, heartbeat=5.5
)


def test_it_comes_back_and_ranks_are_found_by_number(tmp_path):
    run = RunDir(tmp_path)
    other = RankState(rank=0, pid=11, host="h")
    for state in (STATE, other):
        atomic_write_json(run.rank(state.rank), state.to_json())
    assert read_ranks(run) == {0: other, 1: STATE}
    assert list(read_ranks(run)) == [0, 1]
    assert read_ranks(RunDir(tmp_path / "nowhere")) == {}


def test_newer_fields_are_passed_over_and_wrong_ones_are_no_rank(tmp_path):
    path = tmp_path / "1.json"
    path.write_text(json.dumps({**STATE.to_json(), "schema": 2, "new": []}))
    assert read_rank(path) == STATE
    for wrong in ({"step": "x"}, {"rank": None}, {"peers": 1}, {"pid": True}, {"kind": "status"}, {"file": 3}):
        path.write_text(json.dumps({**STATE.to_json(), **wrong}))
        assert read_rank(path) is None, wrong


NO_RANK = st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda value: json.dumps(value).encode())


@given(st.binary(max_size=200) | NO_RANK)
def test_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    assert read_rank(path) is None


def test_where_in_words():
    assert STATE.where() == "in phase 'rgb', step 37, waiting for clips, in: a/b.mp4"
    assert RankState(rank=0, pid=1, host="h").where() == "starting"
    assert RankState(rank=0, pid=1, host="h", phase="x", step=2, stage=STEP, peers=True).where() == (
        "in phase 'x', step 2, waiting for the other ranks"
    )
