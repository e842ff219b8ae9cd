"""The stage: a JupyterLab of our own in a temporary folder, the two actors, and the judge."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..config import Server
from ..jupyter.embedded import EmbeddedLab, embedded_lab, require_lab
from ..testing import Human, converged
from .goose import ScriptedAgent
from .ledger import Ledger, texts_of
from .report import Report
from .typist import Typist
from .verdict import differences, misplaced, output_differences

NOTEBOOK = "wine.ipynb"
_CONVERGED_S = 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it happens: the server, its root folder, and an environment without this user's Jupyter settings."""

    lab: EmbeddedLab
    folder: Path
    env: Mapping[str, str]

    @property
    def server(self) -> Server:
        """The Jupyter server."""
        return self.lab.server

    @property
    def file(self) -> Path:
        """The notebook on disk."""
        return self.folder / NOTEBOOK

    @property
    def agent_log(self) -> Path:
        """What the agent's process says on stderr."""
        return self.folder.parent / "agent.log"


@asynccontextmanager
async def stage(env: Mapping[str, str], *, open_browser: bool) -> AsyncIterator[Stage]:
    """JupyterLab with a copy of the sample notebook in a temporary folder, gone at the end of the block."""
    require_lab()
    with tempfile.TemporaryDirectory(prefix="collab-agent-demo-", ignore_cleanup_errors=True) as top:
        home, folder = Path(top) / "home", Path(top) / "notebooks"
        folder.mkdir()
        (folder / NOTEBOOK).write_bytes(files(__package__).joinpath(NOTEBOOK).read_bytes())
        clean = secluded(env, home, keep_runtime=open_browser)
        log = Path(top) / "lab.log"
        async with embedded_lab(folder, env=clean, open_browser=open_browser, notebook=NOTEBOOK, log_path=log) as lab:
            yield Stage(lab, folder, clean)


def secluded(env: Mapping[str, str], home: Path, *, keep_runtime: bool) -> dict[str, str]:
    """An environment in which Jupyter neither sees nor changes this user's settings, kernels and history.

    ``keep_runtime``: the server is listed where this user's servers are, so that a browser can be sent there and
    ``jupyter server list`` shows it.  ``MPLBACKEND`` would keep figures from the notebook, and an
    active environment may lack what the demo needs.
    """
    folders = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    others = ("MPLBACKEND", "VIRTUAL_ENV", "CONDA_PREFIX")
    kept = {name: value for name, value in env.items() if not name.startswith("JUPYTER") and name not in others}
    if not keep_runtime:
        folders["JUPYTER_RUNTIME_DIR"] = home / "runtime"
    elif "JUPYTER_RUNTIME_DIR" in env:
        kept["JUPYTER_RUNTIME_DIR"] = env["JUPYTER_RUNTIME_DIR"]
    for folder in folders.values():
        folder.mkdir(parents=True)
    # Else a page that has no settings yet asks whether it may fetch news, on top of the notebook.
    asked = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    asked.parent.mkdir(parents=True)
    asked.write_text('{"fetchNews": "false", "checkForUpdates": false}', "utf-8")
    return kept | {name: str(folder) for name, folder in folders.items()}


async def judge(at: Stage, ledger: Ledger, ada: Typist, goose: ScriptedAgent, report: Report) -> bool:
    """Whether every replica and the file hold what they must, character by character; tells what does not."""
    async with Human.join_server(at.server, NOTEBOOK, "Witness", announces=False) as witness:
        with suppress(TimeoutError):  # what has not arrived by then is told below
            await ada.human.wait_for(lambda: converged(ada.human, witness), _CONVERGED_S)
        agent = await goose.view()
        room, page, file = witness.document(), ada.human.document(), json.loads(at.file.read_text("utf-8"))
    good: list[bool] = []
    for name, found in (
        (f"agent    what {goose.name} is shown, cell by cell", agent),
        (f"human    {ada.human.name}'s page", texts_of(page)),
        ("server   its room, as a peer gets it who joined just now", texts_of(room)),
        (f"file     {NOTEBOOK} on disk", texts_of(file)),
    ):
        size = f"{len(found)} cells, {sum(len(cell.source) for cell in found):,} characters"
        good.append(_tell(f"{name:<60}{size}", differences(ledger.cells, found), report))
    wrong = [f"human: {line}" for line in output_differences(room, page)]
    wrong += [f"file: {line}" for line in output_differences(room, file)]
    good.append(_tell("outputs  and run counts: human, server and file hold the same", wrong, report))
    lost = misplaced(ledger.typed, texts_of(file))
    if ada.pressed != ledger.keystrokes:
        lost.append(f"{ada.pressed} keys were pressed, {ledger.keystrokes} were meant to be")
    keys = f"{ada.pressed} keystrokes in {len(ledger.typed)} bursts: each burst whole, in order, where it was begun"
    good.append(_tell(f"typing   {keys}", lost, report))
    return all(good)


def _tell(what: str, wrong: Sequence[str], report: Report) -> bool:
    report.check(not wrong, what)
    for line in wrong:
        report.plain(f"         {line}")
    return not wrong
