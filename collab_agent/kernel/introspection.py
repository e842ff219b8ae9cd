"""Looking at a kernel's variables and documentation without leaving a trace, also while it runs somebody's code.

What is asked travels as code (``inside/``), in a silent ``execute_request`` with a user expression: count, history,
``In``, ``Out`` and ``_`` stay as they were, and no name is left behind (``facts/kernel.md``, section 5).

While the kernel is busy the same request goes out on the **control** channel, which ipykernel serves in a thread of its
own: it is answered in some 20 ms.  Not through a subshell: ipykernel 7.4 takes any request on a subshell for the parent
of what the human's other threads print from then on, and their output would come to us instead of their cell.  Not
through the debugger's ``inspectVariables``: it computes the repr of everything.  What else a second ``execute_request``
would disturb is held off by ``inside/guard.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import anyio

from ..errors import KernelDied, KernelError
from .client import KernelClient
from .wire import Channel

_INFO_S = 0.5
_ASK_S = 2.0
_CONTROL_S = 1.0
_INSPECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Names:
    """The user's names, by what they are, in the order of their making.  ``total``: of all, also where cut off."""

    data: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable, as far as it can be known without running anything of the user's.

    ``shape`` or ``length`` where it has one; ``bytes`` where they are cheap to know.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None = None
    length: int | None = None
    dtype: str = ""
    bytes: int | None = None
    preview: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Documentation of a name; ``text`` is all that there is where the kernel itself wrote it."""

    type: str = ""
    signature: str = ""
    doc: str = ""
    file: str = ""
    note: str = ""
    variable: Variable | None = None
    text: str = ""


@cache
def inside(file: str) -> str:
    """The text of a file of ``inside/``."""
    return (files(__package__) / "inside" / file).read_text("utf-8")


def python_call(file: str, argument: object) -> tuple[str, str]:
    """The silent code and the expression that call ``answer(namespace, argument)`` of a file of ``inside/``.

    ``argument``: something whose repr is a literal.  No name of the user's is relied upon: builtins are the
    function's own.
    """
    hold = inside("guard.py") + "\nhold()\n"
    sources = [inside("guard.py") + "\nrelease()\n", inside("answer.py"), inside(file)]
    builtins, namespace = "(lambda: None).__builtins__", "{'user': (lambda: None).__globals__}"
    call = f"[b['exec'](s, n) for s in {sources!r}] and n['Answer'](n['answer'](n['user'], {argument!r}))"
    return f"(lambda b: b['exec']({hold!r}, {{}}))({builtins})", f"(lambda b, n: {call})({builtins}, {namespace})"


async def language(client: KernelClient) -> str | None:
    """The kernel's language in small letters; None where it is too busy to say."""
    for channel, seconds in _channels(client.foreign_busy is not None, _INFO_S):
        try:
            info = (await client.request(channel, "kernel_info_request", timeout=seconds)).content
        except KernelDied:
            raise
        except KernelError:
            continue
        return str(info.get("language_info", {}).get("name", "")).lower()
    return None


async def names(client: KernelClient, *, busy: bool) -> Names | None:
    """The user's names; None where the kernel is busy and cannot be asked meanwhile.

    ``busy``: whether it runs code, whoever's.  ``KernelError``: a kernel of this language cannot be asked.
    """
    found = await _ask(client, {"ask": "names"}, busy)
    if found is None:
        return None
    data, modules, functions, classes = (
        tuple(map(str, found.get(kind, ()))) for kind in ("data", "module", "function", "class")
    )
    return Names(data, modules, functions, classes, int(found.get("total", 0)))


async def variables(client: KernelClient, wanted: Sequence[str], *, busy: bool) -> list[Variable] | None:
    """What is known of these variables, in this order; those that are gone are left out.  Otherwise as ``names``."""
    found = await _ask(client, {"ask": "rows", "names": list(wanted)}, busy)
    return None if found is None else [_variable(row) for row in found.get("rows", ())]


async def inspect(client: KernelClient, name: str, *, busy: bool) -> Inspection | None:
    """Documentation of a dotted name; None as with ``names``, an empty ``Inspection`` where there is no such name."""
    if await language(client) != "python":
        return None if busy else await _inspect_request(client, name, busy)
    found = await _ask_python(client, {"ask": "inspect", "name": name}, busy)
    if found is None:
        return None
    if found.get("safe") or name.startswith("%"):
        return await _inspect_request(client, name, busy)
    texts = {key: str(found.get(key, "")) for key in ("type", "signature", "doc", "file", "note")}
    return Inspection(**texts, variable=_variable(found["row"]) if "row" in found else None)


