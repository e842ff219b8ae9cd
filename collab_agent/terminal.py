"""``collab-agent suggestions``: the open suggestions in a terminal, one by one, and a key for each decision.

What is shown comes from notebooks and agents, so every character that a terminal could take for a command is spelled
out.  A key counts only if it was pressed alone and after its question was put: nothing is decided by a paste, by an
arrow key, or by what was typed ahead.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import unified_diff
from functools import partial
from getpass import getuser
from io import TextIOWrapper
from pathlib import Path

import anyio
import anyio.to_thread

from .config import Limits, Server, Settings
from .errors import CellInUse, CollabAgentError, ConfigError, NotebookNotFound, NotebookUnreadable
from .jupyter.address import normalise_path
from .jupyter.api import JupyterApi
from .jupyter.discovery import find_server
from .notebook.plain import cut, inline, visible
from .notebook.suggestion import Standing, ago, from_json, standing
from .review import Reviewer
from .shelf import Kept

OK, FAILED = 0, 1
"""Exit statuses: all went as asked; something was refused or failed, e.g. a merge."""
_LINE_CHARS = 400
_CODES = {"bold": "1", "good": "32", "bad": "31", "place": "36", "faint": "2"}
_KEYS = {"m": "[m]erge", "f": "[f]orce", "d": "[d]rop", "s": "[s]kip", "q": "[q]uit"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Where text goes; ``color``: whether it takes colours."""

    write: Callable[[str], None]
    color: bool

    def line(self, text: str = "", style: str = "") -> None:
        """One line."""
        self.write(f"{self.styled(text, style)}\n")

    def styled(self, text: str, style: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.color and style else text


async def decide(
    settings: Settings, env: Mapping[str, str], cwd: Path, notebook: str | None, *, only_list: bool
) -> int:
    """The command: find the server, and go through the suggestions on this process's own terminal.

    ``settings.name``: who decides; None: the user who is logged in.  Never starts a server.
    """
    server = await find_server(settings, env, cwd)
    if server is None:
        raise ConfigError(
            "No running Jupyter server was found, so there are no suggestions.",
            "Suggestions live in the server that the notebook is open on: name it with --url and --token-file.",
        )
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    color = sys.stdout.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    path = None if notebook is None else relative_path(notebook, server, cwd)
    keys = None if only_list else Keys(sys.stdin.fileno() if sys.stdin is not None else None)
    name, trust = settings.name or _user(), settings.trust_outputs
    try:
        return await review(server, path, name, Screen(_write, color), keys, trust=trust)
    except OSError:  # the terminal, or whoever read what we print, has gone; the network's errors are CollabAgentErrors
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _user() -> str:
    try:
        return getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


async def review(
    server: Server,
    notebook: str | None,
    name: str,
    screen: Screen,
    keys: Keys | None,
    *,
    trust: bool = True,
    limits: Limits | None = None,
) -> int:
    """Show the open suggestions of a notebook (None: of all), and ask for each; returns the exit status.

    ``notebook``: a path relative to the server's root.  ``name``: who decides.  ``keys`` None: only list.
    """
    async with JupyterApi(server) as api:
        await api.forks("-")  # CollaborationMissing, where the server has none at all
        if notebook is not None:
            await api.check_notebook(notebook)
            paths = [notebook] if await _open_in(api, notebook) else []
        else:
            paths = [path for path in await _paths(api) if await _open_in(api, path)]
        if not paths:
            screen.line("no open suggestions")
        status = OK
        for path in paths:
            try:
                async with Reviewer.joined(api, path, name, limits, trust=trust) as reviewer:
                    desk = Desk(path, reviewer, screen, keys)
                    going_on = await desk.work()
            except (NotebookNotFound, NotebookUnreadable) as exc:  # since it was listed
                screen.line(visible(exc.message), "bad")
                status = FAILED
                continue
            status = max(status, desk.status)
            if not going_on:
                break
        return status


async def _paths(api: JupyterApi) -> list[str]:
    """Notebooks that may have a room: those with a kernel, then all others within the bounds of a listing."""
    running = [session.path for session in await api.sessions() if session.type == "notebook"]
    listed = [notebook.path for notebook in (await api.contents_listing()).notebooks]
    return list(dict.fromkeys([*running, *listed]))


async def _open_in(api: JupyterApi, path: str) -> int:
    """How many suggestions are open for a notebook; asks nothing that would change anything on the server."""
    file_id = await api.file_id(path)
    if file_id is None:
        return 0
    forks = await api.forks(f"json:notebook:{file_id}")
    return sum(from_json(fork.description) is not None for fork in forks)


class Desk:
    """One notebook's suggestions before one human.  ``status``: the exit status so far."""

    def __init__(self, path: str, reviewer: Reviewer, screen: Screen, keys: Keys | None) -> None:
        self._path = path
        self._reviewer = reviewer
        self._screen = screen
        self._keys = keys
        self._details: list[str] = []
        self.status = OK

    async def work(self) -> bool:
        """Go through all suggestions, those too that come meanwhile; False where the human has had enough."""
        done: set[str] = set()
        while new := [kept for kept in await self._reviewer.suggestions() if kept.suggestion.id not in done]:
            for kept in new:
                done.add(kept.suggestion.id)
                self._show(kept)
                if self._keys is not None and not await self._ask(kept, self._keys):
                    return False
        return True

    def _show(self, kept: Kept) -> None:
        one = kept.suggestion
        names = self._reviewer.names()
        now = standing(one, self._reviewer.document, short=lambda cell: names.get(cell, ""))
        self._details = [] if now.error is None else now.error.message.splitlines()[1:]
        for text, style in described(self._path, kept, now, names):
            self._screen.line(text, style)

    async def _ask(self, kept: Kept, keys: Keys) -> bool:
        """Put the question until it is answered; False to quit."""
        offered = "mdsq"
        while True:
            prompt = f"{' '.join(_KEYS[key] for key in offered)}? "
            key = await keys.read(partial(self._screen.write, self._screen.styled(prompt, "bold")))
            self._screen.line(key if key in offered else "")
            if key in ("q", ""):
                return False
            if key == "s":
                return True
            if key not in offered:
                continue
            try:
                await self._carry_out(key, kept)
            except CollabAgentError as exc:
                self.status = FAILED
                self._say_refused(exc)
                still = [
                    each for each in await self._reviewer.suggestions() if each.suggestion.id == kept.suggestion.id
                ]
                if not still:
                    return True
                (kept,) = still[:1]
                forcible = isinstance(exc, CellInUse) and self._reviewer.can_force(kept)
                offered = "mfdsq" if forcible else "mdsq"
                continue
            return True

    async def _carry_out(self, key: str, kept: Kept) -> None:
        if key == "d":
            await self._reviewer.drop(kept)
            self._screen.line("dropped", "faint")
            return
        patience = 0.0 if key == "f" else self._reviewer.patience(kept)
        if patience > 0:
            text = f"it rebuilds a cell: looking for up to {patience:.0f} s whether anybody's cursor is in it …"
            self._screen.line(text, "faint")
        await self._reviewer.merge(kept, force=key == "f")
        self._screen.line(f"merged into {inline(self._path, 200)}", "good")

    def _say_refused(self, exc: CollabAgentError) -> None:
        first, *details = exc.message.splitlines()
        for line in (first, *(details if details != self._details else ()), *exc.hint.splitlines()):
            self._screen.line(cut(visible(line), _LINE_CHARS), "bad")


def described(path: str, kept: Kept, now: Standing, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A suggestion as lines, each with its style: who, when, how it stands, and a unified diff of each cell."""
    one = kept.suggestion
    yield "", ""
    yield f'{inline(path, 200)}: {one.id} "{one.title}" by {one.by}, {ago(time.time() - one.at)}', "bold"
    yield inline(now.state, _LINE_CHARS), "good" if now.plan is not None else "bad"
    if now.error is not None:
        for line in now.error.message.splitlines()[1:]:
            yield cut(visible(line), _LINE_CHARS), "faint"
        if now.cells:
            yield "what it was meant to do:", ""
    for cell in now.cells:
        place = names.get(cell.cell, "a cell that is gone")
        if cell.before is None:
            above = "at the top" if cell.above is None else f"after {names.get(cell.above, 'that')}"
            yield f"new {cell.type} cell {above}", "place"
        elif cell.after is None:
            yield f"delete {place} ({cell.type})", "place"
        else:
            yield "; ".join([f"{place} ({cell.type})", *cell.notes]), "place"
        yield from _diff(cell.before, cell.after)


def _diff(before: str | None, after: str | None) -> Iterator[tuple[str, str]]:
    """A unified diff with its styles; a text that comes or goes is whole."""
    old, new = ([] if text is None else visible(text).split("\n") for text in (before, after))
    styles = {"+": "good", "-": "bad", "@": "faint"}
    for number, line in enumerate(unified_diff(old, new, lineterm="")):
        if number >= 2:  # behind the names of the files
            yield cut(line, _LINE_CHARS), styles.get(line[:1], "")


class Keys:
    """Answers from a terminal, a key each, or from anything else, a line each; ``fd`` None: there are none."""

    def __init__(self, fd: int | None) -> None:
        self._fd = -1 if fd is None else fd
        self._lines = b""
        self._is_terminal = fd is not None and os.isatty(fd)

    async def read(self, prompt: Callable[[], None]) -> str:
        """Prompt, and wait for an answer; ``?`` for what is no single key, empty at the end of the input."""
        if not self._is_terminal or sys.platform == "win32":
            prompt()
            return await self._line()
        try:
            with _single_keys(self._fd):
                prompt()
                await anyio.wait_readable(self._fd)
                pressed = os.read(self._fd, 1_024).decode(errors="replace")
        except OSError:  # the terminal has gone
            return ""
        if pressed in ("", "\x04"):
            return ""
        answer = pressed.rstrip("\r\n")
        return answer if len(answer) == 1 and answer.isprintable() else "?"

    async def _line(self) -> str:
        ended = False
        while b"\n" not in self._lines and not ended:
            with suppress(
                OSError, ValueError, NotImplementedError
            ):  # a file is always readable, and nothing can wait for it
                await anyio.wait_readable(self._fd)
            try:
                read = await anyio.to_thread.run_sync(os.read, self._fd, 4_096, abandon_on_cancel=True)
            except OSError:  # it is closed
                read = b""
            ended = not read
            self._lines += read
        line, _, self._lines = self._lines.partition(b"\n")
        answer = line.decode(errors="replace").strip()
        return answer if len(answer) == 1 or ended else "?"


@contextmanager
def _single_keys(fd: int) -> Iterator[None]:
    """A terminal that hands over each key as it is pressed, and shows none; what was typed ahead is forgotten.

    ``OSError``: it is there no more.
    """
    import termios
    import tty

    try:
        before = termios.tcgetattr(fd)
        try:
            tty.setcbreak(fd, termios.TCSAFLUSH)
            yield
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
    except termios.error as exc:  # it is no OSError
        raise OSError(*exc.args) from None


def relative_path(notebook: str, server: Server, cwd: Path) -> str:
    """A notebook as the user names it, relative to the server's root: a file of this machine counts from ``cwd``."""
    if server.root_dir:
        root, here = Path(server.root_dir).resolve(), (cwd / notebook).resolve()
        with suppress(OSError):  # a name that this machine cannot have
            if here.is_file() and here.is_relative_to(root):
                return here.relative_to(root).as_posix()
    return normalise_path(notebook)
