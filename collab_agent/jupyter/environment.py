"""What a JupyterLab of our own is started in: the Python environment that runs its notebooks, and pages without news.

Where several places have a kernelspec ``python3``, Jupyter takes the first: of ``JUPYTER_PATH``, of the user's own
folder, which may lead to an environment of long ago, and only then of the environment it runs in (the order of the last
two hangs on who owns the environment).  And ``python`` in a kernelspec means the server's own.  So a spec is written
that names the environment that the user is in by its path, and is put before all others, which stay.

A page whose user has never been asked asks whether it may fetch Jupyter's news, in a pop-up over the notebook, even
where the server has no address of news.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_NEWS = "@jupyterlab/apputils-extension:announcements"
_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")


def python_of(env: Mapping[str, str]) -> Path:
    """The Python that notebooks get: of the environment that is active in ``env`` if it has ipykernel, else our own."""
    for prefix in (Path(env[name]) for name in _ACTIVE if env.get(name)):
        python = prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if python.exists() and _has_ipykernel(prefix):
            return python
    return Path(sys.executable)


def passed_over(env: Mapping[str, str]) -> str:
    """The active environment that notebooks do not get, because it has no ipykernel; empty if there is none."""
    active = next((env[name] for name in _ACTIVE if env.get(name)), "")
    ours = Path(sys.prefix) == Path(active) or python_of(env) != Path(sys.executable)
    return "" if not active or ours else active


def _has_ipykernel(prefix: Path) -> bool:
    patterns = ("lib/python*/site-packages/ipykernel", "Lib/site-packages/ipykernel")
    return any(True for pattern in patterns for _ in prefix.glob(pattern))


@contextmanager
def prepared(env: Mapping[str, str]) -> Iterator[tuple[dict[str, str], Path]]:
    """``env`` for a server whose kernelspec ``python3`` is ``python_of(env)``, and the folder that holds that.

    The folder is there for the length of the block.
    """
    with tempfile.TemporaryDirectory(prefix="collab-agent-jupyter-") as folder:
        _write_spec(Path(folder, "kernels", "python3"), python_of(env))
        pages = Path(folder, "labconfig", "page_config.json")
        pages.parent.mkdir()
        pages.write_text(json.dumps({"disabledExtensions": {_NEWS: True}}), "utf-8")
        paths = {
            name: os.pathsep.join(filter(None, (folder, env.get(name))))
            for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH")
        }
        yield {**env, **paths}, Path(folder)


def _write_spec(folder: Path, python: Path) -> None:
    ours = importlib.util.find_spec("ipykernel")
    logos = Path(str(ours.origin)).parent / "resources" if ours is not None and ours.origin else folder
    if logos.is_dir():
        shutil.copytree(logos, folder)
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python 3 ({_name(python)})",
        "language": "python",
        "metadata": {"debugger": True},
    }
    (folder / "kernel.json").write_text(json.dumps(spec), "utf-8")


def _name(python: Path) -> str:
    """What the human's page calls the environment: ``.venv`` alone would say nothing."""
    if python == Path(sys.executable):
        return "ipykernel"
    prefix = python.parent.parent
    return prefix.parent.name if prefix.name in (".venv", "venv", "env") else prefix.name
