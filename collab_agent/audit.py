"""The audit log: what an agent was asked to do, what it did, and what came of it; one JSON object per line (JSONL).

The theory.  A log that is kept for the day when somebody asks must not itself be a leak, nor a way to stop the work.
So texts stand in it as length and SHA-256, unless whoever started the agent wants the contents, too; secrets never
do.  What is about to be run is written before it is sent.  A line is written whole, at once, and never buffered.  Where
that fails the call goes on, and the next result says so.

Events: ``start``; ``call`` and ``result`` of each tool call; ``edit`` of what the room has confirmed; ``run`` before
code goes to a kernel, ``end`` when it is over.  ``call`` stands in all that a call led to.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from .errors import ConfigError

PLAIN = frozenset(
    {
        "action",
        "after",
        "all",
        "before",
        "cell",
        "cells",
        "force",
        "kernel",
        "limit",
        "line",
        "notebook_path",
        "offset",
        "op",
        "packages",
        "query",
        "record",
        "steps",
        "stop_on_error",
        "type",
        "wait_s",
    }
)
"""The arguments of the tools that hold nobody's texts; all others are hashed."""


@dataclass(frozen=True, slots=True)
class Text:
    """Something that may only be written in full if contents are wanted."""

    value: str


class AuditLog:
    """One file, which several agents of a process may write to."""

    def __init__(self, fd: int, path: Path, *, contents: bool) -> None:
        self._fd = fd
        self._path = path
        self._contents = contents
        self._torn = False
        self._trouble = ""

    @classmethod
    def open(cls, path: Path, *, contents: bool = False) -> AuditLog:
        """Append to ``path``, made with mode 0600; ``ConfigError`` where it cannot be written, or is not ours alone."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            status = os.fstat(fd)
            if os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                os.fchmod(fd, 0o600)
        except OSError as exc:
            raise _unusable(path, exc) from None
        log = cls(fd, path, contents=contents)
        try:
            log._write({"event": "start", "pid": os.getpid(), "contents": contents})
        except OSError as exc:
            os.close(fd)
            raise _unusable(path, exc) from None
        return log

    def close(self) -> None:
        """Nothing is written any more."""
        os.close(self._fd)

    def note(self, fields: Mapping[str, Any], scrub: Callable[[str], str]) -> None:
        """Write a line; never raises.  ``scrub`` takes secrets out of a text."""
        try:
            self._write(fields, scrub)
        except OSError as exc:
            reason = f"the audit log {self._path} cannot be written ({exc.strerror}): what is done now is not in it"
            self._trouble = self._trouble or reason

    def take_trouble(self) -> str:
        """Why lines are missing; each trouble is given once."""
        trouble, self._trouble = self._trouble, ""
        return trouble

    def _write(self, fields: Mapping[str, Any], scrub: Callable[[str], str] = str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": at, **self._shown(fields, scrub)}, ensure_ascii=True, separators=(",", ":"))
        data = (("\n" if self._torn else "") + line + "\n").encode()
        written = os.write(self._fd, data)
        self._torn = written < len(data) and (self._torn or written > 0)
        if written < len(data):
            raise OSError(28, "No space left on device")

    def _shown(self, value: Any, scrub: Callable[[str], str]) -> Any:
        match value:
            case Text(text) if not self._contents:
                return {"chars": len(text), "sha256": sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}
            case Text(text) | str(text):
                return scrub(text)
            case Mapping():
                return {scrub(str(key)): self._shown(each, scrub) for key, each in value.items()}
            case list() | tuple():
                return [self._shown(each, scrub) for each in value]
            case None | bool() | int() | float():
                return value
        return scrub(repr(value))


def _unusable(path: Path, exc: OSError) -> ConfigError:
    return ConfigError(
        f"The audit log {path} cannot be written ({exc.strerror}). Nothing was started.",
        "Name a file in a folder of yours: --audit FILE.",
    )


class Audit:
    """What one agent writes into the log; writes nothing without one.

    ``who``: the fields that say whose doing it is, asked anew for each line.
    """

    def __init__(
        self,
        log: AuditLog | None = None,
        who: Callable[[], Mapping[str, str]] = dict,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self._log = log
        self._who = who
        self._scrub = scrub
        self._call: ContextVar[str] = ContextVar("call", default="")
        self._calls = 0

    @property
    def call(self) -> str:
        """The call that the present task works for; empty if none."""
        return self._call.get()

    def begin(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """A tool is called, in the present task."""
        self._calls += 1
        self._call.set(f"c{self._calls}")
        self.note("call", tool=tool, arguments=_arguments(arguments))

    def note(self, event: str, *, call: str | None = None, **fields: Any) -> None:
        """Write a line.  Texts of a notebook must be wrapped as ``Text``."""
        if self._log is not None:
            head = {"event": event, **self._who(), "call": self.call if call is None else call}
            self._log.note({**head, **fields}, self._scrub)

    def take_trouble(self) -> str:
        """See ``AuditLog``."""
        return "" if self._log is None else self._log.take_trouble()


def _arguments(value: Any, *, plain: bool = False) -> Any:
    """A call's arguments, with all that may be somebody's text wrapped."""
    match value:
        case Mapping():
            return {str(key): _arguments(each, plain=key in PLAIN) for key, each in value.items()}
        case str():
            return value[:1_000] if plain else Text(value)
        case Sequence():
            return [_arguments(each, plain=plain) for each in value]
    return value
