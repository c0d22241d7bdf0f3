"""Evaluations that train a classifier: what is wrong with them is said before anything runs, by exact words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cprspec.components.evaluators import Classifier, Linear
from cprspec.data.index import Entry, make_index
from cprspec.errors import CprspecError
from cprspec.spec.presence import _evaluation_problems
from cprspec.spec.schema import Resolved

# what stands in the evaluation's table, and what is said of it (after the place)
CASES = {
    'use = "finetune"\nepochs = 30': "warning: milestone 400 is never reached in the 30 epochs of evaluation 'acts'",
    'use = "finetune"\npatience = 5': "evaluation 'acts' has patience and no validation; say how many training videos "
    "are held out with validation = ...",
    'use = "finetune-iic"\ncrops = "five"': "windows 'ten' are tested by their centre, and evaluation 'acts' has crops "
    "'five'; crops = 'centre', or windows = 'all'",
    'use = "finetune"\nflip = 0.0': "warning: crops 'ten' of evaluation 'acts' are mirrored ones too, and training clips "
    "never are; crops = 'five' where classes mirror each other",
    'use = "probe"\nframes = 1': "backbone 's3d' takes clips of",
    'use = "finetune"\ncrops = "tne"': "option 'crops' of evaluator 'finetune' must be one of 'centre', 'five', 'ten', "
    "found 'tne'; did you mean 'ten'?",
    'use = "linear"\nencoders = ["rbg"]': "no phase is called 'rbg'; did you mean 'rgb'?",
    'use = "linear"\ndatasets = ["clip"]': "no data set is called 'clip'",
}


@pytest.mark.parametrize("table", CASES)
def test_what_is_said(table: str, good: str, read: Callable[..., Resolved]) -> None:
    try:
        problems = read(f"{good}\n[evaluate.acts]\n{table}\n").warnings
    except CprspecError as error:
        problems = tuple(error.problems)
    assert len(problems) == 1
    assert CASES[table] in str(problems[0])


@pytest.mark.parametrize("card", ["linear", "probe", "finetune", "finetune-iic"])
def test_the_cards_are_fine_as_they_are(card: str, good: str, read: Callable[..., Resolved]) -> None:
    resolved = read(f'{good}\n[evaluate.acts]\nuse = "{card}"\nencoders = ["rgb"]\n')
    assert resolved.warnings == ()
    assert resolved.evaluate["acts"].trains


def test_the_cards_say_what_was_published(good: str, read: Callable[..., Resolved]) -> None:
    names = ("probe", "finetune", "finetune-iic")
    text = good + "".join(f'\n[evaluate.{name}]\nuse = "{name}"\n' for name in names)
    probe, finetune, iic = (read(text).evaluate[name] for name in names)
    assert isinstance(probe, Classifier)
    assert isinstance(finetune, Classifier)
    assert isinstance(iic, Classifier)
    assert (finetune.optimizer, finetune.lr, finetune.backbone_lr, finetune.weight_decay) == ("adam", 1e-3, 0.1, 1e-3)
    assert (finetune.epochs, finetune.milestones, finetune.dropout, finetune.batch_size) == (500, (400, 450), 0.9, 64)
    assert (probe.train, probe.optimizer, probe.lr, probe.momentum) == ("head", "sgd", 0.1, 0.9)
    assert (probe.epochs, probe.milestones, probe.l2, probe.batch_norm) == (100, (60, 80), True, True)
    assert (iic.optimizer, iic.lr, iic.weight_decay, iic.batch_size) == ("sgd", 1e-3, 5e-4, 16)
    assert (iic.epochs, iic.patience, iic.validation, iic.least_lr, iic.rescale) == (150, 50, 800, 1e-5, False)
    linear = Linear()
    assert (linear.lr, linear.batch_size, linear.epochs, linear.milestones) == (1.0, 1024, 100, (60, 80))


def test_too_few_videos_to_hold_out(good: str, read: Callable[..., Resolved], tmp_path: Path) -> None:
    entries = []
    for number, split in enumerate(["train", "train", "train", "test"]):
        (tmp_path / f"{number}.avi").touch()
        entries.append(Entry(name=f"{number}.avi", label="run", source=str(number), split=split))
    resolved = read(f'{good}\n[evaluate.acts]\nuse = "finetune"\nencoders = ["rgb"]\nvalidation = 2\n')
    problems = _evaluation_problems(resolved, resolved.train_on, make_index(tmp_path, entries))
    assert [p.message for p in problems] == [
        f"evaluation 'acts' trains on labelled videos besides the 2 it holds out, and data set '{resolved.train_on}' has 3"
    ]
