"""`cprspec data describe`: what a data set expects, and what of it is there, for readers and as JSON."""

import json
import subprocess
import sys

import pytest
from official_trees import hmdb51, ucf101, write
from typer.testing import CliRunner

from cprspec.cli import app
from cprspec.data.describe import describe, lines
from cprspec.errors import CprspecError
from cprspec.spec.registry import builtin_registry


def run(*arguments):
    return CliRunner().invoke(app, ["data", "describe", *map(str, arguments)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ucf101", ["University of Central Florida", "licence", "trainlist01.txt", "9537", "1818", "3783"]),
        ("hmdb51", ["Serre Lab, Brown University", "Creative Commons", "_test_split1.txt", "3570", "1530"]),
        ("kinetics", ["Google DeepMind", "CVD Foundation", "annotations/train.csv", "max_missing"]),
        ("motion", ["Generated clips", "makes its own videos"]),
        ("folder", ["one folder per class", "CLASS/**/*.mp4", "holdout", "source_pattern", "--root DIR"]),
        ("manifest", ["manifest.csv", "label, source, split", "--root DIR"]),
    ],
)
def test_without_a_root_it_says_what_is_expected(name, words):
    done = run(name)
    assert (done.exit_code, done.stderr) == (0, "")
    assert [word for word in words if word not in done.stdout] == []
    assert all(line.split(maxsplit=1)[1:] for line in done.stdout.splitlines() if line.startswith(("from", "licence")))


def test_it_counts_and_names_what_is_missing(tmp_path):
    root = ucf101(tmp_path)
    (root / "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi").unlink()
    done = run("ucf101", "--root", root)
    assert done.exit_code == 2
    rows = [line.split() for line in done.stdout.splitlines()[-7:]]
    assert rows[0] == ["split", "part", "published", "listed", "found", "published", "sources", "sources"]
    assert rows[1] == ["1", "train", "9537", "16", "15", "1818", "8"]
    assert rows[6] == ["3", "test", "3696", "8", "8", "707", "4"]
    assert "trainlist01.txt:2: no file 'UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi'" in done.stderr


def test_warnings_alone_are_no_failure(tmp_path):
    done = run("hmdb51", "--root", hmdb51(tmp_path))
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0].endswith(
        "warning: the lists name 3 train videos in split 1, the official ones 3570"
    )


def test_json(tmp_path):
    record = json.loads(run("hmdb51", "--root", hmdb51(tmp_path), "--json").stdout)
    assert record["about"]["layout"][0]["path"] == "hmdb51_org/CLASS/*.avi"
    assert record["counts"][0] == {
        "split": 1, "part": "train", "expected": 3570, "listed": 3, "found": 3, "sources": 3, "expected_sources": None,
    }  # fmt: skip
    assert {p["warning"] for p in record["problems"]} == {True}
    assert json.loads(run("ucf101", "--json").stdout)["root"] is None


def test_data_sets_without_a_survey_are_counted_by_their_index(tmp_path):
    write(tmp_path, ["jump/a.avi", "dive/b.avi", "dive/c.avi"])
    registry = builtin_registry()
    record, problems = describe(registry, "folder", tmp_path)
    assert problems == ()
    assert [(c["part"], c["found"], c["sources"]) for c in record["counts"]] == [("train", 3, 3)]
    assert list(lines(record))[-2:] == ["   part  listed  found  sources", "  train       3      3        3"]
    _, (problem,) = describe(registry, "manifest", tmp_path)
    assert problem.message.startswith("cannot read the manifest")
    _, (problem,) = describe(registry, "ucf101", tmp_path / "nowhere")
    assert problem.message == "not a folder"


def test_describing_makes_nothing(tmp_path):
    assert run("motion", "--root", tmp_path).exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_an_error_with_a_suggestion():
    with pytest.raises(CprspecError) as caught:
        describe(builtin_registry(), "ucf11", None)
    assert str(caught.value) == "no data set is called 'ucf11'; did you mean 'ucf101'?"


def test_hostile_names_reach_no_terminal(tmp_path):
    root = hmdb51(tmp_path)
    write(root / "hmdb51_org/hug", ["\x1b[31m[/]\u202e.avi"])
    done = subprocess.run(
        [sys.executable, "-m", "cprspec", "data", "describe", "hmdb51", "--root", str(root)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "hug/\\x1b[31m[/]\\u202e.avi" in done.stderr
    assert not set("\x1b\u202e") & set(done.stdout + done.stderr)
