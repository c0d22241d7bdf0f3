"""What the tests of the language share: the built-in registry, and a folder in which an experiment `x.toml` is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cprspec.spec.registry import Registry, builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved

GOOD = """format = 1
batch_size = 8
[dataset.clips]
use = "folder"
[framework]
queue_size = 64
[miner]
use = "cpr"
stages = 3
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
[evaluate.nn]
use = "retrieval"
encoders = ["rgb", "cycle+flow", "random"]
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in an empty folder, with no configuration of the user and no extra cards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CPRSPEC_REGISTRY", raising=False)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The cards and components of the project."""
    return builtin_registry()


@pytest.fixture
def good() -> str:
    """An experiment without a mistake: InfoNCE on two views, one mining phase, one evaluation."""
    return GOOD


@pytest.fixture
def read(registry: Registry) -> Callable[..., Resolved]:
    """`read(text, *overrides, **files)`: resolve `text` as x.toml, with other files beside it."""

    def resolve_text(text: str, *overrides: str, roots: dict[str, str] | None = None, **files: str) -> Resolved:
        for name, content in files.items():
            Path(f"{name}.toml").write_text(content)
        Path("x.toml").write_text(text)
        return resolve(Path("x.toml"), registry, overrides=overrides, roots=roots)

    return resolve_text
