"""Wrong experiments and exactly what each prints. The text is for users: read a change here as they would."""

# ruff: noqa: E501 - a printed line stands here in one piece

from __future__ import annotations

from collections.abc import Callable

import pytest

from cprspec.errors import CprspecError, clean
from cprspec.spec.schema import Resolved

Edit = tuple[str, str]

# title: (edits of the good experiment in conftest.py, the lines that it prints)
CASES: dict[str, tuple[list[Edit], list[str]]] = {
    "misspelt option": (
        [("stages = 3", "stagse = 3")],
        ["x.toml:9:1: unknown option 'stagse' for miner 'cpr'; did you mean 'stages'?"],
    ),
    "misspelt table": (
        [("[framework]", "[framwork]")],
        ["x.toml:5:2: unknown option 'framwork' for the experiment; did you mean 'framework'?"],
    ),
    "misspelt card": ([('use = "cpr"', 'use = "crp"')], ["x.toml:8:1: no miner is called 'crp'; did you mean 'cpr'?"]),
    "card of another kind": (
        [('use = "cpr"', 'use = "moco"')],
        ["x.toml:8:1: no miner is called 'moco'; 'moco' is a card of kind 'framework'"],
    ),
    "text for number": (
        [("epochs = 10", 'epochs = "10"')],
        ["x.toml:12:1: option 'epochs' of phase 'rgb' must be a whole number, found '10' (text)"],
    ),
    "flag for number": (
        [("batch_size = 8", "batch_size = true")],
        ["x.toml:2:1: option 'batch_size' of the experiment must be a whole number, found true"],
    ),
    "fraction for whole": (
        [("queue_size = 64", "queue_size = 64.0")],
        ["x.toml:6:1: option 'queue_size' of framework 'moco' must be a whole number, found 64.0 (number)"],
    ),
    "too small": (
        [("epochs = 5", "epochs = 0")],
        ["x.toml:18:1: option 'epochs' of phase 'cycle' must be at least 1, found 0"],
    ),
    "not finite": (
        [("queue_size = 64", "queue_size = 64\ntemperature = nan")],
        ["x.toml:7:1: option 'temperature' of framework 'moco' must be a finite number, found nan (number)"],
    ),
    "unknown word": (
        [("queue_size = 64", 'queue_size = 64\nloss = "mean_of_log"')],
        [
            "x.toml:7:1: option 'loss' of framework 'moco' must be one of 'log_of_sum', 'mean_of_logs', found 'mean_of_log'; did you mean 'mean_of_logs'?"
        ],
    ),
    "missing option": (
        [('views = ["flow"]\n', "")],
        ["x.toml:13:8: option 'views' of phase 'flow' is missing; the views that learn, such as [\"rgb\"]"],
    ),
    "queue not a multiple": (
        [("queue_size = 64", "queue_size = 60")],
        ["x.toml:6:1: queue_size 60 is not a multiple of batch_size 8; for example 56"],
    ),
    "batch does not divide": (
        [("queue_size = 64", "queue_size = 64\nbn_groups = 3")],
        ["x.toml:2:1: batch_size 8 is not a multiple of bn_groups 3 x accumulate 1 = 3"],
    ),
    "clip too short and too small": (
        [("batch_size = 8", "batch_size = 8\nclip = { frames = 4, size = 16 }")],
        [
            "x.toml:3:10: backbone 's3d' takes clips of 5 frames or more, found 4",
            "x.toml:3:22: backbone 's3d' takes clips of 17 pixels or more, found 16",
        ],
    ),
    "clip too short in a phase": (
        [
            ("batch_size = 8", 'batch_size = 8\nbackbone = { use = "c3d" }'),
            ("epochs = 5", "epochs = 5\nclip.frames = 7"),
        ],
        ["x.toml:20:6: backbone 'c3d' takes clips of 8 frames or more, found 7"],
    ),
    "two views": (
        [('["flow"]', '["flow", "rgb"]')],
        ["x.toml:14:1: framework 'moco' needs 1 view in a phase, phase 'flow' has 2"],
    ),
    "unknown view": ([('["flow"]', '["flwo"]')], ["x.toml:14:10: no view is called 'flwo'; did you mean 'flow'?"]),
    "unknown parent": (
        [('start_from = "rgb"', 'start_from = "rgbb"')],
        ["x.toml:19:1: 'start_from' of phase 'cycle' names 'rgbb', which is not a phase; did you mean 'rgb'?"],
    ),
    "cycle": (
        [('views = ["flow"]', 'views = ["flow"]\nmine_with = "cycle"')],
        [
            "x.toml:13:8: phases wait for each other: 'flow' -> 'cycle' -> 'flow'; start_from and mine_with name earlier phases"
        ],
    ),
    "start of another view": (
        [('start_from = "rgb"', 'start_from = "flow"')],
        ["x.toml:19:1: phase 'cycle' starts from 'flow', whose view is 'flow', not 'rgb'"],
    ),
    "no miner": (
        [('[miner]\nuse = "cpr"\nstages = 3\n', "")],
        ["x.toml:17:1: phase 'cycle' mines with another, but no miner is named; add [miner] with use = \"cpr\""],
    ),
    "topk beyond the queue": (
        [("stages = 3", "stages = 1\ntopk = 65")],
        ["x.toml:10:1: topk 65 is more than the queue holds, 64"],
    ),
    "unknown encoder": (
        [('"cycle+flow"', '"cylce+flow"')],
        ["x.toml:23:20: no phase is called 'cylce'; did you mean 'cycle'?"],
    ),
    "unknown view of an encoder": (
        [('"rgb", "cycle+flow", "random"', '"rgb/rgb", "cycle/flwo", "random/residual"')],
        [
            "x.toml:23:24: phase 'cycle' does not learn a view 'flwo'; choose from 'rgb'",
            "x.toml:23:38: no phase learns a view 'residual'; choose from 'rgb', 'flow'",
        ],
    ),
    "unknown data set": (
        [('use = "retrieval"', 'use = "retrieval"\ndatasets = ["clip"]')],
        ["x.toml:23:13: no data set is called 'clip'; did you mean 'clips'?"],
    ),
    "no data set": (
        [('[dataset.clips]\nuse = "folder"\n', "")],
        ["x.toml: the experiment names no data set; add a table [dataset.NAME] with use = ..."],
    ),
    "two data sets": (
        [("[dataset.clips]", '[dataset.more]\nuse = "folder"\n[dataset.clips]')],
        ["x.toml:3:2: several data sets and no 'train_on': 'more', 'clips'; say train_on = ... at the top"],
    ),
    "data set as text": (
        [('[dataset.clips]\nuse = "folder"\n', ""), ("batch_size = 8", 'batch_size = 8\ndataset = "ucf101"')],
        [
            "x.toml:3:1: 'dataset' must be a table, found 'ucf101' (text); write train_on = ... for the one to train on, and a table [dataset.NAME]"
        ],
    ),
    "component as text": (
        [("[framework]\nqueue_size = 64\n", ""), ("batch_size = 8", 'batch_size = 8\nframework = "moco"')],
        ["x.toml:3:1: 'framework' must be a table, found 'moco' (text); write [framework] and below it use = ..."],
    ),
    "format of the future": (
        [("format = 1", "format = 2")],
        ["x.toml:1:1: format 2 is not known; this version of cprspec reads format 1"],
    ),
    "no format": (
        [("format = 1\n", "")],
        ["x.toml: option 'format' of the experiment is missing; the format of the file, 1 in this version"],
    ),
    "name": (
        [("batch_size", 'name = "../up"\nbatch_size')],
        [
            "x.toml:2:1: '../up' cannot be the name of an experiment; letters, digits, '.', '_' and '-', first a letter or digit, at most 100"
        ],
    ),
    "phase name": (
        [
            ("[phase.flow]", '[phase."fl ow"]'),
            ('mine_with = "flow"', 'mine_with = "fl ow"'),
            ("cycle+flow", "cycle+rgb"),
        ],
        [
            "x.toml:13:8: 'fl ow' cannot be the name of a phase; letters, digits, '.', '_' and '-', first a letter or digit, at most 100"
        ],
    ),
    "reserved name": (
        [("[evaluate.nn]", '[phase.random]\nviews = ["rgb"]\nepochs = 1\n[evaluate.nn]')],
        ["x.toml:21:8: a phase cannot be called 'random'; it means the untrained network in an evaluation's encoders"],
    ),
    "published": (
        [("[evaluate.nn]", '[[published]]\nmetric = "cmr"\nvalue = "83 %"\n[evaluate.nn]')],
        [
            "x.toml:21:3: option 'where' of published number 1 is missing",
            "x.toml:23:1: option 'value' of published number 1 must be a number, found '83 %' (text)",
        ],
    ),
    "not TOML": ([("stages = 3", "stages = ")], ["x.toml:9:10: not valid TOML: invalid value"]),
    "key twice": (
        [("stages = 3", "stages = 3\nstages = 5")],
        ["x.toml:10:11: not valid TOML: cannot overwrite a value"],
    ),
    "code": (
        [('use = "cpr"', 'use = "os.system"\n_target_ = "os.system"')],
        ["x.toml:8:1: no miner is called 'os.system'; choose from 'coclr', 'cpr', 'oracle', 'siblings', 'ubernce'"],
    ),
    "control characters": (
        [
            ("[phase.flow]", '[phase."\\u001b[31m"]'),
            ('mine_with = "flow"', 'mine_with = "rgb"'),
            ("cycle+flow", "cycle+rgb"),
        ],
        [
            "x.toml:13:8: '\\x1b[31m' cannot be the name of a phase; letters, digits, '.', '_' and '-', first a letter or digit, at most 100",
            "x.toml:20:1: warning: phase 'cycle' mines with 'rgb', which has the same view; mining looks for what another view sees",
        ],
    ),
    "several at once": (
        [
            ("epochs = 10", "epohcs = 10"),
            ('use = "retrieval"', 'use = "retreival"'),
            ("stages = 3", "stages = -3\nratio = 2"),
        ],
        [
            "x.toml:9:1: option 'stages' of miner 'cpr' must be at least 1, found -3",
            "x.toml:10:1: option 'ratio' of miner 'cpr' must be at most 1, found 2.0",
            "x.toml:11:8: option 'epochs' of phase 'rgb' is missing; passes over the training set",
            "x.toml:13:1: unknown option 'epohcs' for phase 'rgb'; did you mean 'epochs'?",
            "x.toml:23:1: no evaluator is called 'retreival'; did you mean 'retrieval'?",
        ],
    ),
    "even stages": (
        [("stages = 3", "stages = 4")],
        [
            "x.toml:9:1: warning: an even number of stages: 4 stages equal 3; the last stage always scores the mining view; an odd number says what is meant"
        ],
    ),
    "mines own view": (
        [('mine_with = "flow"', 'mine_with = "rgb"')],
        [
            "x.toml:20:1: warning: phase 'cycle' mines with 'rgb', which has the same view; mining looks for what another view sees"
        ],
    ),
    "milestone": (
        [("[phase.rgb]", "[schedule]\nmilestones = [7]\n[phase.rgb]")],
        ["x.toml:11:1: warning: milestone 7 is never reached in the 5 epochs of phase 'cycle'"],
    ),
    "ubernce": (
        [('start_from = "rgb"\nmine_with = "flow"', 'miner = { use = "ubernce" }')],
        [
            "x.toml:16:8: warning: UberNCE is defined with loss 'mean_of_logs'; framework = { loss = \"mean_of_logs\", drop_own_key = 0.0 } in the phase"
        ],
    ),
    "mines nothing": (
        [('start_from = "rgb"\nmine_with = "flow"', 'miner = { use = "cpr", stages = 3 }')],
        [
            "x.toml:19:1: warning: phase 'cycle' names a miner but mines nothing; say whose encoder mines with mine_with = ..."
        ],
    ),
    "few survivors": (
        [("stages = 3", "stages = 7")],
        [
            "x.toml:9:1: warning: stage 6 of 7 would keep 1 of 64 rows, so it keeps topk 5; fewer stages or a larger ratio"
        ],
    ),
}


@pytest.mark.parametrize("title", CASES)
def test_message(title: str, good: str, read: Callable[..., Resolved]) -> None:
    edits, expected = CASES[title]
    for old, new in edits:
        assert old in good
        good = good.replace(old, new, 1)
    try:
        problems = read(good).warnings
    except CprspecError as error:
        problems = error.problems
        assert error.exit_code == 2
        assert not all(p.warning for p in problems)
    assert [clean(str(p)) for p in problems] == expected


def test_good_experiment_says_nothing(good: str, read: Callable[..., Resolved]) -> None:
    assert read(good).warnings == ()
