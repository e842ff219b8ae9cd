"""Charts that a library sends as HTML with a script: the specification is in the script.

Altair's default renderer writes ``(function(spec, …) {…})({…})``, Plotly's HTML renderers write
``Plotly.newPlot("id", [data], {layout})``.  Total: what cannot be read is no chart.
"""

from __future__ import annotations

import json
import re
from typing import Any

from collab_agent.notebook.richtext import plotly_text, vega_text

_VEGA = re.compile(r"(?:\}\)\(|\bspec\s?=\s?|\bvegaEmbed\([^,(){}]{1,80},\s?)(?=\{)")
_PLOTLY = re.compile(r"\bPlotly\.(?:newPlot|react)\(\s{0,80}[\"'][^\"'<>]{1,80}[\"'],\s{0,80}(?=\[)")
_COMMA = re.compile(r"\s*,\s*")
_MOST_TRIES = 5


def chart_in_html(html: str) -> str:
    """The chart that the scripts of this HTML draw, in a few lines; empty if there is none that can be read."""
    if "vega.github.io/schema" in html:
        for at, _ in zip(_VEGA.finditer(html), range(_MOST_TRIES), strict=False):
            spec, _end = _json_at(html, at.end())
            if isinstance(spec, dict) and "vega" in str(spec.get("$schema", "")):
                return vega_text(spec)
    drawn = _PLOTLY.search(html)
    if drawn is not None:
        data, end = _json_at(html, drawn.end())
        comma = _COMMA.match(html, end)
        layout = _json_at(html, comma.end())[0] if comma else None
        if isinstance(data, list):
            return plotly_text({"data": data, "layout": layout})
    return ""


def _json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins here, and where it ends; None if there is none."""
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start
