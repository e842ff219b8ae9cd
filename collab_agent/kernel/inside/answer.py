"""How an answer leaves the kernel: as text, past whatever formatters the user registered."""

from __future__ import annotations

import json
from typing import Any


class Answer:
    """Shown by IPython as ``text/plain``: a string as it is, all else as JSON."""

    def __init__(self, value: Any) -> None:
        self.text = value if type(value) is str else json.dumps(value, default=lambda _unknown: None)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text}
