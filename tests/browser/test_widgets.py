"""Widgets that the agent's cells made are live in the human's page; bars and streams look as they do at home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Locator, expect

from collab_agent.config import Server

from .conftest import joined_agent

if TYPE_CHECKING:
    from .conftest import Goose, LabPage


def outputs(page: LabPage, index: int) -> Locator:
    """What stands below a cell's source."""
    return page.cell(index).locator(".jp-OutputArea-output")


async def test_a_slider_and_a_button_of_the_agent_are_the_humans_to_move(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    source = (
        "import ipywidgets as w\nfrom IPython.display import display\n"
        "slider, button, label = w.IntSlider(value=3, max=10), w.Button(description='Go'), w.Label('untouched')\n"
        "slider.observe(lambda change: setattr(label, 'value', f'Python saw {change.new}'), 'value')\n"
        "button.on_click(lambda _: setattr(label, 'value', 'Python saw a click 漢'))\n"
        "display(slider, button, label)"
    )
    await goose.execute(edits=[{"op": "insert", "source": source}])
    cell = page.cell(1)
    await expect(cell.locator(".widget-label", has_text="untouched")).to_be_visible()
    handle = cell.locator(".noUi-handle")
    await handle.focus()
    await handle.press("ArrowRight")
    await expect(cell.locator(".widget-label", has_text="Python saw 4")).to_be_visible()
    assert "[result]\n│4" in await goose.execute(code="slider.value")
    await cell.locator("button", has_text="Go").click()
    await expect(cell.locator(".widget-label", has_text="Python saw a click 漢")).to_be_visible()
    await goose.execute(code="slider.value = 9")  # and back: the agent moves what the human sees
    await expect(cell.locator(".widget-readout")).to_have_text("9")


async def test_interact_shows_its_output_once_and_follows_the_slider(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    source = "from ipywidgets import interact\n@interact(n=(0, 10))\ndef square(n=3):\n    print('n² is', n * n)"
    result = await goose.execute(edits=[{"op": "insert", "source": source}])
    assert "n² is 9" in result
    inside = page.cell(1).locator(".widget-output")
    await expect(inside).to_contain_text("n² is 9")
    await expect(page.cell(1).get_by_text("n² is 9")).to_have_count(1)
    handle = page.cell(1).locator(".noUi-handle")
    await handle.focus()
    await handle.press("ArrowRight")
    await expect(inside).to_contain_text("n² is 16")
    await expect(inside.get_by_text("n² is")).to_have_count(1)
    await expect(page.cell(1).get_by_text("n² is 9")).to_have_count(0)


async def test_an_output_widget_takes_what_another_cell_of_the_agent_prints(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    make = "from ipywidgets import Output\nout = Output()\nout"
    use = "with out:\n    print('first')\n    1 / 0\nprint('beside')"
    await goose.execute(edits=[{"op": "insert", "source": source} for source in (make, use)])
    inside = page.cell(1).locator(".widget-output")
    await expect(inside).to_contain_text("first")
    await expect(inside).to_contain_text("ZeroDivisionError")
    await expect(outputs(page, 2)).to_have_text("beside\n")
    await goose.execute(code="with out:\n    print('and aside')")
    await expect(inside).to_contain_text("and aside")
    await goose.execute(code="out.clear_output()")
    await expect(inside).not_to_contain_text("first")


async def test_bars_fill_in_the_page(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    assert jupyter.root_dir is not None
    gate = Path(jupyter.root_dir) / f"{path}.gate"
    wait = f"        while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\n"
    widget = (
        "import pathlib, time\nfrom tqdm.notebook import tqdm\nfor n in tqdm(range(10), mininterval=0, desc='漢'):\n"
        f"    if n == 5:\n{wait}"
    )
    text = (
        "import pathlib, time\nfor n in range(11):\n    print(f'\\r{n * 10:3}%|' + '#' * n, end='', flush=True)\n"
        f"    if n == 5:\n{wait}"
    )
    await goose.execute(edits=[{"op": "insert", "source": source} for source in (widget, text)], wait_s=0)
    bar = page.cell(1).locator(".jupyter-widgets", has_text="5/10").first
    await expect(bar).to_be_visible()
    await expect(page.cell(1).locator(".jp-InputPrompt")).to_have_text("[*]:")
    gate.touch()
    await expect(page.cell(1).locator(".jupyter-widgets", has_text="10/10").first).to_be_visible()
    await expect(page.cell(1).locator(".jp-InputPrompt")).to_have_text("[1]:")
    await expect(outputs(page, 2)).to_have_text("100%|##########")
    await expect(page.cell(2).locator(".jp-InputPrompt")).to_have_text("[2]:")


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
async def test_scripts_and_widgets_of_the_agents_cells_are_live_only_where_the_user_trusts_them(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, trusted: bool
) -> None:
    path = new_notebook(["1"])
    await page.goto(jupyter, path)
    script = "<b>shown</b><script>document.body.dataset.agent = 'was here'</script>"
    sources = [f'from IPython.display import HTML\nHTML("{script}")', "import ipywidgets as w\nw.IntSlider(value=3)"]
    async with joined_agent(jupyter, "goose", trust_outputs=trusted) as goose:
        await goose.setup(path)
        await goose.execute(edits=[{"op": "insert", "source": source} for source in sources])
        await expect(outputs(page, 1).locator("b")).to_have_text("shown")
        if trusted:
            await expect(outputs(page, 2).locator(".noUi-handle")).to_be_visible()
            await expect(page.page.locator("body[data-agent='was here']")).to_have_count(1)
        else:
            await expect(outputs(page, 2)).to_have_text("IntSlider(value=3)")
            await expect(page.page.locator("body[data-agent]")).to_have_count(0)
