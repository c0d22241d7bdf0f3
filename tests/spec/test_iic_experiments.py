"""What an experiment says of IIC: what is understood, what each mistake prints, and what fingerprints make of it."""

# ruff: noqa: E501 - a printed line stands here in one piece

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from cprspec.components.frameworks import IIC
from cprspec.components.views import FlowComponent, Residual, Rgb
from cprspec.errors import CprspecError, clean
from cprspec.spec.plan import fingerprints
from cprspec.spec.schema import Resolved
from cprspec.spec.toml import to_toml

GOOD = """format = 1
[dataset.clips]
use = "folder"
[clip]
frames = 16
size = 112
[framework]
use = "iic"
[augment]
use = "iic"
[view.rgb]
normalise = "none"
[phase.iic]
views = ["rgb", "residual"]
epochs = 10
miner = { use = "cpr", stages = 3 }
"""

CASES: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "right": ([], []),
    "one view": (
        [('["rgb", "residual"]', '["rgb"]')],
        ["x.toml:14:1: framework 'iic' needs 2 views in a phase, phase 'iic' has 1"],
    ),
    "twice a view": ([('"residual"]', '"rgb"]')], ["x.toml:14:1: phase 'iic' names a view twice"]),
    "an option of moco": (
        [('use = "iic"\n[augment]', 'use = "iic"\nqueue_size = 64\n[augment]')],
        [
            "x.toml:9:1: unknown option 'queue_size' for framework 'iic'; choose from 'negatives', 'temperature', 'momentum', 'intra_negative', 'loss', 'start_epoch', 'bn_groups', 'bank_precision', 'use'"
        ],
    ),
    "mines with another": (
        [
            ("[phase.iic]", '[phase.other]\nviews = ["rgb", "residual"]\nepochs = 10\n[phase.iic]'),
            ("epochs = 10\nminer", 'epochs = 10\nmine_with = "other"\nminer'),
        ],
        [
            "x.toml:19:1: framework 'iic' mines in banks of its own, so phase 'iic' cannot mine with another; leave mine_with out, and name a miner in the phase",
            "x.toml:19:1: phase 'iic' mines with 'other', which has 2 views; it has to be one",
            "x.toml:19:1: warning: phase 'iic' mines with 'other', which has the same view; mining looks for what another view sees",
        ],
    ),
    "mining after the end": (
        [('use = "iic"\n[augment]', 'use = "iic"\nstart_epoch = 10\n[augment]')],
        [
            "x.toml:9:1: warning: mining would begin in epoch 10, and phase 'iic' has 10; epochs count from 0",
        ],
    ),
    "constant z with several positives": (
        [('use = "iic"\n[augment]', 'use = "iic"\nloss = "constant_z"\n[augment]')],
        [
            "x.toml:9:1: loss 'constant_z' is defined for one positive, and a miner adds more; loss = 'softmax', or no miner"
        ],
    ),
    "quarters": (
        [
            ("frames = 16", "frames = 10"),
            ('use = "iic"\n[augment]', 'use = "iic"\nintra_negative = "shuffle"\n[augment]'),
        ],
        [
            "x.toml:5:1: intra-negatives by 'shuffle' exchange quarters of a clip, and 10 frames have none; a multiple of 4, or intra_negative = 'repeat'"
        ],
    ),
    "a crop that does not fit": (
        [("size = 112", "size = 144")],
        [
            "x.toml:6:1: a crop of 144 pixels does not fit pictures of 128x171; lower it, or raise the augmentation's 'frame'"
        ],
    ),
    "a frame of one number": (
        [('use = "iic"\n[view', 'use = "iic"\nframe = [128]\n[view')],
        ["x.toml:11:1: 'frame' is a height and a width, found 1 numbers"],
    ),
}


FIRST = {"rgb": "227b0f85114c2348", "flow": "15e08f74f8f60023", "cycle": "04767102af215b1e"}
"""Of `good`, before IIC; they change with RECIPE, and never by accident."""


@pytest.mark.parametrize("title", CASES)
def test_message(title: str, read: Callable[..., Resolved]) -> None:
    edits, expected = CASES[title]
    text = GOOD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    try:
        problems = read(text).warnings
    except CprspecError as error:
        problems = error.problems
    assert sorted(clean(str(p)) for p in problems) == sorted(expected)


def test_iic_is_as_published(read: Callable[..., Resolved]) -> None:
    (phase,) = read(GOOD).phases
    assert phase.framework == IIC(
        negatives=1024,
        temperature=0.07,
        momentum=0.5,
        intra_negative="repeat",
        loss="softmax",
        start_epoch=1,
        bn_groups=1,
    )
    assert (phase.framework.head, phase.framework.clips_per_video) == (0, 1)
    assert phase.augment.frame == (128, 171)  # type: ignore[attr-defined]
    assert phase.miner is not None


def test_the_documented_example_works(read: Callable[..., Resolved]) -> None:
    page = (Path(__file__).parents[2] / "docs/experiment-language.md").read_text()
    part = page.partition("\n## IIC\n")[2].partition("\n## ")[0]
    example = "\n".join(line.removeprefix("    ") for line in part.split("\n") if line.startswith("    "))
    resolved = read('format = 1\ndataset.clips.use = "folder"\nclip = { frames = 16, size = 112 }\n' + example)
    assert resolved.warnings == ()
    assert resolved.phases[0].miner is not None
    assert {view.normalise for view in resolved.views.values()} == {"none"}


def test_views_of_iic(read: Callable[..., Resolved]) -> None:
    resolved = read(GOOD.replace('"residual"', '"u"'))
    assert resolved.views["rgb"] == Rgb(normalise="none")
    assert resolved.views["u"] == FlowComponent(axis="x", method="dis", bound=20.0)
    assert resolved.views["u"].reads == "flow"


def test_resolved_text_means_the_same(read: Callable[..., Resolved]) -> None:
    resolved = read(GOOD)
    again = read(to_toml(resolved))
    assert again.phases == resolved.phases
    assert fingerprints(again, "data", lambda _: "") == fingerprints(resolved, "data", lambda _: "")


def test_options_added_later_count_only_where_they_are_used(read: Callable[..., Resolved]) -> None:
    """Phases trained before `normalise` and `rescale` existed are still recognised."""
    plain = read(GOOD.replace('[view.rgb]\nnormalise = "none"\n', ""))

    def prints(views: dict[str, object]) -> str:
        return fingerprints(attrs.evolve(plain, views={**plain.views, **views}), "data", lambda _: "")["iic"]

    assert prints({"rgb": Rgb(normalise="imagenet"), "residual": Residual(rescale=True)}) == prints({})
    others = [prints({"rgb": Rgb(normalise="none")}), prints({"residual": Residual(rescale=False)})]
    assert len({prints({}), *others}) == 3


def test_a_phase_fingerprint_of_the_first_release_has_not_moved(good: str, read: Callable[..., Resolved]) -> None:
    found = fingerprints(read(good), "data", lambda _: "")
    assert {name: text[:16] for name, text in found.items()} == FIRST
