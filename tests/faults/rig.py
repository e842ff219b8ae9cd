"""The fault rig: one agent behind a wire, and one human who types throughout, in some scenery.

A ``Fault`` (``faults.py``) strikes at a ``Phase`` of the agent's life.  The human's page is behind a wire of its own,
so that what breaks for the agent alone does not break for them; where the server itself dies, the page joins again by
itself, with the document that it has.  ``stage.py`` sets a scene, ``judgement.py`` says how it has to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import anyio

from collab_agent.config import Limits
from collab_agent.room.protocol import Changed, Event
from collab_agent.testing import Human
from tests.integration.conftest import McpAgent, Rest, Result

from .conftest import MortalLab
from .page import Page
from .wire import Wire

Phase = Literal["joining", "idle", "mid-edit", "mid-run", "leaving"]
PHASES: tuple[Phase, ...] = ("joining", "idle", "mid-edit", "mid-run", "leaving")

BRISK = Limits(
    typed_out_s=0,
    line_quiet_s=0,
    rest_s=3,
    open_s=3,
    ping_s=0.5,
    pong_s=1.5,
    join_s=3,
    echo_s=0.2,
    ack_s=2,
    probe_s=0.7,
    mute_s=1,
    save_s=5,
    kernel_open_s=4,
    kernel_quiet_s=0.7,
    kernel_alive_s=1.5,
    kernel_watch_s=0.2,
)
"""The watchdogs' clocks, short."""
BOUND_S = 30.0
"""Within this every call ends; how soon it does with the usual clocks is arithmetic (``test_clocks``)."""
RECOVER_S = 60.0
WITH_IDS = 5
AGAIN_S = 0.2
"""How soon an impatient model calls again."""
WAIT_S = 3.0
LINES = 15
SLOW = f"import time\nfor i in range({LINES}):\n    print('line', i, flush=True)\n    time.sleep(0.1)"
HERS = "hers = ''"
PATIENT = replace(BRISK, rest_s=8, join_s=8, save_s=20)
"""For what takes a server long."""


@dataclass(frozen=True)
class Scenery:
    """Where a fault strikes.

    ``minor``: of the notebook's format; below 5 the file has no cell ids.  ``cells``: so many more cells.
    ``config``: the server's.  ``disk_mb``: the size of the disk it works on.
    """

    minor: int = 5
    cells: int = 0
    config: Mapping[str, object] = field(default_factory=dict)
    disk_mb: int | None = None

    @property
    def limits(self) -> Limits:
        """The agent's clocks."""
        return PATIENT if self.cells else BRISK

    @property
    def sources(self) -> list[str]:
        """The texts of its cells: one of the human's, a slow one, a quick one, and the rest."""
        return [HERS, SLOW, "x = 1", *(f"value_{n} = {n}" for n in range(self.cells))]

    def notebook(self, lab: MortalLab) -> str:
        """A notebook of this kind in the lab's folder."""
        return lab.notebook(self.sources, minor=self.minor)


PLAIN = Scenery()
FORMAT_4_4 = Scenery(minor=4)
PIECE_BY_PIECE = Scenery(cells=300, config={"YDocExtension": {"document_load_progressively": True}})
SOON_DROPPED = Scenery(config={"YDocExtension": {"document_cleanup_delay": 0.1}})
SMALL_DISK = Scenery(disk_mb=3)


