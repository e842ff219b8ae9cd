"""The two routes to a kernel, side by side in one run: the server's websocket, and the kernel's own ZMQ sockets.

    python tests/benchmarks/kernel_routes.py [--quick] [--markdown FILE]

Both are ``collab_agent.kernel.client.KernelClient`` on one kernel; they take turns, each connected alone, because
machines differ and are noisy: medians, and their ratios.  A time is from sending the cell to its end: reply and idle
seen, the last output with them.  What arrived is counted, too: above its limits the websocket is not slow, it drops.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import httpx2

from collab_agent.config import Server
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.kernel.client import KernelClient
from collab_agent.kernel.execution import Received
from collab_agent.kernel.wire import Message

ROUTES = ("websocket", "zmq")


def lines(messages: Sequence[Message]) -> int:
    """How many whole lines came on stdout."""
    return text(messages).count("\n")


def megabytes(messages: Sequence[Message]) -> float:
    """How much came on stdout."""
    return len(text(messages)) / 1_000_000


def text(messages: Sequence[Message]) -> str:
    """What came on stdout."""
    return "".join(m.content["text"] for m in messages if m.msg_type == "stream" and m.content["name"] == "stdout")


def shown(messages: Sequence[Message]) -> float:
    """How many characters of pictures came, in millions."""
    pictures = (m.content["data"].get("image/png", "") for m in messages if m.msg_type == "display_data")
    return sum(map(len, pictures)) / 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """A cell, how often to run it in one turn, and what to count of its output."""

    what: str
    code: str
    repeats: int
    count: Callable[[Sequence[Message]], float]
    unit: str


WORK = (
    Work("`1+1`", "1+1", 50, len, "messages"),
    Work("10,000 lines, each flushed", "for i in range(10_000): print(i, flush=True)", 1, lines, "lines"),
    Work("5 MB of stdout", "for i in range(50): print('x' * 99_999, flush=True)", 2, megabytes, "MB"),
    Work("a 5 MB picture", "display({'image/png': 'QUJD' * 1_250_000}, raw=True)", 5, shown, "MB"),
)


@dataclass
class Measured:
    """Milliseconds and counts of each kind of work, by (what, route); and of connecting."""

    times: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    arrived: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def table(self) -> str:
        """As Markdown."""
        head = ["what", *(f"{route}, median ms" for route in ROUTES), "ratio", *(f"arrived, {r}" for r in ROUTES)]
        rows = [head, ["---", *["---:"] * (len(head) - 1)]]
        for what in dict.fromkeys(what for what, _ in self.times):
            medians = [statistics.median(self.times[what, route]) for route in ROUTES]
            counts = [self.counted(what, route) for route in ROUTES]
            rows.append([what, *(f"{each:.1f}" for each in medians), f"{medians[0] / medians[1]:.1f}", *counts])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def counted(self, what: str, route: str) -> str:
        """The least and the most that arrived."""
        if (what, route) not in self.arrived:
            return ""
        unit = next(work.unit for work in WORK if work.what == what)
        extremes = min(self.arrived[what, route]), max(self.arrived[what, route])
        least, most = (f"{each:,.0f}" if each == int(each) else f"{each:,.1f}" for each in extremes)
        return f"{least} {unit}" if least == most else f"{least} to {most} {unit}"


async def execute(client: KernelClient, code: str) -> list[Message]:
    """Run code to its end; all that it caused."""
    received: list[Message] = []
    over = anyio.Event()

    def receive(event: Received) -> None:
        if isinstance(event, Message):
            received.append(event)
        if client.execution(msg_id).over:
            over.set()

    msg_id = client.send_execute(code, on_message=receive)
    await over.wait()
    client.forget(msg_id)
    return received


async def turn(server: Server, kernel_id: str, route: str, measured: Measured, scale: int) -> None:
    """One route's turn: connect, and do all the work."""
    start = time.perf_counter()
    async with KernelClient.connect(server, kernel_id) as client:
        measured.times["connected, requests can be sent", route].append((time.perf_counter() - start) * 1000)
        taken = await client.route_settled()
        if taken != route:
            raise RuntimeError(f"the route is {taken} where it should be {route}")
        measured.times["the route is settled", route].append((time.perf_counter() - start) * 1000)
        await execute(client, "0")
        for work in WORK:
            for _ in range(max(work.repeats // scale, 1)):
                start = time.perf_counter()
                messages = await execute(client, work.code)
                measured.times[work.what, route].append((time.perf_counter() - start) * 1000)
                measured.arrived[work.what, route].append(work.count(messages))


async def main(turns: int, scale: int) -> str:
    """Measure all; the table."""
    measured = Measured()
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_lab(folder, env=os.environ) as lab:
            headers = {"Authorization": f"token {lab.server.token}"}
            async with httpx2.AsyncClient(
                base_url=lab.server.url, headers=headers, trust_env=False, timeout=60
            ) as rest:
                kernel_id = (await rest.post("api/kernels", json={"name": "python3"})).json()["id"]
            servers = {"websocket": replace(lab.server, runtime_dir=None), "zmq": lab.server}
            await turn(servers["zmq"], kernel_id, "zmq", Measured(), 50)  # warm
            for _ in range(turns):
                for route in ROUTES:
                    await turn(servers[route], kernel_id, route, measured, scale)
    return measured.table()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="fewer repeats")
    options.add_argument("--markdown", type=Path, help="write the table into this file")
    chosen = options.parse_args()
    found = anyio.run(main, 2 if chosen.quick else 5, 5 if chosen.quick else 1)
    print(found)
    if chosen.markdown is not None:
        chosen.markdown.write_text(found + "\n")
