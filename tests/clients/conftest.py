"""A user whose JupyterLab runs on this machine, and their page: the one of ``tests/browser``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from collab_agent.config import Server
from tests import npm
from tests.browser.conftest import browser, context, page

__all__ = ["browser", "context", "page"]

RUNTIME = ".local/share/jupyter/runtime"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``heavy`` is only looked into when it is asked for."""
    heavy = collection_path.is_relative_to(Path(__file__).parent / "heavy")
    return True if heavy and not config.getoption("--every-client") else None


@pytest.fixture
def client_env(jupyter: Server, jupyter_env: dict[str, str]) -> dict[str, str]:
    """The environment of a user who names the server."""
    npm.install(Path(__file__).parent)
    here = f"{Path(sys.executable).parent}{os.pathsep}{jupyter_env['PATH']}"  # where the command collab-agent is
    return jupyter_env | {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token, "PATH": here}


@pytest.fixture
def user_env(client_env: dict[str, str], jupyter_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a user who configures nothing: the server is found in their home, which is ``tmp_path``."""
    runtime = tmp_path / RUNTIME
    runtime.parent.mkdir(parents=True)
    runtime.symlink_to(jupyter_env["JUPYTER_RUNTIME_DIR"])
    plain = {name: value for name, value in client_env.items() if not name.startswith("JUPYTER")}
    return plain | {"HOME": str(tmp_path)}
