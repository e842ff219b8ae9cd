"""Which Python runs the notebooks of a JupyterLab of our own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anyio
import pytest

from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.jupyter.environment import prepared, passed_over, python_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An environment of a project of the user's, with an ipykernel of its own as far as can be seen from outside."""
    prefix = tmp_path / "wine" / ".venv"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(sys.executable)
    (prefix / "lib" / "python3.11" / "site-packages" / "ipykernel").mkdir(parents=True)
    return prefix


def spec_of(env: dict[str, str]) -> dict[str, object]:
    with prepared(env) as given:
        first = given["JUPYTER_PATH"].split(os.pathsep)[0]
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
    with prepared({"JUPYTER_PATH": "/a:/b"}) as given:
        assert given["JUPYTER_PATH"].split(":")[1:] == ["/a", "/b"]


async def test_a_kernelspec_of_another_environment_does_not_come_first(
    jupyter_env: dict[str, str], tmp_path: Path, project: Path
) -> None:
    """Jupyter's own order would take the one in ``JUPYTER_PATH``; a real server starts ours."""
    other = tmp_path / "other" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "Another", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec), "utf-8")
    env = {**jupyter_env, "JUPYTER_PATH": str(tmp_path / "other"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    env |= {"VIRTUAL_ENV": str(project)}
    (root := tmp_path / "root").mkdir()
    with anyio.fail_after(120):
        async with embedded_lab(root, env=env, log_path=tmp_path / "lab.log") as lab, JupyterApi(lab.server) as api:
            specs = await api.kernelspecs()
            assert specs.pick(None).display_name == "Python 3 (wine)"
            assert specs.pick(None).argv[0] == str(project / "bin" / "python")
