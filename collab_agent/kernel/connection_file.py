"""The kernel's connection file: where its own sockets listen, and the key that signs what is sent to them.

The server writes ``kernel-<id>.json`` into its runtime folder.  Whoever holds the key runs code as the kernel's user,
and whoever writes the file chooses where our user's code goes.  So it is used only where the server is on this
machine, the kernel listens on this machine only, and the file is this user's own and nobody else can read it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..config import Server
from .wire import Channel

_CHANNELS: tuple[Channel, ...] = ("shell", "control", "stdin", "iopub")
_DIGESTS = frozenset(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake"))


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a kernel's own sockets: ZMQ addresses, the key of the HMAC, and the name of its hash."""

    addresses: Mapping[Channel, str]
    key: bytes = field(repr=False)
    digest: str


def find_connection(server: Server, kernel_id: str) -> Connection | None:
    """The connection of a kernel of this server; None where it is not on this machine, or not safe to use.

    Reads one small file, and blocks meanwhile.
    """
    # The id comes from the server: it must not lead out of the folder.
    if (
        server.runtime_dir is None
        or not is_local(urlsplit(server.url).hostname)
        or not re.fullmatch(r"[\w-]+", kernel_id, re.ASCII)
    ):
        return None
    text = read_private(server.runtime_dir / f"kernel-{kernel_id}.json")
    return None if text is None else parse_connection(text)


def read_private(path: Path) -> str | None:
    """A regular file of this user that nobody else can read or write; None for any other."""
    if os.name != "posix":
        return None  # there the mode says nothing about who can read it
    try:
        # What was opened is what is checked.  A pipe of that name must not block us.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, encoding="utf-8") as file:
            status = os.fstat(handle)
            private = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
            return file.read() if private else None
    except (OSError, UnicodeDecodeError):
        return None


def parse_connection(text: str) -> Connection | None:
    """The connection in a connection file's text; None where it is none that we can use."""
    try:
        info = json.loads(text)
        digest = info["signature_scheme"].removeprefix("hmac-")
        addresses = {channel: _address(info, channel) for channel in _CHANNELS}
        key = info["key"].encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    local = info["transport"] == "ipc" or is_local(info["ip"])
    if not local or not key or digest not in _DIGESTS or info.get("curve_publickey"):
        return None
    return Connection(addresses, key, digest)


def is_local(host: str | None) -> bool:
    """Whether this host name or address means the loopback interface."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _address(info: Mapping[str, Any], channel: Channel) -> str:
    transport, ip, port = info["transport"], info["ip"], info[f"{channel}_port"]
    if transport not in ("tcp", "ipc") or not isinstance(ip, str) or not isinstance(port, int):
        raise ValueError(channel)
    if transport == "ipc":
        return f"ipc://{ip}-{port}"
    return f"tcp://[{ip}]:{port}" if ":" in ip else f"tcp://{ip}:{port}"
