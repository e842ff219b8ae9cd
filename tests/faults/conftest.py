"""A real JupyterLab that a test can kill and start again, on the same port, with the same token, in the same folder."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from anyio.abc import Process
from jupyter_ydoc import YNotebook

from collab_agent.config import Server
from collab_agent.jupyter.discovery import is_alive
from collab_agent.jupyter.embedded import free_port, lab_command
from tests.conftest import notebook_json
from tests.files import notebook_in

POLL_S = 0.05
START_S = 60.0
STORED_S = 30.0
HANG_S = 3.0
STORE = ".jupyter_ystore.db"


class MortalLab:
    """A ``jupyter lab`` of its own."""

    def __init__(self, root: Path, env: Mapping[str, str], log: Path) -> None:
        self.root = root
        self._port = free_port()
        self._token = secrets.token_hex(16)
        self.env = {**env, "JUPYTER_TOKEN": self._token}
        self.runtime_dir = Path(env["JUPYTER_RUNTIME_DIR"])
        self.log = log
        self._process: Process | None = None
        self.server = Server(f"http://127.0.0.1:{self._port}/", self._token, str(root))

    @classmethod
    @asynccontextmanager
    async def running(cls, root: Path, env: Mapping[str, str], log: Path) -> AsyncIterator[Self]:
        """One that lives for the length of the block."""
        lab = cls(root, env, log)
        await lab.start()
        try:
            yield lab
        finally:
            with anyio.CancelScope(shield=True):
                await lab.end()

    def command(self) -> list[str]:
        """What starts it."""
        return lab_command(self.root, port=self._port, as_root=os.geteuid() == 0)

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = await anyio.open_process(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                env=self.env,
                start_new_session=True,
            )
        with anyio.fail_after(START_S):
            while not await is_alive(self.server):
                assert self._process.returncode is None, self.log.read_text("utf-8")[-2_000:]
                await anyio.sleep(POLL_S)

    async def die(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, and wait until it is dead."""
        assert self._process is not None
        self._process.send_signal(number)
        with anyio.move_on_after(HANG_S):  # on SIGTERM it hangs while clients are there (rtc facts, section 2)
            await self._process.wait()
        await self.end()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, and do not wait for what comes of it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.aclose()
            self._process = None

    async def has_stored(self, *texts: str) -> None:
        """Wait until the server's store of updates holds these texts: a little behind the room, and before the file."""
        with anyio.fail_after(STORED_S):
            while True:  # nobody tells when a database has a row
                stored = self._stored()
                if all(text in stored for text in texts):
                    return
                await anyio.sleep(POLL_S)

    def _stored(self) -> str:
        with closing(sqlite3.connect(f"file:{self.root / STORE}?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT path, yupdate FROM yupdates ORDER BY timestamp").fetchall()
        found: dict[str, YNotebook] = {}
        for path, update in rows:
            found.setdefault(path, YNotebook()).ydoc.apply_update(update)
        return "\n".join(str(cell["source"]) for notebook in found.values() for cell in notebook.ycells)

    def mark(self) -> int:
        """How far the store has come."""
        with closing(sqlite3.connect(f"file:{self.root / STORE}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT max(rowid) FROM yupdates").fetchone()[0])

    def forget_since(self, mark: int) -> None:
        """Make the store, whose server is dead, what it was: as if the server had died before it stored the rest."""
        with closing(sqlite3.connect(self.root / STORE)) as store:
            store.execute("DELETE FROM yupdates WHERE rowid > ?", (mark,))
            store.commit()

    def forget_all(self) -> None:
        """Remove the store."""
        for file in self.root.glob(f"{STORE}*"):
            file.unlink()

    def notebook(self, sources: Sequence[str | tuple[str, str]], *, minor: int = 5) -> str:
        """A new notebook in its folder."""
        path = f"test-{secrets.token_hex(4)}.ipynb"
        content = notebook_json(sources) | {"nbformat_minor": minor}
        for cell in content["cells"] if minor < 5 else ():
            del cell["id"]
        (self.root / path).write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
        return path

    def on_disk(self, path: str) -> list[dict[str, Any]]:
        """The cells in the file."""
        cells: list[dict[str, Any]] = notebook_in(self.root / path)["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]

    def sources_on_disk(self, path: str) -> list[str]:
        """The texts of the cells in the file."""
        return [cell["source"] for cell in self.on_disk(path)]


@pytest.fixture(scope="module")
async def mortal(
    anyio_backend: str, jupyter_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MortalLab]:
    """One server for a module, alive when a test begins: whoever kills it starts it again."""
    log = tmp_path_factory.mktemp("mortal-log") / "lab.log"
    async with MortalLab.running(tmp_path_factory.mktemp("mortal"), jupyter_env, log) as lab:
        yield lab
