"""Records of an index: tables packed without loss, lines read back, newer fields ignored, damaged lines refused."""

import json

import numpy as np
import pytest
from attrs import evolve

from cprspec.data.defects import Defect
from cprspec.data.index import Entry
from cprspec.data.records import Flaw, Record, VideoFacts, from_line, pack, to_line, unpack

FACTS = VideoFacts(
    container="avi", codec="mpeg4", width=320, height=240, rotation=90, frames=4, fps=29.97, time_base="1001/30000",
    packed_times=pack([5, 6, 9, 10]), packed_order=pack([0, 2, 1, 3]), packed_keys=pack([0]), corrupt=1,
)  # fmt: skip
SOUND = Record(
    name="a/b\udce9\n.avi", size=9, mtime_ns=2**60, sha256="0" * 64, label="class é", source="s", video=FACTS
)
BAD = Record(
    name="x", size=None, mtime_ns=None, sha256=None, flaw=Flaw(defect=Defect.TRUNCATED, reason="short", frame=3)
)


@pytest.mark.parametrize("numbers", [[], [0], [5, -7, 2**62, -(2**62)], list(range(0, 10**6, 512))])
def test_packing_loses_nothing(numbers):
    assert unpack(pack(numbers)).tolist() == numbers


def test_even_spacing_takes_little_room():
    assert len(pack(range(0, 512 * 3000, 512))) < 100


@pytest.mark.parametrize("text", ["", "!", "AAAA", pack([1, 2])[:-6]])
def test_what_is_no_packed_table_is_an_error(text):
    with pytest.raises(ValueError):
        unpack(text)


@pytest.mark.parametrize("record", [SOUND, BAD])
def test_a_line_is_read_back(record):
    line = to_line(record)
    assert from_line(line) == record
    assert line.isascii() and line.count("\n") == 1


def test_tables_by_frame():
    assert FACTS.times_N.tolist() == [5, 6, 9, 10]
    np.testing.assert_allclose(FACTS.seconds_N, np.array([5, 6, 9, 10]) * 1001 / 30000)
    assert FACTS.order_N.tolist() == [0, 2, 1, 3] and FACTS.keys_K.tolist() == [0]
    assert evolve(FACTS, packed_order=None).order_N.tolist() == [0, 1, 2, 3]


def test_a_newer_version_may_add_fields():
    data = json.loads(to_line(SOUND))
    data["more"] = data["video"]["more"] = 1
    assert from_line(json.dumps(data)) == SOUND


@pytest.mark.parametrize("drop", ["name", "size", "video.codec", "video.times"])
def test_a_line_without_a_field_is_an_error(drop):
    data = json.loads(to_line(SOUND))
    *path, last = drop.split(".")
    del (data[path[0]] if path else data)[last]
    with pytest.raises(ValueError):
        from_line(json.dumps(data))


@pytest.mark.parametrize("line", ["", "[]", "null", '{"name": 3}', to_line(SOUND)[:-30], b"\xff\xfe", "[" * 10_000])
def test_other_lines_are_errors(line):
    with pytest.raises(ValueError):
        from_line(line)


def test_a_data_set_describes_a_file():
    record = BAD.described(Entry("x", "jump", "g1", "test"))
    assert (record.label, record.source, record.split, record.flaw) == ("jump", "g1", "test", BAD.flaw)
