"""One output of a cell -> its text as lines and its picture, before any budget.

The lines of a cell's outputs, one output after the other, are what ``offset`` and ``limit`` page through and
what ``search`` numbers; so they must not depend on anything but the outputs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collab_agent.notebook.charts import chart_in_html
from collab_agent.notebook.media import described, svg_text, without_data
from collab_agent.notebook.model import OutputView
from collab_agent.notebook.plain import clean, count, cut, inline, size
from collab_agent.notebook.richtext import html_to_text, json_text, plotly_text, vega_text

WIDEST = 2_000
"""Longer lines are wrapped, so that paging by lines reaches everything."""
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_PLOTLY = "application/vnd.plotly.v1+json"
_VEGA = re.compile(r"application/vnd\.vega(?:lite)?\.v\d+(?:\.\d+)*[+.]json")  # Altair 6 writes ".json"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_SVG = "image/svg+xml"
_RANK = ("text/html", "text/markdown", "text/latex", "application/json", _SVG)
_JSON = re.compile(r"application/(?!vnd\.jupyter\.)[\w.-]{1,80}\+json")
_PLACEHOLDER = re.compile(r"<[^\n]*>")


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as the kernel sent it, not scaled down; ``caption`` is one line."""

    mime: str
    data: bytes = field(repr=False)
    caption: str


@dataclass(frozen=True, slots=True)
class Block:
    """One output: ``lines`` begin with a label in brackets; ``picture`` is a MIME type and base64 text."""

    lines: tuple[str, ...]
    picture: tuple[str, str] | None = None
    tail: float = 0.4
    """The share of the room that its tail gets where it is cut: an error's message stands at its end."""


def block(output: OutputView) -> Block:
    """The output in full."""
    if output.kind == "stream":
        return Block(_labelled(inline(output.name, 20) or "stream", clean(output.text).removesuffix("\n")))
    if output.kind == "error":
        title = f"error {inline(output.ename, 80)}: {inline(output.evalue, 300)}"
        trace = clean("\n".join(output.traceback)).strip("\n")
        return Block(_labelled(title, trace) if trace else (f"[{title}]",), tail=0.75)
    what = "result" if output.kind == "execute_result" else "display"
    picture = next(((mime, _text(output.data[mime])) for mime in PICTURES if output.data.get(mime)), None)
    if picture is not None:
        mime, encoded = picture
        title = f"{mime}, {_pixels(mime, encoded)}{size(len(encoded) * 3 // 4)}"
        text = plotly_text(output.data[_PLOTLY]) if _PLOTLY in output.data else _caption(output.data)
        return Block(_labelled(title, text) if text else (f"[{title}]",), picture)
    mime, text = _best(output.data)
    if mime.startswith(("audio/", "video/")):
        return Block((f"[{what} {text}]",))
    kind = "widget" if mime == "text/plain" and _WIDGET in output.data else mime
    return Block(_labelled(f"{what} {kind}" if kind != "text/plain" else what, text))


def fenced(lines: Iterable[str]) -> list[str]:
    """Lines of a text that is not ours, each behind a bar: whatever it holds, it ends where the bars end."""
    return [f"│{line}" for line in lines]


def body(outputs: Iterable[OutputView]) -> list[str]:
    """The lines of all outputs of a cell, in order."""
    return [line for output in outputs for line in block(output).lines]


def kinds(outputs: Sequence[OutputView]) -> str:
    """``text, image/png, error ValueError``: what there is, each kind once; empty for no outputs.

    Looks at no more than the names: an outline asks this of every cell.
    """
    found: dict[str, int] = {}
    for output in outputs:
        kind = _kind(output)
        found[kind] = found.get(kind, 0) + 1
    shown = [kind if n == 1 else f"{kind} ({n} times)" for kind, n in list(found.items())[:5]]
    return ", ".join([*shown, *(["…"] if len(found) > 5 else [])])


def _kind(output: OutputView) -> str:
    if output.kind == "stream":
        return "text" if output.name != "stderr" else "stderr"
    if output.kind == "error":
        return f"error {inline(output.ename, 40)}"
    mime = _main_mime(output.data)
    return "text" if mime == "text/plain" else inline(mime, 40)


def output_summary(output: OutputView) -> str:
    """A short phrase, at most some 160 characters, e.g. ``stdout, 12 lines: Epoch 1``."""
    if output.kind == "stream":
        lines = count(output.text.removesuffix("\n").count("\n") + 1, "line")
        return f"{inline(output.name, 20) or 'stream'}, {lines}: {_start(output.text)}"
    if output.kind == "error":
        return f"error {inline(output.ename, 40)}: {inline(output.evalue, 80)}"
    mime = _main_mime(output.data)
    if mime in PICTURES:
        encoded = _text(output.data[mime])
        return f"{mime}, {_pixels(mime, encoded)}{size(len(encoded) * 3 // 4)}"
    plain = _text(output.data.get("text/plain"))
    about = plain if _good(plain) else ""
    if mime == _PLOTLY:
        about = plotly_text(output.data[mime]).partition("\n")[0]
    elif mime == "text/html" and not about:
        about = html_to_text(without_data(_text(output.data[mime]))[:5_000])
    elif mime.startswith("text/") and not about:
        about = _text(output.data[mime])
    title = "result" if mime == "text/plain" else inline(mime, 60)
    return f"{title}: {_start(about)}" if about else title


