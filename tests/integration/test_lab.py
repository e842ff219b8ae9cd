"""``collab-agent lab``: a JupyterLab that an agent finds without configuration, and that ends in order."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import anyio

from tests.jupyter.test_leash import descendants, gone

from .test_stdio import spawned


async def test_an_agent_in_its_folder_finds_it_and_nothing_is_left_of_it(
    jupyter_env: dict[str, str], tmp_path: Path
) -> None:
    """The user's own kernelspec ``python3`` leads to an environment that is gone."""
    (folder := tmp_path / "project").mkdir()
    (old := tmp_path / "share" / "kernels" / "python3").mkdir(parents=True)
    spec = {"argv": ["/gone/bin/python", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (old / "kernel.json").write_text(json.dumps(spec), "utf-8")
    env = {
        **jupyter_env,
        "JUPYTER_PATH": str(tmp_path / "share"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "TMPDIR": str(tmp_path),
    }
    async with spawned(env, "lab", "--no-browser", str(folder)) as lab:
        first = (await lab.line()).decode()
        assert first.startswith("JupyterLab runs at http://127.0.0.1:")
        assert f"on {folder};" in first
        assert (await lab.line()).decode() == f"Notebooks run on {sys.executable}"
        pids = descendants(lab.process.pid)
        async with spawned(env, "--no-embedded", cwd=folder) as goose:
            await goose.start()
            await goose.call("setup_notebook", notebook_path="a.ipynb")
            write = {"op": "write", "cell": "#1", "source": "import sys; print(sys.executable)"}
            assert sys.executable in await goose.call("execute_notebook_code", edits=[write])
            pids += descendants(lab.process.pid)
            await goose.hang_up()
            assert await goose.ends() == 0, goose.err.decode()
        lab.process.send_signal(signal.SIGINT)
        assert await lab.ends() == 0, lab.err.decode()
        await gone(pids)
    assert b"collab-agent:" in lab.out, "the configuration of a client"
    left = [name async for name in anyio.Path(tmp_path).iterdir() if name.name.startswith("collab-agent-")]
    assert [name.suffix for name in left] == [".log"]
