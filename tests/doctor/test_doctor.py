"""The doctor, on real servers in the states that it finds: what it says of each."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from collab_agent.config import Server, Settings
from collab_agent.doctor import Finding, diagnose, examine
from collab_agent.jupyter.discovery import configured
from collab_agent.jupyter.embedded import EmbeddedLab, embedded_lab, free_port
from tests.conftest import NewNotebook
from tests.faults.conftest import MortalLab
from tests.integration.conftest import (
    DEADLINE_S,
    McpAgent,
    Notebook,
    Rest,
    agents_seen,
    mcp_agent,
    own_notebook,
    page,
    panel_on,
)

__all__ = ["mcp_agent", "own_notebook", "page"]


async def findings_of(server: Server, env: dict[str, str], *, listen_s: float = 0.0) -> list[Finding]:
    """What the doctor says when this server is the configured one."""
    return await diagnose(Settings(server=server), env, Path.cwd(), listen_s=listen_s)


def bad(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.ok]


def the(findings: Sequence[Finding], part: str) -> Finding:
    """The one finding whose text holds this."""
    (found,) = [finding for finding in findings if part in finding.text]
    return found


async def test_a_healthy_server_has_nothing_missing(jupyter: Server, jupyter_env: dict[str, str]) -> None:
    findings = await diagnose(Settings(), jupyter_env, Path(str(jupyter.root_dir)), listen_s=0)
    assert bad(findings) == []
    text = "\n".join(finding.text for finding in findings)
    for part in (jupyter.url, "jupyter_server", "token is accepted", "collaboration 5.", "python3", "joined"):
        assert part in text
    assert "come into the rooms" in text
    assert "Its settings keep the history" in text
    assert jupyter.token not in repr(findings)


async def test_a_wrong_token_is_found_and_ends_the_questions(
    jupyter: Server, jupyter_env: dict[str, str], tmp_path: Path
) -> None:
    wrong = configured(jupyter.url, "wrong-t0k3n")
    findings = await findings_of(wrong, {"JUPYTER_RUNTIME_DIR": str(tmp_path)})
    assert [finding.ok for finding in findings] == [True, True, False]
    assert "export JUPYTER_TOKEN" in findings[-1].remedy
    assert "wrong-t0k3n" not in repr(findings)
    assert "unset JUPYTER_TOKEN" in (await findings_of(wrong, jupyter_env))[-1].remedy


async def test_nobody_at_the_address_is_found(tmp_path: Path) -> None:
    away = configured(f"http://127.0.0.1:{free_port()}/")
    findings = await findings_of(away, {"JUPYTER_RUNTIME_DIR": str(tmp_path)})
    assert [finding.ok for finding in findings] == [True, False]
    assert findings[-1].remedy == "collab-agent lab"


async def test_a_server_at_a_hub_is_not_to_be_started_here(tmp_path: Path) -> None:
    """What a JupyterHub answers where a user's server is not running, on the wire."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            head = b"HTTP/1.1 424 Failed Dependency\r\nX-JupyterHub-Version: 6.1\r\nContent-Length: 0\r\n"
            await stream.send(head + b"Connection: close\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        stopped = configured(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/user/ada/", "t")
        finding = (await findings_of(stopped, {"JUPYTER_RUNTIME_DIR": str(tmp_path)}))[-1]
        tasks.cancel_scope.cancel()
    assert "the JupyterHub is not running" in finding.text
    assert "/hub/spawn/ada" in finding.remedy


async def test_without_a_server_it_says_what_will_happen(tmp_path: Path) -> None:
    env = {"JUPYTER_RUNTIME_DIR": str(tmp_path)}
    (embedded,) = await diagnose(Settings(), env, tmp_path)
    assert embedded.ok
    assert "embedded JupyterLab will be started" in embedded.text
    (refused,) = await diagnose(Settings(embedded=False), env, tmp_path)
    assert refused == replace(refused, level="BAD", remedy="collab-agent lab")


@dataclass
class Folders:
    """An environment of its own for a server; ``write`` puts a file into its configuration folder."""

    env: dict[str, str]
    root: Path
    config: Path

    def write(self, name: str, text: str) -> Path:
        file = self.config / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    @asynccontextmanager
    async def lab(self, *args: str) -> AsyncIterator[EmbeddedLab]:
        log = self.root.parent / f"{uuid.uuid4().hex[:4]}.log"
        with anyio.fail_after(DEADLINE_S * 3):
            async with embedded_lab(self.root, env=self.env, log_path=log, extra_args=args) as lab:
                yield lab


@pytest.fixture
def folders(jupyter_env: dict[str, str], tmp_path: Path) -> Folders:
    made = Folders(dict(jupyter_env), tmp_path / "root", tmp_path / "config")
    made.root.mkdir()
    made.config.mkdir()
    made.env |= {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "JUPYTER_CONFIG_DIR": str(made.config)}
    return made


