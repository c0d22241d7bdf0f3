"""The examples in docs/experiment-language.md are experiments, cards and plugins that work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve, resolve_all

PAGE = Path(__file__).parents[2] / "docs/experiment-language.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def examples() -> tuple[str, str, str, str]:
    """The whole experiment, its child, its sweep, and the card, as documented."""
    whole, child, sweep, card = _blocks("toml")
    return whole, child, sweep, card


def test_experiments(examples: tuple[str, str, str, str]) -> None:
    Path("my-cpr.toml").write_text(examples[0])
    Path("child.toml").write_text(examples[1])
    registry = builtin_registry()
    whole, child = (resolve(Path(name), registry) for name in ("my-cpr.toml", "child.toml"))
    assert [p.name for p in whole.phases] == ["rgb", "flow", "cycle-rgb"]
    assert whole.warnings == child.warnings == ()
    assert (child.name, child.phases[:2]) == ("my-coclr", whole.phases[:2])
    assert (whole.phases[2].miner, child.phases[2].miner) == (
        registry.find("miner", "cpr").component(),  # type: ignore[union-attr]
        registry.find("miner", "coclr").component(stages=1),  # type: ignore[union-attr]
    )


def test_a_sweep(examples: tuple[str, str, str, str]) -> None:
    Path("my-cpr.toml").write_text(examples[0])
    Path("sweep.toml").write_text(examples[2])
    runs = resolve_all(Path("sweep.toml"), builtin_registry())
    assert len(runs) == 3 * 3 * 2 * 2
    assert [(r.name, r.seed) for r in runs if r.name == "my-cpr-stages-1-topk-5-sgd"] == [
        ("my-cpr-stages-1-topk-5-sgd", seed) for seed in (0, 1, 2)
    ]


def test_the_whole_example_writes_out_the_defaults(examples: tuple[str, str, str, str]) -> None:
    """The scalars shown at the top are the defaults, so that a reader may leave them out."""
    Path("a.toml").write_text(examples[0])
    shorter = re.sub(
        r"^(seed|train_on|batch_size|accumulate|precision|frames|size) =.*\n", "", examples[0], flags=re.MULTILINE
    )
    Path("b.toml").write_text(shorter)
    registry = builtin_registry()
    assert resolve(Path("a.toml"), registry).phases == resolve(Path("b.toml"), registry).phases


def test_card_and_plugin(examples: tuple[str, str, str, str]) -> None:
    Path("cards/miner").mkdir(parents=True)
    Path("cards/miner/three.toml").write_text(examples[3])
    (plugin,) = _blocks("python")
    Path("nearest.py").write_text(plugin)
    registry = builtin_registry([Path("cards")], [Path("nearest.py")])
    assert {"three", "nearest"} <= set(registry.names("miner"))
