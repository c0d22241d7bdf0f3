"""Index files: looked up by name, damaged lines counted, replaced as a whole, found beside the data or in the cache."""

import pytest

from cprspec.data.defects import Defect
from cprspec.data.index_file import BESIDE, IndexFile, default_index, header_line, replacing
from cprspec.data.records import Flaw, Record, to_line
from cprspec.errors import CprspecError

RECORDS = [
    Record(name=f"{i}.mp4", size=i, mtime_ns=i, sha256=None, flaw=Flaw(defect=Defect.EMPTY, reason="empty"))
    for i in range(3)
]


def write(path, *lines):
    path.write_text("".join(lines))
    return path


def test_records_are_looked_up_by_name(tmp_path):
    with IndexFile.open(write(tmp_path / "i", header_line("ucf"), *map(to_line, RECORDS))) as index:
        assert (index.dataset, len(index), index.damaged) == ("ucf", 3, ())
        assert index.record("1.mp4") == RECORDS[1] and index.record("9.mp4") is None
        assert list(index.records()) == RECORDS and "2.mp4" in index


def test_damaged_lines_are_counted_and_the_rest_is_used(tmp_path):
    torn = to_line(RECORDS[2])[:-20]
    lines = [header_line("x"), to_line(RECORDS[0]), "\0" * 50 + "\n", "\n", to_line(RECORDS[1]), torn]
    with IndexFile.open(write(tmp_path / "i", *lines)) as index:
        assert index.damaged == (3, 4, 6)
        assert list(index.records()) == RECORDS[:2]


@pytest.mark.parametrize("text", ["", "{}", "x\n", '{"schema":1,"kind":"events"}\n', '{"schema":0,"kind":"index"}\n'])
def test_what_is_no_index_is_an_error(tmp_path, text):
    with pytest.raises(CprspecError, match=r"i:1: not an index of videos; make one"):
        IndexFile.open(write(tmp_path / "i", text))


def test_an_index_that_cannot_be_read_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(CprspecError, match="cannot read the index"):
            IndexFile.open(path)


def test_an_index_that_changes_while_it_is_used_is_an_error(tmp_path):
    path = write(tmp_path / "i", header_line("x"), *map(to_line, RECORDS))
    with IndexFile.open(path) as index:
        with path.open("r+") as file:
            file.truncate(50)
        with pytest.raises(CprspecError, match="changed while it was used"):
            index.record("2.mp4")


def test_an_index_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = write(tmp_path / "i", "old")
    with pytest.raises(RuntimeError), replacing(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as stream:
        stream.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    write(tmp_path / "file", "x")
    with pytest.raises(CprspecError, match="cannot write the index"), replacing(tmp_path / "file" / "i"):
        pass


def test_an_index_lies_in_the_cache_unless_there_is_one_beside_the_videos(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    place = default_index(root, tmp_path / "cache")
    assert place.parent == tmp_path / "cache" / "index"
    assert place == default_index(tmp_path / "other" / ".." / "root", tmp_path / "cache")
    assert place != default_index(other, tmp_path / "cache")
    (root / BESIDE).touch()
    assert default_index(root, tmp_path / "cache") == root / BESIDE
