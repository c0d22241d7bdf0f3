"""The commands as a user runs them: what is printed where, exit codes, and what is left unimported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli

from cprspec.cli import app
from cprspec.cli_options import complete_run

PROJECT = Path(__file__).parent.parent

GOOD = """format = 1
batch_size = 8
[dataset.clips]
use = "folder"
[clip]
frames = 8
size = 32
[backbone]
use = "tiny"
[framework]
queue_size = 64
[miner]
use = "coclr"
[phase.rgb]
views = ["rgb"]
epochs = 10
[phase.flow]
views = ["flow"]
epochs = 10
[phase.cycle]
views = ["rgb"]
epochs = 5
start_from = "rgb"
mine_with = "flow"
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("COLUMNS", "120")
    Path("x.toml").write_text(GOOD)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cprspec", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_check_says_yes_on_stdout() -> None:
    done = _run("check", "x.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "x.toml: ok, 3 phases (rgb, flow, cycle); to run it, say --root clips=DIR\n"


def test_check_says_no_on_stderr_with_every_problem() -> None:
    Path("x.toml").write_text(GOOD.replace("epochs = 5", "epohcs = 5").replace('"coclr"', '"cocrl"'))
    done = _run("check", "x.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "x.toml:13:1: no miner is called 'cocrl'; did you mean 'coclr'?",
        "x.toml:20:8: option 'epochs' of phase 'cycle' is missing; passes over the training set",
        "x.toml:22:1: unknown option 'epohcs' for phase 'cycle'; did you mean 'epochs'?",
    ]


def test_check_of_several_files() -> None:
    Path("_parent.toml").write_text("format = 1\n")
    Path("bad.toml").write_text("format = ")
    done = _run("check", "x.toml", "bad.toml", "_parent.toml")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["x.toml", "_parent.toml"]
    assert done.stderr == "bad.toml:1:10: not valid TOML: invalid value\n"


def test_check_json() -> None:
    Path("y.toml").write_text(GOOD.replace("epochs = 5", "epochs = 0"))
    done = _run("check", "x.toml", "y.toml", "--json")
    good, bad = json.loads(done.stdout)
    assert (done.returncode, good["ok"], bad["ok"]) == (2, True, False)
    assert good["phases"] == ["rgb", "flow", "cycle"]
    assert good["missing_roots"] == ["clips"]
    (problem,) = bad["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("y.toml", 22, 1)


def test_options_reach_the_experiment() -> None:
    done = _run("check", "x.toml", "--set", "miner.stages=0", "--root", "clip=/v", "--root", "nonsense")
    assert done.returncode == 2
    assert (
        done.stderr
        == "--root: 'nonsense' is not NAME=DIR; name the data set as the experiment does, for example ucf101=nonsense\n"
    )
    done = _run("check", "x.toml", "--set", "miner.stages=0", "--root", "clip=/v")
    assert done.stderr.splitlines() == [
        "--root: no data set is called 'clip'; did you mean 'clips'?",
        "--set: option 'stages' of miner 'coclr' must be at least 1, found 0",
    ]


def test_plugin_and_registry() -> None:
    Path("mine.py").write_text(
        "from typing import ClassVar\nfrom attrs import frozen\nfrom cprspec.spec.kinds import Miner\n"
        "@frozen(kw_only=True)\nclass Mine(Miner):\n    '''Mines.'''\n    name: ClassVar[str] = 'mine'\nCOMPONENTS = (Mine,)\n"
    )
    Path("cards/miner").mkdir(parents=True)
    Path("cards/miner/two.toml").write_text('implements = "cascade"\nsummary = "two"\n[options]\nstages = 3')
    shown = _run("components", "miner", "--json", "--plugin", "mine.py", "--registry", "cards")
    assert {"mine", "two", "cpr"} <= {card["name"] for card in json.loads(shown.stdout)}
    assert _run("check", "x.toml", "--set", "miner.use=mine", "--plugin", "mine.py").returncode == 0
    assert _run("check", "x.toml", "--set", "miner.use=mine").returncode == 2


def test_components() -> None:
    done = _run("components")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("miner", "cpr", "siblings", "cosine", "motion"))
    one = _run("components", "miner", "cpr")
    assert "arXiv:2201.07989" in one.stdout
    assert re.search(r"stages +7 +int +>= 1", one.stdout)
    card = json.loads(_run("components", "miner", "cpr", "--json").stdout)
    assert {o["name"]: o["default"] for o in card["options"]} == {"stages": 7, "ratio": 0.5, "topk": 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minr"], "no kind of component is called 'minr'; did you mean 'miner'?"),
        (["miner", "crp"], "no miner is called 'crp'; did you mean 'cpr'?"),
    ],
)
def test_unknown_component(arguments: list[str], message: str) -> None:
    done = _run("components", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message + "\n")


