"""A model that says what a script says, behind the interfaces that clients know (``dialects``).

The script is a list of steps.  A step is given what the tools have answered since the step before, and says what the
model does next: a call of a tool, or words, which end the turn.  A request without tools, as for a title, is none of
the script's.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from .dialects import Asked, Call, Completions, Dialect, Messages, Responses

DIALECTS: tuple[tuple[str, Dialect], ...] = (
    ("/v1/chat/completions", Completions()),
    ("/v1/responses", Responses()),
    ("/v1/messages", Messages()),
)
SEARCH = "ToolSearch"
"""Claude Code's: it tells the model only the names of tools, and this one fetches the rest."""


@dataclass(frozen=True)
class ToolCall:
    """A call that the model makes; ``name`` without the prefix that a client puts before it."""

    name: str
    arguments: dict[str, Any]


Step = Callable[[str], ToolCall | str]


class ScriptedModel:
    """``port`` on 127.0.0.1; ``results``: what the tools answered, step by step; ``error``: what a step raised.

    ``tools`` and ``told``: the names of the tools, and what the model was told beside the talk, in the last request.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = iter(steps)
        self._lock = threading.Lock()
        self._answered = 0
        self._searching: ToolCall | None = None
        self.port = 0
        self.tools: tuple[str, ...] = ()
        self.told = ""
        self.results: list[str] = []
        self.error: BaseException | None = None

    def answer(self, asked: Asked) -> Call | str:
        """What the model says to a request."""
        with self._lock:
            if not asked.tools:
                return "A notebook"
            self.tools, self.told = asked.tools, asked.told
            news, self._answered = "\n".join(asked.answers[self._answered :]), len(asked.answers)
            try:
                said, self._searching = self._searching or self._next(news), None
                return said if isinstance(said, str) else self._call(said, asked)
            except BaseException as exc:  # shown by the test, which has the client's output beside it
                self.error = exc
                return "I give up."

    def _next(self, news: str) -> ToolCall | str:
        self.results.append(news)
        return next(self._steps, lambda _: "That is all.")(news)

    def _call(self, wanted: ToolCall, asked: Asked) -> Call:
        """The call, or the search for its tool that must come first."""
        number = f"call_{len(asked.answers)}"
        found = [name for name in asked.tools if name.endswith(wanted.name)]
        if not found and SEARCH in asked.tools:
            self._searching = wanted
            names = re.findall(rf"^\S+__{wanted.name}$", asked.told, re.MULTILINE)
            return Call(number, SEARCH, {"query": f"select:{names[0]}", "max_results": 1})
        return Call(number, found[0], wanted.arguments)


@contextmanager
def serving(model: ScriptedModel) -> Iterator[ScriptedModel]:
    """Answer in every dialect until the end of the block, streamed where that is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            dialect = dict(DIALECTS).get(urlsplit(self.path).path)
            if dialect is None:
                return self.send_error(404)
            said = model.answer(dialect.read(request))
            if not request.get("stream"):
                return self._send("application/json", json.dumps(dialect.whole(said)))
            lines = [
                (f"event: {name}\n" if name else "") + f"data: {'[DONE]' if data is None else json.dumps(data)}\n\n"
                for name, data in dialect.events(said)
            ]
            return self._send("text/event-stream", "".join(lines))

        def _send(self, kind: str, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    model.port = server.server_address[1]
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
