"""A model that says what a script says, behind the interface that clients know: OpenAI's chat completions.

The script is a list of steps.  A step is given what the tools have answered since the step before, and says what the
model does next: a call of a tool, or words, which end the turn.  A request without tools, as for a title, is none of
the script's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class ToolCall:
    """A call that the model makes; ``name`` without the prefix that a client puts before it."""

    name: str
    arguments: dict[str, Any]


Step = Callable[[str], ToolCall | str]


class ScriptedModel:
    """``port`` on 127.0.0.1; ``results``: what the tools answered, step by step; ``error``: what a step raised."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = iter(steps)
        self._lock = threading.Lock()
        self._answered = 0
        self.port = 0
        self.tools: list[str] = []
        self.system = ""
        self.results: list[str] = []
        self.error: BaseException | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request's answer, as a message of the assistant."""
        with self._lock:
            names = [tool["function"]["name"] for tool in request.get("tools") or []]
            if not names:
                return {"role": "assistant", "content": "A notebook"}
            self.tools = names
            self.system = "\n".join(_text(m) for m in request["messages"] if m["role"] in ("system", "developer"))
            answers = [_text(message) for message in request["messages"] if message["role"] == "tool"]
            news, self._answered = "\n".join(answers[self._answered :]), len(answers)
            self.results.append(news)
            try:
                said = next(self._steps, lambda _: "That is all.")(news)
            except BaseException as exc:  # shown by the test, which has the client's output beside it
                self.error = exc
                said = "I give up."
            if isinstance(said, str):
                return {"role": "assistant", "content": said}
            name = next(each for each in names if each.endswith(said.name))
            function = {"name": name, "arguments": json.dumps(said.arguments)}
            call = {"id": f"call_{len(self.results)}", "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


@contextmanager
def serving(model: ScriptedModel) -> Iterator[ScriptedModel]:
    """Answer ``POST /v1/chat/completions`` until the end of the block, streamed where that is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            message = model.answer(request)
            reason = "tool_calls" if message.get("tool_calls") else "stop"
            streamed = bool(request.get("stream"))
            for index, call in enumerate(message.get("tool_calls", [])):
                call.update({"index": index} if streamed else {})
            choice = {"index": 0, "delta" if streamed else "message": message, "finish_reason": reason}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            made = {"id": "x", "created": 0, "model": "gpt-4o", "choices": [choice], "usage": usage}
            made["object"] = "chat.completion.chunk" if streamed else "chat.completion"
            data = json.dumps(made)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
            self.end_headers()
            self.wfile.write((f"data: {data}\n\ndata: [DONE]\n\n" if streamed else data).encode())

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
