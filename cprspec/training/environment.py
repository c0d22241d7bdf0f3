"""Where and with what a run was made: recorded in environment.json and with every finished phase."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("cprspec", "torch", "numpy", "opencv-contrib-python-headless", "av")
"""Libraries whose version can change what is learned."""


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change what is learned."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def version_differences(then: dict[str, str]) -> list[str]:
    """What differs from the versions that are installed now, in words."""
    now = versions()
    return [f"{name} {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]]


def environment(world_size: int, threads: int, device: str) -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "schema": 1, "kind": "environment", "versions": versions(), "world_size": world_size, "threads": threads,
        "device": device, "host": socket.gethostname(), "platform": platform.platform(), "cpus": os.cpu_count(),
        "command": sys.argv,
    }  # fmt: skip


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
