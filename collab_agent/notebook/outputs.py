"""What a run prints and shows: iopub messages in, operations on the cell's shared ``outputs`` out.

The agent is the only writer of the outputs of its own runs.  ``Outputs`` holds what the outputs are now and
what was last flushed; ``flush`` gives the operations between the two.

Which operations there may be follows from how an open JupyterLab page (read in 4.6.6) tracks the document:

* It applies a change of any stream's text to the *last* output of its own list, as "cut the end, append",
  and before the removals and additions of the same transaction.
* It glues a new stream output to its last output if the output that it *added* last was a stream of that
  name, even if that one has been removed since.  Two neighbours of one name make it write back garbage.

So a flush is ``[EditStream] Append*`` or ``Truncate Append*``, to be written in one transaction.  No two
neighbours are streams of one name, and after ``Truncate(k)``, k > 0, comes an ``Append`` that is no stream.

``\\r`` and ``\\b`` work as in JupyterLab's ``processText`` (packages/outputarea/src/model.ts): there is a
cursor in the last line.  Text overwrites; a newline goes to the very end (so ``\\r\\n`` is a newline, and a
trailing ``\\r`` waits for what comes next); ``\\b`` deletes the character before the cursor and the one under
it.  JupyterLab counts UTF-16 units, we count characters: half an emoji is never left over.  ANSI escapes stay in.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .as_nbformat import bundle_of, copy_of, display_id, output_of, size_of, text_of


@dataclass(frozen=True, slots=True)
class Truncate:
    """Delete all outputs from ``index`` on."""

    index: int


@dataclass(frozen=True, slots=True)
class Append:
    """Add one output in nbformat's terms (v4; a stream's ``text`` is one string)."""

    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EditStream:
    """In the last output, a stream: keep the first ``keep`` characters and append ``text``."""

    keep: int
    text: str


Op = Truncate | Append | EditStream

MOST_OUTPUTS = 1_000
"""A page shows 50 and asks; and each one that is written anew leaves a gap in the document that all have to pass."""
MOST_SHOWN = 50_000_000
SPARE = 10
"""So many errors still come beyond that: how it ended is told."""


def apply(ops: Iterable[Op], outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs after ``ops``; ``outputs`` itself and its members are left alone."""
    result = list(outputs)
    for op in ops:
        match op:
            case Truncate(index):
                del result[index:]
            case Append(output):
                result.append(copy_of(output))
            case EditStream(keep, text):
                last = result[-1]
                result[-1] = {**last, "text": last["text"][:keep] + text}
    return result


