"""What an experiment means once every default is filled in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cprspec.errors import CprspecError
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved, WeightsFile

Read = Callable[..., Resolved]

SMALL = 'format = 1\n[dataset.d]\nuse = "folder"\n[phase.p]\nviews = ["rgb"]\nepochs = 1\n'


def test_defaults(read: Read) -> None:
    resolved = read(SMALL)
    phase = resolved.phase("p")
    names = [getattr(phase, kind).name for kind in ("backbone", "framework", "augment", "optimizer", "schedule")]
    assert names == ["s3d", "moco", "coclr", "adam", "step"]
    assert phase.miner is None
    assert (phase.batch_size, phase.accumulate, phase.precision, phase.seed) == (32, 1, "float32", 0)
    assert (resolved.name, resolved.train_on, phase.dataset) == ("x", "d", "d")
    assert resolved.views["rgb"].name == "rgb"
    assert resolved.cards["phase.p.augment"] == "coclr"


def test_top_level_tables_are_defaults_of_phases(read: Read, good: str) -> None:
    text = good.replace("[phase.rgb]", "[clip]\nframes = 8\nsize = 64\n[optimizer]\nlr = 0.5\n[phase.rgb]")
    text = text.replace(
        'mine_with = "flow"', 'mine_with = "flow"\nclip.size = 32\noptimizer = { weight_decay = 0 }\nbatch_size = 16'
    )
    resolved = read(text)
    rgb, cycle = resolved.phase("rgb"), resolved.phase("cycle")
    assert (rgb.clip.frames, rgb.clip.size, cycle.clip.frames, cycle.clip.size) == (8, 64, 8, 32)
    assert (cycle.optimizer.lr, rgb.optimizer.lr) == (0.5, 0.5)
    assert (rgb.batch_size, cycle.batch_size) == (8, 16)


def test_phase_with_another_component_forgets_the_top_levels_options(read: Read, good: str) -> None:
    text = good.replace("[phase.rgb]", '[optimizer]\nlr = 0.5\n[phase.rgb]\noptimizer.use = "sgd"')
    assert read(text).phase("rgb").optimizer.lr == 0.01


def test_who_mines(read: Read, good: str) -> None:
    resolved = read(good)
    assert [p.name for p in resolved.phases if p.miner] == ["cycle"]
    assert resolved.phase("cycle").miner == builtin_registry().find("miner", "cpr").component(stages=3)  # type: ignore[union-attr]
    assert resolved.mining_view(resolved.phase("cycle")) == "flow"


def test_a_label_miner_of_its_own_needs_no_other_phase(read: Read) -> None:
    phase = read(SMALL + 'miner.use = "ubernce"\nframework.loss = "mean_of_logs"').phase("p")
    assert phase.miner is not None
    assert phase.mine_with is None


def test_a_label_miner_at_the_top_is_only_for_phases_that_mine(read: Read) -> None:
    assert read(SMALL + '[miner]\nuse = "ubernce"').phase("p").miner is None


def test_even_an_unused_miner_is_checked(read: Read) -> None:
    with pytest.raises(CprspecError, match="unknown option 'stagse'"):
        read(SMALL + '[miner]\nuse = "cpr"\nstagse = 1')


def test_order(read: Read, good: str) -> None:
    cycle = good[good.index("[phase.cycle]") : good.index("[evaluate.nn]")]
    moved = good.replace(cycle, "").replace("[phase.rgb]", cycle + "[phase.rgb]")
    assert [p.name for p in read(moved).phases] == ["rgb", "flow", "cycle"]


def test_cards_bring_their_options_and_experiments_override_them(read: Read, good: str) -> None:
    assert (
        read(good, "miner.use=coclr").phase("cycle").miner
        == read(good.replace("stages = 3", "stages = 1")).phase("cycle").miner
    )


def test_roots_in_the_order_of_precedence(read: Read, good: str, tmp_path: Path) -> None:
    written = good.replace('use = "folder"', 'use = "folder"\nroot = "videos"')
    assert read(good).roots == {"clips": None}
    assert read(written).roots == {"clips": tmp_path / "videos"}
    config = tmp_path / "config/cprspec/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[roots]\nclips = "/from/configuration"\nother = "/elsewhere"')
    assert read(written).roots == {"clips": Path("/from/configuration")}
    assert read(written, roots={"clips": "here"}).roots == {"clips": tmp_path / "here"}


def test_root_is_relative_to_the_file_that_says_it(read: Read, tmp_path: Path) -> None:
    Path("sub").mkdir()
    Path("sub/p.toml").write_text(SMALL.replace('use = "folder"', 'use = "folder"\nroot = "v"'))
    child = 'format = 1\nextends = "sub/p.toml"'
    assert read(child).roots["d"] == tmp_path / "sub/v"
    assert read(child, 'dataset.d.root="w"').roots["d"] == tmp_path / "w"
    assert read(child, "dataset.d.root=~/w").roots["d"] == Path.home() / "w"


def test_unknown_root(read: Read, good: str) -> None:
    with pytest.raises(CprspecError) as caught:
        read(good, roots={"clip": "x"})
    assert str(caught.value) == "--root: no data set is called 'clip'; did you mean 'clips'?"


@pytest.mark.parametrize("text", ["[roots]\nclips = 3", "roots = 3", "[rots]\nclips = 'x'", "[roots"])
def test_wrong_configuration(read: Read, good: str, tmp_path: Path, text: str) -> None:
    config = tmp_path / "config/cprspec/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(text)
    with pytest.raises(CprspecError, match=r"config\.toml:\d:\d"):
        read(good)


def test_weights_file_is_relative_to_the_experiment(read: Read, tmp_path: Path) -> None:
    start = read(SMALL + 'start_from = { file = "w/x.safetensors", allow_missing = ["4."] }').phase("p").start_from
    assert start == WeightsFile(tmp_path / "w/x.safetensors", ("4.",))


def test_wrong_weights_table(read: Read) -> None:
    with pytest.raises(CprspecError) as caught:
        read(SMALL + "start_from = { fiel = 'x' }")
    assert [str(p).split("; ")[0] for p in caught.value.problems] == [
        "x.toml:7:1: option 'file' of 'start_from' of phase 'p' is missing",
        "x.toml:7:16: unknown option 'fiel' for 'start_from' of phase 'p'",
    ]


def test_views_without_a_table_and_with_one(read: Read, good: str) -> None:
    assert read(good).views["flow"].method == "dis"  # type: ignore[attr-defined]
    assert read(good + "[view.flow]\nmethod = 'tvl1'").views["flow"].method == "tvl1"  # type: ignore[attr-defined]
    named = good.replace('views = ["flow"]', 'views = ["slow"]') + "[view.slow]\nuse = 'flow'\nbound = 5"
    assert read(named).views["slow"].bound == 5  # type: ignore[attr-defined]


def test_card_options_are_placed_on_the_card(tmp_path: Path) -> None:
    card = tmp_path / "cards/miner/odd.toml"
    card.parent.mkdir(parents=True)
    card.write_text('implements = "cascade"\nsummary = "odd"\n[options]\nstages = 0')
    Path("x.toml").write_text(SMALL + '[miner]\nuse = "odd"\ntopk = -1')
    with pytest.raises(CprspecError) as caught:
        resolve(Path("x.toml"), builtin_registry([tmp_path / "cards"]))
    assert {str(p.place) for p in caught.value.problems} == {f"{card}:4:1", "x.toml:9:1"}


def test_overrides_are_placed_on_the_command_line(read: Read, good: str) -> None:
    with pytest.raises(CprspecError) as caught:
        read(good, "miner.topk=many", "phase.cycle.epochs=0")
    assert {str(p) for p in caught.value.problems} == {
        "--set: option 'topk' of miner 'cpr' must be a whole number, found 'many' (text)",
        "--set: option 'epochs' of phase 'cycle' must be at least 1, found 0",
    }


ANY_TABLE = (
    "phase", "phase.p", "phase.p.clip", "phase.p.optimizer", "view.rgb", "clip", "launch", "miner", "dataset.d",
    "published", "evaluate", "evaluate.e",
)  # fmt: skip


@pytest.mark.parametrize("key", ANY_TABLE)
@pytest.mark.parametrize("value", ["3", "[]", "[{}]", '"text"', "1979-05-27", "{}", "{x=1}", "[[1]]"])
def test_confused_types_are_only_problems(read: Read, key: str, value: str) -> None:
    try:
        read(SMALL, f"{key}={value}")
    except CprspecError as error:
        assert error.problems
        assert all(len(str(p)) < 600 for p in error.problems)
