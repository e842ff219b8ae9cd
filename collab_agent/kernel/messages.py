"""Requests as frames, built by ``jupyter_client``'s ``Session``, so that headers follow its version of the protocol.

``jupyter_client`` takes a quarter of a second to import: it is imported in a thread, when the first client connects.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from .wire import Channel, Message, encode

if TYPE_CHECKING:
    from jupyter_client.session import Session


class MessageFactory:
    """Makes the requests of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    async def create(cls, username: str) -> MessageFactory:
        """A factory with a session id of its own; ``username`` is what others see in the headers."""
        return cls(await run_sync(_make_session, username))

    @property
    def username(self) -> str:
        """What others see in the headers."""
        return str(self._session.username)

    @username.setter
    def username(self, name: str) -> None:
        self._session.username = name

    @property
    def session_id(self) -> str:
        return str(self._session.session)

    def request(
        self,
        channel: Channel,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        subshell_id: str | None = None,
    ) -> tuple[str, bytes]:
        """The id and the frame of a new request."""
        header = self._session.msg_header(msg_type)
        # Session counts ids up from 0, and the server makes messages in the same session's name.
        msg_id = header["msg_id"] = uuid.uuid4().hex
        if subshell_id is not None:
            header["subshell_id"] = subshell_id
        message = self._session.msg(msg_type, dict(content), None, header, dict(metadata or {}))
        return msg_id, encode(message, channel)

    def execute_request(
        self,
        code: str,
        *,
        cell_id: str | None,
        silent: bool,
        store_history: bool,
        user_expressions: Mapping[str, str] | None,
        allow_stdin: bool,
        subshell_id: str | None,
    ) -> tuple[str, bytes]:
        """An ``execute_request``; ``stop_on_error`` is false, as our error must not drop the human's queued cells."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": dict(user_expressions or {}),
            "allow_stdin": allow_stdin,
            "stop_on_error": False,
        }
        metadata = None if cell_id is None else {"cellId": cell_id}
        return self.request("shell", "execute_request", content, metadata=metadata, subshell_id=subshell_id)

    def input_reply(self, request: Message, value: str) -> bytes:
        """The answer to an ``input_request``."""
        content = {"value": value, "status": "ok"}
        parent = {"header": dict(request.header)}
        return encode(self._session.msg("input_reply", content, parent), "stdin")


def _make_session(username: str) -> Session:
    from jupyter_client.session import Session

    # Without a key it would warn that messages are unsigned; the server signs them with the kernel's own.
    return Session(session=uuid.uuid4().hex, username=username, key=b"signed by the server")
