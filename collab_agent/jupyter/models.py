"""What the Jupyter server's answers hold, as frozen values.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collab_agent.errors import NoKernel, ServerError


@dataclass(frozen=True, slots=True)
class DocumentSession:
    """What a room's websocket needs: ``/api/collaboration/room/{room_id}?sessionId={session_id}``."""

    file_id: str
    session_id: str
    room_id: str


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """A running kernel.  ``state`` stays ``starting`` until somebody connects, so it proves nothing."""

    id: str
    name: str
    state: str
    connections: int


@dataclass(frozen=True, slots=True)
class Session:
    """What ties a kernel to a document.  ``type`` is ``notebook``, ``console`` or ``file``."""

    id: str
    path: str
    name: str
    type: str
    kernel: KernelInfo


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """A kind of kernel that the server can start."""

    name: str
    display_name: str
    language: str
    argv: tuple[str, ...] = ()
    """The command that starts it."""


@dataclass(frozen=True, slots=True)
class KernelSpecs:
    """All kinds of kernels; ``default`` is the name of the one that the server prefers."""

    default: str
    specs: tuple[KernelSpec, ...]

    def pick(self, name: str | None) -> KernelSpec:
        """The spec of this name (None: the default).  Raises NoKernel, which lists the names."""
        for spec in self.specs:
            if spec.name == (name or self.default):
                return spec
        names = ", ".join(spec.name for spec in self.specs) or "none"
        raise NoKernel(
            f"The server has no kernelspec {name or self.default!r}. It has: {names}.",
            "Name one of these as `kernel`, or leave it out for the default."
            if self.specs
            else "Install a kernel where the server runs: pip install ipykernel",
        )


@dataclass(frozen=True, slots=True)
class NotebookFile:
    """A notebook on the server.  ``size`` is in bytes, ``modified`` an ISO 8601 time."""

    path: str
    size: int
    modified: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The notebooks in a folder and below; ``complete`` is false where a bound cut the search short."""

    notebooks: tuple[NotebookFile, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The server's version, the ISO 8601 time of its start, and its numbers of kernels and connections."""

    version: str
    started: str
    kernels: int
    connections: int


def text_of(model: Mapping[str, Any], key: str) -> str:
    """A string that the server owes us.  Raises ServerError if it is not there."""
    if not isinstance(model, Mapping) or not isinstance(value := model.get(key), str):
        raise ServerError(f"The server's answer holds no {key!r}.", "Is this a Jupyter server?")
    return value


def session_of(model: Mapping[str, Any]) -> Session:
    kernel = model.get("kernel") or {}
    return Session(
        text_of(model, "id"),
        str(model.get("path", "")),
        str(model.get("name", "")),
        str(model.get("type", "")),
        KernelInfo(
            text_of(kernel, "id"),
            str(kernel.get("name", "")),
            str(kernel.get("execution_state", "")),
            int(kernel.get("connections") or 0),
        ),
    )


def kernelspecs_of(model: Mapping[str, Any]) -> KernelSpecs:
    """The answer of ``GET /api/kernelspecs``."""
    specs = tuple(
        KernelSpec(
            name,
            str(item["spec"].get("display_name", name)),
            str(item["spec"].get("language", "")),
            tuple(str(word) for word in item["spec"].get("argv") or ()),
        )
        for name, item in sorted(model.get("kernelspecs", {}).items())
    )
    return KernelSpecs(text_of(model, "default"), specs)


def best_session(sessions: tuple[Session, ...], path: str) -> Session | None:
    """The notebook session of ``path`` with the most connections; of equals the first."""
    ours = [s for s in sessions if s.path == path and s.type == "notebook"]
    return max(ours, key=lambda s: s.kernel.connections, default=None)
