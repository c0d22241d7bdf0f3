"""Whether the port that ranks shall meet at is free on this machine, and who has it if not."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from cprspec.errors import CprspecError, Problem, clean


def check_port(endpoint: str) -> None:
    """CprspecError if `HOST:PORT` is of this machine, and taken."""
    host, _, port = endpoint.rpartition(":")
    if not port.isdecimal() or int(port) == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # another machine's address, or none: torch will say
            owner = owner_of(int(port))
            message = f"port {port} is in use on this machine" + (f" by {owner}" if owner else "")
            raise CprspecError(Problem(message, hint="name another one in --rdzv-endpoint"), exit_code=1) from error


def owner_of(port: int) -> str | None:
    """The process that listens on `port`, as far as the system (Linux) lets us see it."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) not in sockets:  # noqa: PTH115 - Path has no cheaper way
                continue
            name = (descriptor.parent.parent / "comm").read_text().strip()
        except OSError:
            continue  # not ours to see, or gone
        return f"pid {descriptor.parent.parent.name} ({clean(name)})"
    return None


def _listening(table: str, port: int) -> list[str]:
    try:
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
