"""Addresses: base URLs, notebook paths, and how both are written into a request.  Pure.

A path comes from a model, so it is checked here, before any server sees it: the server opens nothing outside
its root, but its collaboration route has indexed ``/etc/passwd`` (fault facts, section 3).
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from collab_agent.errors import ConfigError, TargetError

MAX_PATH_CHARS = 1_000
_PATH_HINT = "Give a path relative to the server's root folder, with forward slashes, like 'analysis/demo.ipynb'."
_PAGE = re.compile(r"/(lab|tree|notebooks)(/.*)?$")
"""The part of an address that names a page of JupyterLab or Notebook, not the server."""
_OF_USER = re.compile(r"(.*?)(?:/hub)?(/user/[^/]+)(.*)")
"""At a JupyterHub: what is before a user's server, its address, and what is behind; the Hub's own pages lead there."""


def normalise_path(notebook_path: str) -> str:
    """A notebook's path relative to the server's root, as the contents API writes it; ``.ipynb`` is added.

    Percent signs are kept: ``100%.ipynb`` is a good name.  Raises TargetError for a path that is empty,
    absolute, a URL or a folder, for ``..`` (percent-encoded, too), and for backslashes and control characters.
    """
    path = notebook_path.strip()
    if reason := _why_not(path):
        raise TargetError(f"{_shown(path)} is no notebook path: {reason}.", _PATH_HINT)
    path = "/".join(part for part in path.split("/") if part not in ("", "."))
    return path if path.endswith(".ipynb") else path + ".ipynb"


def _why_not(path: str) -> str:
    """Why this cannot be a notebook's path; empty if it can."""
    if not path:
        return "it is empty"
    if len(path) > MAX_PATH_CHARS:
        return f"it is longer than {MAX_PATH_CHARS} characters"
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in path):
        return "it holds a control character"
    if "\\" in path:
        return "it holds a backslash"
    if path.startswith(("/", "~/")) or re.match(r"[A-Za-z]:/", path):
        return "it is absolute"
    if "://" in path:
        return "it is a URL"
    if path.endswith(("/", "/.")) or path.rpartition("/")[2] in (".", "..", ".ipynb"):
        return "it names a folder"
    decoded = _decoded(path)
    if ".." in decoded.split("/"):
        return "it leaves the root folder"
    if decoded != path and (decoded.startswith("/") or "\\" in decoded or "\0" in decoded):
        return "it is percent-encoded"
    return ""


def _decoded(path: str) -> str:
    """``path`` with every layer of percent-encoding taken off."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


def _shown(path: str) -> str:
    """A path as error texts show it: escaped and bounded, for it is not ours."""
    return repr(path if len(path) <= 120 else path[:120] + "…")


def quote_path(path: str) -> str:
    """``path`` as it stands in a URL: ``#``, ``?``, ``%``, spaces and all that is not ASCII are encoded."""
    return quote(path, safe="/")


def base_url(url: str) -> str:
    """The server's base URL, with a trailing slash, from what users paste.

    A page's address (``…/lab/tree/x.ipynb``) is cut back to the server's, also where a JupyterHub's user is called
    ``lab``.  Query, fragment and user name are dropped, since they may hold a secret.  An address that means "every
    interface" becomes loopback.  Raises ConfigError if it is no http(s) address; the message does not repeat it, for
    the same reason.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError(
            "The Jupyter server's address is not an http:// or https:// URL.",
            "Give it like http://127.0.0.1:8888/",
        )
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    netloc = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    of_user = _OF_USER.fullmatch(parts.path)
    server, page = (of_user[1] + of_user[2], of_user[3]) if of_user else ("", parts.path)
    path: str = server + _PAGE.sub("", page).rstrip("/") + "/"
    return urlunsplit((parts.scheme, netloc, path, "", ""))


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, so that no proxy may come between."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def same_server(one: str, other: str) -> bool:
    """Whether two base URLs lead to the same server; the names of the loopback interface are one."""
    return _canonical(one) == _canonical(other)


def _canonical(url: str) -> tuple[str, str, int, str]:
    parts = urlsplit(url)
    host = "localhost" if is_loopback(url) else parts.hostname or ""
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/")
