"""What must hold while a silent request is answered on the control channel, beside a cell that is running.

ipykernel's ``do_execute`` was made for one request at a time.  Beside another one it would (measured with 7.4):

* trigger ``post_execute``, where matplotlib shows and closes all figures: the human's half-drawn one would go to us;
* set the kernel's ``allow_stdin`` to our request's, so that the human's ``input()`` would raise.

``hold`` is called first, as the silent code; ``release`` right behind it, as a user expression.
"""

from __future__ import annotations

import sys
import threading
from typing import Any


class Unheard(list):  # type: ignore[type-arg]
    """Callbacks that this one thread does not call; everybody else's are called as ever."""

    def __getitem__(self, key: Any, _here: int = threading.get_ident(), _now: Any = threading.get_ident) -> Any:
        if isinstance(key, slice) and _now() == _here:
            return []
        return list.__getitem__(self, key)


def _shell() -> Any:
    module = sys.modules.get("IPython.core.getipython")
    return None if module is None else module.get_ipython()


def hold() -> None:
    """Keep ``post_execute`` of this request from being heard."""
    try:
        callbacks = _shell().events.callbacks
        callbacks["post_execute"] = Unheard(callbacks["post_execute"])
    except Exception:  # another kernel than ipykernel: nothing to keep apart
        return


def release() -> None:
    """Undo ``hold``, and give the kernel back the ``allow_stdin`` of the cell that is running."""
    try:
        shell = _shell()
        callbacks = shell.events.callbacks
        callbacks["post_execute"] = list(callbacks["post_execute"])
        parent = shell.kernel.get_parent("shell")
        if threading.current_thread() is not threading.main_thread() and parent:
            shell.kernel._allow_stdin = bool(parent["content"].get("allow_stdin"))
    except Exception:
        return
