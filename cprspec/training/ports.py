"""Where ranks of several machines meet: whether the port is free and who has it if not, and by which interface to speak."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean


def check_endpoint(endpoint: str, *, first: bool) -> None:
    """CprspecError if `HOST:PORT` names no place where machines can meet; on the `first`, also if its port is taken."""
    host, _, port = endpoint.rpartition(":")
    place = Place("--rdzv-endpoint")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        hint = "the first machine's address and a free port, for example 10.0.0.1:29400"
        raise CprspecError(Problem(f"'{clean(endpoint, MAX_ECHO)}' is not HOST:PORT", place, hint))
    try:
        socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"this machine does not know the host '{clean(host, MAX_ECHO)}'"
        raise CprspecError(Problem(message, place, "give the first machine's address as a number")) from error
    if first:
        _check_port(host, int(port))


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # another machine's address, or none: torch will say
            owner = owner_of(port)
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


def interface_towards(host: str) -> str | None:
    """The network interface of this machine that leads to `host`, or has its address; None where that cannot be said.

    gloo takes the one that this machine's own name stands for, which many systems make the loopback: nobody else reaches that.
    """
    for target in (host, _ANYWHERE):
        with suppress(OSError, UnicodeError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))  # chooses the way; UDP sends nothing for it
            own = probe.getsockname()[0]
            if not own.startswith("127."):
                return _interface_of(own)
    return None


_ANYWHERE = "192.0.2.1"
"""An address that is nobody's (RFC 5737): the way there is the way to everywhere."""
_SIOCGIFADDR = 0x8915


def _interface_of(address: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no address
                found = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return None
