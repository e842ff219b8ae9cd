"""The rolling snapshot of a replica: what it was a few updates ago.

Yjs forgets what is deleted.  So the updates since some moment are kept, in the order in which they were merged, behind
one that holds all that was before; from these a replica of any moment since can be built.  They are a copy of the
document's bytes, and of at most as many again: then they are made one.
"""

from __future__ import annotations

from typing import Any

from pycrdt import Doc, merge_updates

MOST_UPDATES = 4_000
LEAST_BYTES = 1_000_000
"""So few are not worth being made one."""
EMPTY = b"\x00\x00"


class Rolling:
    """The updates of one document."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._base = EMPTY
        self._since: list[bytes] = []
        self._size = 0
        self._first = 0
        self._last: bytes | None = None
        self._subscription = doc.observe(self._note)

    def close(self) -> None:
        """Hear of no more updates."""
        self._doc.unobserve(self._subscription)

    def _note(self, event: Any) -> None:
        self._last = event.update
        self._since.append(event.update)
        self._size += len(event.update)

    def take(self) -> bytes | None:
        """The last update, unless it was taken; None: there was none since."""
        last, self._last = self._last, None
        return last

    @property
    def moment(self) -> int:
        """The number of updates so far."""
        return self._first + len(self._since)

    def at(self, moment: int) -> bytes | None:
        """All that the document was at a moment, as one update; None: it is too long ago."""
        if moment < self._first:
            return None
        return bytes(merge_updates(self._base, *self._since[: moment - self._first]))

    def trim(self) -> None:
        """Forget the moments before this one, if they have become too many."""
        if len(self._since) > MOST_UPDATES or self._size > max(LEAST_BYTES, len(self._base)):
            self._first, self._since, self._size = self.moment, [], 0
            self._base = self._doc.get_update()
