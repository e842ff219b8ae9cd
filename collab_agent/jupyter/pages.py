"""What the server tells its own pages, read off the page of JupyterLab.  Pure.

It is the one thing that a server tells of its extensions and of whether its pages collaborate at all.  It also tells
the token, to whoever has it already: nothing is kept but what is named here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_CONFIG = re.compile(r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pages:
    """``lab``: JupyterLab's version.  ``extensions``: the prebuilt ones that pages load, by their npm names.

    ``disabled``: extensions, and plugins of extensions (``name:plugin``), that pages are told to leave out.
    ``collaborate``: whether they may use the rooms at all (``YDocExtension.disable_rtc``).
    """

    lab: str
    extensions: frozenset[str]
    disabled: frozenset[str]
    collaborate: bool

    def load(self, extension: str) -> bool:
        """Whether pages load this extension."""
        return extension in self.extensions and extension not in self.disabled


def pages_of(html: str) -> Pages | None:
    """What the page of JupyterLab tells; None where it is none."""
    found = _CONFIG.search(html)
    try:
        config = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    loaded = (item.get("name") for item in _list(config, "federated_extensions") if isinstance(item, dict))
    return Pages(
        str(config.get("appVersion", "")),
        frozenset(name for name in loaded if isinstance(name, str)),
        frozenset(name for name in _list(config, "disabledExtensions") if isinstance(name, str)),
        config.get("disableRTC") is not True,
    )


def _list(config: dict[str, object], key: str) -> list[object]:
    value = config.get(key)
    return value if isinstance(value, list) else []
