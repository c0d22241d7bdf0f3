"""Options that change with the epoch: what may be written, what it means, and how it is checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tomli

from cprspec.components.miners import Cascade, Labels
from cprspec.errors import CprspecError
from cprspec.spec.by_epoch import ByEpoch
from cprspec.spec.plan import fingerprints
from cprspec.spec.registry import Registry
from cprspec.spec.schema import Resolved
from cprspec.spec.toml import to_toml

Read = Callable[..., Resolved]


def told(read: Read, text: str, *overrides: str, **files: str) -> list[str]:
    """What is wrong with `text`, warnings included."""
    try:
        return [str(p) for p in read(text, *overrides, **files).warnings]
    except CprspecError as error:
        return [str(p) for p in error.problems]


def test_the_number_of_each_epoch() -> None:
    schedule = ByEpoch(((0, 1), (2, 3), (5, 0)))
    slow = [1, 1, 3, 3, 3, 0, 0, 0]
    assert [schedule.at(epoch) for epoch in range(8)] == slow
    assert (schedule.epochs, schedule.values) == ((0, 2, 5), (1, 3, 0))


@pytest.mark.parametrize("steps", [(), ((1, 2),), ((0, 1), (5, 2), (5, 3)), ((0, 1), (5, 2), (3, 3))])
def test_python_holds_the_same_rules(steps: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="epochs must begin with 0 and ascend"):
        ByEpoch(steps)


def test_a_miner_of_one_epoch_is_plain() -> None:
    miner = Cascade(stages=3, topk=ByEpoch(((0, 1), (40, 3))))
    assert miner.at(39) == Cascade(stages=3, topk=1)
    assert miner.at(40) == Cascade(stages=3, topk=3)
    assert Labels(topk=ByEpoch(((0, 2),))).at(7) == Labels(topk=2)
    unchanging = Cascade()
    assert unchanging.at(3) is unchanging


def test_resolved_written_and_read_again(good: str, read: Read, registry: Registry) -> None:
    resolved = read(good, "miner.topk={ 0 = 1, 3 = 4 }")
    assert resolved.phase("cycle").miner == Cascade(stages=3, topk=ByEpoch(((0, 1), (3, 4))))
    text = to_toml(resolved)
    assert tomli.loads(text)["miner"]["topk"] == {"0": 1, "3": 4}
    again = read(text)
    assert again.phases == resolved.phases
    prints = fingerprints(resolved, "d", lambda p: p.name)
    assert fingerprints(again, "d", lambda p: p.name) == prints
    others = fingerprints(read(good, "miner.topk={ 0 = 1, 4 = 4 }"), "d", lambda p: p.name)
    assert [name for name in prints if prints[name] != others[name]] == ["cycle"]


def test_a_plain_number_is_what_it_was(good: str, read: Read) -> None:
    resolved = read(good)
    assert resolved.phase("cycle").miner == Cascade(stages=3, topk=5)
    assert "topk = 5" in to_toml(resolved)
    # as it was before schedules existed, so that phases trained then are still reused
    known = "b71c2f55b616526a5dce69b1239511c231840c4409dd38f50887c032ea0aa912"
    assert fingerprints(resolved, "d", lambda p: p.name)["cycle"] == known


WRONG = [
    ("{ 1 = 1, 40 = 3 }", {"miner 'cpr' must be known from epoch 0 on, found a table; say it for epoch 0 too"}),
    ("{}", {"must be known from epoch 0 on"}),
    ("{ 0 = 1, 4 = 3, 2 = 5 }", {"x.toml:10:24: option 'topk.2' of miner 'cpr' must be after epoch 4, since epochs ascend"}),
    ("{ 0 = -1, 2 = -3 }", {"x.toml:10:10: option 'topk.0'", "x.toml:10:18: option 'topk.2' of miner 'cpr' must be at least"}),
    ("{ 0 = 1, 2 = 'x' }", {"x.toml:10:17: option 'topk.2' of miner 'cpr' must be a whole number, found 'x' (text)"}),
    ("{ 0 = 1, two = 2 }", {"x.toml:10:17: option 'topk.two' of miner 'cpr' must be under an epoch, a whole number from 0"}),
    ("{ 0 = 1, 007 = 2, -1 = 3 }", {"option 'topk.007'", "option 'topk.-1'"}),
    ("{ 0 = 1, 3 = { a = 1 } }", {"option 'topk.3' of miner 'cpr' must be a whole number, found a table"}),
    ("1.5", {"option 'topk' of miner 'cpr' must be a whole number, found 1.5 (number)"}),
    ("{ 0 = 65, 2 = 1, 3 = 66 }", {"x.toml:10:10: topk 65 is more", "x.toml:10:25: topk 66 is more", "stage 2 of 3"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), WRONG)
def test_what_is_wrong_is_told_at_its_own_key(value: str, expected: set[str], good: str, read: Read) -> None:
    problems = told(read, good.replace("stages = 3", f"stages = 3\ntopk = {value}"))
    assert len(problems) == len(expected), problems
    for part in expected:
        assert any(part in problem for problem in problems), (part, problems)


def test_an_epoch_that_never_comes_and_a_stage_that_keeps_too_few_are_warnings(good: str, read: Read) -> None:
    (late,) = told(read, good.replace("stages = 3", "stages = 3\ntopk = { 0 = 1, 5 = 2 }"))
    assert late == "x.toml:10:17: warning: epoch 5 is never reached in the 5 epochs of phase 'cycle'"
    (few,) = told(read, good, "miner.topk={ 0 = 1, 3 = 20 }")
    assert "stage 2 of 3 would keep 16 of 64 rows, so it keeps topk 20" in few


def test_a_table_of_epochs_replaces_another_as_a_whole(good: str, read: Read) -> None:
    parent = good.replace("stages = 3", "stages = 3\ntopk = { 0 = 1, 2 = 3 }")
    child = 'format = 1\nextends = "parent.toml"\n'
    for own, expected in (
        ("", ByEpoch(((0, 1), (2, 3)))),
        ("[miner]\ntopk = { 0 = 4, 1 = 2 }", ByEpoch(((0, 4), (1, 2)))),
        ("[miner]\ntopk = 2", 2),
        ("[phase.cycle.miner]\ntopk = { 0 = 4 }", ByEpoch(((0, 4),))),
    ):
        miner = read(child + own, parent=parent).phase("cycle").miner
        assert miner == Cascade(stages=3, topk=expected), own
    assert read(child, "miner.topk=2", parent=parent).phase("cycle").miner == Cascade(stages=3, topk=2)
    (problem,) = told(read, child, "miner.topk.3=7", parent=parent)
    assert "must be known from epoch 0 on" in problem


def test_phases_may_be_called_by_numbers(good: str, read: Read) -> None:
    parent = good.replace("[phase.rgb]", "[phase.1]").replace('start_from = "rgb"', 'start_from = "1"')
    parent = parent.replace('"rgb", "cycle+flow"', '"1", "cycle+flow"')
    resolved = read('format = 1\nextends = "parent.toml"\n[phase.1]\nepochs = 2\n', parent=parent)
    assert resolved.phase("1").views == ("rgb",)
