"""JupyterLab on a leash: it ends, with its kernels, as soon as whoever started it is gone, however they went.

The other end of stdin is held by the one who started it, and says nothing.  When it closes, as the system sees to even
after a SIGKILL, the server is told to end as by SIGTERM; it may then hang for as long as a client is in a room (rtc
facts, section 2), and its kernels, which have sessions of their own, would outlive its death.  So whatever is left
after a while is killed here.

Run as ``python -m collab_agent.jupyter.leash FOLDER`` with JupyterLab's own arguments behind; what is in the folder is
needed only as long as JupyterLab runs.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
KINDLY_S = 3.0
"""How long the server may take to end its kernels and to close its rooms."""


def main() -> None:
    """Run JupyterLab in this process."""
    folder = sys.argv.pop(1)
    wire = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the server, its kernels and terminals have nothing to do with the leash
    os.close(nothing)
    _wake_at_the_end()
    threading.Thread(target=_hold, args=(wire, folder), name="leash", daemon=True).start()
    try:
        runpy.run_module("jupyterlab", run_name="__main__", alter_sys=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wake_at_the_end() -> None:
    """Have Linux continue this process when the other end is gone: one that was stopped would not end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def _hold(wire: int, folder: str) -> None:
    """Wait for the end of the other end, then end everything; runs in a thread that the process may leave behind."""
    with suppress(OSError):
        while os.read(wire, 4096):
            pass
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(KINDLY_S)
    for pid in _kernels():
        _kill(pid)
    os._exit(1)


def _kernels() -> list[int]:
    from jupyter_server.serverapp import ServerApp

    if not ServerApp.initialized():
        return []
    app: Any = ServerApp.instance()
    kernels = [app.kernel_manager.get_kernel(kernel_id) for kernel_id in app.kernel_manager.list_kernel_ids()]
    pids = [getattr(getattr(kernel, "provisioner", None), "pid", None) for kernel in kernels]
    return [pid for pid in pids if isinstance(pid, int)]


def _kill(pid: int) -> None:
    """A kernel leads a process group of its own, with what its code has started."""
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
