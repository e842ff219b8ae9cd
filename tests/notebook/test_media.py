"""What is said of sound, film, frames, drawings and of charts in HTML; their base64 never gets into the text."""

from __future__ import annotations

import base64
import io
import json
import re
import wave
from typing import Any

import pytest

from collab_agent.notebook.display import block, output_summary
from collab_agent.notebook.model import OutputView
from collab_agent.notebook.richtext import MOST_HTML, html_to_text


def wav(seconds: float, rate: int = 8_000) -> str:
    """Silence, in base64."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(int(2 * rate * seconds)))
    return base64.b64encode(file.getvalue()).decode()


def shown(**data: Any) -> str:
    """``text__html`` is ``text/html``."""
    output = OutputView("display_data", data={key.replace("__", "/"): value for key, value in data.items()})
    text = "\n".join([*block(output).lines, output_summary(output)])
    assert not re.search(r"[A-Za-z0-9+/]{60}", text)
    return text


def test_sound_in_html_is_told_by_format_duration_and_size() -> None:
    html = f'<audio controls>\n <source src="data:audio/wav;base64,{wav(2.5)}" type="audio/wav" /> Too old.</audio>'
    text = shown(text__html=html, text__plain="<IPython.lib.display.Audio object>")
    assert "[display text/html]\n[audio/wav, 2.5 s, 40 kB]" in text
    assert "Too old" not in text
    assert text.endswith("text/html: [audio/wav, 2.5 s, 40 kB]")


def test_sound_of_its_own_mime_type_too() -> None:
    wrapped = "\n".join(re.findall(".{1,76}", wav(1)))  # as base64.encodebytes writes it
    assert "[display audio/wav, 1.0 s, 16 kB]" in shown(audio__wav=wrapped)
    assert "[display audio/mpeg, 300 B]" in shown(audio__mpeg="A" * 400)


def test_a_long_sound_is_told_although_its_html_is_cut() -> None:
    html = f'<p>before</p><audio src="data:audio/wav;base64,{wav(60)}"></audio><p>behind</p>'
    assert len(html) > MOST_HTML
    assert html_to_text(html) == "before\n[audio/wav, 60.0 s, 960 kB]\nbehind"


def test_a_tag_that_is_cut_off_is_left_out() -> None:
    html = "x" * (MOST_HTML - 10) + "<p title='" + "y" * 100 + "'>z"
    assert "y" not in html_to_text(html)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<video src='https://example.org/a.mp4' controls>Too old.</video>", "[video https://example.org/a.mp4]"),
        (f"<video><source src='data:video/mp4;base64,{'A' * 4000}'></video>", "[video/mp4, 3 kB]"),
        ("<iframe src=https://example.org/a></iframe>", "[iframe https://example.org/a]"),
        (f'<img src="data:image/png;base64,{"A" * 4000}">', "[image/png, 3 kB]"),
        ('<img src="https://example.org/a.png">', "[image https://example.org/a.png]"),
        ("<audio>", "[audio]"),
    ],
)
def test_what_is_embedded_is_named(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_a_drawing_is_told_by_size_shapes_and_words() -> None:
    svg = '<svg width="20" height="10pt"><title>Circle</title><!-- axis --><circle r="4"/><text x="1">Hi</text></svg>'
    text = shown(**{"image/svg+xml": svg, "text/plain": "<SVG object>"})
    assert "SVG drawing, 20x10, 1 shape\nin it: Circle | axis | Hi" in text
    assert "SVG drawing, 3x4, 0 shapes" in shown(**{"image/svg+xml": '<svg viewBox="0 0 3 4"/>'})


def test_charts_in_html_are_read_out_of_their_scripts() -> None:
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": "Masses",
        "mark": "bar",
        "encoding": {"x": {"field": "mass"}},
        "data": {"values": [{"mass": 1}, {"mass": 2}]},
    }
    altair = f"<div></div><script>(function(spec, o){{ f({{}}); }})({json.dumps(spec)}, {{}});</script>"
    text = shown(text__html=altair, text__plain="alt.Chart(...)")
    assert "Vega chart, title 'Masses', 2 rows of data\n  bar x=mass" in text
    traces = [{"type": "bar", "x": {"dtype": "f8", "bdata": base64.b64encode(bytes(40)).decode()}}]
    plotly = f'<script>Plotly.newPlot( "a-1", {json.dumps(traces)}, {{"title": {{"text": "T"}}}}, {{}})</script>'
    assert "Plotly figure, 1 trace, title 'T'\n  bar, 5 points" in shown(text__html=plotly)


def test_html_that_only_a_script_draws_is_told_so() -> None:
    assert "no text in 33 B of HTML" in shown(text__html="<script>draw('anything')</script>")


def test_other_json_is_shown_and_a_widget_is_called_so() -> None:
    assert '"type": "Point"' in shown(**{"application/geo+json": {"type": "Point"}, "text/plain": "<GeoJSON object>"})
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider(value=7)"}
    assert "[display widget]\nIntSlider(value=7)" in shown(**view)
    assert "not shown: application/pdf (8 B)" in shown(**{"application/pdf": "JVBERi0x", "text/plain": "<pdf>"})
