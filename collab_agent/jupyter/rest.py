"""One authenticated request to one Jupyter server, and what its failure means.

The token goes into the ``Authorization`` header of requests to this one base URL and nowhere else: not into a
URL, which the server logs in clear on 404 and 500; not along a redirect, for none is followed; not into an
error, from which it is scrubbed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urljoin, urlsplit

import anyio

from collab_agent.config import Server
from collab_agent.errors import ConfigError, ServerError, ServerRefused, Unauthorized, Unreachable, sole_cause
from collab_agent.jupyter import hub
from collab_agent.jupyter.address import base_url, is_loopback
from collab_agent.tls import context_for, untrusted

if TYPE_CHECKING:
    import httpx2

Method = Literal["GET", "PUT", "POST", "DELETE", "PATCH"]
T = TypeVar("T", dict[str, Any], list[Any])
_MAX_SAID = 300
_DOCTOR = "Run: collab-agent doctor"


class Rest:
    """The connection to ``server``.  Close it with ``aclose``; it opens with the first request."""

    def __init__(self, server: Server, *, timeout_s: float) -> None:
        if not all(33 <= ord(c) < 127 for c in server.token):
            raise ConfigError("The token holds a space or a character outside ASCII.", "Copy the token anew.")
        self.server = server
        self.url = base_url(server.url)
        self.timeout_s = timeout_s
        self._client: httpx2.AsyncClient | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates, for websockets too; empty for a server without a token."""
        return {"Authorization": f"token {self.server.token}"} if self.server.token else {}

    async def request(
        self,
        method: Method,
        path: str,
        *,
        json_body: Any = None,
        query: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
    ) -> httpx2.Response:
        """The answer to a request for ``path``, quoted and relative to the base URL.

        An error status listed in ``accept`` is the caller's to judge.  Every other one raises: Unauthorized (401,
        403, or sent to a login page), ServerRefused (the rest, redirects included); no answer at all raises
        Unreachable, and a JupyterHub's that the server is not running ServerStopped.
        """
        import httpx2

        try:
            response = await self._connected().request(method, self.url + path, json=json_body, params=query)
        except httpx2.TimeoutException:
            raise Unreachable(
                f"{self.url} did not answer {method} /{path} within {self.timeout_s:g} s.", _DOCTOR
            ) from None
        except httpx2.HTTPError as error:
            raise untrusted(self.server, error) or Unreachable(
                f"Nothing answers at {self.url} ({type(error).__name__}).",
                f"Start the Jupyter server, or correct its address. {_DOCTOR}",
            ) from None
        if response.is_success or response.status_code in accept:
            return response
        raise self.refusal(method, path, response)

    def object(self, response: httpx2.Response) -> dict[str, Any]:
        """The JSON object of a response.  Raises ServerRefused if it is anything else, as of a login page."""
        return self._parsed(response, dict)

    def array(self, response: httpx2.Response) -> list[dict[str, Any]]:
        """The JSON objects of a response.  Raises ServerRefused if it is anything else."""
        items = self._parsed(response, list)
        return [item for item in items if isinstance(item, dict)]

    def _parsed(self, response: httpx2.Response, kind: type[T]) -> T:
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, kind):
            raise ServerRefused(
                f"{self.url} answers, but not as a Jupyter server does.", f"Check the address. {_DOCTOR}"
            )
        return body

    def refusal(self, method: Method, path: str, response: httpx2.Response) -> ServerError:
        """The error that a response stands for."""
        status = response.status_code
        if of_hub := hub.refusal(self.url, f"{method} /{path}", status, response.headers, bool(self.server.token)):
            return of_hub
        if response.is_redirect:
            target = urlsplit(urljoin(self.url + path, response.headers.get("location", "")))
            if "login" not in target.path:
                return ServerRefused(
                    f"{self.url} sends {method} /{path} on to {target.scheme}://{target.netloc}{target.path}; "
                    "redirects are not followed, so that the token stays with its server.",
                    "If that is the server's true address, set JUPYTER_URL (or --url) to it.",
                )
        if response.is_redirect or status in (401, 403):
            state = "does not accept the token" if self.server.token else "wants a token and none is configured"
            return Unauthorized(
                f"{self.url} {state} ({status} to {method} /{path}).",
                f"The user sets JUPYTER_TOKEN or --token-file and starts collab-agent anew. {_DOCTOR}",
            )
        said = self.said(response)
        return ServerRefused(
            f"{self.url} answered {method} /{path} with {status}{f': {said}' if said else ''}.",
            "See the server's log." if status >= 500 else _DOCTOR,
        )

    def said(self, response: httpx2.Response) -> str:
        """The server's own words about an error, quoted, bounded, without control characters or the token."""
        try:
            body = json.loads(response.content)
            text = str(body.get("message", "")) if isinstance(body, dict) else ""
        except (ValueError, RecursionError):
            text = "" if "<html" in response.text[:500].lower() else response.text
        if self.server.token:
            text = text.replace(self.server.token, "…")
        text = "".join(c if c.isprintable() else " " for c in text[: _MAX_SAID * 2]).strip()
        return repr(text[:_MAX_SAID]) if text else ""

    def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2

            self._client = httpx2.AsyncClient(
                headers=self.headers,
                follow_redirects=False,
                verify=context_for(self.server) or True,
                timeout=httpx2.Timeout(self.timeout_s, connect=min(self.timeout_s, 5.0)),
                trust_env=not is_loopback(self.url),  # a proxy has no business between us and this machine
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class PatientRest(Rest):
    """As ``rest``, for requests that may take ``timeout_s``: as long as the server answers others meanwhile.

    Where it does not, ``Unreachable`` comes as soon as from ``rest``.
    """

    def __init__(self, rest: Rest, *, timeout_s: float) -> None:
        super().__init__(rest.server, timeout_s=max(timeout_s, rest.timeout_s))
        self._quick = rest

    async def request(self, method: Method, path: str, **options: Any) -> httpx2.Response:
        """See ``Rest``."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._while_alive)
                response = await super().request(method, path, **options)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None
        return response

    async def _while_alive(self) -> None:
        """Raise ``Unreachable`` when the server answers nothing at all."""
        half = self._quick.timeout_s / 2
        while True:
            await anyio.sleep(half)
            with anyio.move_on_after(half) as scope:
                await self._quick.request("GET", "api")
            if scope.cancelled_caught:
                raise Unreachable(f"{self.url} has stopped answering.", _DOCTOR)
