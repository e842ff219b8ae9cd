"""Rich MIME data -> plain text: HTML with its tables aligned, plot specifications in a few lines.

Every function is total: whatever a kernel sent gives some text, never an exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

from collab_agent.notebook.media import source_text, without_data
from collab_agent.notebook.plain import count, cut, inline

MOST_HTML = 500_000
"""Characters of HTML that are read."""
_WIDEST = 60
_MOST_COLUMNS, _MOST_ROWS = 60, 1_000
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote body br caption dd details div dl dt fieldset figure footer form "
        "h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tr ul",
    )
)
_SILENT = frozenset({"head", "template", "noscript", "svg"})
_MEDIA = frozenset({"audio", "video", "iframe", "object"})
"""What stands between these tags is for browsers that do not know them."""
_COMMENT = re.compile("<!--"), re.compile("-->")
_RAW = (
    re.compile(r"<(?:script|style)\b", re.IGNORECASE),
    re.compile(r"</(?:script|style)\b[^<>]*>", re.IGNORECASE),
)
_TAG = re.compile(r"<(?:!|(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9]*))(?P<attributes>[^<>]*)>")
_SPAN = re.compile(r"\b(colspan|rowspan)\s?=\s?[\"']?([0-9]{1,3})", re.IGNORECASE)
_ALT = re.compile(r"\balt=[\"']([^\"']{1,100})", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?%?|NaN|nan|NaT|None|<NA>")


def html_to_text(html: str) -> str:
    """The text of an HTML fragment: blocks on lines of their own, table columns aligned, scripts left out.

    Linear in the length of the fragment, which ``html.parser`` is not: minutes for 100 kB of ``<a <a``.
    """
    reader = _Reader()
    end = 0
    html = without_data(html)
    cut_off = html.rfind("<", 0, MOST_HTML) if len(html) > MOST_HTML else len(html)
    fragment = _without(html[:cut_off] if cut_off >= 0 else html[:MOST_HTML], *_COMMENT)
    fragment = _without(fragment, *_RAW)
    for tag in _TAG.finditer(fragment):
        reader.data(_unescaped(fragment[end : tag.start()]))
        end = tag.end()
        if tag["name"] is None:
            continue
        if tag["close"]:
            reader.end(tag["name"].lower())
        else:
            reader.start(tag["name"].lower(), tag["attributes"])
    reader.data(_unescaped(fragment[end:]))
    text = re.sub(r"\n{3,}", "\n\n", reader.text()).strip("\n")
    return f"{text}\n… the HTML goes on" if text and len(html) > MOST_HTML else text


def _without(html: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The fragment without what stands between these marks; what is never closed goes to the end."""
    kept: list[str] = []
    at = 0
    while start := opening.search(html, at):
        kept.append(html[at : start.start()])
        end = closing.search(html, start.end())
        if end is None:
            return "".join(kept)
        at = end.end()
    return "".join([*kept, html[at:]])


