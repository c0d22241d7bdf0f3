"""The index of a collection: every bad file once, only what changed looked at again, killed and gone on with."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import hostile_videos
import pytest
from hostile_videos import KINDS
from small_videos import make_video

from cprspec.components.datasets import Folder
from cprspec.data.collections import Collection
from cprspec.data.defects import Defect
from cprspec.data.index_file import IndexFile
from cprspec.errors import CprspecError
from cprspec.video import indexing
from cprspec.video.indexing import make_index_file

QUICK = [name for name, kind in KINDS.items() if kind.quick]


def index(root, file, **how):
    entries = Collection("clips", (Folder(),), root).listed()
    return make_index_file(entries, root, file, "clips", processes=1, **how)


def records(file):
    with IndexFile.open(file) as found:
        return {record.name: record for record in found.records()}


@pytest.fixture
def three(tmp_path):
    """Two sound videos and a bad one."""
    for name in ("a", "b"):
        make_video(tmp_path / "root" / "jump" / f"{name}.mp4", 6)
    (tmp_path / "root" / "jump" / "bad.mp4").write_bytes(b"no video")
    return tmp_path / "root"


def test_hostile_files_are_listed_once_with_class_and_reason(tmp_path):
    hostile_videos.make(tmp_path / "root", QUICK)
    made = index(tmp_path / "root", tmp_path / "i")
    found = records(tmp_path / "i")
    assert set(found) >= set(QUICK) and made.files == len(found)
    for name in QUICK:
        record, kind = found[name], KINDS[name]
        if kind.defects:
            assert record.flaw is not None and record.flaw.defect in kind.defects and record.flaw.reason
        else:
            assert record.video is not None and record.video.frames == kind.frames
    bad = {record.name for record in made.bad}
    assert bad == {name for name in QUICK if KINDS[name].defects} and sum(made.flaws.values()) == len(bad)
    assert made.usable == made.files - len(bad)
    lines = (tmp_path / "i").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines[1:]] == sorted(found)


def test_the_second_pass_looks_at_nothing_and_writes_the_same_bytes(three, tmp_path):
    first = index(three, tmp_path / "i")
    data = (tmp_path / "i").read_bytes()
    assert (first.files, first.looked_at, first.usable, first.frames) == (3, 3, 2, 12)
    again = index(three, tmp_path / "i")
    assert again.looked_at == 0 and again.flaws == {"not-a-video": 1} and again.frames == 12
    assert (tmp_path / "i").read_bytes() == data
    index(three, tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["i", "other", "root"]


def test_only_what_changed_is_looked_at_again(three, tmp_path, monkeypatch):
    index(three, tmp_path / "i")
    looked_at = []
    real = indexing.look_at_all
    monkeypatch.setattr(
        indexing, "look_at_all", lambda jobs, processes: looked_at.extend(j.name for j in jobs) or real(jobs, processes)
    )
    make_video(three / "jump" / "a.mp4", 9)
    make_video(three / "jump" / "new.mp4", 4)
    (three / "jump" / "b.mp4").unlink()
    made = index(three, tmp_path / "i")
    assert looked_at == ["jump/a.mp4", "jump/new.mp4"] and (made.files, made.frames) == (3, 13)
    assert "jump/b.mp4" not in records(tmp_path / "i")
    looked_at.clear()
    index(three, tmp_path / "i", retry=True)
    assert looked_at == ["jump/bad.mp4"]  # never again by itself
    looked_at.clear()
    shutil.copy(three / "jump" / "new.mp4", three / "jump" / "bad.mp4")
    assert index(three, tmp_path / "i").usable == 3 and looked_at == ["jump/bad.mp4"]


def test_a_digest_that_is_wanted_and_missing_is_made_up_for(three, tmp_path):
    index(three, tmp_path / "i", digest=False)
    assert all(r.sha256 is None for r in records(tmp_path / "i").values())
    assert index(three, tmp_path / "i", digest=False).looked_at == 0
    assert index(three, tmp_path / "i").looked_at == 2
    assert all(r.sha256 for r in records(tmp_path / "i").values() if r.video)


def test_files_that_kill_or_hang_the_decoder_are_bad_and_the_others_are_not(three, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "look_at", look_or_die)
    index(three, tmp_path / "i")
    found = records(tmp_path / "i")
    assert found["jump/a.mp4"].flaw.defect == Defect.CRASH and found["jump/b.mp4"].flaw.defect == Defect.TOO_SLOW
    assert found["jump/a.mp4"].size == (three / "jump/a.mp4").stat().st_size  # known, so not tried again
    assert found["jump/bad.mp4"].flaw.defect == Defect.NOT_A_VIDEO
    monkeypatch.undo()
    assert index(three, tmp_path / "i").looked_at == 0


def look_or_die(job):
    """A decoder that a.mp4 crashes and b.mp4 hangs."""
    from cprspec.video.inspect import look_at

    if job.name.endswith("a.mp4"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.name.endswith("b.mp4"):
        signal.setitimer(signal.ITIMER_PROF, 0.1)
        while True:
            pass
    return look_at(job)


def test_two_passes_do_not_make_one_index(three, tmp_path):
    with (tmp_path / "i.part").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(CprspecError, match="another process is making this index"):
            index(three, tmp_path / "i")
    assert index(three, tmp_path / "i").files == 3


def test_a_torn_line_costs_that_line(three, tmp_path):
    index(three, tmp_path / "whole")
    lines = (tmp_path / "whole").read_text().splitlines(keepends=True)
    (tmp_path / "i.part").write_text("".join(lines[:2]) + lines[2][:50])
    assert index(three, tmp_path / "i").looked_at == 2
    assert (tmp_path / "i").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(tmp_path, kills):
    one = make_video(tmp_path / "one.mp4", 40)
    root = tmp_path / "root"
    root.mkdir()
    for i in range(60 * kills):
        shutil.copy2(one, root / f"{i}.mp4")
    index(root, tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "cprspec",
        "data",
        "index",
        "folder",
        "--root",
        str(root),
        "-o",
        str(tmp_path / "i"),
    ]
    done = 0
    for _ in range(kills):
        with subprocess.Popen(
            [*command, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while _lines(tmp_path / "i.part") < done + 5 and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        done = _lines(tmp_path / "i.part")
        assert not (tmp_path / "i").exists() and done
    entries = Collection("folder", (Folder(),), root).listed()
    made = make_index_file(entries, root, tmp_path / "i", "clips", processes=1)
    assert made.files - made.looked_at >= done - 1
    assert (tmp_path / "i").read_bytes() == (tmp_path / "whole").read_bytes()


def _lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
