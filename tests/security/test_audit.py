"""The audit log: who was asked what, what was changed and run, and what came of it; contents and secrets only if asked,
and never."""

from __future__ import annotations

import errno
import json
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp_types import Implementation

from collab_agent.agent import Principal, agent
from collab_agent.audit import Audit, AuditLog, Text
from collab_agent.cli import main
from collab_agent.config import Server, Settings
from collab_agent.errors import ConfigError
from collab_agent.server.app import build_server
from tests.integration.conftest import McpAgent, Notebook

from .conftest import ADA, remote, served


def lines(file: Path) -> list[dict[str, Any]]:
    """All that was logged; every line is JSON."""
    return [json.loads(line) for line in file.read_text("ascii").splitlines()]


def hashed(text: str) -> dict[str, Any]:
    return {"chars": len(text), "sha256": sha256(text.encode()).hexdigest()}


async def test_a_session_can_be_followed_line_by_line_without_its_contents(
    environment: dict[str, str], secrets: Path, jupyter: Server, notebook: Notebook, tmp_path: Path
) -> None:
    path, file = await notebook(["x = 1"]), tmp_path / "audit.jsonl"
    code = "print('s3cr3t data', 6 * 7)"
    async with (
        served(environment, "--http-token-file", str(secrets), "--audit", str(file)) as agents,
        remote(agents.url, ADA) as client,
    ):
        await client.call("setup_notebook", notebook_path=path)
        await client.call("execute_notebook_code", edits=[{"op": "insert", "source": code}])
        await client.call("query_notebook", query="inspect", cells=["nonsense"], pattern="s3cr3t name")
        await client.call("modify_notebook_cells", edits=[{"op": "write", "cell": "zzzz", "source": "1"}])
    text = file.read_text()
    found = lines(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "s3cr3t data" not in text
    assert "s3cr3t name" not in text
    assert jupyter.token not in text
    assert ADA not in text
    assert found[0]["event"] == "start"
    assert all(line["time"].endswith("Z") for line in found)
    assert {(line["client"], line["owner"]) for line in found[2:]} <= {("Goose", "ada")}
    of_call = [line for line in found if line.get("call") == "c2"]
    events = [line["event"] for line in of_call]
    assert events == ["call", "edit", "run", "end", "result"]
    call, edit, run, end, result = of_call
    assert call["tool"] == "execute_notebook_code"
    assert call["arguments"]["edits"] == [{"op": "insert", "source": hashed(code)}]
    assert edit["notebook"] == run["notebook"] == end["notebook"] == path
    assert edit["done"] == [{"op": "insert", "cell": run["cell"]}]
    assert edit["texts"] == {run["cell"]: hashed(code)}
    assert run["code"] == hashed(code)
    assert (end["run"], end["state"]) == (run["run"], "ok")
    assert result["result"] == "ok"
    assert [line["result"] for line in found if line["event"] == "result"][-1] == "CellNotFound"


async def test_contents_are_logged_if_asked_and_secrets_even_then_never(
    jupyter: Server, notebook: Notebook, tmp_path: Path
) -> None:
    async def find(_stack: object) -> Server:
        return jupyter

    file = tmp_path / "audit.jsonl"
    log = AuditLog.open(file, contents=True)
    async with (
        agent(Settings(), find, log, Principal(secrets=(ADA,))) as inner,
        Client(build_server(inner), mode="legacy", client_info=Implementation(name="goose", version="1")) as client,
    ):
        goose = McpAgent(client, inner)
        await goose.setup(await notebook([]))
        shown = await goose.run(code=f"print('kept {jupyter.token} and {ADA}')")
        assert "kept … and …" in shown.text
    log.close()
    text = file.read_text()
    assert "(print('kept … and …'))" in [line.get("code") for line in lines(file)]
    assert jupyter.token not in text
    assert ADA not in text


async def test_what_was_run_is_logged_before_it_is_sent(jupyter: Server, notebook: Notebook, tmp_path: Path) -> None:
    async def find(_stack: object) -> Server:
        return jupyter

    file = tmp_path / "audit.jsonl"
    log = AuditLog.open(file)
    code = f'print(open({str(file)!r}).read().count(\'"event":"run"\'))'
    async with (
        agent(Settings(), find, log) as inner,
        Client(build_server(inner), mode="legacy", client_info=Implementation(name="goose", version="1")) as client,
    ):
        goose = McpAgent(client, inner)
        await goose.setup(await notebook([]))
        assert "\n1" in (await goose.run(code=code)).body.replace("│", "")
    log.close()


def test_a_log_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for bad in (tmp_path / "no" / "folder", tmp_path, Path("/dev/full")):
        assert main(["--audit", str(bad)]) == 1
        told = capsys.readouterr().err
        assert str(bad) in told
        assert "Nothing was started" in told
    assert main(["--audit-contents"]) == 1
    assert "needs --audit" in capsys.readouterr().err


async def test_a_full_disk_breaks_no_call_and_is_told_once(jupyter: Server, notebook: Notebook, tmp_path: Path) -> None:
    async def find(_stack: object) -> Server:
        return jupyter

    file = tmp_path / "audit.jsonl"
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    log = AuditLog(fd, file, contents=False)
    async with (
        agent(Settings(), find, log) as inner,
        Client(build_server(inner), mode="legacy", client_info=Implementation(name="goose", version="1")) as client,
    ):
        goose = McpAgent(client, inner)
        await goose.setup(await notebook(["x = 1"]))
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, fd)
        os.close(full)
        told = await goose.query("cells")
        assert "x = 1" in told.text
        assert "the audit log" in told.since
        assert os.strerror(errno.ENOSPC) in told.since
        again = [(await goose.query("cells")).since for _ in range(2)]
        assert all("x = 1" not in since for since in again)
    log.close()


def test_a_torn_line_does_not_spoil_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog.open(file)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    log.note({"event": "torn"}, str)
    monkeypatch.undo()
    log.note({"event": "whole"}, str)
    log.close()
    assert "cannot be written" in log.take_trouble()
    assert json.loads(file.read_text().splitlines()[-1])["event"] == "whole"


def test_an_existing_log_is_appended_to_and_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text('{"event":"old"}\n')
    file.chmod(0o644)
    AuditLog.open(file).close()
    assert [line["event"] for line in lines(file)] == ["old", "start"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_any_text_can_be_logged(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog.open(file, contents=True)
    Audit(log).note("odd", text=Text("a\n\udc80\u202e\0"), more={"k\n": object})
    log.close()
    (_, odd) = lines(file)
    assert odd["text"] == "a\n\udc80\u202e\0"


def test_a_folder_of_somebody_else_is_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        AuditLog.open(tmp_path / "none" / "audit.jsonl")