def _unescaped(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:  # a character reference of more than 4,300 digits
        return text


class _Table:
    """The rows of one table, spans laid out as empty cells."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.parts: list[str] | None = None
        self._spans = (1, 1)
        self._below: dict[int, int] = {}

    def open_row(self) -> None:
        self.close_cell()
        self.rows.append([])
        self._skip_spanned()

    def open_cell(self, columns: int, rows: int) -> None:
        self.close_cell()
        if not self.rows:
            self.open_row()
        self.parts = []
        self._spans = (columns, rows)

    def close_cell(self) -> None:
        if self.parts is None:
            return
        text = cut(" ".join("".join(self.parts).split()), _WIDEST)
        self.parts = None
        row = self.rows[-1]
        columns, rows = self._spans
        for extra in range(min(columns, _MOST_COLUMNS - len(row))):
            if rows > 1:
                self._below[len(row)] = rows - 1
            row.append("" if extra else text)
        self._skip_spanned()

    def _skip_spanned(self) -> None:
        row = self.rows[-1]
        while self._below.get(len(row), 0) > 0:
            self._below[len(row)] -= 1
            row.append("")

    def text(self) -> str:
        self.close_cell()
        rows = [row for row in self.rows if any(row)]
        left_out = len(rows) - _MOST_ROWS
        rows = rows[:_MOST_ROWS]
        width = max(map(len, rows), default=0)
        columns = [[row[at] if at < len(row) else "" for row in rows] for at in range(width)]
        for at, column in enumerate(columns):
            width = max(map(len, column))
            right = at > 0 and any(_NUMBER.fullmatch(cell) for cell in column)
            columns[at] = [cell.rjust(width) if right else cell.ljust(width) for cell in column]
        lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
        return "\n".join([*lines, f"… {count(left_out, 'more row')}"] if left_out > 0 else lines)


class _Reader:
    """Takes tags and text one after the other, and writes to the open table cell or to the page."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._tables: list[_Table] = []
        self._silent = 0
        self._pre = 0
        self._medium: tuple[str, str] | None = None
        """The open ``audio``, ``video`` and so on, and the attributes that have its source."""

    def text(self) -> str:
        self._close_medium()
        while self._tables:
            self._close_table()
        lines = "".join(self._parts).split("\n")
        return "\n".join(line.rstrip() for line in lines)

    def _sink(self) -> list[str]:
        if self._tables and self._tables[-1].parts is not None:
            return self._tables[-1].parts
        return self._parts

    def start(self, tag: str, attributes: str) -> None:
        if self._medium is not None:
            if tag == "source" and "src" not in self._medium[1]:
                self._medium = (self._medium[0], attributes)
        elif tag in _SILENT:
            self._silent += 1
        elif tag in _MEDIA:
            self._medium = (tag, attributes)
        elif tag == "table":
            self._tables.append(_Table())
        elif tag == "tr" and self._tables:
            self._tables[-1].open_row()
        elif tag in ("td", "th") and self._tables:
            spans = {name.lower(): int(value) for name, value in _SPAN.findall(attributes)}
            self._tables[-1].open_cell(spans.get("colspan", 1), spans.get("rowspan", 1))
        elif tag in _BLOCKS:
            self._break()
            if tag == "li":
                self._sink().append("- ")
        elif tag == "img":
            alt = _ALT.search(attributes)
            self._sink().append(f"[image {_unescaped(alt[1])}]" if alt else source_text("image", attributes))
        elif tag == "embed":
            self._sink().append(source_text("embedded", attributes))
        self._pre += tag == "pre"

    def end(self, tag: str) -> None:
        if self._medium is not None:
            if tag == self._medium[0]:
                self._close_medium()
        elif tag in _SILENT:
            self._silent = max(self._silent - 1, 0)
        elif tag == "table" and self._tables:
            self._close_table()
        elif tag in ("td", "th", "tr") and self._tables:
            self._tables[-1].close_cell()
        elif tag in _BLOCKS:
            self._break()
        if tag == "pre":
            self._pre = max(self._pre - 1, 0)

    def data(self, data: str) -> None:
        if self._silent or self._medium is not None or not data:
            return
        if self._tables and self._tables[-1].parts is None:
            # White space between rows; a table's stray text is drawn above it.
            data = data.strip()
        self._sink().append(data if self._pre else re.sub(r"\s+", " ", data))

    def _close_medium(self) -> None:
        if self._medium is not None and not self._silent:
            sink = self._sink()
            if sink and not sink[-1].strip(" "):
                sink.pop()
            sink.append(source_text(*self._medium))
        self._medium = None

    def _break(self) -> None:
        sink = self._sink()
        if sink and not sink[-1].endswith("\n"):
            sink.append("\n")

    def _close_table(self) -> None:
        text = self._tables.pop().text()
        self._break()
        self._sink().append(f"{text}\n")


def json_text(value: object) -> str:
    """JSON data, indented by one.

    Keys are sorted and ``1.0`` is ``1``: the shared document keeps neither the order of keys nor what was an integer,
    and the same data must give the same lines wherever it comes from.
    """
    try:
        return json.dumps(_whole(value), indent=1, ensure_ascii=False, default=str, sort_keys=True)
    except (ValueError, RecursionError, TypeError):
        return "(JSON that cannot be shown)"


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


def plotly_text(spec: object) -> str:
    """A Plotly figure by its traces, title and axes; its specification takes some 10,000 characters."""
    figure = _mapping(spec)
    layout = _mapping(figure.get("layout"))
    traces = [_mapping(trace) for trace in _sequence(figure.get("data"))]
    lines = [f"Plotly figure, {count(len(traces), 'trace')}" + _titled(layout.get("title"))]
    for trace in traces[:8]:
        points = max(_points(trace.get(axis)) for axis in ("x", "y", "z", "values", "labels"))
        name = f" {inline(_string(trace['name']), 40)!r}" if trace.get("name") else ""
        lines.append(
            f"  {inline(_string(trace.get('type') or 'scatter'), 30)}{name}"
            + (f", {count(points, 'point')}" if points else "")
        )
    if len(traces) > 8:
        lines.append(f"  … {len(traces) - 8} more")
    axes = [key for key in sorted(map(str, layout)) if re.fullmatch(r"[xyz]axis\d{0,3}", key)]
    for key in axes[:6]:
        if titled := _titled(_mapping(layout[key]).get("title")):
            lines.append(f"  {key}{titled}")
    return "\n".join(lines)


def _points(values: object) -> int:
    """How many there are: of a list, or of Plotly 6's ``{"dtype": "f8", "bdata": base64}``."""
    packed = _string(_mapping(values).get("bdata"))
    width = re.fullmatch(r"[iuf]([1248])", _string(_mapping(values).get("dtype")))
    return len(packed.rstrip("=")) * 3 // 4 // int(width[1]) if width else len(_sequence(values))


def _titled(title: object) -> str:
    text = _mapping(title).get("text") if isinstance(title, Mapping) else title
    return f", title {inline(text, 80)!r}" if isinstance(text, str) and text else ""


def vega_text(spec: object) -> str:
    """A Vega or Vega-Lite chart by its marks and encoded fields."""
    chart = _mapping(spec)
    rows = sum(len(_sequence(data)) for data in _mapping(chart.get("datasets")).values())
    rows += len(_sequence(_mapping(chart.get("data")).get("values")))
    lines = ["Vega chart" + _titled(chart.get("title")) + (f", {count(rows, 'row')} of data" if rows else "")]
    waiting: list[object] = [spec]
    while waiting and len(lines) <= 8:
        part = _mapping(waiting.pop(0))
        for key in ("layer", "concat", "hconcat", "vconcat", "marks"):
            waiting.extend(_sequence(part.get(key)))
        if "spec" in part:
            waiting.append(part["spec"])
        mark = part.get("mark", part.get("type"))
        mark = _mapping(mark).get("type") if isinstance(mark, Mapping) else mark
        if isinstance(mark, str):
            fields = [
                f"{inline(str(channel), 20)}={inline(_string(_mapping(coding).get('field')), 40)}"
                for channel, coding in sorted(_mapping(part.get("encoding")).items(), key=str)[:8]
                if _mapping(coding).get("field")
            ]
            lines.append(" ".join([f"  {inline(mark, 30)}", *fields]))
    return "\n".join(lines)


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