async def _inspect_request(client: KernelClient, name: str, busy: bool) -> Inspection | None:
    content = {"code": name, "cursor_pos": len(name), "detail_level": 0}
    for channel, seconds in _channels(busy, _INSPECT_S):
        try:
            reply = (await client.request(channel, "inspect_request", content, timeout=seconds)).content
        except KernelDied:
            raise
        except KernelError:
            continue
        data = reply.get("data", {}) if reply.get("found") else {}
        return Inspection(text=str(data.get("text/plain") or data.get("text/markdown") or ""))
    return None


async def _ask(client: KernelClient, question: Mapping[str, Any], busy: bool) -> Mapping[str, Any] | None:
    match await language(client):
        case "python":
            return await _ask_python(client, question, busy)
        case "r":
            return None if busy else await _ask_r(client, question)
        case None:
            return None
        case other:
            raise KernelError(
                f"A {other or 'nameless'} kernel has no way to list its variables. Nothing was asked of it.",
                'query="inspect" with a name works; so does execute_notebook_code(code="...").',
            )


async def _ask_python(client: KernelClient, question: Mapping[str, Any], busy: bool) -> Mapping[str, Any] | None:
    code, expression = python_call("look.py", dict(question))
    content = {
        "code": code,
        "silent": True,
        "store_history": False,
        "user_expressions": {"answer": expression},
        "allow_stdin": True,  # never asked for; but a cell that runs beside us may ask at this very moment
        "stop_on_error": False,
    }
    for channel, seconds in _channels(busy, _ASK_S):
        try:
            reply = (await client.request(channel, "execute_request", content, timeout=seconds)).content
        except KernelDied:
            raise
        except KernelError:
            continue
        result = reply.get("user_expressions", {}).get("answer", {})
        if result.get("status") == "ok":
            return _loaded(result.get("data", {}).get("text/plain"))
        if reply.get("status") == "ok":
            why = f"{result.get('ename', 'it')}: {result.get('evalue', 'evaluates no user expressions')}"
            raise KernelError(
                f"The kernel could not answer: {why}",
                'Look with execute_notebook_code(code="...").',
            )
    return None


async def _ask_r(client: KernelClient, question: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """IRkernel has no user expressions, but what silent code publishes comes to the request."""
    said: list[Any] = []
    over = anyio.Event()
    fields = [f"ask = {json.dumps(question['ask'])}"]
    if "names" in question:
        fields.append(f"names = list({', '.join(json.dumps(name) for name in question['names'])})")

    def receive(event: Any) -> None:
        if getattr(event, "msg_type", "") == "display_data":
            said.append(event.content.get("data", {}).get("application/json"))
        if client.execution(msg_id).over:
            over.set()

    code = inside("look.R").replace("<- QUESTION", f"<- list({', '.join(fields)})")
    msg_id = client.send_execute(code, silent=True, store_history=False, allow_stdin=False, on_message=receive)
    try:
        with anyio.move_on_after(_ASK_S):
            await over.wait()
    finally:
        client.forget(msg_id)
    return _loaded(said[0]) if said else None


def _channels(busy: bool, seconds: float) -> tuple[tuple[Channel, float], ...]:
    """Where to ask, and for how long: somebody may begin to run code right before us."""
    control: tuple[Channel, float] = ("control", _CONTROL_S)
    return (control,) if busy else (("shell", seconds), control)


def _loaded(answer: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(answer) if isinstance(answer, str) else answer
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise KernelError("The kernel's answer cannot be read.", 'Look with execute_notebook_code(code="...").')
    return found


def _variable(row: Mapping[str, Any]) -> Variable:
    shape, length, size = row.get("shape"), row.get("length"), row.get("bytes")
    return Variable(
        str(row.get("name", "")),
        str(row.get("type", "")),
        tuple(shape) if isinstance(shape, list) else None,
        length if isinstance(length, int) else None,
        str(row.get("dtype", "")),
        size if isinstance(size, int) else None,
        str(row.get("preview", "")),
    )
