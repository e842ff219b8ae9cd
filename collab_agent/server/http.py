"""Serving MCP over streamable HTTP: many clients in one process, each with an agent, and a presence, of its own.

A session of the protocol is one client: it begins with ``initialize`` and ends with the client's DELETE, with half an
hour of silence, or with the process.  Each has a task that holds all that is its own, the agent, the MCP server and the
transport; however it ends, the agent leaves its notebooks.  All clients work on the same Jupyter server.

Only the handshake era is spoken: the stateless one has no sessions, and so nobody whose presence could end.  Clients
that try it first fall back.

Every request passes the ``Gate`` first, whatever its path and its method.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import anyio
import uvicorn
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.runner import serve_loop
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ..agent import FindServer, Principal, agent
from ..audit import AuditLog
from ..config import Server, Settings
from ..ending import Ending, in_time
from ..errors import ConfigError
from .app import build_server
from .gate import Gate, HttpSettings, Refusal
from .secret import refuse_shared

PATH = "/mcp"
CLIENT = "collab_agent.client"
"""Where the gate leaves the client's name in a request's scope."""
MOST_CONNECTIONS = 1_000
END_S = 1

log = logging.getLogger(__name__)


async def serve_http(
    settings: Settings,
    find_server: FindServer,
    http: HttpSettings,
    audit: AuditLog | None = None,
    ready: Callable[[str], None] = lambda url: print(f"collab-agent serves MCP at {url}", file=sys.stderr, flush=True),
) -> None:
    """Serve until a signal comes; then leave every notebook, in time.  ``ready`` gets the address once it answers.

    ``ConfigError``: the port is taken, the address is none of this machine's, or the certificate cannot be used.
    """
    _check_certificate(http)
    async with in_time() as ending:
        listener = _listen(http)
        port = int(listener.getsockname()[1])
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            stack.enter_context(listener)
            shared = _SharedServer(find_server, stack, http.secrets)
            async with anyio.create_task_group() as clients:
                sessions = Sessions(settings, shared.find, http, clients, audit, ending)
                web = _Web(_configured(Door(Gate(http, port), http, sessions), http))
                tasks.start_soon(web.serve, [listener])
                host = f"[{http.host}]" if ":" in http.host else http.host
                ready(f"{http.scheme}://{host}:{port}{PATH}")
                with ending.scope:
                    await anyio.sleep_forever()
                sessions.close()
                clients.cancel_scope.cancel()
            web.should_exit = True


class _SharedServer:
    """The Jupyter server of all clients: looked for at the first need of each, so that it may be started anew
    meanwhile; one of our own is started once, and ends with the process."""

    def __init__(self, find_server: FindServer, stack: AsyncExitStack, secrets: Mapping[str, str]) -> None:
        self._find = find_server
        self._stack = stack
        self._secrets = secrets
        self._lock = anyio.Lock()

    async def find(self, _stack: AsyncExitStack) -> Server:
        """See ``FindServer``; ``ConfigError`` where its token is one of our secrets."""
        async with self._lock:
            found = await self._find(self._stack)
        refuse_shared(found.token, self._secrets)
        return found


class Door:
    """The ASGI application: the gate, then the path, then the size of what is sent."""

    def __init__(self, gate: Gate, http: HttpSettings, sessions: Sessions) -> None:
        self._gate = gate
        self._inside = RequestBodyLimitMiddleware(sessions.handle, http.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        verdict = self._gate.judge(scope["headers"])
        if isinstance(verdict, Refusal):
            headers = {"WWW-Authenticate": "Bearer"} if verdict.status == 401 else None
            await PlainTextResponse(verdict.text, verdict.status, headers)(scope, receive, send)
        elif scope["path"] != PATH:
            await PlainTextResponse(f"MCP is served at {PATH}.", 404)(scope, receive, send)
        else:
            await self._inside({**scope, CLIENT: verdict}, receive, send)


@dataclass(frozen=True, slots=True)
class _Session:
    """One client.  ``owner``: the name that its secret was given to."""

    id: str
    owner: str
    transport: StreamableHTTPServerTransport


class Sessions:
    """The clients that are here; ``tasks`` holds a task of each."""

    def __init__(
        self,
        settings: Settings,
        find_server: FindServer,
        http: HttpSettings,
        tasks: TaskGroup,
        audit: AuditLog | None,
        ending: Ending,
    ) -> None:
        self._settings = settings
        self._find_server = find_server
        self._http = http
        self._tasks = tasks
        self._audit = audit
        self._ending = ending
        self._here: dict[str, _Session] = {}
        self._closed = False

    def close(self) -> None:
        """Take no further client."""
        self._closed = True

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that has passed the gate."""
        headers = Headers(scope=scope)
        given, version = headers.get("mcp-session-id"), headers.get("mcp-protocol-version")
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            spoken = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
            await _error(400, f"Here is spoken: {spoken}; begin with initialize.")(scope, receive, send)
        elif given is None:
            await self._begin(scope, receive, send)
        elif (session := self._here.get(given)) is None or session.owner != scope[CLIENT]:
            await _error(404, "There is no such session: begin with initialize.")(scope, receive, send)
        else:
            await session.transport.handle_request(scope, receive, send)

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._closed or len(self._here) >= self._http.most_clients:
            await _error(503, f"No more than {self._http.most_clients} clients at once.")(scope, receive, send)
            return
        sid = uuid4().hex
        transport = StreamableHTTPServerTransport(sid, idle_timeout=self._http.idle_s)
        session = self._here[sid] = _Session(sid, scope[CLIENT], transport)
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._tasks.start(self._live, session)
            await transport.handle_request(scope, receive, watched)
        finally:
            if status >= 400:  # only an ``initialize`` that was answered makes a session
                await self._end(session)

    async def _live(self, session: _Session, *, task_status: TaskStatus[None]) -> None:
        """All of one client's life.  Its failure ends nobody else's."""
        known = {"session": session.id[:8], "owner": session.owner}
        principal = Principal(known, tuple(self._http.secrets.values()))
        try:
            async with (
                self._ending.answering_for(agent(self._settings, self._find_server, self._audit, principal)) as served,
                session.transport.connect() as (read, write),
            ):
                task_status.started()
                server = build_server(served)
                with session.transport.idle_scope or anyio.CancelScope():
                    await serve_loop(
                        server,
                        read,
                        write,
                        lifespan_state={},
                        session_id=session.id,
                        init_options=server.create_initialization_options(),
                    )
        except Exception:
            log.exception("a client's session failed")
        finally:
            await self._end(session)

    async def _end(self, session: _Session) -> None:
        """Forget a session, and end it; twice is harmless."""
        self._here.pop(session.id, None)
        if not session.transport.is_terminated:
            with anyio.CancelScope(shield=True):
                await session.transport.terminate()


