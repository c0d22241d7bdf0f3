"""What rank 0 does alone may take longer than the time limit: writing a checkpoint to a slow disk, copying a phase."""

from __future__ import annotations

import pytest
from process_trials import TWO
from victims import assert_same, only_run

LIMIT_S, WORK_S = 10, 24
"""A collective waits ten seconds beyond the limit."""

SLOW = f'''
import time
from typing import ClassVar
from attrs import frozen
from cprspec.spec.kinds import Miner
from cprspec.training import recipe, writer

@frozen(kw_only=True)
class Unused(Miner):
    """A plugin has a component."""
    name: ClassVar[str] = "unused"

COMPONENTS = (Unused,)

looked = []

def slowly(function, when):
    def call(*arguments, **options):
        if when(*arguments):
            time.sleep({WORK_S})
        return function(*arguments, **options)
    return call

writer.save_now = slowly(writer.save_now, lambda folder, step, *_: folder.parent.name == "rgb" and step == 8)
recipe.find_finished = slowly(recipe.find_finished, lambda *_: not looked and not looked.append(True))
'''


@pytest.mark.slow
def test_the_others_wait_for_a_slow_disk(lab):
    reference, runs = lab.reference(*TWO), lab.folder / "slow-disk"
    plugin = lab.folder / "slow.py"
    plugin.write_text(SLOW)
    options = ("--plugin", plugin, "--set", f"launch.timeout_s={LIMIT_S}")
    ended = lab.call("run", "small.toml", "--runs", runs, *TWO, *options)
    assert ended.code == 0, ended.talk
    assert ended.seconds > 2 * WORK_S, "it was slow, twice"
    assert_same(only_run(runs), reference)