class Outputs:
    """The outputs of one run of one cell.

    ``max_stream_chars`` bounds the text that all streams together hold.  What goes beyond is dropped, a last
    line says so, and ``truncated`` is True until the outputs are cleared.  ``max_outputs`` bounds their number, and
    ``max_shown_chars`` what all that is shown holds: there displays and results are dropped, and a line says so.
    """

    def __init__(
        self,
        max_stream_chars: int = 10_000_000,
        max_outputs: int = MOST_OUTPUTS,
        max_shown_chars: int = MOST_SHOWN,
    ) -> None:
        self.max_stream_chars = max_stream_chars
        self.max_outputs = max_outputs
        self.max_shown_chars = max_shown_chars
        self.truncated = False
        self._full = False
        self._shown_chars = 0
        self._items: list[_Stream | _Fixed] = []
        self._shown: list[_Stream | _Fixed] = []
        self._unchanged = 0
        """So many leading items are the very ones that were last flushed, with the content they had then."""
        self._displays: dict[str, list[int]] = {}
        self._clear_before_next = False
        self._closed_chars = 0
        """Characters in all streams but the last output."""

    @property
    def state(self) -> tuple[dict[str, Any], ...]:
        """The outputs as they are now, whether flushed or not."""
        return tuple(item.output() for item in self._items)

    @property
    def last(self) -> dict[str, Any] | None:
        """The last output as it is now."""
        return self._items[-1].output() if self._items else None

    def has_display(self, display_id: str) -> bool:
        """Whether an ``update_display_data`` for this id would change one of these outputs."""
        return bool(self._displays.get(display_id))

    def feed(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Take in one iopub message; types that are no output are ignored."""
        match msg_type:
            case "stream":
                self._make_room()
                self._print(text_of(content.get("name") or "stdout"), text_of(content.get("text", "")))
            case "display_data" | "execute_result" | "error":
                self._make_room()
                self._show(_Fixed(output_of(msg_type, content)), display_id(content))
            case "update_display_data":
                self.update_display(content)
            case "clear_output":
                self._clear_before_next = bool(content.get("wait"))
                if not self._clear_before_next:
                    self._clear()

    def update_display(self, content: Mapping[str, Any]) -> bool:
        """Take in an ``update_display_data`` of any run; False if none of these outputs has its id."""
        indices = self._displays.get(display_id(content) or "", [])
        for index in indices:
            old = self._items[index].output()
            updated = _Fixed({**old, **bundle_of(content)})
            more = updated.size - size_of(old)
            if more > 0 and self._shown_chars + more > self.max_shown_chars:
                self._cut(f"{self.max_shown_chars} characters")
                continue
            self._shown_chars += more
            self._items[index] = updated
            self._unchanged = min(self._unchanged, index)
        return bool(indices)

    def flush(self) -> tuple[Op, ...]:
        """The operations that turn what was last flushed into what is now; empty if nothing changed."""
        items, shown, known = self._items, self._shown, self._unchanged
        first = known
        while first < min(len(items), len(shown)) and items[first].looks_like(shown[first]):
            first += 1
        ops: list[Op] = []
        if first < len(shown):
            last_of_both = first == len(shown) - 1 and first < len(items)
            edit = _edit(shown[first], items[first]) if last_of_both else None
            if edit is None:
                # the page would glue a stream to what is left (see above): begin with something else
                while first > 0 and (first == len(items) or isinstance(items[first], _Stream)):
                    first -= 1
                ops.append(Truncate(first))
            else:
                first += 1
                ops.append(edit)
        ops += (Append(item.output()) for item in items[first:])
        for item in items[known:]:
            item.mark_shown()
        shown[known:] = items[known:]
        # a last stream can still grow
        self._unchanged = len(items) - (bool(items) and isinstance(items[-1], _Stream))
        return tuple(ops)

    def _make_room(self) -> None:
        if self._clear_before_next:
            self._clear_before_next = False
            self._clear()

    def _clear(self) -> None:
        self._items.clear()
        self._displays.clear()
        self._unchanged = self._closed_chars = self._shown_chars = 0
        self.truncated = self._full = False

    def _show(self, item: _Fixed, shown_as: str | None) -> None:
        """Add what is no stream, unless there is too much of it."""
        spare = SPARE if item.is_error else 0
        if len(self._items) >= self.max_outputs + spare:
            self._cut(f"{self.max_outputs} outputs")
        elif not item.is_error and self._shown_chars + item.size > self.max_shown_chars:
            self._cut(f"{self.max_shown_chars} characters")
        else:
            self._shown_chars += item.size
            self._add(item, shown_as)

    def _cut(self, where: str) -> None:
        """Say, once, that something was dropped."""
        if not self._full:
            self._full = True
            last = self._items[-1] if self._items else None
            if not isinstance(last, _Stream):
                last = _Stream("stdout")
                self._add(last)
            last.cut(f"[outputs cut by collab-agent at {where}]\n")

    def _add(self, item: _Stream | _Fixed, shown_as: str | None = None) -> None:
        if self._items and isinstance(last := self._items[-1], _Stream):
            self._closed_chars += last.end
        if shown_as:
            self._displays.setdefault(shown_as, []).append(len(self._items))
        self._items.append(item)

    def _print(self, name: str, text: str) -> None:
        if self.truncated:
            return
        last = self._items[-1] if self._items else None
        if not isinstance(last, _Stream) or last.name != name:
            if len(self._items) >= self.max_outputs:
                self._cut(f"{self.max_outputs} outputs")
                return
            last = _Stream(name)
            self._add(last)
        done = 0
        # n characters make a stream at most n longer; with \r and \b it can be less
        while done < len(text) and (room := self.max_stream_chars - self._closed_chars - last.end) > 0:
            last.write(text[done : done + room])
            done += room
        if done < len(text):
            self.truncated = True
            last.cut(f"[output cut by collab-agent at {self.max_stream_chars} characters]\n")


@dataclass(slots=True)
class _Fixed:
    """An output that is no stream; never changed, only replaced."""

    _output: dict[str, Any]

    @property
    def size(self) -> int:
        """About how many characters it holds."""
        return size_of(self._output)

    @property
    def is_error(self) -> bool:
        return bool(self._output["output_type"] == "error")

    def output(self) -> dict[str, Any]:
        copied: dict[str, Any] = copy_of(self._output)
        return copied

    def looks_like(self, shown: _Stream | _Fixed) -> bool:
        return isinstance(shown, _Fixed) and (self is shown or self._output == shown._output)

    def mark_shown(self) -> None:
        pass


_TOKEN = re.compile(r"[^\n\r\b]+|[\n\r\b]")


class _Stream:
    """A stream's text, a cursor in its last line, and how much of it was flushed.

    Only the last line is ever touched again, so the cost of a message does not grow with the text before it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.end = 0
        self._buffer = io.StringIO(newline="")
        self._line = 0
        self._cursor = 0
        self._flushed = 0
        """How many characters were flushed: the first so many, unless ``_before`` is set."""
        self._before: tuple[int, str] | None = None
        """Where the last line began, and its flushed text, once that was overwritten."""

    def output(self) -> dict[str, Any]:
        return {"output_type": "stream", "name": self.name, "text": self._buffer.getvalue()}

    def looks_like(self, shown: _Stream | _Fixed) -> bool:
        if not isinstance(shown, _Stream) or self.name != shown.name:
            return False
        return self.edit_from(shown) is None

    def edit_from(self, shown: _Stream) -> EditStream | None:
        """From what was flushed of ``shown`` to the text now; None if there is no difference."""
        start, old = shown._before or (shown._flushed, "")
        if shown is not self:
            start, old = 0, shown._read(0, start) + old
        new = self._read(start, self.end)
        same = _common_prefix(old, new)
        return None if same == len(old) == len(new) else EditStream(start + same, new[same:])

    def mark_shown(self) -> None:
        self._flushed = self.end
        self._before = None

    def write(self, text: str) -> None:
        if self._cursor == self.end and "\r" not in text and "\b" not in text:
            newline = text.rfind("\n")
            if newline >= 0:
                self._line = self.end + newline + 1
            self._put(text)
            return
        for token in _TOKEN.findall(text):
            match token:
                case "\n":
                    self._cursor = self.end
                    self._put(token)
                    self._line = self.end
                case "\r":
                    self._cursor = self._line
                case "\b":
                    self._backspace()
                case _:
                    self._put(token)

    def cut(self, notice: str) -> None:
        """Add a line of our own at the end."""
        self._cursor = self.end
        self.write(notice if self._line == self.end else "\n" + notice)

    def _put(self, text: str) -> None:
        self._touch(self._cursor)
        self._buffer.seek(self._cursor)
        self._buffer.write(text)
        self._cursor += len(text)
        self.end = max(self.end, self._cursor)

    def _backspace(self) -> None:
        if self._cursor == self._line:
            return
        rest = self._read(self._cursor + 1, self.end)
        self._cursor -= 1
        self._touch(self._cursor)
        self._buffer.seek(self._cursor)
        self._buffer.write(rest)
        self._buffer.truncate()
        self.end = self._cursor + len(rest)

    def _touch(self, position: int) -> None:
        """Remember the flushed text of the last line before it is changed at ``position``."""
        if position < self._flushed and self._before is None:
            self._before = (self._line, self._read(self._line, self._flushed))

    def _read(self, start: int, end: int) -> str:
        self._buffer.seek(start)
        return self._buffer.read(max(end - start, 0))


def _edit(shown: _Stream | _Fixed, now: _Stream | _Fixed) -> EditStream | None:
    """How the last output that was flushed becomes ``now``; None if it cannot."""
    if isinstance(shown, _Stream) and isinstance(now, _Stream) and shown.name == now.name:
        return now.edit_from(shown)
    return None


def _common_prefix(a: str, b: str) -> int:
    """How many leading characters are the same (bisected: the comparison of slices runs in C)."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
