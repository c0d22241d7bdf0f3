"""How many ranks an experiment's batches can be shared by, said of every phase and evaluation at once."""

from types import SimpleNamespace

import pytest

from cprspec.components.evaluators import Classifier, Linear
from cprspec.errors import CprspecError
from cprspec.training.division import check_ranks


def experiment(**evaluate):
    phase = SimpleNamespace(name="rgb", batch_size=8, accumulate=2, framework=SimpleNamespace(bn_groups=4))
    return SimpleNamespace(phases=[phase], evaluate=evaluate)


def told(resolved, world):
    with pytest.raises(CprspecError) as caught:
        check_ranks(resolved, world)
    return [problem.message for problem in caught.value.problems]


def test_everything_that_does_not_divide_is_told():
    resolved = experiment(probe=Classifier(batch_size=9), linear=Linear(batch_size=9))
    check_ranks(resolved, 1)
    assert told(resolved, 8) == [
        "phase 'rgb': batch_size 8 in 2 does not divide over 8 ranks",
        "phase 'rgb': bn_groups 4 cannot be shared by 8 ranks",
        "evaluation 'probe': batch_size 9 does not divide over 8 ranks",
    ]


def test_a_head_with_batch_norm_needs_two_clips_on_each_rank():
    small, large = Classifier(batch_size=2, batch_norm=True), Classifier(batch_size=4, batch_norm=True)
    without, stored = Classifier(batch_size=2), Linear(batch_size=2)
    resolved = experiment(small=small, large=large, without=without, stored=stored)
    check_ranks(resolved, 1)
    assert told(resolved, 2) == [
        "evaluation 'small': batch_size 2 is one clip on each of 2 ranks, and batch_norm needs two"
    ]
