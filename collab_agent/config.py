"""Frozen values that say who we are, which server we join, and how much we say.

Nothing here reads the environment: ``cli.py`` does, and builds a ``Settings``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from .policy import Policy

_LABEL = re.compile(r"(.*?)((?: \([^()]*\))?)", re.DOTALL)
"""A name, and what it says of its bearer in brackets."""


@dataclass(frozen=True, slots=True)
class Server:
    """A Jupyter server: its base URL (with a trailing slash) and its token, which no repr ever shows."""

    url: str
    token: str = field(repr=False)
    root_dir: str | None = None
    """The server's root folder on this machine, where it is known to be on this machine."""
    ca_file: str | None = None
    """The authority, a PEM file, that must have signed its certificate; None: one of the system's."""
    runtime_dir: Path | None = None
    """Where the server, if it is on this machine, keeps its kernels' connection files; None: do not look for them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How a peer appears on the page.

    ``username`` must be unique in the room: JupyterLab's panel hides a peer that has the human's username.
    """

    name: str
    username: str
    color: str
    """A CSS colour, by preference one of the page's own, which follow the human's theme."""
    initials: str
    since: float = 0.0
    """Since when the peer is there, in seconds since 1970: of two agents with one name the later one gets a number."""

    @property
    def badge_color(self) -> str:
        """For the collaborators panel, which writes initials in the text colour of the theme.

        JupyterLab's own colours reach a contrast (WCAG) of only 3.8 there in the dark theme; moved a little towards
        the page's background, away from the text, all of them reach 5.
        """
        return f"color-mix(in srgb, {self.color} 80%, var(--jp-layout-color0))"

    @property
    def caret_color(self) -> str:
        """For caret, selection and name pill, which writes initials in the *inverse* of the text colour.

        The same hue, light where the panel's is dark: initials reach a contrast of 4.6, the caret 4.2, and code can
        still be read on the selection, which is drawn in half of this colour.
        """
        return f"oklch(from {self.color} calc(0.9 - 0.46 * l) c h)"

    @classmethod
    def named(cls, name: str, username: str | None = None) -> Identity:
        """An identity whose colour and initials follow from ``name`` alone, so that they are stable."""
        clean = " ".join(name.split())[:40].rstrip() or "Agent"
        return cls(clean, username or f"collab-agent-{_slug(clean)}", color_of(clean), initials_of(clean))

    def numbered(self, number: int) -> Identity:
        """The same peer in another colour, called ``Goose 2`` instead of ``Goose``; a label in brackets stays last."""
        parts = _LABEL.fullmatch(self.name)
        bare, label = parts.groups() if parts is not None else (self.name, "")
        name = f"{bare[: 39 - len(str(number))].rstrip()} {number}"
        return replace(self, name=name + label, color=color_of(bare, number - 1), initials=initials_of(name))


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower()).strip("-") or "agent"


def initials_of(name: str) -> str:
    """One or two capitals for the round badge in JupyterLab's collaborators panel."""
    words = [word for word in name.replace("-", " ").replace("_", " ").split() if word[0].isalnum()]
    if not words:
        return "A"
    return (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()


def color_of(name: str, further: int = 0) -> str:
    """A stable colour for a name: one of the seven that JupyterLab gives to people, which follow the page's theme.

    ``further``: so many colours further on, for another one of that name.
    """
    return f"var(--jp-collaborator-color{(hashlib.sha256(name.encode()).digest()[0] + further) % 7 + 1})"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on time and size.  Seconds, characters, pixels and bytes as named."""

    result_chars: int = 8_000
    images: int = 4
    image_pixels: int = 1_024
    image_bytes: int = 150_000
    rest_s: float = 8.0
    """How long the server may be silent to a request."""
    patient_s: float = 60.0
    """How long it may take over one that waits for a kernel, or reads a whole notebook, while it answers others."""
    open_s: float = 8.0
    """How long a websocket may take to open."""
    ping_s: float = 5.0
    """After so long without a byte on a websocket the other side is asked for a sign of life."""
    pong_s: float = 8.0
    """How long that may take; then the connection is given up."""
    join_s: float = 8.0
    """How long a room that is being joined may hand over nothing."""
    join_most_s: float = 120.0
    """How long joining may take while something comes: a large notebook on a slow line."""
    echo_s: float = 0.4
    """How long an own update may stay without its echo before a sync step 1 asks for it."""
    ack_s: float = 5.0
    """How long an edit, or any other question to the room, may stay unanswered: then it is joined afresh."""
    probe_s: float = 4.0
    """After so long without an update the room is asked whether there is any: it may have stopped passing them on."""
    mute_s: float = 2.0
    """How long after such an answer the update may still come by itself, before the room counts as mute."""
    save_s: float = 9.0
    kernel_open_s: float = 8.0
    """How long a call waits for a kernel's channels: they open when the kernel has first answered."""
    kernel_quiet_s: float = 4.0
    """After so long without a message a kernel that has a run of ours is asked for a sign of life."""
    kernel_alive_s: float = 4.0
    """How long that may take before callers are told that the kernel does not answer."""
    kernel_watch_s: float = 1.0
    """How often the server is asked, while a run is in progress, whether the notebook still has this kernel."""
    typing_s: float = 10.0
    """For how long after a keystroke a cell counts as being typed in."""
    line_quiet_s: float = 3.0
    """For how long after a keystroke nobody else edits that line."""
    line_wait_s: float = 2.0
    """How long an edit waits for a line to fall quiet before it says who is typing there."""
    typed_out_s: float = 2.0
    """After so long without a keystroke somebody has finished typing."""
    undo_calls: int = 100
    """How many of an agent's own calls can be undone."""
    highlight_s: float = 2.0
    flush_s: float = 0.06
    """How often a run's outputs are written into the document (kernel facts: 50 to 100 ms)."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a process needs to know.  ``server`` None: discover one when the first notebook is opened."""

    server: Server | None = None
    name: str | None = None
    """The agent's display name; None: the MCP client's."""
    embedded: bool = True
    """Whether an embedded JupyterLab may be started where no server is found."""
    trust_outputs: bool = True
    """Whether pages shall trust the outputs of cells that the agent inserts: HTML, scripts and widgets live at once."""
    mark_cells: bool = False
    """Whether cells that the agent makes or changes say so in their metadata."""
    interrupt_on_exit: bool = False
    """Whether the agent's own runs are interrupted when it ends; else they go on in the kernel, as the human's do."""
    ca_file: str | None = None
    """See ``Server``; for whichever server is found."""
    policy: Policy = field(default_factory=Policy)
    """What the agent is allowed to do."""
    limits: Limits = DEFAULT_LIMITS
