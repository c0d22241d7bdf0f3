"""Reading the small files of a run: each may be missing, half there, damaged, or from a newer version.

What cannot be read is named in the caller's list of problems, and the rest of the run is used. Nothing here writes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_FILE = 64 << 20
"""No JSON or TOML file of a run is larger than this, bytes; a larger one is not read."""


def read_toml(path: Path, problems: list[str]) -> Mapping[str, Any]:
    """The table in `path`; empty where there is none."""
    text = read_text(path, problems)
    if text is None:
        return {}
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        problems.append(f"{path}: not TOML")
        return {}


def read_json(path: Path, problems: list[str], kind: str) -> Mapping[str, Any] | None:
    """The JSON object of kind `kind` in `path`; None where there is none."""
    text = read_text(path, problems)
    return None if text is None else parse_json(text, path, problems, kind)


def parse_json(text: str, path: Path, problems: list[str], kind: str) -> Mapping[str, Any] | None:
    """The JSON object of kind `kind` that `text`, read from `path`, holds."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, Mapping) and data.get("kind", kind) == kind:
        return data
    problems.append(f"{path}: not a JSON object of kind '{kind}'")
    return None


def read_text(path: Path, problems: list[str]) -> str | None:
    """The text of a file that a run may not have yet; only a regular file of a sensible size is opened."""
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_FILE:
            problems.append(f"{path}: larger than {MAX_FILE} bytes")
            return None
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        problems.append(f"{path}: not UTF-8")
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
    return None
