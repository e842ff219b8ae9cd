"""Which server is joined: the rule on its own, and the reading of ``jpserver-*.json``."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.config import Server, Settings
from collab_agent.errors import ConfigError
from collab_agent.jupyter.discovery import (
    Candidate,
    choose,
    completed,
    configured,
    find_server,
    is_alive,
    parse_info,
    pid_lives,
    running_servers,
    runtime_dir,
)
from collab_agent.jupyter.embedded import free_port

CWD = Path("/home/me/project/sub")


def candidate(port: int, root: str | None, started: float) -> Candidate:
    return Candidate(Server(f"http://127.0.0.1:{port}/", f"secret{port}", root), started, 4242)


def test_without_a_server_nothing_is_chosen() -> None:
    assert choose([], CWD) is None


def test_the_root_that_holds_the_current_folder_wins_over_a_newer_one() -> None:
    here, newer = candidate(1, "/home/me/project", 10), candidate(2, "/home/me/other", 99)
    assert choose([newer, here], CWD) is here.server


def test_a_root_that_only_shares_a_prefix_of_the_name_does_not_hold_it() -> None:
    near, newer = candidate(1, "/home/me/proj", 10), candidate(2, None, 99)
    assert choose([near, newer], CWD) is newer.server


def test_of_several_the_newest_wins() -> None:
    old, new = candidate(1, "/home/me/project", 10), candidate(2, "/home/me", 20)
    assert choose([new, old], CWD) is new.server
    assert choose([candidate(3, "/x", 1), candidate(4, "/y", 5)], CWD) == candidate(4, "/y", 5).server


def test_several_equal_ones_are_listed_without_their_tokens() -> None:
    with pytest.raises(ConfigError) as caught:
        choose([candidate(1, "/home/me", 10.2), candidate(2, "/home/me", 10.0), candidate(3, "/", 1)], CWD)
    text = str(caught.value)
    assert "http://127.0.0.1:1/" in text
    assert "http://127.0.0.1:2/" in text
    assert ":3/" not in text
    assert "secret" not in text


@given(st.lists(st.tuples(st.sampled_from([None, "/", "/home/me", "/home/me/project", "/srv"]), st.integers(0, 9))))
def test_the_choice_does_not_depend_on_the_order(servers: list[tuple[str | None, int]]) -> None:
    candidates = [candidate(port, root, float(t)) for port, (root, t) in enumerate(servers, 1)]

    def outcome(order: list[Candidate]) -> Server | str | None:
        try:
            return choose(order, CWD)
        except ConfigError:
            return "several"

    assert outcome(candidates) == outcome(candidates[::-1])


def test_a_servers_file_is_read() -> None:
    info = {"url": "http://0.0.0.0:8889/base/", "token": "t", "root_dir": "/r", "pid": 7, "sock": ""}
    found = parse_info(json.dumps(info), 3.0)
    assert found == Candidate(Server("http://127.0.0.1:8889/base/", "t", "/r"), 3.0, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"url": 3, "pid": 7}',
        '{"url": "http://h:1/", "pid": "7"}',
        '{"url": "http://h:1/", "pid": 7, "token": 3}',
        '{"url": "http+unix://%2Ftmp", "pid": 7}',
        '{"url": "http://h:1/", "pid": 7, "sock": "/tmp/s"}',
    ],
)
def test_what_is_no_servers_file_is_passed_over(text: str) -> None:
    assert parse_info(text, 0.0) is None


def test_a_dead_servers_file_is_passed_over(tmp_path: Path) -> None:
    for name, pid in (("dead", 2**22 + 1), ("alive", os.getpid())):
        info = {"url": f"http://{name}:1/", "token": "t", "root_dir": "/r", "pid": pid}
        (tmp_path / f"jpserver-{pid}.json").write_text(json.dumps(info))
    (tmp_path / "jpserver-3.json").write_text('{"url": "half writ')
    assert [c.server.url for c in running_servers(tmp_path)] == ["http://alive:1/"]
    assert running_servers(tmp_path / "nowhere") == []


def test_the_process_number_zero_is_nobody() -> None:
    assert not pid_lives(0)
    assert pid_lives(1)


def test_the_runtime_folder_follows_the_environment_that_is_passed_in() -> None:
    assert runtime_dir({"JUPYTER_RUNTIME_DIR": "/a", "JUPYTER_DATA_DIR": "/b"}) == Path("/a")
    assert runtime_dir({"JUPYTER_DATA_DIR": "/b"}) == Path("/b/runtime")


def test_a_named_server_takes_what_its_own_file_tells_and_no_others() -> None:
    running = [candidate(1, "/one", 1), candidate(2, "/two", 2)]
    mine = completed(configured("http://localhost:2/lab"), running)
    assert mine == Server("http://localhost:2/", "secret2", "/two")
    assert completed(configured("http://localhost:2/", " own\n"), running).token == "own"
    elsewhere = configured("http://elsewhere:2/")
    assert completed(elsewhere, running) == elsewhere


async def test_the_running_server_is_found(jupyter: Server, jupyter_env: dict[str, str]) -> None:
    assert jupyter.root_dir is not None
    assert await find_server(Settings(), jupyter_env, Path(jupyter.root_dir)) == jupyter


async def test_a_configured_server_is_not_searched_for(jupyter_env: dict[str, str]) -> None:
    server = configured("http://127.0.0.1:9/", "t")
    found = await find_server(Settings(server=server), jupyter_env, CWD)
    assert found == replace(server, runtime_dir=runtime_dir(jupyter_env))


async def test_a_server_that_does_not_answer_is_not_chosen(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    info = {"url": url, "token": "t", "root_dir": "/", "pid": os.getpid()}
    (tmp_path / "jpserver-1.json").write_text(json.dumps(info))
    assert not await is_alive(Server(url, "t"))
    assert await find_server(Settings(), {"JUPYTER_RUNTIME_DIR": str(tmp_path)}, CWD) is None