class Kernels:
    """The kernels of a server, as processes."""

    @staticmethod
    def process(kernel_id: str) -> int:
        """The process id of a kernel, which is started with its connection file's name."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and f"kernel-{kernel_id}.json".encode() in (entry / "cmdline").read_bytes():
                    return int(entry.name)
        raise LookupError(kernel_id)


@dataclass
class Scene:
    """What a fault befalls.  ``results``: what the agent was answered, in order."""

    lab: MortalLab
    wire: Wire
    her_wire: Wire
    agent: McpAgent
    page: Page
    rest: Rest
    path: str
    session: str
    kernel: str
    scenery: Scenery = PLAIN
    results: list[Result] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """The characters of the human's that the agent has had before it."""
    stopped: list[int] = field(default_factory=list)
    """Processes that are not to stay stopped."""
    undo: ExitStack = field(default_factory=ExitStack)
    """What ends the fault."""
    gone: bool = False
    """The file is, for good."""

    @property
    def ada(self) -> Human:
        """The human, at whatever page she has opened last."""
        return self.page.human

    @property
    def has_ids(self) -> bool:
        """Whether the notebook's format keeps cell ids on disk."""
        return self.scenery.minor >= WITH_IDS

    @property
    def told(self) -> str:
        """All that the agent was answered."""
        return "\n".join(result.text for result in self.results)

    async def call(self, tool: str, **arguments: Any) -> Result:
        """Call a tool: it ends in good time, and an error says what to do next and is none of ours."""
        with anyio.fail_after(BOUND_S):
            result = await self.agent.call(tool, **arguments)
        self.results.append(result)
        if result.is_error:
            assert "bug of collab-agent" not in result.text, result.text
            assert len(result.text.splitlines()) > 1, f"no hint: {result.text}"
        return result

    async def setup(self) -> Result:
        """Open the notebook."""
        result = await self.call("setup_notebook", notebook_path=self.path)
        if not result.is_error:
            self.agent.peer().observe(self._note)
        return result

    async def opened(self) -> None:
        """Open the notebook, before anything breaks: the clocks are short, and the machine may be busy."""
        with anyio.fail_after(RECOVER_S):
            while (await self.setup()).is_error:
                pass
        if self.scenery.config:  # what a server has not stored when it dies, a page brings along once more
            await self.lab.has_stored(self.scenery.sources[-1])

    async def insert(self) -> Result:
        """Insert a cell whose text is there only once."""
        text = f"agent_{len(self.confirmed) + len(self.unsure)} = 1"
        result = await self.call("modify_notebook_cells", edits=[{"op": "insert", "source": text}])
        if not result.is_error:
            self.confirmed.append(text)
        elif "Nothing was written" not in result.text:
            self.unsure.append(text)
        return result

    async def run_slow(self) -> Result:
        """Run the cell that prints for a while."""
        return await self.call("execute_notebook_code", cells=["#2"], wait_s=WAIT_S)

    async def leave(self) -> Result:
        """Leave the notebook: the agent watches no more over what is not on disk then, its own or another's."""
        result = await self.call("setup_notebook", notebook_path=self.path, action="leave")
        self.known.clear()
        if "not known to be on disk" in result.text:
            self.unsure, self.confirmed = [*self.unsure, *self.confirmed], []
        return result

    def _note(self, event: Event) -> None:
        if isinstance(event, Changed):
            with suppress(Exception):
                self.known.update("".join(cell.source for cell in self.agent.peer().view.cells))

    def printed(self) -> list[str]:
        """The lines that the slow cell shows in the human's page."""
        outputs = self.ada.document()["cells"][1].get("outputs", [])
        text = "".join("".join(output.get("text", "")) for output in outputs)
        return [line for line in text.splitlines() if line.startswith("line ")]

    async def type_throughout(self) -> None:
        """Ada types into her own cell, whatever happens; until cancelled."""
        while True:
            await self.page.opened.wait()
            await self.ada.type_marks(0, 1, pause=0.03)

    # Afterwards.

    async def recover(self) -> None:
        """Call again until all works: open, edit, run.  Who has left a notebook that is gone now does not open it."""
        if self.gone and not self.agent.agent.peers:
            return
        with anyio.fail_after(RECOVER_S):
            for work in (self.setup, self.insert, self._runs):
                while True:
                    if not (await work()).is_error:
                        break
                    await anyio.sleep(AGAIN_S)

    async def _runs(self) -> Result:
        result = await self.call("execute_notebook_code", code="6 * 7", wait_s=WAIT_S)
        return result if "42" in result.text else Result(result.text, (), is_error=True)