async def test_settings_that_endanger_notebooks_are_found_and_two_servers_on_one_folder(folders: Folders) -> None:
    """A store that forgets, by command line and by file; progressive loading; pages that leave the rooms out."""
    file = folders.write("jupyter_server_config.py", "c.SQLiteYStore.document_ttl = 3600\n")
    folders.write("labconfig/page_config.json", '{"disabledExtensions": {"@jupyter/docprovider-extension": true}}')
    squash, loading = "--SQLiteYStore.squash_after_inactivity_of=60", "--YDocExtension.document_load_progressively=True"
    async with folders.lab(squash, loading) as lab, folders.lab("--YDocExtension.disable_rtc=True") as other:
        findings = await findings_of(lab.server, folders.env)
        ttl, squashed = the(findings, "document_ttl"), the(findings, "squash_after_inactivity_of")
        for finding, source, remedy in ((ttl, str(file), str(file)), (squashed, "command line", f"without {squash},")):
            assert not finding.ok
            assert source in finding.text
            assert remedy in finding.remedy
        assert the(findings, "document_load_progressively").level == "note"
        assert "-m jupyter labextension enable @jupyter/docprovider-extension" in the(findings, "Pages are told").remedy
        rival = the(findings, "same root folder")
        assert other.server.url in rival.text
        assert rival.remedy == f"jupyter server stop {other.server.url.rstrip('/').rpartition(':')[2]}"
        assert len(bad(findings)) == 4
        theirs = await findings_of(other.server, folders.env)
        assert the(theirs, "turned off for pages").remedy.startswith("set YDocExtension.disable_rtc to False")
        assert not any("squash" in finding.text for finding in theirs), "that was the other one's command line"
        assert not any(token in repr([findings, theirs]) for token in (lab.server.token, other.server.token))


async def test_a_server_without_rooms_is_found_and_another_that_serves_its_folder(folders: Folders) -> None:
    """The package is there, its server extension is off; and there is no kernel that it may start."""
    part = replace(folders, root=folders.root / "part")
    part.root.mkdir()
    no_rooms = "--ServerApp.jpserver_extensions={'jupyter_server_ydoc': False}"
    no_kernel = "--KernelSpecManager.allowed_kernelspecs=['none']"
    async with folders.lab() as lab, part.lab(no_rooms, no_kernel) as without:
        findings = await findings_of(without.server, folders.env)
        enable = the(findings, "jupyter_server_ydoc is off").remedy.partition("   #")[0]
        assert enable.endswith("-m jupyter server extension enable jupyter_server_ydoc")
        assert "-m pip install ipykernel" in the(findings, "no kernelspec").remedy
        assert lab.server.url in the(findings, "serves a part of this folder, or all of it").text
        assert len(bad(findings)) == 2


async def test_a_server_with_a_password_alone_is_found(folders: Folders) -> None:
    from jupyter_server.auth import passwd

    config = {"PasswordIdentityProvider": {"hashed_password": passwd("secret", "sha256"), "token": ""}}
    folders.write("jupyter_server_config.json", json.dumps(config))
    async with MortalLab.running(folders.root, folders.env, folders.root.parent / "lab.log"):
        findings = await diagnose(Settings(), folders.env, folders.root)
        assert [finding.ok for finding in findings] == [True, True, False]
        assert "wants a token and none is configured" in findings[-1].text
        assert "it has no token, only a password" in findings[-1].remedy


async def test_a_server_elsewhere_keeps_its_settings_to_itself(jupyter: Server, tmp_path: Path) -> None:
    findings = await findings_of(jupyter, {"JUPYTER_RUNTIME_DIR": str(tmp_path)})
    assert bad(findings) == []
    assert the(findings, "no server tells its settings").level == "note"


def give_output(server: Server, path: str) -> Path:
    """Write an output that asks for trust into the first cell; the file."""
    file = Path(str(server.root_dir), path)
    notebook = json.loads(file.read_text("utf-8"))
    data = {"text/html": "<script>1</script>", "text/plain": "x"}
    notebook["cells"][0]["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
    file.write_text(json.dumps(notebook), "utf-8")
    return file


async def test_a_notebook_that_is_not_trusted_is_found(
    jupyter: Server, jupyter_env: dict[str, str], new_notebook: NewNotebook, page: Rest
) -> None:
    path = new_notebook(["1 + 1", ("markdown", "# Title")])
    file = give_output(jupyter, path)
    os.utime(file, (0, 0))  # one that was written a moment ago is not read as a notebook: somebody may be writing it
    session = await page.open_session(path)
    finding = the(await findings_of(jupyter, jupyter_env), f"{path} is not trusted")
    assert "(1 of 1 code cells)" in finding.text
    command, _, _ = finding.remedy.partition("while it is closed, ")[2].partition("   #")
    assert command == f"{sys.executable} -m jupyter trust {file}"
    await anyio.run_process(shlex.split(command), env=jupyter_env)
    assert not any(
        "is not trusted" in each.text and path in each.text for each in await findings_of(jupyter, jupyter_env)
    )
    await page.send("DELETE", f"api/sessions/{session['id']}")


async def test_a_notebook_that_is_open_as_text_too_is_found(
    jupyter: Server, jupyter_env: dict[str, str], own_notebook: Notebook, mcp_agent: McpAgent
) -> None:
    """Somebody is at a notebook, so the doctor listens; nobody sees it do so."""
    path = await own_notebook(["1 + 1"])
    await mcp_agent.setup(path)
    user = {"username": "ada", "name": "Ada", "display_name": "Ada", "initials": "A", "color": "red"}
    async with panel_on(jupyter) as panel, anyio.create_task_group() as tasks:

        async def announce() -> None:
            for number in itertools.count():
                panel._awareness.set_local_state({"user": user, "current": f"editor:{path}", "number": number})
                await anyio.sleep(0.05)

        tasks.start_soon(announce)
        finding = the(await findings_of(jupyter, jupyter_env, listen_s=2), "open as text")
        assert finding.text.startswith(f"Ada has {path} open as text")
        assert not finding.ok
        assert len(panel.peers()) == len(agents_seen(panel)) == 1
        tasks.cancel_scope.cancel()


async def test_each_finding_is_told_as_soon_as_it_is_there(jupyter: Server, jupyter_env: dict[str, str]) -> None:
    examined = examine(Settings(), jupyter_env, Path(str(jupyter.root_dir)), listen_s=0)
    assert str(await anext(examined)).startswith(f"ok   Server: {jupyter.url}")
    await examined.aclose()
