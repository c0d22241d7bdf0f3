"""The built wheel holds the catalogue: unpacked far from the checkout, it lists the same cards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


def _cards(import_from: Path, folder: Path) -> dict[tuple[str, str], str]:
    """The cards that cprspec lists when imported from `import_from`, and the files they come from."""
    done = subprocess.run(
        [sys.executable, "-m", "cprspec", "components", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(import_from)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {(card["kind"], card["name"]): card["file"] for card in json.loads(done.stdout)}


def test_wheel_brings_its_cards(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=PROJECT, capture_output=True, timeout=120, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    cards = _cards(unpacked, tmp_path)
    assert set(cards) == set(_cards(PROJECT, tmp_path))
    assert all(Path(file).is_relative_to(unpacked / "cprspec/_registry") for file in cards.values())
    assert not [name for name in archive.namelist() if name.startswith(("tests/", "experiments/"))]
