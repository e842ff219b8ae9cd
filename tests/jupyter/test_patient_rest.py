"""A request that may take long: as long as the server answers others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from collab_agent.config import Server
from collab_agent.errors import Unreachable
from collab_agent.jupyter.rest import PatientRest, Rest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
QUICK_S, PATIENT_S = 0.4, 30.0
LIVES_S = 6.0
"""Half of it is a long time for an answer, also on a busy machine."""


class Slow:
    """A server that answers ``api/slow`` when it was asked ``probes`` times whether it lives; None: never anything."""

    def __init__(self, probes: int | None) -> None:
        self._left = probes
        self._due = anyio.Event()

    async def answer(self, stream: SocketStream) -> None:
        """One request."""
        async with stream:
            request = await stream.receive()
            if self._left is None:
                await anyio.sleep_forever()
            elif b"/api/slow" in request:
                await self._due.wait()
            else:
                self._left -= 1
                if self._left <= 0:
                    self._due.set()
            await stream.send(OK)


@asynccontextmanager
async def patient_with(server: Slow, quick_s: float = QUICK_S) -> AsyncIterator[PatientRest]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.answer)
        url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        quick = Rest(Server(url, "t"), timeout_s=quick_s)
        patient = PatientRest(quick, timeout_s=PATIENT_S)
        yield patient
        await quick.aclose()
        await patient.aclose()
        tasks.cancel_scope.cancel()


async def test_a_slow_answer_of_a_server_that_lives_is_waited_for() -> None:
    async with patient_with(Slow(probes=2), LIVES_S) as rest:
        assert (await rest.request("POST", "api/slow")).is_success


async def test_a_server_that_answers_nothing_is_unreachable_as_soon_as_to_anybody() -> None:
    async with patient_with(Slow(probes=None)) as rest:
        with anyio.fail_after(PATIENT_S / 2), pytest.raises(Unreachable, match="stopped answering") as caught:
            await rest.request("POST", "api/slow")
    assert caught.value.hint


async def test_nobody_there_is_the_same_error_as_always() -> None:
    quick = Rest(Server("http://127.0.0.1:1/", "t"), timeout_s=QUICK_S)
    with pytest.raises(Unreachable, match="Nothing answers"):
        await PatientRest(quick, timeout_s=PATIENT_S).request("POST", "api/slow")
