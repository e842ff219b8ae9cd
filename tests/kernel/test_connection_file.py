"""Which connection files are used: this machine's, this user's own, and nobody else's to read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.config import Server
from collab_agent.kernel.connection_file import Connection, find_connection, is_local, parse_connection

KERNEL = "0b8ff0f2-2f3c-4f6c-8d07-5f3a9d3c2d11"
INFO: dict[str, Any] = {
    "shell_port": 1,
    "iopub_port": 2,
    "stdin_port": 3,
    "control_port": 4,
    "hb_port": 5,
    "ip": "127.0.0.1",
    "key": "s3cret",
    "transport": "tcp",
    "signature_scheme": "hmac-sha256",
    "kernel_name": "python3",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good one."""
    path = tmp_path / f"kernel-{KERNEL}.json"
    path.touch(0o600)
    path.write_text(json.dumps(INFO))
    return path


@pytest.fixture
def server(file: Path) -> Server:
    return Server("http://localhost:8888/", "t", runtime_dir=file.parent)


def test_a_private_file_of_ours_is_used(server: Server) -> None:
    found = find_connection(server, KERNEL)
    assert found is not None
    assert found.addresses == {
        "shell": "tcp://127.0.0.1:1",
        "iopub": "tcp://127.0.0.1:2",
        "stdin": "tcp://127.0.0.1:3",
        "control": "tcp://127.0.0.1:4",
    }
    assert (found.key, found.digest) == (b"s3cret", "sha256")
    assert "s3cret" not in repr(found)


def test_another_kernels_and_a_missing_folder_are_not(server: Server) -> None:
    assert find_connection(server, "another") is None
    assert find_connection(replace(server, runtime_dir=None), KERNEL) is None
    assert find_connection(replace(server, runtime_dir=Path("/nowhere")), KERNEL) is None


@pytest.mark.parametrize("url", ["http://example.org:8888/", "https://10.0.0.1/", "http://localhost.example.org/"])
def test_a_server_elsewhere_has_no_kernel_here(server: Server, url: str) -> None:
    assert find_connection(replace(server, url=url), KERNEL) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_file_that_others_can_read_or_write_is_not_used(server: Server, file: Path, mode: int) -> None:
    file.chmod(mode)
    assert find_connection(server, KERNEL) is None


def test_somebody_elses_file_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    assert find_connection(server, KERNEL) is None


def test_a_link_a_pipe_and_a_folder_are_not_used(server: Server, file: Path) -> None:
    real = file.rename(file.with_name("real"))
    file.symlink_to(real)
    assert find_connection(server, KERNEL) is None
    file.unlink()
    os.mkfifo(file, 0o600)  # must not block either
    assert find_connection(server, KERNEL) is None
    file.unlink()
    file.mkdir(0o700)
    assert find_connection(server, KERNEL) is None


def test_a_kernels_id_does_not_lead_out_of_the_folder(server: Server, file: Path) -> None:
    assert server.runtime_dir is not None
    inner = server.runtime_dir / "kernel-x"
    inner.mkdir()
    assert find_connection(replace(server, runtime_dir=inner.parent), f"x/../{file.stem}") is None


@pytest.mark.parametrize(
    "change",
    [
        {"ip": "192.168.0.7"},
        {"ip": "0.0.0.0"},
        {"key": ""},
        {"key": None},
        {"transport": "udp"},
        {"shell_port": "1"},
        {"signature_scheme": "hmac-nonsense"},
        {"signature_scheme": "hmac-shake_128"},
        {"curve_publickey": "x" * 40},
    ],
    ids=str,
)
def test_what_cannot_be_used_safely_is_passed_over(change: dict[str, Any]) -> None:
    assert parse_connection(json.dumps(INFO | change)) is None


def test_other_transports() -> None:
    six = parse_connection(json.dumps(INFO | {"ip": "::1"}))
    pipe = parse_connection(json.dumps(INFO | {"transport": "ipc", "ip": "/run/kernel"}))
    assert six is not None
    assert pipe is not None
    assert (six.addresses["shell"], pipe.addresses["shell"]) == ("tcp://[::1]:1", "ipc:///run/kernel-1")


JSON = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.sampled_from([*INFO.values()])
NAMES = st.sampled_from(sorted(INFO))


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(NAMES, JSON).map(lambda change: json.dumps(INFO | change)))
def test_garbage_is_passed_over(text: str) -> None:
    assert isinstance(parse_connection(text), Connection | None)


def test_only_loopback_is_local() -> None:
    assert all(map(is_local, ["localhost", "127.0.0.1", "127.8.8.8", "::1"]))
    assert not any(map(is_local, [None, "", "0.0.0.0", "::", "10.0.0.1", "localhost.org", "127.0.0.1.org"]))
