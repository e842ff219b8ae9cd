"""What a call has done, as text for a model: edits, runs, changes, people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from ..editing import Edited
from ..errors import RoomClosed
from ..notebook.budget import clip_lines, query, shares
from ..notebook.display import Image, block, decode, fenced
from ..notebook.model import OutputView
from ..notebook.plain import count, inline
from ..notebook.render import Rendered, diff
from ..notebook.undo import VERBS
from ..peer import NotebookPeer
from ..run import Run

_DIFF_CHARS = 1_200
_MOST_RUNS = 30
_ENDS = 3


AWAY = (
    "the connection to the notebook's room is away, and is being restored: what is printed meanwhile comes into the "
    "notebook when it is back"
)


def short(peer: NotebookPeer, cell_id: str) -> str:
    """The short id of a cell, dead or alive; ``RoomClosed`` where a new one is needed while the room is away."""
    return peer.seen.known(cell_id) or peer.seen.short(cell_id, peer.view)


def edited(peer: NotebookPeer, report: Edited, budget: int) -> str:
    """What was done, then a short diff of each text that changed, as the document has it after the merge."""
    lines = list(report.told)
    for done in report.done:
        line = f"{VERBS[done.op]} {short(peer, done.cell)}"
        if done.op in ("insert", "restore"):
            cell = next((cell for cell in peer.view.cells if cell.id == done.cell), None)
            if cell is not None:
                line += f" ({cell.type}, {count(cell.source.count(chr(10)) + 1, 'line')})"
        elif done.made is not None:
            line += f"; the new cell is {short(peer, done.made)}"
        lines.append(line)
    gone = {done.cell for done in report.done if done.op == "delete"}
    for cell_id, before, after in report.texts:
        if cell_id not in gone and before != after:
            name = short(peer, cell_id)
            rest = query("cells", cells=[name])
            lines.append(f"{name} now:\n{diff(before, after, limit=_DIFF_CHARS, rest=rest)}")
    changed = {cell_id for cell_id, before, after in report.texts if before != after}
    changed |= {done.cell for done in report.done if done.op == "insert"}
    texts = dict.fromkeys(done.cell for done in report.done if done.op in ("replace", "write"))
    unchanged = [short(peer, cell_id) for cell_id in texts if cell_id not in changed]
    if unchanged:
        lines.append(f"{', '.join(unchanged)}: nothing to change, the text was already so")
    lines += [report.next] if report.next else []
    lines = lines or ["nothing was left to change"]
    return clip_lines(lines, budget, lambda _first, _n: query("outline"))


@dataclass(frozen=True, slots=True)
class _Section:
    head: str
    lines: Sequence[str]
    name: str | None
    notes: Sequence[str]


def runs(peer: NotebookPeer, listed: Sequence[Run], now: float, budget: int, images: int) -> Rendered:
    """A line ``run RID ID [COUNT] STATE SECONDS s`` for each run, then its outputs, then what to do next."""
    sections: list[_Section] = []
    pictures: list[Image] = []
    for run in _condensed(listed):
        if isinstance(run, str):
            sections.append(_Section(run, (), None, ()))
            continue
        name = None if run.cell is None else _name(peer, run.cell)
        lines = _output_lines(run, name, pictures, images)
        notes = _notes(run, lines, _who_runs_now(peer), peer.kernel_silence)
        sections.append(_Section(run_line(run, name, now), lines, name, notes))
    asking = peer.runs.asking
    if asking is not None and asking not in listed and any(not run.over for run in listed):
        sections.append(_Section(f"waits behind {asking.id}:", (), None, _notes(asking, (), "", "")))
    if listed and _is_away(peer):
        sections.append(_Section(AWAY, (), None, ()))
    fixed = sum(len(part.head) + 1 + sum(len(note) + 1 for note in part.notes) for part in sections)
    sizes = [sum(map(len, part.lines)) + len(part.lines) for part in sections]
    texts: list[str] = []
    for part, given in zip(sections, shares(sizes, budget - fixed), strict=True):
        texts.append(part.head)
        if part.lines:
            texts.append(clip_lines(part.lines, max(given - 1, 0), partial(_rest, part)))
        texts += part.notes
    text = clip_lines(texts, budget, lambda _first, _n: query("outline")) if texts else "no runs"
    return Rendered(text, tuple(pictures))


def _condensed(listed: Sequence[Run]) -> list[Run | str]:
    """The runs; of many, those that went alike are one line, so that the one that failed is not lost among them."""
    if len(listed) <= _MOST_RUNS:
        return list(listed)
    found: list[Run | str] = []
    for state, group in groupby(listed, key=lambda run: run.state):
        alike = list(group)
        if len(alike) <= 2 * _ENDS + 1 or state not in ("ok", "aborted", "queued"):
            found += alike
            continue
        within = alike[_ENDS:-_ENDS]
        line = f"… {len(within)} more {state}, {within[0].id} to {within[-1].id}; {query('outline')} shows them"
        found += [*alike[:_ENDS], line, *alike[-_ENDS:]]
    return found


def run_line(run: Run, name: str | None, now: float) -> str:
    """``run r3 a1f9 [12] ok 0.2 s``; code aside has ``aside`` for its cell."""
    mark = "*" if run.state == "running" else " " if run.count is None or run.cell is None else str(run.count)
    return f"run {run.id} {name or 'aside'} [{mark}] {run.state} {run.seconds(now):.1f} s"


def _rest(part: _Section, first: int, lines: int) -> str:
    if part.name is None:
        return "print less of it, or keep it in a name and look at parts"
    return query("outputs", cells=[part.name], offset=first, limit=lines)


def _output_lines(run: Run, name: str | None, pictures: list[Image], most: int) -> list[str]:
    """The lines of a run's outputs; its pictures go to ``pictures``."""
    lines: list[str] = []
    for output in (*run.output_views(), *_value(run)):
        whole = block(output)
        shown = [whole.lines[0], *fenced(whole.lines[1:])]
        if whole.picture is not None:
            title = shown[0].strip("[]")
            image = decode(*whole.picture, f"{title}, output of {name or run.id}") if len(pictures) < most else None
            if image is not None:
                pictures.append(image)
                shown[0] = f"[{title}: image {len(pictures)}]"
            else:
                shown[0] = f"[{title}: not shown, {most} images at most]"
        lines += shown
    return lines


