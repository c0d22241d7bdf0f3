"""`cprspec data index` and `data check` as a user runs them, and how `check --data` and `run` use what they made."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_videos import make_video

from cprspec.cli import main

PROJECT = Path(__file__).parent.parent.parent
SPEC = """format = 1
batch_size = 2
[dataset.clips]
use = "folder"
[clip]
frames = 4
size = 32
[backbone]
use = "tiny"
[framework]
queue_size = 4
[miner]
use = "coclr"
[phase.rgb]
views = ["rgb"]
epochs = 1
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Three sound videos, one with an escape sequence in its name, and a bad one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CPRSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    Path("x.toml").write_text(SPEC)
    for name in ("a", "b", "c\x1b[31m"):
        make_video(tmp_path / "videos" / f"{name}.mp4", 5)
    (tmp_path / "videos" / "bad\x1b]0;owned\x07.mp4").write_text("<html>")
    return tmp_path / "videos"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cprspec", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=left.value.code, stdout=said.out, stderr=said.err)

    return call


def test_index_and_check(run, root):
    made = run("data", "index", "folder", "--root", "videos")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[:3] == [
        "folder: 3 of 4 usable, 15 frames; looked at 4 now",
        "  bad: not-a-video 1",
        "  not-a-video  bad\\x1b]0;owned\\x07.mp4: a web page",
    ]
    assert "\x1b" not in made.stdout + made.stderr and "indexing folder 4/4" in made.stderr
    sound = run("data", "check", "x.toml", "--root", "clips=videos")
    assert sound.returncode == 0 and sound.stdout.startswith("clips: 3 of 4 files as they were indexed in ")
    assert "bad then as now: 1" in sound.stdout
    path = root / "a.mp4"
    facts, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    harmed = run("data", "check", "folder", "--root", "videos", "--json")
    (record,) = json.loads(harmed.stdout)
    assert harmed.returncode == 1 and record["damaged"] == 1
    assert record["findings"][0]["name"] == "a.mp4"


def test_check_data_leaves_out_what_the_index_calls_bad(run):
    assert run("data", "index", "folder", "--root", "videos", "--workers", "1").returncode == 0
    done = run("check", "x.toml", "--data", "--root", "clips=videos")
    assert done.returncode == 0 and "clips: 3 videos to train on" in done.stdout
    assert "3 of 4 videos of data set 'clips' are usable: not-a-video 1" in done.stderr and "\x1b" not in done.stderr


def test_a_run_with_nothing_usable_does_not_begin(run, root):
    for path in root.iterdir():
        path.write_bytes(b"")
    for arguments in (["run"], ["check", "--data"]):
        done = run(*arguments, "x.toml", "--root", "clips=videos")
        assert done.returncode == 2 and "0 of 4 videos of data set 'clips' are usable: empty 4" in done.stderr
    assert not Path("runs").exists()
    indexed = run("data", "index", "folder", "--root", "videos")
    assert indexed.returncode == 1 and "folder: 0 of 4 usable" in indexed.stdout


def test_wrong_input_is_explained(run, root):
    (root / "cprspec-index.jsonl").write_text("nonsense")
    for arguments, said in [
        (["index", "fodler"], "did you mean 'folder'"),
        (["index", "folder"], "say it with --root DIR"),
        (["check", "folder", "--root", "."], "there is no index of 'folder'; make one with"),
        (["check", "folder", "--root", "videos"], "cprspec-index.jsonl:1: not an index of videos"),
        (["index", "folder", "--root", "videos"], "cprspec-index.jsonl:1: not an index of videos"),
        (["index", "folder", "--root", "videos", "-o", "x.toml/i"], "cannot write the index"),
    ]:
        done = run("data", *arguments)
        assert done.returncode in (1, 2) and said in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and "mistake in cprspec" not in done.stderr
    assert sorted(p.name for p in root.glob("cprspec-index*")) == ["cprspec-index.jsonl"]
    assert (root / "cprspec-index.jsonl").read_text() == "nonsense"


def test_indexing_needs_no_torch():
    code = (
        "import sys; from cprspec.cli import app\n"
        "try: app(['data', 'index', 'folder', '--root', 'videos'])\n"
        "except SystemExit: print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
