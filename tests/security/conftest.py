"""A real agent process on the real server, spoken to over HTTP; certificates made by openssl."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import Process, TaskStatus
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

from collab_agent.config import Server
from tests.integration.conftest import (
    DEADLINE_S,
    Caller,
    notebook,
    own_notebook,
    page,
    shared_kernel,
)

__all__ = ["notebook", "own_notebook", "page", "shared_kernel"]

_ADDRESS = re.compile(rb"serves MCP at (\S+)\n")
ADA, BOB = "ada-s3cr3t-of-at-least-20", "bob-s3cr3t-of-at-least-20"


@pytest.fixture
def environment(jupyter: Server, jupyter_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What an agent process on the real server needs; what it keeps, it keeps in ``tmp_path/state``."""
    own = {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token, "XDG_STATE_HOME": str(tmp_path / "state")}
    return jupyter_env | own


class Served:
    """An agent process that is served over HTTP, at ``url``, with all that it ever said."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = ""
        self.said = b""

    async def listen(self, *, task_status: TaskStatus[None]) -> None:
        """Take in its stderr; ready when it has said where it serves."""
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.said += chunk
            if not self.url and (line := _ADDRESS.search(self.said)):
                self.url = line[1].decode()
                task_status.started()
        if not self.url:
            pytest.fail(f"it ended: {self.said.decode()}")

    async def ends(self) -> int:
        """Wait for its end."""
        with anyio.fail_after(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def served(
    env: dict[str, str], *options: str, http: str = "127.0.0.1:0", cwd: Path | None = None
) -> AsyncIterator[Served]:
    """``collab-agent serve --http`` as a process of its own."""
    argv = [sys.executable, "-m", "collab_agent", "serve", "--http", http, *options]
    cwd = cwd or Path(__file__).parents[2]
    async with (
        await anyio.open_process(argv, env=env, stdout=subprocess.DEVNULL, cwd=cwd) as process,
        anyio.create_task_group() as tasks,
    ):
        made = Served(process)
        try:
            with anyio.fail_after(DEADLINE_S):
                await tasks.start(made.listen)
            yield made
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def remote(url: str, secret: str, *, name: str = "goose", verify: object = True) -> AsyncIterator[Caller]:
    """A client that has this secret, and tries the newest protocol first."""
    async with AsyncExitStack() as stack:
        web = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {secret}"}, trust_env=False, timeout=DEADLINE_S, verify=verify
        )
        await stack.enter_async_context(web)
        transport = streamable_http_client(url, http_client=web)
        client = Client(transport, mode="auto", client_info=Implementation(name=name, version="1"))
        yield Caller(await stack.enter_async_context(client))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A file with the secrets of two clients."""
    file = tmp_path / "secrets"
    file.write_text(f"# who may\nada {ADA}\nbob {BOB}\n")
    file.chmod(0o600)
    return file


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost, its key, and the authority that signed it; PEM files."""

    cert: Path
    key: Path
    ca: Path


@pytest.fixture(scope="session")
def certify(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Certificate]:
    """``certify("one")``: a certificate of an authority of that name, for this machine unless told otherwise."""

    def make(name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificate:
        folder = tmp_path_factory.mktemp(f"ca-{name}")
        made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
        ca_key, request, extra = folder / "ca-key.pem", folder / "request.pem", folder / "extra.cnf"
        extra.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]
        _openssl([*new, f"/CN=authority {name}", "-x509", "-days", "2", "-keyout", str(ca_key), "-out", str(made.ca)])
        _openssl([*new, "/CN=localhost", "-keyout", str(made.key), "-out", str(request)])
        sign = ["x509", "-req", "-days", "2", "-in", str(request), "-CA", str(made.ca), "-CAkey", str(ca_key)]
        _openssl([*sign, "-CAcreateserial", "-extfile", str(extra), "-out", str(made.cert)])
        return made

    return make


def _openssl(arguments: Sequence[str]) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
