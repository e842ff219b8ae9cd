"""Who may speak to an agent that is served over HTTP: Host, Origin and bearer secret, decided before anything else.

The theory.  Whoever may speak to the agent may run code as its user.  A web page can have its visitor's browser send
requests to this machine: by DNS rebinding with the page's own name as Host, else with its address as Origin.  So both
are held to explicit lists; no Origin is on it by default, for MCP clients are no pages, and ``http://localhost:3000``
is a page like any other.  Another user of the machine reaches the port, too: so every request needs a secret of ours,
which is never the Jupyter server's token: that one must not travel further than to its server.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How to serve over HTTP.  ``secrets``: bearer secret by the name of the client that it was given to."""

    host: str
    port: int
    secrets: Mapping[str, str] = field(repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()
    """Further names under which this server is known, with or without a port."""
    origins: tuple[str, ...] = ()
    """Web pages that may speak to it."""
    most_clients: int = 50
    body_bytes: int = 4 * 1024 * 1024
    idle_s: float = 1_800.0
    """After so long without a request, and without a stream that is listened to, a client has left."""

    def __post_init__(self) -> None:
        """``ConfigError`` where serving so would not be safe."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key belong together.")
        if not is_loopback(self.host) and self.tls_cert is None:
            raise ConfigError(
                f"{self.host} can be reached from other machines, and without TLS anybody on the way could read the "
                "secret and run code as you. Nothing is served.",
                "Serve on 127.0.0.1 (and reach it by `ssh -L`), or give --tls-cert and --tls-key.",
            )
        if is_every(self.host) and not self.hosts:
            raise ConfigError(
                f"{self.host} means every interface, so the names that clients may use must be listed. "
                "Nothing is served.",
                "E.g. --allow-host notebooks.example.org; or bind to one address.",
            )

    @property
    def scheme(self) -> str:
        """``https`` where a certificate is given."""
        return "http" if self.tls_cert is None else "https"


def address(text: str) -> tuple[str, int]:
    """``127.0.0.1:8765``, ``localhost:8765`` or ``[::1]:8765`` as host and port; ``ConfigError`` for anything else."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    good = bool(colon and bare and port.isascii() and port.isdigit()) and int(port) <= 65_535
    if not good or (":" in bare and bare == host):
        raise ConfigError(f"--http takes HOST:PORT, not {text[:80]!r}.", "E.g. --http 127.0.0.1:8765")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach an address; a name other than ``localhost`` may be anybody's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_every(host: str) -> bool:
    """Whether an address stands for every interface."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further: an HTTP status, and a sentence."""

    status: int
    text: str


class Gate:
    """Decides about requests by their headers alone."""

    def __init__(self, settings: HttpSettings, port: int) -> None:
        self._secrets = {name: secret.encode() for name, secret in settings.secrets.items()}
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.origins)
        own = ("127.0.0.1", "localhost", "[::1]") if is_loopback(settings.host) else (_in_url(settings.host),)
        hosts = {host.lower() for host in settings.hosts} | {
            f"{host}:{port}".lower() for host in (*own, *settings.hosts)
        }
        if port == (80 if settings.tls_cert is None else 443):
            hosts |= {host.lower() for host in own}
        self._hosts = frozenset(hosts)

    def judge(self, headers: Sequence[tuple[bytes, bytes]]) -> str | Refusal:
        """The name of the client that a request is from; a ``Refusal`` where it must not be answered."""
        hosts, origins, bearers = (
            [value.decode("latin-1") for name, value in headers if name == wanted]
            for wanted in (b"host", b"origin", b"authorization")
        )
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return Refusal(421, "This server is not known under that name.")
        if any(origin.lower() not in self._origins for origin in origins):
            return Refusal(403, "Web pages of that origin may not speak to this server.")
        kind, _, secret = bearers[0].partition(" ") if len(bearers) == 1 else ("", "", "")
        given, name = secret.strip().encode("latin-1"), None
        for client, known in self._secrets.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(given, known):
                name = client
        if kind.lower() != "bearer" or name is None:
            return Refusal(401, "This server wants its own bearer secret (not the Jupyter server's token).")
        return name


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
