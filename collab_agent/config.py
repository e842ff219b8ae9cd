"""Frozen values that say who we are, which server we join, and how much we say.

Nothing here reads the environment: ``cli.py`` does, and builds a ``Settings``.
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Server:
    """A Jupyter server: its base URL (with a trailing slash) and its token, which no repr ever shows."""

    url: str
    token: str = field(repr=False)
    root_dir: str | None = None
    """The server's root folder on this machine, where it is known to be on this machine."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How a peer appears on the page.

    ``username`` must be unique in the room: JupyterLab's panel hides a peer that has the human's username.
    """

    name: str
    username: str
    color: str
    initials: str

    @classmethod
    def named(cls, name: str, username: str | None = None) -> Identity:
        """An identity whose colour and initials follow from ``name`` alone, so that they are stable."""
        clean = " ".join(name.split())[:40] or "Agent"
        return cls(clean, username or f"collab-agent-{_slug(clean)}", color_of(clean), initials_of(clean))


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower()).strip("-") or "agent"


def initials_of(name: str) -> str:
    """One or two capitals for the round badge in JupyterLab's collaborators panel."""
    words = [word for word in name.replace("-", " ").replace("_", " ").split() if word[0].isalnum()]
    if not words:
        return "A"
    return (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()


def color_of(name: str) -> str:
    """A stable ``#rrggbb`` for a name, on which JupyterLab's white initials reach a contrast of 4.5 (WCAG AA)."""
    hue = hashlib.sha256(name.encode()).digest()[0] / 256
    lightness = 0.45
    while True:
        rgb = colorsys.hls_to_rgb(hue, lightness, 0.65)
        if contrast_with_white(rgb) >= 4.5:
            return "#" + "".join(f"{round(channel * 255):02x}" for channel in rgb)
        lightness -= 0.01


def contrast_with_white(rgb: tuple[float, float, float]) -> float:
    """WCAG 2 contrast ratio (1 to 21) of an sRGB colour, channels 0 to 1, with white."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on time and size.  Seconds, characters, pixels and bytes as named."""

    result_chars: int = 8_000
    images: int = 4
    image_pixels: int = 1_024
    image_bytes: int = 150_000
    join_s: float = 30.0
    echo_s: float = 0.4
    """How long an own update may stay without its echo before a sync step 1 asks for it."""
    ack_s: float = 5.0
    """How long an edit may stay unconfirmed before the call says so."""
    save_s: float = 10.0
    typing_s: float = 10.0
    """For how long after a keystroke a cell counts as being typed in."""
    highlight_s: float = 2.0
    flush_s: float = 0.06
    """How often a run's outputs are written into the document (kernel facts: 50 to 100 ms)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a process needs to know.  ``server`` None: discover one when the first notebook is opened."""

    server: Server | None = None
    name: str | None = None
    """The agent's display name; None: the MCP client's."""
    embedded: bool = True
    """Whether an embedded JupyterLab may be started where no server is found."""
    limits: Limits = Limits()