def _value(run: Run) -> list[OutputView]:
    """The value of code that was run aside, or the error that computing it raised."""
    result = run.results.get("value")
    if not isinstance(result, dict):
        return []
    if result.get("status") == "error":
        trace = tuple(map(str, result.get("traceback", ())))
        return [OutputView("error", ename=str(result.get("ename")), evalue=str(result.get("evalue")), traceback=trace)]
    data = result.get("data", {})
    return [] if data.get("text/plain") == "None" else [OutputView("execute_result", data=data)]


def _who_runs_now(peer: NotebookPeer) -> str:
    """Whose code the kernel runs at this moment: what was known when our run began to wait may have been less."""
    busy = None if peer.kernel is None else peer.kernel.foreign_busy
    return "" if busy is None or _is_away(peer) else peer.who_runs(busy)


def _name(peer: NotebookPeer, cell_id: str) -> str:
    """A cell's short id; the beginning of its id where the room is away and it was given none."""
    return cell_id[:8] if _is_away(peer) and peer.seen.known(cell_id) is None else short(peer, cell_id)


def _is_away(peer: NotebookPeer) -> bool:
    try:
        _ = peer.view
    except RoomClosed:
        return True
    return False


def _notes(run: Run, lines: Sequence[str], who_runs: str, silence: str) -> list[str]:
    notes = list(run.notes)
    if silence and not run.over:
        return [*notes, f"the kernel {silence}"]
    if run.prompt is not None:
        notes.append(
            f"it asks for input: {inline(run.prompt, 200) or '(no prompt)'} - answer with "
            'execute_notebook_code(action="reply", reply="...")'
        )
    elif run.state == "running":
        notes.append('still running, not failed; query_notebook(query="runs", wait_s=60) waits for it')
    elif run.state == "queued" and run.waits_for:
        notes.append(f"waits until the code of {inline(who_runs or run.waits_for, 60)} has ended")
    elif run.state in ("ok", "error") and not lines:
        notes.append("no output")
    return notes
