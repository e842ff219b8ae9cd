"""What whoever started this agent allows it to do; enforced below the tools, and shown in its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate

from .errors import NotAllowed


@dataclass(frozen=True, slots=True)
class Policy:
    """``read_only``: nothing is written and nothing is run.  ``no_run``: cells are edited, but no code is run.

    ``allow``: patterns of the notebooks that may be opened, relative to the server's root; none: all.  In a pattern
    ``*`` stays within a folder and ``**`` stands for any folders.
    """

    read_only: bool = False
    no_run: bool = False
    allow: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the others see behind the agent's name; empty where nothing is forbidden."""
        return "read-only" if self.read_only else "no-run" if self.no_run else ""

    def allows(self, path: str) -> bool:
        """Whether this notebook may be opened."""
        return not self.allow or any(_matches(pattern, path) for pattern in self.allow)

    def check_path(self, path: str) -> None:
        """``NotAllowed`` where this notebook must not be touched."""
        if not self.allows(path):
            raise NotAllowed(
                f"This agent may work in {', '.join(self.allow)} only, not in {path!r}. Nothing was done.",
                "Take another notebook, or ask the human: it is collab-agent's option --allow.",
            )

    def check_write(self, path: str) -> None:
        """``NotAllowed`` where nothing may be written into this notebook."""
        self.check_path(path)
        if self.read_only:
            raise NotAllowed(
                "This agent may only read (--read-only). Nothing was written.",
                "Tell the human what you would change; they decide.",
            )

    def check_run(self, path: str) -> None:
        """``NotAllowed`` where no code may be run on this notebook's kernel."""
        self.check_path(path)
        if self.read_only or self.no_run:
            option = "--read-only" if self.read_only else "--no-run"
            raise NotAllowed(
                f"This agent may not run code ({option}), nor use the kernel. Nothing was run and nothing was written.",
                'Ask the human to run the cells; query_notebook(query="outputs") then shows what came of it.',
            )


def _matches(pattern: str, path: str) -> bool:
    """Whether the whole path matches, part by part: no ``*`` reaches across a slash."""
    return _match(pattern.strip("/").split("/"), path.split("/"))


def _match(patterns: list[str], parts: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match(patterns[1:], parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and re.match(translate(patterns[0]), parts[0]) is not None and _match(patterns[1:], parts[1:])
