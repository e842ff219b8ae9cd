"""What the demo prints: a line per deed, with its time and who did it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO
from unicodedata import east_asian_width

WIDTH = 116
_NAME = 6
_INDENT = 10 + _NAME + 1
_BOLD, _DIM, _GREEN, _RED = "1", "2", "32", "31"
_COLORS = {"Ada": "35", "Goose": "36"}


class Report:
    """Lines on a stream.  ``color``: whether escape sequences may be used; ``clock`` counts seconds."""

    def __init__(self, out: TextIO, *, color: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._color = color
        self._clock = clock
        self._began = clock()
        self._keys: tuple[str, str, str] = ("", "", "")  # who, cell, what was typed since the last line
        self._key_at = 0.0

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return self._clock() - self._began

    def title(self, text: str) -> None:
        """A heading."""
        self.flush()
        self._write(f"\n{self._paint(text, _BOLD)}")

    def line(self, who: str, text: str) -> None:
        """Somebody (or, with an empty name, the stage) did something."""
        self.flush()
        self._line(self.seconds, who, text)

    def key(self, who: str, cell: str, character: str) -> None:
        """A keystroke; those that follow each other are told in one line."""
        if self._keys[:2] != (who, cell):
            self.flush()
        self._keys = (who, cell, self._keys[2] + character)
        self._key_at = self.seconds

    def flush(self) -> None:
        """Tell what was typed so far."""
        who, cell, text = self._keys
        self._keys = ("", "", "")
        if text:
            self._line(self._key_at, who, f"types {quoted(text)} in {cell}")

    def check(self, ok: bool, text: str) -> None:
        """A part of the verdict."""
        self.flush()
        self._write(f"  {self._paint('ok ', _GREEN) if ok else self._paint('BAD', _RED)}  {text}")

    def verdict(self, ok: bool, text: str) -> None:
        """The last word."""
        self.flush()
        self._write(f"\n{self._paint(text, f'{_BOLD};{_GREEN if ok else _RED}')}")

    def plain(self, text: str = "") -> None:
        """A line as it is."""
        self.flush()
        self._write(text)

    def text(self, text: str) -> None:
        """Lines of a cell, set in."""
        self.flush()
        for line in text.split("\n"):
            self._write(f"{'':{_INDENT}}{self._paint('│', _DIM)} {clipped(line, WIDTH - _INDENT - 2)}")

    def _line(self, seconds: float, who: str, text: str) -> None:
        name = self._paint(f"{who:<{_NAME}}", _COLORS.get(who, _BOLD))
        first, *rest = wrapped(text, WIDTH - _INDENT)
        self._write(f"{self._paint(f'{seconds:6.1f} s', _DIM)}  {name} {first}")
        for line in rest:
            self._write(f"{'':{_INDENT}}{line}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color else text

    def _write(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"  # a terminal of another encoding must not end the demo
        self._out.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self._out.flush()


def quoted(text: str, most: int = 72) -> str:
    """A text in one line, in quotes; the middle of a long one is left out."""
    shown = text.replace("\n", "⏎")
    if columns(shown) > most:
        shown = f"{shown[: most // 2 - 2]} … {shown[-(most // 3) :]}"
    return f"“{shown}”"


def clipped(text: str, most: int) -> str:
    """As much of a line as fits into ``most`` columns."""
    if columns(text) <= most:
        return text
    while text and columns(text) > most - 1:
        text = text[:-1]
    return f"{text}…"


def wrapped(text: str, most: int) -> list[str]:
    """The text in lines of at most ``most`` columns, broken at spaces where there are any."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if columns(longer) <= most:
            lines[-1] = longer
        else:
            lines.append(f"  {clipped(word, most - 2)}")
    return lines


def columns(text: str) -> int:
    """The width of a text on a terminal: East Asian characters and emoji take two columns."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
