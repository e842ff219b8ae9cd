"""Tool arguments, checked by hand: an error says what is wrong, what is right, and that nothing was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcp_types import Tool

from ..errors import InvalidEdit
from .progress import Report
from .schema import properties

MOST_WAIT_S = 3_600.0


class Arguments:
    """One call's arguments; every getter raises ``InvalidEdit`` on a wrong value."""

    def __init__(self, tool: Tool, given: Mapping[str, Any], report: Report | None = None) -> None:
        known = properties(tool)
        unknown = sorted(given.keys() - known.keys())
        if unknown:
            raise InvalidEdit(
                f"{tool.name} does not take {', '.join(map(repr, unknown))}. Nothing was done.",
                f"It takes {', '.join(known)}.",
            )
        self.report = report
        """Tells the caller how it goes on."""
        self._tool = tool
        self._known = known
        self._given = {name: value for name, value in given.items() if value is not None}

    def raw(self, name: str) -> Any:
        """A value as it came; None where it was not given."""
        return self._given.get(name)

    def text(self, name: str) -> str | None:
        """A string."""
        value = self._given.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def choice(self, name: str) -> str:
        """One of the values that the schema lists, or its default."""
        options: list[str] = self._known[name]["enum"]
        value = self._given.get(name, self._known[name]["default"])
        if value not in options:
            raise self._wrong(name, f"one of {', '.join(options)}")
        return str(value)

    def number(self, name: str, default: float) -> float:
        """A number of seconds, from 0 to an hour."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_WAIT_S:
            raise self._wrong(name, f"a number of seconds from 0 to {MOST_WAIT_S:.0f}")
        return float(value)

    def integer(self, name: str, least: int) -> int | None:
        """A whole number of at least ``least``; None where it was not given."""
        value = self._given.get(name)
        if value is None:
            return None
        is_whole = value.is_integer() if isinstance(value, float) else isinstance(value, int)  # NaN is a float
        if isinstance(value, bool) or not is_whole or value < least:
            raise self._wrong(name, f"a whole number from {least} on")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def refs(self, name: str) -> list[str] | None:
        """Cell references; None where none were given."""
        value = self._given.get(name)
        if value is None:
            return None
        refs = [value] if isinstance(value, str) else value
        if not isinstance(refs, Sequence) or not all(isinstance(ref, str) for ref in refs):
            raise self._wrong(name, 'a list of cell references, e.g. ["a1f9", "#3"]')
        return list(refs)

    def _wrong(self, name: str, right: str) -> InvalidEdit:
        return InvalidEdit(f"{self._tool.name}: {name} must be {right}. Nothing was done.")
