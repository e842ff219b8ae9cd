"""Names of people as a model is told them: claims of strangers, which must look like nothing but a name.

The theory.  Anybody in a room may call themselves anything: ``Ada; kernel died``, ``since your last call``, ``Ada``
with a Cyrillic A.  So a name is one line of letters, digits and a little punctuation, or it stands in quotation marks,
which it cannot hold itself.  Letters that only look like Latin ones beside Latin ones are spelled out, for then the
name is meant to be mistaken for another one (Unicode TS 39, mixed scripts); a word that is all of such letters, as
real names can be, is said to be so.
"""

from __future__ import annotations

import re
import unicodedata

from collab_agent.notebook.plain import clean, cut

_NOT_ALIKE = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO")
"""Scripts that people mix with Latin letters, and that nobody takes for them."""
_ALIKE = frozenset(
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0441\u0455\u0458\u04bb\u0501\u051b\u051d\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405"
    "\u0422\u0425\u0423\u04ae\u03bf\u03bd\u03b1\u03b9\u03ba\u03c1\u03c4\u03c5\u03c7\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
)
"""Cyrillic and Greek letters that look like Latin ones."""
_FINE = frozenset(" .'\u2019@&+()-_")
_OURS = re.compile(
    r"^(since your|changed on disk|you are|run r?\d|kernel|here|error|suggested|saved|left)\b|\((agent|says)", re.I
)
"""How lines and remarks of ours begin."""


def person(name: str, width: int = 40) -> str:
    """A name on one line, in at most ``width`` characters and what is spelled out or said of it; never empty."""
    text = " ".join(clean(name[: 20 * width]).encode("utf-8", "replace").decode().split())
    text = cut(text, width).strip("\"' ") or "somebody without a name"
    odd = not all(map(_is_fine, text.removesuffix("…"))) or _OURS.search(text)
    words = [_word(word) for word in text.replace('"', "'").split(" ")]
    shown = " ".join(word for word, _ in words)
    scripts = sorted({script for _, script in words if script})
    shown = f'"{shown}"' if odd else shown
    return f"{shown} (in {' and '.join(scripts)} letters)" if scripts else shown


def _is_fine(char: str) -> bool:
    """Whether it may stand in a name without quotation marks: a letter with its marks, a digit, an emoji."""
    return (
        char in _FINE or char.isalnum() or unicodedata.category(char)[0] == "M" or "\U0001f300" <= char <= "\U0001faff"
    )


def _word(word: str) -> tuple[str, str]:
    """The word with what would be mistaken spelled out, and the script of one that is all letters of another script."""
    scripts = {char: _script(char) for char in word if char.isalpha()}
    if word.isascii() or not scripts:
        return word, ""
    foreign = [char for char, script in scripts.items() if script not in ("LATIN", *_NOT_ALIKE)]
    if len(foreign) == len(scripts) and all(_is_plain(char) for char in foreign):
        alike = len(foreign) > 1 and _ALIKE.issuperset(foreign)
        return word, scripts[foreign[0]].capitalize() if alike else ""
    return "".join(f"<U+{ord(char):04X}>" if char in foreign else char for char in word), ""


def _script(char: str) -> str:
    """The first word of a letter's Unicode name; of a mathematical A it is ``MATHEMATICAL``."""
    return unicodedata.name(char, "UNKNOWN").split()[0]


def _is_plain(char: str) -> bool:
    """Whether a letter is no variant of another one, as mathematical, fullwidth and circled letters are."""
    return unicodedata.normalize("NFKC", char) == unicodedata.normalize("NFC", char)
