"""Reading what a server writes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

WRITTEN_S = 5.0


def notebook_in(file: Path | str) -> dict[str, Any]:
    """The notebook in a file that a server may be writing at this very moment: it empties the file first."""
    deadline = time.monotonic() + WRITTEN_S
    while True:
        try:
            found: dict[str, Any] = json.loads(Path(file).read_text("utf-8"))
            return found
        except ValueError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
