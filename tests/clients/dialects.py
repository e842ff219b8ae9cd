"""The wire formats in which clients speak to a model: OpenAI's chat completions and responses, Anthropic's messages.

Each is read from a request (what it asks of the model) and written as the events of a stream, or as one JSON object
where no stream is asked for.  Only what the clients need is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a request holds: full names of tools, what the model is told beside the talk, the tools' answers so far."""

    tools: tuple[str, ...]
    told: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A call of a tool under the name by which the client knows it; ``id`` ties the answer to it."""

    id: str
    tool: str
    arguments: Mapping[str, Any]


class Dialect(Protocol):
    """One wire format."""

    def read(self, request: Json) -> Asked:
        """What a request asks."""
        ...

    def events(self, said: Call | str) -> Iterator[tuple[str, Json | None]]:
        """The stream that says this: the name of each event ("" for none) and its data (None: the end of all)."""
        ...

    def whole(self, said: Call | str) -> Json:
        """The same as one object."""
        ...


class Completions:
    """``POST /v1/chat/completions``: Goose, opencode."""

    def read(self, request: Json) -> Asked:
        """Tools are functions; answers are messages of the role ``tool``."""
        names = [tool["function"]["name"] for tool in request.get("tools") or []]
        messages = request["messages"]
        told = [text_of(each.get("content")) for each in messages if each["role"] in ("system", "developer")]
        answers = [text_of(each.get("content")) for each in messages if each["role"] == "tool"]
        return Asked(tuple(names), "\n".join(told), tuple(answers))

    def events(self, said: Call | str) -> Iterator[tuple[str, Json | None]]:
        """One chunk with everything, and the end."""
        yield "", self._made(said, "delta")
        yield "", None

    def whole(self, said: Call | str) -> Json:
        """A completion."""
        return self._made(said, "message")

    def _made(self, said: Call | str, key: str) -> Json:
        message: Json = {"role": "assistant", "content": said if isinstance(said, str) else None}
        if isinstance(said, Call):
            function = {"name": said.tool, "arguments": json.dumps(said.arguments)}
            message["tool_calls"] = [{"index": 0, "id": said.id, "type": "function", "function": function}]
        choice = {"index": 0, key: message, "finish_reason": "stop" if isinstance(said, str) else "tool_calls"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        kind = "chat.completion.chunk" if key == "delta" else "chat.completion"
        return {"id": "x", "object": kind, "created": 0, "model": "gpt-4o", "choices": [choice], "usage": usage}


class Responses:
    """``POST /v1/responses``: Codex.  Tools of an MCP server stand in a namespace, which a call names, too."""

    def read(self, request: Json) -> Asked:
        """A tool in a namespace is ``namespace/name`` here; what the server says of itself is the namespace's."""
        names: list[str] = []
        told = [request.get("instructions") or ""]
        for tool in request.get("tools") or []:
            if tool["type"] == "namespace":
                names += [f"{tool['name']}/{each['name']}" for each in tool["tools"]]
                told.append(tool["description"])
            else:
                names.append(tool.get("name", tool["type"]))
        items = request["input"]
        told += [text_of(each["content"]) for each in items if each.get("role") in ("system", "developer")]
        answers = [text_of(each["output"]) for each in items if each["type"] == "function_call_output"]
        return Asked(tuple(names), "\n".join(told), tuple(answers))

    def events(self, said: Call | str) -> Iterator[tuple[str, Json | None]]:
        """The item whole, and the response that holds it."""
        made = self.whole(said)
        yield "response.created", {"type": "response.created", "response": made | {"status": "in_progress"}}
        for index, item in enumerate(made["output"]):
            done = {"type": "response.output_item.done", "output_index": index, "item": item}
            yield "response.output_item.done", done
        yield "response.completed", {"type": "response.completed", "response": made}

    def whole(self, said: Call | str) -> Json:
        """A response."""
        if isinstance(said, str):
            words = {"type": "output_text", "text": said, "annotations": []}
            item: Json = {"type": "message", "role": "assistant", "id": "msg", "content": [words]}
        else:
            space, _, name = said.tool.rpartition("/")
            arguments = json.dumps(said.arguments)
            item = {"type": "function_call", "id": "fc", "call_id": said.id, "name": name, "arguments": arguments}
            item |= {"namespace": space} if space else {}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return {"id": "resp", "object": "response", "status": "completed", "output": [item], "usage": usage}


class Messages:
    """``POST /v1/messages``: Claude Code."""

    def read(self, request: Json) -> Asked:
        """Answers are blocks in messages of the user; the client also tells things in messages of the system."""
        names = [tool["name"] for tool in request.get("tools") or []]
        told = [text_of(request.get("system"))]
        answers: list[str] = []
        for message in request["messages"]:
            if message["role"] == "system":
                told.append(text_of(message["content"]))
            elif isinstance(message["content"], list):
                results = [block for block in message["content"] if block["type"] == "tool_result"]
                answers += [text_of(block.get("content")) for block in results]
        return Asked(tuple(names), "\n".join(told), tuple(answers))

    def events(self, said: Call | str) -> Iterator[tuple[str, Json | None]]:
        """The message is begun, its one block said, and the message ended."""
        made = self.whole(said)
        reason, (block,) = made["stop_reason"], made["content"]
        if isinstance(said, str):
            empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": said}
        else:
            empty = block | {"input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        begun = made | {"content": [], "stop_reason": None}
        for event in (
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": empty},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": made["usage"]},
            {"type": "message_stop"},
        ):
            yield str(event["type"]), event

    def whole(self, said: Call | str) -> Json:
        """A message."""
        if isinstance(said, str):
            block: Json = {"type": "text", "text": said}
        else:
            block = {"type": "tool_use", "id": said.id, "name": said.tool, "input": dict(said.arguments)}
        reason = "end_turn" if isinstance(said, str) else "tool_use"
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": "msg", "type": "message", "role": "assistant", "model": "scripted", "content": [block]}
        return message | {"stop_reason": reason, "stop_sequence": None, "usage": usage}


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some have text."""
    if not content or isinstance(content, str):
        return content or ""
    return "\n".join(part.get("text", "") for part in content)
