"""Regular expressions given by a model, made safe to run line by line.

Python's ``re`` backtracks, holds the interpreter lock and cannot be timed out, so a pattern is bounded before
it runs: repetition inside repetition is refused, the number of open choices is limited, and the more
open-ended repetitions a pattern has, the less of a line it is tried on.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

from collab_agent.errors import InvalidEdit
from collab_agent.notebook.plain import inline

_REACH = (2_000, 2_000, 500)
"""Characters of a line that are searched, by the number of open-ended repetitions; 250 beyond these."""
_MOST_WEIGHT = 12
_SMALL_REPEAT = 10
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<open>\(\??)|(?P<close>\))|(?P<or>\|)"
    r"|(?P<quantifier>(?:[*+?]|\{(?:\d+(?:,\d*)?|,\d*)\})[?+]?)|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class LinePattern:
    """A pattern that is tried on the first ``reach`` characters of a line."""

    regex: re.Pattern[str]
    reach: int

    def search(self, line: str) -> re.Match[str] | None:
        """The first match in the line, or None."""
        return self.regex.search(line, 0, self.reach)


def compile_pattern(pattern: str) -> LinePattern:
    """The pattern, ready to be tried on lines; ``InvalidEdit`` where it is none, or could run forever."""
    if not pattern:
        raise InvalidEdit("The pattern is empty.", "Give a regular expression in pattern.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set": the model cannot see a warning
            regex = re.compile(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise InvalidEdit(
            f"The pattern {inline(pattern, 100)!r} is no regular expression: {inline(str(error), 120)}.",
            "Mend it, or escape the special characters with a backslash.",
        ) from None
    weight, open_ended = _weigh(pattern)
    if weight > _MOST_WEIGHT:
        raise InvalidEdit(
            f"The pattern {inline(pattern, 100)!r} could take forever: it repeats what itself can repeat or "
            "vary, or holds too many repetitions.",
            r"Write it without nested repetition, e.g. \w+ instead of (\w+)*; nothing was searched.",
        )
    return LinePattern(regex, _REACH[open_ended] if open_ended < len(_REACH) else 250)


@dataclass(slots=True)
class _Group:
    """The weight of a group: of its branch so far, and of its heaviest branch."""

    branch: int = 0
    heaviest: int = 0
    alternatives: bool = False

    def weight(self) -> int:
        return max(self.branch, self.heaviest) + self.alternatives


def _weigh(pattern: str) -> tuple[int, int]:
    """How many choices a failing match multiplies (open-ended repetitions twice), and the open-ended ones."""
    stack = [_Group()]
    atom = 0
    open_ended = 0
    for token in _TOKEN.finditer(pattern):
        if token["open"]:
            stack.append(_Group())
        elif token["close"] and len(stack) > 1:
            atom = stack.pop().weight()
            stack[-1].branch += atom
            continue
        elif token["or"]:
            group = stack[-1]
            group.heaviest, group.branch = max(group.heaviest, group.branch), 0
            group.alternatives = True
        elif token["quantifier"]:
            low, high = _bounds(token["quantifier"])
            if high > 1:
                # The atom itself is already counted once.
                stack[-1].branch += atom * (high - 1 if high <= _SMALL_REPEAT else _MOST_WEIGHT + 1)
            if high - low > _SMALL_REPEAT:
                stack[-1].branch += 2
                open_ended += 1
            elif high != low:
                stack[-1].branch += 1
        atom = 0
    while len(stack) > 1:
        inner = stack.pop()
        stack[-1].branch += inner.weight()
    return stack[0].weight(), open_ended


def _bounds(quantifier: str) -> tuple[int, int]:
    """The least and the most repetitions; a million stands for no bound."""
    endless = 1_000_000
    if quantifier[0] != "{":
        return {"*": (0, endless), "+": (1, endless), "?": (0, 1)}[quantifier[0]]
    low, comma, high = quantifier[1 : quantifier.index("}")].partition(",")
    least = min(int(low or 0), endless)
    return least, (min(int(high), endless) if high else endless) if comma else least
