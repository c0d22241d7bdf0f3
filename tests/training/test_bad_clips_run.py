"""Videos that go bad under a run: others take their place, too many stop it, and going on changes nothing."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from small_run import SPEC, events, losses, same, state, the_run, weights

sys.path.insert(0, str(Path(__file__).parents[1] / "video"))
from small_videos import make_video

pytestmark = pytest.mark.slow

BAD = ("a03.mp4", "a07.mp4", "a11.mp4")


@pytest.fixture(scope="session")
def store(cprspec_session, tmp_path_factory):
    """A prepared folder of 16 videos, of which three went bad since: gone, cut short, a folder in its place."""
    folder = tmp_path_factory.mktemp("prepared")
    for number in range(16):
        make_video(folder / "videos" / f"a{number:02d}.mp4", 20 + number)
    cprspec_session(
        "data",
        "prepare",
        "folder",
        "--root",
        "videos",
        "--out",
        "store",
        "--short-side",
        32,
        "--bound",
        4,
        folder=folder,
    )
    gone, cut, replaced = (_pictures(folder / "store", name) for name in BAD)
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    replaced.unlink()
    replaced.mkdir()
    return folder / "store"


def _pictures(store, name):
    (found,) = (p for p in store.rglob(f"{name}*") if p.is_file() and "flow" not in str(p.relative_to(store)))
    return found


def write_spec(folder):
    """The small experiment on a store, without an evaluation of test videos."""
    before, _, after = SPEC.partition("[dataset.motion]")
    after = after[after.index("[view.flow]") : after.index("[evaluate.nn]")]
    launch = '[launch]\nworkers = 1\nthreads = 1\nlog_every = 1\ndevice = "cpu"\n'
    (folder / "bad.toml").write_text(before + '[dataset.videos]\nuse = "store"\n' + after + launch)


def start(cprspec, folder, store, *settings, **environment):
    write_spec(folder)
    return cprspec(
        "run", "bad.toml", "--runs", "runs", "--root", f"videos={store}", *settings, check=False, **environment
    )


def test_others_take_their_place_each_is_named_once_a_phase_and_going_on_is_the_same(cprspec, store, tmp_path):
    all_bad = ("--set", "launch.bad_clips=1.0")
    done = start(cprspec, tmp_path, store, *all_bad)
    assert done.returncode == 0, done.stderr
    one = the_run((tmp_path / "runs").rename(tmp_path / "whole"))
    stopped = start(cprspec, tmp_path, store, *all_bad, CPRSPEC_FAULT="0:2:term:step:cycle")
    assert stopped.returncode == 143, stopped.stderr
    two = the_run(tmp_path / "runs")
    cprspec("run", two, "--set", "launch.workers=2")
    assert losses(one) == losses(two)
    assert same(weights(one, "cycle"), weights(two, "cycle")) and same(state(one, "cycle"), state(two, "cycle"))
    for run in (one, two):
        told = Counter(
            name for e in events(run, "warning") for name in BAD if f"{name}.mp4: not a readable" in e["message"]
        )
        assert told == dict.fromkeys(BAD, 2), "in rgb and in cycle; phase flow reads files that are sound"


@pytest.mark.parametrize("ranks", [1, 2])
def test_too_many_stop_all_ranks_and_name_the_files(cprspec, store, tmp_path, ranks):
    done = start(cprspec, tmp_path, store, "--nproc", ranks)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "clips had to be replaced, and 0 may be" in done.stderr and "launch.bad_clips" in done.stderr
    assert any(name in done.stderr for name in BAD)


def can_mount():
    """Whether this process may make a name space and mount in it."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs root and the right to mount")
def test_full_shared_memory_ends_a_run_with_its_size_and_the_setting(store, cache, tmp_path):
    write_spec(tmp_path)
    words = f"run bad.toml --runs runs --root videos={store}"
    script = f"mount -t tmpfs -o size=256k tmpfs /dev/shm && exec {sys.executable} -m cprspec {words}"
    environment = {**os.environ, "CPRSPEC_CACHE": str(cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"/dev/shm is full: .* MiB of shared memory are needed for clips", done.stderr)
    assert "launch.workers=0" in done.stderr
