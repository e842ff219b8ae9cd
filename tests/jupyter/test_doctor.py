"""The doctor: every finding of a healthy server, and what it says when something is missing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from collab_agent.config import Server, Settings
from collab_agent.jupyter.discovery import configured
from collab_agent.jupyter.doctor import Finding, diagnose, judge_collaboration, risky_options
from collab_agent.jupyter.embedded import free_port


async def test_a_healthy_server_has_nothing_missing(jupyter: Server, jupyter_env: dict[str, str]) -> None:
    findings = await diagnose(Settings(), jupyter_env, Path(str(jupyter.root_dir)))
    assert [finding for finding in findings if not finding.ok] == []
    text = "\n".join(finding.text for finding in findings)
    for part in (jupyter.url, "jupyter_server", "token is accepted", "collaboration 5.", "python3", "joined"):
        assert part in text
    assert jupyter.token not in repr(findings)


async def test_a_wrong_token_is_found_and_ends_the_questions(jupyter: Server, tmp_path: Path) -> None:
    wrong = configured(jupyter.url, "wrong-t0k3n")
    findings = await diagnose(Settings(server=wrong), {"JUPYTER_RUNTIME_DIR": str(tmp_path)}, tmp_path)
    assert [f.ok for f in findings] == [True, True, False]
    assert "JUPYTER_TOKEN" in findings[-1].command
    assert "wrong-t0k3n" not in repr(findings)


async def test_nobody_at_the_address_is_found(tmp_path: Path) -> None:
    away = configured(f"http://127.0.0.1:{free_port()}/")
    findings = await diagnose(Settings(server=away), {"JUPYTER_RUNTIME_DIR": str(tmp_path)}, tmp_path)
    assert [f.ok for f in findings] == [True, False]
    assert findings[-1].command == "collab-agent lab"


async def test_without_a_server_it_says_what_will_happen(tmp_path: Path) -> None:
    env = {"JUPYTER_RUNTIME_DIR": str(tmp_path)}
    (embedded,) = await diagnose(Settings(), env, tmp_path)
    assert embedded.ok
    (refused,) = await diagnose(Settings(embedded=False), env, tmp_path)
    assert refused == replace(refused, ok=False, command="collab-agent lab")


async def test_a_second_server_on_the_same_root_is_found(
    jupyter: Server, jupyter_env: dict[str, str], tmp_path: Path
) -> None:
    other = {"url": "http://127.0.0.1:1/", "token": "t", "root_dir": jupyter.root_dir, "pid": os.getpid()}
    for number, info in enumerate((other, own_info(jupyter))):
        (tmp_path / f"jpserver-{number}.json").write_text(json.dumps(info))
    env = {**jupyter_env, "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    findings = await diagnose(Settings(server=configured(jupyter.url)), env, tmp_path)
    bad = [finding for finding in findings if not finding.ok]
    assert [finding.command for finding in bad] == ["jupyter server stop 1"]


def own_info(server: Server) -> dict[str, object]:
    return {"url": server.url, "token": server.token, "root_dir": server.root_dir, "pid": os.getpid()}


async def test_a_store_that_forgets_is_found(jupyter: Server, jupyter_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "jupyter_server_config.py").write_text("c.SQLiteYStore.document_ttl = 3600\n")
    env = {**jupyter_env, "JUPYTER_CONFIG_DIR": str(tmp_path)}
    findings = await diagnose(Settings(), env, Path(str(jupyter.root_dir)))
    (bad,) = [finding for finding in findings if not finding.ok]
    assert "document_ttl" in bad.text


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("c.SQLiteYStore.document_ttl = 3600", ["document_ttl"]),
        ("# c.SQLiteYStore.document_ttl = 3600", []),
        ("c.SQLiteYStore.document_ttl = None", []),
        ("x = 1\nc.MyStore.squash_after_inactivity_of=60", ["squash_after_inactivity_of"]),
        ('{"SQLiteYStore": {"document_ttl": 60}}', ["document_ttl"]),
        ('{"SQLiteYStore": {"document_ttl": null}}', []),
        ("", []),
    ],
)
def test_only_options_that_are_set_count(config: str, options: list[str]) -> None:
    assert risky_options(config) == options


def test_an_old_collaboration_is_told_apart() -> None:
    assert judge_collaboration("5.0.4").ok
    assert judge_collaboration(None).ok
    assert judge_collaboration("10.1").ok
    old = judge_collaboration("3.1.0")
    assert isinstance(old, Finding)
    assert not old.ok
    assert "pip install" in old.command
