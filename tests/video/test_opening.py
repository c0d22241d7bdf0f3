"""Opening what nobody vouches for: each hostile file is refused with its class, or read with the right frames."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import hostile_videos
import pytest
from hostile_videos import KINDS, pictures, write_video
from small_videos import make_video

from cprspec.data.defects import Defect
from cprspec.video.decode import read_frames
from cprspec.video.opening import BadVideo, open_video

QUICK = [name for name, kind in KINDS.items() if kind.quick]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hostile_videos.make(tmp_path_factory.mktemp("hostile"), QUICK)


def _judge(path: Path, kind: hostile_videos.Kind) -> None:
    """Read the file as training does, and compare with what is right."""
    try:
        found = read_frames(path, 32)
    except BadVideo as error:
        assert error.defect in kind.defects, error.reason
        assert str(error).count("\n") == path.name.count("\n")  # of the reason: none
        return
    assert not set(kind.defects) - {Defect.LYING_HEADER}
    width, height = kind.size
    turned = "90" in path.name
    scale = 32 / min(width, height)
    assert found.shape == (
        kind.frames,
        *[round(s * scale) for s in ((width, height) if turned else (height, width))],
        3,
    )


@pytest.mark.parametrize("name", QUICK, ids=ascii)
def test_a_hostile_file_is_refused_or_read_right(folder, name):
    _judge(folder / name, KINDS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.quick])
def test_the_other_hostile_files(tmp_path, name):
    hostile_videos.make(tmp_path, [name])
    _judge(tmp_path / name, KINDS[name])


def test_missing_files_and_names_that_no_file_can_have(tmp_path):
    (tmp_path / "plain").write_text("x")
    for name in ("gone.mp4", "plain/x.mp4", "n" * 300 + ".mp4", "nul\0.mp4"):
        with pytest.raises(BadVideo) as caught:
            read_frames(tmp_path / name, 32)
        assert caught.value.defect == Defect.MISSING


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = make_video(tmp_path / "x.mp4", 5)
    path.chmod(0)
    with pytest.raises(BadVideo) as caught:
        read_frames(path, 32)
    assert caught.value.defect == Defect.UNREADABLE


def test_a_relative_name_that_looks_like_a_protocol_is_a_file(tmp_path, monkeypatch):
    make_video(tmp_path / "http:x.mp4", 5)
    monkeypatch.chdir(tmp_path)
    assert len(read_frames(Path("http:x.mp4"), 32)) == 5


def test_other_exceptions_inside_the_context_become_one_kind(tmp_path):
    path = make_video(tmp_path / "x.mp4", 5)
    for error in (UnicodeDecodeError("utf-8", b"x", 0, 1, "why"), IndexError("why"), MemoryError(), OSError(5, "I/O")):
        with pytest.raises(BadVideo), open_video(path):
            raise error
    with pytest.raises(KeyboardInterrupt), open_video(path):
        raise KeyboardInterrupt


def test_the_error_travels_between_processes(tmp_path):
    error = pickle.loads(pickle.dumps(BadVideo(tmp_path / "x.mp4", "why", Defect.EMPTY)))
    assert (error.path, error.reason, error.defect, error.exit_code) == (tmp_path / "x.mp4", "why", Defect.EMPTY, 1)


def test_true_huge_frames_cost_no_memory(folder):
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from cprspec.video.decode import read_frames; from cprspec.video.opening import BadVideo\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_frames(Path(sys.argv[1]), 32)\n"
        "except BadVideo as error: print(error.defect, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    path = folder / "true_8192x8192.mkv"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    defect, kib = done.stdout.split()
    assert defect == "too-large" and int(kib) < 50 * 1024


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_other_file_and_no_network_is_opened(tmp_path):
    """Every system call that opens or connects, while each hostile file is read: the file alone, nothing beside it."""
    names = [n for n in KINDS if KINDS[n].defects == (Defect.NOT_A_VIDEO,) or ":" in n or "%" in n]
    folder = hostile_videos.make(tmp_path / "videos", names)
    code = (
        "import sys, os; from pathlib import Path\n"
        "from cprspec.video.decode import read_frames; from cprspec.video.opening import BadVideo\n"
        "for name in sorted(os.listdir(sys.argv[1])):\n"
        "    if name.endswith('.dat'): continue\n"
        "    try: read_frames(Path(sys.argv[1], name), 32)\n"
        "    except BadVideo: pass\n"
    )
    log = tmp_path / "log"
    calls = "trace=open,openat,openat2,connect,socket"
    command = ["strace", "-f", "-s", "400", "-e", calls, "-o", str(log), sys.executable, "-c", code, str(folder)]
    subprocess.run(command, check=True)
    text = log.read_text(errors="replace")
    assert "inner.dat" not in text and "AF_INET" not in text
    assert text.count(str(folder)) >= len(names)


def test_a_file_that_lost_its_end_behind_the_frames_is_whole(tmp_path):
    path = write_video(tmp_path / "x.avi", pictures(10), "mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"idx1") + 20])
    assert len(read_frames(path, 32)) == 10
