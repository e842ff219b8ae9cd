"""The line that begins with ``since your last call:``: what others did, in as few words as tell it.

Names are claims of peers, and come cleaned and cut.  What does not fit is counted, with the call that shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from .budget import query
from .changes import Author, Change
from .model import CellView
from .plain import inline

_MARGIN = 60
_NAME = 40


@dataclass(frozen=True, slots=True)
class TypingNow:
    """Somebody is typing right now; ``line`` counts from 1, None where it is not known."""

    who: Author
    cell: str
    line: int | None = None


def summary(
    changes: Sequence[Change], short: Callable[[str], str], typing: Sequence[TypingNow] = (), *, budget: int = 600
) -> str:
    """One line: ``Ada edited a1f9 (+3 -1 lines), ran c3d4 [12] ok``; empty if nothing happened."""
    groups: dict[str, list[str]] = {}
    for who, phrase in _phrases(changes, short, typing):
        groups.setdefault(who, []).append(phrase)
    total = sum(map(len, groups.values()))
    whole = _line(groups, total)
    if len(whole) <= budget:
        return whole
    fitting = max((n for n in range(min(total, budget)) if len(_line(groups, n)) + _MARGIN <= budget), default=0)
    rest = f"{total - fitting} more: {query('changes')}"
    return f"{_line(groups, fitting)}; … {rest}" if fitting else rest


def _line(groups: dict[str, list[str]], most: int) -> str:
    """The first ``most`` phrases, group by group."""
    parts = []
    for who, phrases in groups.items():
        if most > 0:
            parts.append(f"{who} {', '.join(phrases[:most])}")
        most -= len(phrases)
    return "; ".join(parts)


def _phrases(
    changes: Sequence[Change], short: Callable[[str], str], typing: Sequence[TypingNow]
) -> Iterator[tuple[str, str]]:
    """Whose doing, and what was done."""
    for change in changes:
        name = short(change.cell)
        if change.before is None or change.after is None:
            made = change.before is None
            yield _doing(change.authors("made" if made else "gone"), f"{'inserted' if made else 'deleted'} {name}")
        else:
            if change.edited:
                counts = line_counts(change.before.source, change.after.source)
                yield _doing(change.authors("text"), f"edited {name} (+{counts[0]} -{counts[1]} lines)")
            if change.moved:
                yield _doing(change.authors("moved"), f"moved {name}")
            if change.before.type != change.after.type:
                yield _doing(change.authors("type"), f"made {name} {change.after.type}")
        if change.ran and change.after is not None:
            yield _doing(change.authors("ran"), run_phrase(name, change.after, change.error))
    for now in typing:
        line = "" if now.line is None else f", line {now.line}"
        yield _doing((now.who,), f"is typing in {short(now.cell)}{line}")


def _doing(authors: Sequence[Author], phrase: str) -> tuple[str, str]:
    """The doers and what they did; a change of the file on disk is told as such, also beside a person's."""
    who = who_did(authors)
    if any(author.is_disk for author in authors) and any(not author.is_disk for author in authors):
        phrase += " (also changed on disk)"
    return who, phrase


def who_did(authors: Sequence[Author]) -> str:
    """``Ada and Bob``, ``Claude (agent)``; of a file that was written on disk ``changed on disk:``."""
    names = [f"{inline(a.name, _NAME)}{' (agent)' if a.is_agent else ''}" for a in authors if not a.is_disk]
    return " and ".join(dict.fromkeys(names)) if names else "changed on disk:"


def run_phrase(name: str, after: CellView, error: str) -> str:
    """How others' run of a cell stands."""
    if after.running:
        return f"is running {name}"
    if after.execution_count is None:
        return f"stopped running {name}"
    return f"ran {name} [{after.execution_count}] {f'error {inline(error, _NAME)}' if error else 'ok'}"


def line_counts(before: str, after: str) -> tuple[int, int]:
    """How many lines were added and removed."""
    old, new = before.split("\n"), after.split("\n")
    matcher = SequenceMatcher(None, old, new, autojunk=len(old) * len(new) > 4_000_000)
    kept = sum(block.size for block in matcher.get_matching_blocks())
    return len(new) - kept, len(old) - kept
