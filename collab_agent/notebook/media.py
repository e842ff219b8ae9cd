"""Sound, film, frames and SVG -> what can be said of them in a line; never their base64.

Every function is total: whatever a kernel sent gives some text, never an exception.
"""

from __future__ import annotations

import base64
import re

from collab_agent.notebook.plain import count, cut, inline, size

_DATA_URI = re.compile(r"data:(?P<mime>[\w.+-]{1,40}/[\w.+-]{1,60})(?:;[\w=.+-]{1,60}){0,4},(?P<data>[\w+/=%-]{100,})")
_SHORT_URI = re.compile(r"data:(?P<mime>[^;,]{1,101});bytes=(?P<bytes>\d+),(?P<head>[\w+/=-]*)")
_HEAD = 88
"""Characters of base64 that are kept: a WAV header is 44 bytes.  Fewer than make a long URI."""
_SOURCE = re.compile(r"\b(?:src|data)\s?=\s?(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)

_SVG = re.compile(r"<svg\b([^<>]*)>", re.IGNORECASE)
_SVG_SIZE = re.compile(r"\b(width|height)=[\"']([\d.]{1,12})")
_SVG_BOX = re.compile(r"\bviewBox=[\"'][-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)")
_SVG_TEXT = re.compile(r"<(?:title|desc|text|tspan|a)\b[^<>]*>([^<>]+)|<!-- ([^<>\n]{1,200}) -->")
_SVG_SHAPE = re.compile(r"<(?:path|rect|circle|ellipse|line|polygon|polyline|image|use)\b")
_MOST_SVG, _MOST_TEXTS = 500_000, 60


def without_data(html: str) -> str:
    """HTML whose long ``data:`` URIs hold only the beginning of their data, and say how much there was."""
    return _DATA_URI.sub(_shortened, html)


def _shortened(uri: re.Match[str]) -> str:
    data = uri["data"]
    return f"data:{uri['mime']};bytes={len(data.rstrip('=')) * 3 // 4},{data[:_HEAD]}"


def source_text(tag: str, attributes: str) -> str:
    """``[audio/wav, 2.0 s, 32 kB]`` or ``[audio https://…]``, by the ``src`` among a tag's attributes."""
    found = _SOURCE.search(attributes)
    source = next((each for each in found.groups() if each), "") if found else ""
    data = _SHORT_URI.match(source)
    if data is not None:
        return f"[{described(data['mime'], data['head'], int(data['bytes']))}]"
    if source.startswith("data:"):
        source = source.partition(",")[0]
    return f"[{tag} {inline(source, 200)}]" if source else f"[{tag}]"


def described(mime: str, encoded: str, n_bytes: int) -> str:
    """``audio/wav, 2.0 s, 32 kB``; the duration only where the first bytes tell it."""
    seconds = _wav_seconds(encoded, n_bytes)
    return f"{inline(mime, 60)}, {f'{seconds:.1f} s, ' if seconds is not None else ''}{size(n_bytes)}"


def _wav_seconds(encoded: str, n_bytes: int) -> float | None:
    """How long a WAV file plays: the bytes behind its header by its byte rate (RIFF, ``fmt`` chunk)."""
    try:
        header = base64.b64decode("".join(encoded[: _HEAD + 8].split())[:_HEAD])
    except ValueError:
        return None
    if len(header) < 44 or header[:4] != b"RIFF" or header[8:16] != b"WAVEfmt ":
        return None
    rate = int.from_bytes(header[28:32], "little")
    return max(n_bytes - 44, 0) / rate if rate else None


def svg_text(svg: str) -> str:
    """Size, number of shapes, and the words that stand in an SVG drawing."""
    svg = svg[:_MOST_SVG]
    tag = _SVG.search(svg)
    sides = dict(_SVG_SIZE.findall(tag[1])) if tag else {}
    box = _SVG_BOX.search(tag[1]) if tag else None
    if {"width", "height"} <= sides.keys():
        pixels = f", {sides['width']}x{sides['height']}"
    else:
        pixels = f", {cut(box[1], 12)}x{cut(box[2], 12)}" if box else ""
    head = f"SVG drawing{pixels}, {count(len(_SVG_SHAPE.findall(svg)), 'shape')}"
    texts = list(dict.fromkeys(inline(a or b, 80) for a, b in _SVG_TEXT.findall(svg)))
    shown = [text for text in texts if text][:_MOST_TEXTS]
    return f"{head}\nin it: {' | '.join(shown)}" if shown else head