def _error(status: int, text: str) -> Response:
    body = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=INVALID_REQUEST, message=text))
    return Response(body.model_dump_json(by_alias=True), status, media_type="application/json")


# -- sockets


def _listen(http: HttpSettings) -> socket.socket:
    try:
        return socket.create_server(
            (http.host, http.port), family=socket.AF_INET6 if ":" in http.host else socket.AF_INET, backlog=128
        )
    except OSError as exc:
        taken = exc.errno == errno.EADDRINUSE
        raise ConfigError(
            f"{http.host}:{http.port} cannot be served on: {'it is taken' if taken else exc.strerror or exc}.",
            "Take another port." if taken else "Take an address of this machine.",
        ) from None


def _check_certificate(http: HttpSettings) -> None:
    if http.tls_cert is None or http.tls_key is None:
        return
    try:
        # Without a password: nobody is there to be asked for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(http.tls_cert, http.tls_key, password="")
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"The certificate or its key cannot be used ({type(exc).__name__}).",
            "Check --tls-cert (PEM, with the chain) and --tls-key (PEM, without a password).",
        ) from None


def _configured(app: Any, http: HttpSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=END_S,
        ssl_certfile=http.tls_cert,
        ssl_keyfile=http.tls_key,
    )


class _Web(uvicorn.Server):
    """Leaves the signals to us: our presence goes from the pages before the sockets do."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