def test_show_prints_an_experiment_and_its_plan() -> None:
    done = _run("show", "x.toml", "--set", "seed=7")
    assert done.returncode == 0, done.stderr
    table = tomli.loads(done.stdout)
    assert (table["seed"], table["miner"]["stages"]) == (7, 1)
    assert all(word in done.stderr for word in ("plan", "cycle", "coclr in flow"))


def test_show_says_what_run_refuses() -> None:
    done = _run("show", "x.toml", "--nproc", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bn_groups" in done.stderr
    assert _run("show", "x.toml", "--nproc", "2", "--set", "framework.bn_groups=2").returncode == 0


@pytest.mark.parametrize("command", ["run", "submit"])
def test_a_parent_is_not_run_by_itself(command: str) -> None:
    Path("x.toml").rename("_x.toml")
    done = _run(command, "_x.toml")
    hint = "run one that extends it, or a copy whose name does not begin with _"
    assert (done.returncode, done.stderr) == (2, f"_x.toml: a parent for other files, not run by itself; {hint}\n")
    assert not Path("runs").exists()


def test_check_data_finds_what_is_missing() -> None:
    done = _run("check", "x.toml", "--data")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "x.toml:3:10: where the videos of data set 'clips' lie is not known; say it with --root"
    )
    done = _run("check", "x.toml", "--data", "--root", "clips=nowhere")
    assert done.stderr.startswith("x.toml:3:10: the root of data set 'clips' is not a folder: ")


def test_hostile_text_reaches_no_terminal() -> None:
    Path("x.toml").write_text(GOOD.replace("[phase.flow]", '[phase."\\u001b[31m[/]\\u009b"]'))
    done = _run("check", "x.toml")
    assert "\x1b" not in done.stderr + done.stdout
    assert "\x9b" not in done.stderr + done.stdout
    assert "[/]" in done.stderr


def test_debug_shows_the_traceback_and_nothing_else_does() -> None:
    assert "Traceback" not in _run("check", "missing.toml").stderr
    assert "Traceback" in _run("--debug", "show", "missing.toml").stderr
    assert "Traceback" in _run("show", "missing.toml", "--debug").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "x.toml"],
        ["components"],
        ["components", "miner", "cpr"],
        ["data", "describe", "ucf101"],
        ["status", "--runs", "."],
        ["status", "--runs", ".", "--json"],
    ],
)
def test_torch_stays_out(arguments: list[str]) -> None:
    code = (
        "import sys\nsys.argv = ['cprspec', *sys.argv[1:]]\nfrom cprspec.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        "print(sorted({'torch', 'torchvision', 'cv2', 'av', 'textual'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_torch_stays_out_of_the_monitor() -> None:
    code = (
        "import sys\nimport cprspec.runs.compare, cprspec.runs.stop, cprspec.runs.watch, cprspec.tui.app\n"
        "print(sorted({'torch', 'torchvision', 'cv2', 'av', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["check", "x.toml"]])
def test_fast_enough(arguments: list[str]) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert _run(*arguments).returncode == 0
        return time.perf_counter() - began

    best = min(seconds() for _ in range(4))
    # 0.6 s on an idle machine; the tests' machine may be busy
    assert best < 0.6 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) * 2)


def test_version() -> None:
    assert re.fullmatch(r"cprspec \d+\.\d+\.\d+\n", _run("--version").stdout)


def test_completion_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs/a/20260101-000000-abcd").mkdir(parents=True)
    Path("runs/b/20260101-000000-abcd").mkdir(parents=True)
    assert complete_run("runs/a") == ["runs/a/20260101-000000-abcd"]
    assert complete_run("x") == []


def test_completion_of_components() -> None:
    from typer.testing import CliRunner

    environment = {"_CPRSPEC_COMPLETE": "complete_bash", "COMP_WORDS": "cprspec components mi", "COMP_CWORD": "2"}
    result = CliRunner().invoke(app, [], prog_name="cprspec", env=environment)
    assert result.stdout.split() == ["miner"]
    environment |= {"COMP_WORDS": "cprspec components miner o", "COMP_CWORD": "3"}
    result = CliRunner().invoke(app, [], prog_name="cprspec", env=environment)
    assert result.stdout.split() == ["oracle"]


def test_every_experiment_of_the_project_resolves() -> None:
    files = sorted(str(p) for p in (PROJECT / "experiments").glob("*.toml"))
    assert files
    done = _run("check", *files)
    assert done.returncode == 0, done.stderr
    # The ablations go where a warning is due, on purpose: even numbers of stages, ratios that leave too few.
    warned = [line for line in done.stderr.splitlines() if "ucf101_ablation" not in line.split(":")[0]]
    assert warned == []


def test_ctrl_c_while_modules_are_imported_is_an_end_without_a_traceback():
    code = (
        "import builtins, cprspec.__main__ as begin\n"
        "really = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return really(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "begin.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
