"""What every test may use: one real JupyterLab for the whole run, and notebooks made in its root folder."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import settings

from collab_agent.config import Server
from collab_agent.jupyter.embedded import embedded_lab

NewNotebook = Callable[..., str]

settings.register_profile("long", deadline=None, max_examples=10_000)
"""``pytest tests/fuzz --hypothesis-profile=long``; there, each test multiplies its own number instead."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The pictures of the documentation and the random session of four are made by ``tests/browser``."""
    parser.addoption("--update-images", action="store_true", help="write the pictures in docs/images anew")
    parser.addoption(
        "--session-seconds", type=float, default=60.0, help="how long two humans and two agents work at random"
    )
    parser.addoption("--every-fault", action="store_true", help="each fault at each phase, not only a choice of them")
    parser.addoption("--every-client", action="store_true", help="drive Codex and Claude Code, too: 770 MB from npm")
    parser.addoption("--seed", type=int, help="what they do, at random: the number that a failure prints")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The whole session runs on one asyncio loop, so that the server can be shared."""
    return "asyncio"


@pytest.fixture(scope="session")
def jupyter_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which Jupyter sees none of this user's own configuration, servers or history."""
    home = tmp_path_factory.mktemp("jupyter-home")
    folders = {
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_PATH": home / "path",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTERLAB_SETTINGS_DIR": home / "lab-settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "lab-workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    for folder in folders.values():
        folder.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    return inherited | {name: str(folder) for name, folder in folders.items()}


@pytest.fixture(scope="session")
async def lab(
    anyio_backend: str, jupyter_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """The one real ``jupyter lab`` of this run."""
    log = tmp_path_factory.mktemp("jupyter-log") / "lab.log"
    async with embedded_lab(tmp_path_factory.mktemp("notebooks"), env=jupyter_env, log_path=log) as lab:
        yield lab.server


@pytest.fixture(scope="module")
async def jupyter(lab: Server) -> AsyncIterator[Server]:
    """The one real server; ``root_dir`` is a temporary folder.

    Its kernels end with the module: each holds some fifteen of the descriptors of which a server may have but 1,024.
    """
    yield lab
    headers = {"Authorization": f"token {lab.token}"}
    async with httpx2.AsyncClient(base_url=lab.url, headers=headers, trust_env=False, timeout=60) as client:
        kernels = (await client.get("api/kernels")).raise_for_status().json()
        async with anyio.create_task_group() as tasks:
            for kernel in kernels:
                tasks.start_soon(client.delete, f"api/kernels/{kernel['id']}")


@pytest.fixture
def new_notebook(jupyter: Server) -> NewNotebook:
    """``new_notebook(["1+1", ("markdown", "# Title")], name=None) -> path``: a notebook in the server's root.

    ``name`` may hold folders; without one a random name is made.  Cell ids are random, 8 hex digits.
    """

    def make(sources: Sequence[str | tuple[str, str]] = (), name: str | None = None) -> str:
        assert jupyter.root_dir is not None
        path = name or f"test-{uuid.uuid4().hex[:12]}.ipynb"
        file = Path(jupyter.root_dir) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(notebook_json(sources), ensure_ascii=False, indent=1), "utf-8")
        return path

    return make


def notebook_json(sources: Sequence[str | tuple[str, str]]) -> dict[str, Any]:
    """A valid nbformat 4.5 notebook: a string is a code cell, a pair is (cell type, source)."""
    cells: list[dict[str, Any]] = []
    for item in sources:
        kind, source = ("code", item) if isinstance(item, str) else item
        cell: dict[str, Any] = {
            "id": uuid.uuid4().hex[:8],
            "cell_type": kind,
            "metadata": {},
            "source": source,
        }
        if kind == "code":
            cell.update(outputs=[], execution_count=None)
        cells.append(cell)
    kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    metadata = {"kernelspec": kernelspec, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