def decode(mime: str, encoded: str, caption: str) -> Image | None:
    """The picture's bytes; None if they are no base64."""
    try:
        data = base64.b64decode(encoded)
    except ValueError:
        return None
    return Image(mime, data, caption) if data else None


# -- MIME bundles


def _best(data: Mapping[str, Any]) -> tuple[str, str]:
    """The MIME type that is shown as text, and that text."""
    plain = _text(data.get("text/plain"))
    mime = _main_mime(data)
    if mime == _PLOTLY:
        return mime, plotly_text(data[mime])
    if _VEGA.fullmatch(mime):
        return mime, vega_text(data[mime])
    html = _text(data.get("text/html"))
    if html and (chart := chart_in_html(html)):
        return "text/html", chart
    if mime == "text/html":
        text = clean(html_to_text(html)).strip("\n")
        unread = f"no text in {size(len(html))} of HTML; what it shows, a script draws"
        return (mime, text) if text.strip() else ("text/plain", clean(plain)) if plain.strip() else (mime, unread)
    if mime == "application/json" or _JSON.fullmatch(mime):
        return mime, clean(json_text(data[mime]))
    if mime == _SVG:
        return mime, clean(svg_text(_text(data[mime])))
    if mime.startswith(("audio/", "video/")):
        encoded = _text(data[mime])
        return mime, described(mime, encoded, _decoded_length(encoded))
    if mime.startswith("text/"):
        return mime, clean(_text(data[mime]))
    others = [f"{inline(str(key), 60)} ({size(_length(data[key]))})" for key in sorted(data)[:6] if key != "text/plain"]
    return inline(mime, 60), f"not shown: {', '.join(others)}" if data else "(empty)"


def _main_mime(data: Mapping[str, Any]) -> str:
    """The most telling MIME type of a bundle; plain text wins over HTML where it says the same."""
    for mime in PICTURES:
        if data.get(mime):
            return mime
    for mime in data:
        if mime == _PLOTLY or _VEGA.fullmatch(mime):
            return mime
    plain = _text(data.get("text/plain"))
    if _good(plain) and not ("text/markdown" in data or "text/latex" in data or "application/json" in data):
        return "text/plain"
    others = sorted(mime for mime in data if mime not in ("text/plain", _WIDGET))
    return next((mime for mime in (*_RANK, *others, *sorted(data)) if mime in data), "empty")


def _good(plain: str) -> bool:
    """Whether text/plain is more than ``<Styler at 0x7f…>``, and no wide frame wrapped with backslashes."""
    return bool(plain.strip()) and not _PLACEHOLDER.fullmatch(plain.strip()) and "\\\n" not in plain


def _caption(data: Mapping[str, Any]) -> str:
    return inline(_text(data.get("text/plain")), 120)


def _text(value: object) -> str:
    """A MIME value as text; nbformat also allows a list of lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "".join(part for part in value if isinstance(part, str))
    return "" if value is None else json_text(value)


def _decoded_length(encoded: str) -> int:
    return (len(encoded.rstrip("=\n")) - encoded.count("\n")) * 3 // 4


def _length(value: object) -> int:
    return len(_text(value))


def _pixels(mime: str, encoded: str) -> str:
    """``640x480, `` where a PNG's header says so."""
    if mime != "image/png":
        return ""
    try:
        header = base64.b64decode(encoded.lstrip()[:32])
    except ValueError:
        return ""
    if len(header) < 24 or header[12:16] != b"IHDR":
        return ""
    return f"{int.from_bytes(header[16:20], 'big')}x{int.from_bytes(header[20:24], 'big')}, "


# -- lines


def _labelled(label: str, text: str) -> tuple[str, ...]:
    lines = _wrapped(text)
    several = f", {count(len(lines), 'line')}" if len(lines) > 1 else ""
    return (f"[{label}{several}]", *lines)


def _wrapped(text: str) -> list[str]:
    lines = text.split("\n")
    if len(text) <= WIDEST or max(map(len, lines)) <= WIDEST:
        return lines
    return [line[at : at + WIDEST] for line in lines for at in range(0, max(len(line), 1), WIDEST)]


def _start(text: str) -> str:
    """The first line that says something."""
    lines = clean(text[:2_000]).split("\n")
    return cut(next((line.strip() for line in lines if line.strip()), ""), 80)
