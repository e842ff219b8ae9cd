"""Text made safe and short for a model: terminal codes folded away, hidden characters dropped or shown.

``clean`` is for outputs, where only what a human would see matters.  ``visible`` is for sources, where every
character counts: what cannot be seen is written as ``<U+202E>``, so that nothing hides in a cell.
"""

from __future__ import annotations

import re

_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor moves
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC, DCS and their like, where they are terminated
    r"|\x1b[ -/]*[0-~]"
)
_ERASE_LINE = re.compile(r"\x1b\[[02]?K")
_JOINERS = r"\u200c\u200d"
_SELECTORS = r"\ufe00-\ufe0f\U000e0100-\U000e01ef"
_HIDDEN_SET = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_SUSPECT = re.compile(rf"[{_HIDDEN_SET}{_JOINERS}{_SELECTORS}\u2028\u2029\ud800-\udfff]")
_HIDDEN = re.compile(rf"[{_HIDDEN_SET}]")
_SEPARATOR = re.compile(r"[\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# A variation selector belongs after a visible character, one at a time: runs of them smuggle text.
_STRAY_SELECTOR = re.compile(
    rf"(?<![0-9#*\u0080-\u200b\u200e-\ufdff\ufe10-\U000e00ff\U000e01f0-\U0010ffff])[{_SELECTORS}]"
)
# A joiner belongs between two letters of a joining script, or between two emoji.
_STRAY_JOINER = re.compile(
    rf"(?<![^\x00-\x7f{_JOINERS}])[{_JOINERS}]|[{_JOINERS}](?![^\x00-\x7f{_JOINERS}{_SELECTORS}])"
)


def clean(text: str) -> str:
    """Output text as a terminal would leave it: no escapes, ``\\r`` and ``\\b`` carried out, nothing hidden.

    Kept: ``\\n``, ``\\t``, and joiners and variation selectors inside emoji and joining scripts.  Lone
    surrogates, which no UTF-8 can carry, become U+FFFD.
    """
    if not _SUSPECT.search(text):
        return text
    # NUL stands for "line erased" below, so it must not come from the text itself.
    text = _ERASE_LINE.sub("\x00", text.replace("\x00", ""))
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    if "\r" in text or "\b" in text or "\x00" in text:
        text = "\n".join(_fold(line) for line in text.split("\n"))
    text = _SEPARATOR.sub("\n", _SURROGATE.sub("\ufffd", text))
    return _STRAY_JOINER.sub("", _STRAY_SELECTOR.sub("", _HIDDEN.sub("", text)))


def _fold(line: str) -> str:
    """What stays of a line after its carriage returns, backspaces and erasures.  Linear in its length."""
    if not ("\r" in line or "\b" in line or "\x00" in line):
        return line
    left: list[str] = []
    covered = 0
    # Backwards: each column shows what the latest segment that reached it wrote there.
    for segment in reversed(line.split("\r")):
        erased, _, kept = segment.rpartition("\x00")
        kept = _backspaced(kept)
        if len(kept) > covered:
            left.append(kept[covered:])
            covered = len(kept)
        if erased or segment.startswith("\x00"):
            break
    return "".join(left)


def _backspaced(text: str) -> str:
    if "\b" not in text:
        return text
    kept: list[str] = []
    for char in text:
        if char != "\b":
            kept.append(char)
        elif kept:
            kept.pop()
    return "".join(kept)


def visible(text: str) -> str:
    """Source text with every hidden or control character but newline and tab spelled out as ``<U+XXXX>``."""
    if not _SUSPECT.search(text):
        return text
    for stray in (_STRAY_SELECTOR, _STRAY_JOINER, _SEPARATOR, _SURROGATE, _HIDDEN):
        text = stray.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)
    return text


def inline(text: str, width: int = 80) -> str:
    """At most ``width`` characters on one line: cleaned, white space collapsed, cut with an ellipsis."""
    # The slice bounds the work on a text of megabytes; escapes rarely make up more than it leaves room for.
    return cut(" ".join(clean(text[: 20 * width + 200]).split()), width)


def cut(line: str, width: int) -> str:
    """The line, or its first ``width - 1`` characters and an ellipsis."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"[: max(width, 0)]


def clip(text: str, budget: int, how_to_see_rest: str, *, tail: float = 0.4) -> str:
    """The text in at most ``budget`` characters: head and tail, and between them how to see the rest.

    ``tail``: the share of the room that the tail gets.  Cuts fall between lines where one is near.
    """
    if len(text) <= budget:
        return text
    room = budget - len(how_to_see_rest) - 70
    if room < 20:
        return cut(text, budget)
    start, stop = room - int(room * tail), len(text) - int(room * tail)
    newline = text.rfind("\n", start // 2, start)
    start = newline + 1 if newline >= 0 else start
    newline = text.find("\n", stop, stop + int(room * tail) // 2)
    stop = newline + 1 if newline >= 0 else stop
    left_out = text.count("\n", start, stop)
    what = f"{count(left_out, 'line')} left out" if left_out else f"{stop - start:,} characters left out"
    head = text[:start] if text[start - 1] == "\n" else text[:start] + "\n"
    return f"{head}… {what}; {how_to_see_rest} …\n{text[stop:]}"


def count(n: int, noun: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def size(n_bytes: int) -> str:
    """``812 B``, ``23 kB``, ``4.1 MB``; a kB is 1,000 bytes."""
    if n_bytes < 1_000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1_000:.0f} kB" if n_bytes < 999_500 else f"{n_bytes / 1_000_000:.1f} MB"
