"""What a model gets of each kind of output, from the objects that people's libraries make in a real kernel."""

from __future__ import annotations

import io
import re

from PIL import Image

from .conftest import McpAgent, Notebook, Result

FRAMES = "import numpy as np, pandas as pd\n"


async def shown(agent: McpAgent, notebook: Notebook, *sources: str) -> list[Result]:
    """What running each cell answers; the same when it is asked for later.  No base64, whatever the kernel sent."""
    await agent.setup(await notebook(list(sources)))
    results = []
    for number in range(1, len(sources) + 1):
        ran = await agent.run(cells=[f"#{number}"], wait_s=60)
        assert " ok " in ran.body.splitlines()[0], ran.body
        asked = await agent.query("outputs", cells=[f"#{number}"])
        assert asked.body.splitlines()[1:] == ran.body.splitlines()[1:]
        assert asked.images == ran.images
        for text in (ran.text, (await agent.query("cells", cells=[f"#{number}"])).text):
            assert not re.search(r"[A-Za-z0-9+/]{60}", text), text
        results.append(ran)
    return results


async def test_frames_come_with_names_head_tail_and_shape(mcp_agent: McpAgent, notebook: Notebook) -> None:
    small, huge, wide, all_rows, series, grouped, styled = await shown(
        mcp_agent,
        notebook,
        FRAMES + "pd.DataFrame({'name': ['漢', 'b'], 'value': [1, 2.5]})",
        "big = pd.DataFrame(np.arange(400_000.).reshape(100_000, 4), columns=list('abcd')); big",
        "pd.DataFrame(np.arange(1000).reshape(5, 200), columns=[f'column_{n}' for n in range(200)])",
        "with pd.option_context('display.max_rows', None): display(big[:3000])",
        "big.a",
        "big.groupby(big.a % 3).agg({'b': ['mean', 'count']})",
        "big.head(3).style.format('{:.2f}')",
    )
    assert re.search(r"  name  value\n0    漢    1.0\n1    b    2.5", small.body)
    assert "99999  399996.0  399997.0  399998.0  399999.0\n\n[100000 rows x 4 columns]" in huge.body
    assert "0         0         1" in wide.body  # one row is one line, not wrapped in pieces
    assert "\\" not in wide.body
    assert "5 rows \N{MULTIPLICATION SIGN} 200 columns" in wide.body
    assert re.search(r"^0 +0\.0 +1\.0", all_rows.body, re.MULTILINE)
    assert re.search(r"^2999 +11996\.0", all_rows.body, re.MULTILINE)
    assert "left out; query_notebook" in all_rows.body
    assert "Name: a, Length: 100000, dtype: float64" in series.body
    assert re.search(r"mean +count", grouped.body)
    assert re.search(r"^2 +8\.00 +9\.00 +10\.00 +11\.00$", styled.body, re.MULTILINE)


async def test_figures_come_as_a_picture_and_a_line(mcp_agent: McpAgent, notebook: Notebook) -> None:
    (png, svg) = await shown(
        mcp_agent,
        notebook,
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "%config InlineBackend.figure_formats = ['svg']\nplt.plot([1, 2]); plt.title('Rising'); plt.show()\n"
        "%config InlineBackend.figure_formats = ['png']",
    )
    ((mime, data),) = png.images
    assert mime == "image/png"
    with Image.open(io.BytesIO(data)) as picture:
        size = f"{picture.width}x{picture.height}"
    assert re.search(
        rf"\[image/png, {size}, \d+ kB: image 1, 2 lines\]|\[image/png, {size}, \d+ kB: image 1\]", png.body
    )
    assert "<Figure size 640x480 with 1 Axes>" in png.body
    assert re.search(r"SVG drawing, \d+\.\d+x\d+\.\d+, \d+ shapes\nin it: .*Rising", svg.body)


async def test_interactive_charts_come_by_traces_marks_and_titles(mcp_agent: McpAgent, notebook: Notebook) -> None:
    plotly, plotly_html, altair, altair_mime = await shown(
        mcp_agent,
        notebook,
        "import plotly.express as px\nfig = px.scatter(x=[1, 2, 3], y=[3, 1, 2], title='Dots'); fig",
        "from IPython.display import HTML\nHTML(fig.to_html(include_plotlyjs=False, full_html=False))",
        FRAMES + "import altair as alt\n"
        "chart = alt.Chart(pd.DataFrame({'x': [1, 2], 'y': [3, 4]})).mark_bar().encode(x='x', y='y:Q')\n"
        "chart = chart.properties(title='Bars'); chart",
        "with alt.renderers.enable('mimetype'): display(chart)",
    )
    for result in (plotly, plotly_html):
        assert "Plotly figure, 1 trace, title 'Dots'\n  scatter, 3 points\n  xaxis, title 'x'" in result.body
    for result in (altair, altair_mime):
        assert "Vega chart, title 'Bars', 2 rows of data\n  bar x=x y=y" in result.body


async def test_html_latex_json_and_drawings_come_as_text(mcp_agent: McpAgent, notebook: Notebook) -> None:
    html, latex, data, markdown, svg, script = await shown(
        mcp_agent,
        notebook,
        "from IPython.display import *\nHTML('<h1>T</h1><p>a <b>b</b></p><ul><li>1<li>2</ul><script>x()</script>')",
        r"Math(r'\frac{1}{2}')",
        "JSON({'a': [1, {'b': None}]})",
        "Markdown('# Hi\\n\\n* a')",
        'SVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>Hi</text></svg>\')',
        "Javascript('draw()')",
    )
    assert "[result text/html, 4 lines]\nT\na b\n- 1\n- 2" in html.body
    assert r"$\displaystyle \frac{1}{2}$" in latex.body
    assert '"b": null' in data.body
    assert "# Hi\n\n* a" in markdown.body
    assert "SVG drawing, 9x9, 0 shapes\nin it: Hi" in svg.body
    assert "application/javascript (6 B)" in script.body


async def test_sound_film_and_frames_come_by_format_length_and_address(mcp_agent: McpAgent, notebook: Notebook) -> None:
    sound, long_sound, linked, film, linked_film, framed = await shown(
        mcp_agent,
        notebook,
        "import numpy as np\nfrom IPython.display import *\nAudio(np.sin(np.arange(16_000) / 10), rate=8000)",
        "Audio(np.sin(np.arange(441_000) / 10), rate=44_100)",
        "Audio(url='https://example.org/a.mp3')",
        "Video(b'....ftypmp42' + bytes(4988), embed=True, mimetype='video/mp4')",
        "Video('https://example.org/a.mp4')",
        "YouTubeVideo('abc')",
    )
    assert "[audio/wav, 2.0 s, 32 kB]" in sound.body
    assert "[audio/wav, 10.0 s, 882 kB]" in long_sound.body
    assert "[audio https://example.org/a.mp3]" in linked.body
    assert "[video/mp4, 5 kB]" in film.body
    assert "[video https://example.org/a.mp4]" in linked_film.body
    assert "[iframe https://www.youtube.com/embed/abc]" in framed.body


async def test_a_widget_comes_by_its_value(mcp_agent: McpAgent, notebook: Notebook) -> None:
    (slider,) = await shown(mcp_agent, notebook, "import ipywidgets\nipywidgets.IntSlider(value=7, description='n')")
    assert "[result widget]\nIntSlider(value=7, description='n')" in slider.body
