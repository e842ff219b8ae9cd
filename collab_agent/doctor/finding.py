"""One line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "BAD"]
"""``note``: it works, but not all of it.  ``BAD``: it does not work, or what people write is in danger."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, and what it means; ``remedy``: the command or the setting that mends it (may be empty)."""

    level: Level
    text: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether the agent can be used as it is."""
        return self.level != "BAD"

    def __str__(self) -> str:
        return f"{self.level:<4} {self.text}" + (f"  ->  {self.remedy}" if self.remedy else "")
