"""What a JupyterHub in front of a server means for its address and for its refusals.  Pure.

A user's server is at ``…/user/NAME/`` or ``…/user/NAME/SERVER/``, the Hub itself at ``…/hub/``; where a server is not
running, its address leads to the Hub, by a redirect to ``…/hub/user/NAME/…`` or with the status 424.  Every answer of
either names itself in a header (JupyterHub 6.1, ``jupyterhub/handlers/base.py`` and ``singleuser/extension.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from collab_agent.errors import ServerError, ServerRefused, ServerStopped, Unauthorized

HEADER = "x-jupyterhub-version"
_PLACE = re.compile(r"(?P<base>.*?/)user/(?P<user>[^/]+)/(?:(?P<server>[^/]+)/)?")


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Whose server an address is, at which Hub.  ``hub``: the Hub's own address, with a trailing slash."""

    hub: str
    user: str
    server: str = ""
    """A named server's name; empty for the user's default one."""

    @property
    def scope(self) -> str:
        """What a token must be allowed, at least, to use this server."""
        return f"access:servers!server={self.user}/{self.server}"

    @property
    def spawn_page(self) -> str:
        """Where a human starts it."""
        return f"{self.hub}spawn/{self.user}" + (f"/{self.server}" if self.server else "")


def place_of(base_url: str) -> HubPlace | None:
    """Whose server a base URL leads to; None where its path is no user's."""
    parts = urlsplit(base_url)
    found = _PLACE.fullmatch(parts.path)
    if found is None:
        return None
    hub = f"{parts.scheme}://{parts.netloc}{found['base']}hub/"
    return HubPlace(hub, unquote(found["user"]), unquote(found["server"] or ""))


def refusal(base_url: str, what: str, status: int, headers: Mapping[str, str], token: bool) -> ServerError | None:
    """What a JupyterHub's refusal means; None where no Hub says so.

    ``what``: the request, as ``GET /api``; ``headers``: with lower-case names; ``token``: whether one was sent.
    """
    target = urlsplit(headers.get("location", "")).path if 300 <= status < 400 else ""
    place = place_of(base_url)
    if place is None:
        return _no_server(base_url, what, status) if HEADER in headers else None
    if status == 424 or "/hub/user/" in target:
        return ServerStopped(
            f"The server of {place.user!r} at the JupyterHub is not running ({status} to {what} at {base_url}).",
            f"Ask the human to start it at {place.spawn_page}; then call setup_notebook.",
        )
    if HEADER in headers and status in (401, 403):
        said = "does not let this token in" if token else "wants a token and none is configured"
        return Unauthorized(
            f"The JupyterHub {said} to {base_url}, the server of {place.user!r} ({status} to {what}).",
            f"A token for it needs the scope {place.scope} and is made by {place.user!r} at {place.hub}token. The user "
            "sets JUPYTER_URL to their own server's address there and JUPYTER_TOKEN (or --token-file) to such a token, "
            "and starts collab-agent anew.",
        )
    return None


def _no_server(base_url: str, what: str, status: int) -> ServerRefused:
    root = re.sub(r"hub/(.*/)?$", "", base_url)
    return ServerRefused(
        f"{base_url} is a JupyterHub, not a user's server at it ({status} to {what}).",
        f"The user sets JUPYTER_URL (or --url) to their own server's address, {root}user/NAME/, and JUPYTER_TOKEN to a "
        f"token that they make at {root}hub/token, and starts collab-agent anew.",
    )
