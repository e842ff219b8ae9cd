"""Which Python runs the notebooks of a JupyterLab of our own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from collab_agent.jupyter.environment import passed_over, prepared, python_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An environment of a project of the user's, with an ipykernel of its own as far as can be seen from outside."""
    prefix = tmp_path / "wine" / ".venv"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(sys.executable)
    (prefix / "lib" / "python3.11" / "site-packages" / "ipykernel").mkdir(parents=True)
    return prefix


def spec_of(env: dict[str, str]) -> dict[str, object]:
    with prepared(env) as (given, folder):
        first = given["JUPYTER_PATH"].split(os.pathsep)[0]
        assert first == str(folder)
        spec: dict[str, object] = json.loads(Path(first, "kernels", "python3", "kernel.json").read_text("utf-8"))
        assert Path(first, "kernels", "python3", "logo-svg.svg").exists()
    assert not Path(first).exists()
    return spec


def test_without_an_active_environment_it_is_our_own() -> None:
    assert python_of({}) == Path(sys.executable)
    assert passed_over({}) == ""
    assert spec_of({})["argv"] == [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_the_active_environment_is_taken_and_named_in_the_page(project: Path, name: str) -> None:
    env = {name: str(project)}
    assert python_of(env) == project / "bin" / "python"
    assert passed_over(env) == ""
    spec = spec_of(env)
    assert spec["display_name"] == "Python 3 (wine)"
    assert str(spec["argv"]).startswith(f"['{project}")


def test_one_without_ipykernel_is_passed_over_and_told(project: Path) -> None:
    (project / "lib" / "python3.11" / "site-packages" / "ipykernel").rmdir()
    assert python_of({"VIRTUAL_ENV": str(project)}) == Path(sys.executable)
    assert passed_over({"VIRTUAL_ENV": str(project)}) == str(project)
    assert passed_over({"VIRTUAL_ENV": sys.prefix}) == ""


def test_other_kernelspecs_stay_behind_it() -> None:
    with prepared({"JUPYTER_PATH": "/a:/b"}) as (given, _folder):
        assert given["JUPYTER_PATH"].split(":")[1:] == ["/a", "/b"]
