"""A real JupyterHub with two users on this machine, and a real kernel gateway; agents reach them as from elsewhere."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import Process

from collab_agent.config import Server
from collab_agent.jupyter.embedded import embedded_lab, free_port
from tests.npm import install

START_S = 60.0
END_S = 15.0
POLL_S = 0.05
HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "deployment.md"
BASE = "/jupyter/"
USERS = ("ada", "bob")
HERE_ONLY = """
import os
c.JupyterHub.bind_url = os.environ["TEST_BIND_URL"]
c.JupyterHub.hub_bind_url = os.environ["TEST_HUB_URL"]
c.ConfigurableHTTPProxy.api_url = os.environ["TEST_PROXY_API"]
c.ConfigurableHTTPProxy.command = [os.environ["TEST_PROXY"]]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = os.environ["TEST_HOMES"] + "/{username}"
c.Spawner.args = ["--allow-root"]
c.LocalProcessSpawner.interrupt_timeout = c.LocalProcessSpawner.term_timeout = 1
c.JupyterHub.services = [{"name": "test", "api_token": os.environ["TEST_TOKEN"]}]
c.JupyterHub.load_roles = [{"name": "test", "services": ["test"], "scopes": ["admin:users", "admin:servers", "tokens"]}]
"""
"""What a Hub on one machine, with users that do not exist, needs beside the configuration that the page shows."""


def hub_config() -> str:
    """The configuration in docs/deployment.md, word for word."""
    block = re.search(r"^```py\n(# jupyterhub_config\.py\n.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert block is not None
    return block[1]


class Hub:
    """A running JupyterHub.  ``url``: where its proxy listens, with the base URL."""

    def __init__(self, folder: Path, web: httpx2.AsyncClient, url: str) -> None:
        self.url = url
        self.homes = folder / "homes"
        self.log = folder / "hub.log"
        self._web = web

    async def api(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """A request to the Hub's API, as its administrator."""
        return await self._web.request(method, f"{self.url}hub/api/{path}", json=body)

    async def token(self, user: str, *scopes: str) -> str:
        """A token that this user makes on the Hub's page."""
        answer = await self.api("POST", f"users/{user}/tokens", {"note": "agent", "scopes": list(scopes)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def start(self, user: str) -> None:
        """Start this user's server, and wait until it is ready."""
        answer = await self.api("POST", f"users/{user}/server")
        assert answer.status_code in (201, 202), answer.text
        await self._until(user, lambda server: bool(server and server["ready"]))

    async def stop(self, user: str) -> None:
        """Stop this user's server, as the Hub does to one that is left alone."""
        answer = await self.api("DELETE", f"users/{user}/server")
        assert answer.status_code in (202, 204), answer.text
        await self._until(user, lambda server: server is None or server["stopped"])

    async def _until(self, user: str, reached: Any) -> None:
        with anyio.fail_after(START_S):
            while True:
                if reached((await self.api("GET", f"users/{user}")).json()["servers"].get("")):
                    return
                await anyio.sleep(POLL_S)

    def server(self, user: str, token: str) -> Server:
        """This user's server, as seen from another machine."""
        return Server(f"{self.url}user/{user}/", token)


@asynccontextmanager
async def running(argv: list[str], env: Mapping[str, str], cwd: Path, log: Path) -> AsyncIterator[Process]:
    """A process for the length of the block; it and all that it leaves in its group are ended."""
    with log.open("wb") as out:
        process = await anyio.open_process(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(END_S):
                await process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def answers(process: Process, log: Path, web: httpx2.AsyncClient, url: str) -> None:
    """Wait until something is served there."""
    with anyio.fail_after(START_S):
        while True:
            assert process.returncode is None, await anyio.Path(log).read_text("utf-8")
            with suppress(httpx2.TransportError):
                if (await web.get(url)).status_code == 200:
                    return
            await anyio.sleep(POLL_S)


@pytest.fixture(scope="module")
async def hub(jupyter_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """A JupyterHub under a base URL, with a server of ada's and one of bob's."""
    install(HERE)
    folder, token = tmp_path_factory.mktemp("hub"), secrets.token_hex(20)
    (folder / "homes").mkdir()
    (folder / "jupyterhub_config.py").write_text(hub_config() + HERE_ONLY, "utf-8")
    url = f"http://127.0.0.1:{free_port()}{BASE}"
    env = {
        **jupyter_env,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{jupyter_env['PATH']}",
        "TEST_BIND_URL": url,
        "TEST_HUB_URL": f"http://127.0.0.1:{free_port()}",
        "TEST_PROXY_API": f"http://127.0.0.1:{free_port()}",
        "TEST_PROXY": str(HERE / "node_modules" / ".bin" / "configurable-http-proxy"),
        "TEST_HOMES": str(folder / "homes"),
        "TEST_TOKEN": token,
    }
    argv = [sys.executable, "-m", "jupyterhub", "--config", str(folder / "jupyterhub_config.py")]
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"token {token}"}, trust_env=False, timeout=START_S) as web,
        running(argv, env, folder, folder / "hub.log") as process,
    ):
        made = Hub(folder, web, url)
        await answers(process, made.log, web, f"{url}hub/api")
        async with anyio.create_task_group() as tasks:
            for user in USERS:
                assert (await made.api("POST", f"users/{user}")).status_code == 201
                tasks.start_soon(made.start, user)
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as tasks:
                    for user in USERS:
                        tasks.start_soon(made.stop, user)


@pytest.fixture(scope="module")
async def gateway_lab(jupyter_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A JupyterLab whose kernels a kernel gateway runs, in another process with folders of its own."""
    folder, token, port = tmp_path_factory.mktemp("gateway"), secrets.token_hex(20), free_port()
    url = f"http://127.0.0.1:{port}"
    env = {name: value for name, value in jupyter_env.items() if not name.startswith("JUPYTER_RUNTIME")}
    own = {
        "KG_AUTH_TOKEN": token,
        "KG_PORT": str(port),
        "KG_LIST_KERNELS": "true",
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    argv = [sys.executable, "-m", "kernel_gateway", "--KernelGatewayApp.port_retries=0"]
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"token {token}"}, trust_env=False, timeout=START_S) as web,
        running(argv, env | own, folder, folder / "gateway.log") as process,
    ):
        await answers(process, folder / "gateway.log", web, f"{url}/api/kernelspecs")
        (folder / "notebooks").mkdir()
        here = jupyter_env | {
            "JUPYTER_RUNTIME_DIR": str(folder / "lab-runtime"),
            "JUPYTER_GATEWAY_URL": url,
            "JUPYTER_GATEWAY_AUTH_TOKEN": token,
        }
        async with embedded_lab(folder / "notebooks", env=here, log_path=folder / "lab.log") as lab:
            yield lab.server
